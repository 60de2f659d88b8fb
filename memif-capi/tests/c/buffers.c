/* libmemif 4.0: buffers that change place, and buffers that a program has no right to. */
#include "stream.h"

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
  uint16_t index_a = a.desc_index, index_b = b.desc_index;
  CHECK (of_a != of_b && index_a != index_b);
  fill_pattern (a.data, 100, 1, 0);
  fill_pattern (b.data, 200, 2, 0);
  a.len = 100;
  b.len = 200;
  CHECK_OK (memif_buffer_requeue (link->slave.conn, &a, &b));
  /* each keeps its memory, in the other's slot */
  CHECK (a.data == of_a && b.data == of_b);
  CHECK_EQ (a.desc_index, index_b);
  CHECK_EQ (b.desc_index, index_a);
  memif_buffer_t both[] = { b, a };
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
      /* a master's packets begin where their buffers do, whatever data says */
      void *wrong[] = { elsewhere, NULL, (char *) good.data - 1, (char *) good.data + 2049 };
      for (int w = 0; i == 0 && w < 4; w++)
	{
	  bad = good;
	  bad.data = wrong[w];
	  CHECK_EQ (memif_tx_burst (conn, 0, &bad, 1, &count), MEMIF_ERR_INVAL_ARG);
	  CHECK_EQ (count, 0);
	}
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
  CASE (slave_sends_from_further_on),
  CASE (moved_without_a_copy),
  CASE (nothing_to_move),
  CASE (full_ring_takes_no_moves),
  CASE (buffers_change_place),
  CASE (back_to_an_earlier_buffer),
  CASE (garbage_is_not_sent),
  CASE (buffers_of_an_old_link),
};

CHECK_MAIN (cases)
