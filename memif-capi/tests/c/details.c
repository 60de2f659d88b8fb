/* libmemif 4.0: what an interface tells of itself, and whose memory it takes. */
#include "link.h"
#include <stddef.h>

/* Whether a pointer of details leads into the caller's buffer. */
static int
within (const void *pointer, const char *buf, size_t size)
{
  return (const char *) pointer >= buf && (const char *) pointer < buf + size;
}

static void
details_of_both_ends (void)
{
  end_t master, slave;
  memif_conn_args_t args;
  memset (&master, 0, sizeof master);
  memset (&slave, 0, sizeof slave);
  memset (&args, 0, sizeof args);
  args.num_s2m_rings = 2;
  args.num_m2s_rings = 3;
  args.log2_ring_size = 6;
  args.buffer_size = 512;
  args.interface_id = 77;
  args.mode = MEMIF_INTERFACE_MODE_IP;
  strcpy ((char *) args.secret, "hush");
  open_link (&master, &slave, &args);
  CHECK_EQ (send_packets (&slave, 1, 0, 5, 64), 5);
  CHECK_OK (memif_set_rx_mode (slave.conn, MEMIF_RX_MODE_POLLING, 2));
  end_t *ends[] = { &master, &slave };
  const char *names[] = { "c-master", "c-slave" };
  for (int i = 0; i < 2; i++)
    {
      memif_details_t md;
      char buf[4096];
      memset (&md, 0xee, sizeof md);
      CHECK_OK (memif_get_details (ends[i]->conn, &md, buf, sizeof buf));
      CHECK_STR (md.if_name, names[i]);
      CHECK_STR (md.inst_name, "c-test");
      CHECK_STR (md.remote_if_name, names[1 - i]);
      CHECK_STR (md.remote_inst_name, "c-test");
      CHECK_EQ (md.id, 77);
      CHECK_STR (md.secret, "hush");
      CHECK_EQ (md.role, i);
      CHECK_EQ (md.mode, MEMIF_INTERFACE_MODE_IP);
      CHECK_STR (md.socket_path, memif_get_socket_path (ends[i]->socket));
      CHECK_EQ (md.link_up_down, 1);
      CHECK_EQ (md.rx_queues_num, i == 0 ? 2 : 3);
      CHECK_EQ (md.tx_queues_num, i == 0 ? 3 : 2);
      CHECK (md.regions_num >= 1);
      for (int r = 0; r < md.regions_num; r++)
	{
	  CHECK_EQ (md.regions[r].index, r);
	  CHECK (md.regions[r].addr != NULL);
	  CHECK (md.regions[r].size > 0);
	  CHECK_EQ (md.regions[r].is_external, 0);
	}
      for (int q = 0; q < md.rx_queues_num; q++)
	{
	  CHECK_EQ (md.rx_queues[q].qid, q);
	  CHECK_EQ (md.rx_queues[q].ring_size, 64);
	  CHECK_EQ (md.rx_queues[q].buffer_size, 512);
	  CHECK_EQ (md.rx_queues[q].flags & MEMIF_QUEUE_FLAG_POLLING, i == 1 && q == 2);
	  CHECK (md.rx_queues[q].region < md.regions_num);
	}
      const memif_queue_details_t *used = i == 0 ? &md.rx_queues[1] : &md.tx_queues[1];
      CHECK_EQ (used->head, 5);
      CHECK_EQ (used->tail, 0);
      const void *pointers[]
	= { md.if_name, md.inst_name, md.remote_if_name, md.remote_inst_name, md.secret,
	    md.socket_path, md.regions, md.rx_queues, md.tx_queues, md.error };
      for (size_t p = 0; p < sizeof pointers / sizeof *pointers; p++)
	CHECK (within (pointers[p], buf, sizeof buf));
      CHECK_EQ ((uintptr_t) md.regions % _Alignof (memif_region_details_t), 0);
      CHECK_EQ ((uintptr_t) md.rx_queues % _Alignof (memif_queue_details_t), 0);
      /* every smaller size is told, until one is enough, and nothing behind it is touched */
      size_t enough = sizeof buf;
      for (size_t size = 0; size < enough; size++)
	{
	  char tight[4096];
	  memset (tight, 0x55, sizeof tight);
	  int err = memif_get_details (ends[i]->conn, &md, tight + 3, (ssize_t) size);
	  for (size_t at = size + 3; at < sizeof tight; at++)
	    CHECK_EQ (tight[at], 0x55);
	  if (err == MEMIF_ERR_SUCCESS)
	    enough = size;
	  else
	    CHECK_EQ (err, MEMIF_ERR_NOBUF_DET);
	}
      CHECK (enough > 100 && enough < 2048);
      CHECK_EQ (memif_get_details (ends[i]->conn, &md, buf, -1), MEMIF_ERR_INVAL_ARG);
      CHECK_EQ (memif_get_details (ends[i]->conn, &md, NULL, 4096), MEMIF_ERR_INVAL_ARG);
    }
  CHECK_OK (memif_delete (&master.conn));
  WAIT_UNTIL (slave.disconnects == 1, &slave, &master);
  memif_details_t md;
  char buf[4096];
  CHECK_OK (memif_get_details (slave.conn, &md, buf, sizeof buf));
  CHECK_EQ (md.link_up_down, 0);
  CHECK_STR (md.remote_if_name, "");
  CHECK (strlen ((char *) md.error) > 0);
  CHECK_EQ (md.rx_queues_num, 0);
  CHECK_EQ (md.regions_num, 0);
  close_link (&master, &slave);
}

/* The caller's allocators are used, and everything comes back. */
static int allocated, allocations;

static void *
counted_alloc (size_t size)
{
  allocated++;
  allocations++;
  return malloc (size);
}

static void *
counted_realloc (void *ptr, size_t size)
{
  allocated += ptr == NULL;
  return realloc (ptr, size);
}

static void
counted_free (void *ptr)
{
  allocated -= ptr != NULL;
  free (ptr);
}

static void
allocators (void)
{
  memif_socket_args_t args;
  end_t master;
  memset (&args, 0, sizeof args);
  memset (&master, 0, sizeof master);
  char path[64];
  fresh_path (path, sizeof path);
  strcpy (args.path, path);
  args.alloc = counted_alloc;
  args.realloc = counted_realloc;
  args.free = counted_free;
  CHECK_OK (memif_create_socket (&master.socket, &args, NULL));
  open_end (&master, path, 1, NULL);
  CHECK (allocations > 0);
  close_end (&master);
  CHECK_EQ (allocated, 0);
}

static const check_case_t cases[] = {
  CASE (details_of_both_ends),
  CASE (allocators),
};

CHECK_MAIN (cases)
