/* libmemif 4.0: packets in memory of the program's, and moved from interface to interface within it. */
#define _GNU_SOURCE
#include "link.h"
#include <sys/mman.h>

#define BUFFER 2048u
#define BUFFERS (4u * 64u)
#define BYTES (BUFFERS * BUFFER)

/* The program's memory, given to every interface that asks. */
static struct
{
  uint8_t *addr;
  int fd, refuse, adds, dels;
  uint32_t asked, next;
} pool;

static int
add_region (void **addr, uint32_t size, int *fd, void *private_ctx)
{
  CHECK (private_ctx != NULL);
  pool.asked = size;
  if (pool.refuse)
    return -1;
  pool.adds++;
  *addr = pool.addr;
  *fd = pool.fd;
  return 0;
}

static int
del_region (void *addr, uint32_t size, int fd, void *private_ctx)
{
  CHECK (addr == pool.addr && fd == pool.fd && size == pool.asked && private_ctx != NULL);
  pool.dels++;
  return 0;
}

/* From the last to the first, so that the order shows who decides. */
static uint32_t
next_offset (void *private_ctx)
{
  CHECK (private_ctx != NULL);
  pool.next++;
  CHECK (pool.next <= BUFFERS);
  return (BUFFERS - pool.next) * BUFFER;
}

static void
open_pool (void)
{
  memset (&pool, 0, sizeof pool);
  pool.fd = memfd_create ("pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  CHECK (pool.fd >= 0);
  CHECK_EQ (ftruncate (pool.fd, BYTES), 0);
  pool.addr = mmap (NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, pool.fd, 0);
  CHECK (pool.addr != MAP_FAILED);
}

static void
close_pool (void)
{
  CHECK_EQ (pool.dels, pool.adds);
  munmap (pool.addr, BYTES);
  close (pool.fd);
}

static int
in_pool (const void *data)
{
  return (const uint8_t *) data >= pool.addr && (const uint8_t *) data < pool.addr + BYTES;
}

/* A link whose slave has rings of 64 and packets in the pool. */
static void
open_pooled (end_t *master, end_t *slave, memif_get_external_buffer_offset_t *offset)
{
  char path[64];
  memif_conn_args_t args;
  memset (master, 0, sizeof *master);
  memset (slave, 0, sizeof *slave);
  memset (&args, 0, sizeof args);
  args.log2_ring_size = 6;
  args.buffer_size = BUFFER;
  fresh_path (path, sizeof path);
  slave->socket = open_socket (path);
  memif_register_external_region (slave->socket, add_region, NULL, del_region, offset);
  open_end (master, path, 1, &args);
  open_end (slave, path, 0, &args);
  wait_up (master, slave);
  CHECK_EQ (pool.asked, 2 * 64 * BUFFER);
}

static void
packets_lie_in_the_pool (void)
{
  end_t master, slave;
  memif_buffer_t bufs[64];
  memif_details_t md;
  char text[2048];
  uint16_t count = 0;
  open_pool ();
  open_pooled (&master, &slave, NULL);
  CHECK_OK (memif_get_details (slave.conn, &md, text, sizeof text));
  CHECK_EQ (md.regions_num, 2);
  CHECK_EQ (md.regions[0].is_external, 0);
  CHECK_EQ (md.regions[1].is_external, 1);
  CHECK (md.regions[1].addr == pool.addr);
  CHECK_EQ (md.regions[1].size, BYTES);
  CHECK_OK (memif_buffer_alloc (slave.conn, 0, bufs, 64, &count, 0));
  CHECK_EQ (count, 64);
  for (int i = 0; i < 64; i++)
    {
      CHECK (in_pool (bufs[i].data));
      CHECK_EQ (bufs[i].len, BUFFER);
      CHECK_EQ (((uint8_t *) bufs[i].data - pool.addr) % BUFFER, 0);
    }
  CHECK_EQ (fill_packets (bufs, 64, 3, 1500), 64);
  CHECK_OK (memif_tx_burst (slave.conn, 0, bufs, 64, &count));
  CHECK_EQ (receive_packets (&master, 0, 3, 64, 1500), 64);
  CHECK_EQ (send_packets (&master, 0, 9, 64, 700), 64);
  CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, 64, &count));
  CHECK_EQ (count, 64);
  CHECK (in_pool (bufs[0].data) && in_pool (bufs[63].data));
  CHECK_EQ (check_packets (bufs, 64, 9, 700), 64);
  CHECK_EQ (pool.dels, 0);
  close_link (&master, &slave);
  CHECK_EQ (pool.dels, 1);
  close_pool ();
}

static void
two_slaves_share_the_pool (void)
{
  end_t masters[2], slaves[2];
  uint32_t in = 0, out = 0;
  open_pool ();
  open_pooled (&masters[0], &slaves[0], next_offset);
  open_pooled (&masters[1], &slaves[1], next_offset);
  CHECK_EQ (pool.next, BUFFERS);
  while (out < 30000)
    {
      memif_buffer_t bufs[32];
      uint16_t count = 0, moved = 0, sent = 0;
      int from = out / 1000 % 2, to = 1 - from;
      in += send_packets (&masters[from], 0, in, (uint16_t) (1 + in % 30), 1000);
      CHECK_OK (memif_rx_burst (slaves[from].conn, 0, bufs, 32, &count));
      void *where = bufs[0].data;
      CHECK_OK (memif_buffer_enq_tx (slaves[to].conn, 0, bufs, count, &moved));
      CHECK_EQ (moved, count);
      CHECK (bufs[0].data == where && in_pool (where));
      CHECK_OK (memif_refill_queue (slaves[from].conn, 0, ALL, 0));
      CHECK_OK (memif_tx_burst (slaves[to].conn, 0, bufs, moved, &sent));
      CHECK_EQ (sent, moved);
      out += receive_packets (&masters[to], 0, out, 32, 1000);
      CHECK_EQ (in, out);
    }
  close_link (&masters[0], &slaves[0]);
  close_link (&masters[1], &slaves[1]);
  close_pool ();
}

/* Interfaces without common memory do not exchange any. */
static void
strangers_do_not (void)
{
  end_t master, slave, other_master, other_slave;
  memif_buffer_t buf;
  uint16_t count = 0;
  open_pool ();
  open_pooled (&master, &slave, NULL);
  memset (&other_master, 0, sizeof other_master);
  memset (&other_slave, 0, sizeof other_slave);
  open_link (&other_master, &other_slave, NULL);
  CHECK_EQ (send_packets (&master, 0, 0, 1, 64), 1);
  CHECK_OK (memif_rx_burst (slave.conn, 0, &buf, 1, &count));
  CHECK_EQ (count, 1);
  CHECK_EQ (memif_buffer_enq_tx (other_slave.conn, 0, &buf, 1, &count), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (count, 0);
  close_link (&other_master, &other_slave);
  close_link (&master, &slave);
  close_pool ();
}

static void
memory_that_is_none (void)
{
  memif_conn_args_t args;
  memif_conn_handle_t conn = NULL;
  end_t end;
  open_pool ();
  memset (&args, 0, sizeof args);
  memset (&end, 0, sizeof end);
  end.socket = args.socket = open_socket ("@memif-c-test-no-memory");
  memif_register_external_region (end.socket, add_region, NULL, del_region, NULL);
  pool.refuse = 1;
  CHECK_EQ (memif_create (&conn, &args, on_connect, on_disconnect, NULL, &end), MEMIF_ERR_NOMEM);
  pool.refuse = 0;
  /* 2 x 1024 buffers do not fit */
  CHECK_EQ (memif_create (&conn, &args, on_connect, on_disconnect, NULL, &end), MEMIF_ERR_NO_SHMFD);
  CHECK (conn == NULL);
  CHECK_EQ (pool.dels, 1);
  /* its own memory again */
  memif_register_external_region (end.socket, NULL, NULL, NULL, NULL);
  CHECK_OK (memif_create (&conn, &args, on_connect, on_disconnect, NULL, &end));
  CHECK_EQ (pool.adds, 1);
  CHECK_OK (memif_delete (&conn));
  CHECK_OK (memif_delete_socket (&end.socket));
  close_pool ();
}

static const check_case_t cases[] = {
  CASE (packets_lie_in_the_pool),
  CASE (two_slaves_share_the_pool),
  CASE (strangers_do_not),
  CASE (memory_that_is_none),
};

CHECK_MAIN (cases)
