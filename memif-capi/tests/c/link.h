/* Both ends of a link through libmemif 4.0, and packets between them. */
#ifndef LINK_H
#define LINK_H

#include "common.h"
#include <libmemif.h>

#define ALL ((uint16_t) -1)

/* One end: a socket of its own, with one interface. */
typedef struct
{
  memif_socket_handle_t socket;
  memif_conn_handle_t conn;
  int is_master;
  uint16_t headroom; /* of a slave's posted buffers */
  int keep_unposted; /* a slave posts nothing by itself */
  int connects, disconnects, interrupts;
  uint16_t interrupted_queue;
} end_t;

static inline int
on_connect (memif_conn_handle_t conn, void *private_ctx)
{
  end_t *end = private_ctx;
  end->connects++;
  if (end->is_master || end->keep_unposted)
    return 0;
  for (uint16_t qid = 0; memif_refill_queue (conn, qid, ALL, end->headroom) == MEMIF_ERR_SUCCESS; qid++)
    ;
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

/* A socket that polls itself, whose slaves try again every 20 ms. */
static inline memif_socket_handle_t
open_socket (const char *path)
{
  memif_socket_args_t args;
  memset (&args, 0, sizeof args);
  strcpy (args.path, path);
  strcpy (args.app_name, "c-test");
  args.connection_request_timer.it_value.tv_nsec = 20000000;
  args.connection_request_timer.it_interval.tv_nsec = 20000000;
  memif_socket_handle_t socket = NULL;
  CHECK_OK (memif_create_socket (&socket, &args, NULL));
  return socket;
}

/* Makes an end; `like` says how, but for role and socket. NULL: everything by default. */
static inline void
open_end (end_t *end, const char *path, int is_master, const memif_conn_args_t *like)
{
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  if (like)
    args = *like;
  if (!end->socket)
    end->socket = open_socket (path);
  end->is_master = is_master;
  args.socket = end->socket;
  args.is_master = (uint8_t) is_master;
  if (!args.interface_name[0])
    strcpy ((char *) args.interface_name, is_master ? "c-master" : "c-slave");
  end->conn = NULL;
  CHECK_OK (memif_create (&end->conn, &args, on_connect, on_disconnect, on_interrupt, end));
  CHECK (end->conn != NULL);
}

static inline void
close_end (end_t *end)
{
  if (end->conn)
    CHECK_OK (memif_delete (&end->conn));
  CHECK (end->conn == NULL);
  CHECK_OK (memif_delete_socket (&end->socket));
  CHECK (end->socket == NULL);
}

static inline void
poll_end (end_t *end, int timeout)
{
  if (end->socket)
    CHECK_OK (memif_poll_event (end->socket, timeout));
}

/* Polls both ends until something holds. */
#define WAIT_UNTIL(condition, a, b)                                                                                    \
  for (int64_t wait_end = now_ms () + PATIENCE_MS; !(condition);)                                                      \
    {                                                                                                                  \
      poll_end (a, 1);                                                                                                 \
      poll_end (b, 1);                                                                                                 \
      if (now_ms () > wait_end)                                                                                        \
	check_failed (__FILE__, __LINE__, "in time: " #condition, 0, 1);                                               \
    }

/* Polls one end until something holds. */
#define WAIT_END(condition, end) WAIT_UNTIL (condition, end, end)

static inline void
wait_up (end_t *a, end_t *b)
{
  int a_before = a->disconnects, b_before = b->disconnects;
  WAIT_UNTIL (a->connects > a_before && b->connects > b_before, a, b);
}

/* Makes a link. The ends are zero, but for what their owner wants otherwise. */
static inline void
open_link (end_t *master, end_t *slave, const memif_conn_args_t *like)
{
  char path[64];
  fresh_path (path, sizeof path);
  open_end (master, path, 1, like);
  open_end (slave, path, 0, like);
  wait_up (master, slave);
}

static inline void
close_link (end_t *master, end_t *slave)
{
  close_end (slave);
  close_end (master);
}

/* Bytes that the buffer offers, and that it takes when packets of `left` bytes are not all sent. */
static inline uint32_t
least (size_t a, size_t b)
{
  return (uint32_t) (a < b ? a : b);
}

/* Fills allocated buffers with packets of `len` bytes, numbered from `number`; returns how many. */
static inline uint32_t
fill_packets (memif_buffer_t *bufs, uint16_t count, uint32_t number, size_t len)
{
  uint32_t packets = 0;
  size_t done = 0;
  for (uint16_t i = 0; i < count; i++)
    {
      uint32_t part = least (bufs[i].len, len - done);
      fill_pattern (bufs[i].data, part, number + packets, done);
      bufs[i].len = part;
      done += part;
      int more = done < len;
      CHECK_EQ (!!(bufs[i].flags & MEMIF_BUFFER_FLAG_NEXT), more);
      packets += !more;
      done = more ? done : 0;
    }
  CHECK_EQ (done, 0);
  return packets;
}

/* Sends packets of `len` bytes, numbered from `number`, in up to `entries` buffers; returns how many. */
static inline uint32_t
send_packets (end_t *end, uint16_t qid, uint32_t number, uint16_t entries, size_t len)
{
  memif_buffer_t bufs[256];
  uint16_t allocated = 0, sent = 0;
  CHECK (entries <= 256);
  int err = memif_buffer_alloc (end->conn, qid, bufs, entries, &allocated, (uint16_t) len);
  if (err != MEMIF_ERR_SUCCESS)
    CHECK_EQ (err, MEMIF_ERR_NOBUF_RING);
  uint32_t packets = fill_packets (bufs, allocated, number, len);
  CHECK_OK (memif_tx_burst (end->conn, qid, bufs, allocated, &sent));
  CHECK_EQ (sent, allocated);
  return packets;
}

/* Checks received buffers: packets of `len` bytes, numbered from `number`; returns how many. */
static inline uint32_t
check_packets (const memif_buffer_t *bufs, uint16_t count, uint32_t number, size_t len)
{
  uint32_t packets = 0;
  size_t done = 0;
  for (uint16_t i = 0; i < count; i++)
    {
      check_pattern (bufs[i].data, bufs[i].len, number + packets, done);
      done += bufs[i].len;
      if (bufs[i].flags & MEMIF_BUFFER_FLAG_NEXT)
	continue;
      CHECK_EQ (done, len);
      packets++;
      done = 0;
    }
  CHECK_EQ (done, 0);
  return packets;
}

/* Receives what is there, up to `entries` buffers, checks it, and gives it back; returns the packets. */
static inline uint32_t
receive_packets (end_t *end, uint16_t qid, uint32_t number, uint16_t entries, size_t len)
{
  memif_buffer_t bufs[256];
  uint16_t received = 0;
  CHECK (entries <= 256);
  int err = memif_rx_burst (end->conn, qid, bufs, entries, &received);
  if (err != MEMIF_ERR_SUCCESS)
    CHECK_EQ (err, MEMIF_ERR_NOBUF);
  uint32_t packets = check_packets (bufs, received, number, len);
  CHECK_OK (memif_refill_queue (end->conn, qid, received, end->headroom));
  return packets;
}

#endif /* LINK_H */
