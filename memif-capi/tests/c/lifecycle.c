/* libmemif 4.0: links that come and go, and interfaces that end at odd moments. */
#include "link.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Interfaces that delete themselves inside a callback. */
enum
{
  IN_CONNECT = 1,
  IN_DISCONNECT,
  IN_INTERRUPT
};

typedef struct
{
  memif_conn_handle_t conn;
  int when, deleted, connects;
} victim_t;

static int
delete_when (victim_t *victim, int now)
{
  if (victim->when == now)
    {
      CHECK_OK (memif_delete (&victim->conn));
      CHECK (victim->conn == NULL);
      victim->deleted++;
    }
  return 0;
}

static int
victim_connect (memif_conn_handle_t conn, void *private_ctx)
{
  victim_t *victim = private_ctx;
  victim->connects++;
  memif_refill_queue (conn, 0, ALL, 0);
  return delete_when (victim, IN_CONNECT);
}

static int
victim_disconnect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  return delete_when (private_ctx, IN_DISCONNECT);
}

static int
victim_interrupt (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  (void) conn;
  (void) qid;
  return delete_when (private_ctx, IN_INTERRUPT);
}

static void
deleted_in_callbacks (void)
{
  for (int is_master = 0; is_master < 2; is_master++)
    for (int when = IN_CONNECT; when <= IN_INTERRUPT; when++)
      {
	end_t other;
	victim_t victim = { NULL, when, 0, 0 };
	memset (&other, 0, sizeof other);
	char path[64];
	fresh_path (path, sizeof path);
	memif_conn_args_t args;
	memset (&args, 0, sizeof args);
	end_t own;
	memset (&own, 0, sizeof own);
	args.socket = own.socket = open_socket (path);
	args.is_master = (uint8_t) is_master;
	if (!is_master)
	  open_end (&other, path, 1, NULL);
	CHECK_OK (
	  memif_create (&victim.conn, &args, victim_connect, victim_disconnect, victim_interrupt, &victim));
	if (is_master)
	  open_end (&other, path, 0, NULL);
	if (when != IN_CONNECT)
	  {
	    WAIT_UNTIL (other.connects > 0 && victim.connects > 0, &own, &other);
	    if (when == IN_INTERRUPT)
	      CHECK_EQ (send_packets (&other, 0, 0, 1, 64), 1);
	    else
	      CHECK_OK (memif_delete (&other.conn));
	  }
	WAIT_UNTIL (victim.deleted == 1, &own, &other);
	close_end (&own);
	close_end (&other);
      }
}

/* A slave that comes first connects when there is a master, and again when that has come back. */
static void
slave_waits_for_its_master (void)
{
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  char path[64];
  fresh_path (path, sizeof path);
  open_end (&slave, path, 0, NULL);
  poll_end (&slave, 30);
  CHECK_EQ (slave.connects, 0);
  for (int i = 1; i <= 5; i++)
    {
      open_end (&master, path, 1, NULL);
      WAIT_UNTIL (slave.connects == i && master.connects == i, &slave, &master);
      CHECK_EQ (send_packets (&slave, 0, 0, 4, 64), 4);
      CHECK_EQ (receive_packets (&master, 0, 0, 4, 64), 4);
      CHECK_EQ (send_packets (&master, 0, 0, 4, 64), 4);
      CHECK_EQ (receive_packets (&slave, 0, 0, 4, 64), 4);
      CHECK_OK (memif_delete (&master.conn));
      WAIT_UNTIL (slave.disconnects == i, &slave, &master);
    }
  close_link (&master, &slave);
}

/* With an interval of zero, a slave connects when told to. */
static void
connects_on_request (void)
{
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  char path[64];
  fresh_path (path, sizeof path);
  struct itimerspec timer;
  memset (&timer, 0, sizeof timer);
  slave.socket = open_socket (path);
  CHECK_OK (memif_set_connection_request_timer (slave.socket, timer));
  open_end (&slave, path, 0, NULL);
  open_end (&master, path, 1, NULL);
  for (int i = 0; i < 20; i++)
    {
      poll_end (&slave, 5);
      poll_end (&master, 5);
    }
  CHECK_EQ (slave.connects, 0);
  CHECK_OK (memif_request_connection (slave.conn));
  wait_up (&master, &slave);
  CHECK_OK (memif_delete (&master.conn));
  WAIT_UNTIL (slave.disconnects == 1, &slave, &master);
  /* from now on by itself */
  timer.it_value.tv_nsec = timer.it_interval.tv_nsec = 10000000;
  CHECK_OK (memif_set_connection_request_timer (slave.socket, timer));
  open_end (&master, path, 1, NULL);
  WAIT_UNTIL (slave.connects == 2, &slave, &master);
  close_link (&master, &slave);
}

static void
listener_of_somebody_else (void)
{
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  char path[64];
  fresh_path (path, sizeof path);
  struct sockaddr_un address;
  memset (&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  memcpy (address.sun_path + 1, path + 1, strlen (path + 1));
  int fd = socket (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  socklen_t len = (socklen_t) (offsetof (struct sockaddr_un, sun_path) + strlen (path));
  CHECK_EQ (bind (fd, (struct sockaddr *) &address, len), 0);
  master.socket = open_socket (path);
  CHECK_EQ (memif_set_listener_fd (master.socket, fd), MEMIF_ERR_BAD_FD); /* it does not listen */
  CHECK_EQ (listen (fd, 4), 0);
  CHECK_OK (memif_set_listener_fd (master.socket, fd));
  CHECK_EQ (memif_get_listener_fd (master.socket), fd);
  open_end (&master, path, 1, NULL);
  CHECK_EQ (memif_set_listener_fd (master.socket, fd), MEMIF_ERR_ALREADY);
  open_end (&slave, path, 0, NULL);
  wait_up (&master, &slave);
  CHECK_EQ (send_packets (&slave, 0, 0, 4, 64), 4);
  CHECK_EQ (receive_packets (&master, 0, 0, 4, 64), 4);
  close_link (&master, &slave);
  /* it stays its maker's */
  CHECK_EQ (close (fd), 0);
}

static const check_case_t cases[] = {
  CASE (deleted_in_callbacks),
  CASE (slave_waits_for_its_master),
  CASE (connects_on_request),
  CASE (listener_of_somebody_else),
};

CHECK_MAIN (cases)
