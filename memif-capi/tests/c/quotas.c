/* libmemif 4.0: tenants that take all that they can leave the others theirs. */
#define _GNU_SOURCE
#include "peer.h"

#include "link.h"
#include <sys/resource.h>

#define TENANTS 32
#define HONEST_ID 1000
#define LOG2_RING 4
#define DESCRIPTORS 1024

/* A slave that announces as many regions as it likes, one at a time. */
typedef struct
{
  end_t master;
  peer_t peer;
  int regions, wanted;
} tenant_t;

static tenant_t tenants[TENANTS];

/* The master's interfaces are on one socket; the honest one has a slave that comes and goes. */
static end_t honest, slave, bystander_master, bystander_slave;
static char path[64];
static uint32_t number;

static void
send_region (tenant_t *tenant)
{
  uint8_t message[MESSAGE];
  memset (message, 0, sizeof message);
  put_u16 (message, 0, 4);
  put_u16 (message, 2, (uint16_t) tenant->regions++);
  put (message, 4, &tenant->peer.region_size, 8);
  peer_try_send (&tenant->peer, message, tenant->peer.region_fd);
}

static void
tenant_turn (tenant_t *tenant)
{
  uint8_t message[MESSAGE];
  ssize_t got = -1;
  while (!tenant->peer.ended && (got = recv (tenant->peer.fd, message, sizeof message, MSG_DONTWAIT)) == MESSAGE)
    {
      uint16_t type;
      memcpy (&type, message, sizeof type);
      if (type == 8)
	tenant->peer.ended = 1;
      else if (type == 7)
	tenant->peer.up = 1;
      else if (type == 2)
	peer_go_on (&tenant->peer);
      else if (tenant->regions < tenant->wanted)
	send_region (tenant);
      else
	{
	  tenant->peer.sent += tenant->peer.sent == 1; /* regions are sent already */
	  peer_go_on (&tenant->peer);
	}
    }
  tenant->peer.ended |= got == 0;
}

static int
all_turn (void)
{
  int busy = 0;
  for (int i = 0; i < TENANTS; i++)
    {
      tenant_turn (&tenants[i]);
      busy += !tenants[i].peer.up && !tenants[i].peer.ended;
    }
  return busy;
}

static void
tenants_connect (int wanted)
{
  for (int i = 0; i < TENANTS; i++)
    {
      peer_open (&tenants[i].peer, path, 65536, LOG2_RING);
      tenants[i].peer.id = (uint32_t) i;
      tenants[i].regions = 0;
      tenants[i].wanted = wanted;
    }
}

static void
tenants_leave (void)
{
  for (int i = 0; i < TENANTS; i++)
    peer_close (&tenants[i].peer);
}

static void
both_ways (end_t *a, end_t *b)
{
  end_t *ends[] = { a, b };
  for (int i = 0; i < 2; i++)
    {
      CHECK_EQ (send_packets (ends[i], 0, number, 8, 1000), 8);
      CHECK_EQ (receive_packets (ends[1 - i], 0, number, 8, 1000), 8);
      number += 8;
    }
}

/* A slave of another tenant comes, is served, and goes, whatever the others are at. */
static void
honest_slave_is_served (void)
{
  int before = honest.connects;
  memset (&slave, 0, sizeof slave);
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  args.interface_id = HONEST_ID;
  open_end (&slave, path, 0, &args);
  WAIT_UNTIL ((all_turn (), slave.connects == 1 && honest.connects == before + 1), &slave, &honest);
  both_ways (&slave, &honest);
  close_end (&slave);
  WAIT_UNTIL ((all_turn (), honest.disconnects == before + 1), &honest, &honest);
  poll_end (&bystander_master, 0);
  poll_end (&bystander_slave, 0);
  both_ways (&bystander_slave, &bystander_master);
  CHECK_EQ (bystander_master.disconnects + bystander_slave.disconnects, 0);
}

static void
regions_of_one_tenant_do_not_take_those_of_another (void)
{
  struct rlimit before, limit;
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  CHECK_EQ (getrlimit (RLIMIT_NOFILE, &before), 0);
  limit = before;
  limit.rlim_cur = DESCRIPTORS;
  CHECK_EQ (setrlimit (RLIMIT_NOFILE, &limit), 0);
  open_link (&bystander_master, &bystander_slave, NULL);
  fresh_path (path, sizeof path);
  args.interface_id = HONEST_ID;
  open_end (&honest, path, 1, &args);
  for (int i = 0; i < TENANTS; i++)
    {
      args.interface_id = (uint32_t) i;
      tenants[i].master.socket = honest.socket;
      open_end (&tenants[i].master, path, 1, &args);
    }
  for (int round = 0; round < 5; round++)
    {
      /* 8192 regions: each tenant is refused, and the honest slave comes in meanwhile */
      tenants_connect (256);
      honest_slave_is_served ();
      WAIT_UNTIL (all_turn () == 0, &honest, &honest);
      for (int i = 0; i < TENANTS; i++)
	CHECK_EQ (tenants[i].peer.up, 0);
      honest_slave_is_served ();
      tenants_leave ();
      /* as many as are granted: the tenants are up and stay, and the honest slave comes in all the same */
      tenants_connect (8);
      WAIT_UNTIL (all_turn () == 0, &honest, &honest);
      for (int i = 0; i < TENANTS; i++)
	CHECK_EQ (tenants[i].peer.up, 1);
      for (int i = 0; i < 10; i++)
	honest_slave_is_served ();
      tenants_leave ();
      for (int i = 0; i < TENANTS; i++)
	WAIT_UNTIL (tenants[i].master.disconnects == round + 1, &honest, &honest);
    }
  for (int i = 0; i < TENANTS; i++)
    CHECK_OK (memif_delete (&tenants[i].master.conn));
  close_end (&honest);
  close_link (&bystander_master, &bystander_slave);
  CHECK_EQ (setrlimit (RLIMIT_NOFILE, &before), 0);
}

static const check_case_t cases[] = {
  CASE (regions_of_one_tenant_do_not_take_those_of_another),
};

CHECK_MAIN (cases)
