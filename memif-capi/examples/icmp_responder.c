/* Answers ARP requests for one IPv4 address, and pings to it. libmemif 4.0.
 *
 *   icmp_responder [-m] [-s SOCKET] [-i ID] [-a ADDRESS]
 *
 * The interface is a slave, or a master with -m. Ends on SIGINT and SIGTERM.
 */
#include <arpa/inet.h>
#include <libmemif.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BURST 64
#define LARGEST 2048

static const uint8_t our_mac[ETH_ALEN] = { 0x02, 0xfe, 0x00, 0x00, 0x00, 0x01 };
static in_addr_t our_address;
static memif_socket_handle_t ctrl_socket;

static uint16_t
checksum (const uint8_t *data, size_t len)
{
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < len; i += 2)
    sum += (uint32_t) (data[i] << 8 | data[i + 1]);
  if (len % 2)
    sum += (uint32_t) (data[len - 1] << 8);
  while (sum >> 16)
    sum = (sum & 0xffff) + (sum >> 16);
  return htons ((uint16_t) ~sum);
}

/* Makes an answer of an ARP request; 0: there is none. */
static size_t
answer_arp (uint8_t *packet, size_t len)
{
  struct ether_arp arp;
  if (len < ETH_HLEN + sizeof arp)
    return 0;
  memcpy (&arp, packet + ETH_HLEN, sizeof arp);
  if (arp.arp_op != htons (ARPOP_REQUEST) || memcmp (arp.arp_tpa, &our_address, sizeof arp.arp_tpa) != 0)
    return 0;
  arp.arp_op = htons (ARPOP_REPLY);
  memcpy (arp.arp_tha, arp.arp_sha, ETH_ALEN);
  memcpy (arp.arp_tpa, arp.arp_spa, sizeof arp.arp_tpa);
  memcpy (arp.arp_sha, our_mac, ETH_ALEN);
  memcpy (arp.arp_spa, &our_address, sizeof arp.arp_spa);
  memcpy (packet + ETH_HLEN, &arp, sizeof arp);
  return len;
}

/* Makes an answer of a ping; 0: there is none. */
static size_t
answer_ping (uint8_t *packet, size_t len)
{
  struct iphdr ip;
  struct icmphdr icmp;
  if (len < ETH_HLEN + sizeof ip)
    return 0;
  memcpy (&ip, packet + ETH_HLEN, sizeof ip);
  size_t header = ip.ihl * 4u, total = ntohs (ip.tot_len);
  int for_us = ip.version == 4 && ip.protocol == IPPROTO_ICMP && ip.daddr == our_address;
  if (!for_us || header < sizeof ip || total < header + sizeof icmp || total > len - ETH_HLEN)
    return 0;
  uint8_t *message = packet + ETH_HLEN + header;
  memcpy (&icmp, message, sizeof icmp);
  if (icmp.type != ICMP_ECHO)
    return 0;
  icmp.type = ICMP_ECHOREPLY;
  icmp.checksum = 0;
  memcpy (message, &icmp, sizeof icmp);
  icmp.checksum = checksum (message, total - header);
  memcpy (message, &icmp, sizeof icmp);
  /* addresses change place, so the header's checksum stays right */
  ip.daddr = ip.saddr;
  ip.saddr = our_address;
  memcpy (packet + ETH_HLEN, &ip, sizeof ip);
  return len;
}

/* Makes an answer of a packet, in place; 0: there is none. */
static size_t
answer (uint8_t *packet, size_t len)
{
  struct ether_header ether;
  size_t out = 0;
  if (len < sizeof ether)
    return 0;
  memcpy (&ether, packet, sizeof ether);
  if (ether.ether_type == htons (ETHERTYPE_ARP))
    out = answer_arp (packet, len);
  else if (ether.ether_type == htons (ETHERTYPE_IP))
    out = answer_ping (packet, len);
  memcpy (ether.ether_dhost, ether.ether_shost, ETH_ALEN);
  memcpy (ether.ether_shost, our_mac, ETH_ALEN);
  memcpy (packet, &ether, sizeof ether);
  return out;
}

static void
transmit (memif_conn_handle_t conn, uint16_t qid, const uint8_t *packet, size_t len)
{
  memif_buffer_t buf;
  uint16_t count = 0;
  if (memif_buffer_alloc (conn, qid, &buf, 1, &count, 0) != MEMIF_ERR_SUCCESS)
    return; /* the ring is full: the answer is lost, as on any network */
  /* a buffer that is too small is allocated again by the next answer */
  if (buf.len < len)
    {
      memif_set_next_free_buffer (conn, qid, &buf);
      return;
    }
  memcpy (buf.data, packet, len);
  buf.len = (uint32_t) len;
  memif_tx_burst (conn, qid, &buf, 1, &count);
}

static int
on_interrupt (memif_conn_handle_t conn, void *private_ctx, uint16_t qid)
{
  static uint8_t packet[LARGEST];
  memif_buffer_t bufs[BURST];
  uint16_t count = 0;
  size_t len = 0;
  int err;
  (void) private_ctx;
  do
    {
      err = memif_rx_burst (conn, qid, bufs, BURST, &count);
      for (uint16_t i = 0; i < count; i++)
	{
	  /* a private copy first: the sender can still write to the buffer while we look */
	  size_t room = sizeof packet - len;
	  size_t part = bufs[i].len < room ? bufs[i].len : room;
	  memcpy (packet + len, bufs[i].data, part);
	  len += part;
	  if (bufs[i].flags & MEMIF_BUFFER_FLAG_NEXT)
	    continue;
	  len = answer (packet, len);
	  if (len > 0)
	    transmit (conn, qid, packet, len);
	  len = 0;
	}
      memif_refill_queue (conn, qid, count, 0);
    }
  while (err == MEMIF_ERR_NOBUF);
  return 0;
}

static int
on_connect (memif_conn_handle_t conn, void *private_ctx)
{
  const int *is_master = private_ctx;
  puts ("connected");
  return *is_master ? 0 : memif_refill_queue (conn, 0, (uint16_t) -1, 0);
}

static int
on_disconnect (memif_conn_handle_t conn, void *private_ctx)
{
  (void) conn;
  (void) private_ctx;
  puts ("disconnected");
  return 0;
}

static void
stop (int number)
{
  (void) number;
  memif_cancel_poll_event (ctrl_socket);
}

static void
check (int err, const char *what)
{
  if (err == MEMIF_ERR_SUCCESS)
    return;
  fprintf (stderr, "%s: %s\n", what, memif_strerror (err));
  exit (1);
}

int
main (int argc, char **argv)
{
  memif_socket_args_t socket_args;
  memif_conn_args_t args;
  memif_conn_handle_t conn = NULL;
  const char *address = "192.168.1.2";
  int option, err, is_master = 0;
  memset (&socket_args, 0, sizeof socket_args);
  memset (&args, 0, sizeof args);
  while ((option = getopt (argc, argv, "ms:i:a:")) != -1)
    switch (option)
      {
      case 'm':
	is_master = 1;
	break;
      case 's':
	snprintf (socket_args.path, sizeof socket_args.path, "%s", optarg);
	break;
      case 'i':
	args.interface_id = (uint32_t) strtoul (optarg, NULL, 0);
	break;
      case 'a':
	address = optarg;
	break;
      default:
	fprintf (stderr, "usage: %s [-m] [-s SOCKET] [-i ID] [-a ADDRESS]\n", argv[0]);
	return 2;
      }
  if (inet_pton (AF_INET, address, &our_address) != 1)
    {
      fprintf (stderr, "%s is no IPv4 address\n", address);
      return 2;
    }
  setvbuf (stdout, NULL, _IOLBF, 0);
  strcpy (socket_args.app_name, "icmp-responder");
  socket_args.connection_request_timer.it_value.tv_sec = 1;
  socket_args.connection_request_timer.it_interval.tv_sec = 1;
  check (memif_create_socket (&ctrl_socket, &socket_args, NULL), "socket");
  signal (SIGINT, stop);
  signal (SIGTERM, stop);
  args.socket = ctrl_socket;
  args.is_master = (uint8_t) is_master;
  strcpy ((char *) args.interface_name, "responder");
  check (memif_create (&conn, &args, on_connect, on_disconnect, on_interrupt, &is_master), "interface");
  while ((err = memif_poll_event (ctrl_socket, -1)) == MEMIF_ERR_SUCCESS)
    ;
  if (err != MEMIF_ERR_POLL_CANCEL)
    check (err, "poll");
  check (memif_delete (&conn), "delete");
  check (memif_delete_socket (&ctrl_socket), "delete socket");
  return 0;
}
