/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmemif 4.0: memif packet interfaces for C programs.
 *
 * memif carries packets between processes of one host through rings in shared memory. The interface that listens on a
 * UNIX socket is the master; the one that connects is the slave, and owns the memory. This header has the names and
 * the layout of libmemif 4.0, so programs built for it link and run.
 *
 * A slave's day:
 *   memif_create_socket, memif_create
 *   memif_poll_event until on_connect was called; in there memif_refill_queue(conn, qid, (uint16_t) -1, 0) for each
 *   queue, which posts the empty buffers that the master writes into
 *   receive: memif_rx_burst, use the buffers, memif_refill_queue with as many
 *   send: memif_buffer_alloc, write packets, memif_tx_burst
 *   memif_delete, memif_delete_socket
 * A master's differs in that nothing has to be posted before the first packet.
 *
 * Threads. The data functions (memif_buffer_alloc, memif_buffer_enq_tx, memif_buffer_requeue,
 * memif_set_next_free_buffer, memif_tx_burst, memif_rx_burst, memif_refill_queue) may run on any thread, but on one at
 * a time for each direction of a queue. They may run while another thread polls the socket: memory of a link that goes
 * down stays mapped until the call that uses it returns. All other functions may be called from any thread at any time;
 * events of one socket should be handled by one thread, as callbacks run on the thread that handles them. Callbacks run
 * without locks held: they may call every function of this header, memif_delete included.
 *
 * Errors. Functions that return int give MEMIF_ERR_SUCCESS (0) or another value of memif_err_t, which is positive.
 * A handle that is NULL, was deleted, or never came from this library gives MEMIF_ERR_NOCONN where a connection is
 * expected and MEMIF_ERR_INVAL_ARG where a socket is. A required pointer that is NULL gives MEMIF_ERR_INVAL_ARG.
 * Output counters are set also when an error is returned.
 *
 * Log. With the environment variable MEMIF_LOG set to error, warn, info, debug or trace before the first socket is made, the
 * library writes to standard error what peers do wrong and what the system refuses; without it, nothing. No secret is in it.
 *
 * The peer is not trusted. Whatever it does costs its link or its packets; but received buffers lie in memory that it
 * can still write to: copy what you check before you rely on it.
 */
#ifndef _LIBMEMIF_H_
#define _LIBMEMIF_H_

#include <inttypes.h>
#include <stddef.h>
#include <sys/timerfd.h>
#include <sys/types.h>

/* With -std=c11 alone <time.h> hides struct itimerspec. */
#ifdef __has_include
#if __has_include(<bits/types/struct_itimerspec.h>)
#include <bits/types/struct_itimerspec.h>
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Version of this interface. */
#define LIBMEMIF_VERSION "4.0"
/** The application's name when memif_socket_args_t.app_name is empty. */
#define MEMIF_DEFAULT_APP_NAME "libmemif-app"

/** What functions return. memif_strerror() has a sentence for each. */
typedef enum
{
  MEMIF_ERR_SUCCESS = 0,
  /* the system */
  MEMIF_ERR_SYSCALL,	     /**< a system call failed in a way that has no number of its own */
  MEMIF_ERR_CONNREFUSED,     /**< nobody listens on the socket */
  MEMIF_ERR_ACCES,	     /**< no permission for the socket or its folder */
  MEMIF_ERR_NO_FILE,	     /**< the socket, or its folder, does not exist */
  MEMIF_ERR_FILE_LIMIT,	     /**< the system has no file descriptors left */
  MEMIF_ERR_PROC_FILE_LIMIT, /**< the process has none left: raise ulimit -n */
  MEMIF_ERR_ALREADY,	     /**< a connection has been requested already */
  MEMIF_ERR_AGAIN,	     /**< the operation would block */
  MEMIF_ERR_BAD_FD,	     /**< a file descriptor that is none, or not of the kind expected */
  MEMIF_ERR_NOMEM,	     /**< no memory */
  /* the caller */
  MEMIF_ERR_INVAL_ARG,	   /**< an argument is NULL, out of range, or does not fit the role */
  MEMIF_ERR_NOCONN,	   /**< no such connection */
  MEMIF_ERR_CONN,	   /**< the handle to be set is not NULL */
  MEMIF_ERR_CB_FDUPDATE,   /**< the caller's memif_control_fd_update_t returned an error */
  MEMIF_ERR_FILE_NOT_SOCK, /**< the socket's path names a file that is no socket */
  /* the peer, and the state of rings */
  MEMIF_ERR_NO_SHMFD,	/**< a region came without its memory */
  MEMIF_ERR_COOKIE,	/**< a ring without memif's cookie */
  MEMIF_ERR_NOBUF_RING, /**< the ring has no room for everything */
  MEMIF_ERR_NOBUF,	/**< bufs has no room for everything: more is waiting */
  MEMIF_ERR_NOBUF_DET,	/**< the buffer for details is too small */
  MEMIF_ERR_INT_WRITE,	/**< the receiver could not be woken */
  MEMIF_ERR_MFMSG,	/**< a malformed message */
  MEMIF_ERR_QID,	/**< no such queue */
  MEMIF_ERR_PROTO,	/**< the peer speaks another version */
  MEMIF_ERR_ID,		/**< the peer knows no interface of this id */
  MEMIF_ERR_ACCSLAVE,	/**< a slave takes no connections */
  MEMIF_ERR_ALRCONN,	/**< connected already */
  MEMIF_ERR_MODE,	/**< the peer's interface has another mode */
  MEMIF_ERR_SECRET,	/**< the secrets differ */
  MEMIF_ERR_NOSECRET,	/**< the master wants a secret */
  MEMIF_ERR_MAXREG,	/**< too many regions */
  MEMIF_ERR_MAXRING,	/**< too many rings */
  MEMIF_ERR_NO_INTFD,	/**< a ring came without its eventfd */
  MEMIF_ERR_DISCONNECT, /**< the peer ended the connection */
  MEMIF_ERR_DISCONNECTED, /**< there is no link */
  MEMIF_ERR_UNKNOWN_MSG,  /**< a message of an unknown type */
  MEMIF_ERR_POLL_CANCEL,  /**< memif_cancel_poll_event() was called */
  MEMIF_ERR_MAX_RING,	  /**< log2_ring_size above 14 */
  MEMIF_ERR_PRIVHDR	  /**< private headers are not supported */
} memif_err_t;

/** What happened on a file descriptor, or what it is to be watched for: bits that may be joined. */
typedef enum memif_fd_event_type
{
  MEMIF_FD_EVENT_READ = 1,  /**< readable */
  MEMIF_FD_EVENT_WRITE = 2, /**< writable */
  MEMIF_FD_EVENT_ERROR = 4, /**< error or hang-up */
  MEMIF_FD_EVENT_DEL = 8,   /**< stop watching: it is closed as soon as the callback returns */
  MEMIF_FD_EVENT_MOD = 16   /**< it is watched already, for other events than before */
} memif_fd_event_type_t;

/** An interface. Not a pointer to anything: compare it with NULL and with itself, do not look behind it. */
typedef void *memif_conn_handle_t;
/** A control socket, shared by the interfaces on it. As memif_conn_handle_t. */
typedef void *memif_socket_handle_t;

/** Allocators, as malloc(), realloc() and free(). See memif_socket_args_t. */
typedef void *(memif_alloc_t) (size_t size);
typedef void *(memif_realloc_t) (void *ptr, size_t size);
typedef void (memif_free_t) (void *ptr);

/** A file descriptor of the library for the caller's event loop. */
typedef struct memif_fd_event
{
  int fd;		      /**< the library's: do not read, write or close it */
  memif_fd_event_type_t type; /**< what to watch it for, or MEMIF_FD_EVENT_DEL */
  void *private_ctx;	      /**< for memif_control_fd_handler() when something happens on fd */
} memif_fd_event_t;

/**
 * Called with each file descriptor that the caller's event loop has to watch, or no longer.
 *
 * @param fde         the descriptor and what to do with it
 * @param private_ctx of memif_create_socket()
 * @return 0; anything else makes the call that needs the descriptor fail with MEMIF_ERR_CB_FDUPDATE
 */
typedef int (memif_control_fd_update_t) (memif_fd_event_t fde, void *private_ctx);

/**
 * Called when a link has come up, or has gone down.
 *
 * @param conn        the interface
 * @param private_ctx of memif_create()
 * @return ignored
 */
typedef int (memif_connection_update_t) (memif_conn_handle_t conn, void *private_ctx);

/**
 * Called when the peer has rung for a receive queue: receive until memif_rx_burst() gives 0 packets.
 *
 * @param conn        the interface
 * @param private_ctx of memif_create()
 * @param qid         index of the receive queue
 * @return 0, or a number for the caller of memif_poll_event() or memif_control_fd_handler(), which returns the first that
 * is not 0
 */
typedef int (memif_on_interrupt_t) (memif_conn_handle_t conn, void *private_ctx, uint16_t qid);

/**
 * Asked for a free buffer of an external region whenever memif_buffer_alloc() or memif_refill_queue() needs one, once for
 * each buffer. The buffer that the slot had before is the caller's again; what its packet was is sent by then. No buffer
 * may overlap another one in use, also not of another interface in the same memory.
 *
 * @param private_ctx of memif_create()
 * @return offset in bytes from the start of the external region, with room for one buffer behind it; for
 * memif_refill_queue() the place where the next packet begins, behind the headroom. The call fails with
 * MEMIF_ERR_INVAL_ARG when the buffer would leave the region
 */
typedef uint32_t (memif_get_external_buffer_offset_t) (void *private_ctx);
/**
 * Asked when a link of a slave is being made: memory for its packets, for as long as the link lasts. Called from
 * memif_poll_event() or memif_control_fd_handler().
 *
 * @param addr        set to where the caller has it mapped, readable and writable
 * @param size        minimum size in bytes; the master maps the whole file
 * @param fd          set to its file descriptor, as of memfd_create(); it stays the caller's
 * @param private_ctx of memif_create()
 * @return 0; anything else when there is no memory: the attempt fails, and is made again. When the function has deleted the
 * interface instead, nothing is called any more for what it gave
 */
typedef int (memif_add_external_region_t) (void **addr, uint32_t size, int *fd, void *private_ctx);
/** Part of the interface for compatibility; not called, as a master maps what its slaves bring by itself. */
typedef void *(memif_get_external_region_addr_t) (uint32_t size, int fd, void *private_ctx);
/**
 * The link has ended that memif_add_external_region_t gave memory for, or the attempt at one has failed: once for each
 * region, after on_disconnect, and before memif_delete() returns. The library does not use the memory any more; a master
 * that has it mapped still can. The return value is ignored.
 */
typedef int (memif_del_external_region_t) (void *addr, uint32_t size, int fd, void *private_ctx);

/* As in memif.h, which a program may have included before. */
#ifndef _MEMIF_H_
/** What packets are; both ends of a link must agree. */
typedef enum
{
  MEMIF_INTERFACE_MODE_ETHERNET = 0,
  MEMIF_INTERFACE_MODE_IP = 1,
  MEMIF_INTERFACE_MODE_PUNT_INJECT = 2
} memif_interface_mode_t;
#endif

/** How a socket is to be. Set all of it to zero first; zero means the default. */
typedef struct memif_socket_args
{
  /** Where master and slave meet: a path, or an abstract name after a leading '@' or NUL. /run/vpp/memif.sock if empty. */
  char path[108];
  /** The program's name for the peer to see, NUL-terminated. MEMIF_DEFAULT_APP_NAME if empty. */
  char app_name[32];
  /**
   * How long slaves without a link wait between attempts: it_interval, 1 ms at least. With zero they do not try again:
   * call memif_request_connection(). it_value has no meaning: the first attempt is at once.
   */
  struct itimerspec connection_request_timer;
  /** Told of descriptors to watch. NULL: the socket watches them by itself, see memif_poll_event(). */
  memif_control_fd_update_t *on_control_fd_update;
  /** Replace malloc, realloc and free for what the library keeps for this socket's handles; NULL for the defaults. */
  memif_alloc_t *alloc;
  memif_realloc_t *realloc;
  memif_free_t *free;
} memif_socket_args_t;

/** How an interface is to be. Set all of it to zero first; zero means the default. */
typedef struct
{
  memif_socket_handle_t socket; /**< of memif_create_socket(); required */
  uint8_t secret[24];		/**< both ends must know it; none if it begins with NUL */

  uint8_t num_s2m_rings;  /**< rings from slave to master, 1 to 255; default 1. A master takes at most as many */
  uint8_t num_m2s_rings;  /**< rings from master to slave, likewise */
  uint16_t buffer_size;	  /**< bytes of a slave's packet buffers, 64 to 65535; default 2048 */
  uint8_t log2_ring_size; /**< a slave's rings hold 2^this descriptors, 1 to 14; default 10 */
  uint8_t is_master;	  /**< 1: master, listens; 0: slave, connects */

  uint32_t interface_id;      /**< tells the interfaces of one socket apart; both ends use the same */
  uint8_t interface_name[32]; /**< for the peer to see, NUL-terminated */
  __extension__ memif_interface_mode_t mode : 8;
} memif_conn_args_t;

/** How a receive queue learns of packets. */
typedef enum
{
  MEMIF_RX_MODE_INTERRUPT = 0, /**< the peer rings the queue's eventfd; how every link begins */
  MEMIF_RX_MODE_POLLING	       /**< the peer does not ring: call memif_rx_burst() again and again */
} memif_rx_mode_t;

/** One buffer in shared memory: a slot of a ring. A packet has one, or several linked by MEMIF_BUFFER_FLAG_NEXT. */
typedef struct
{
  uint16_t desc_index; /**< the library's: the slot of the ring, counted without wrapping at the ring's size */
  void *queue;	       /**< the library's: which queue of which link the buffer belongs to */
  uint32_t len;	       /**< bytes: received; or, after memif_buffer_alloc(), room, to be replaced by bytes to send */
/** The packet goes on in the next buffer. */
#define MEMIF_BUFFER_FLAG_NEXT (1 << 0)
  uint8_t flags;
  void *data; /**< the bytes; a slave may move it forward within an allocated buffer before sending, a master may not */
} memif_buffer_t;

/** A queue of a link, and its ring. */
typedef struct
{
  uint8_t region;     /**< index of the region that the ring lies in */
  uint16_t qid;	      /**< index of the queue */
  uint32_t ring_size; /**< descriptors */
/** The receiver polls; unset: it wants interrupts. */
#define MEMIF_QUEUE_FLAG_POLLING 1
  uint16_t flags;
  uint16_t head; /**< as it is in shared memory: where the slave is */
  uint16_t tail; /**< likewise: where the master is */
  uint16_t buffer_size; /**< bytes */
} memif_queue_details_t;

/** A region of shared memory. */
typedef struct
{
  uint8_t index;
  void *addr;	 /**< where it is mapped; valid for as long as the link is */
  uint32_t size; /**< bytes */
  int fd;	 /**< its descriptor, the library's; -1 where it is not kept. Region 0 of a slave can be mapped for reading
		    only once the link is up */
  uint8_t is_external; /**< 1: of memif_register_external_region() */
} memif_region_details_t;

/** Everything there is to know of an interface. Pointers lead into the caller's buffer; strings end with NUL. */
typedef struct
{
  uint8_t *if_name;	     /**< name of the interface */
  uint8_t *inst_name;	     /**< name of the application */
  uint8_t *remote_if_name;   /**< the peer's; empty without a link */
  uint8_t *remote_inst_name; /**< likewise */

  uint32_t id;
  uint8_t *secret; /**< NULL: none */
  uint8_t role; /**< 0: master, 1: slave */
  uint8_t mode; /**< memif_interface_mode_t */
  uint8_t *socket_path;
  uint8_t regions_num;
  memif_region_details_t *regions;
  uint8_t rx_queues_num; /**< queues with a ring: none without a link */
  uint8_t tx_queues_num;
  memif_queue_details_t *rx_queues;
  memif_queue_details_t *tx_queues;

  uint8_t *error;	/**< why the last link, or attempt at one, ended */
  uint8_t link_up_down; /**< 1: up, 0: down */
} memif_details_t;

/** @return version of the protocol: major in the high byte, minor in the low; 0x0200 */
uint16_t memif_get_version (void);

/** @return version of the protocol as text, "2.0"; static */
const char *memif_get_version_str (void);

/**
 * A sentence for an error.
 *
 * @param err_code any number
 * @return static text, never NULL; also for numbers that are no error
 */
char *memif_strerror (int err_code);

/**
 * Makes a control socket. Nothing is opened before the first interface needs it.
 *
 * @param sock        set to the new handle
 * @param args        what it is to be; copied
 * @param private_ctx given to on_control_fd_update
 * @return MEMIF_ERR_INVAL_ARG: sock or args is NULL, or only some of the three allocators are set, or a field has no
 * NUL; MEMIF_ERR_CB_FDUPDATE; MEMIF_ERR_PROC_FILE_LIMIT; MEMIF_ERR_SYSCALL
 */
int memif_create_socket (memif_socket_handle_t *sock, memif_socket_args_t *args, void *private_ctx);

/**
 * Ends a socket, and sets *sock to NULL.
 *
 * @return MEMIF_ERR_INVAL_ARG: no such socket, or interfaces still use it
 */
int memif_delete_socket (memif_socket_handle_t *sock);

/** @return the socket's path, valid until the socket is deleted; NULL for no socket */
const char *memif_get_socket_path (memif_socket_handle_t sock);

/** @return the socket that an interface is on; NULL for no interface */
memif_socket_handle_t memif_get_socket_handle (memif_conn_handle_t conn);

/** @return descriptor of the listening socket: the one that was set, or the library's own; -1 when nothing listens */
int memif_get_listener_fd (memif_socket_handle_t sock);

/**
 * Has the socket's masters listen on a descriptor that somebody else made, as a service manager does. Before the first
 * of them is created.
 *
 * @param fd a listening SOCK_SEQPACKET socket; the library takes a copy, and fd stays the caller's
 * @return MEMIF_ERR_INVAL_ARG: no such socket, or a negative fd; MEMIF_ERR_ALREADY: it listens; MEMIF_ERR_BAD_FD: fd does
 * not listen
 */
int memif_set_listener_fd (memif_socket_handle_t sock, int fd);

/**
 * Changes memif_socket_args_t.connection_request_timer.
 *
 * @return MEMIF_ERR_INVAL_ARG: no such socket, or an it_interval that is no time
 */
int memif_set_connection_request_timer (memif_socket_handle_t sock, struct itimerspec timer);

/**
 * Makes an interface. A master listens from now on; a slave tries to connect at once, and it is no error that nobody
 * listens yet. Links then come and go by themselves, as events of the socket are handled.
 *
 * @param conn          set to the new handle; must be NULL before
 * @param args          what it is to be; copied
 * @param on_connect    called when a link is up; may be NULL
 * @param on_disconnect called when it is down; may be NULL
 * @param on_interrupt  called when the peer has rung; with NULL the queues' eventfds are left to the caller, see
 *                      memif_get_queue_efd()
 * @param private_ctx   given to the callbacks
 * @return MEMIF_ERR_INVAL_ARG: a pointer is NULL, no such socket, a field out of range, or a master with this id is on
 * the socket; MEMIF_ERR_CONN: *conn is not NULL; MEMIF_ERR_MAX_RING; MEMIF_ERR_ACCES, MEMIF_ERR_NO_FILE,
 * MEMIF_ERR_FILE_NOT_SOCK: a master cannot listen there; MEMIF_ERR_CB_FDUPDATE; MEMIF_ERR_PROC_FILE_LIMIT;
 * MEMIF_ERR_SYSCALL
 */
int memif_create (memif_conn_handle_t *conn, memif_conn_args_t *args, memif_connection_update_t *on_connect,
		  memif_connection_update_t *on_disconnect, memif_on_interrupt_t *on_interrupt, void *private_ctx);

/**
 * Ends an interface and its link, and sets *conn to NULL. Buffers of it must not be used any more.
 *
 * @return MEMIF_ERR_NOCONN: no such interface; MEMIF_ERR_INVAL_ARG: conn is NULL
 */
int memif_delete (memif_conn_handle_t *conn);

/**
 * Has a slave without a link try to connect now. Success means that the request is out, not that the link is up.
 *
 * @return MEMIF_ERR_NOCONN; MEMIF_ERR_INVAL_ARG: it is a master; MEMIF_ERR_ALRCONN: it has a link;
 * MEMIF_ERR_CONNREFUSED: nobody to connect to
 */
int memif_request_connection (memif_conn_handle_t conn);

/**
 * Handles what happened on a descriptor that the caller watches. Callbacks run in here.
 *
 * @param ptr    private_ctx of the memif_fd_event_t that brought the descriptor
 * @param events what happened: MEMIF_FD_EVENT_READ, _WRITE, _ERROR
 * @return MEMIF_ERR_INVAL_ARG: ptr is not, or no longer, of a descriptor of ours; or what a memif_on_interrupt_t returned
 */
int memif_control_fd_handler (void *ptr, memif_fd_event_type_t events);

/**
 * Waits for something to happen on a socket that was made without on_control_fd_update, and handles it. Callbacks run
 * in here.
 *
 * @param timeout milliseconds at most; 0 only looks, -1 waits without limit
 * @return MEMIF_ERR_SUCCESS also when nothing happened; MEMIF_ERR_POLL_CANCEL; MEMIF_ERR_INVAL_ARG: no such socket;
 * MEMIF_ERR_BAD_FD: the caller watches its descriptors; MEMIF_ERR_SYSCALL; or what a memif_on_interrupt_t returned
 */
int memif_poll_event (memif_socket_handle_t sock, int timeout);

/** memif_cancel_poll_event() is there. */
#define MEMIF_HAVE_CANCEL_POLL_EVENT 1
/**
 * Has the memif_poll_event() that runs on the socket, or else the next one, return MEMIF_ERR_POLL_CANCEL. Does not wait
 * for it. May be called from any thread, and from a signal handler.
 *
 * @return MEMIF_ERR_INVAL_ARG: no such socket
 */
int memif_cancel_poll_event (memif_socket_handle_t sock);

/**
 * Changes how a receive queue learns of packets. No packet is left lying by the change: whoever waits is woken once.
 *
 * @param qid index of the receive queue
 * @return MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED; MEMIF_ERR_INVAL_ARG: no such mode
 */
int memif_set_rx_mode (memif_conn_handle_t conn, memif_rx_mode_t rx_mode, uint16_t qid);

/**
 * The eventfd of a receive queue: readable when the peer has rung. It stays the library's, and memif_rx_burst() empties
 * it.
 *
 * @param qid index of the receive queue
 * @param fd  set to the descriptor, valid until the link goes down; to -1 with an error
 * @return MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED; MEMIF_ERR_INVAL_ARG: fd is NULL
 */
int memif_get_queue_efd (memif_conn_handle_t conn, uint16_t qid, int *fd);

/**
 * Describes an interface.
 *
 * @param md     filled in
 * @param buf    room for the strings and arrays that md points to
 * @param buflen bytes of buf; 2048 hold an interface of a few queues
 * @return MEMIF_ERR_NOCONN; MEMIF_ERR_INVAL_ARG: md or buf is NULL; MEMIF_ERR_NOBUF_DET: buflen is too small, md is as
 * far as it fitted
 */
int memif_get_details (memif_conn_handle_t conn, memif_details_t *md, char *buf, ssize_t buflen);

/**
 * Takes free buffers of a transmit queue, after those taken before and not sent yet. Fill them in, set their len, and
 * give them to memif_tx_burst() in the same order.
 *
 * @param bufs      filled in from the first; room for count entries, and at least for those of one packet: size divided by
 *                  the interface's buffer_size, rounded up. len of each is its part of size, or, where size is 0, the
 *                  room in it
 * @param count     packets
 * @param count_out set to the entries filled in
 * @param size      bytes of a packet; 0, or at most the ring's buffer size, which is the slave's: each entry is one packet;
 *                  more: each packet takes as many entries as it needs, all but the last with MEMIF_BUFFER_FLAG_NEXT. On a
 *                  master whose peer has buffers so small that bufs has no room for one packet, each entry is a packet, in
 *                  memory of the library's, which memif_tx_burst() copies; so are those allocated before it is sent
 * @return MEMIF_ERR_NOBUF_RING: the ring or bufs has no room for count packets; MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED;
 * MEMIF_ERR_INVAL_ARG
 */
int memif_buffer_alloc (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *bufs, uint16_t count,
			uint16_t *count_out, uint16_t size);

/**
 * Moves received buffers onto a transmit queue of another, or the same, interface without copying: their memory changes
 * place with free buffers there. Afterwards bufs are as memif_buffer_alloc() gives them, with the received bytes in
 * them: memif_tx_burst() sends them; the receive queue is given the other memory by memif_refill_queue(). Both
 * interfaces are slaves and have the same packet memory: one interface, or external regions that share it.
 *
 * @param conn      interface to send on
 * @param qid       its transmit queue
 * @param bufs      received by memif_rx_burst(), not yet given to memif_refill_queue()
 * @param count_out set to the buffers moved, from the front of bufs
 * @return MEMIF_ERR_NOBUF_RING: not all have room; MEMIF_ERR_INVAL_ARG: conn is a master, a buffer was not received or
 * is not there any more, or memory is not shared; MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED
 */
int memif_buffer_enq_tx (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *bufs, uint16_t count,
			 uint16_t *count_out);

/**
 * Has two buffers of one slave change place: each keeps its memory and contents, and takes the other's slot. Buffers that
 * are sent go in the order of their slots.
 *
 * @return MEMIF_ERR_INVAL_ARG: the interface is a master, or a buffer is not ours; MEMIF_ERR_NOCONN;
 * MEMIF_ERR_DISCONNECTED
 */
int memif_buffer_requeue (memif_conn_handle_t conn, memif_buffer_t *buf_a, memif_buffer_t *buf_b);

/**
 * Goes back in a transmit queue: the next memif_buffer_alloc() begins with buf again, and what was allocated from it on
 * is free again.
 *
 * @param buf allocated, and not sent yet
 * @return MEMIF_ERR_INVAL_ARG; MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED
 */
int memif_set_next_free_buffer (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *buf);

/**
 * Sends buffers, and rings the receiver if it wants that.
 *
 * @param bufs  of memif_buffer_alloc() or memif_buffer_enq_tx(), in their order, from the oldest that was not sent
 * @param count entries of bufs
 * @param tx    set to the entries sent
 * @return MEMIF_ERR_INVAL_ARG: a buffer out of order or not of this queue, or its data or len reaches out of it: it and
 * those behind are not sent; MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED
 */
int memif_tx_burst (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *bufs, uint16_t count, uint16_t *tx);

/**
 * Receives buffers. They stay the caller's until memif_refill_queue(), across any number of calls.
 *
 * @param bufs  filled in
 * @param count entries of bufs
 * @param rx    set to the entries filled in; 0 with MEMIF_ERR_SUCCESS when nothing has come
 * @return MEMIF_ERR_NOBUF: more is waiting, and the queue's eventfd stays readable; MEMIF_ERR_NOCONN; MEMIF_ERR_QID;
 * MEMIF_ERR_DISCONNECTED; MEMIF_ERR_INVAL_ARG
 */
int memif_rx_burst (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *bufs, uint16_t count, uint16_t *rx);

/**
 * Gives the oldest received buffers back for the next packets. A slave calls it also once after each connect, to post
 * the buffers of a fresh ring; nothing can be received before. Of a queue in MEMIF_RX_MODE_POLLING they reach the peer in
 * lots of a quarter ring, or as soon as memif_rx_burst() finds nothing.
 *
 * @param qid      index of the receive queue
 * @param count    buffers; (uint16_t) -1, or more than there are: all of them
 * @param headroom bytes that are left free in front of the next packet in each buffer; a slave's choice only
 * @return MEMIF_ERR_INVAL_ARG: headroom leaves no room; MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED
 */
int memif_refill_queue (memif_conn_handle_t conn, uint16_t qid, uint16_t count, uint16_t headroom);

/**
 * Has slaves that are created on this socket from now on keep packets in memory of the caller's. Two interfaces given
 * the same memory can move packets with memif_buffer_enq_tx().
 *
 * @param sock a socket; with another value nothing happens
 * @param ar   asked for the memory of each link; NULL: slaves allocate their own again
 * @param gr   not called, may be NULL
 * @param dr   called when a link's memory is no longer used; may be NULL
 * @param go   asked for each buffer that is allocated or posted; NULL: buffers lie one behind the other, from the start of
 *             the region, so the links of two interfaces need different regions
 */
void memif_register_external_region (memif_socket_handle_t sock, memif_add_external_region_t *ar,
				     memif_get_external_region_addr_t *gr, memif_del_external_region_t *dr,
				     memif_get_external_buffer_offset_t *go);

#ifdef __cplusplus
}
#endif

#endif /* _LIBMEMIF_H_ */
