/* libmemif 4.0: the two ends in two processes, and data threads beside the thread that handles events. */
#include "stream.h"
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#define PACKETS 100000u
#define LEN 200

/* Sends back what comes until the link goes down. */
static void
echo (end_t *end)
{
  static end_t nobody;
  WAIT_UNTIL (end->connects > 0, end, &nobody);
  while (end->disconnects == 0)
    {
      memif_buffer_t in[32], out[32];
      uint16_t received = 0, room = 0, sent = 0;
      poll_end (end, 0);
      memif_rx_burst (end->conn, 0, in, 32, &received);
      for (uint16_t done = 0; done < received && end->disconnects == 0; done += sent)
	{
	  memif_buffer_alloc (end->conn, 0, out, (uint16_t) (received - done), &room, 0);
	  for (uint16_t i = 0; i < room; i++)
	    {
	      memcpy (out[i].data, in[done + i].data, in[done + i].len);
	      out[i].len = in[done + i].len;
	    }
	  memif_tx_burst (end->conn, 0, out, room, &sent);
	  poll_end (end, 0);
	}
      memif_refill_queue (end->conn, 0, received, 0);
    }
}

static void
two_processes (int child_is_master)
{
  char path[64];
  fresh_path (path, sizeof path);
  end_t end;
  memset (&end, 0, sizeof end);
  pid_t child = fork ();
  CHECK (child >= 0);
  if (child == 0)
    {
      alarm (TEST_SECONDS);
      open_end (&end, path, child_is_master, NULL);
      echo (&end);
      close_end (&end);
      _exit (0);
    }
  open_end (&end, path, !child_is_master, NULL);
  round_trips (&end, PACKETS, LEN, 1);
  close_end (&end);
  int status = -1;
  CHECK_EQ (waitpid (child, &status, 0), child);
  CHECK_EQ (status, 0);
}

static void
child_is_slave (void)
{
  two_processes (0);
}

static void
child_is_master (void)
{
  two_processes (1);
}

/* A peer that is killed costs the link, and the next one is taken. */
static void
peers_are_killed (void)
{
  char path[64];
  fresh_path (path, sizeof path);
  end_t master, nobody;
  memset (&master, 0, sizeof master);
  memset (&nobody, 0, sizeof nobody);
  open_end (&master, path, 1, NULL);
  for (int i = 1; i <= 10; i++)
    {
      pid_t child = fork ();
      CHECK (child >= 0);
      if (child == 0)
	{
	  end_t slave;
	  memset (&slave, 0, sizeof slave);
	  alarm (TEST_SECONDS);
	  open_end (&slave, path, 0, NULL);
	  for (;;)
	    {
	      poll_end (&slave, 0);
	      if (slave.connects)
		send_packets (&slave, 0, 0, 8, LEN);
	    }
	}
      WAIT_UNTIL (master.connects == i, &master, &nobody);
      memif_buffer_t bufs[64];
      uint16_t received = 0;
      while (received == 0)
	memif_rx_burst (master.conn, 0, bufs, 64, &received);
      CHECK_EQ (kill (child, SIGKILL), 0);
      CHECK_EQ (waitpid (child, NULL, 0), child);
      /* what it left behind stays readable until we hear of its end */
      check_pattern (bufs[0].data, LEN, 0, 0);
      WAIT_UNTIL (master.disconnects == i, &master, &nobody);
      CHECK_EQ (memif_rx_burst (master.conn, 0, bufs, 64, &received), MEMIF_ERR_DISCONNECTED);
      CHECK_EQ (received, 0);
    }
  close_end (&master);
}

/* One thread polls, one sends, one receives. */
typedef struct
{
  end_t *from, *to;
  uint16_t qid;
} flow_t;

static void *
polling (void *end)
{
  int err;
  while ((err = memif_poll_event (((end_t *) end)->socket, -1)) == MEMIF_ERR_SUCCESS)
    ;
  CHECK_EQ (err, MEMIF_ERR_POLL_CANCEL);
  return NULL;
}

static void *
sending (void *arg)
{
  flow_t *flow = arg;
  for (uint32_t sent = 0; sent < PACKETS;)
    {
      uint32_t left = PACKETS - sent;
      sent += send_packets (flow->from, flow->qid, sent, (uint16_t) (left < 32 ? left : 32), LEN);
      sched_yield ();
    }
  return NULL;
}

static void *
receiving (void *arg)
{
  flow_t *flow = arg;
  for (uint32_t received = 0; received < PACKETS;)
    {
      received += receive_packets (flow->to, flow->qid, received, 64, LEN);
      sched_yield ();
    }
  return NULL;
}

static void
data_threads (void)
{
  end_t master, slave;
  memif_conn_args_t args;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  args.num_m2s_rings = args.num_s2m_rings = 2;
  open_link (&master, &slave, &args);
  pthread_t pollers[2], workers[8];
  CHECK_EQ (pthread_create (&pollers[0], NULL, polling, &master), 0);
  CHECK_EQ (pthread_create (&pollers[1], NULL, polling, &slave), 0);
  flow_t flows[4];
  for (uint16_t i = 0; i < 4; i++)
    {
      flows[i].from = i % 2 ? &master : &slave;
      flows[i].to = i % 2 ? &slave : &master;
      flows[i].qid = i / 2;
      CHECK_EQ (pthread_create (&workers[i], NULL, sending, &flows[i]), 0);
      CHECK_EQ (pthread_create (&workers[4 + i], NULL, receiving, &flows[i]), 0);
    }
  for (int i = 0; i < 8; i++)
    CHECK_EQ (pthread_join (workers[i], NULL), 0);
  CHECK_OK (memif_cancel_poll_event (master.socket));
  CHECK_OK (memif_cancel_poll_event (slave.socket));
  CHECK_EQ (pthread_join (pollers[0], NULL), 0);
  CHECK_EQ (pthread_join (pollers[1], NULL), 0);
  close_link (&master, &slave);
}

/* A thread receives and sends while links are cut under it: what it holds of the old stays readable, calls say so. */
static volatile int stop_data;

static void *
careless (void *arg)
{
  end_t *end = arg;
  uint64_t sum = 0;
  while (!stop_data)
    {
      memif_buffer_t bufs[32];
      uint16_t count = 0;
      memif_rx_burst (end->conn, 0, bufs, 32, &count);
      memif_refill_queue (end->conn, 0, count, 0);
      memif_buffer_alloc (end->conn, 0, bufs, 8, &count, 0);
      for (uint16_t i = 0; i < count; i++)
	bufs[i].len = 64;
      memif_tx_burst (end->conn, 0, bufs, count, &count);
      sum += count;
      sched_yield ();
    }
  CHECK (sum > 0);
  return NULL;
}

static void
links_cut_under_data_threads (void)
{
  end_t master, slave;
  pthread_t threads[2];
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  stop_data = 0;
  open_link (&master, &slave, NULL);
  CHECK_EQ (pthread_create (&threads[0], NULL, careless, &master), 0);
  CHECK_EQ (pthread_create (&threads[1], NULL, careless, &slave), 0);
  char path[108];
  strcpy (path, memif_get_socket_path (master.socket));
  for (int i = 1; i <= 30; i++)
    {
      /* a second slave's end makes no difference; ours is cut by its master's end */
      CHECK_OK (memif_delete (&master.conn));
      WAIT_UNTIL (slave.disconnects == i, &slave, &master);
      open_end (&master, path, 1, NULL);
      WAIT_UNTIL (slave.connects == i + 1 && master.connects == i + 1, &slave, &master);
      usleep (2000);
    }
  stop_data = 1;
  CHECK_EQ (pthread_join (threads[0], NULL), 0);
  CHECK_EQ (pthread_join (threads[1], NULL), 0);
  close_link (&master, &slave);
}

static const check_case_t cases[] = {
  CASE (child_is_slave), CASE (child_is_master),		CASE (peers_are_killed),
  CASE (data_threads),	 CASE (links_cut_under_data_threads),
};

CHECK_MAIN (cases)
