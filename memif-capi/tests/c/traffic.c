/* libmemif 4.0: packets, both roles, with contents checked. */
#include "stream.h"

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
      memif_buffer_t bufs[9];
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

static const check_case_t cases[] = {
  CASE (packets_both_ways),
  CASE (every_ring_size),
  CASE (queues_are_apart),
  CASE (chains),
  CASE (chains_without_room),
  CASE (counters_wrap_from_slave),
  CASE (counters_wrap_from_master),
  CASE (rings_fill_and_empty),
  CASE (nothing_is_something),
  CASE (no_posts_no_room),
  CASE (slave_posts_with_headroom),
};

CHECK_MAIN (cases)
