/* Sends packets to a peer that sends them back, checks them, and says how long they took. libmemif 1.0.
 *
 *   v1_ping [-m] [-s SOCKET] [-i ID] [-n PACKETS] [-l BYTES]
 *
 * The interface is a slave, or a master with -m. Exit status 0: every packet came back as it was sent.
 */
#include <libmemif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* How long a packet may be away, in milliseconds. */
#define PATIENCE 5000

static uint8_t packet[65535];
static uint32_t length = 64;
static unsigned long number, returned, wrong;
static int up;

static int
on_interrupt (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  memif_buffer_t buf;
  uint16_t count = 0;
  int err;
  (void) private_ctx;
  do
    {
      err = memif_rx_burst (conn, qid, &buf, 1, &count);
      if (count == 0)
	break;
      int same = buf.data_len == length && memcmp (buf.data, packet, length) == 0;
      wrong += !same;
      returned++;
      memif_buffer_free (conn, qid, &buf, 1, &count);
    }
  while (err == MEMIF_ERR_NOBUF);
  return 0;
}

static int
on_connect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  up = 1;
  return 0;
}

static int
on_disconnect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  up = 0;
  return 0;
}

static void
check (int err, const char *what)
{
  if (err == MEMIF_ERR_SUCCESS)
    return;
  fprintf (stderr, "%s: %s\n", what, memif_strerror (err));
  exit (1);
}

static double
milliseconds (void)
{
  struct timespec now;
  clock_gettime (CLOCK_MONOTONIC, &now);
  return (double) now.tv_sec * 1e3 + (double) now.tv_nsec / 1e6;
}

/* Sends one packet and waits until it is back; returns how long that took, in milliseconds. */
static double
ping (memif_conn_handle_t conn)
{
  memif_buffer_t buf;
  uint16_t count = 0;
  double began = milliseconds ();
  for (uint32_t i = 0; i < length; i++)
    packet[i] = (uint8_t) (number + i * 7);
  check (memif_buffer_alloc (conn, 0, &buf, 1, &count, (uint16_t) length), "room for a packet");
  memcpy (buf.data, packet, length);
  buf.data_len = length;
  check (memif_tx_burst (conn, 0, &buf, 1, &count), "send");
  number++;
  while (returned < number && up && milliseconds () - began < PATIENCE)
    check (memif_poll_event (PATIENCE), "poll");
  return milliseconds () - began;
}

int
main (int argc, char **argv)
{
  memif_conn_args_t args;
  memif_conn_handle_t conn = NULL;
  unsigned long total = 10;
  double sum = 0;
  int option;
  memset (&args, 0, sizeof args);
  while ((option = getopt (argc, argv, "ms:i:n:l:")) != -1)
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
      case 'n':
	total = strtoul (optarg, NULL, 0);
	break;
      case 'l':
	length = (uint32_t) strtoul (optarg, NULL, 0);
	break;
      default:
	fprintf (stderr, "usage: %s [-m] [-s SOCKET] [-i ID] [-n PACKETS] [-l BYTES]\n", argv[0]);
	return 2;
      }
  if (length < 1 || length > sizeof packet)
    {
      fprintf (stderr, "packets have 1 to %zu bytes\n", sizeof packet);
      return 2;
    }
  check (memif_init (NULL, (char *) "v1-ping"), "init");
  strcpy ((char *) args.interface_name, "ping");
  check (memif_create (&conn, &args, on_connect, on_disconnect, on_interrupt, NULL), "interface");
  while (!up)
    check (memif_poll_event (-1), "poll");
  while (number < total && returned == number && up)
    sum += ping (conn);
  printf ("%lu sent, %lu returned, %lu of them wrong, %.3f ms each\n", number, returned, wrong,
	  number ? sum / (double) number : 0.0);
  check (memif_delete (&conn), "delete");
  check (memif_cleanup (), "cleanup");
  return returned == total && wrong == 0 ? 0 : 1;
}
