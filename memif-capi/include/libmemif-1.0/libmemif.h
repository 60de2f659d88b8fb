/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmemif 1.0: memif packet interfaces for C programs that were written for this older interface. New programs take
 * 4.0, the libmemif.h one folder up.
 *
 * Programs need to be compiled again and nothing else: names, types, constants and fields are those of libmemif 1.0.
 * Both interfaces live in one library, so the functions here are bound to symbols that begin with memif_v1_. One
 * program may use both, but not in one source file.
 *
 * There is one state for the whole program: memif_init() comes first, memif_cleanup() last.
 * Send:    memif_buffer_alloc, write packets, memif_tx_burst
 * Receive: memif_rx_burst, use the packets, memif_buffer_free
 * Empty receive buffers are posted by the library.
 *
 * One memif_buffer_t is one whole packet in contiguous memory. A packet of one ring buffer lies in shared memory, where
 * the peer can still write to it: copy what you check before you rely on it. One that takes several is copied to, or
 * from, private memory.
 *
 * Threads. memif_buffer_alloc, memif_tx_burst, memif_rx_burst and memif_buffer_free may run on any thread, but on one
 * at a time for each direction of a queue, also while another thread handles events. All other functions may be called
 * from any thread at any time, memif_init() and memif_cleanup() excepted, which must be alone. Callbacks run on the
 * thread that handles events, without locks held: they may call every function of this header but these two.
 *
 * Errors. Functions that return int give MEMIF_ERR_SUCCESS (0) or another value of memif_err_t, which is positive. A
 * handle that is NULL, was deleted, or never came from this library gives MEMIF_ERR_NOCONN; a required pointer that is
 * NULL, or a call before memif_init(), MEMIF_ERR_INVAL_ARG. Output counters are set also when an error is returned.
 *
 * Log. With the environment variable MEMIF_LOG set to error, warn, info, debug or trace before memif_init(), the library
 * writes to standard error what peers do wrong and what the system refuses; without it, nothing. No secret is in it.
 */
#ifndef _LIBMEMIF_H_
#define _LIBMEMIF_H_

/** Version of this interface. */
#define LIBMEMIF_VERSION "1.0"
/** The application's name when memif_init() is given none. */
#define MEMIF_DEFAULT_APP_NAME "libmemif-app"

#include <inttypes.h>
#include <sys/types.h>

#include "memif.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What functions return. memif_strerror() has a sentence for each. Numbers from 2 on differ from those of 4.0. */
typedef enum
{
  MEMIF_ERR_SUCCESS = 0,
  /* the system */
  MEMIF_ERR_SYSCALL,	     /**< a system call failed in a way that has no number of its own */
  MEMIF_ERR_ACCES,	     /**< no permission for the socket or its folder */
  MEMIF_ERR_NO_FILE,	     /**< the socket, or its folder, does not exist */
  MEMIF_ERR_FILE_LIMIT,	     /**< the system has no file descriptors left */
  MEMIF_ERR_PROC_FILE_LIMIT, /**< the process has none left: raise ulimit -n */
  MEMIF_ERR_ALREADY,	     /**< a connection has been requested already */
  MEMIF_ERR_AGAIN,	     /**< the operation would block */
  MEMIF_ERR_BAD_FD,	     /**< a file descriptor that is none, or not of the kind expected */
  MEMIF_ERR_NOMEM,	     /**< no memory */
  /* the caller */
  MEMIF_ERR_INVAL_ARG,	   /**< an argument is NULL or out of range */
  MEMIF_ERR_NOCONN,	   /**< no such connection */
  MEMIF_ERR_CONN,	   /**< the handle to be set is not NULL */
  MEMIF_ERR_CB_FDUPDATE,   /**< the caller's memif_control_fd_update_t returned an error */
  MEMIF_ERR_FILE_NOT_SOCK, /**< socket_filename names a file that is no socket */
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
  MEMIF_ERR_MAX_RING	  /**< log2_ring_size above 14 */
} memif_err_t;

/* What happened on a file descriptor, or what it is to be watched for: bits that may be joined. */
/** Readable. */
#define MEMIF_FD_EVENT_READ (1 << 0)
/** Writable. */
#define MEMIF_FD_EVENT_WRITE (1 << 1)
/** Error or hang-up. */
#define MEMIF_FD_EVENT_ERROR (1 << 2)
/** Stop watching: it is closed as soon as the callback returns. */
#define MEMIF_FD_EVENT_DEL (1 << 3)
/** It is watched already, for other events than before. */
#define MEMIF_FD_EVENT_MOD (1 << 4)

/** An interface. Not a pointer to anything: compare it with NULL and with itself, do not look behind it. */
typedef void *memif_conn_handle_t;

/**
 * Called with each file descriptor that the caller's event loop has to watch, or no longer.
 *
 * @param fd     the library's: do not read, write or close it
 * @param events MEMIF_FD_EVENT_* bits: what to watch it for, or MEMIF_FD_EVENT_DEL
 * @return 0; anything else makes the call that needs the descriptor fail with MEMIF_ERR_CB_FDUPDATE
 */
typedef int (memif_control_fd_update_t) (int fd, uint8_t events);

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
 * @return ignored
 */
typedef int (memif_interrupt_t) (memif_conn_handle_t conn, void *private_ctx, uint16_t qid);

/** How an interface is to be. Set all of it to zero first; zero means the default. */
typedef struct
{
  uint8_t *socket_filename; /**< a path, or '@' and an abstract name; NULL: /run/vpp/memif.sock */
  uint8_t secret[24];	    /**< both ends must know it; none if it begins with NUL */

  uint8_t num_s2m_rings; /**< rings from slave to master, 1 to 255; default 1. A master takes at most as many */
  uint8_t num_m2s_rings; /**< rings from master to slave, likewise */
  uint16_t buffer_size;	 /**< bytes of a slave's packet buffers, 64 to 65535; default 2048 */
  memif_log2_ring_size_t log2_ring_size; /**< a slave's rings hold 2^this descriptors, 1 to 14; default 10 */
  uint8_t is_master;			 /**< 1: master, listens; 0: slave, connects */

  memif_interface_id_t interface_id; /**< tells the interfaces of one socket apart; both ends use the same */
  uint8_t interface_name[32];	     /**< for the peer to see, NUL-terminated */
  uint8_t instance_name[32];	     /**< the application's name for this interface; that of memif_init() if empty */
  __extension__ memif_interface_mode_t mode : 8;
} memif_conn_args_t;

/** How a receive queue learns of packets. */
typedef enum
{
  MEMIF_RX_MODE_INTERRUPT = 0, /**< the peer rings the queue's eventfd; how every link begins */
  MEMIF_RX_MODE_POLLING	       /**< the peer does not ring: call memif_rx_burst() again and again */
} memif_rx_mode_t;

/** One packet. */
typedef struct
{
  uint16_t desc_index; /**< the library's: the first slot in the ring */
  uint32_t buffer_len; /**< bytes at data */
  uint32_t data_len;   /**< bytes of packet: received, or to be sent */
  void *data;	       /**< the packet, in one piece */
} memif_buffer_t;

/** A queue of a link, and its ring. */
typedef struct
{
  uint8_t qid;	      /**< index of the queue */
  uint32_t ring_size; /**< descriptors */
/** The receiver polls; unset: it wants interrupts. */
#define MEMIF_QUEUE_FLAG_POLLING 1
  uint16_t flags;
  uint16_t head;	/**< as it is in shared memory: where the slave is */
  uint16_t tail;	/**< likewise: where the master is */
  uint16_t buffer_size; /**< bytes */
} memif_queue_details_t;

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
  uint8_t *socket_filename;
  uint8_t rx_queues_num; /**< queues with a ring: none without a link */
  uint8_t tx_queues_num;
  memif_queue_details_t *rx_queues;
  memif_queue_details_t *tx_queues;

  uint8_t link_up_down; /**< 1: up, 0: down */
} memif_details_t;

/** Binds a function to its symbol in the library, which has those of 4.0 under the plain names. */
#define MEMIF_V1_SYMBOL(name) __asm__ ("memif_v1_" #name)

/**
 * Begins the use of the library.
 *
 * @param on_control_fd_update told of descriptors to watch, what happens on them goes to memif_control_fd_handler();
 *                             NULL: memif_poll_event() watches them. One of them is a timer, with which slaves try
 *                             every 2 seconds to connect
 * @param app_name             the program's name for the peer to see, at most 31 bytes; NULL: MEMIF_DEFAULT_APP_NAME
 * @return MEMIF_ERR_ALREADY: it has begun; MEMIF_ERR_INVAL_ARG: the name is too long; MEMIF_ERR_CB_FDUPDATE;
 * MEMIF_ERR_PROC_FILE_LIMIT; MEMIF_ERR_SYSCALL
 */
int memif_init (memif_control_fd_update_t *on_control_fd_update, char *app_name) MEMIF_V1_SYMBOL (init);

/**
 * Ends all interfaces and the use of the library, which may begin again.
 *
 * @return MEMIF_ERR_SUCCESS
 */
int memif_cleanup (void) MEMIF_V1_SYMBOL (cleanup);

/**
 * Makes an interface. A master listens from now on; a slave tries to connect at once, and again every 2 seconds for as
 * long as it has no link.
 *
 * @param conn          set to the new handle; must be NULL before
 * @param args          what it is to be; copied
 * @param on_connect    called when a link is up; may be NULL
 * @param on_disconnect called when it is down; may be NULL
 * @param on_interrupt  called when the peer has rung; with NULL the queues' eventfds are left to the caller, see
 *                      memif_get_queue_efd()
 * @param private_ctx   given to the callbacks
 * @return MEMIF_ERR_INVAL_ARG: a pointer is NULL, a field out of range, or a master with this id is on the socket;
 * MEMIF_ERR_CONN: *conn is not NULL; MEMIF_ERR_MAX_RING; MEMIF_ERR_ACCES, MEMIF_ERR_NO_FILE,
 * MEMIF_ERR_FILE_NOT_SOCK: a master cannot listen there; MEMIF_ERR_CB_FDUPDATE; MEMIF_ERR_PROC_FILE_LIMIT;
 * MEMIF_ERR_SYSCALL
 */
int memif_create (memif_conn_handle_t *conn, memif_conn_args_t *args, memif_connection_update_t *on_connect,
		  memif_connection_update_t *on_disconnect, memif_interrupt_t *on_interrupt, void *private_ctx)
  MEMIF_V1_SYMBOL (create);

/**
 * Ends an interface and its link, and sets *conn to NULL. Buffers of it must not be used any more.
 *
 * @return MEMIF_ERR_NOCONN: no such interface; MEMIF_ERR_INVAL_ARG: conn is NULL
 */
int memif_delete (memif_conn_handle_t *conn) MEMIF_V1_SYMBOL (delete);

/**
 * Handles what happened on a descriptor that the caller watches. Callbacks run in here.
 *
 * @param fd     the descriptor; one that is not, or no longer, ours is ignored
 * @param events what happened: MEMIF_FD_EVENT_READ, _WRITE, _ERROR
 * @return MEMIF_ERR_SUCCESS
 */
int memif_control_fd_handler (int fd, uint8_t events) MEMIF_V1_SYMBOL (control_fd_handler);

/**
 * Waits for something to happen and handles it, when memif_init() was given no callback. Callbacks run in here.
 *
 * @param timeout milliseconds at most; 0 only looks, -1 waits without limit
 * @return MEMIF_ERR_SUCCESS also when nothing happened; MEMIF_ERR_POLL_CANCEL; MEMIF_ERR_BAD_FD: the caller watches the
 * descriptors; MEMIF_ERR_SYSCALL
 */
int memif_poll_event (int timeout) MEMIF_V1_SYMBOL (poll_event);

/** memif_cancel_poll_event() is there. */
#define MEMIF_HAVE_CANCEL_POLL_EVENT 1
/**
 * Has the memif_poll_event() that runs, or else the next one, return MEMIF_ERR_POLL_CANCEL. Does not wait for it. May
 * be called from any thread, and from a signal handler.
 */
int memif_cancel_poll_event (void) MEMIF_V1_SYMBOL (cancel_poll_event);

/**
 * Changes how a receive queue learns of packets. No packet is left lying by the change: whoever waits is woken once.
 *
 * @param qid index of the receive queue
 * @return MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED; MEMIF_ERR_INVAL_ARG: no such mode
 */
int memif_set_rx_mode (memif_conn_handle_t conn, memif_rx_mode_t rx_mode, uint16_t qid) MEMIF_V1_SYMBOL (set_rx_mode);

/**
 * The eventfd of a receive queue: readable when the peer has rung. It stays the library's, and memif_rx_burst() empties
 * it.
 *
 * @param qid index of the receive queue
 * @param fd  set to the descriptor, valid until the link goes down; to -1 with an error
 * @return MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED; MEMIF_ERR_INVAL_ARG: fd is NULL
 */
int memif_get_queue_efd (memif_conn_handle_t conn, uint16_t qid, int *fd) MEMIF_V1_SYMBOL (get_queue_efd);

/**
 * A sentence for an error.
 *
 * @param err_code any number
 * @return static text, never NULL; also for numbers that are no error
 */
char *memif_strerror (int err_code) MEMIF_V1_SYMBOL (strerror);

/**
 * Describes an interface.
 *
 * @param md     filled in
 * @param buf    room for the strings and arrays that md points to
 * @param buflen bytes of buf; 2048 hold an interface of a few queues
 * @return MEMIF_ERR_NOCONN; MEMIF_ERR_INVAL_ARG: md or buf is NULL; MEMIF_ERR_NOBUF_DET: buflen is too small, md is as
 * far as it fitted
 */
int memif_get_details (memif_conn_handle_t conn, memif_details_t *md, char *buf, ssize_t buflen)
  MEMIF_V1_SYMBOL (get_details);

/**
 * Takes room for packets in a transmit queue, behind those taken before and not sent yet.
 *
 * @param bufs      filled in: data points to buffer_len bytes, and data_len is the same, to be changed to the packet's
 * @param count     packets
 * @param count_out set to the packets that there is room for
 * @param size      least bytes of each, 0 to 65535; 0: what one buffer of the ring holds. A packet of more than that takes
 *                  several of the ring's slots, and is copied there by memif_tx_burst()
 * @return MEMIF_ERR_NOBUF_RING: fewer than count fitted; MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED;
 * MEMIF_ERR_INVAL_ARG
 */
int memif_buffer_alloc (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *bufs, uint16_t count,
			uint16_t *count_out, uint16_t size) MEMIF_V1_SYMBOL (buffer_alloc);

/**
 * Gives received packets back, oldest first: their memory is for the next.
 *
 * @param bufs      of memif_rx_burst(), in that order, from the oldest that was not given back
 * @param count     packets
 * @param count_out set to the packets given back
 * @return MEMIF_ERR_INVAL_ARG: a packet out of order or not of this queue: it and those behind stay; MEMIF_ERR_NOCONN;
 * MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED
 */
int memif_buffer_free (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *bufs, uint16_t count,
		       uint16_t *count_out) MEMIF_V1_SYMBOL (buffer_free);

/**
 * Sends packets, and rings the receiver if it wants that.
 *
 * @param bufs  of memif_buffer_alloc(), in that order, from the oldest that was not sent
 * @param count packets
 * @param tx    set to the packets sent
 * @return MEMIF_ERR_INVAL_ARG: a packet out of order or not of this queue, or its data_len is above its buffer_len: it
 * and those behind are not sent; MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED
 */
int memif_tx_burst (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *bufs, uint16_t count, uint16_t *tx)
  MEMIF_V1_SYMBOL (tx_burst);

/**
 * Receives packets. They stay the caller's until memif_buffer_free(), across any number of calls.
 *
 * @param bufs  filled in: data_len bytes at data
 * @param count entries of bufs
 * @param rx    set to the packets received; 0 with MEMIF_ERR_SUCCESS when nothing has come
 * @return MEMIF_ERR_NOBUF: more is waiting; MEMIF_ERR_NOCONN; MEMIF_ERR_QID; MEMIF_ERR_DISCONNECTED;
 * MEMIF_ERR_INVAL_ARG
 */
int memif_rx_burst (memif_conn_handle_t conn, uint16_t qid, memif_buffer_t *bufs, uint16_t count, uint16_t *rx)
  MEMIF_V1_SYMBOL (rx_burst);

#undef MEMIF_V1_SYMBOL

#ifdef __cplusplus
}
#endif

#endif /* _LIBMEMIF_H_ */
