/* libmemif 4.0: packets in memory of the program's, and moved from interface to interface within it. */
#define _GNU_SOURCE
#include "link.h"
#include <sys/mman.h>

#define RING 64
#define BUFFER 2048u
/* more than all rings of two links: a buffer rests for a while before the pool gives it out again */
#define BUFFERS (6u * RING)
#define BYTES (BUFFERS * BUFFER)

/* The program's memory, given to every link that asks, and the buffers that it has given out. */
static struct
{
  uint8_t *addr;
  int fd, refuse, adds, dels;
  uint32_t asked, next, headroom, bad;
  /* what on_disconnect has seen of it */
  int dels_at_disconnect;
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

/* Where the pool's buffer of this number is: from the last to the first, so that the order shows who decides. */
static uint32_t
place (uint32_t number)
{
  return (BUFFERS - 1 - number % BUFFERS) * BUFFER + pool.headroom;
}

static uint32_t
next_offset (void *private_ctx)
{
  CHECK (private_ctx != NULL);
  return pool.bad ? pool.bad : place (pool.next++);
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

static memif_conn_args_t
pooled_args (void)
{
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  args.log2_ring_size = 6;
  args.buffer_size = BUFFER;
  return args;
}

/* A link whose slave has rings of 64 and packets in the pool. */
static void
open_pooled (end_t *master, end_t *slave, memif_get_external_buffer_offset_t *offset)
{
  char path[64];
  memif_conn_args_t args = pooled_args ();
  memset (master, 0, sizeof *master);
  memset (slave, 0, sizeof *slave);
  slave->headroom = (uint16_t) pool.headroom;
  fresh_path (path, sizeof path);
  slave->socket = open_socket (path);
  memif_register_external_region (slave->socket, add_region, NULL, del_region, offset);
  open_end (master, path, 1, &args);
  open_end (slave, path, 0, &args);
  wait_up (master, slave);
  CHECK_EQ (pool.asked, 2 * RING * BUFFER);
}

static void
packets_lie_in_the_pool (void)
{
  end_t master, slave;
  memif_buffer_t bufs[RING];
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
  CHECK_OK (memif_buffer_alloc (slave.conn, 0, bufs, RING, &count, 0));
  CHECK_EQ (count, RING);
  for (int i = 0; i < RING; i++)
    {
      CHECK (bufs[i].data == pool.addr + (uint32_t) i * BUFFER);
      CHECK_EQ (bufs[i].len, BUFFER);
    }
  CHECK_EQ (fill_packets (bufs, RING, 3, 1500), RING);
  CHECK_OK (memif_tx_burst (slave.conn, 0, bufs, RING, &count));
  CHECK_EQ (receive_packets (&master, 0, 3, RING, 1500), RING);
  CHECK_EQ (send_packets (&master, 0, 9, RING, 700), RING);
  CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, RING, &count));
  CHECK_EQ (count, RING);
  CHECK (in_pool (bufs[0].data) && in_pool (bufs[RING - 1].data));
  CHECK_EQ (check_packets (bufs, RING, 9, 700), RING);
  CHECK_EQ (pool.dels, 0);
  close_link (&master, &slave);
  CHECK_EQ (pool.dels, 1);
  close_pool ();
}

static int
note_dels (memif_conn_handle_t conn, void *private_ctx)
{
  pool.dels_at_disconnect = pool.dels;
  return on_disconnect (conn, private_ctx);
}

/* A region is added for each link, and deleted when the link has ended: after on_disconnect, before memif_delete returns. */
static void
regions_come_and_go_with_links (void)
{
  end_t master, slave;
  char path[64];
  memif_conn_args_t args = pooled_args ();
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  open_pool ();
  fresh_path (path, sizeof path);
  args.socket = slave.socket = open_socket (path);
  memif_register_external_region (slave.socket, add_region, NULL, del_region, next_offset);
  CHECK_OK (memif_create (&slave.conn, &args, on_connect, note_dels, on_interrupt, &slave));
  CHECK_EQ (pool.adds, 0);
  for (int link = 1; link < 5; link++)
    {
      open_end (&master, path, 1, &args);
      WAIT_UNTIL (slave.connects == link && master.connects == link, &slave, &master);
      CHECK_EQ (pool.adds, link);
      CHECK_EQ (pool.dels, link - 1);
      CHECK_EQ (send_packets (&slave, 0, 5, 3, 600), 3);
      CHECK_EQ (receive_packets (&master, 0, 5, 8, 600), 3);
      CHECK_OK (memif_delete (link < 4 ? &master.conn : &slave.conn));
      WAIT_UNTIL (pool.dels == link, &slave, &master);
      CHECK_EQ (slave.disconnects, link);
      CHECK_EQ (pool.dels_at_disconnect, link - 1);
    }
  close_link (&master, &slave);
  close_pool ();
}

/* The program is asked for the place of each buffer, when it is allocated and when it is posted. */
static void
each_buffer_is_where_the_program_says (void)
{
  end_t master, slave;
  memif_buffer_t bufs[RING + 1];
  uint16_t count = 0;
  open_pool ();
  open_pooled (&master, &slave, next_offset);
  /* on_connect has posted the whole ring */
  CHECK_EQ (pool.next, RING);
  /* the pool's buffers in the order in which they were posted */
  static uint32_t order[300 * RING];
  uint32_t received = 0, posted = RING, asked = RING;
  for (uint32_t i = 0; i < RING; i++)
    order[i] = i;
  for (int round = 0; round < 300; round++)
    {
      uint16_t burst = (uint16_t) (1 + round % 40);
      CHECK_EQ (send_packets (&master, 0, 7, burst, 800), burst);
      CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, burst, &count));
      CHECK_EQ (count, burst);
      CHECK_EQ (check_packets (bufs, count, 7, 800), burst);
      for (uint16_t i = 0; i < count; i++)
	CHECK (bufs[i].data == pool.addr + place (order[received++]));
      CHECK_OK (memif_refill_queue (slave.conn, 0, round % 3 ? ALL : count, 0));
      CHECK_EQ (pool.next, asked + count);
      for (uint16_t i = 0; i < count; i++)
	order[posted++] = asked + i;
      asked += count;
      CHECK_OK (memif_buffer_alloc (slave.conn, 0, bufs, burst, &count, round % 2 ? 0 : 500));
      CHECK_EQ (count, burst);
      CHECK_EQ (pool.next, asked + burst);
      for (uint16_t i = 0; i < burst; i++)
	{
	  CHECK (bufs[i].data == pool.addr + place (asked + i));
	  CHECK_EQ (bufs[i].len, round % 2 ? BUFFER : 500);
	}
      asked += burst;
      CHECK_EQ (fill_packets (bufs, burst, 8, 500), burst);
      CHECK_OK (memif_tx_burst (slave.conn, 0, bufs, burst, &count));
      CHECK_EQ (receive_packets (&master, 0, 8, burst, 500), burst);
    }
  /* chains, and no more places than there are slots */
  CHECK_EQ (memif_buffer_alloc (slave.conn, 0, bufs, 9, &count, 5000), MEMIF_ERR_NOBUF_RING);
  CHECK_EQ (count, 9);
  CHECK_EQ (pool.next, asked + 9);
  CHECK_EQ (fill_packets (bufs, 9, 4, 5000), 3);
  CHECK_OK (memif_tx_burst (slave.conn, 0, bufs, 9, &count));
  CHECK_EQ (receive_packets (&master, 0, 4, 9, 5000), 3);
  CHECK_EQ (memif_buffer_alloc (slave.conn, 0, bufs, RING + 1, &count, 0), MEMIF_ERR_NOBUF_RING);
  CHECK_EQ (count, RING);
  CHECK_EQ (pool.next, asked + 9 + RING);
  CHECK_OK (memif_refill_queue (slave.conn, 0, ALL, 0));
  CHECK_EQ (pool.next, asked + 9 + RING);
  close_link (&master, &slave);
  close_pool ();
}

/* With headroom the program's places are where packets begin, and the peer gets as much less. */
static void
headroom_shortens_what_the_peer_gets (void)
{
  end_t master, slave;
  memif_buffer_t bufs[RING];
  uint16_t count = 0;
  open_pool ();
  pool.headroom = 128;
  open_pooled (&master, &slave, next_offset);
  CHECK_OK (memif_buffer_alloc (master.conn, 0, bufs, RING, &count, 0));
  CHECK_EQ (count, RING);
  for (int i = 0; i < RING; i++)
    CHECK_EQ (bufs[i].len, BUFFER - 128);
  CHECK_EQ (fill_packets (bufs, RING, 2, 1900), RING);
  CHECK_OK (memif_tx_burst (master.conn, 0, bufs, RING, &count));
  CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, RING, &count));
  CHECK_EQ (count, RING);
  for (uint32_t i = 0; i < RING; i++)
    CHECK (bufs[i].data == pool.addr + place (i));
  CHECK_EQ (check_packets (bufs, RING, 2, 1900), RING);
  /* the headroom is there, for a header of the program's, when they are sent on */
  CHECK_OK (memif_buffer_enq_tx (slave.conn, 0, bufs, RING, &count));
  CHECK_EQ (count, RING);
  for (int i = 0; i < RING; i++)
    {
      bufs[i].data = (uint8_t *) bufs[i].data - 100;
      bufs[i].len = 2000;
      fill_pattern (bufs[i].data, 2000, 40 + (uint32_t) i, 0);
    }
  CHECK_OK (memif_tx_burst (slave.conn, 0, bufs, RING, &count));
  CHECK_EQ (receive_packets (&master, 0, 40, RING, 2000), RING);
  close_link (&master, &slave);
  close_pool ();
}

static void
places_outside_of_the_region_are_rejected (void)
{
  const uint32_t bad[] = { BYTES - BUFFER + 1, BYTES, UINT32_MAX };
  end_t master, slave;
  memif_buffer_t bufs[8];
  open_pool ();
  open_pooled (&master, &slave, next_offset);
  for (int i = 0; i < 3; i++)
    {
      uint16_t count = 0;
      CHECK_EQ (send_packets (&master, 0, 1, 8, 64), 8);
      CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, 8, &count));
      CHECK_EQ (count, 8);
      pool.bad = bad[i];
      CHECK_EQ (memif_buffer_alloc (slave.conn, 0, bufs, 8, &count, 64), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (count, 0);
      CHECK_EQ (memif_refill_queue (slave.conn, 0, 8, 0), MEMIF_ERR_INVAL_ARG);
      pool.bad = 0;
      CHECK_OK (memif_refill_queue (slave.conn, 0, 8, 0));
      CHECK_EQ (send_packets (&slave, 0, 5, 8, 64), 8);
      CHECK_EQ (receive_packets (&master, 0, 5, 8, 64), 8);
    }
  close_link (&master, &slave);
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
  CHECK_EQ (pool.adds, 2);
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

/* Buffers are exchanged only between interfaces that have the same memory. */
static void
interfaces_without_common_memory_exchange_nothing (void)
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

/* Whether the last attempt at a link ended with these words. */
static int
ended_with (memif_conn_handle_t conn, const char *words)
{
  memif_details_t md;
  char text[2048];
  CHECK_OK (memif_get_details (conn, &md, text, sizeof text));
  return strcmp ((char *) md.error, words) == 0;
}

/* Without memory there is no link; the slave tries again. */
static void
a_link_without_memory_is_not_made (void)
{
  end_t master, slave;
  char path[64];
  memif_conn_args_t args = pooled_args ();
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  open_pool ();
  fresh_path (path, sizeof path);
  slave.socket = open_socket (path);
  memif_register_external_region (slave.socket, add_region, NULL, del_region, NULL);
  open_end (&master, path, 1, &args);
  pool.refuse = 1;
  open_end (&slave, path, 0, &args);
  WAIT_UNTIL (pool.asked > 0, &slave, &master);
  WAIT_UNTIL (ended_with (slave.conn, "memif_add_external_region_t failed"), &slave, &master);
  CHECK_EQ (slave.connects, 0);
  pool.refuse = 0;
  wait_up (&master, &slave);
  CHECK_EQ (pool.adds, 1);
  CHECK_OK (memif_delete (&slave.conn));
  CHECK_EQ (pool.dels, 1);
  /* 2 x 1024 buffers do not fit: the region is deleted at once */
  args.log2_ring_size = 10;
  open_end (&slave, path, 0, &args);
  WAIT_UNTIL (pool.adds >= 2, &slave, &master);
  CHECK_EQ (pool.dels, pool.adds);
  CHECK_OK (memif_delete (&slave.conn));
  /* its own memory again */
  memif_register_external_region (slave.socket, NULL, NULL, NULL, NULL);
  int adds = pool.adds;
  slave.connects = slave.disconnects = 0;
  open_end (&slave, path, 0, &args);
  WAIT_UNTIL (slave.connects == 1, &slave, &master);
  CHECK_EQ (pool.adds, adds);
  close_link (&master, &slave);
  close_pool ();
}

/* An allocator as a program has one: any free buffer, at random. A slot's buffer is free again when its slot gets another. */
#define SMALL_RING 16
#define QUEUES 2
#define ROWS (2 * QUEUES)
static struct
{
  uint32_t free[ROWS * SMALL_RING + 1], available;
  /* the buffer of each slot of each ring, and how many places were asked for */
  uint32_t slots[ROWS][SMALL_RING], asked[ROWS];
  int row; /* the ring that the program is at */
  uint32_t random;
} tight;

static uint32_t
random_below (uint32_t limit)
{
  tight.random = tight.random * 1664525u + 1013904223u;
  return (tight.random >> 8) % limit;
}

static void
empty_tight (void)
{
  memset (&tight, 0, sizeof tight);
  tight.random = 1;
  tight.available = ROWS * SMALL_RING + 1;
  for (uint32_t i = 0; i < tight.available; i++)
    tight.free[i] = i * BUFFER;
}

static uint32_t
tight_offset (void *private_ctx)
{
  CHECK (private_ctx != NULL);
  uint32_t at = tight.asked[tight.row]++, *slot = &tight.slots[tight.row][at % SMALL_RING];
  uint32_t chosen = random_below (tight.available), offset = tight.free[chosen];
  tight.free[chosen] = tight.free[--tight.available];
  if (at >= SMALL_RING)
    tight.free[tight.available++] = *slot;
  return *slot = offset;
}

static int
tight_connect (memif_conn_handle_t conn, void *private_ctx)
{
  ((end_t *) private_ctx)->connects++;
  empty_tight ();
  for (uint16_t qid = 0; qid < QUEUES; qid++)
    {
      tight.row = qid;
      CHECK_OK (memif_refill_queue (conn, qid, ALL, 0));
    }
  return 0;
}

/* Every queue of every link takes its buffers from a pool that has one more than there are slots. */
static void
a_tight_pool_serves_all_queues_across_reconnects (void)
{
  end_t master, slave;
  char path[64];
  memif_conn_args_t args = pooled_args ();
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  open_pool ();
  fresh_path (path, sizeof path);
  args.log2_ring_size = 4;
  args.num_s2m_rings = args.num_m2s_rings = QUEUES;
  args.socket = slave.socket = open_socket (path);
  memif_register_external_region (slave.socket, add_region, NULL, del_region, tight_offset);
  CHECK_OK (memif_create (&slave.conn, &args, tight_connect, on_disconnect, on_interrupt, &slave));
  for (int link = 1; link <= 4; link++)
    {
      open_end (&master, path, 1, &args);
      WAIT_UNTIL (slave.connects == link && master.connects == link, &slave, &master);
      CHECK_EQ (pool.adds, link);
      CHECK_EQ (pool.asked, ROWS * SMALL_RING * BUFFER);
      uint32_t sent[ROWS] = { 0 }, received[ROWS] = { 0 };
      for (int round = 0; round < 4000; round++)
	{
	  uint16_t qid = (uint16_t) random_below (QUEUES), burst = (uint16_t) (1 + random_below (SMALL_RING));
	  uint32_t asked = tight.asked[QUEUES + qid];
	  tight.row = QUEUES + qid;
	  sent[tight.row] += send_packets (&slave, qid, sent[tight.row], burst, 900);
	  CHECK_EQ (tight.asked[QUEUES + qid] - asked, sent[tight.row] - received[tight.row]);
	  received[tight.row] += receive_packets (&master, qid, received[tight.row], SMALL_RING, 900);
	  tight.row = qid;
	  sent[qid] += send_packets (&master, qid, sent[qid], burst, 900);
	  received[qid] += receive_packets (&slave, qid, received[qid], SMALL_RING, 900);
	  CHECK_EQ (tight.asked[qid], SMALL_RING + received[qid]);
	}
      for (int row = 0; row < ROWS; row++)
	CHECK (sent[row] == received[row] && sent[row] > 1000);
      CHECK_OK (memif_delete (link < 4 ? &master.conn : &slave.conn));
      WAIT_UNTIL (pool.dels == link, &slave, &master);
      CHECK_EQ (slave.disconnects, link);
    }
  close_link (&master, &slave);
  close_pool ();
}

/* Regions that cannot be used are deleted as often as they were added, and what del returns is ignored. */
static struct
{
  void *addr;
  int fd, adds, dels;
} useless;

static int
add_useless (void **addr, uint32_t size, int *fd, void *private_ctx)
{
  CHECK (size > 0 && private_ctx != NULL);
  useless.adds++;
  *addr = useless.addr;
  *fd = useless.fd;
  return 0;
}

static int
del_useless (void *addr, uint32_t size, int fd, void *private_ctx)
{
  CHECK (addr == useless.addr && fd == useless.fd && size > 0 && private_ctx != NULL);
  useless.dels++;
  return -1;
}

static void
useless_regions_are_deleted_at_once (void)
{
  int pipes[2];
  open_pool ();
  CHECK_EQ (pipe (pipes), 0);
  const struct
  {
    void *addr;
    int fd;
  } regions[] = { { NULL, pool.fd }, { pool.addr, -1 }, { pool.addr, 9999 }, { pool.addr, pipes[0] } };
  for (size_t i = 0; i < sizeof regions / sizeof *regions; i++)
    {
      end_t master, slave;
      char path[64];
      memif_conn_args_t args = pooled_args ();
      memset (&master, 0, sizeof master);
      memset (&slave, 0, sizeof slave);
      memset (&useless, 0, sizeof useless);
      useless.addr = regions[i].addr;
      useless.fd = regions[i].fd;
      fresh_path (path, sizeof path);
      slave.socket = open_socket (path);
      memif_register_external_region (slave.socket, add_useless, NULL, del_useless, next_offset);
      open_end (&master, path, 1, &args);
      open_end (&slave, path, 0, &args);
      WAIT_UNTIL (useless.adds >= 3, &slave, &master);
      CHECK_EQ (slave.connects + master.connects, 0);
      CHECK_EQ (useless.dels, useless.adds);
      close_link (&master, &slave);
      CHECK_EQ (useless.dels, useless.adds);
    }
  close (pipes[0]);
  close (pipes[1]);
  close_pool ();
}

/* The functions of the program may call the library, and even end the interface that asks. */
static end_t *asking;
static uint32_t delete_at;

static uint32_t
meddling_offset (void *private_ctx)
{
  memif_details_t md;
  char text[2048];
  uint32_t offset = next_offset (private_ctx);
  if (asking && pool.next < delete_at)
    CHECK_OK (memif_get_details (asking->conn, &md, text, sizeof text));
  if (asking && pool.next == delete_at)
    CHECK_OK (memif_delete (&asking->conn));
  return offset;
}

static void
an_interface_may_be_deleted_while_it_asks (void)
{
  for (int round = 0; round < 2; round++)
    {
      end_t master, slave;
      memif_buffer_t bufs[8];
      uint16_t count = 0;
      asking = NULL;
      open_pool ();
      open_pooled (&master, &slave, meddling_offset);
      CHECK_EQ (send_packets (&master, 0, 0, 8, 64), 8);
      CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, 8, &count));
      CHECK_EQ (count, 8);
      memif_conn_handle_t conn = slave.conn;
      asking = &slave;
      delete_at = pool.next + 4;
      if (round == 0)
	{
	  int err = memif_buffer_alloc (conn, 0, bufs, 8, &count, 64);
	  CHECK (err == MEMIF_ERR_DISCONNECTED || err == MEMIF_ERR_NOCONN);
	  CHECK_EQ (count, 0);
	}
      else
	{
	  int err = memif_refill_queue (conn, 0, 8, 0);
	  CHECK (err == MEMIF_ERR_DISCONNECTED || err == MEMIF_ERR_NOCONN);
	}
      CHECK (slave.conn == NULL);
      /* nothing is asked with the context of an interface that is gone */
      CHECK_EQ (pool.next, delete_at);
      CHECK_EQ (slave.disconnects, 1);
      CHECK_EQ (pool.dels, 1);
      WAIT_UNTIL (master.disconnects == 1, &master, &master);
      asking = NULL;
      close_link (&master, &slave);
      close_pool ();
    }
}

static int
add_and_delete (void **addr, uint32_t size, int *fd, void *private_ctx)
{
  int refused = add_region (addr, size, fd, private_ctx);
  CHECK_OK (memif_delete (&((end_t *) private_ctx)->conn));
  if (pool.bad)
    *fd = -1;
  return refused;
}

/* Then no function is called any more, not even to delete the region, which stays the program's. */
static void
an_interface_may_be_deleted_while_it_adds_a_region (void)
{
  for (int round = 0; round < 3; round++)
    {
      end_t master, slave;
      char path[64];
      memif_conn_args_t args = pooled_args ();
      memset (&master, 0, sizeof master);
      memset (&slave, 0, sizeof slave);
      open_pool ();
      pool.refuse = round == 1;
      pool.bad = round == 2; /* one that cannot be used */
      fresh_path (path, sizeof path);
      slave.socket = open_socket (path);
      memif_register_external_region (slave.socket, add_and_delete, NULL, del_region, next_offset);
      open_end (&master, path, 1, &args);
      open_end (&slave, path, 0, &args);
      WAIT_UNTIL (slave.conn == NULL, &slave, &master);
      for (int i = 0; i < 20; i++)
	{
	  poll_end (&slave, 1);
	  poll_end (&master, 1);
	}
      CHECK_EQ (pool.adds, round != 1);
      CHECK_EQ (pool.dels, 0);
      CHECK_EQ (slave.connects + slave.disconnects + master.connects, 0);
      close_link (&master, &slave);
      CHECK_EQ (pool.dels, 0);
      pool.adds = 0;
      close_pool ();
    }
}

static const check_case_t cases[] = {
  CASE (packets_lie_in_the_pool),
  CASE (regions_come_and_go_with_links),
  CASE (each_buffer_is_where_the_program_says),
  CASE (headroom_shortens_what_the_peer_gets),
  CASE (places_outside_of_the_region_are_rejected),
  CASE (two_slaves_share_the_pool),
  CASE (interfaces_without_common_memory_exchange_nothing),
  CASE (a_link_without_memory_is_not_made),
  CASE (a_tight_pool_serves_all_queues_across_reconnects),
  CASE (useless_regions_are_deleted_at_once),
  CASE (an_interface_may_be_deleted_while_it_asks),
  CASE (an_interface_may_be_deleted_while_it_adds_a_region),
};

CHECK_MAIN (cases)
