//! The exported functions of libmemif 4.0; `libmemif.h` says what they do.
//!
//! # Safety
//! For all of them: a pointer that is not NULL points to what the header says, for as long as the call, and an array has
//! as many elements as the count next to it. Handles may be anything.
#![allow(unsafe_code)] // exported to C, which passes pointers
#![allow(clippy::missing_safety_doc, reason = "said once for all of them above")]

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use libc::{itimerspec, ssize_t};
use memif_pmd::{DEFAULT_SOCKET, Error};

use crate::abi::{
    AddExternalRegion, Buffer, ConnArgs, ConnectionUpdate, DelExternalRegion, Details,
    GetExternalBufferOffset, GetExternalRegionAddr, Handle, OnInterrupt, SocketArgs,
};
use crate::callback::{Callbacks, CallerLoop, Context};
use crate::code::{Code, Outcome, text_v4};
use crate::conn::{Conn, Wish};
use crate::data::{self, Moved};
use crate::details;
use crate::external::ExternalCalls;
use crate::raw::{Allocator, Record, as_char, char_text, read, slice_mut, text, write};
use crate::socket::{Socket, cancel_poll, find_fd};

/// `memif_get_version`: the protocol's version, 2.0.
const VERSION: u16 = 0x0200;
/// What a program is called that gives no name.
const DEFAULT_APP_NAME: &[u8] = b"libmemif-app";

/// Runs a call of C: what it comes to as a code of 4.0. A panic, of which there should be none, ends here.
#[inline(always)]
fn call(body: impl FnOnce() -> Outcome) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Code::Success.v4(),
        Ok(Err(code)) => code.v4(),
        Err(_) => Code::Syscall.v4(),
    }
}

/// As [`call`], for functions that return a value.
fn value<T>(otherwise: T, body: impl FnOnce() -> Result<T, Code>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(_)) | Err(_) => otherwise,
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
    sock: *mut Handle,
    args: *mut SocketArgs,
    private_ctx: *mut c_void,
) -> c_int {
    call(|| {
        if sock.is_null() {
            return Err(Code::InvalArg);
        }
        // SAFETY: the caller's promise.
        let mut args = unsafe { read(args) }?;
        let interval = interval_of(&args.connection_request_timer)?;
        let ours = [args.alloc.is_none(), args.realloc.is_none(), args.free.is_none()];
        if ours.contains(&true) && ours.contains(&false) || !args.app_name.contains(&0) {
            return Err(Code::InvalArg);
        }
        set_path(&mut args.path)?;
        let record = Record::new(args, Allocator { alloc: args.alloc, free: args.free })?;
        let context = Context(private_ctx);
        let socket = Socket::create(Some(record), |id, failed| {
            args.on_control_fd_update.map(|update| CallerLoop::v4(update, context, id, failed))
        })?;
        socket.set_reconnect(interval);
        // SAFETY: the caller's promise.
        unsafe { write(sock, socket.handle()) }
    })
}

/// `memif_delete_socket`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_delete_socket(sock: *mut Handle) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { read(sock) }?;
        Socket::find(handle)?.delete()?;
        // SAFETY: the caller's promise.
        unsafe { write(sock, ptr::null_mut()) }
    })
}

/// `memif_get_socket_path`
#[unsafe(no_mangle)]
pub extern "C" fn memif_get_socket_path(sock: Handle) -> *const c_char {
    value(ptr::null(), || {
        let socket = Socket::find(sock)?;
        socket.args().map(|args| args.path.as_ptr()).ok_or(Code::InvalArg)
    })
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
        let path = path_of(socket.args().ok_or(Code::InvalArg)?)?;
        socket.listener_fd(&path).ok_or(Code::NoFile)
    })
}

/// `memif_set_listener_fd`
#[unsafe(no_mangle)]
pub extern "C" fn memif_set_listener_fd(sock: Handle, fd: c_int) -> c_int {
    call(|| {
        let socket = Socket::find(sock)?;
        let path = path_of(socket.args().ok_or(Code::InvalArg)?)?;
        if fd < 0 {
            return Err(Code::InvalArg);
        }
        // SAFETY: not -1, and used for this call alone, which copies it: whatever the number stands for, or nothing, it is
        // only asked what it is.
        socket.set_listener_fd(&path, unsafe { BorrowedFd::borrow_raw(fd) })
    })
}

/// `memif_set_connection_request_timer`
#[unsafe(no_mangle)]
pub extern "C" fn memif_set_connection_request_timer(sock: Handle, timer: itimerspec) -> c_int {
    call(|| {
        let socket = Socket::find(sock)?;
        socket.set_reconnect(interval_of(&timer)?);
        Ok(())
    })
}

/// `memif_create`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_create(
    conn: *mut Handle,
    args: *mut ConnArgs,
    on_connect: Option<ConnectionUpdate>,
    on_disconnect: Option<ConnectionUpdate>,
    on_interrupt: Option<OnInterrupt>,
    private_ctx: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let (taken, args) = unsafe { (read(conn)?, read(args)?) };
        if !taken.is_null() {
            return Err(Code::Conn);
        }
        let socket = Socket::find(args.socket)?;
        let socket_args = socket.args().ok_or(Code::InvalArg)?;
        let app_name = char_text(&socket_args.app_name);
        let wish = Wish {
            path: path_of(socket_args)?,
            app_name: if app_name.is_empty() { DEFAULT_APP_NAME } else { &app_name },
            name: text(&args.interface_name),
            secret: args.secret,
            id: args.interface_id,
            is_master: args.is_master != 0,
            mode: args.mode,
            s2m_rings: args.num_s2m_rings,
            m2s_rings: args.num_m2s_rings,
            log2_ring_size: args.log2_ring_size,
            buffer_size: args.buffer_size,
            posts_itself: false,
        };
        let allocator = Allocator { alloc: socket_args.alloc, free: socket_args.free };
        let callbacks = Callbacks { on_connect, on_disconnect, on_interrupt, context: Context(private_ctx) };
        let made = Conn::create(&socket, &wish, allocator, callbacks)?;
        // SAFETY: the caller's promise.
        unsafe { write(conn, made.handle()) }
    })
}

/// `memif_delete`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_delete(conn: *mut Handle) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { read(conn) }?;
        Conn::find(handle)?.delete()?;
        // SAFETY: the caller's promise.
        unsafe { write(conn, ptr::null_mut()) }
    })
}

/// `memif_request_connection`
#[unsafe(no_mangle)]
pub extern "C" fn memif_request_connection(conn: Handle) -> c_int {
    call(|| {
        let conn = Conn::find(conn)?;
        match conn.interface()?.request_connection() {
            Err(Error::Socket(_)) => Err(Code::ConnRefused),
            outcome => conn.socket.checked(outcome),
        }
    })
}

/// `memif_control_fd_handler`
#[unsafe(no_mangle)]
pub extern "C" fn memif_control_fd_handler(ptr: *mut c_void, _events: c_int) -> c_int {
    call(|| {
        let (socket, fd) = find_fd(ptr)?;
        socket.handle_fd(fd);
        Ok(())
    })
}

/// `memif_poll_event`
#[unsafe(no_mangle)]
pub extern "C" fn memif_poll_event(sock: Handle, timeout: c_int) -> c_int {
    call(|| Socket::find(sock)?.poll(timeout))
}

/// `memif_cancel_poll_event`: safe in a signal handler.
#[unsafe(no_mangle)]
pub extern "C" fn memif_cancel_poll_event(sock: Handle) -> c_int {
    call(|| cancel_poll(sock))
}

/// `memif_set_rx_mode`
#[unsafe(no_mangle)]
pub extern "C" fn memif_set_rx_mode(conn: Handle, rx_mode: c_int, qid: u16) -> c_int {
    call(|| Conn::find(conn)?.set_rx_mode(rx_mode, qid))
}

/// `memif_get_queue_efd`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_get_queue_efd(conn: Handle, qid: u16, efd: *mut c_int) -> c_int {
    call(|| {
        let conn = Conn::find(conn)?;
        if efd.is_null() {
            return Err(Code::InvalArg);
        }
        let fd = conn.queue_efd(qid)?;
        // SAFETY: the caller's promise.
        unsafe { write(efd, fd) }
    })
}

/// `memif_get_details`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_get_details(
    conn: Handle,
    md: *mut Details,
    buf: *mut c_char,
    buflen: ssize_t,
) -> c_int {
    call(|| {
        let conn = Conn::find(conn)?;
        let len = usize::try_from(buflen).map_err(|_| Code::InvalArg)?;
        if md.is_null() {
            return Err(Code::InvalArg);
        }
        // SAFETY: the caller's promise; char and u8 are alike.
        let buffer = unsafe { slice_mut(buf.cast::<u8>(), len) }?;
        let (details, fits) = details::pack(&conn, buffer)?;
        // SAFETY: the caller's promise.
        unsafe { write(md, details) }?;
        if fits { Ok(()) } else { Err(Code::NobufDet) }
    })
}

/// Runs a data call on an array of C: says at `out` how much was moved, also when that is nothing.
///
/// # Safety
/// As said for all functions above; `room` is how many elements the array has.
#[inline(always)]
unsafe fn burst<T>(
    out: *mut u16,
    bufs: *mut Buffer,
    room: usize,
    exists: impl FnOnce() -> Outcome,
    act: impl FnOnce(&mut [T]) -> Result<Moved, Code>,
) -> c_int {
    call(|| {
        if out.is_null() || bufs.is_null() && room > 0 {
            return exists().and(Err(Code::InvalArg));
        }
        // SAFETY: the caller's promise; `T` is a Buffer, or one that may not have been written to yet.
        let moved = unsafe { slice_mut(bufs.cast::<T>(), room) }.and_then(act);
        let (count, outcome) = moved.unwrap_or_else(|code| (0, Err(code)));
        // SAFETY: the caller's promise.
        unsafe { write(out, count) }?;
        outcome
    })
}

/// `memif_buffer_alloc`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_buffer_alloc(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    count_out: *mut u16,
    size: u16,
) -> c_int {
    let act = |_: &mut [Buffer]| {
        // SAFETY: the caller's promise; the header says how many entries may be written.
        let array = |room| unsafe { slice_mut(bufs.cast::<MaybeUninit<Buffer>>(), room) };
        data::alloc(conn, qid, array, count, size)
    };
    // SAFETY: the caller's promise; no element is asked for here.
    unsafe { burst(count_out, bufs, 0, || data::tx(conn, qid).map(drop), act) }
}

/// `memif_buffer_enq_tx`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_buffer_enq_tx(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    count_out: *mut u16,
) -> c_int {
    let act = |bufs: &mut [Buffer]| data::enq_tx(conn, qid, bufs);
    // SAFETY: the caller's promise.
    unsafe { burst(count_out, bufs, count.into(), || data::tx(conn, qid).map(drop), act) }
}

/// `memif_buffer_requeue`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_buffer_requeue(conn: Handle, buf_a: *mut Buffer, buf_b: *mut Buffer) -> c_int {
    call(|| {
        data::exists(conn)?;
        // SAFETY: the caller's promise.
        let (mut a, mut b) = unsafe { (read(buf_a)?, read(buf_b)?) };
        data::requeue(conn, &mut a, &mut b)?;
        // SAFETY: the caller's promise; one and the same buffer is written twice, which does no harm.
        unsafe {
            write(buf_a, a)?;
            write(buf_b, b)
        }
    })
}

/// `memif_register_external_region`
#[unsafe(no_mangle)]
pub extern "C" fn memif_register_external_region(
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
pub unsafe extern "C" fn memif_set_next_free_buffer(conn: Handle, qid: u16, buf: *mut Buffer) -> c_int {
    call(|| {
        drop(data::tx(conn, qid)?);
        // SAFETY: the caller's promise.
        data::set_next_free(conn, qid, &unsafe { read(buf) }?)
    })
}

/// `memif_refill_queue`
#[unsafe(no_mangle)]
pub extern "C" fn memif_refill_queue(conn: Handle, qid: u16, count: u16, headroom: u16) -> c_int {
    call(|| data::refill(conn, qid, count, headroom))
}

/// `memif_tx_burst`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_tx_burst(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    tx: *mut u16,
) -> c_int {
    let act = |bufs: &mut [Buffer]| data::tx_burst(conn, qid, bufs);
    // SAFETY: the caller's promise.
    unsafe { burst(tx, bufs, count.into(), || data::tx(conn, qid).map(drop), act) }
}

/// `memif_rx_burst`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memif_rx_burst(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    rx: *mut u16,
) -> c_int {
    let act = |bufs: &mut [MaybeUninit<Buffer>]| data::rx_burst(conn, qid, bufs);
    // SAFETY: the caller's promise.
    unsafe { burst(rx, bufs, count.into(), || data::rx(conn, qid).map(drop), act) }
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
