/* libmemif 4.0: interfaces that one thread makes, describes and deletes while another one handles events. */
#include "link.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#define ROUNDS 150

static atomic_int stop;

/* The context of an interface, freed as soon as memif_delete has returned. AddressSanitizer finds a later use. */
typedef struct
{
  atomic_int connects, disconnects, interrupts;
  memif_conn_handle_t conn;
} context_t;

static int
count_connect (memif_conn_handle_t conn, void *private_ctx)
{
  context_t *context = private_ctx;
  context->conn = conn;
  atomic_fetch_add (&context->connects, 1);
  memif_refill_queue (conn, 0, ALL, 0);
  return 0;
}

static int
count_disconnect (memif_conn_handle_t conn, void *private_ctx)
{
  context_t *context = private_ctx;
  context->conn = conn;
  atomic_fetch_add (&context->disconnects, 1);
  return 0;
}

static int
count_interrupt (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  context_t *context = private_ctx;
  context->conn = conn;
  atomic_fetch_add (&context->interrupts, 1);
  memif_buffer_t bufs[64];
  uint16_t count = 0;
  memif_rx_burst (conn, qid, bufs, 64, &count);
  memif_refill_queue (conn, qid, count, 0);
  return 0;
}

static void *
poll_socket (void *socket)
{
  while (!stop)
    CHECK_OK (memif_poll_event (socket, 1));
  return NULL;
}

/* The interface that is there at the moment, for a thread that looks at it all the time. */
static memif_conn_handle_t _Atomic current;

static void
pause_us (long us)
{
  struct timespec span = { 0, us * 1000 };
  nanosleep (&span, NULL);
}

static void *
describe (void *arg)
{
  (void) arg;
  for (int turn = 1; !stop; turn++)
    {
      memif_details_t md;
      char text[2048];
      int err = memif_get_details (current, &md, text, sizeof text);
      if (err != MEMIF_ERR_SUCCESS)
	CHECK_EQ (err, MEMIF_ERR_NOCONN);
      /* valgrind runs one thread at a time, and may never run another beside one that does not sleep */
      if (turn % 64 == 0)
	pause_us (50);
    }
  return NULL;
}

static memif_conn_handle_t
make (memif_socket_handle_t socket, int is_master, context_t *context)
{
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  args.socket = socket;
  args.is_master = (uint8_t) is_master;
  args.log2_ring_size = 4;
  memif_conn_handle_t conn = NULL;
  CHECK_OK (memif_create (&conn, &args, count_connect, count_disconnect, count_interrupt, context));
  return conn;
}

static void
context_is_freed_after_delete (void)
{
  char path[64];
  pthread_t threads[4];
  fresh_path (path, sizeof path);
  memif_socket_handle_t sockets[2] = { open_socket (path), open_socket (path) };
  context_t far;
  memset (&far, 0, sizeof far);
  memif_conn_handle_t far_conn = make (sockets[0], 1, &far);
  stop = 0;
  /* two threads at one socket: one may be on its way into a function when the other one deletes */
  CHECK_EQ (pthread_create (&threads[0], NULL, poll_socket, sockets[0]), 0);
  CHECK_EQ (pthread_create (&threads[1], NULL, poll_socket, sockets[1]), 0);
  CHECK_EQ (pthread_create (&threads[2], NULL, poll_socket, sockets[1]), 0);
  CHECK_EQ (pthread_create (&threads[3], NULL, describe, NULL), 0);
  for (int round = 0; round < ROUNDS; round++)
    {
      context_t *context = calloc (1, sizeof *context);
      memif_conn_handle_t conn = make (sockets[1], 0, context);
      current = conn;
      /* every third one is deleted on its way up, the others when there is traffic */
      int64_t over = now_ms () + PATIENCE_MS;
      while (round % 3 && !context->connects)
	{
	  CHECK (now_ms () < over);
	  pause_us (50);
	}
      memif_buffer_t buf;
      uint16_t count = 0;
      if (memif_buffer_alloc (far_conn, 0, &buf, 1, &count, 64) == MEMIF_ERR_SUCCESS)
	memif_tx_burst (far_conn, 0, &buf, 1, &count);
      pause_us (round % 7 * 30);
      CHECK_OK (memif_delete (&conn));
      CHECK_EQ (context->connects, context->disconnects);
      CHECK (context->connects <= 1);
      memset (context, 0x5a, sizeof *context);
      free (context);
    }
  stop = 1;
  for (int i = 0; i < 4; i++)
    CHECK_EQ (pthread_join (threads[i], NULL), 0);
  CHECK_OK (memif_delete (&far_conn));
  CHECK_EQ (far.connects, far.disconnects);
  CHECK_OK (memif_delete_socket (&sockets[0]));
  CHECK_OK (memif_delete_socket (&sockets[1]));
}

/* A program with one lock: it holds it around its calls, and takes it in the function that is told of descriptors. */
static pthread_mutex_t program_lock;
static int epoll_fd;

static int
locked_fd_update (memif_fd_event_t fde, void *private_ctx)
{
  (void) private_ctx;
  struct epoll_event event;
  memset (&event, 0, sizeof event);
  event.events = EPOLLIN;
  event.data.ptr = fde.private_ctx;
  pthread_mutex_lock (&program_lock);
  int deletes = (fde.type & MEMIF_FD_EVENT_DEL) != 0;
  CHECK_EQ (epoll_ctl (epoll_fd, deletes ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, fde.fd, &event), 0);
  pthread_mutex_unlock (&program_lock);
  return 0;
}

static void *
handle_events (void *arg)
{
  (void) arg;
  while (!stop)
    {
      struct epoll_event events[8];
      int count = epoll_wait (epoll_fd, events, 8, 1);
      for (int i = 0; i < count; i++)
	{
	  int err = memif_control_fd_handler (events[i].data.ptr, MEMIF_FD_EVENT_READ);
	  if (err != MEMIF_ERR_SUCCESS)
	    CHECK_EQ (err, MEMIF_ERR_INVAL_ARG);
	}
    }
  return NULL;
}

static memif_socket_handle_t
locked_socket (const char *path)
{
  memif_socket_args_t args;
  memset (&args, 0, sizeof args);
  strcpy (args.path, path);
  args.connection_request_timer.it_interval.tv_nsec = 1000000;
  args.on_control_fd_update = locked_fd_update;
  memif_socket_handle_t socket = NULL;
  CHECK_OK (memif_create_socket (&socket, &args, NULL));
  return socket;
}

static void
a_program_may_lock_around_calls_and_in_the_fd_callback (void)
{
  char path[64];
  pthread_t thread;
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init (&attributes);
  pthread_mutexattr_settype (&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init (&program_lock, &attributes);
  fresh_path (path, sizeof path);
  epoll_fd = epoll_create1 (0);
  memif_socket_handle_t sockets[2] = { locked_socket (path), locked_socket (path) };
  context_t contexts[2];
  stop = 0;
  CHECK_EQ (pthread_create (&thread, NULL, handle_events, NULL), 0);
  for (int round = 0; round < ROUNDS; round++)
    {
      memset (contexts, 0, sizeof contexts);
      pthread_mutex_lock (&program_lock);
      memif_conn_handle_t conns[2] = { make (sockets[0], 1, &contexts[0]), make (sockets[1], 0, &contexts[1]) };
      pthread_mutex_unlock (&program_lock);
      int64_t over = now_ms () + PATIENCE_MS;
      while (round % 2 && !(contexts[0].connects && contexts[1].connects))
	{
	  memif_details_t md;
	  char text[2048];
	  CHECK (now_ms () < over);
	  pthread_mutex_lock (&program_lock);
	  CHECK_OK (memif_get_details (conns[0], &md, text, sizeof text));
	  int err = memif_request_connection (conns[1]);
	  CHECK (err == MEMIF_ERR_SUCCESS || err == MEMIF_ERR_ALRCONN || err == MEMIF_ERR_CONNREFUSED);
	  pthread_mutex_unlock (&program_lock);
	  pause_us (50); /* see `describe` */
	}
      pause_us (round % 5 * 100);
      pthread_mutex_lock (&program_lock);
      CHECK_OK (memif_delete (&conns[round % 2]));
      CHECK_OK (memif_delete (&conns[1 - round % 2]));
      pthread_mutex_unlock (&program_lock);
    }
  stop = 1;
  CHECK_EQ (pthread_join (thread, NULL), 0);
  CHECK_OK (memif_delete_socket (&sockets[0]));
  CHECK_OK (memif_delete_socket (&sockets[1]));
  close (epoll_fd);
  pthread_mutex_destroy (&program_lock);
}

static const check_case_t cases[] = {
  CASE (context_is_freed_after_delete),
  CASE (a_program_may_lock_around_calls_and_in_the_fd_callback),
};

CHECK_MAIN (cases)
