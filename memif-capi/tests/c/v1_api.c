/* libmemif 1.0: every error that the header names, and details. */
#include "v1_link.h"

#define GARBAGE ((void *) (uintptr_t) 0xdeadbeefcafe)

static void
every_error_has_a_sentence (void)
{
  CHECK_STR (LIBMEMIF_VERSION, "1.0");
  for (int a = -2; a <= MEMIF_ERR_MAX_RING + 2; a++)
    {
      CHECK (strlen (memif_strerror (a)) > 3);
      for (int b = 0; b < a && a <= MEMIF_ERR_MAX_RING; b++)
	CHECK (strcmp (memif_strerror (a), memif_strerror (b)) != 0);
    }
  /* the numbers of 1.0, not those of 4.0 */
  CHECK (strstr (memif_strerror (MEMIF_ERR_ACCES), "ermission") != NULL);
}

static int
create (const memif_conn_args_t *args, memif_connection_update_t *connect, memif_connection_update_t *disconnect)
{
  memif_conn_handle_t conn = NULL;
  memif_conn_args_t copy = *args;
  int err = memif_create (&conn, &copy, connect, disconnect, NULL, NULL);
  CHECK_EQ (conn != NULL, err == MEMIF_ERR_SUCCESS);
  if (conn)
    CHECK_OK (memif_delete (&conn));
  return err;
}

static void
nothing_before_init (void)
{
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  for (int i = 0; i < 2; i++)
    {
      CHECK_EQ (create (&args, on_connect, on_disconnect), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_poll_event (0), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_cancel_poll_event (), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_control_fd_handler (0, MEMIF_FD_EVENT_READ), MEMIF_ERR_INVAL_ARG);
      CHECK_OK (memif_cleanup ());
      /* and nothing after the end */
      CHECK_EQ (memif_init (NULL, (char *) "a name that has more than 31 bytes"), MEMIF_ERR_INVAL_ARG);
      CHECK_OK (memif_init (NULL, (char *) "name"));
      CHECK_EQ (memif_init (NULL, NULL), MEMIF_ERR_ALREADY);
      CHECK_OK (memif_cleanup ());
    }
}

static void
interfaces_want_arguments (void)
{
  memif_conn_args_t good, args;
  memif_conn_handle_t conn = NULL;
  char path[64];
  fresh_path (path, sizeof path);
  memset (&good, 0, sizeof good);
  good.socket_filename = (uint8_t *) path;
  CHECK_OK (memif_init (NULL, NULL));
  CHECK_EQ (memif_create (NULL, &good, on_connect, on_disconnect, NULL, NULL), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (memif_create (&conn, NULL, on_connect, on_disconnect, NULL, NULL), MEMIF_ERR_INVAL_ARG);
  conn = &conn;
  CHECK_EQ (memif_create (&conn, &good, on_connect, on_disconnect, NULL, NULL), MEMIF_ERR_CONN);
  CHECK (conn == &conn);
  for (int is_master = 0; is_master < 2; is_master++)
    {
      good.is_master = (uint8_t) is_master;
      CHECK_OK (create (&good, on_connect, on_disconnect));
      args = good;
      args.log2_ring_size = 15;
      CHECK_EQ (create (&args, on_connect, on_disconnect), MEMIF_ERR_MAX_RING);
      args = good;
      args.buffer_size = 1;
      CHECK_EQ (create (&args, on_connect, on_disconnect), MEMIF_ERR_INVAL_ARG);
      args = good;
      args.mode = (memif_interface_mode_t) 3;
      CHECK_EQ (create (&args, on_connect, on_disconnect), MEMIF_ERR_INVAL_ARG);
    }
  args = good;
  args.socket_filename = (uint8_t *) "/tmp/memif-c-test-no-folder/socket";
  CHECK_EQ (create (&args, on_connect, on_disconnect), MEMIF_ERR_NO_FILE);
  args.is_master = 0; /* a slave waits for it */
  CHECK_OK (create (&args, on_connect, on_disconnect));
  args.is_master = 1;
  args.socket_filename = (uint8_t *) "/proc/self/status";
  CHECK_EQ (create (&args, on_connect, on_disconnect), MEMIF_ERR_FILE_NOT_SOCK);
  end_t end;
  memset (&end, 0, sizeof end);
  open_end (&end, path, 1, NULL);
  CHECK_EQ (create (&good, on_connect, on_disconnect), MEMIF_ERR_INVAL_ARG);
  CHECK_OK (memif_cleanup ());
  CHECK_EQ (memif_delete (&end.conn), MEMIF_ERR_NOCONN); /* gone with the rest */
}

/* Calls every function of a connection and queue. */
static void
every_call (memif_conn_handle_t conn, uint16_t qid, int err)
{
  memif_buffer_t buf;
  uint16_t count = 77;
  int fd = -1;
  memset (&buf, 0, sizeof buf);
  CHECK_EQ (memif_buffer_alloc (conn, qid, &buf, 1, &count, 0), err);
  CHECK_EQ (count, 0);
  count = 77;
  CHECK_EQ (memif_tx_burst (conn, qid, &buf, 1, &count), err);
  CHECK_EQ (count, 0);
  count = 77;
  CHECK_EQ (memif_rx_burst (conn, qid, &buf, 1, &count), err);
  CHECK_EQ (count, 0);
  count = 77;
  CHECK_EQ (memif_buffer_free (conn, qid, &buf, 1, &count), err);
  CHECK_EQ (count, 0);
  CHECK_EQ (memif_set_rx_mode (conn, MEMIF_RX_MODE_POLLING, qid), err);
  CHECK_EQ (memif_get_queue_efd (conn, qid, &fd), err);
}

static void
handles_that_are_none (void)
{
  end_t end, master, slave;
  char path[64], text[64];
  memset (&end, 0, sizeof end);
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  fresh_path (path, sizeof path);
  CHECK_OK (memif_init (NULL, NULL));
  open_end (&end, path, 0, NULL);
  every_call (end.conn, 0, MEMIF_ERR_DISCONNECTED);
  void *none[] = { NULL, end.conn, GARBAGE, &end };
  CHECK_OK (memif_delete (&end.conn));
  CHECK (end.conn == NULL);
  CHECK_EQ (memif_delete (&end.conn), MEMIF_ERR_NOCONN);
  CHECK_EQ (memif_delete (NULL), MEMIF_ERR_INVAL_ARG);
  for (int i = 0; i < 4; i++)
    {
      memif_conn_handle_t conn = none[i];
      memif_details_t details;
      every_call (conn, 0, MEMIF_ERR_NOCONN);
      CHECK_EQ (memif_get_details (conn, &details, text, sizeof text), MEMIF_ERR_NOCONN);
      CHECK_EQ (memif_delete (&conn), MEMIF_ERR_NOCONN);
    }
  CHECK_OK (memif_cleanup ());
  open_link (&master, &slave, NULL);
  end_t *ends[] = { &master, &slave };
  for (int i = 0; i < 2; i++)
    {
      memif_conn_handle_t conn = ends[i]->conn;
      memif_buffer_t buf;
      uint16_t count = 0;
      every_call (conn, 1, MEMIF_ERR_QID);
      every_call (conn, 65535, MEMIF_ERR_QID);
      CHECK_EQ (memif_buffer_alloc (conn, 0, NULL, 1, &count, 0), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_alloc (conn, 0, &buf, 1, NULL, 0), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_tx_burst (conn, 0, NULL, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_tx_burst (conn, 0, &buf, 1, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_rx_burst (conn, 0, NULL, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_rx_burst (conn, 0, &buf, 1, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_free (conn, 0, NULL, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_free (conn, 0, &buf, 1, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_get_queue_efd (conn, 0, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_get_details (conn, NULL, text, sizeof text), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_set_rx_mode (conn, (memif_rx_mode_t) 7, 0), MEMIF_ERR_INVAL_ARG);
      CHECK_OK (memif_rx_burst (conn, 0, &buf, 0, &count));
      CHECK_OK (memif_tx_burst (conn, 0, &buf, 0, &count));
      CHECK_OK (memif_buffer_alloc (conn, 0, &buf, 0, &count, 0));
      CHECK_OK (memif_buffer_free (conn, 0, &buf, 0, &count));
    }
  close_link (&master, &slave);
}

static void
details_of_both_ends (void)
{
  end_t master, slave;
  memif_conn_args_t args;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  args.num_s2m_rings = 2;
  args.num_m2s_rings = 3;
  args.log2_ring_size = 6;
  args.buffer_size = 512;
  args.interface_id = 77;
  args.mode = MEMIF_INTERFACE_MODE_IP;
  strcpy ((char *) args.secret, "hush");
  strcpy ((char *) args.instance_name, "instance");
  open_link (&master, &slave, &args);
  CHECK_EQ (send_packets (&slave, 1, 0, 5, 64), 5);
  CHECK_OK (memif_set_rx_mode (slave.conn, MEMIF_RX_MODE_POLLING, 2));
  end_t *ends[] = { &master, &slave };
  const char *names[] = { "v1-master", "v1-slave" };
  for (int i = 0; i < 2; i++)
    {
      memif_details_t md;
      char buf[2048];
      memset (&md, 0xee, sizeof md);
      CHECK_OK (memif_get_details (ends[i]->conn, &md, buf, sizeof buf));
      CHECK_STR (md.if_name, names[i]);
      CHECK_STR (md.inst_name, "instance");
      CHECK_STR (md.remote_if_name, names[1 - i]);
      CHECK_STR (md.remote_inst_name, "instance");
      CHECK_EQ (md.id, 77);
      CHECK_STR (md.secret, "hush");
      CHECK_EQ (md.role, i);
      CHECK_EQ (md.mode, MEMIF_INTERFACE_MODE_IP);
      CHECK_EQ (strncmp ((char *) md.socket_filename, "@memif-c-test-", 14), 0);
      CHECK_EQ (md.link_up_down, 1);
      CHECK_EQ (md.rx_queues_num, i == 0 ? 2 : 3);
      CHECK_EQ (md.tx_queues_num, i == 0 ? 3 : 2);
      for (int q = 0; q < md.rx_queues_num; q++)
	{
	  CHECK_EQ (md.rx_queues[q].qid, q);
	  CHECK_EQ (md.rx_queues[q].ring_size, 64);
	  CHECK_EQ (md.rx_queues[q].buffer_size, 512);
	  CHECK_EQ (md.rx_queues[q].flags & MEMIF_QUEUE_FLAG_POLLING, i == 1 && q == 2);
	}
      CHECK_EQ (i == 0 ? md.rx_queues[1].head : md.tx_queues[1].head, 5);
      size_t enough = sizeof buf;
      for (size_t size = 0; size < enough; size++)
	{
	  char tight[2048];
	  memset (tight, 0x55, sizeof tight);
	  int err = memif_get_details (ends[i]->conn, &md, tight + 3, (ssize_t) size);
	  for (size_t at = size + 3; at < sizeof tight; at++)
	    CHECK_EQ (tight[at], 0x55);
	  if (err == MEMIF_ERR_SUCCESS)
	    enough = size;
	  else
	    CHECK_EQ (err, MEMIF_ERR_NOBUF_DET);
	}
      CHECK (enough > 100 && enough < 1024);
      CHECK_EQ (memif_get_details (ends[i]->conn, &md, NULL, 2048), MEMIF_ERR_INVAL_ARG);
    }
  close_link (&master, &slave);
}

static const check_case_t cases[] = {
  CASE (every_error_has_a_sentence),
  CASE (nothing_before_init),
  CASE (interfaces_want_arguments),
  CASE (handles_that_are_none),
  CASE (details_of_both_ends),
};

CHECK_MAIN (cases)
