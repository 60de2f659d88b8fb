/* libmemif 4.0 with a peer of another make that sends back what it gets: content and order of all packets are checked.
 *
 *   interop SOCKET master|slave BYTES PACKETS
 */
#include "stream.h"

int
main (int argc, char **argv)
{
  if (argc != 5)
    {
      fprintf (stderr, "usage: %s SOCKET master|slave BYTES PACKETS\n", argv[0]);
      return 2;
    }
  check_test = argv[2];
  alarm (TEST_SECONDS);
  size_t len = strtoul (argv[3], NULL, 10);
  end_t end;
  memset (&end, 0, sizeof end);
  open_end (&end, argv[1], strcmp (argv[2], "master") == 0, NULL);
  round_trips (&end, (uint32_t) strtoul (argv[4], NULL, 10), len, (uint16_t) ((len + 2047) / 2048));
  close_end (&end);
  printf ("%s packets of %s bytes came back to the %s\n", argv[4], argv[3], argv[2]);
  return 0;
}
