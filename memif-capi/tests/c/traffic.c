/* libmemif 4.0: packets, both roles, with contents checked. */
#include "link.h"

/* Ends of a link for one test. */
typedef struct
{
  end_t master, slave;
} link_t;

static link_t *
linked (const memif_conn_args_t *like)
{
  static link_t link;
  memset (&link, 0, sizeof link);
  open_link (&link.master, &link.slave, like);
  return &link;
}

static memif_conn_args_t
sized (uint8_t log2_ring_size, uint16_t buffer_size)
{
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  args.log2_ring_size = log2_ring_size;
  args.buffer_size = buffer_size;
  return args;
}

/* Sends packets one way in bursts until `total` have come through, both ends' bursts of different sizes. */
static void
stream (end_t *from, end_t *to, uint16_t qid, uint32_t total, size_t len, uint16_t slots)
{
  uint32_t sent = 0, received = 0;
  int64_t end = now_ms () + 4 * PATIENCE_MS;
  while (received < total)
    {
      uint16_t burst = (uint16_t) (1 + sent % 24);
      if (sent < total)
	sent += send_packets (from, qid, sent, (uint16_t) (burst * slots), len);
      received += receive_packets (to, qid, received, (uint16_t) ((1 + received % 31) * slots), len);
      CHECK (received <= sent);
      CHECK (now_ms () < end);
    }
  CHECK_EQ (receive_packets (to, qid, received, slots, len), 0);
}

static void
packets_both_ways (void)
{
  const size_t sizes[] = { 1, 60, 64, 65, 1514, 2047, 2048 };
  link_t *link = linked (NULL);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    {
      stream (&link->master, &link->slave, 0, 2000, sizes[i], 1);
      stream (&link->slave, &link->master, 0, 2000, sizes[i], 1);
    }
  close_link (&link->master, &link->slave);
}

static void
every_ring_size (void)
{
  for (uint8_t log2 = 1; log2 <= 14; log2++)
    {
      memif_conn_args_t args = sized (log2, 128);
      link_t *link = linked (&args);
      stream (&link->master, &link->slave, 0, 3u << log2, 100, 1);
      stream (&link->slave, &link->master, 0, 3u << log2, 100, 1);
      close_link (&link->master, &link->slave);
    }
}

static void
queues_are_apart (void)
{
  memif_conn_args_t args = sized (6, 256);
  args.num_s2m_rings = 4;
  args.num_m2s_rings = 3;
  link_t *link = linked (&args);
  for (uint16_t qid = 0; qid < 4; qid++)
    {
      CHECK_EQ (send_packets (&link->slave, qid, 1000u * qid, 32, 77), 32);
      if (qid < 3)
	CHECK_EQ (send_packets (&link->master, qid, 9000u + qid, 16, 78), 16);
    }
  for (int qid = 3; qid >= 0; qid--)
    {
      CHECK_EQ (receive_packets (&link->master, (uint16_t) qid, 1000u * (uint32_t) qid, 64, 77), 32);
      if (qid < 3)
	CHECK_EQ (receive_packets (&link->slave, (uint16_t) qid, 9000u + (uint32_t) qid, 64, 78), 16);
    }
  for (uint16_t qid = 0; qid < 3; qid++)
    {
      stream (&link->slave, &link->master, qid, 500, 200, 1);
      stream (&link->master, &link->slave, qid, 500, 200, 1);
    }
  close_link (&link->master, &link->slave);
}

/* 9000 bytes in buffers of 2048: five of a ring's 16 slots, so that chains wrap. */
static void
chains (void)
{
  memif_conn_args_t args = sized (4, 2048);
  link_t *link = linked (&args);
  stream (&link->slave, &link->master, 0, 2000, 9000, 5);
  stream (&link->master, &link->slave, 0, 2000, 9000, 5);
  /* chains of two, three, ... and packets of one buffer take turns */
  end_t *ends[] = { &link->slave, &link->master };
  for (uint32_t i = 0; i < 4000; i++)
    {
      size_t len = 1 + i * 977 % 9000;
      end_t *from = ends[i / 2000], *to = ends[1 - i / 2000];
      CHECK_EQ (send_packets (from, 0, i, (uint16_t) ((len + 2047) / 2048), len), 1);
      CHECK_EQ (receive_packets (to, 0, i, 16, len), 1);
    }
  close_link (&link->master, &link->slave);
}

/* A packet that does not fit as a whole is not begun. */
static void
chains_without_room (void)
{
  memif_conn_args_t args = sized (3, 1024);
  link_t *link = linked (&args);
  end_t *ends[] = { &link->slave, &link->master };
  for (int i = 0; i < 2; i++)
    {
      memif_buffer_t bufs[8];
      uint16_t count = 77;
      CHECK_EQ (memif_buffer_alloc (ends[i]->conn, 0, bufs, 8, &count, 9000), MEMIF_ERR_NOBUF_RING);
      CHECK_EQ (count, 0);
      /* three slots each: two packets in eight */
      CHECK_EQ (memif_buffer_alloc (ends[i]->conn, 0, bufs, 8, &count, 3000), MEMIF_ERR_NOBUF_RING);
      CHECK_EQ (count, 6);
      CHECK_EQ (fill_packets (bufs, 6, 0, 3000), 2);
      CHECK_OK (memif_tx_burst (ends[i]->conn, 0, bufs, 6, &count));
      CHECK_EQ (count, 6);
      CHECK_EQ (receive_packets (ends[1 - i], 0, 0, 6, 3000), 2);
    }
  close_link (&link->master, &link->slave);
}

/* The counters of the rings wrap at 65536, three times, while between none and all of the slots are held back. */
static void
counters_wrap (end_t *from, end_t *to)
{
  enum
  {
    SLOTS = 16
  };
  uint32_t sent = 0, received = 0, held = 0;
  int64_t end = now_ms () + 4 * PATIENCE_MS;
  while (received < 220000)
    {
      memif_buffer_t bufs[SLOTS];
      uint16_t count = 0;
      sent += send_packets (from, 0, sent, SLOTS, 30);
      CHECK (sent - received + held <= SLOTS);
      CHECK_OK (memif_rx_burst (to->conn, 0, bufs, SLOTS, &count));
      CHECK_EQ (count, sent - received);
      received += check_packets (bufs, count, received, 30);
      held += count;
      uint16_t back = (uint16_t) (received / 7 % (held + 1));
      CHECK_OK (memif_refill_queue (to->conn, 0, back, 0));
      held -= back;
      CHECK (now_ms () < end);
      if (held == SLOTS)
	{
	  memif_buffer_t buf;
	  CHECK_EQ (memif_buffer_alloc (from->conn, 0, &buf, 1, &count, 0), MEMIF_ERR_NOBUF_RING);
	  CHECK_OK (memif_refill_queue (to->conn, 0, 9, 0));
	  held -= 9;
	}
    }
  CHECK_OK (memif_refill_queue (to->conn, 0, ALL, 0));
  stream (from, to, 0, 1000, 30, 1);
}

static void
counters_wrap_from_slave (void)
{
  memif_conn_args_t args = sized (4, 64);
  link_t *link = linked (&args);
  counters_wrap (&link->slave, &link->master);
  close_link (&link->master, &link->slave);
}

static void
counters_wrap_from_master (void)
{
  memif_conn_args_t args = sized (4, 64);
  link_t *link = linked (&args);
  counters_wrap (&link->master, &link->slave);
  close_link (&link->master, &link->slave);
}

static void
rings_fill_and_empty (void)
{
  memif_conn_args_t args = sized (5, 128);
  link_t *link = linked (&args);
  end_t *ends[] = { &link->slave, &link->master };
  for (int i = 0; i < 2; i++)
    {
      end_t *from = ends[i], *to = ends[1 - i];
      memif_buffer_t bufs[40];
      uint16_t count = 77;
      CHECK_EQ (memif_buffer_alloc (from->conn, 0, bufs, 40, &count, 0), MEMIF_ERR_NOBUF_RING);
      CHECK_EQ (count, 32);
      CHECK_EQ (fill_packets (bufs, 32, 5, 100), 32);
      /* in parts */
      CHECK_OK (memif_tx_burst (from->conn, 0, bufs, 10, &count));
      CHECK_EQ (count, 10);
      CHECK_OK (memif_tx_burst (from->conn, 0, bufs + 10, 22, &count));
      CHECK_EQ (count, 22);
      CHECK_EQ (memif_buffer_alloc (from->conn, 0, bufs, 1, &count, 0), MEMIF_ERR_NOBUF_RING);
      CHECK_EQ (count, 0);
      CHECK_EQ (memif_rx_burst (to->conn, 0, bufs, 12, &count), MEMIF_ERR_NOBUF);
      CHECK_EQ (count, 12);
      CHECK_EQ (check_packets (bufs, 12, 5, 100), 12);
      CHECK_OK (memif_rx_burst (to->conn, 0, bufs + 12, 28, &count));
      CHECK_EQ (count, 20);
      CHECK_EQ (check_packets (bufs + 12, 20, 17, 100), 20);
      CHECK_OK (memif_rx_burst (to->conn, 0, bufs, 40, &count));
      CHECK_EQ (count, 0);
      /* all are held back still */
      CHECK_EQ (memif_buffer_alloc (from->conn, 0, bufs, 1, &count, 0), MEMIF_ERR_NOBUF_RING);
      CHECK_OK (memif_refill_queue (to->conn, 0, 3, 0));
      CHECK_EQ (memif_buffer_alloc (from->conn, 0, bufs, 5, &count, 0), MEMIF_ERR_NOBUF_RING);
      CHECK_EQ (count, 3);
      CHECK_OK (memif_refill_queue (to->conn, 0, 1000, 0));
      CHECK_EQ (memif_buffer_alloc (from->conn, 0, bufs + 3, 29, &count, 0), MEMIF_ERR_SUCCESS);
      CHECK_EQ (count, 29);
    }
  close_link (&link->master, &link->slave);
}

static void
nothing_is_something (void)
{
  link_t *link = linked (NULL);
  memif_buffer_t buf;
  uint16_t count = 77;
  CHECK_OK (memif_buffer_alloc (link->slave.conn, 0, &buf, 0, &count, 0));
  CHECK_EQ (count, 0);
  count = 77;
  CHECK_OK (memif_tx_burst (link->slave.conn, 0, &buf, 0, &count));
  CHECK_EQ (count, 0);
  count = 77;
  CHECK_OK (memif_rx_burst (link->slave.conn, 0, &buf, 1, &count));
  CHECK_EQ (count, 0);
  CHECK_OK (memif_refill_queue (link->slave.conn, 0, 0, 0));
  CHECK_OK (memif_refill_queue (link->master.conn, 0, ALL, 0));
  close_link (&link->master, &link->slave);
}

/* A master may send before the slave has posted: there is no room, and that is all. */
static void
no_posts_no_room (void)
{
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  slave.keep_unposted = 1;
  open_link (&master, &slave, NULL);
  memif_buffer_t bufs[4];
  uint16_t count = 77;
  CHECK_EQ (memif_buffer_alloc (master.conn, 0, bufs, 4, &count, 0), MEMIF_ERR_NOBUF_RING);
  CHECK_EQ (count, 0);
  CHECK_OK (memif_refill_queue (slave.conn, 0, 2, 0));
  CHECK_EQ (memif_buffer_alloc (master.conn, 0, bufs, 4, &count, 0), MEMIF_ERR_NOBUF_RING);
  CHECK_EQ (count, 2);
  CHECK_EQ (fill_packets (bufs, 2, 1, 99), 2);
  CHECK_OK (memif_tx_burst (master.conn, 0, bufs, 2, &count));
  CHECK_EQ (receive_packets (&slave, 0, 1, 4, 99), 2);
  close_link (&master, &slave);
}

static void
slave_posts_with_headroom (void)
{
  end_t master, slave;
  memif_conn_args_t args = sized (4, 2048);
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  slave.headroom = 128;
  open_link (&master, &slave, &args);
  memif_buffer_t bufs[16];
  uint16_t count = 0;
  CHECK_OK (memif_buffer_alloc (master.conn, 0, bufs, 1, &count, 0));
  CHECK_EQ (bufs[0].len, 2048 - 128);
  CHECK_EQ (fill_packets (bufs, 1, 3, 1000), 1);
  CHECK_OK (memif_tx_burst (master.conn, 0, bufs, 1, &count));
  CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, 16, &count));
  CHECK_EQ (count, 1);
  CHECK_EQ (check_packets (bufs, 1, 3, 1000), 1);
  /* the room in front is the slave's */
  memset ((uint8_t *) bufs[0].data - 128, 0xee, 128);
  check_pattern (bufs[0].data, 1000, 3, 0);
  CHECK_EQ (memif_refill_queue (slave.conn, 0, 1, 2048), MEMIF_ERR_INVAL_ARG);
  CHECK_OK (memif_refill_queue (slave.conn, 0, 1, 128));
  stream (&master, &slave, 0, 1000, 1900, 1);
  /* back to none, one slot after the other */
  slave.headroom = 0;
  stream (&master, &slave, 0, 1000, 1900, 1);
  CHECK_OK (memif_buffer_alloc (master.conn, 0, bufs, 1, &count, 0));
  CHECK_EQ (bufs[0].len, 2048);
  close_link (&master, &slave);
}

/* A slave may move data forward in its buffer before it sends. */
static void
slave_sends_from_further_on (void)
{
  link_t *link = linked (NULL);
  for (uint32_t i = 0; i < 3000; i++)
    {
      memif_buffer_t buf;
      uint16_t count = 0;
      uint32_t ahead = i % 256;
      CHECK_OK (memif_buffer_alloc (link->slave.conn, 0, &buf, 1, &count, 0));
      CHECK_EQ (buf.len, 2048);
      buf.data = (uint8_t *) buf.data + ahead;
      buf.len -= ahead;
      CHECK_EQ (fill_packets (&buf, 1, i, 1700), 1);
      CHECK_OK (memif_tx_burst (link->slave.conn, 0, &buf, 1, &count));
      CHECK_EQ (receive_packets (&link->master, 0, i, 1, 1700), 1);
    }
  close_link (&link->master, &link->slave);
}

/* The same packet memory on both sides of a forwarder that is one slave with two queues. */
static void
moved_without_a_copy (void)
{
  memif_conn_args_t args = sized (4, 2048);
  args.num_s2m_rings = args.num_m2s_rings = 2;
  link_t *link = linked (&args);
  uint32_t in = 0, out = 0;
  while (out < 100000)
    {
      memif_buffer_t bufs[16];
      uint16_t count = 0, moved = 0, sent = 0;
      uint16_t slots = out < 50000 ? 1 : 3;
      size_t len = slots == 1 ? 500 : 5000;
      in += send_packets (&link->master, 0, in, (uint16_t) (slots * (1 + in % 5)), len);
      CHECK_OK (memif_rx_burst (link->slave.conn, 0, bufs, 16, &count));
      void *where = bufs[0].data;
      CHECK_OK (memif_buffer_enq_tx (link->slave.conn, 1, bufs, count, &moved));
      CHECK_EQ (moved, count);
      CHECK (bufs[0].data == where);
      CHECK_OK (memif_refill_queue (link->slave.conn, 0, count, 0));
      CHECK_OK (memif_tx_burst (link->slave.conn, 1, bufs, moved, &sent));
      CHECK_EQ (sent, moved);
      out += receive_packets (&link->master, 1, out, 16, len);
      CHECK_EQ (in, out);
    }
  close_link (&link->master, &link->slave);
}

static void
nothing_to_move (void)
{
  link_t *link = linked (NULL);
  memif_buffer_t buf;
  uint16_t count = 0, moved = 77;
  /* a master has no buffers of its own */
  CHECK_EQ (send_packets (&link->slave, 0, 0, 1, 64), 1);
  CHECK_OK (memif_rx_burst (link->master.conn, 0, &buf, 1, &count));
  CHECK_EQ (memif_buffer_enq_tx (link->master.conn, 0, &buf, 1, &moved), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (moved, 0);
  CHECK_EQ (memif_buffer_requeue (link->master.conn, &buf, &buf), MEMIF_ERR_INVAL_ARG);
  /* given back, and not there any more */
  CHECK_EQ (send_packets (&link->master, 0, 0, 1, 64), 1);
  CHECK_OK (memif_rx_burst (link->slave.conn, 0, &buf, 1, &count));
  CHECK_EQ (count, 1);
  CHECK_OK (memif_refill_queue (link->slave.conn, 0, 1, 0));
  CHECK_EQ (memif_buffer_enq_tx (link->slave.conn, 0, &buf, 1, &moved), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (moved, 0);
  close_link (&link->master, &link->slave);
}

static void
full_ring_takes_no_moves (void)
{
  memif_conn_args_t args = sized (3, 256);
  link_t *link = linked (&args);
  memif_buffer_t bufs[8], spare[8];
  uint16_t count = 0, moved = 77;
  CHECK_EQ (send_packets (&link->master, 0, 0, 8, 64), 8);
  CHECK_OK (memif_rx_burst (link->slave.conn, 0, bufs, 8, &count));
  CHECK_EQ (count, 8);
  CHECK_OK (memif_buffer_alloc (link->slave.conn, 0, spare, 6, &count, 0));
  CHECK_EQ (memif_buffer_enq_tx (link->slave.conn, 0, bufs, 8, &moved), MEMIF_ERR_NOBUF_RING);
  CHECK_EQ (moved, 2);
  close_link (&link->master, &link->slave);
}

static void
buffers_change_place (void)
{
  link_t *link = linked (NULL);
  memif_buffer_t a, b;
  uint16_t count = 0;
  CHECK_OK (memif_buffer_alloc (link->slave.conn, 0, &a, 1, &count, 0));
  CHECK_OK (memif_buffer_alloc (link->slave.conn, 0, &b, 1, &count, 0));
  void *of_a = a.data, *of_b = b.data;
  CHECK (of_a != of_b);
  fill_pattern (a.data, 100, 1, 0);
  fill_pattern (b.data, 200, 2, 0);
  a.len = 100;
  b.len = 200;
  CHECK_OK (memif_buffer_requeue (link->slave.conn, &a, &b));
  CHECK (a.data == of_b && b.data == of_a);
  CHECK_EQ (a.len, 200);
  CHECK_EQ (b.len, 100);
  memif_buffer_t both[] = { a, b };
  CHECK_OK (memif_tx_burst (link->slave.conn, 0, both, 2, &count));
  CHECK_EQ (count, 2);
  CHECK_EQ (receive_packets (&link->master, 0, 2, 1, 200), 1);
  CHECK_EQ (receive_packets (&link->master, 0, 1, 1, 100), 1);
  close_link (&link->master, &link->slave);
}

static void
back_to_an_earlier_buffer (void)
{
  memif_conn_args_t args = sized (4, 128);
  link_t *link = linked (&args);
  end_t *ends[] = { &link->slave, &link->master };
  for (int i = 0; i < 2; i++)
    {
      memif_buffer_t bufs[16], again;
      uint16_t count = 0;
      CHECK_OK (memif_buffer_alloc (ends[i]->conn, 0, bufs, 16, &count, 0));
      CHECK_OK (memif_set_next_free_buffer (ends[i]->conn, 0, &bufs[5]));
      CHECK_OK (memif_buffer_alloc (ends[i]->conn, 0, &again, 1, &count, 0));
      CHECK (again.data == bufs[5].data);
      CHECK_EQ (again.desc_index, bufs[5].desc_index);
      CHECK_OK (memif_set_next_free_buffer (ends[i]->conn, 0, &bufs[0]));
      CHECK_EQ (send_packets (ends[i], 0, 8, 16, 50), 16);
      CHECK_EQ (receive_packets (ends[1 - i], 0, 8, 16, 50), 16);
      CHECK_EQ (memif_set_next_free_buffer (ends[i]->conn, 0, &bufs[0]), MEMIF_ERR_INVAL_ARG);
    }
  close_link (&link->master, &link->slave);
}

/* What a program may do wrong with buffers costs it these buffers, and no memory. */
static void
garbage_is_not_sent (void)
{
  link_t *link = linked (NULL);
  end_t *ends[] = { &link->slave, &link->master };
  for (int i = 0; i < 2; i++)
    {
      memif_conn_handle_t conn = ends[i]->conn;
      memif_buffer_t good, bad;
      uint16_t count = 0;
      static char elsewhere[4096];
      CHECK_OK (memif_buffer_alloc (conn, 0, &good, 1, &count, 0));
      bad = good;
      bad.desc_index = (uint16_t) (bad.desc_index + 1);
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (count, 0);
      bad = good;
      bad.queue = elsewhere;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      bad = good;
      bad.data = elsewhere;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      bad = good;
      bad.data = NULL;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      bad = good;
      bad.data = (char *) bad.data - 1;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      bad = good;
      bad.len += 1;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      bad = good;
      bad.len = UINT32_MAX;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      memset (&bad, 0xff, sizeof bad);
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_set_next_free_buffer (conn, 0, &bad), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_enq_tx (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_requeue (conn, &bad, &bad), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (fill_packets (&good, 1, 4, 64), 1);
      CHECK_OK (memif_tx_burst (conn, 0, &good, 1, &count));
      CHECK_EQ (count, 1);
      CHECK_EQ (memif_tx_burst (conn, 0, &good, 1, &count), MEMIF_ERR_INVAL_ARG); /* twice */
      CHECK_EQ (receive_packets (ends[1 - i], 0, 4, 1, 64), 1);
      stream (ends[i], ends[1 - i], 0, 3000, 64, 1);
    }
  close_link (&link->master, &link->slave);
}

/* Buffers of a link that is gone are nothing to the next. */
static void
buffers_of_an_old_link (void)
{
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  open_link (&master, &slave, NULL);
  memif_buffer_t old;
  uint16_t count = 0;
  CHECK_OK (memif_buffer_alloc (slave.conn, 0, &old, 1, &count, 0));
  CHECK_OK (memif_delete (&master.conn));
  WAIT_UNTIL (slave.disconnects == 1, &slave, &master);
  CHECK_EQ (memif_tx_burst (slave.conn, 0, &old, 1, &count), MEMIF_ERR_DISCONNECTED);
  CHECK_EQ (count, 0);
  char path[108];
  strcpy (path, memif_get_socket_path (slave.socket));
  open_end (&master, path, 1, NULL);
  wait_up (&master, &slave);
  CHECK_EQ (memif_tx_burst (slave.conn, 0, &old, 1, &count), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (count, 0);
  memif_buffer_t fresh;
  CHECK_OK (memif_buffer_alloc (slave.conn, 0, &fresh, 1, &count, 0));
  CHECK_EQ (memif_tx_burst (slave.conn, 0, &old, 1, &count), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (fill_packets (&fresh, 1, 6, 64), 1);
  CHECK_OK (memif_tx_burst (slave.conn, 0, &fresh, 1, &count));
  CHECK_EQ (receive_packets (&master, 0, 6, 1, 64), 1);
  close_link (&master, &slave);
}

static const check_case_t cases[] = {
  CASE (packets_both_ways),	    CASE (every_ring_size),
  CASE (queues_are_apart),	    CASE (chains),
  CASE (chains_without_room),	    CASE (counters_wrap_from_slave),
  CASE (counters_wrap_from_master), CASE (rings_fill_and_empty),
  CASE (nothing_is_something),	    CASE (no_posts_no_room),
  CASE (slave_posts_with_headroom), CASE (slave_sends_from_further_on),
  CASE (moved_without_a_copy),	    CASE (nothing_to_move),
  CASE (full_ring_takes_no_moves),  CASE (buffers_change_place),
  CASE (back_to_an_earlier_buffer), CASE (garbage_is_not_sent),
  CASE (buffers_of_an_old_link),
};

CHECK_MAIN (cases)
