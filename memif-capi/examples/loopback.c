/* Sends back every packet that it receives, by polling. libmemif 4.0.
 *
 *   loopback [-m] [-s SOCKET] [-i ID]
 *
 * The interface is a slave, or a master with -m. Ends on SIGINT and SIGTERM.
 */
#include <libmemif.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BURST 64

static volatile sig_atomic_t stopped;
static int is_master, up;
static unsigned long long packets;

/* Receives at most as much as there is room to send, and copies it. */
static void
send_back (memif_conn_handle_t conn)
{
  memif_buffer_t in[BURST], out[BURST];
  uint16_t room = 0, received = 0, sent = 0;
  memif_buffer_alloc (conn, 0, out, BURST, &room, 0);
  if (room == 0)
    return;
  memif_rx_burst (conn, 0, in, room, &received);
  for (uint16_t i = 0; i < received; i++)
    {
      /* both sides of a link have buffers of one size */
      uint32_t len = in[i].len < out[i].len ? in[i].len : out[i].len;
      memcpy (out[i].data, in[i].data, len);
      out[i].len = len;
      out[i].flags = in[i].flags & MEMIF_BUFFER_FLAG_NEXT;
      packets += !out[i].flags;
    }
  memif_refill_queue (conn, 0, received, 0);
  memif_tx_burst (conn, 0, out, received, &sent);
  /* what was not needed is free again */
  if (received < room)
    memif_set_next_free_buffer (conn, 0, &out[received]);
}

static int
on_connect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) private_ctx;
  up = 1;
  puts ("connected");
  if (!is_master)
    memif_refill_queue (conn, 0, (uint16_t) -1, 0);
  return memif_set_rx_mode (conn, MEMIF_RX_MODE_POLLING, 0);
}

static int
on_disconnect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  up = 0;
  printf ("disconnected after %llu packets\n", packets);
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

int
main (int argc, char **argv)
{
  memif_socket_handle_t ctrl_socket = NULL;
  memif_conn_handle_t conn = NULL;
  memif_socket_args_t socket_args;
  memif_conn_args_t args;
  int option;
  memset (&socket_args, 0, sizeof socket_args);
  memset (&args, 0, sizeof args);
  while ((option = getopt (argc, argv, "ms:i:")) != -1)
    switch (option)
      {
      case 'm':
	is_master = 1;
	break;
      case 's':
	snprintf (socket_args.path, sizeof socket_args.path, "%s", optarg);
	break;
      case 'i':
	args.interface_id = (uint32_t) strtoul (optarg, NULL, 0);
	break;
      default:
	fprintf (stderr, "usage: %s [-m] [-s SOCKET] [-i ID]\n", argv[0]);
	return 2;
      }
  setvbuf (stdout, NULL, _IOLBF, 0);
  signal (SIGINT, stop);
  signal (SIGTERM, stop);
  strcpy (socket_args.app_name, "loopback");
  socket_args.connection_request_timer.it_value.tv_sec = 1;
  socket_args.connection_request_timer.it_interval.tv_sec = 1;
  check (memif_create_socket (&ctrl_socket, &socket_args, NULL), "socket");
  args.socket = ctrl_socket;
  args.is_master = (uint8_t) is_master;
  strcpy ((char *) args.interface_name, "loopback");
  check (memif_create (&conn, &args, on_connect, on_disconnect, NULL, NULL), "interface");
  for (unsigned turn = 0; !stopped; turn++)
    {
      /* look for events now and then; with no link there is nothing else to do */
      if (!up || turn % 1024 == 0)
	check (memif_poll_event (ctrl_socket, up ? 0 : 100), "poll");
      if (up)
	send_back (conn);
    }
  check (memif_delete (&conn), "delete");
  check (memif_delete_socket (&ctrl_socket), "delete socket");
  return 0;
}
