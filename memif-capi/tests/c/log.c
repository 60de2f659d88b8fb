/* The library's log: what MEMIF_LOG has it write. */
#define _GNU_SOURCE
#include "peer.h"

#include "link.h"
#include <sys/wait.h>

#define SECRET "open-sesame"

/* A peer that breaks the protocol, and a slave with a wrong secret. */
static void
be_warned (void)
{
  end_t master, slave;
  memif_conn_args_t args;
  memif_details_t details;
  peer_t peer;
  char path[64], text[2048];
  uint8_t message[MESSAGE];
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  memset (message, 0xff, sizeof message);
  fresh_path (path, sizeof path);
  strcpy ((char *) args.secret, SECRET);
  open_end (&master, path, 1, &args);
  peer_open (&peer, path, 65536, 4);
  peer_send (&peer, message, -1);
  char byte;
  ssize_t got;
  /* the master says HELLO and DISCONNECT, and hangs up */
  WAIT_UNTIL ((got = recv (peer.fd, message, sizeof message, MSG_DONTWAIT)) == 0, &master, &slave);
  CHECK_EQ (recv (peer.fd, &byte, 1, MSG_DONTWAIT), 0);
  peer_close (&peer);
  strcpy ((char *) args.secret, SECRET "!");
  open_end (&slave, path, 0, &args);
  text[0] = 0;
  details.error = (uint8_t *) text;
  WAIT_UNTIL (
    (memif_get_details (slave.conn, &details, text, sizeof text), strstr ((char *) details.error, "ecret") != NULL), &slave,
    &master);
  close_link (&master, &slave);
}

/* What a process writes to standard error, with MEMIF_LOG set to `value`, or not at all. */
static char *
written_with (const char *value)
{
  static char text[65536];
  int file = memfd_create ("stderr", MFD_CLOEXEC);
  CHECK (file >= 0);
  /* nothing in here uses the library, so the child has all of it */
  pid_t child = fork ();
  CHECK (child >= 0);
  if (child == 0)
    {
      alarm (TEST_SECONDS);
      if (value)
	setenv ("MEMIF_LOG", value, 1);
      else
	unsetenv ("MEMIF_LOG");
      CHECK_EQ (dup2 (file, STDERR_FILENO), STDERR_FILENO);
      be_warned ();
      _exit (0);
    }
  int status = -1;
  CHECK_EQ (waitpid (child, &status, 0), child);
  ssize_t bytes = pread (file, text, sizeof text - 1, 0);
  CHECK (bytes >= 0);
  text[bytes] = 0;
  close (file);
  if (status != 0)
    fputs (text, stderr);
  CHECK_EQ (status, 0);
  return text;
}

static void
nothing_is_written_by_default (void)
{
  CHECK_STR (written_with (NULL), "");
  CHECK_STR (written_with ("off"), "");
  CHECK_STR (written_with (""), "");
}

static void
warnings_are_written_on_request (void)
{
  const char *values[] = { "warn", "yes" };
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    CHECK (strstr (written_with (values[i]), "WARN") != NULL);
  CHECK (strstr (written_with ("warn"), "client refused") != NULL);
  CHECK (strstr (written_with ("error"), "WARN") == NULL);
}

static void
secrets_are_never_written (void)
{
  char *text = written_with ("trace");
  CHECK (strstr (text, "WARN") != NULL);
  CHECK (strstr (text, "sesame") == NULL);
}

static const check_case_t cases[] = {
  CASE (nothing_is_written_by_default),
  CASE (warnings_are_written_on_request),
  CASE (secrets_are_never_written),
};

CHECK_MAIN (cases)
