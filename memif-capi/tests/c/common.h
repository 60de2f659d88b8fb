/* What the tests of both interfaces share: names of sockets, the clock, the contents of packets. */
#ifndef COMMON_H
#define COMMON_H

#include "check.h"
#include <stdint.h>
#include <time.h>

/* How long anything may take that must happen. */
#define PATIENCE_MS 120000

static inline int64_t
now_ms (void)
{
  struct timespec now;
  clock_gettime (CLOCK_MONOTONIC, &now);
  return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* An abstract socket name that no other test uses. */
static inline void
fresh_path (char *path, size_t size)
{
  static int count;
  snprintf (path, size, "@memif-c-test-%d-%d", (int) getpid (), count++);
}

/* Byte `at` of packet number `number`. */
static inline uint8_t
pattern (uint32_t number, size_t at)
{
  return (uint8_t) (number * 131 + number / 256 + at * 7 + at / 256);
}

static inline void
fill_pattern (void *data, size_t len, uint32_t number, size_t from)
{
  for (size_t i = 0; i < len; i++)
    ((uint8_t *) data)[i] = pattern (number, from + i);
}

static inline void
check_pattern (const void *data, size_t len, uint32_t number, size_t from)
{
  for (size_t i = 0; i < len; i++)
    if (((const uint8_t *) data)[i] != pattern (number, from + i))
      {
	fprintf (stderr, "packet %u differs at byte %zu\n", number, from + i);
	CHECK_EQ (((const uint8_t *) data)[i], pattern (number, from + i));
      }
}

#endif /* COMMON_H */
