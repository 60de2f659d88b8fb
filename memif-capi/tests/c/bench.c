/* Packets a second from a slave to a master in one process, on two threads, with copies at both ends: memcpy into
 * allocated buffers and out of received ones. libmemif 4.0.
 *
 *   bench SECONDS [BYTES [BURST]]      prints one number: packets per second
 */
#define _GNU_SOURCE
#include "link.h"
#include <pthread.h>
#include <sched.h>

#define MOST 256

static uint16_t burst = 64;
static uint32_t bytes = 64;
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
      memif_buffer_alloc (end->conn, 0, bufs, burst, &count, 0);
      for (uint16_t i = 0; i < count; i++)
	{
	  memcpy (bufs[i].data, packets[i], bytes);
	  bufs[i].len = bytes;
	}
      memif_tx_burst (end->conn, 0, bufs, count, &sent);
    }
  return NULL;
}

int
main (int argc, char **argv)
{
  if (argc < 2)
    {
      fprintf (stderr, "usage: %s SECONDS [BYTES [BURST]]\n", argv[0]);
      return 2;
    }
  int64_t span = (int64_t) (atof (argv[1]) * 1000);
  if (argc > 2)
    bytes = (uint32_t) atoi (argv[2]);
  if (argc > 3)
    burst = (uint16_t) atoi (argv[3]);
  if (bytes > 2048 || burst > MOST)
    return 2;
  static uint8_t packets[MOST][2048];
  end_t master, slave;
  pthread_t sender;
  uint64_t received = 0, turns = 0;
  check_test = "bench";
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  open_link (&master, &slave, NULL);
  CHECK_OK (memif_set_rx_mode (master.conn, MEMIF_RX_MODE_POLLING, 0));
  pin (0);
  CHECK_EQ (pthread_create (&sender, NULL, send_all, &slave), 0);
  int64_t began = now_ms (), ended = began;
  do
    {
      memif_buffer_t bufs[MOST];
      uint16_t count = 0;
      memif_rx_burst (master.conn, 0, bufs, burst, &count);
      for (uint16_t i = 0; i < count; i++)
	memcpy (packets[i], bufs[i].data, bufs[i].len);
      memif_refill_queue (master.conn, 0, count, 0);
      received += count;
      if (++turns % 1024 == 0)
	ended = now_ms ();
    }
  while (ended - began < span);
  stop_bench = 1;
  CHECK_EQ (pthread_join (sender, NULL), 0);
  printf ("%.0f\n", (double) received * 1000 / (double) (ended - began));
  close_link (&master, &slave);
  return 0;
}
