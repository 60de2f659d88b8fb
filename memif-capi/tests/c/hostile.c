/* libmemif 4.0 with a slave that sends what no slave should. */
#define _GNU_SOURCE
#include "link.h"

#include "hostile.h"
#include <fcntl.h>

#define LOG2_RING 12

#define DATA (1u << 18) /* packets lie behind the rings, which take 128 KiB and a little */

/* Receives everything that is there, `at_once` buffers a call; returns the bytes of all of it. */
static uint64_t
receive_all (end_t *master, uint16_t at_once, uint32_t *buffers)
{
  uint64_t bytes = 0;
  int err;
  *buffers = 0;
  do
    {
      memif_buffer_t bufs[64];
      uint16_t count = 0;
      err = memif_rx_burst (master->conn, 0, bufs, at_once, &count);
      if (err != MEMIF_ERR_NOBUF)
	CHECK_OK (err);
      for (uint16_t i = 0; i < count; i++)
	bytes += bufs[i].len;
      *buffers += count;
      CHECK_OK (memif_refill_queue (master->conn, 0, count, 0));
    }
  while (err == MEMIF_ERR_NOBUF);
  return bytes;
}

/* A packet of more buffers than bufs has entries comes in parts. What is no packet comes not at all. */
static void
chains_beyond_the_limits_are_dropped (void)
{
  const struct
  {
    uint32_t pieces, length, received;
  } chains[] = {
    { 1024, 63, 1024 },	  /* as many pieces as there may be */
    { 1025, 63, 0 },	  /* one more */
    { 4000, 16, 0 },	  /* 64000 bytes, in far too many */
    { 257, 255, 257 },	  /* 65535 bytes */
    { 256, 256, 0 },	  /* one more */
    { 3, 16777216 - DATA, 0 },
    { 1, 65535, 1 },
    { 1, 65536, 0 },
  };
  end_t master;
  peer_t peer;
  uint16_t head = 0;
  open_hostile (&master, &peer, 16 * MIB, LOG2_RING);
  for (int round = 0; round < 40; round++)
    for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++)
      {
	uint32_t buffers, pieces = chains[i].pieces;
	for (uint32_t piece = 0; piece < pieces; piece++)
	  peer_desc (&peer, head++, piece + 1 < pieces ? NEXT : 0, chains[i].length, DATA);
	/* a good packet behind it */
	peer_desc (&peer, head++, 0, 64, DATA);
	peer_publish (&peer, head);
	uint64_t bytes = receive_all (&master, (uint16_t) (1 + round % 64), &buffers);
	CHECK_EQ (buffers, chains[i].received + 1);
	CHECK_EQ (bytes, (uint64_t) chains[i].received * chains[i].length + 64);
	check_bystander ();
      }
  close_hostile (&master, &peer);
}

/* The peer goes on and on with a packet that it has sent, while the program takes it in parts. */
static void
a_chain_that_grows_ends_at_the_limit (void)
{
  end_t master;
  peer_t peer;
  open_hostile (&master, &peer, 16 * MIB, LOG2_RING);
  uint16_t end = 40;
  for (uint16_t piece = 0; piece < 4000; piece++)
    peer_desc (&peer, piece, piece + 1 == end ? 0 : NEXT, 16, DATA);
  peer_desc (&peer, 3999, 0, 16, DATA);
  peer_desc (&peer, 4000, 0, 64, DATA);
  peer_publish (&peer, 4001);
  uint32_t pieces = 0, longest = 0;
  int err;
  do
    {
      memif_buffer_t bufs[16];
      uint16_t count = 0;
      err = memif_rx_burst (master.conn, 0, bufs, 16, &count);
      for (uint16_t i = 0; i < count; i++)
	{
	  pieces++;
	  if (pieces > longest)
	    longest = pieces;
	  if (!(bufs[i].flags & MEMIF_BUFFER_FLAG_NEXT))
	    pieces = 0;
	}
      CHECK_OK (memif_refill_queue (master.conn, 0, count, 0));
      /* the last piece but 24 becomes the last but 40 */
      if (end + 16 < 3999)
	{
	  peer_desc (&peer, (uint16_t) (end + 15), 0, 16, DATA);
	  peer_desc (&peer, (uint16_t) (end - 1), NEXT, 16, DATA);
	  end = (uint16_t) (end + 16);
	}
    }
  while (err == MEMIF_ERR_NOBUF);
  CHECK_OK (err);
  CHECK (longest <= 1024);
  close_hostile (&master, &peer);
}

/* Four pieces of 256 MiB over the same bytes: nothing of them is looked at, and the packet behind them comes. */
static void
a_chain_of_huge_pieces_costs_nothing (void)
{
  end_t master;
  peer_t peer;
  open_hostile (&master, &peer, 256 * MIB + DATA, LOG2_RING);
  long before = peak_bytes ();
  uint16_t head = 0;
  for (int round = 0; round < 1000; round++)
    {
      memif_buffer_t bufs[8];
      uint16_t count = 0;
      for (int piece = 0; piece < 4; piece++)
	peer_desc (&peer, head++, piece < 3 ? NEXT : 0, 256 * MIB, DATA);
      fill_pattern (peer.region + DATA, 500, (uint32_t) round, 0);
      peer_desc (&peer, head++, 0, 500, DATA);
      peer_publish (&peer, head);
      CHECK_OK (memif_rx_burst (master.conn, 0, bufs, 8, &count));
      CHECK_EQ (count, 1);
      CHECK_EQ (check_packets (bufs, 1, (uint32_t) round, 500), 1);
      CHECK_OK (memif_refill_queue (master.conn, 0, count, 0));
      if (round % 100 == 0)
	check_bystander ();
    }
  CHECK (peak_bytes () - before < 16 * MIB);
  close_hostile (&master, &peer);
}

/* Packets of no bytes without end, with and without a buffer that the program keeps: they are dropped, their slots return. */
static void
empty_packets_take_no_memory (void)
{
  enum
  {
    RING = 1 << LOG2_RING,
    EMPTY = 3000000
  };
  end_t master;
  peer_t peer;
  open_hostile (&master, &peer, 16 * MIB, LOG2_RING);
  memif_buffer_t bufs[8];
  uint16_t count = 0, head = 0;
  uint32_t empty = 0, full = 0;
  long before = 0;
  for (int round = 0; empty < EMPTY; round++)
    {
      int keep = round % 3 == 0;
      /* as many as there is room for, and one packet among them */
      uint16_t room = (uint16_t) (peer_tail (&peer) + RING - head), at = (uint16_t) (round * 37 % RING);
      CHECK_EQ (room, RING);
      for (uint16_t i = 0; i < room; i++)
	{
	  int is_full = i == at;
	  peer_desc (&peer, head++, 0, is_full ? 100 : 0, DATA);
	  empty += !is_full;
	}
      fill_pattern (peer.region + DATA, 100, full, 0);
      peer_publish (&peer, head);
      uint32_t received = 0;
      do
	{
	  CHECK_OK (memif_rx_burst (master.conn, 0, bufs, 8, &count));
	  received += check_packets (bufs, count, full, 100);
	  if (!keep)
	    CHECK_OK (memif_refill_queue (master.conn, 0, count, 0));
	}
      while (count > 0);
      CHECK_EQ (received, 1);
      full++;
      if (keep)
	CHECK_OK (memif_refill_queue (master.conn, 0, ALL, 0));
      if (round == 10)
	before = peak_bytes ();
      if (round % 50 == 0)
	check_bystander ();
    }
  CHECK (peak_bytes () - before < MIB);
  close_hostile (&master, &peer);
}

/* The peer's file cannot be sealed. It cuts it behind the rings while the program has packets all over it. */
static void
a_peer_that_takes_pages_away_loses_its_link (void)
{
  enum
  {
    PACKETS = (1 << LOG2_RING) - 1,
    LENGTH = 15 * PAGE,
    STRIDE = 16 * PAGE
  };
  static memif_buffer_t bufs[PACKETS];
  uint64_t size = DATA + (uint64_t) PACKETS * STRIDE;
  for (int round = 0; round < 3; round++)
    {
      end_t master;
      peer_t peer;
      uint16_t count = 0, more = 0;
      uint64_t sum = 0;
      open_hostile (&master, &peer, (size + PAGE - 1) / PAGE * PAGE, LOG2_RING);
      CHECK (fcntl (peer.region_fd, F_GET_SEALS) & F_SEAL_SEAL);
      for (uint16_t i = 0; i < PACKETS; i++)
	peer_desc (&peer, i, 0, LENGTH, DATA + i * STRIDE);
      peer_publish (&peer, PACKETS);
      CHECK_OK (memif_rx_burst (master.conn, 0, bufs, PACKETS, &count));
      CHECK_EQ (count, PACKETS);
      CHECK_EQ (ftruncate (peer.region_fd, round == 2 ? 0 : DATA), 0);
      /* every second page, read or written; each would be a mapping if pages were replaced one by one */
      for (uint16_t i = 0; i < PACKETS; i++)
	for (uint32_t at = PAGE; at < LENGTH; at += 2 * PAGE)
	  {
	    volatile uint8_t *byte = (uint8_t *) bufs[i].data + at;
	    if (round == 1)
	      *byte = (uint8_t) i;
	    else
	      sum += *byte;
	  }
      CHECK_EQ (sum, 0);
      check_bystander ();
      /* the ring is private zeros now, and no packets come out of it */
      CHECK (memif_rx_burst (master.conn, 0, bufs, 8, &more) != MEMIF_ERR_NOBUF);
      CHECK_EQ (more, 0);
      WAIT_UNTIL (master.disconnects == 1, &master, &bystander.slave);
      memif_details_t details;
      char text[2048];
      CHECK_OK (memif_get_details (master.conn, &details, text, sizeof text));
      CHECK_STR (details.error, "peer fault: region 0 lost pages while the link was up");
      CHECK_EQ (details.link_up_down, 0);
      close_hostile (&master, &peer);
    }
}

static const check_case_t cases[] = {
  CASE (chains_beyond_the_limits_are_dropped),
  CASE (a_chain_that_grows_ends_at_the_limit),
  CASE (a_chain_of_huge_pieces_costs_nothing),
  CASE (empty_packets_take_no_memory),
  CASE (a_peer_that_takes_pages_away_loses_its_link),
};

CHECK_MAIN (cases)
