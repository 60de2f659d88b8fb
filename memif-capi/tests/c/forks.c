/* libmemif 4.0 in children of a process that uses it: a child has none of the library's threads. */
#include "link.h"
#include <dirent.h>
#include <sys/wait.h>

#define CHILDREN 100
#define LEN 300

/* Descriptors and mapped memfds of a process. */
typedef struct
{
  int descriptors, regions;
} holding_t;

static holding_t
holding (void)
{
  holding_t held = { 0, 0 };
  DIR *dir = opendir ("/proc/self/fd");
  CHECK (dir != NULL);
  for (struct dirent *entry; (entry = readdir (dir)) != NULL;)
    held.descriptors += entry->d_name[0] != '.';
  closedir (dir);
  char line[512];
  FILE *maps = fopen ("/proc/self/maps", "r");
  CHECK (maps != NULL);
  while (fgets (line, sizeof line, maps))
    held.regions += strstr (line, "/memfd:") != NULL;
  fclose (maps);
  return held;
}

/* Waits until the process has no more than `before`: threads of the library close and unmap what links have used. */
static void
wait_for_release (holding_t before)
{
  for (int64_t end = now_ms () + PATIENCE_MS;; usleep (1000))
    {
      holding_t held = holding ();
      if (held.descriptors <= before.descriptors && held.regions <= before.regions)
	return;
      if (now_ms () > end)
	{
	  CHECK_EQ (held.descriptors, before.descriptors);
	  CHECK_EQ (held.regions, before.regions);
	}
    }
}

static void
use_a_link (void)
{
  end_t master, slave;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  open_link (&master, &slave, NULL);
  CHECK_EQ (send_packets (&slave, 0, 0, 8, LEN), 8);
  CHECK_EQ (receive_packets (&master, 0, 0, 8, LEN), 8);
  CHECK_EQ (send_packets (&master, 0, 8, 8, LEN), 8);
  CHECK_EQ (receive_packets (&slave, 0, 8, 8, LEN), 8);
  close_link (&master, &slave);
}

/* Forks while the library's threads close and unmap what the last link has used. */
static void
a_child_opens_and_releases_links_of_its_own (void)
{
  for (int i = 0; i < CHILDREN; i++)
    {
      use_a_link ();
      pid_t child = fork ();
      CHECK (child >= 0);
      if (child == 0)
	{
	  alarm (TEST_SECONDS);
	  holding_t inherited = holding ();
	  use_a_link ();
	  use_a_link ();
	  wait_for_release (inherited);
	  _exit (0);
	}
      int status = -1;
      CHECK_EQ (waitpid (child, &status, 0), child);
      CHECK_EQ (status, 0);
    }
}

static const check_case_t cases[] = {
  CASE (a_child_opens_and_releases_links_of_its_own),
};

CHECK_MAIN (cases)
