/* libmemif 4.0 in an event loop of the caller's. */
#include "link.h"
#include <fcntl.h>
#include <sys/epoll.h>

/* An event loop of a caller's, as an application has one. */
typedef struct
{
  int epoll;
  int watched, added, deleted;
  int refuse; /* the next descriptor */
} loop_t;

static int
on_fd_update (memif_fd_event_t fde, void *private_ctx)
{
  loop_t *loop = private_ctx;
  struct epoll_event event;
  memset (&event, 0, sizeof event);
  event.data.ptr = fde.private_ctx;
  /* open in any case, also for the last time */
  CHECK (fcntl (fde.fd, F_GETFD) >= 0);
  if (fde.type & MEMIF_FD_EVENT_DEL)
    {
      CHECK_EQ (epoll_ctl (loop->epoll, EPOLL_CTL_DEL, fde.fd, NULL), 0);
      loop->watched--;
      loop->deleted++;
      return 0;
    }
  if (loop->refuse)
    return -1;
  if (fde.type & MEMIF_FD_EVENT_READ)
    event.events |= EPOLLIN;
  if (fde.type & MEMIF_FD_EVENT_WRITE)
    event.events |= EPOLLOUT;
  int is_new = !(fde.type & MEMIF_FD_EVENT_MOD);
  CHECK (fde.private_ctx != NULL);
  CHECK_EQ (epoll_ctl (loop->epoll, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fde.fd, &event), 0);
  loop->watched += is_new;
  loop->added += is_new;
  return 0;
}

static memif_socket_handle_t
looped_socket (loop_t *loop, const char *path)
{
  memif_socket_args_t args;
  memif_socket_handle_t socket = NULL;
  memset (&args, 0, sizeof args);
  strcpy (args.path, path);
  args.connection_request_timer.it_value.tv_nsec = 20000000;
  args.connection_request_timer.it_interval.tv_nsec = 20000000;
  args.on_control_fd_update = on_fd_update;
  CHECK_OK (memif_create_socket (&socket, &args, loop));
  return socket;
}

static void
run_loop (loop_t *loop)
{
  struct epoll_event events[8];
  int count = epoll_wait (loop->epoll, events, 8, 1);
  for (int i = 0; i < count; i++)
    {
      int what = (events[i].events & EPOLLIN) ? MEMIF_FD_EVENT_READ : 0;
      what |= (events[i].events & EPOLLOUT) ? MEMIF_FD_EVENT_WRITE : 0;
      what |= (events[i].events & (EPOLLERR | EPOLLHUP)) ? MEMIF_FD_EVENT_ERROR : 0;
      /* an event of this batch may have ended the descriptor of a later one */
      int err = memif_control_fd_handler (events[i].data.ptr, (memif_fd_event_type_t) what);
      if (err != MEMIF_ERR_SUCCESS)
	CHECK_EQ (err, MEMIF_ERR_INVAL_ARG);
    }
}

#define RUN_UNTIL(condition, loop)                                                                                     \
  for (int64_t run_end = now_ms () + PATIENCE_MS; !(condition);)                                                       \
    {                                                                                                                  \
      run_loop (loop);                                                                                                 \
      if (now_ms () > run_end)                                                                                         \
	check_failed (__FILE__, __LINE__, "in time: " #condition, 0, 1);                                               \
    }

static int
open_descriptors (void)
{
  int count = 0;
  for (int fd = 0; fd < 1024; fd++)
    count += fcntl (fd, F_GETFD) >= 0;
  return count;
}

/* Both ends in one loop: links come and go, every descriptor that was watched is deleted, and none stays open. */
static void
own_loop (void)
{
  loop_t loop;
  memset (&loop, 0, sizeof loop);
  loop.epoll = epoll_create1 (0);
  /* the first round opens one file that stays for the whole program */
  int at_most = open_descriptors () + 1;
  char path[64];
  fresh_path (path, sizeof path);
  for (int round = 0; round < 20; round++)
    {
      end_t master, slave;
      memset (&master, 0, sizeof master);
      memset (&slave, 0, sizeof slave);
      master.socket = looped_socket (&loop, path);
      slave.socket = looped_socket (&loop, path);
      CHECK_EQ (memif_poll_event (master.socket, 0), MEMIF_ERR_BAD_FD);
      open_end (&master, path, 1, NULL);
      open_end (&slave, path, 0, NULL);
      RUN_UNTIL (master.connects && slave.connects, &loop);
      CHECK_EQ (send_packets (&slave, 0, 0, 4, 100), 4);
      RUN_UNTIL (master.interrupts > 0, &loop);
      CHECK_EQ (receive_packets (&master, 0, 0, 8, 100), 4);
      CHECK_OK (memif_delete (round % 2 ? &master.conn : &slave.conn));
      RUN_UNTIL (round % 2 ? slave.disconnects : master.disconnects, &loop);
      close_link (&master, &slave);
      CHECK_EQ (loop.watched, 0);
      CHECK_EQ (loop.added, loop.deleted);
    }
  CHECK (loop.added >= 20 * 4);
  /* what came from a peer is closed on a thread of the library's */
  RUN_UNTIL (open_descriptors () <= at_most, &loop);
  close (loop.epoll);
}

static void
a_loop_that_refuses (void)
{
  loop_t loop;
  memset (&loop, 0, sizeof loop);
  loop.epoll = epoll_create1 (0);
  end_t master;
  memset (&master, 0, sizeof master);
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  char path[64];
  fresh_path (path, sizeof path);
  master.socket = looped_socket (&loop, path);
  loop.refuse = 1;
  args.socket = master.socket;
  args.is_master = 1;
  CHECK_EQ (memif_create (&master.conn, &args, on_connect, on_disconnect, NULL, &master), MEMIF_ERR_CB_FDUPDATE);
  CHECK (master.conn == NULL);
  loop.refuse = 0;
  CHECK_OK (memif_create (&master.conn, &args, on_connect, on_disconnect, NULL, &master));
  close_end (&master);
  CHECK_EQ (loop.watched, 0);
  loop.refuse = 1;
  memif_socket_args_t socket_args;
  memset (&socket_args, 0, sizeof socket_args);
  socket_args.on_control_fd_update = on_fd_update;
  CHECK_EQ (memif_create_socket (&master.socket, &socket_args, &loop), MEMIF_ERR_CB_FDUPDATE);
  CHECK (master.socket == NULL);
  close (loop.epoll);
}

/* A descriptor that the loop refuses fails the call that it came with, and no later one. */
static void
a_refused_client_fails_no_other_call (void)
{
  loop_t loop;
  end_t master, slave;
  memset (&loop, 0, sizeof loop);
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  loop.epoll = epoll_create1 (0);
  char path[64];
  fresh_path (path, sizeof path);
  master.socket = looped_socket (&loop, path);
  open_end (&master, path, 1, NULL);
  open_end (&slave, path, 0, NULL);
  /* the slave polls itself: the next descriptor of the loop's is that of the slave's connection, at its accept */
  loop.refuse = 1;
  int err = MEMIF_ERR_SUCCESS;
  for (int64_t over = now_ms () + PATIENCE_MS; err == MEMIF_ERR_SUCCESS;)
    {
      struct epoll_event event;
      CHECK (now_ms () < over);
      poll_end (&slave, 0);
      if (epoll_wait (loop.epoll, &event, 1, 1) == 1)
	err = memif_control_fd_handler (event.data.ptr, MEMIF_FD_EVENT_READ);
    }
  CHECK_EQ (err, MEMIF_ERR_CB_FDUPDATE);
  loop.refuse = 0;
  memif_conn_args_t args;
  memif_conn_handle_t second = NULL;
  memset (&args, 0, sizeof args);
  args.socket = master.socket;
  args.is_master = 1;
  CHECK_EQ (memif_create (&second, &args, on_connect, on_disconnect, NULL, &master), MEMIF_ERR_INVAL_ARG);
  RUN_UNTIL ((poll_end (&slave, 0), master.connects && slave.connects), &loop);
  close_link (&master, &slave);
  CHECK_EQ (loop.watched, 0);
  close (loop.epoll);
}

static int
interrupt_returns_42 (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  memif_buffer_t bufs[8];
  uint16_t count = 0;
  CHECK_OK (memif_rx_burst (conn, qid, bufs, 8, &count));
  CHECK_OK (memif_refill_queue (conn, qid, count, 0));
  ((end_t *) private_ctx)->interrupts++;
  return 42;
}

/* What on_interrupt returns is what memif_control_fd_handler returns, for the descriptor that it was about. */
static void
interrupt_results_reach_the_loop (void)
{
  loop_t loop;
  end_t master, slave;
  memif_conn_args_t args;
  char path[64];
  memset (&loop, 0, sizeof loop);
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  loop.epoll = epoll_create1 (0);
  fresh_path (path, sizeof path);
  args.socket = master.socket = looped_socket (&loop, path);
  slave.socket = looped_socket (&loop, path);
  args.is_master = master.is_master = 1;
  CHECK_OK (memif_create (&master.conn, &args, on_connect, on_disconnect, interrupt_returns_42, &master));
  open_end (&slave, path, 0, NULL);
  RUN_UNTIL (master.connects && slave.connects, &loop);
  for (int round = 1; round <= 5; round++)
    {
      int returned = 0;
      CHECK_EQ (send_packets (&slave, 0, 0, 4, 100), 4);
      for (int64_t over = now_ms () + PATIENCE_MS; master.interrupts < round;)
	{
	  struct epoll_event event;
	  CHECK (now_ms () < over);
	  if (epoll_wait (loop.epoll, &event, 1, 10) == 1)
	    returned = memif_control_fd_handler (event.data.ptr, MEMIF_FD_EVENT_READ);
	}
      CHECK_EQ (returned, 42);
    }
  close_link (&master, &slave);
  close (loop.epoll);
}

static const check_case_t cases[] = {
  CASE (own_loop),
  CASE (a_loop_that_refuses),
  CASE (a_refused_client_fails_no_other_call),
  CASE (interrupt_results_reach_the_loop),
};

CHECK_MAIN (cases)
