/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memif protocol, version 2.0: types, messages and the layout of shared memory. Programs that use libmemif need none
 * of this but memif_interface_mode_t; it is here for those that include memif.h by its name, and under its guard.
 */
#ifndef _MEMIF_H_
#define _MEMIF_H_

#include <stdint.h>

/** Bytes from one index of a ring to the next: each has a cache line of its own. */
#ifndef MEMIF_CACHELINE_SIZE
#define MEMIF_CACHELINE_SIZE 64
#endif

/** First field of every ring. */
#define MEMIF_COOKIE 0x3E31F20
#define MEMIF_VERSION_MAJOR 2
#define MEMIF_VERSION_MINOR 0
#define MEMIF_VERSION ((MEMIF_VERSION_MAJOR << 8) | MEMIF_VERSION_MINOR)

/** What a message of the control channel is. */
typedef enum memif_msg_type
{
  MEMIF_MSG_TYPE_NONE = 0,
  MEMIF_MSG_TYPE_ACK = 1,
  MEMIF_MSG_TYPE_HELLO = 2,
  MEMIF_MSG_TYPE_INIT = 3,
  MEMIF_MSG_TYPE_ADD_REGION = 4,
  MEMIF_MSG_TYPE_ADD_RING = 5,
  MEMIF_MSG_TYPE_CONNECT = 6,
  MEMIF_MSG_TYPE_CONNECTED = 7,
  MEMIF_MSG_TYPE_DISCONNECT = 8
} memif_msg_type_t;

/** Which way the packets of a ring go. */
typedef enum
{
  MEMIF_RING_S2M = 0,
  MEMIF_RING_M2S = 1
} memif_ring_type_t;

/** What packets are; both ends of a link must agree. */
typedef enum
{
  MEMIF_INTERFACE_MODE_ETHERNET = 0,
  MEMIF_INTERFACE_MODE_IP = 1,
  MEMIF_INTERFACE_MODE_PUNT_INJECT = 2
} memif_interface_mode_t;

typedef uint16_t memif_region_index_t;
typedef uint32_t memif_region_offset_t;
typedef uint64_t memif_region_size_t;
typedef uint16_t memif_ring_index_t;
/** Tells the interfaces of one socket apart. */
typedef uint32_t memif_interface_id_t;
/** Major number in the high byte, minor number in the low byte. */
typedef uint16_t memif_version_t;
/** A ring holds 2^this descriptors; at most 14. */
typedef uint8_t memif_log2_ring_size_t;

/** Master to slave, first: what the master accepts. Maxima are the highest index. */
typedef struct __attribute__ ((packed))
{
  uint8_t name[32];
  memif_version_t min_version;
  memif_version_t max_version;
  memif_region_index_t max_region;
  memif_ring_index_t max_m2s_ring;
  memif_ring_index_t max_s2m_ring;
  memif_log2_ring_size_t max_log2_ring_size;
} memif_msg_hello_t;

/** Slave to master: the interface that it wants. */
typedef struct __attribute__ ((packed))
{
  memif_version_t version;
  memif_interface_id_t id;
  __extension__ memif_interface_mode_t mode : 8;
  uint8_t secret[24];
  uint8_t name[32];
} memif_msg_init_t;

/** Slave to master, with the region's file. */
typedef struct __attribute__ ((packed))
{
  memif_region_index_t index;
  memif_region_size_t size;
} memif_msg_add_region_t;

/** Slave to master, with the ring's eventfd. */
typedef struct __attribute__ ((packed))
{
  uint16_t flags;
/** The ring is S2M; else M2S. */
#define MEMIF_MSG_ADD_RING_FLAG_S2M 1
  memif_ring_index_t index;
  memif_region_index_t region;
  memif_region_offset_t offset;
  memif_log2_ring_size_t log2_ring_size;
  uint16_t private_hdr_size; /**< 0 */
} memif_msg_add_ring_t;

/** Slave to master: everything is offered. */
typedef struct __attribute__ ((packed))
{
  uint8_t if_name[32];
} memif_msg_connect_t;

/** Master to slave: the link is up. */
typedef struct __attribute__ ((packed))
{
  uint8_t if_name[32];
} memif_msg_connected_t;

/** Either way: the sender ends the connection. */
typedef struct __attribute__ ((packed))
{
  uint32_t code;
  uint8_t string[96];
} memif_msg_disconnect_t;

/** A message; every one has 128 bytes. */
typedef struct __attribute__ ((packed, aligned (128)))
{
  __extension__ memif_msg_type_t type : 16;
  __extension__ union
  {
    memif_msg_hello_t hello;
    memif_msg_init_t init;
    memif_msg_add_region_t add_region;
    memif_msg_add_ring_t add_ring;
    memif_msg_connect_t connect;
    memif_msg_connected_t connected;
    memif_msg_disconnect_t disconnect;
  };
} memif_msg_t;

/** Names one buffer in a region. */
typedef struct __attribute__ ((packed))
{
  uint16_t flags;
/** The packet continues in the following descriptor. */
#define MEMIF_DESC_FLAG_NEXT 1
  memif_region_index_t region;
  uint32_t length;
  memif_region_offset_t offset;
  uint32_t metadata;
} memif_desc_t;

/** A ring; 2^log2_ring_size descriptors follow. */
typedef struct
{
  __attribute__ ((aligned (MEMIF_CACHELINE_SIZE))) uint32_t cookie;
  uint16_t flags;
/** The receiver polls: the sender need not notify. */
#define MEMIF_RING_FLAG_MASK_INT 1
  volatile uint16_t head; /**< the slave's */
  __attribute__ ((aligned (MEMIF_CACHELINE_SIZE))) volatile uint16_t tail; /**< the master's */
  __extension__ __attribute__ ((aligned (MEMIF_CACHELINE_SIZE))) memif_desc_t desc[];
} memif_ring_t;

#endif /* _MEMIF_H_ */
