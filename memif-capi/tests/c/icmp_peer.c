/* Asks the ICMP responder for its hardware address, pings it, and checks each byte of its answers. libmemif 4.0.
 *
 *   icmp_peer SOCKET PINGS
 */
#include "link.h"
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>

#define US 0x0a000001u
#define THEM 0x0a000002u
#define LARGEST 1500

static const uint8_t our_mac[6] = { 2, 0, 0, 0, 0, 9 };

static void
put16 (uint8_t *at, uint32_t value)
{
  at[0] = (uint8_t) (value >> 8);
  at[1] = (uint8_t) value;
}

static void
put32 (uint8_t *at, uint32_t value)
{
  put16 (at, value >> 16);
  put16 (at + 2, value);
}

/* The sum over a part that holds its own checksum: 0 when that is right. */
static uint16_t
sum (const uint8_t *data, size_t len)
{
  uint32_t total = 0;
  for (size_t i = 0; i < len; i++)
    total += (uint32_t) data[i] << (i % 2 ? 0 : 8);
  while (total >> 16)
    total = (total & 0xffff) + (total >> 16);
  return (uint16_t) ~total;
}

static size_t
exchange (end_t *end, const uint8_t *request, size_t len, uint8_t *reply)
{
  static end_t nobody;
  memif_buffer_t buf;
  uint16_t count = 0;
  /* the slave may not have posted yet */
  WAIT_UNTIL (memif_buffer_alloc (end->conn, 0, &buf, 1, &count, (uint16_t) len) == MEMIF_ERR_SUCCESS, end, &nobody);
  memcpy (buf.data, request, len);
  buf.len = (uint32_t) len;
  CHECK_OK (memif_tx_burst (end->conn, 0, &buf, 1, &count));
  count = 0;
  WAIT_UNTIL ((memif_rx_burst (end->conn, 0, &buf, 1, &count), count == 1), end, &nobody);
  size_t got = buf.len;
  memcpy (reply, buf.data, got);
  CHECK_OK (memif_refill_queue (end->conn, 0, 1, 0));
  return got;
}

static void
ask_for_address (end_t *end, uint8_t *mac)
{
  uint8_t request[60] = { 0 }, reply[2048];
  memset (request, 0xff, 6);
  memcpy (request + 6, our_mac, 6);
  put16 (request + 12, ETHERTYPE_ARP);
  const uint8_t head[] = { 0, 1, 8, 0, 6, 4, 0, 1 };
  memcpy (request + 14, head, sizeof head);
  memcpy (request + 22, our_mac, 6);
  put32 (request + 28, US);
  put32 (request + 38, THEM);
  CHECK_EQ (exchange (end, request, sizeof request, reply), sizeof request);
  memcpy (mac, reply + 22, 6);
  /* the answer is the question with the sides changed and the blank filled in */
  memcpy (request, our_mac, 6);
  memcpy (request + 6, mac, 6);
  request[21] = 2;
  memcpy (request + 22, mac, 6);
  put32 (request + 28, THEM);
  memcpy (request + 32, our_mac, 6);
  put32 (request + 38, US);
  CHECK_EQ (memcmp (request, reply, sizeof request), 0);
}

static void
ping (end_t *end, const uint8_t *mac, uint32_t number, size_t payload)
{
  uint8_t request[LARGEST] = { 0 }, reply[2048];
  size_t len = 14 + 20 + 8 + payload;
  memcpy (request, mac, 6);
  memcpy (request + 6, our_mac, 6);
  put16 (request + 12, ETHERTYPE_IP);
  uint8_t *ip = request + 14, *icmp = ip + 20;
  ip[0] = 0x45;
  put16 (ip + 2, (uint32_t) (28 + payload));
  put16 (ip + 4, number);
  ip[8] = 64;
  ip[9] = 1;
  put32 (ip + 12, US);
  put32 (ip + 16, THEM);
  put16 (ip + 10, sum (ip, 20));
  icmp[0] = 8;
  put16 (icmp + 6, number);
  fill_pattern (icmp + 8, payload, number, 0);
  put16 (icmp + 2, sum (icmp, 8 + payload));
  CHECK_EQ (exchange (end, request, len, reply), len);
  CHECK_EQ (sum (reply + 14, 20), 0);
  CHECK_EQ (sum (reply + 34, 8 + payload), 0);
  CHECK_EQ (reply[34], 0);
  CHECK_EQ (memcmp (reply, our_mac, 6), 0);
  CHECK_EQ (memcmp (reply + 6, mac, 6), 0);
  CHECK_EQ (memcmp (reply + 26, ip + 16, 4), 0);
  CHECK_EQ (memcmp (reply + 30, ip + 12, 4), 0);
  /* identifier, number and payload as they were sent */
  CHECK_EQ (memcmp (reply + 38, icmp + 4, 4 + payload), 0);
}

int
main (int argc, char **argv)
{
  if (argc != 3)
    {
      fprintf (stderr, "usage: %s SOCKET PINGS\n", argv[0]);
      return 2;
    }
  static end_t nobody;
  end_t end;
  uint8_t mac[6];
  check_test = "icmp";
  alarm (TEST_SECONDS);
  memset (&end, 0, sizeof end);
  open_end (&end, argv[1], 1, NULL);
  WAIT_UNTIL (end.connects > 0, &end, &nobody);
  ask_for_address (&end, mac);
  uint32_t pings = (uint32_t) strtoul (argv[2], NULL, 10);
  for (uint32_t i = 0; i < pings; i++)
    ping (&end, mac, i, i % (LARGEST - 42));
  close_end (&end);
  printf ("%u pings answered\n", pings);
  return 0;
}
