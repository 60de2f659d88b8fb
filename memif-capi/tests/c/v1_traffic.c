/* libmemif 1.0: packets, both roles, with contents checked. */
#include "v1_link.h"
#include <pthread.h>
#include <sys/wait.h>

typedef struct
{
  end_t master, slave;
} link_t;

static link_t *
linked (uint8_t log2_ring_size, uint16_t buffer_size)
{
  static link_t link;
  memif_conn_args_t args;
  memset (&link, 0, sizeof link);
  memset (&args, 0, sizeof args);
  args.log2_ring_size = log2_ring_size;
  args.buffer_size = buffer_size;
  args.num_s2m_rings = args.num_m2s_rings = 2;
  open_link (&link.master, &link.slave, &args);
  return &link;
}

static void
packets_both_ways (void)
{
  const size_t sizes[] = { 1, 60, 64, 65, 1514, 2048 };
  link_t *link = linked (0, 0);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    {
      stream (&link->master, &link->slave, 0, 2000, sizes[i]);
      stream (&link->slave, &link->master, 1, 2000, sizes[i]);
    }
  close_link (&link->master, &link->slave);
}

/* Packets of five slots in a ring of 16: they wrap, and come in one piece all the same. */
static void
large_packets (void)
{
  link_t *link = linked (4, 2048);
  end_t *ends[] = { &link->slave, &link->master };
  stream (&link->master, &link->slave, 0, 2000, 9000);
  stream (&link->slave, &link->master, 0, 2000, 9000);
  stream (&link->slave, &link->master, 0, 300, 16 * 2048);
  for (uint32_t i = 0; i < 4000; i++)
    {
      size_t len = 1 + i * 977 % 9000;
      CHECK_EQ (send_packets (ends[i / 2000], 0, i, 1, len), 1);
      CHECK_EQ (receive_packets (ends[1 - i / 2000], 0, i, 4, len), 1);
    }
  close_link (&link->master, &link->slave);
}

/* Rooms of different sizes, taken in several calls and sent in others; short packets in large rooms. */
static void
rooms_and_packets_differ (void)
{
  link_t *link = linked (5, 1024);
  end_t *ends[] = { &link->slave, &link->master };
  const uint16_t sizes[] = { 0, 5000, 100, 1025, 3072, 1 };
  const uint32_t lens[] = { 1024, 4999, 7, 1, 3072, 1 };
  const uint32_t slots[] = { 1, 5, 1, 2, 3, 1 };
  for (uint32_t round = 0; round < 2000; round++)
    {
      end_t *from = ends[round % 2], *to = ends[1 - round % 2];
      memif_buffer_t bufs[6], got[6];
      uint16_t count = 0;
      for (int i = 0; i < 6; i++)
	{
	  CHECK_OK (memif_buffer_alloc (from->conn, 0, &bufs[i], 1, &count, sizes[i]));
	  CHECK_EQ (bufs[i].buffer_len >= lens[i], 1);
	  CHECK_EQ (bufs[i].buffer_len <= slots[i] * 1024, 1);
	}
      for (int i = 5; i >= 0; i--)
	{
	  fill_pattern (bufs[i].data, lens[i], round + (uint32_t) i, 0);
	  bufs[i].data_len = lens[i];
	}
      CHECK_OK (memif_tx_burst (from->conn, 0, bufs, 2, &count));
      CHECK_EQ (count, 2);
      CHECK_OK (memif_tx_burst (from->conn, 0, bufs + 2, 4, &count));
      CHECK_EQ (count, 4);
      CHECK_EQ (memif_rx_burst (to->conn, 0, got, 1, &count), MEMIF_ERR_NOBUF);
      CHECK_EQ (count, 1);
      CHECK_OK (memif_rx_burst (to->conn, 0, got + 1, 5, &count));
      CHECK_EQ (count, 5);
      for (int i = 0; i < 6; i++)
	{
	  CHECK_EQ (got[i].data_len, lens[i]);
	  check_pattern (got[i].data, lens[i], round + (uint32_t) i, 0);
	}
      CHECK_OK (memif_buffer_free (to->conn, 0, got, 4, &count));
      CHECK_EQ (count, 4);
      CHECK_OK (memif_buffer_free (to->conn, 0, got + 4, 2, &count));
      CHECK_EQ (count, 2);
    }
  close_link (&link->master, &link->slave);
}

static void
rings_fill_and_empty (void)
{
  link_t *link = linked (3, 1024);
  end_t *ends[] = { &link->slave, &link->master };
  for (int i = 0; i < 2; i++)
    {
      end_t *from = ends[i], *to = ends[1 - i];
      memif_buffer_t bufs[9], one;
      uint16_t count = 77;
      CHECK_EQ (memif_buffer_alloc (from->conn, 0, &one, 1, &count, 9000), MEMIF_ERR_NOBUF_RING);
      CHECK_EQ (count, 0);
      /* three slots each: two in eight */
      CHECK_EQ (memif_buffer_alloc (from->conn, 0, bufs, 3, &count, 3000), MEMIF_ERR_NOBUF_RING);
      CHECK_EQ (count, 2);
      CHECK_OK (memif_buffer_alloc (from->conn, 0, bufs + 2, 2, &count, 0));
      CHECK_EQ (count, 2);
      CHECK_EQ (memif_buffer_alloc (from->conn, 0, &one, 1, &count, 0), MEMIF_ERR_NOBUF_RING);
      for (uint32_t p = 0; p < 4; p++)
	{
	  bufs[p].data_len = 900;
	  fill_pattern (bufs[p].data, 900, p, 0);
	}
      CHECK_OK (memif_tx_burst (from->conn, 0, bufs, 4, &count));
      CHECK_EQ (count, 4);
      CHECK_OK (memif_rx_burst (to->conn, 0, bufs, 9, &count));
      CHECK_EQ (count, 4);
      memif_buffer_t more[8];
      CHECK_OK (memif_rx_burst (to->conn, 0, more, 8, &count));
      CHECK_EQ (count, 0);
      for (uint32_t p = 0; p < 4; p++)
	check_pattern (bufs[p].data, 900, p, 0);
      CHECK_OK (memif_buffer_free (to->conn, 0, bufs, 4, &count));
      CHECK_EQ (count, 4);
      CHECK_EQ (memif_buffer_free (to->conn, 0, bufs, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (count, 0);
      stream (from, to, 0, 500, 3000);
    }
  close_link (&link->master, &link->slave);
}

/* The counters of the rings wrap at 65536, three times, while packets are held back. */
static void
counters_wrap (end_t *from, end_t *to)
{
  enum
  {
    SLOTS = 16
  };
  uint32_t sent = 0, received = 0, held = 0;
  memif_buffer_t bufs[SLOTS];
  while (received < 220000)
    {
      uint16_t count = 0, freed = 0;
      sent += send_packets (from, 0, sent, SLOTS, 30);
      CHECK (sent - received + held <= SLOTS);
      CHECK_OK (memif_rx_burst (to->conn, 0, bufs + held, (uint16_t) (SLOTS - held), &count));
      for (uint32_t i = 0; i < count; i++)
	check_pattern (bufs[held + i].data, bufs[held + i].data_len, received + i, 0);
      received += count;
      held += count;
      uint32_t back = held == SLOTS ? 9 : received / 7 % (held + 1);
      CHECK_OK (memif_buffer_free (to->conn, 0, bufs, (uint16_t) back, &freed));
      CHECK_EQ (freed, back);
      held -= back;
      memmove (bufs, bufs + back, held * sizeof *bufs);
    }
}

static void
counters_wrap_from_slave (void)
{
  link_t *link = linked (4, 64);
  counters_wrap (&link->slave, &link->master);
  close_link (&link->master, &link->slave);
}

static void
counters_wrap_from_master (void)
{
  link_t *link = linked (4, 64);
  counters_wrap (&link->master, &link->slave);
  close_link (&link->master, &link->slave);
}

/* What a program may do wrong with buffers costs it these buffers, and no memory. */
static void
garbage_is_not_sent (void)
{
  link_t *link = linked (4, 1024);
  end_t *ends[] = { &link->slave, &link->master };
  for (int i = 0; i < 4; i++)
    {
      memif_conn_handle_t conn = ends[i % 2]->conn, other = ends[1 - i % 2]->conn;
      const uint16_t size = i < 2 ? 0 : 3000;
      static char elsewhere[4096];
      memif_buffer_t good, bad;
      uint16_t count = 77;
      CHECK_OK (memif_buffer_alloc (conn, 0, &good, 1, &count, size));
      bad = good;
      bad.desc_index = (uint16_t) (bad.desc_index + 1);
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (count, 0);
      bad = good;
      bad.data = elsewhere;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      bad.data = NULL;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      bad = good;
      bad.data_len = bad.buffer_len + 1;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      bad.buffer_len = bad.data_len = UINT32_MAX;
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      memset (&bad, 0xff, sizeof bad);
      CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      fill_pattern (good.data, 999, 3, 0);
      good.data_len = 999;
      CHECK_OK (memif_tx_burst (conn, 0, &good, 1, &count));
      CHECK_EQ (memif_tx_burst (conn, 0, &good, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_OK (memif_rx_burst (other, 0, &good, 1, &count));
      CHECK_EQ (count, 1);
      CHECK_EQ (memif_buffer_free (other, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_tx_burst (other, 0, &good, 1, &count), MEMIF_ERR_INVAL_ARG);
      check_pattern (good.data, 999, 3, 0);
      CHECK_OK (memif_buffer_free (other, 0, &good, 1, &count));
      CHECK_EQ (memif_buffer_free (other, 0, &good, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (count, 0);
      stream (ends[i % 2], ends[1 - i % 2], 0, 100, 700);
    }
  close_link (&link->master, &link->slave);
}

/* Buffers of a link that is gone are nothing to the next; a large one stays the caller's to read until then. */
static void
buffers_of_an_old_link (void)
{
  char path[64];
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  fresh_path (path, sizeof path);
  CHECK_OK (memif_init (NULL, NULL));
  open_end (&master, path, 1, NULL);
  open_end (&slave, path, 0, NULL);
  WAIT_UNTIL (master.connects && slave.connects);
  memif_buffer_t room, packet;
  uint16_t count = 0;
  CHECK_EQ (send_packets (&master, 0, 5, 1, 5000), 1);
  CHECK_OK (memif_rx_burst (slave.conn, 0, &packet, 1, &count));
  CHECK_OK (memif_buffer_alloc (slave.conn, 0, &room, 1, &count, 5000));
  CHECK_OK (memif_delete (&master.conn));
  WAIT_UNTIL (slave.disconnects == 1);
  CHECK_EQ (memif_tx_burst (slave.conn, 0, &room, 1, &count), MEMIF_ERR_DISCONNECTED);
  CHECK_EQ (memif_buffer_free (slave.conn, 0, &packet, 1, &count), MEMIF_ERR_DISCONNECTED);
  open_end (&master, path, 1, NULL);
  WAIT_UNTIL (slave.connects == 2 && master.connects == 2);
  CHECK_EQ (memif_tx_burst (slave.conn, 0, &room, 1, &count), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (memif_buffer_free (slave.conn, 0, &packet, 1, &count), MEMIF_ERR_INVAL_ARG);
  stream (&slave, &master, 0, 1000, 64);
  stream (&master, &slave, 0, 1000, 5000);
  close_link (&master, &slave);
}

static void *
polling (void *nothing)
{
  (void) nothing;
  int err;
  while ((err = memif_poll_event (-1)) == MEMIF_ERR_SUCCESS)
    ;
  CHECK_EQ (err, MEMIF_ERR_POLL_CANCEL);
  return NULL;
}

static void *
sending (void *end)
{
  for (uint32_t sent = 0; sent < 100000;)
    {
      uint32_t left = 100000 - sent;
      sent += send_packets (end, 0, sent, (uint16_t) (left < 32 ? left : 32), 200);
      sched_yield ();
    }
  return NULL;
}

static void
data_threads (void)
{
  link_t *link = linked (0, 0);
  pthread_t poller, senders[2];
  CHECK_EQ (pthread_create (&poller, NULL, polling, NULL), 0);
  CHECK_EQ (pthread_create (&senders[0], NULL, sending, &link->master), 0);
  CHECK_EQ (pthread_create (&senders[1], NULL, sending, &link->slave), 0);
  for (uint32_t up = 0, down = 0; up < 100000 || down < 100000;)
    {
      up += receive_packets (&link->master, 0, up, 64, 200);
      down += receive_packets (&link->slave, 0, down, 64, 200);
      sched_yield ();
    }
  CHECK_EQ (pthread_join (senders[0], NULL), 0);
  CHECK_EQ (pthread_join (senders[1], NULL), 0);
  CHECK_OK (memif_cancel_poll_event ());
  CHECK_EQ (pthread_join (poller, NULL), 0);
  close_link (&link->master, &link->slave);
}

/* Sends everything it receives back, in the child; the parent checks. */
static void
echo (end_t *end)
{
  while (end->disconnects == 0)
    {
      memif_buffer_t in[32], out;
      uint16_t received = 0, count = 0;
      CHECK_OK (memif_poll_event (0));
      memif_rx_burst (end->conn, 0, in, 32, &received);
      for (uint16_t i = 0; i < received && end->disconnects == 0;)
	{
	  CHECK_OK (memif_poll_event (0));
	  if (memif_buffer_alloc (end->conn, 0, &out, 1, &count, (uint16_t) in[i].data_len) != MEMIF_ERR_SUCCESS)
	    continue;
	  memcpy (out.data, in[i].data, in[i].data_len);
	  out.data_len = in[i].data_len;
	  memif_tx_burst (end->conn, 0, &out, 1, &count);
	  i++;
	}
      memif_buffer_free (end->conn, 0, in, received, &count);
    }
}

static void
two_processes (void)
{
  for (int child_is_master = 0; child_is_master < 2; child_is_master++)
    {
      char path[64];
      end_t end;
      fresh_path (path, sizeof path);
      memset (&end, 0, sizeof end);
      pid_t child = fork ();
      CHECK (child >= 0);
      CHECK_OK (memif_init (NULL, NULL));
      open_end (&end, path, child == 0 ? child_is_master : !child_is_master, NULL);
      WAIT_UNTIL (end.connects > 0);
      uint32_t sent = 0, received = 0;
      if (child == 0)
	echo (&end);
      else
	while (received < 20000)
	  {
	    if (sent < 20000 && sent - received < 64)
	      sent += send_packets (&end, 0, sent, 8, 5000);
	    received += receive_packets (&end, 0, received, 64, 5000);
	    CHECK_OK (memif_poll_event (0));
	    CHECK_EQ (end.disconnects, 0);
	  }
      CHECK_OK (memif_delete (&end.conn));
      CHECK_OK (memif_cleanup ());
      if (child == 0)
	_exit (0);
      int status = -1;
      CHECK_EQ (waitpid (child, &status, 0), child);
      CHECK_EQ (status, 0);
    }
}

static const check_case_t cases[] = {
  CASE (packets_both_ways),	   CASE (large_packets),
  CASE (rooms_and_packets_differ), CASE (rings_fill_and_empty),
  CASE (counters_wrap_from_slave), CASE (counters_wrap_from_master),
  CASE (garbage_is_not_sent),	   CASE (buffers_of_an_old_link),
  CASE (data_threads),		   CASE (two_processes),
};

CHECK_MAIN (cases)
