/* Both ends of a link through libmemif 1.0, whose state is one for the program. */
#ifndef V1_LINK_H
#define V1_LINK_H

#include "common.h"
#include <libmemif.h>

#define MOST 256

/* One interface. */
typedef struct
{
  memif_conn_handle_t conn;
  int connects, disconnects, interrupts;
  uint16_t interrupted_queue;
} end_t;

static inline int
on_connect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  ((end_t *) private_ctx)->connects++;
  return 0;
}

static inline int
on_disconnect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  ((end_t *) private_ctx)->disconnects++;
  return 0;
}

static inline int
on_interrupt (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  (void) conn;
  end_t *end = private_ctx;
  end->interrupts++;
  end->interrupted_queue = qid;
  return 0;
}

/* Polls until something holds. */
#define WAIT_UNTIL(condition)                                                                                          \
  for (int64_t wait_end = now_ms () + PATIENCE_MS; !(condition);)                                                      \
    {                                                                                                                  \
      CHECK_OK (memif_poll_event (1));                                                                                 \
      if (now_ms () > wait_end)                                                                                        \
	check_failed (__FILE__, __LINE__, "in time: " #condition, 0, 1);                                               \
    }

/* The same, for tests of both APIs: libmemif 1.0 polls all ends in one call. */
#define WAIT_END(condition, end) WAIT_UNTIL (condition)

static inline void
poll_end (end_t *end, int timeout)
{
  (void) end;
  CHECK_OK (memif_poll_event (timeout));
}

/* Makes an end; `like` says how, but for role and socket. NULL: everything by default. */
static inline void
open_end (end_t *end, char *path, int is_master, const memif_conn_args_t *like)
{
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  if (like)
    args = *like;
  args.socket_filename = (uint8_t *) path;
  args.is_master = (uint8_t) is_master;
  strcpy ((char *) args.interface_name, is_master ? "v1-master" : "v1-slave");
  end->conn = NULL;
  CHECK_OK (memif_create (&end->conn, &args, on_connect, on_disconnect, on_interrupt, end));
  CHECK (end->conn != NULL);
}

/* Begins the library and makes a link. The ends are zero. */
static inline void
open_link (end_t *master, end_t *slave, const memif_conn_args_t *like)
{
  char path[64];
  fresh_path (path, sizeof path);
  CHECK_OK (memif_init (NULL, (char *) "v1-test"));
  open_end (master, path, 1, like);
  open_end (slave, path, 0, like);
  WAIT_UNTIL (master->connects && slave->connects);
}

static inline void
close_end (end_t *end)
{
  CHECK_OK (memif_delete (&end->conn));
  CHECK (end->conn == NULL);
}

static inline void
close_link (end_t *master, end_t *slave)
{
  close_end (slave);
  close_end (master);
  CHECK_OK (memif_cleanup ());
}

/* Sends up to `count` packets of `len` bytes, numbered from `number`; returns how many there was room for. */
static inline uint32_t
send_packets (end_t *end, uint16_t qid, uint32_t number, uint16_t count, size_t len)
{
  memif_buffer_t bufs[MOST];
  uint16_t room = 0, sent = 0;
  CHECK (count <= MOST);
  int err = memif_buffer_alloc (end->conn, qid, bufs, count, &room, (uint16_t) len);
  CHECK_EQ (err, room < count ? MEMIF_ERR_NOBUF_RING : MEMIF_ERR_SUCCESS);
  for (uint16_t i = 0; i < room; i++)
    {
      CHECK (bufs[i].buffer_len >= len);
      CHECK_EQ (bufs[i].data_len, bufs[i].buffer_len);
      fill_pattern (bufs[i].data, len, number + i, 0);
      bufs[i].data_len = (uint32_t) len;
    }
  CHECK_OK (memif_tx_burst (end->conn, qid, bufs, room, &sent));
  CHECK_EQ (sent, room);
  return sent;
}

/* Receives up to `count` packets, checks them, and gives them back; returns how many came. */
static inline uint32_t
receive_packets (end_t *end, uint16_t qid, uint32_t number, uint16_t count, size_t len)
{
  memif_buffer_t bufs[MOST];
  uint16_t received = 0, freed = 0;
  CHECK (count <= MOST);
  int err = memif_rx_burst (end->conn, qid, bufs, count, &received);
  if (err != MEMIF_ERR_SUCCESS)
    CHECK_EQ (err, MEMIF_ERR_NOBUF);
  for (uint16_t i = 0; i < received; i++)
    {
      CHECK_EQ (bufs[i].data_len, len);
      CHECK (bufs[i].buffer_len >= len);
      check_pattern (bufs[i].data, len, number + i, 0);
    }
  CHECK_OK (memif_buffer_free (end->conn, qid, bufs, received, &freed));
  CHECK_EQ (freed, received);
  return received;
}

/* Sends one way in bursts until `total` packets have come through. */
static inline void
stream (end_t *from, end_t *to, uint16_t qid, uint32_t total, size_t len)
{
  uint32_t sent = 0, received = 0;
  int64_t over = now_ms () + 4 * PATIENCE_MS;
  while (received < total)
    {
      if (sent < total)
	sent += send_packets (from, qid, sent, (uint16_t) (1 + sent % 24), len);
      received += receive_packets (to, qid, received, (uint16_t) (1 + received % 31), len);
      CHECK (received <= sent);
      CHECK (now_ms () < over);
    }
  while (received < sent)
    received += receive_packets (to, qid, received, 32, len);
}

#endif /* V1_LINK_H */
