/* libmemif 1.0 with a slave that sends what no slave should. */
#define _GNU_SOURCE
#include "v1_link.h"

#include "hostile.h"

#define DATA 65536u /* packets are behind the rings */
#define LOG2_RING 9

/* Packets of several buffers are put together in private memory. One that is too long is dropped before any of that. */
static void
a_chain_above_64_kib_is_dropped_without_a_copy (void)
{
  enum
  {
    PIECE = 256 * MIB
  };
  end_t master;
  peer_t peer;
  open_hostile (&master, &peer, PIECE + DATA, LOG2_RING);
  long before = peak_bytes ();
  uint16_t head = 0;
  for (int round = 0; round < 20; round++)
    {
      /* four pieces of 256 MiB, over the same bytes; then one byte too many for a packet; then a good chain */
      for (int piece = 0; piece < 4; piece++)
	peer_desc (&peer, head++, piece < 3 ? NEXT : 0, PIECE, DATA);
      peer_desc (&peer, head++, NEXT, 65535, DATA);
      peer_desc (&peer, head++, 0, 1, DATA);
      fill_pattern (peer.region + DATA, 65535, (uint32_t) round, 0);
      peer_desc (&peer, head++, NEXT, 65000, DATA);
      peer_desc (&peer, head++, 0, 535, DATA + 65000);
      peer_publish (&peer, head);
      memif_buffer_t bufs[16];
      uint16_t count = 0, freed = 0;
      CHECK_OK (memif_rx_burst (master.conn, 0, bufs, 16, &count));
      CHECK_EQ (count, 1);
      CHECK_EQ (bufs[0].data_len, 65535);
      check_pattern (bufs[0].data, 65535, (uint32_t) round, 0);
      CHECK_OK (memif_buffer_free (master.conn, 0, bufs, count, &freed));
      CHECK_EQ (freed, 1);
    }
  CHECK (peak_bytes () - before < 64 * MIB);
  close_hostile (&master, &peer);
}

/* Packets of no bytes without end, with and without a packet that the program keeps: they are dropped, their slots return. */
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
  open_hostile (&master, &peer, MIB, LOG2_RING);
  memif_buffer_t bufs[8];
  uint16_t count = 0, freed = 0, head = 0;
  uint32_t empty = 0, full = 0;
  long before = 0;
  for (int round = 0; empty < EMPTY; round++)
    {
      uint16_t at = (uint16_t) (round * 37 % (RING - 1));
      CHECK_EQ ((uint16_t) (peer_tail (&peer) + RING - head), RING);
      /* one packet among them, of one buffer or of two */
      for (uint16_t i = 0; i < RING; i++)
	{
	  int first = i == at, second = i == at + 1 && round % 2;
	  peer_desc (&peer, head++, first && round % 2 ? NEXT : 0, first || second ? 50 : 0, DATA + (second ? 50 : 0));
	  empty += !first && !second;
	}
      size_t len = round % 2 ? 100 : 50;
      fill_pattern (peer.region + DATA, len, full, 0);
      peer_publish (&peer, head);
      CHECK_OK (memif_rx_burst (master.conn, 0, bufs, 8, &count));
      CHECK_EQ (count, 1);
      CHECK_EQ (bufs[0].data_len, len);
      check_pattern (bufs[0].data, len, full++, 0);
      memif_buffer_t none[8];
      CHECK_OK (memif_rx_burst (master.conn, 0, none, 8, &count));
      CHECK_EQ (count, 0);
      CHECK_OK (memif_buffer_free (master.conn, 0, bufs, 1, &freed));
      CHECK_EQ (freed, 1);
      if (round == 10)
	before = peak_bytes ();
      if (round % 500 == 0)
	check_bystander ();
    }
  CHECK (peak_bytes () - before < MIB);
  close_hostile (&master, &peer);
}

/* The peer's file cannot be sealed. It cuts it before the library puts packets of several buffers together. */
static void
a_peer_that_takes_pages_away_loses_its_link (void)
{
  enum
  {
    PACKETS = 250,
    PIECE = 8 * PAGE - 1
  };
  for (int round = 0; round < 3; round++)
    {
      end_t master;
      peer_t peer;
      static memif_buffer_t bufs[PACKETS];
      uint16_t count = 0;
      open_hostile (&master, &peer, DATA + 64 * PACKETS * PAGE, LOG2_RING);
      for (uint32_t i = 0; i < PACKETS; i++)
	{
	  peer_desc (&peer, (uint16_t) (2 * i), NEXT, PIECE, DATA + 64 * i * PAGE);
	  peer_desc (&peer, (uint16_t) (2 * i + 1), 0, PIECE, DATA + (64 * i + 32) * PAGE);
	}
      peer_publish (&peer, 2 * PACKETS);
      if (round == 1)
	CHECK_EQ (memif_rx_burst (master.conn, 0, bufs, 1, &count), MEMIF_ERR_NOBUF);
      CHECK_EQ (ftruncate (peer.region_fd, round == 2 ? 0 : DATA), 0);
      memif_rx_burst (master.conn, 0, bufs + 1, PACKETS - 1, &count);
      check_bystander ();
      WAIT_UNTIL (master.disconnects == 1);
      CHECK_EQ (memif_rx_burst (master.conn, 0, bufs + 1, PACKETS - 1, &count), MEMIF_ERR_DISCONNECTED);
      close_hostile (&master, &peer);
    }
}

static const check_case_t cases[] = {
  CASE (a_chain_above_64_kib_is_dropped_without_a_copy),
  CASE (empty_packets_take_no_memory),
  CASE (a_peer_that_takes_pages_away_loses_its_link),
};

CHECK_MAIN (cases)
