//! The exported functions of libmemif 4.0; `libmemif.h` says what they do.
//!
//! A pointer of C to one value is an `Option<&Cell<T>>` (`Option<&mut MaybeUninit<T>>` where it is only written,
//! `Option<&T>` where it is only read): NULL is `None`. The program vouches, as the header asks it to, that any other
//! pointer is aligned and points to a value that stays for the length of the call. Handles may be anything.
//!
//! # Safety
//! The functions that are `unsafe`: a pointer to an array is NULL, or points to as many elements as the header says, which
//! nobody else uses during the call; functions that are passed have the types that the header declares, and may be called
//! until the header says that they are not called any more.
#![allow(unsafe_code)] // exported to C, which passes arrays and functions
#![allow(clippy::missing_safety_doc, reason = "said once for all of them above")]

pub(crate) mod data;
mod exchange;
mod placed;

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use libc::{itimerspec, ssize_t};
use memif_pmd::{DEFAULT_SOCKET, Error, RxQueue, TxQueue};

use crate::abi::{
    AddExternalRegion, Buffer, ConnArgs, ConnectionUpdate, DelExternalRegion, Details,
    GetExternalBufferOffset, GetExternalRegionAddr, Handle, OnInterrupt, QueueDetails, SocketArgs,
};
use crate::callback::{Callbacks, CallerLoop, Context};
use crate::calls;
use crate::cell::Traits;
use crate::code::{Code, Moved, Outcome, text_v4};
use crate::conn::{self, Conn, Held, Wish, tx};
use crate::details::Packed;
use crate::external::ExternalCalls;
use crate::face::{Face, call, numbered, value};
use crate::memory::{Allocator, Record, as_char, char_text};
use crate::socket::{Socket, cancel_poll, find_fd};

/// `memif_get_version`: the protocol's version, 2.0.
const VERSION: u16 = 0x0200;
/// The application's name of a program that gives none.
const DEFAULT_APP_NAME: &[u8] = b"libmemif-app";

/// libmemif 4.0.
pub(crate) enum V4 {}

impl Face for V4 {
    type ConnArgs = ConnArgs;
    type Buffer = Buffer;
    type Details = Details;
    type QueueDetails = QueueDetails;
    const DESCRIBES_REGIONS: bool = true;

    fn number(code: Code) -> c_int {
        code.v4()
    }

    fn wish(args: &ConnArgs) -> Result<(Arc<Socket>, Wish), Code> {
        let socket = Socket::find(args.socket)?;
        let socket_args = socket.args()?;
        let app_name = char_text(&socket_args.app_name);
        let wish = Wish {
            path: path_of(&socket_args)?,
            app_name: if app_name.is_empty() { DEFAULT_APP_NAME.into() } else { app_name },
            name: args.interface_name,
            secret: args.secret,
            id: args.interface_id,
            is_master: args.is_master != 0,
            mode: args.mode,
            s2m_rings: args.num_s2m_rings,
            m2s_rings: args.num_m2s_rings,
            log2_ring_size: args.log2_ring_size,
            buffer_size: args.buffer_size,
            posts_itself: false,
            allocator: Allocator { alloc: socket_args.alloc, free: socket_args.free },
        };
        Ok((socket, wish))
    }

    fn details(packed: Packed<QueueDetails>) -> Details {
        Details {
            if_name: packed.if_name,
            inst_name: packed.inst_name,
            remote_if_name: packed.remote_if_name,
            remote_inst_name: packed.remote_inst_name,
            id: packed.id,
            secret: packed.secret,
            role: packed.role,
            mode: packed.mode,
            socket_path: packed.socket,
            regions_num: packed.regions_num,
            regions: packed.regions,
            rx_queues_num: packed.rx_queues_num,
            tx_queues_num: packed.tx_queues_num,
            rx_queues: packed.rx_queues,
            tx_queues: packed.tx_queues,
            error: packed.error,
            link_up_down: packed.link_up_down,
        }
    }

    fn alloc_room(traits: &Traits, count: u16, size: u16) -> usize {
        data::alloc_room(traits, count, size)
    }

    #[inline(always)]
    fn allocate(
        cell: Held<TxQueue>,
        bufs: &mut [MaybeUninit<Buffer>],
        request: (u16, u16),
    ) -> Result<Moved, Code> {
        match cell.traits.placing() {
            None => data::allocate(cell, bufs, request),
            Some(external) => placed::allocate(cell, &external, bufs, request),
        }
    }

    #[inline(always)]
    fn send(cell: Held<TxQueue>, bufs: &[Buffer]) -> Result<Moved, Code> {
        data::send(cell, bufs)
    }

    #[inline(always)]
    fn receive(cell: Held<RxQueue>, bufs: &mut [MaybeUninit<Buffer>]) -> Result<Moved, Code> {
        data::receive(cell, bufs)
    }
}

/// `memif_get_version`
#[unsafe(no_mangle)]
pub extern "C" fn memif_get_version() -> u16 {
    VERSION
}

/// `memif_get_version_str`
#[unsafe(no_mangle)]
pub extern "C" fn memif_get_version_str() -> *const c_char {
    c"2.0".as_ptr()
}

/// `memif_strerror`
#[unsafe(no_mangle)]
pub extern "C" fn memif_strerror(err_code: c_int) -> *mut c_char {
    as_char(text_v4(err_code))
}

/// `memif_create_socket`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_create_socket(
    sock: Option<&Cell<Handle>>,
    args: Option<&SocketArgs>,
    private_ctx: *mut c_void,
) -> c_int {
    call::<V4>(|| {
        let (Some(sock), Some(args)) = (sock, args) else { return Err(Code::InvalArg) };
        let mut args = *args;
        let interval = interval_of(&args.connection_request_timer)?;
        let ours = [args.alloc.is_none(), args.realloc.is_none(), args.free.is_none()];
        if ours.contains(&true) && ours.contains(&false) || !args.app_name.contains(&0) {
            return Err(Code::InvalArg);
        }
        set_path(&mut args.path)?;
        let record = Record::new(args, Allocator { alloc: args.alloc, free: args.free })?;
        let context = Context(private_ctx);
        let socket = Socket::create(Some(record), |id| {
            args.on_control_fd_update.map(|update| CallerLoop::v4(update, context, id))
        })?;
        conn::set_reconnect(&socket, interval);
        sock.set(socket.handle());
        Ok(())
    })
}

/// `memif_delete_socket`
#[unsafe(no_mangle)]
pub extern "C" fn memif_delete_socket(sock: Option<&Cell<Handle>>) -> c_int {
    call::<V4>(|| {
        let sock = sock.ok_or(Code::InvalArg)?;
        Socket::find(sock.get())?.delete()?;
        sock.set(ptr::null_mut());
        Ok(())
    })
}

/// `memif_get_socket_path`
#[unsafe(no_mangle)]
pub extern "C" fn memif_get_socket_path(sock: Handle) -> *const c_char {
    value(ptr::null(), || Socket::find(sock)?.path())
}

/// `memif_get_socket_handle`
#[unsafe(no_mangle)]
pub extern "C" fn memif_get_socket_handle(conn: Handle) -> Handle {
    value(ptr::null_mut(), || Ok(Conn::find(conn)?.socket.handle()))
}

/// `memif_get_listener_fd`
#[unsafe(no_mangle)]
pub extern "C" fn memif_get_listener_fd(sock: Handle) -> c_int {
    value(-1, || {
        let socket = Socket::find(sock)?;
        socket.listener_fd(&path_of(&socket.args()?)?).ok_or(Code::NoFile)
    })
}

/// `memif_set_listener_fd`
#[unsafe(no_mangle)]
pub extern "C" fn memif_set_listener_fd(sock: Handle, fd: c_int) -> c_int {
    call::<V4>(|| {
        let socket = Socket::find(sock)?;
        let path = path_of(&socket.args()?)?;
        if fd < 0 {
            return Err(Code::InvalArg);
        }
        // SAFETY: `fd` is not -1. It is used during this call alone, to ask what it is and to copy it, which does no harm
        // whatever the number stands for; the program vouches for it to stay open meanwhile.
        socket.set_listener_fd(&path, unsafe { BorrowedFd::borrow_raw(fd) })
    })
}

/// `memif_set_connection_request_timer`
#[unsafe(no_mangle)]
pub extern "C" fn memif_set_connection_request_timer(sock: Handle, timer: itimerspec) -> c_int {
    call::<V4>(|| {
        let socket = Socket::find(sock)?;
        conn::set_reconnect(&socket, interval_of(&timer)?);
        Ok(())
    })
}

/// `memif_create`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_create(
    conn: Option<&Cell<Handle>>,
    args: Option<&ConnArgs>,
    on_connect: Option<ConnectionUpdate>,
    on_disconnect: Option<ConnectionUpdate>,
    on_interrupt: Option<OnInterrupt>,
    private_ctx: *mut c_void,
) -> c_int {
    let context = Context(private_ctx);
    calls::create::<V4>(conn, args, Callbacks { on_connect, on_disconnect, on_interrupt, context })
}

/// `memif_delete`
#[unsafe(no_mangle)]
pub extern "C" fn memif_delete(conn: Option<&Cell<Handle>>) -> c_int {
    calls::delete::<V4>(conn)
}

/// `memif_request_connection`
#[unsafe(no_mangle)]
pub extern "C" fn memif_request_connection(conn: Handle) -> c_int {
    call::<V4>(|| {
        Conn::find(conn)?.interface().request_connection().map_err(|error| match error {
            Error::NobodyListens(_)
            | Error::Permission(_)
            | Error::NotAMemifSocket(_)
            | Error::ListenerBusy(_) => Code::ConnRefused,
            other => other.into(),
        })
    })
}

/// `memif_control_fd_handler`
#[unsafe(no_mangle)]
pub extern "C" fn memif_control_fd_handler(ptr: *mut c_void, _events: c_int) -> c_int {
    numbered::<V4>(|| {
        let (socket, fd) = find_fd(ptr)?;
        socket.handle_fd(fd)
    })
}

/// `memif_poll_event`
#[unsafe(no_mangle)]
pub extern "C" fn memif_poll_event(sock: Handle, timeout: c_int) -> c_int {
    numbered::<V4>(|| Socket::find(sock)?.poll(timeout))
}

/// `memif_cancel_poll_event`: safe in a signal handler.
#[unsafe(no_mangle)]
pub extern "C" fn memif_cancel_poll_event(sock: Handle) -> c_int {
    call::<V4>(|| cancel_poll(sock))
}

/// `memif_set_rx_mode`
#[unsafe(no_mangle)]
pub extern "C" fn memif_set_rx_mode(conn: Handle, rx_mode: c_int, qid: u16) -> c_int {
    calls::set_rx_mode::<V4>(conn, rx_mode, qid)
}

/// `memif_get_queue_efd`
#[unsafe(no_mangle)]
pub extern "C" fn memif_get_queue_efd(conn: Handle, qid: u16, efd: Option<&Cell<c_int>>) -> c_int {
    calls::get_queue_efd::<V4>(conn, qid, efd)
}

/// `memif_get_details`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_get_details(
    conn: Handle,
    md: Option<&mut MaybeUninit<Details>>,
    buf: *mut c_char,
    buflen: ssize_t,
) -> c_int {
    // SAFETY: the caller's: `buf` is NULL, or points to `buflen` bytes that may be written and that nobody else uses.
    unsafe { calls::get_details::<V4>(conn, md, buf, buflen) }
}

/// `memif_buffer_alloc`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_buffer_alloc(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    count_out: Option<&Cell<u16>>,
    size: u16,
) -> c_int {
    // SAFETY: the caller's: `bufs` is NULL, or points to the entries that the header says may be written for `count` packets
    // of `size` bytes, and nobody else uses them.
    unsafe { calls::buffer_alloc::<V4>((conn, qid), (bufs, count, size), count_out) }
}

/// `memif_buffer_enq_tx`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_buffer_enq_tx(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    count_out: Option<&Cell<u16>>,
) -> c_int {
    let len = |_: &_| count.into();
    // SAFETY: the caller's: `bufs` is NULL, or points to `count` buffers that nobody else uses.
    unsafe { calls::burst::<V4, _, _>(count_out, || tx(conn, qid), (bufs, len), exchange::enqueue) }
}

/// `memif_buffer_requeue`
#[unsafe(no_mangle)]
pub extern "C" fn memif_buffer_requeue(
    conn: Handle,
    buf_a: Option<&Cell<Buffer>>,
    buf_b: Option<&Cell<Buffer>>,
) -> c_int {
    call::<V4>(|| {
        conn::exists(conn)?;
        let (Some(buf_a), Some(buf_b)) = (buf_a, buf_b) else { return Err(Code::InvalArg) };
        let (mut a, mut b) = (buf_a.get(), buf_b.get());
        exchange::requeue(conn, &mut a, &mut b)?;
        buf_a.set(a);
        buf_b.set(b);
        Ok(())
    })
}

/// `memif_register_external_region`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_register_external_region(
    sock: Handle,
    ar: Option<AddExternalRegion>,
    _gr: Option<GetExternalRegionAddr>,
    dr: Option<DelExternalRegion>,
    go: Option<GetExternalBufferOffset>,
) {
    value((), || {
        Socket::find(sock)?.set_external(ar.map(|add| ExternalCalls { add, del: dr, offset: go }));
        Ok(())
    });
}

/// `memif_set_next_free_buffer`
#[unsafe(no_mangle)]
pub extern "C" fn memif_set_next_free_buffer(conn: Handle, qid: u16, buf: Option<&Cell<Buffer>>) -> c_int {
    call::<V4>(|| data::set_next_free(tx(conn, qid)?, &buf.ok_or(Code::InvalArg)?.get()))
}

/// `memif_refill_queue`
#[unsafe(no_mangle)]
pub extern "C" fn memif_refill_queue(conn: Handle, qid: u16, count: u16, headroom: u16) -> c_int {
    call::<V4>(|| {
        let mut cell = conn::rx(conn, qid)?;
        cell.link().ok_or(Code::Disconnected)?;
        if !cell.traits.is_master && headroom >= cell.traits.buffer_size {
            return Err(Code::InvalArg);
        }
        match cell.traits.placing() {
            None => data::refill(cell, count, headroom),
            Some(external) => placed::refill(cell, &external, count, headroom),
        }
    })
}

/// `memif_tx_burst`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_tx_burst(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    tx: Option<&Cell<u16>>,
) -> c_int {
    // SAFETY: the caller's: `bufs` is NULL, or points to `count` buffers that nobody else uses.
    unsafe { calls::tx_burst::<V4>((conn, qid), (bufs, count), tx) }
}

/// `memif_rx_burst`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_rx_burst(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    rx: Option<&Cell<u16>>,
) -> c_int {
    // SAFETY: the caller's: `bufs` is NULL, or points to `count` entries that may be written and that nobody else uses.
    unsafe { calls::rx_burst::<V4>((conn, qid), (bufs, count), rx) }
}

/// Puts the default into an empty path, and writes an abstract name with its `@`, which it may come without.
fn set_path(path: &mut [c_char; 108]) -> Outcome {
    if !path.iter().skip(1).any(|byte| *byte == 0) {
        return Err(Code::InvalArg);
    }
    match path {
        [0, 0, ..] => {
            for (to, from) in path.iter_mut().zip(DEFAULT_SOCKET.bytes()) {
                *to = c_char::from_ne_bytes([from]);
            }
        }
        [first @ 0, ..] => *first = c_char::from_ne_bytes([b'@']),
        _ => {}
    }
    Ok(())
}

/// The path that a socket's arguments name.
fn path_of(args: &SocketArgs) -> Result<String, Code> {
    String::from_utf8(char_text(&args.path)).map_err(|_| Code::InvalArg)
}

/// The interval of a timer. When it begins is not asked for: a slave tries at once.
fn interval_of(timer: &itimerspec) -> Result<Duration, Code> {
    let seconds = u64::try_from(timer.it_interval.tv_sec).map_err(|_| Code::InvalArg)?;
    let nanos = u32::try_from(timer.it_interval.tv_nsec).map_err(|_| Code::InvalArg)?;
    if nanos >= 1_000_000_000 {
        return Err(Code::InvalArg);
    }
    Ok(Duration::new(seconds, nanos))
}
