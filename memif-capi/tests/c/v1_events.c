/* libmemif 1.0: event loops, interrupts, the end of a wait, links that come and go. */
#include "v1_link.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>

/* An event loop of the caller's. */
static int epoll_fd, watched, added, refuse;

static int
on_control_fd (int fd, uint8_t events)
{
  struct epoll_event event;
  memset (&event, 0, sizeof event);
  event.data.fd = fd;
  CHECK (fcntl (fd, F_GETFD) >= 0);
  if (events & MEMIF_FD_EVENT_DEL)
    {
      CHECK_EQ (epoll_ctl (epoll_fd, EPOLL_CTL_DEL, fd, NULL), 0);
      watched--;
      return 0;
    }
  if (refuse)
    return -1;
  event.events = ((events & MEMIF_FD_EVENT_READ) ? EPOLLIN : 0) | ((events & MEMIF_FD_EVENT_WRITE) ? EPOLLOUT : 0);
  int is_new = !(events & MEMIF_FD_EVENT_MOD);
  CHECK_EQ (epoll_ctl (epoll_fd, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event), 0);
  watched += is_new;
  added += is_new;
  return 0;
}

static void
run_loop (void)
{
  struct epoll_event events[8];
  int count = epoll_wait (epoll_fd, events, 8, 10);
  for (int i = 0; i < count; i++)
    {
      CHECK_OK (memif_control_fd_handler (events[i].data.fd, MEMIF_FD_EVENT_READ));
    }
}

#define RUN_UNTIL(condition)                                                                                           \
  for (int64_t run_end = now_ms () + PATIENCE_MS; !(condition);)                                                       \
    {                                                                                                                  \
      run_loop ();                                                                                                     \
      if (now_ms () > run_end)                                                                                         \
	check_failed (__FILE__, __LINE__, "in time: " #condition, 0, 1);                                               \
    }

static void
own_loop (void)
{
  char path[64];
  epoll_fd = epoll_create1 (0);
  refuse = 1;
  CHECK_EQ (memif_init (on_control_fd, NULL), MEMIF_ERR_CB_FDUPDATE);
  refuse = 0;
  for (int round = 0; round < 10; round++)
    {
      end_t master, slave;
      memset (&master, 0, sizeof master);
      memset (&slave, 0, sizeof slave);
      fresh_path (path, sizeof path);
      CHECK_OK (memif_init (on_control_fd, NULL));
      CHECK_EQ (memif_poll_event (0), MEMIF_ERR_BAD_FD);
      CHECK_OK (memif_control_fd_handler (epoll_fd, MEMIF_FD_EVENT_READ)); /* not ours: nothing happens */
      open_end (&master, path, 1, NULL);
      open_end (&slave, path, 0, NULL);
      RUN_UNTIL (master.connects && slave.connects);
      CHECK_EQ (send_packets (&slave, 0, 0, 4, 100), 4);
      RUN_UNTIL (master.interrupts > 0);
      CHECK_EQ (receive_packets (&master, 0, 0, 8, 100), 4);
      if (round % 2)
	{
	  CHECK_OK (memif_delete (&master.conn));
	  RUN_UNTIL (slave.disconnects == 1);
	}
      CHECK_OK (memif_cleanup ());
      CHECK_EQ (watched, 0);
    }
  CHECK (added >= 10 * 4);
  close (epoll_fd);
}

static int
readable (int fd)
{
  struct pollfd poll_fd = { fd, POLLIN, 0 };
  return poll (&poll_fd, 1, 0) == 1;
}

static void
interrupts_and_polling (void)
{
  end_t master, slave;
  memif_conn_args_t args;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  args.num_s2m_rings = args.num_m2s_rings = 2;
  open_link (&master, &slave, &args);
  end_t *ends[] = { &master, &slave };
  for (int i = 0; i < 2; i++)
    for (uint16_t qid = 0; qid < 2; qid++)
      {
	end_t *from = ends[i], *to = ends[1 - i];
	to->interrupts = 0;
	CHECK_EQ (send_packets (from, qid, 1, 3, 70), 3);
	WAIT_UNTIL (to->interrupts > 0);
	CHECK_EQ (to->interrupted_queue, qid);
	CHECK_EQ (receive_packets (to, qid, 1, 8, 70), 3);
	CHECK_OK (memif_set_rx_mode (to->conn, MEMIF_RX_MODE_POLLING, qid));
	CHECK_OK (memif_poll_event (10));
	CHECK_OK (memif_poll_event (10));
	to->interrupts = 0;
	CHECK_EQ (send_packets (from, qid, 1, 3, 70), 3);
	CHECK_OK (memif_poll_event (20));
	CHECK_EQ (to->interrupts, 0);
	CHECK_EQ (receive_packets (to, qid, 1, 8, 70), 3);
      }
  close_link (&master, &slave);
}

static void
queue_eventfds (void)
{
  end_t master, slave;
  memif_conn_args_t args;
  char path[64];
  int fd = -1;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  fresh_path (path, sizeof path);
  CHECK_OK (memif_init (NULL, NULL));
  open_end (&master, path, 1, NULL);
  args.socket_filename = (uint8_t *) path;
  CHECK_OK (memif_create (&slave.conn, &args, on_connect, on_disconnect, NULL, &slave));
  WAIT_UNTIL (master.connects && slave.connects);
  CHECK_OK (memif_get_queue_efd (slave.conn, 0, &fd));
  CHECK (!readable (fd));
  CHECK_EQ (send_packets (&master, 0, 0, 6, 64), 6);
  CHECK (readable (fd));
  CHECK_EQ (receive_packets (&slave, 0, 0, 4, 64), 4);
  CHECK (readable (fd)); /* there is more */
  CHECK_EQ (receive_packets (&slave, 0, 4, 4, 64), 2);
  CHECK (!readable (fd));
  close_link (&master, &slave);
}

static void
on_signal (int number)
{
  (void) number;
  memif_cancel_poll_event ();
}

static void *
cancel_soon (void *thread)
{
  usleep (20000);
  if (thread)
    CHECK_EQ (pthread_kill (*(pthread_t *) thread, SIGUSR1), 0);
  else
    CHECK_OK (memif_cancel_poll_event ());
  return NULL;
}

static void
cancelled_by_thread_and_signal (void)
{
  struct sigaction action;
  memset (&action, 0, sizeof action);
  action.sa_handler = on_signal;
  CHECK_EQ (sigaction (SIGUSR1, &action, NULL), 0);
  CHECK_OK (memif_init (NULL, NULL));
  for (int i = 0; i < 6; i++)
    {
      pthread_t self = pthread_self (), thread;
      int err;
      CHECK_EQ (pthread_create (&thread, NULL, cancel_soon, i % 2 ? &self : NULL), 0);
      while ((err = memif_poll_event (-1)) == MEMIF_ERR_SUCCESS)
	;
      CHECK_EQ (err, MEMIF_ERR_POLL_CANCEL);
      CHECK_EQ (pthread_join (thread, NULL), 0);
    }
  CHECK_OK (memif_cancel_poll_event ());
  CHECK_EQ (memif_poll_event (-1), MEMIF_ERR_POLL_CANCEL);
  CHECK_OK (memif_poll_event (0));
  CHECK_OK (memif_cleanup ());
}

/* Milliseconds, whatever the first headers said. */
static void
timeouts_are_milliseconds (void)
{
  CHECK_OK (memif_init (NULL, NULL));
  int64_t began = now_ms ();
  CHECK_OK (memif_poll_event (50));
  int64_t took = now_ms () - began;
  CHECK (took >= 45 && took < 20000);
  CHECK_OK (memif_cleanup ());
}

/* A slave tries again by itself: after 2 seconds. */
static void
slave_comes_back (void)
{
  end_t master, slave;
  char path[64];
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  fresh_path (path, sizeof path);
  CHECK_OK (memif_init (NULL, NULL));
  open_end (&slave, path, 0, NULL);
  CHECK_OK (memif_poll_event (10));
  CHECK_EQ (slave.connects, 0);
  open_end (&master, path, 1, NULL);
  WAIT_UNTIL (slave.connects == 1 && master.connects == 1);
  CHECK_OK (memif_delete (&master.conn));
  WAIT_UNTIL (slave.disconnects == 1);
  open_end (&master, path, 1, NULL);
  WAIT_UNTIL (slave.connects == 2);
  close_link (&master, &slave);
}

/* A slave that holds a packet of the link before is told of the next one's packets, and can read the old one meanwhile. */
static void
interrupts_come_while_an_old_packet_is_held (void)
{
  end_t master, slave;
  memif_buffer_t held;
  uint16_t count = 0, freed = 0;
  char path[64];
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  fresh_path (path, sizeof path);
  CHECK_OK (memif_init (NULL, NULL));
  open_end (&master, path, 1, NULL);
  open_end (&slave, path, 0, NULL);
  WAIT_UNTIL (slave.connects == 1 && master.connects == 1);
  for (int round = 0; round < 4; round++)
    {
      /* in a buffer of the ring, and in private memory */
      size_t len = round < 2 ? 700 : 5000;
      CHECK_EQ (send_packets (&master, 0, (uint32_t) round, 1, len), 1);
      WAIT_UNTIL (slave.interrupts > 0);
      CHECK_OK (memif_rx_burst (slave.conn, 0, &held, 1, &count));
      CHECK_EQ (count, 1);
      CHECK_OK (memif_delete (&master.conn));
      WAIT_UNTIL (slave.disconnects == round + 1);
      slave.interrupts = 0;
      open_end (&master, path, 1, NULL);
      WAIT_UNTIL (slave.connects == round + 2 && master.connects == round + 2);
      /* once without looking at the packets of the second link either */
      if (round == 1)
	{
	  CHECK_OK (memif_delete (&master.conn));
	  WAIT_UNTIL (slave.disconnects == round + 2);
	  slave.disconnects--;
	  open_end (&master, path, 1, NULL);
	  WAIT_UNTIL (slave.connects == round + 3 && master.connects == round + 3);
	  slave.connects--;
	  master.connects--;
	}
      check_pattern (held.data, len, (uint32_t) round, 0);
      CHECK_EQ (send_packets (&master, 0, 77, 1, 300), 1);
      WAIT_UNTIL (slave.interrupts > 0);
      check_pattern (held.data, len, (uint32_t) round, 0);
      CHECK_EQ (memif_buffer_free (slave.conn, 0, &held, 1, &freed), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (receive_packets (&slave, 0, 77, 1, 300), 1);
    }
  close_link (&master, &slave);
}

static memif_conn_handle_t victim;
static int deleted, victim_connects;

static int
delete_in_connect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  CHECK_OK (memif_delete (&victim));
  deleted++;
  return 0;
}

static int
delete_in_interrupt (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  (void) qid;
  return delete_in_connect (conn, private_ctx);
}

static int
count_connect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  victim_connects++;
  return 0;
}

static int
nothing (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  return 0;
}

static void
deleted_in_callbacks (void)
{
  for (int round = 0; round < 6; round++)
    {
      int when = round / 2, is_master = round % 2;
      end_t other;
      memif_conn_args_t args;
      char path[64];
      memset (&other, 0, sizeof other);
      memset (&args, 0, sizeof args);
      fresh_path (path, sizeof path);
      args.socket_filename = (uint8_t *) path;
      args.is_master = (uint8_t) is_master;
      deleted = victim_connects = 0;
      CHECK_OK (memif_init (NULL, NULL));
      if (!is_master)
	open_end (&other, path, 1, NULL);
      CHECK_OK (memif_create (&victim, &args, when == 0 ? delete_in_connect : count_connect,
			      when == 1 ? delete_in_connect : nothing, when == 2 ? delete_in_interrupt : NULL, NULL));
      if (is_master)
	open_end (&other, path, 0, NULL);
      if (when > 0)
	WAIT_UNTIL (other.connects == 1 && victim_connects == 1);
      if (when == 1)
	CHECK_OK (memif_delete (&other.conn));
      if (when == 2)
	CHECK_EQ (send_packets (&other, 0, 0, 1, 64), 1);
      WAIT_UNTIL (deleted == 1);
      CHECK (victim == NULL);
      CHECK_OK (memif_cleanup ());
    }
}

static const check_case_t cases[] = {
  CASE (own_loop),
  CASE (interrupts_and_polling),
  CASE (queue_eventfds),
  CASE (cancelled_by_thread_and_signal),
  CASE (timeouts_are_milliseconds),
  CASE (slave_comes_back),
  CASE (interrupts_come_while_an_old_packet_is_held),
  CASE (deleted_in_callbacks),
};

CHECK_MAIN (cases)
