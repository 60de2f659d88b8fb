/* A slave that speaks the protocol by itself, without libmemif, and writes into its rings what it likes. */
#ifndef PEER_H
#define PEER_H

#include "common.h"
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#define MESSAGE 128
#define RING_HEADER 128u
#define DESC 16u
#define COOKIE 0x3e31f20u
#define NEXT 1u

/* One ring in each direction, S2M at the start of the region and M2S behind it. */
typedef struct
{
  int fd, region_fd, event_fds[2];
  uint8_t *region;
  uint64_t region_size;
  uint8_t log2_ring_size;
  uint32_t id; /* of the interface that it wants */
  int sent;    /* messages sent so far */
  int up;
  int ended; /* the master has said DISCONNECT, or hung up */
} peer_t;

static inline void
put (uint8_t *message, size_t at, const void *value, size_t size)
{
  memcpy (message + at, value, size);
}

static inline void
put_u16 (uint8_t *message, size_t at, uint16_t value)
{
  put (message, at, &value, sizeof value);
}

static inline void
put_u32 (uint8_t *message, size_t at, uint32_t value)
{
  put (message, at, &value, sizeof value);
}

/* Returns whether the message is out: not when the master has hung up, or reads none for the moment. */
static inline int
peer_try_send (peer_t *peer, const uint8_t *message, int fd)
{
  union
  {
    struct cmsghdr header;
    char bytes[CMSG_SPACE (sizeof (int))];
  } control;
  struct iovec part = { (void *) message, MESSAGE };
  struct msghdr header;
  memset (&header, 0, sizeof header);
  memset (&control, 0, sizeof control);
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (fd >= 0)
    {
      header.msg_control = control.bytes;
      header.msg_controllen = sizeof control.bytes;
      control.header.cmsg_level = SOL_SOCKET;
      control.header.cmsg_type = SCM_RIGHTS;
      control.header.cmsg_len = CMSG_LEN (sizeof fd);
      memcpy (CMSG_DATA (&control.header), &fd, sizeof fd);
    }
  return sendmsg (peer->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) == MESSAGE;
}

static inline void
peer_send (peer_t *peer, const uint8_t *message, int fd)
{
  CHECK (peer_try_send (peer, message, fd));
}

static inline uint32_t
ring_bytes (const peer_t *peer)
{
  return RING_HEADER + (DESC << peer->log2_ring_size);
}

/* The next message of the handshake: INIT, ADD_REGION, ADD_RING, ADD_RING, CONNECT. */
static inline void
peer_go_on (peer_t *peer)
{
  uint8_t message[MESSAGE];
  int fd = -1;
  memset (message, 0, sizeof message);
  switch (peer->sent++)
    {
    case 0:
      put_u16 (message, 0, 3);
      put_u16 (message, 2, 0x0200);
      put_u32 (message, 4, peer->id);
      strcpy ((char *) message + 33, "peer");
      break;
    case 1:
      put_u16 (message, 0, 4);
      put (message, 4, &peer->region_size, 8);
      fd = peer->region_fd;
      break;
    case 2:
    case 3:
      put_u16 (message, 0, 5);
      put_u16 (message, 2, peer->sent == 3); /* S2M first */
      put_u32 (message, 8, peer->sent == 3 ? 0 : ring_bytes (peer));
      message[12] = peer->log2_ring_size;
      fd = peer->event_fds[peer->sent - 3];
      break;
    case 4:
      put_u16 (message, 0, 6);
      strcpy ((char *) message + 2, "peer");
      break;
    default:
      return;
    }
  peer_send (peer, message, fd);
}

/* Answers what has come; never waits. */
static inline void
peer_turn (peer_t *peer)
{
  uint8_t message[MESSAGE];
  ssize_t got;
  while ((got = recv (peer->fd, message, sizeof message, MSG_DONTWAIT)) == MESSAGE)
    {
      uint16_t type;
      memcpy (&type, message, sizeof type);
      if (type == 7)
	peer->up = 1;
      else if (type == 8)
	peer->ended = 1;
      else if (type == 1 || type == 2)
	peer_go_on (peer);
      else
	check_failed (__FILE__, __LINE__, "message type", type, 1);
    }
  peer->ended |= got == 0;
}

/* Connects to an abstract address, with a region of `size` bytes of which none is there yet but the rings. */
static inline void
peer_open (peer_t *peer, const char *path, uint64_t size, uint8_t log2_ring_size)
{
  struct sockaddr_un address;
  memset (peer, 0, sizeof *peer);
  memset (&address, 0, sizeof address);
  peer->region_size = size;
  peer->log2_ring_size = log2_ring_size;
  peer->region_fd = memfd_create ("peer", MFD_CLOEXEC);
  CHECK (peer->region_fd >= 0);
  CHECK_EQ (ftruncate (peer->region_fd, (off_t) size), 0);
  peer->region = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, peer->region_fd, 0);
  CHECK (peer->region != MAP_FAILED);
  for (uint32_t ring = 0; ring < 2; ring++)
    {
      put_u32 (peer->region + ring * ring_bytes (peer), 0, COOKIE);
      peer->event_fds[ring] = eventfd (0, EFD_NONBLOCK);
    }
  peer->fd = socket (AF_UNIX, SOCK_SEQPACKET, 0);
  CHECK (peer->fd >= 0);
  address.sun_family = AF_UNIX;
  strcpy (address.sun_path + 1, path + 1);
  socklen_t len = (socklen_t) (offsetof (struct sockaddr_un, sun_path) + strlen (path));
  CHECK_EQ (connect (peer->fd, (struct sockaddr *) &address, len), 0);
}

static inline void
peer_close (peer_t *peer)
{
  munmap (peer->region, peer->region_size);
  close (peer->region_fd);
  close (peer->event_fds[0]);
  close (peer->event_fds[1]);
  close (peer->fd);
}

/* Fills in a descriptor of the S2M ring. */
static inline void
peer_desc (peer_t *peer, uint16_t index, uint16_t flags, uint32_t length, uint32_t offset)
{
  uint16_t slot = (uint16_t) (index & ((1u << peer->log2_ring_size) - 1));
  uint8_t *desc = peer->region + RING_HEADER + DESC * slot;
  put_u16 (desc, 2, 0);
  put_u32 (desc, 4, length);
  put_u32 (desc, 8, offset);
  put_u16 (desc, 0, flags);
}

/* How far the master has returned the S2M ring's slots. */
static inline uint16_t
peer_tail (const peer_t *peer)
{
  return __atomic_load_n ((uint16_t *) (peer->region + 64), __ATOMIC_ACQUIRE);
}

/* Publishes the S2M ring up to `head`, and notifies the master. */
static inline void
peer_publish (peer_t *peer, uint16_t head)
{
  uint64_t one = 1;
  __atomic_store_n ((uint16_t *) (peer->region + 6), head, __ATOMIC_RELEASE);
  CHECK_EQ (write (peer->event_fds[0], &one, sizeof one), sizeof one);
}

#endif /* PEER_H */
