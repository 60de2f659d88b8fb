/* libmemif 1.0: a master sends packets of all sizes to slaves whose buffers are as large as its own, or smaller. */
#include "v1_link.h"

static void
every_size_arrives (void)
{
  const size_t sizes[] = { 64, 1514, 9000 };
  const uint16_t slave_sizes[] = { 2048, 256 }, master_sizes[] = { 2048, 9216 }, counts[] = { 1, 2, 7, 64 };
  for (int test = 0; test < 4; test++)
    {
      end_t master, slave;
      char path[64];
      memif_conn_args_t args;
      memset (&args, 0, sizeof args);
      memset (&master, 0, sizeof master);
      memset (&slave, 0, sizeof slave);
      fresh_path (path, sizeof path);
      CHECK_OK (memif_init (NULL, (char *) "v1-test"));
      args.log2_ring_size = 6;
      args.buffer_size = master_sizes[test / 2];
      open_end (&master, path, 1, &args);
      args.buffer_size = slave_sizes[test % 2];
      open_end (&slave, path, 0, &args);
      WAIT_UNTIL (master.connects && slave.connects);
      for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
	for (size_t j = 0; j < sizeof counts / sizeof *counts; j++)
	  for (uint32_t round = 0; round < 50; round++)
	    {
	      /* at least one packet: the ring is empty, and holds the largest */
	      uint32_t packets = send_packets (&master, 0, round, counts[j], sizes[i]);
	      CHECK (packets >= 1);
	      CHECK_EQ (receive_packets (&slave, 0, round, MOST, sizes[i]), packets);
	      packets = send_packets (&slave, 0, round, counts[j], sizes[i]);
	      CHECK (packets >= 1);
	      CHECK_EQ (receive_packets (&master, 0, round, MOST, sizes[i]), packets);
	    }
      close_link (&master, &slave);
    }
}

static const check_case_t cases[] = {
  CASE (every_size_arrives),
};

CHECK_MAIN (cases)
