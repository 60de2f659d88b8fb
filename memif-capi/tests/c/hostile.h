/* A master with a hostile peer, and an honest link beside it. Include link.h or v1_link.h first. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "peer.h"
#include <sys/resource.h>

#define MIB (1024l * 1024)
#define PAGE 4096u

/* A link between two honest ends, which must work whatever the hostile peer does. */
static struct
{
  end_t master, slave;
  uint32_t number; /* of its next packet */
} bystander;

/* Sends 8 packets in each direction of the honest link: all arrive, and neither end has disconnected. */
static inline void
check_bystander (void)
{
  end_t *ends[] = { &bystander.master, &bystander.slave };
  for (int i = 0; i < 2; i++)
    {
      CHECK_EQ (send_packets (ends[i], 0, bystander.number, 8, 1000), 8);
      CHECK_EQ (receive_packets (ends[1 - i], 0, bystander.number, 8, 1000), 8);
      bystander.number += 8;
      poll_end (ends[i], 0);
      CHECK_EQ (ends[i]->disconnects, 0);
    }
}

/* Opens the honest link, and a master with a peer that has a region of `size` bytes. */
static inline void
open_hostile (end_t *master, peer_t *peer, uint64_t size, uint8_t log2_ring)
{
  char path[64];
  memset (&bystander, 0, sizeof bystander);
  open_link (&bystander.master, &bystander.slave, NULL);
  memset (master, 0, sizeof *master);
  fresh_path (path, sizeof path);
  open_end (master, path, 1, NULL);
  peer_open (peer, path, size, log2_ring);
  WAIT_END ((peer_turn (peer), master->connects && peer->up), master);
}

/* Closes all of it. The honest link works before and after the peer has gone. */
static inline void
close_hostile (end_t *master, peer_t *peer)
{
  check_bystander ();
  peer_close (peer);
  WAIT_END (master->disconnects == 1, master);
  check_bystander ();
  close_end (master);
  close_link (&bystander.master, &bystander.slave);
}

/* Largest resident memory of this process so far. */
static inline long
peak_bytes (void)
{
  struct rusage usage;
  CHECK_EQ (getrusage (RUSAGE_SELF, &usage), 0);
  return usage.ru_maxrss * 1024;
}
#endif
