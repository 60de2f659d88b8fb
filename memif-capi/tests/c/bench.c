/* Packets a second between a slave and a master in one process, on two threads: memcpy into allocated buffers at the one
 * end; at the other, memcpy out of received ones, or none where the receiver leaves the bytes alone. libmemif 4.0, ours or
 * any other: it relies on nothing that only ours does.
 *
 *   bench SECONDS [BYTES [BURST [s2m|m2s [copy|leave]]]]      prints one number: packets per second
 */
#define _GNU_SOURCE
#include "link.h"
#include <pthread.h>
#include <sched.h>

#define MOST 256

static uint16_t burst = 64;
static uint16_t bytes = 64;
static int copies = 1;
static volatile int stop_bench;

static void
pin (int core)
{
  cpu_set_t cores;
  CPU_ZERO (&cores);
  CPU_SET (core, &cores);
  /* fewer cores than that: as it comes */
  pthread_setaffinity_np (pthread_self (), sizeof cores, &cores);
}

static void *
send_all (void *arg)
{
  end_t *end = arg;
  static uint8_t packets[MOST][2048];
  pin (1);
  while (!stop_bench)
    {
      memif_buffer_t bufs[MOST];
      uint16_t count = 0, sent = 0;
      /* the size as well as `len`: without a size the C library leaves `len` as it was, and allocates nothing at times */
      memif_buffer_alloc (end->conn, 0, bufs, burst, &count, bytes);
      for (uint16_t i = 0; i < count; i++)
	{
	  memcpy (bufs[i].data, packets[i], bytes);
	  bufs[i].len = bytes;
	}
      memif_tx_burst (end->conn, 0, bufs, count, &sent);
    }
  return NULL;
}

static uint64_t
receive_all (end_t *end, int64_t span, int64_t *took)
{
  static uint8_t packets[MOST][2048];
  uint64_t received = 0, turns = 0;
  int64_t began = now_ms ();
  *took = 0;
  do
    {
      memif_buffer_t bufs[MOST];
      uint16_t count = 0;
      memif_rx_burst (end->conn, 0, bufs, burst, &count);
      for (uint16_t i = 0; copies && i < count; i++)
	memcpy (packets[i], bufs[i].data, bufs[i].len);
      memif_refill_queue (end->conn, 0, count, 0);
      received += count;
      if (++turns % 1024 == 0)
	*took = now_ms () - began;
    }
  while (*took < span);
  return received;
}

int
main (int argc, char **argv)
{
  if (argc < 2)
    {
      fprintf (stderr, "usage: %s SECONDS [BYTES [BURST [s2m|m2s [copy|leave]]]]\n", argv[0]);
      return 2;
    }
  int64_t span = (int64_t) (atof (argv[1]) * 1000), took;
  if (argc > 2)
    bytes = (uint16_t) atoi (argv[2]);
  if (argc > 3)
    burst = (uint16_t) atoi (argv[3]);
  int from_master = argc > 4 && strcmp (argv[4], "m2s") == 0;
  copies = argc < 6 || strcmp (argv[5], "leave") != 0;
  if (bytes < 1 || bytes > 2048 || burst < 1 || burst > MOST)
    return 2;
  end_t master, slave;
  pthread_t sender;
  check_test = "bench";
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  open_link (&master, &slave, NULL);
  end_t *from = from_master ? &master : &slave, *to = from_master ? &slave : &master;
  CHECK_OK (memif_set_rx_mode (to->conn, MEMIF_RX_MODE_POLLING, 0));
  pin (0);
  CHECK_EQ (pthread_create (&sender, NULL, send_all, from), 0);
  uint64_t received = receive_all (to, span, &took);
  stop_bench = 1;
  CHECK_EQ (pthread_join (sender, NULL), 0);
  printf ("%.0f\n", (double) received * 1000 / (double) took);
  close_link (&master, &slave);
  return 0;
}
