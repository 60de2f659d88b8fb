/* libmemif 4.0: a master sends packets of all sizes to slaves whose buffers are as large as its own, or smaller. */
#include "link.h"

#define RING 64

static const size_t sizes[] = { 64, 1514, 9000 };

/* The slave's buffers have `slave_size` bytes; the master was made with `master_size`. */
static void
open_unequal (end_t *master, end_t *slave, uint16_t master_size, uint16_t slave_size)
{
  char path[64];
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  memset (master, 0, sizeof *master);
  memset (slave, 0, sizeof *slave);
  fresh_path (path, sizeof path);
  args.log2_ring_size = 6;
  args.buffer_size = master_size;
  open_end (master, path, 1, &args);
  args.buffer_size = slave_size;
  open_end (slave, path, 0, &args);
  wait_up (master, slave);
}

static size_t
pieces (size_t len, size_t buffer_size)
{
  return (len + buffer_size - 1) / buffer_size;
}

/* Room for what the header says that an allocation fills in, and not for one entry more. */
static memif_buffer_t *
room_for (uint16_t count, size_t len, uint16_t own_size)
{
  size_t entries = pieces (len, own_size) > count ? pieces (len, own_size) : count;
  memif_buffer_t *bufs = malloc (entries * sizeof *bufs);
  CHECK (bufs != NULL);
  return bufs;
}

/* Receives `packets` packets in however many buffers, and checks them. */
static void
receive_exactly (end_t *to, uint32_t number, uint32_t packets, size_t len)
{
  uint32_t got = 0;
  while (got < packets)
    {
      uint32_t more = receive_packets (to, 0, number + got, 256, len);
      CHECK (more > 0);
      got += more;
    }
  CHECK_EQ (got, packets);
  CHECK_EQ (receive_packets (to, 0, 0, 256, len), 0);
}

/* Allocates, fills and sends once; returns the packets. */
static uint32_t
send_once (end_t *from, uint32_t number, uint16_t count, size_t len, uint16_t own_size)
{
  memif_buffer_t *bufs = room_for (count, len, own_size);
  uint16_t allocated = 0, sent = 0;
  int err = memif_buffer_alloc (from->conn, 0, bufs, count, &allocated, (uint16_t) len);
  uint32_t packets = fill_packets (bufs, allocated, number, len);
  CHECK_EQ (err, packets < count ? MEMIF_ERR_NOBUF_RING : MEMIF_ERR_SUCCESS);
  CHECK_OK (memif_tx_burst (from->conn, 0, bufs, allocated, &sent));
  CHECK_EQ (sent, allocated);
  free (bufs);
  return packets;
}

static void
every_size_arrives (void)
{
  const uint16_t slave_sizes[] = { 2048, 256 }, master_sizes[] = { 2048, 9216 }, counts[] = { 1, 2, 5, 6, 7, 36, 64 };
  for (int test = 0; test < 4; test++)
    {
      uint16_t slave_size = slave_sizes[test % 2], master_size = master_sizes[test / 2];
      end_t master, slave;
      open_unequal (&master, &slave, master_size, slave_size);
      for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
	for (size_t j = 0; j < sizeof counts / sizeof *counts; j++)
	  for (uint32_t round = 0; round < 50; round++)
	    {
	      size_t len = sizes[i];
	      uint32_t packets = send_once (&master, round, counts[j], len, master_size);
	      /* at least one packet: the ring is empty, and holds the largest */
	      CHECK (packets >= 1);
	      receive_exactly (&slave, round, packets, len);
	      packets = send_once (&slave, round, counts[j], len, slave_size);
	      CHECK (packets >= 1);
	      receive_exactly (&master, round, packets, len);
	    }
      close_link (&master, &slave);
    }
}

/* A packet of six of the slave's buffers, in one entry or in six, shorter than was asked for, and others around it. */
static void
rooms_and_packets_differ (void)
{
  const size_t lens[] = { 1514, 1, 256, 257, 1280, 1281, 1000 };
  end_t master, slave;
  open_unequal (&master, &slave, 2048, 256);
  for (uint32_t round = 0; round < 700; round++)
    {
      memif_buffer_t bufs[4];
      uint16_t count = 0;
      size_t len = lens[round % 7];
      CHECK_OK (memif_buffer_alloc (master.conn, 0, &bufs[0], 1, &count, 200));
      CHECK_OK (memif_buffer_alloc (master.conn, 0, &bufs[1], 1, &count, 1514));
      CHECK_OK (memif_buffer_alloc (master.conn, 0, &bufs[2], 1, &count, 100));
      CHECK_OK (memif_buffer_alloc (master.conn, 0, &bufs[3], 1, &count, 1514));
      CHECK_EQ (bufs[1].len, 1514);
      const size_t all[] = { 200, len, 100, 1514 };
      for (uint32_t i = 0; i < 4; i++)
	{
	  fill_pattern (bufs[i].data, all[i], round + i, 0);
	  bufs[i].len = (uint32_t) all[i];
	  CHECK_EQ (bufs[i].flags, 0);
	}
      /* all at once, or one at a time */
      for (uint16_t i = 0; i < 4; i = (uint16_t) (i + count))
	CHECK_OK (memif_tx_burst (master.conn, 0, bufs + i, round % 2 ? 1 : 4, &count));
      for (uint32_t i = 0; i < 4; i++)
	{
	  memif_buffer_t got[6];
	  uint16_t want = (uint16_t) pieces (all[i], 256);
	  int err = memif_rx_burst (slave.conn, 0, got, want, &count);
	  CHECK_EQ (err, i < 3 ? MEMIF_ERR_NOBUF : MEMIF_ERR_SUCCESS);
	  CHECK_EQ (count, want);
	  CHECK_EQ (check_packets (got, count, round + i, all[i]), 1);
	  CHECK_OK (memif_refill_queue (slave.conn, 0, count, 0));
	}
    }
  close_link (&master, &slave);
}

/* What was allocated and not sent can be given back, and what is wrong is not sent. */
static void
unsent_packets_are_given_back (void)
{
  end_t master, slave;
  open_unequal (&master, &slave, 2048, 256);
  for (uint32_t round = 0; round < 200; round++)
    {
      memif_buffer_t bufs[3], wrong;
      uint16_t count = 0;
      CHECK_OK (memif_buffer_alloc (master.conn, 0, &bufs[0], 1, &count, 64));
      CHECK_OK (memif_buffer_alloc (master.conn, 0, bufs + 1, 2, &count, 1514));
      CHECK_EQ (count, 2);
      wrong = bufs[1];
      wrong.len = 1515;
      CHECK_EQ (memif_tx_burst (master.conn, 0, &wrong, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (count, 0);
      /* not the oldest */
      CHECK_EQ (memif_tx_burst (master.conn, 0, bufs + 1, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_tx_burst (master.conn, 0, bufs + 2, 1, &count), MEMIF_ERR_INVAL_ARG);
      wrong = bufs[1];
      wrong.data = (uint8_t *) wrong.data + 1;
      wrong.len = 1;
      memif_buffer_t two[2] = { bufs[0], wrong };
      two[0].len = 64;
      fill_pattern (two[0].data, 64, round, 0);
      CHECK_EQ (memif_tx_burst (master.conn, 0, two, 2, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (count, 1);
      receive_exactly (&slave, round, 1, 64);
      CHECK_OK (memif_set_next_free_buffer (master.conn, 0, &bufs[round % 2 + 1]));
      CHECK_EQ (memif_tx_burst (master.conn, 0, bufs + 2, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_set_next_free_buffer (master.conn, 0, &bufs[2]), MEMIF_ERR_INVAL_ARG);
      if (round % 2)
	{
	  fill_pattern (bufs[1].data, 1514, round, 0);
	  CHECK_OK (memif_tx_burst (master.conn, 0, bufs + 1, 1, &count));
	  receive_exactly (&slave, round, 1, 1514);
	}
      CHECK_EQ (send_once (&master, round, 64, 64, 2048), 64);
      receive_exactly (&slave, round, 64, 64);
    }
  close_link (&master, &slave);
}

/* The slave asks for packets of the next link while the program still writes one of the last. */
static void
unsent_packets_outlive_their_link (void)
{
  end_t master, slave;
  open_unequal (&master, &slave, 2048, 256);
  for (int round = 1; round < 5; round++)
    {
      memif_buffer_t buf;
      uint16_t count = 0;
      memif_conn_args_t args;
      CHECK_OK (memif_buffer_alloc (master.conn, 0, &buf, 1, &count, 1514));
      CHECK_OK (memif_delete (&slave.conn));
      memset (&args, 0, sizeof args);
      args.log2_ring_size = 6;
      args.buffer_size = 256;
      open_end (&slave, memif_get_socket_path (slave.socket), 0, &args);
      WAIT_UNTIL (master.connects == round + 1 && slave.connects == round + 1, &master, &slave);
      fill_pattern (buf.data, 1514, 1, 0);
      CHECK_EQ (memif_tx_burst (master.conn, 0, &buf, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (count, 0);
      CHECK_EQ (send_once (&master, 3, 1, 1514, 2048), 1);
      receive_exactly (&slave, 3, 1, 1514);
    }
  close_link (&master, &slave);
}

static const check_case_t cases[] = {
  CASE (every_size_arrives),
  CASE (rooms_and_packets_differ),
  CASE (unsent_packets_are_given_back),
  CASE (unsent_packets_outlive_their_link),
};

CHECK_MAIN (cases)
