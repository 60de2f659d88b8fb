/* Links of a test and streams of packets through them, for libmemif 4.0. */
#ifndef STREAM_H
#define STREAM_H

#include "link.h"

/* Ends of a link for one test. */
typedef struct
{
  end_t master, slave;
} link_t;

static inline link_t *
linked (const memif_conn_args_t *like)
{
  static link_t link;
  memset (&link, 0, sizeof link);
  open_link (&link.master, &link.slave, like);
  return &link;
}

static inline memif_conn_args_t
sized (uint8_t log2_ring_size, uint16_t buffer_size)
{
  memif_conn_args_t args;
  memset (&args, 0, sizeof args);
  args.log2_ring_size = log2_ring_size;
  args.buffer_size = buffer_size;
  return args;
}

/* Sends packets one way in bursts until `total` have come through, both ends' bursts of different sizes. */
static inline void
stream (end_t *from, end_t *to, uint16_t qid, uint32_t total, size_t len, uint16_t slots)
{
  uint32_t sent = 0, received = 0;
  int64_t end = now_ms () + 4 * PATIENCE_MS;
  while (received < total)
    {
      uint16_t burst = (uint16_t) (1 + sent % 24);
      if (sent < total)
	sent += send_packets (from, qid, sent, (uint16_t) (burst * slots), len);
      received += receive_packets (to, qid, received, (uint16_t) ((1 + received % 31) * slots), len);
      CHECK (received <= sent);
      CHECK (now_ms () < end);
    }
  while (received < sent)
    received += receive_packets (to, qid, received, (uint16_t) (32 * slots), len);
}

/* Sends numbered packets to a peer that sends them back, and checks that all return in order. */
static inline void
round_trips (end_t *end, uint32_t total, size_t len, uint16_t slots)
{
  static end_t nobody;
  uint32_t sent = 0, received = 0;
  WAIT_UNTIL (end->connects > 0, end, &nobody);
  int64_t over = now_ms () + 4 * PATIENCE_MS;
  while (received < total)
    {
      /* below the ring's size, so that the other side always has room */
      if (sent < total && (sent - received) * slots < 512)
	sent += send_packets (end, 0, sent, (uint16_t) (8 * slots), len);
      received += receive_packets (end, 0, received, (uint16_t) (16 * slots), len);
      poll_end (end, 0);
      CHECK_EQ (end->disconnects, 0);
      CHECK (now_ms () < over);
    }
}

#endif /* STREAM_H */
