/* Sends back every packet that it receives, in an event loop of its own. libmemif 1.0.
 *
 *   v1_echo [-m] [-s SOCKET] [-i ID]
 *
 * The interface is a slave, or a master with -m. Ends on SIGINT and SIGTERM.
 */
#include <errno.h>
#include <libmemif.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BURST 64

static int epoll_fd;
static volatile sig_atomic_t stopped;

static int
on_control_fd_update (int fd, uint8_t events)
{
  struct epoll_event event;
  memset (&event, 0, sizeof event);
  event.data.fd = fd;
  if (events & MEMIF_FD_EVENT_DEL)
    return epoll_ctl (epoll_fd, EPOLL_CTL_DEL, fd, NULL);
  if (events & MEMIF_FD_EVENT_READ)
    event.events |= EPOLLIN;
  if (events & MEMIF_FD_EVENT_WRITE)
    event.events |= EPOLLOUT;
  return epoll_ctl (epoll_fd, events & MEMIF_FD_EVENT_MOD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event);
}

static int
on_interrupt (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  memif_buffer_t in[BURST], out[BURST];
  uint16_t received = 0, room = 0, count = 0;
  int err;
  (void) private_ctx;
  do
    {
      err = memif_rx_burst (conn, qid, in, BURST, &received);
      for (uint16_t done = 0; done < received; done++)
	{
	  /* packets differ in size, so each gets room of its own */
	  if (memif_buffer_alloc (conn, qid, out, 1, &room, (uint16_t) in[done].data_len) != MEMIF_ERR_SUCCESS)
	    break;
	  memcpy (out[0].data, in[done].data, in[done].data_len);
	  out[0].data_len = in[done].data_len;
	  memif_tx_burst (conn, qid, out, 1, &count);
	}
      memif_buffer_free (conn, qid, in, received, &count);
    }
  while (err == MEMIF_ERR_NOBUF);
  return 0;
}

static int
on_connect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  puts ("connected");
  return 0;
}

static int
on_disconnect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  puts ("disconnected");
  return 0;
}

static void
stop (int number)
{
  (void) number;
  stopped = 1;
}

static void
check (int err, const char *what)
{
  if (err == MEMIF_ERR_SUCCESS)
    return;
  fprintf (stderr, "%s: %s\n", what, memif_strerror (err));
  exit (1);
}

/* Waits for events and hands them to the library. */
static void
run (void)
{
  struct epoll_event events[16];
  int count = epoll_wait (epoll_fd, events, 16, -1);
  if (count < 0 && errno != EINTR)
    stopped = 1;
  for (int i = 0; i < count; i++)
    {
      uint8_t what = 0;
      if (events[i].events & EPOLLIN)
	what |= MEMIF_FD_EVENT_READ;
      if (events[i].events & EPOLLOUT)
	what |= MEMIF_FD_EVENT_WRITE;
      if (events[i].events & (EPOLLERR | EPOLLHUP))
	what |= MEMIF_FD_EVENT_ERROR;
      /* an event handled before may have ended this descriptor: not an error */
      memif_control_fd_handler (events[i].data.fd, what);
    }
}

int
main (int argc, char **argv)
{
  memif_conn_args_t args;
  memif_conn_handle_t conn = NULL;
  struct sigaction action;
  int option;
  memset (&args, 0, sizeof args);
  memset (&action, 0, sizeof action);
  while ((option = getopt (argc, argv, "ms:i:")) != -1)
    switch (option)
      {
      case 'm':
	args.is_master = 1;
	break;
      case 's':
	args.socket_filename = (uint8_t *) optarg;
	break;
      case 'i':
	args.interface_id = (memif_interface_id_t) strtoul (optarg, NULL, 0);
	break;
      default:
	fprintf (stderr, "usage: %s [-m] [-s SOCKET] [-i ID]\n", argv[0]);
	return 2;
      }
  setvbuf (stdout, NULL, _IOLBF, 0);
  action.sa_handler = stop; /* without SA_RESTART: it ends the wait */
  sigaction (SIGINT, &action, NULL);
  sigaction (SIGTERM, &action, NULL);
  epoll_fd = epoll_create1 (EPOLL_CLOEXEC);
  check (memif_init (on_control_fd_update, (char *) "v1-echo"), "init");
  strcpy ((char *) args.interface_name, "echo");
  check (memif_create (&conn, &args, on_connect, on_disconnect, on_interrupt, NULL), "interface");
  while (!stopped)
    run ();
  check (memif_delete (&conn), "delete");
  check (memif_cleanup (), "cleanup");
  close (epoll_fd);
  return 0;
}
