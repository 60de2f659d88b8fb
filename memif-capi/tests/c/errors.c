/* libmemif 4.0: every error that the header names, and what a caller may get wrong. */
#include "link.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define GARBAGE ((void *) (uintptr_t) 0xdeadbeefcafe)

static void
versions (void)
{
  CHECK_EQ (memif_get_version (), 0x0200);
  CHECK_STR (memif_get_version_str (), "2.0");
  CHECK_STR (LIBMEMIF_VERSION, "4.0");
}

static void
every_error_has_a_sentence (void)
{
  const int odd[] = { -1, MEMIF_ERR_PRIVHDR + 1, 1000, INT32_MIN, INT32_MAX };
  for (int a = 0; a <= MEMIF_ERR_PRIVHDR; a++)
    {
      CHECK (strlen (memif_strerror (a)) > 3);
      for (int b = 0; b < a; b++)
	CHECK (strcmp (memif_strerror (a), memif_strerror (b)) != 0);
    }
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
    CHECK (strlen (memif_strerror (odd[i])) > 3);
}

static void
sockets_want_arguments (void)
{
  memif_socket_args_t args;
  memif_socket_handle_t socket = NULL;
  memset (&args, 0, sizeof args);
  CHECK_EQ (memif_create_socket (NULL, &args, NULL), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (memif_create_socket (&socket, NULL, NULL), MEMIF_ERR_INVAL_ARG);
  args.alloc = malloc; /* without the other two */
  CHECK_EQ (memif_create_socket (&socket, &args, NULL), MEMIF_ERR_INVAL_ARG);
  args.alloc = NULL;
  memset (args.path, 'x', sizeof args.path);
  CHECK_EQ (memif_create_socket (&socket, &args, NULL), MEMIF_ERR_INVAL_ARG);
  CHECK (socket == NULL);
}

static void
paths_and_handles (void)
{
  end_t end;
  memset (&end, 0, sizeof end);
  open_end (&end, "@memif-c-test-path", 1, NULL);
  CHECK_STR (memif_get_socket_path (end.socket), "@memif-c-test-path");
  CHECK (memif_get_socket_handle (end.conn) == end.socket);
  CHECK (memif_get_socket_handle (NULL) == NULL);
  CHECK (memif_get_socket_handle (GARBAGE) == NULL);
  CHECK (memif_get_socket_handle (end.socket) == NULL);
  /* in use */
  CHECK_EQ (memif_delete_socket (&end.socket), MEMIF_ERR_INVAL_ARG);
  CHECK (end.socket != NULL);
  close_end (&end);
}

static void
empty_path_is_the_default (void)
{
  memif_socket_args_t args;
  memif_socket_handle_t socket = NULL;
  memset (&args, 0, sizeof args);
  CHECK_OK (memif_create_socket (&socket, &args, NULL));
  CHECK_STR (memif_get_socket_path (socket), "/run/vpp/memif.sock");
  CHECK_OK (memif_delete_socket (&socket));
}

/* What memif_create says to these arguments. */
static int
create (memif_socket_handle_t socket, const memif_conn_args_t *like)
{
  memif_conn_args_t args = *like;
  memif_conn_handle_t conn = NULL;
  args.socket = socket;
  int err = memif_create (&conn, &args, on_connect, on_disconnect, on_interrupt, NULL);
  CHECK_EQ (conn != NULL, err == MEMIF_ERR_SUCCESS);
  if (conn)
    CHECK_OK (memif_delete (&conn));
  return err;
}

static void
interfaces_want_arguments (void)
{
  memif_conn_args_t args, good;
  memif_conn_handle_t conn = NULL;
  char path[64];
  memset (&good, 0, sizeof good);
  fresh_path (path, sizeof path);
  good.socket = open_socket (path);
  good.is_master = 1;
  CHECK_EQ (memif_create (NULL, &good, on_connect, on_disconnect, on_interrupt, NULL), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (memif_create (&conn, NULL, on_connect, on_disconnect, on_interrupt, NULL), MEMIF_ERR_INVAL_ARG);
  CHECK (conn == NULL);
  conn = &conn;
  CHECK_EQ (memif_create (&conn, &good, on_connect, on_disconnect, on_interrupt, NULL), MEMIF_ERR_CONN);
  CHECK (conn == &conn);
  CHECK_EQ (create (NULL, &good), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (create (GARBAGE, &good), MEMIF_ERR_INVAL_ARG);
  for (int is_master = 0; is_master < 2; is_master++)
    {
      good.is_master = (uint8_t) is_master;
      CHECK_OK (create (good.socket, &good));
      args = good;
      args.log2_ring_size = 15;
      CHECK_EQ (create (good.socket, &args), MEMIF_ERR_MAX_RING);
      args = good;
      args.buffer_size = 1;
      CHECK_EQ (create (good.socket, &args), MEMIF_ERR_INVAL_ARG);
      args = good;
      args.mode = (memif_interface_mode_t) 3;
      CHECK_EQ (create (good.socket, &args), MEMIF_ERR_INVAL_ARG);
      args = good;
      args.log2_ring_size = 14;
      args.num_m2s_rings = args.num_s2m_rings = 2;
      args.buffer_size = 65535;
      /* 4 GiB and more: cannot be addressed, and nothing of it is allocated */
      CHECK_EQ (create (good.socket, &args), is_master ? MEMIF_ERR_SUCCESS : MEMIF_ERR_INVAL_ARG);
    }
  CHECK_OK (memif_delete_socket (&good.socket));
}

static void
names_may_fill_their_fields (void)
{
  memif_conn_args_t args;
  char path[64];
  memset (&args, 0, sizeof args);
  memset (args.secret, 's', sizeof args.secret);
  memset (args.interface_name, 'n', sizeof args.interface_name);
  fresh_path (path, sizeof path);
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  args.interface_name[31] = 0;
  open_end (&master, path, 1, &args);
  open_end (&slave, path, 0, &args);
  wait_up (&master, &slave);
  close_link (&master, &slave);
}

static void
one_master_for_an_id (void)
{
  end_t end;
  memif_conn_args_t args;
  memset (&end, 0, sizeof end);
  memset (&args, 0, sizeof args);
  char path[64];
  fresh_path (path, sizeof path);
  open_end (&end, path, 1, NULL);
  args.is_master = 1;
  CHECK_EQ (create (end.socket, &args), MEMIF_ERR_INVAL_ARG);
  args.interface_id = 7;
  CHECK_OK (create (end.socket, &args));
  close_end (&end);
}

/* What a master says that is to listen on a path. */
static int
listen_on (const char *path)
{
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  args.is_master = 1;
  memif_socket_handle_t socket = open_socket (path);
  int err = create (socket, &args);
  CHECK_OK (memif_delete_socket (&socket));
  return err;
}

/* From here on the process may not write to the folder: as root by another user id, else by the folder's mode. */
static void
lose_rights (const char *folder)
{
  if (geteuid () == 0)
    CHECK_EQ (seteuid (65534), 0);
  else
    CHECK_OK (chmod (folder, 0555));
}

static void
regain_rights (const char *folder)
{
  if (getuid () == 0)
    {
      CHECK_EQ (seteuid (0), 0);
      /* a change of user id cleared it, and LeakSanitizer must be able to trace the process */
      CHECK_EQ (prctl (PR_SET_DUMPABLE, 1), 0);
    }
  else
    CHECK_OK (chmod (folder, 0755));
}

static void
paths_that_cannot_be_used (void)
{
  char folder[] = "/tmp/memif-c-test-XXXXXX", path[64];
  CHECK (mkdtemp (folder) != NULL);
  CHECK_OK (chmod (folder, 0755));
  snprintf (path, sizeof path, "%s/none/socket", folder);
  CHECK_EQ (listen_on (path), MEMIF_ERR_NO_FILE);
  snprintf (path, sizeof path, "%s/file", folder);
  int fd = open (path, O_CREAT | O_WRONLY, 0600);
  CHECK (fd >= 0);
  close (fd);
  CHECK_EQ (listen_on (path), MEMIF_ERR_FILE_NOT_SOCK);
  CHECK_EQ (access (path, F_OK), 0); /* and it is still there */
  snprintf (path, sizeof path, "%s/socket", folder);
  lose_rights (folder);
  int err = listen_on (path);
  regain_rights (folder);
  CHECK_EQ (err, MEMIF_ERR_ACCES);
  snprintf (path, sizeof path, "%s/file", folder);
  unlink (path);
  CHECK_EQ (rmdir (folder), 0);
}

static void
requests (void)
{
  end_t master, slave, lone;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&lone, 0, sizeof lone);
  open_link (&master, &slave, NULL);
  CHECK_EQ (memif_request_connection (master.conn), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (memif_request_connection (slave.conn), MEMIF_ERR_ALRCONN);
  CHECK_EQ (memif_get_listener_fd (slave.socket), -1);
  CHECK (memif_get_listener_fd (master.socket) >= 0);
  close_link (&master, &slave);
  open_end (&lone, "/tmp/memif-c-test-no-folder/socket", 0, NULL);
  CHECK_EQ (memif_request_connection (lone.conn), MEMIF_ERR_CONNREFUSED);
  close_end (&lone);
  memset (&lone, 0, sizeof lone);
  open_end (&lone, "@memif-c-test-nobody-listens", 0, NULL);
  CHECK_EQ (memif_request_connection (lone.conn), MEMIF_ERR_CONNREFUSED);
  close_end (&lone);
}

static void
listeners_that_are_none (void)
{
  memif_socket_handle_t socket = open_socket ("@memif-c-test-listener");
  CHECK_EQ (memif_set_listener_fd (socket, -1), MEMIF_ERR_INVAL_ARG);
  CHECK_EQ (memif_set_listener_fd (socket, 9999), MEMIF_ERR_BAD_FD);
  int pipes[2];
  CHECK_EQ (pipe (pipes), 0);
  CHECK_EQ (memif_set_listener_fd (socket, pipes[0]), MEMIF_ERR_BAD_FD);
  CHECK_EQ (fcntl (pipes[0], F_GETFD), 0); /* a refused descriptor stays open */
  close (pipes[0]);
  close (pipes[1]);
  CHECK_OK (memif_delete_socket (&socket));
}

static void
timers_out_of_range (void)
{
  memif_socket_handle_t socket = open_socket ("@memif-c-test-timer");
  struct itimerspec timer;
  memset (&timer, 0, sizeof timer);
  CHECK_OK (memif_set_connection_request_timer (socket, timer));
  timer.it_interval.tv_nsec = 1000000000;
  CHECK_EQ (memif_set_connection_request_timer (socket, timer), MEMIF_ERR_INVAL_ARG);
  timer.it_interval.tv_nsec = 0;
  timer.it_interval.tv_sec = -1;
  CHECK_EQ (memif_set_connection_request_timer (socket, timer), MEMIF_ERR_INVAL_ARG);
  CHECK_OK (memif_delete_socket (&socket));
}

/* What a slave is told of why its attempts fail. */
static void
wait_for_reason (end_t *slave, end_t *master, const char *part)
{
  memif_details_t details;
  char text[2048];
  details.error = (uint8_t *) text;
  text[0] = 0;
  WAIT_UNTIL (
    (memif_get_details (slave->conn, &details, text, sizeof text), strstr ((char *) details.error, part) != NULL), slave,
    master);
  CHECK_EQ (details.link_up_down, 0);
  CHECK_EQ (slave->connects, 0);
}

static void
refusals_have_a_reason (void)
{
  char path[64];
  memif_conn_args_t args;
  const struct
  {
    uint32_t id;
    const char *secret;
    memif_interface_mode_t mode;
    const char *reason;
  } wrong[] = {
    { 9, "sesame", MEMIF_INTERFACE_MODE_ETHERNET, "ID" },
    { 1, "other", MEMIF_INTERFACE_MODE_ETHERNET, "ecret" },
    { 1, "", MEMIF_INTERFACE_MODE_ETHERNET, "ecret" },
    { 1, "sesame", MEMIF_INTERFACE_MODE_IP, "ode" },
  };
  end_t master;
  memset (&master, 0, sizeof master);
  memset (&args, 0, sizeof args);
  fresh_path (path, sizeof path);
  args.interface_id = 1;
  strcpy ((char *) args.secret, "sesame");
  open_end (&master, path, 1, &args);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    {
      end_t slave;
      memset (&slave, 0, sizeof slave);
      memset (&args, 0, sizeof args);
      args.interface_id = wrong[i].id;
      strcpy ((char *) args.secret, wrong[i].secret);
      args.mode = wrong[i].mode;
      open_end (&slave, path, 0, &args);
      wait_for_reason (&slave, &master, wrong[i].reason);
      close_end (&slave);
    }
  CHECK_EQ (master.connects, 0);
  close_end (&master);
}

/* Without descriptors things fail with a number for it, and work again when there are some. */
static void
no_descriptors_left (void)
{
  end_t master, slave;
  struct rlimit before, few;
  memif_conn_args_t args;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  char path[64];
  fresh_path (path, sizeof path);
  master.socket = open_socket (path);
  int next = dup (0);
  close (next);
  CHECK_EQ (getrlimit (RLIMIT_NOFILE, &before), 0);
  few = before;
  few.rlim_cur = (rlim_t) next;
  CHECK_EQ (setrlimit (RLIMIT_NOFILE, &few), 0);
  memif_socket_handle_t socket = NULL;
  memif_socket_args_t socket_args;
  memset (&socket_args, 0, sizeof socket_args);
  int err = memif_create_socket (&socket, &socket_args, NULL);
  CHECK_EQ (err, MEMIF_ERR_PROC_FILE_LIMIT);
  CHECK (socket == NULL);
  args.is_master = 1;
  CHECK_EQ (create (master.socket, &args), MEMIF_ERR_PROC_FILE_LIMIT);
  CHECK_EQ (setrlimit (RLIMIT_NOFILE, &before), 0);
  open_end (&master, path, 1, NULL);
  open_end (&slave, path, 0, NULL);
  wait_up (&master, &slave);
  close_link (&master, &slave);
}

static const check_case_t cases[] = {
  CASE (versions),
  CASE (every_error_has_a_sentence),
  CASE (sockets_want_arguments),
  CASE (paths_and_handles),
  CASE (empty_path_is_the_default),
  CASE (interfaces_want_arguments),
  CASE (names_may_fill_their_fields),
  CASE (one_master_for_an_id),
  CASE (paths_that_cannot_be_used),
  CASE (requests),
  CASE (listeners_that_are_none),
  CASE (timers_out_of_range),
  CASE (refusals_have_a_reason),
  CASE (no_descriptors_left),
};

CHECK_MAIN (cases)
