/* SPDX-License-Identifier: Apache-2.0 */
/* Types of the memif protocol that the interface of libmemif 1.0 uses. */
#ifndef MEMIF_H
#define MEMIF_H

#include <stdint.h>

/** What packets are; both ends of a link must agree. */
typedef enum
{
  MEMIF_INTERFACE_MODE_ETHERNET = 0,
  MEMIF_INTERFACE_MODE_IP = 1,
  MEMIF_INTERFACE_MODE_PUNT_INJECT = 2
} memif_interface_mode_t;

/** Tells the interfaces of one socket apart. */
typedef uint32_t memif_interface_id_t;
/** A ring holds 2^this descriptors; at most 14. */
typedef uint8_t memif_log2_ring_size_t;

#endif /* MEMIF_H */
