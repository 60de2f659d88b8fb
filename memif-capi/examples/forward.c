/* Passes packets between two interfaces without copying them: both are slaves that keep their packets in one memory,
 * so a buffer received on one is sent on the other as it is. libmemif 4.0.
 *
 *   forward -a SOCKET -b SOCKET
 *
 * Ends on SIGINT and SIGTERM.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <libmemif.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BURST 64
#define BUFFER 2048
#define LOG2_RING 10
/* The buffers of what one interface receives: a ring of posted ones, and a ring of those that the other one sends. */
#define BUFFERS (2u << LOG2_RING)
#define AREA (BUFFERS * BUFFER)
#define MEMORY (2 * AREA)

typedef struct
{
  memif_socket_handle_t socket;
  memif_conn_handle_t conn;
  memif_buffer_t bufs[BURST]; /* received and not passed on */
  uint16_t first, waiting;
  uint32_t area;	 /* where its buffers begin in the memory */
  uint32_t posted, passed; /* buffers, from the first on */
  unsigned long long sent;
} port_t;

static volatile sig_atomic_t stopped;
static int ports_up, memory_fd = -1;
static void *memory;

/* Both interfaces get the same memory when they are created ... */
static int
add_region (void **addr, uint32_t size, int *fd, void *private_ctx)
{
  (void) private_ctx;
  *addr = memory;
  *fd = memory_fd;
  return size > MEMORY;
}

/* ... and say where each buffer is that they post. Buffers are received, passed on and sent in the order in which they were
 * posted, so the oldest of the area is always free. */
static uint32_t
next_offset (void *private_ctx)
{
  port_t *port = private_ctx;
  return port->area + port->posted++ % BUFFERS * BUFFER;
}

static int
del_region (void *addr, uint32_t size, int fd, void *private_ctx)
{
  (void) addr;
  (void) size;
  (void) fd;
  (void) private_ctx;
  return 0;
}

/* Moves what has been received, as far as there is room on the other side; the rest waits. */
static void
pass (port_t *from, port_t *to)
{
  uint16_t moved = 0, sent = 0;
  if (from->waiting == 0)
    {
      from->first = 0;
      memif_rx_burst (from->conn, 0, from->bufs, BURST, &from->waiting);
    }
  if (from->waiting == 0)
    return;
  memif_buffer_t *bufs = from->bufs + from->first;
  memif_buffer_enq_tx (to->conn, 0, bufs, from->waiting, &moved);
  memif_refill_queue (from->conn, 0, moved, 0);
  memif_tx_burst (to->conn, 0, bufs, moved, &sent);
  from->first = (uint16_t) (from->first + moved);
  from->waiting = (uint16_t) (from->waiting - moved);
  from->passed += moved;
  to->sent += sent;
}

static int
on_connect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) private_ctx;
  ports_up++;
  memif_set_rx_mode (conn, MEMIF_RX_MODE_POLLING, 0);
  return memif_refill_queue (conn, 0, (uint16_t) -1, 0);
}

static int
on_disconnect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  port_t *port = private_ctx;
  /* what was posted and not passed on is free */
  port->posted = port->passed;
  port->waiting = 0;
  ports_up--;
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

static void
open_port (port_t *port, const char *path)
{
  memif_socket_args_t socket_args;
  memif_conn_args_t args;
  memset (&socket_args, 0, sizeof socket_args);
  memset (&args, 0, sizeof args);
  snprintf (socket_args.path, sizeof socket_args.path, "%s", path);
  strcpy (socket_args.app_name, "forward");
  socket_args.connection_request_timer.it_value.tv_nsec = 100000000;
  socket_args.connection_request_timer.it_interval.tv_nsec = 100000000;
  check (memif_create_socket (&port->socket, &socket_args, NULL), path);
  memif_register_external_region (port->socket, add_region, NULL, del_region, next_offset);
  args.socket = port->socket;
  args.buffer_size = BUFFER;
  args.log2_ring_size = LOG2_RING;
  strcpy ((char *) args.interface_name, "forward");
  check (memif_create (&port->conn, &args, on_connect, on_disconnect, NULL, port), path);
}

static void
close_port (port_t *port)
{
  check (memif_delete (&port->conn), "delete");
  check (memif_delete_socket (&port->socket), "delete socket");
}

int
main (int argc, char **argv)
{
  const char *paths[2] = { NULL, NULL };
  port_t left, right;
  int option;
  memset (&left, 0, sizeof left);
  memset (&right, 0, sizeof right);
  right.area = AREA;
  while ((option = getopt (argc, argv, "a:b:")) != -1)
    if (option == 'a' || option == 'b')
      paths[option - 'a'] = optarg;
  if (!paths[0] || !paths[1])
    {
      fprintf (stderr, "usage: %s -a SOCKET -b SOCKET\n", argv[0]);
      return 2;
    }
  signal (SIGINT, stop);
  signal (SIGTERM, stop);
  memory_fd = memfd_create ("forward", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  /* peers want to be sure that it is not cut short under them */
  if (memory_fd < 0 || ftruncate (memory_fd, MEMORY) < 0 || fcntl (memory_fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
    {
      perror ("memory");
      return 1;
    }
  memory = mmap (NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
  if (memory == MAP_FAILED)
    {
      perror ("memory");
      return 1;
    }
  open_port (&left, paths[0]);
  open_port (&right, paths[1]);
  for (unsigned turn = 0; !stopped; turn++)
    {
      int idle = ports_up < 2;
      if (idle || turn % 1024 == 0)
	{
	  check (memif_poll_event (left.socket, idle ? 10 : 0), "poll");
	  check (memif_poll_event (right.socket, idle ? 10 : 0), "poll");
	}
      if (idle)
	continue;
      pass (&left, &right);
      pass (&right, &left);
    }
  printf ("%llu buffers to the left, %llu to the right\n", left.sent, right.sent);
  close_port (&left);
  close_port (&right);
  munmap (memory, MEMORY);
  close (memory_fd);
  return 0;
}
