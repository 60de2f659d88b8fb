/* libmemif 4.0: interrupts, eventfds, and the end of a wait. */
#include "link.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

static int
readable (int fd)
{
  struct pollfd poll_fd = { fd, POLLIN, 0 };
  return poll (&poll_fd, 1, 0) == 1;
}

/* on_interrupt is called for the queue that has packets, and not in polling mode. */
static void
interrupts_both_ways (void)
{
  end_t master, slave;
  memif_conn_args_t args;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  args.num_m2s_rings = args.num_s2m_rings = 2;
  open_link (&master, &slave, &args);
  end_t *ends[] = { &master, &slave };
  for (int i = 0; i < 2; i++)
    for (uint16_t qid = 0; qid < 2; qid++)
      {
	end_t *from = ends[i], *to = ends[1 - i];
	to->interrupts = 0;
	CHECK_EQ (send_packets (from, qid, 1, 3, 70), 3);
	WAIT_UNTIL (to->interrupts > 0, from, to);
	CHECK_EQ (to->interrupted_queue, qid);
	CHECK_EQ (receive_packets (to, qid, 1, 8, 70), 3);
	CHECK_OK (memif_set_rx_mode (to->conn, MEMIF_RX_MODE_POLLING, qid));
	poll_end (to, 10);
	poll_end (to, 10);
	to->interrupts = 0;
	CHECK_EQ (send_packets (from, qid, 1, 3, 70), 3);
	poll_end (to, 20);
	CHECK_EQ (to->interrupts, 0);
	/* back, with packets waiting: they are not forgotten */
	CHECK_OK (memif_set_rx_mode (to->conn, MEMIF_RX_MODE_INTERRUPT, qid));
	WAIT_UNTIL (to->interrupts > 0, from, to);
	CHECK_EQ (receive_packets (to, qid, 1, 8, 70), 3);
      }
  close_link (&master, &slave);
}

/* Without on_interrupt the eventfd is the caller's to watch. It stays readable while there is more. */
static void
queue_eventfds (void)
{
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  char path[64];
  fresh_path (path, sizeof path);
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  open_end (&master, path, 1, NULL);
  slave.socket = open_socket (path);
  args.socket = slave.socket;
  CHECK_OK (memif_create (&slave.conn, &args, on_connect, on_disconnect, NULL, &slave));
  wait_up (&master, &slave);
  int fd = -1;
  memif_buffer_t bufs[8];
  uint16_t count = 0;
  CHECK_OK (memif_get_queue_efd (slave.conn, 0, &fd));
  CHECK (fd >= 0);
  while (memif_rx_burst (slave.conn, 0, bufs, 8, &count), readable (fd))
    ;
  CHECK_EQ (send_packets (&master, 0, 0, 6, 64), 6);
  CHECK (readable (fd));
  CHECK_EQ (memif_rx_burst (slave.conn, 0, bufs, 4, &count), MEMIF_ERR_NOBUF);
  CHECK (readable (fd));
  CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, 4, &count));
  CHECK_EQ (count, 2);
  CHECK (!readable (fd));
  CHECK_OK (memif_refill_queue (slave.conn, 0, ALL, 0));
  CHECK_OK (memif_set_rx_mode (slave.conn, MEMIF_RX_MODE_POLLING, 0));
  CHECK_OK (memif_rx_burst (slave.conn, 0, bufs, 4, &count));
  while (memif_rx_burst (slave.conn, 0, bufs, 4, &count), readable (fd))
    {
      uint64_t value;
      CHECK_EQ (read (fd, &value, sizeof value), (long) sizeof value);
    }
  CHECK_EQ (send_packets (&master, 0, 0, 6, 64), 6);
  CHECK (!readable (fd));
  CHECK_EQ (slave.interrupts, 0);
  close_link (&master, &slave);
}

static void *
cancel_soon (void *socket)
{
  usleep (20000);
  CHECK_OK (memif_cancel_poll_event (socket));
  return NULL;
}

static memif_socket_handle_t signalled;

static void
cancel_on_signal (int number)
{
  (void) number;
  memif_cancel_poll_event (signalled);
}

static void *
signal_soon (void *thread)
{
  usleep (20000);
  CHECK_EQ (pthread_kill (*(pthread_t *) thread, SIGUSR1), 0);
  return NULL;
}

/* Polls without limit until cancelled; a signal may end a wait before that. */
static void
poll_until_cancelled (memif_socket_handle_t socket)
{
  int err;
  while ((err = memif_poll_event (socket, -1)) == MEMIF_ERR_SUCCESS)
    ;
  CHECK_EQ (err, MEMIF_ERR_POLL_CANCEL);
}

static void
cancelled_by_thread_and_signal (void)
{
  end_t master;
  memset (&master, 0, sizeof master);
  char path[64];
  fresh_path (path, sizeof path);
  open_end (&master, path, 1, NULL);
  for (int i = 0; i < 5; i++)
    {
      pthread_t thread;
      CHECK_EQ (pthread_create (&thread, NULL, cancel_soon, master.socket), 0);
      poll_until_cancelled (master.socket);
      CHECK_EQ (pthread_join (thread, NULL), 0);
    }
  /* ahead of the poll, and only once */
  CHECK_OK (memif_cancel_poll_event (master.socket));
  CHECK_EQ (memif_poll_event (master.socket, -1), MEMIF_ERR_POLL_CANCEL);
  CHECK_OK (memif_poll_event (master.socket, 0));
  struct sigaction action;
  memset (&action, 0, sizeof action);
  action.sa_handler = cancel_on_signal;
  signalled = master.socket;
  CHECK_EQ (sigaction (SIGUSR1, &action, NULL), 0);
  for (int i = 0; i < 5; i++)
    {
      pthread_t self = pthread_self (), thread;
      CHECK_EQ (pthread_create (&thread, NULL, signal_soon, &self), 0);
      poll_until_cancelled (master.socket);
      CHECK_EQ (pthread_join (thread, NULL), 0);
    }
  close_end (&master);
}

/* A storm of signals that cancel, while the thread makes and deletes interfaces: no lock is taken twice. */
static void
signals_at_any_moment (void)
{
  end_t master;
  memset (&master, 0, sizeof master);
  char path[64];
  fresh_path (path, sizeof path);
  open_end (&master, path, 1, NULL);
  struct sigaction action;
  memset (&action, 0, sizeof action);
  action.sa_handler = cancel_on_signal;
  action.sa_flags = SA_RESTART;
  signalled = master.socket;
  CHECK_EQ (sigaction (SIGALRM, &action, NULL), 0);
  struct itimerspec every = { { 0, 200000 }, { 0, 200000 } };
  timer_t timer;
  CHECK_EQ (timer_create (CLOCK_MONOTONIC, NULL, &timer), 0);
  CHECK_EQ (timer_settime (timer, 0, &every, NULL), 0);
  int64_t end = now_ms () + 500;
  int cancelled = 0;
  while (now_ms () < end)
    {
      memif_conn_args_t args;
      memif_conn_handle_t conn = NULL;
      memset (&args, 0, sizeof args);
      args.socket = master.socket;
      args.is_master = 1;
      args.interface_id = 5;
      CHECK_OK (memif_create (&conn, &args, on_connect, on_disconnect, NULL, &master));
      cancelled += memif_poll_event (master.socket, 1) == MEMIF_ERR_POLL_CANCEL;
      CHECK_OK (memif_delete (&conn));
    }
  timer_delete (timer);
  signal (SIGALRM, SIG_DFL);
  CHECK (cancelled > 0);
  memif_poll_event (master.socket, 0);
  close_end (&master);
}

static int returned_by_interrupt;

static int
on_interrupt_returns (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  memif_buffer_t bufs[8];
  uint16_t count = 0;
  (void) private_ctx;
  memif_rx_burst (conn, qid, bufs, 8, &count);
  memif_refill_queue (conn, qid, count, 0);
  return returned_by_interrupt;
}

static int
on_link_returns (memif_conn_handle_t conn, void *private_ctx)
{
  on_connect (conn, private_ctx);
  return 99;
}

/* As in the C library: what on_interrupt returns is what memif_poll_event returns; the other functions' is ignored. */
static void
interrupt_results_reach_the_poll (void)
{
  end_t master, slave;
  memif_conn_args_t args;
  char path[64];
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  fresh_path (path, sizeof path);
  open_end (&slave, path, 0, NULL);
  args.socket = master.socket = open_socket (path);
  args.is_master = master.is_master = 1;
  CHECK_OK (memif_create (&master.conn, &args, on_link_returns, on_link_returns, on_interrupt_returns, &master));
  wait_up (&master, &slave);
  int wanted[] = { 7, -1, MEMIF_ERR_NOBUF, 1000000 };
  for (int i = 0; i < 4; i++)
    {
      returned_by_interrupt = wanted[i];
      CHECK_EQ (send_packets (&slave, 0, 0, 1, 64), 1);
      int err = MEMIF_ERR_SUCCESS;
      for (int64_t over = now_ms () + PATIENCE_MS; err == MEMIF_ERR_SUCCESS;)
	{
	  CHECK (now_ms () < over);
	  err = memif_poll_event (master.socket, 10);
	}
      CHECK_EQ (err, wanted[i]);
      CHECK_OK (memif_poll_event (master.socket, 0));
    }
  close_link (&master, &slave);
}

static const check_case_t cases[] = {
  CASE (interrupts_both_ways),
  CASE (queue_eventfds),
  CASE (interrupt_results_reach_the_poll),
  CASE (cancelled_by_thread_and_signal),
  CASE (signals_at_any_moment),
};

CHECK_MAIN (cases)
