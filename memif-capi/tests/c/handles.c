/* libmemif 4.0: invalid handles and arguments. */
#include "link.h"

#define GARBAGE ((void *) (uintptr_t) 0xdeadbeefcafe)

static void
invalid_socket_handles_are_rejected (void)
{
  memif_socket_handle_t socket = NULL, stale;
  struct itimerspec timer;
  memset (&timer, 0, sizeof timer);
  CHECK_EQ (memif_delete_socket (NULL), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (memif_delete_socket (&socket), MEMIF_ERR_INVAL_ARG);
  stale = socket = open_socket ("@gone");
  CHECK_OK (memif_delete_socket (&socket));
  void *none[] = { NULL, stale, GARBAGE };
  for (int i = 0; i < 3; i++)
    {
      CHECK (memif_get_socket_path (none[i]) == NULL);
      CHECK_EQ (memif_get_listener_fd (none[i]), -1);
      CHECK_EQ (memif_set_listener_fd (none[i], 0), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_set_connection_request_timer (none[i], timer), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_poll_event (none[i], 0), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_cancel_poll_event (none[i]), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_control_fd_handler (none[i], MEMIF_FD_EVENT_READ), MEMIF_ERR_INVAL_ARG);
      memif_register_external_region (none[i], NULL, NULL, NULL, NULL);
      memif_socket_handle_t again = none[i];
      CHECK_EQ (memif_delete_socket (&again), MEMIF_ERR_INVAL_ARG);
    }
}

/* Calls every function of a connection and queue. */
static void
every_call (memif_conn_handle_t conn, uint16_t qid, int err)
{
  memif_buffer_t buf, other;
  uint16_t count = 77;
  int fd = 77;
  memset (&buf, 0, sizeof buf);
  memset (&other, 0, sizeof other);
  CHECK_EQ (memif_buffer_alloc (conn, qid, &buf, 1, &count, 0), err);
  CHECK_EQ (count, 0);
  count = 77;
  CHECK_EQ (memif_tx_burst (conn, qid, &buf, 1, &count), err);
  CHECK_EQ (count, 0);
  count = 77;
  CHECK_EQ (memif_rx_burst (conn, qid, &buf, 1, &count), err);
  CHECK_EQ (count, 0);
  CHECK_EQ (memif_refill_queue (conn, qid, 1, 0), err);
  CHECK_EQ (memif_set_rx_mode (conn, MEMIF_RX_MODE_POLLING, qid), err);
  CHECK_EQ (memif_get_queue_efd (conn, qid, &fd), err);
  CHECK_EQ (fd, -1);
  CHECK_EQ (memif_set_next_free_buffer (conn, qid, &buf), err);
}

static void
invalid_connection_handles_are_rejected (void)
{
  end_t end;
  memset (&end, 0, sizeof end);
  char path[64], text[64];
  fresh_path (path, sizeof path);
  open_end (&end, path, 0, NULL);
  memif_conn_handle_t stale = end.conn, null = NULL;
  memif_socket_handle_t socket = end.socket;
  close_end (&end);
  CHECK_EQ (memif_delete (NULL), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (memif_delete (&null), MEMIF_ERR_NOCONN);
  void *none[] = { NULL, stale, GARBAGE, socket, &end };
  for (int i = 0; i < 5; i++)
    {
      memif_conn_handle_t conn = none[i];
      memif_details_t details;
      memif_buffer_t buf;
      uint16_t count = 77;
      memset (&buf, 0, sizeof buf);
      every_call (conn, 0, MEMIF_ERR_NOCONN);
      CHECK_EQ (memif_buffer_enq_tx (conn, 0, &buf, 1, &count), MEMIF_ERR_NOCONN);
      CHECK_EQ (count, 0);
      CHECK_EQ (memif_buffer_requeue (conn, &buf, &buf), MEMIF_ERR_NOCONN);
      CHECK_EQ (memif_request_connection (conn), MEMIF_ERR_NOCONN);
      CHECK_EQ (memif_get_details (conn, &details, text, sizeof text), MEMIF_ERR_NOCONN);
      CHECK (memif_get_socket_handle (conn) == NULL);
      CHECK_EQ (memif_delete (&conn), MEMIF_ERR_NOCONN);
    }
}

static void
calls_without_a_link_return_disconnected (void)
{
  for (int is_master = 0; is_master < 2; is_master++)
    {
      end_t end;
      memset (&end, 0, sizeof end);
      char path[64];
      fresh_path (path, sizeof path);
      open_end (&end, path, is_master, NULL);
      every_call (end.conn, 0, MEMIF_ERR_DISCONNECTED);
      close_end (&end);
    }
}

static void
invalid_queue_ids_are_rejected (void)
{
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  open_link (&master, &slave, NULL);
  every_call (master.conn, 1, MEMIF_ERR_QID);
  every_call (slave.conn, 1, MEMIF_ERR_QID);
  every_call (slave.conn, 65535, MEMIF_ERR_QID);
  close_link (&master, &slave);
}

static void
null_arguments_are_rejected (void)
{
  end_t master, slave;
  memif_buffer_t buf;
  uint16_t count = 0;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&buf, 0, sizeof buf);
  open_link (&master, &slave, NULL);
  end_t *ends[] = { &master, &slave };
  for (int i = 0; i < 2; i++)
    {
      memif_conn_handle_t conn = ends[i]->conn;
      CHECK_EQ (memif_buffer_alloc (conn, 0, NULL, 1, &count, 0), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_alloc (conn, 0, &buf, 1, NULL, 0), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_tx_burst (conn, 0, NULL, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_tx_burst (conn, 0, &buf, 1, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_rx_burst (conn, 0, NULL, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_rx_burst (conn, 0, &buf, 1, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_enq_tx (conn, 0, NULL, 1, &count), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_enq_tx (conn, 0, &buf, 1, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_requeue (conn, NULL, &buf), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_buffer_requeue (conn, &buf, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_set_next_free_buffer (conn, 0, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_get_queue_efd (conn, 0, NULL), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_get_details (conn, NULL, NULL, 0), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_set_rx_mode (conn, (memif_rx_mode_t) 7, 0), MEMIF_ERR_INVAL_ARG);
    }
  close_link (&master, &slave);
}

static const check_case_t cases[] = {
  CASE (invalid_socket_handles_are_rejected),
  CASE (invalid_connection_handles_are_rejected),
  CASE (calls_without_a_link_return_disconnected),
  CASE (invalid_queue_ids_are_rejected),
  CASE (null_arguments_are_rejected),
};

CHECK_MAIN (cases)
