//! The exported functions of libmemif 1.0, as `memif_v1_*`; its header says what they do.
//!
//! What 4.0 calls a socket, a control plane with its interfaces, there is one of in 1.0, between `memif_init` and
//! `memif_cleanup`; packets are whole (`packets`). All else is as in [4.0](crate::v4).
//!
//! # Safety
//! For all of them: a pointer that is not NULL points to what the header says, for as long as the call, and an array has
//! as many elements as the count next to it. Handles may be anything.
#![allow(unsafe_code)] // exported to C, which passes pointers
#![allow(clippy::missing_safety_doc, reason = "said once for all of them above")]

pub mod abi;
mod details;
pub(crate) mod packets;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libc::ssize_t;
use memif_pmd::DEFAULT_SOCKET;

use self::abi::{Buffer, ConnArgs, ControlFdUpdate, Details};
use crate::abi::{ConnectionUpdate, Handle, OnInterrupt};
use crate::callback::{Callbacks, CallerLoop, Context};
use crate::code::{Code, Outcome, text_v1};
use crate::conn::{self, Conn, Wish};
use crate::data::{self, Moved};
use crate::raw::{Allocator, as_char, read, slice_mut, text, write};
use crate::socket::{Socket, cancel_poll, lock};

/// How long slaves wait between attempts.
const RECONNECT: Duration = Duration::from_secs(2);

/// The socket that all interfaces are on; NULL before `memif_init` and after `memif_cleanup`. A number, see
/// [`crate::handle`].
static SOCKET: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// The program's name, for interfaces that have no other.
static APP_NAME: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// What a program is called that gives no name, and how long a name may be.
const DEFAULT_APP_NAME: &CStr = c"libmemif-app";
const MAX_APP_NAME_LEN: usize = 31;

/// As in 4.0: what a call comes to, as a code of 1.0.
#[inline(always)]
fn call(body: impl FnOnce() -> Outcome) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Code::Success.v1(),
        Ok(Err(code)) => code.v1(),
        Err(_) => Code::Syscall.v1(),
    }
}

/// The socket, between `memif_init` and `memif_cleanup`.
fn socket() -> Result<Arc<Socket>, Code> {
    // Acquire: pairs with the Release in `memif_v1_init`
    Socket::find(SOCKET.load(Ordering::Acquire))
}

/// The text at `pointer`, or `default` for NULL.
///
/// # Safety
/// A `pointer` that is not NULL points to a text with a NUL at its end.
unsafe fn c_text(pointer: *const c_char, default: &CStr) -> Vec<u8> {
    if pointer.is_null() {
        return default.to_bytes().to_vec();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(pointer) }.to_bytes().to_vec()
}

/// `memif_init`
#[unsafe(export_name = "memif_v1_init")]
pub unsafe extern "C" fn init(update: Option<ControlFdUpdate>, app_name: *mut c_char) -> c_int {
    call(|| {
        if socket().is_ok() {
            return Err(Code::Already);
        }
        // SAFETY: the caller's promise.
        let name = unsafe { c_text(app_name, DEFAULT_APP_NAME) };
        if name.len() > MAX_APP_NAME_LEN {
            return Err(Code::InvalArg);
        }
        *lock(&APP_NAME) = name;
        let made = Socket::create(None, |_, failed| update.map(|update| CallerLoop::v1(update, failed)))?;
        made.set_reconnect(RECONNECT);
        SOCKET.store(made.handle(), Ordering::Release);
        Ok(())
    })
}

/// `memif_cleanup`
#[unsafe(export_name = "memif_v1_cleanup")]
pub extern "C" fn cleanup() -> c_int {
    call(|| {
        let Ok(socket) = socket() else { return Ok(()) };
        for id in socket.conns() {
            conn::delete(id);
        }
        SOCKET.store(ptr::null_mut(), Ordering::Release);
        socket.delete()
    })
}

/// `memif_create`
#[unsafe(export_name = "memif_v1_create")]
pub unsafe extern "C" fn create(
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
        let socket = socket()?;
        // SAFETY: the caller's promise.
        let path = unsafe { c_text(args.socket_filename, c"") };
        let path = if path.is_empty() { DEFAULT_SOCKET.into() } else { path };
        let app_name = match text(&args.instance_name) {
            [] => lock(&APP_NAME).clone(),
            name => name.to_vec(),
        };
        let wish = Wish {
            path: String::from_utf8(path).map_err(|_| Code::InvalArg)?,
            app_name: &app_name,
            name: text(&args.interface_name),
            secret: args.secret,
            id: args.interface_id,
            is_master: args.is_master != 0,
            mode: args.mode,
            s2m_rings: args.num_s2m_rings,
            m2s_rings: args.num_m2s_rings,
            log2_ring_size: args.log2_ring_size,
            buffer_size: args.buffer_size,
            posts_itself: true,
        };
        let callbacks = Callbacks { on_connect, on_disconnect, on_interrupt, context: Context(private_ctx) };
        let made = Conn::create(&socket, &wish, Allocator { alloc: None, free: None }, callbacks)?;
        // SAFETY: the caller's promise.
        unsafe { write(conn, made.handle()) }
    })
}

/// `memif_delete`
#[unsafe(export_name = "memif_v1_delete")]
pub unsafe extern "C" fn delete(conn: *mut Handle) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let handle = unsafe { read(conn) }?;
        Conn::find(handle)?.delete()?;
        // SAFETY: the caller's promise.
        unsafe { write(conn, ptr::null_mut()) }
    })
}

/// `memif_control_fd_handler`
#[unsafe(export_name = "memif_v1_control_fd_handler")]
pub extern "C" fn control_fd_handler(fd: c_int, _events: u8) -> c_int {
    call(|| {
        socket()?.handle_fd(fd);
        Ok(())
    })
}

/// `memif_poll_event`
#[unsafe(export_name = "memif_v1_poll_event")]
pub extern "C" fn poll_event(timeout: c_int) -> c_int {
    call(|| socket()?.poll(timeout))
}

/// `memif_cancel_poll_event`: safe in a signal handler.
#[unsafe(export_name = "memif_v1_cancel_poll_event")]
pub extern "C" fn cancel_poll_event() -> c_int {
    call(|| cancel_poll(SOCKET.load(Ordering::Acquire)))
}

/// `memif_set_rx_mode`
#[unsafe(export_name = "memif_v1_set_rx_mode")]
pub extern "C" fn set_rx_mode(conn: Handle, rx_mode: c_int, qid: u16) -> c_int {
    call(|| Conn::find(conn)?.set_rx_mode(rx_mode, qid))
}

/// `memif_get_queue_efd`
#[unsafe(export_name = "memif_v1_get_queue_efd")]
pub unsafe extern "C" fn get_queue_efd(conn: Handle, qid: u16, fd: *mut c_int) -> c_int {
    call(|| {
        let conn = Conn::find(conn)?;
        if fd.is_null() {
            return Err(Code::InvalArg);
        }
        // SAFETY: the caller's promise.
        unsafe { write(fd, conn.queue_efd(qid)?) }
    })
}

/// `memif_strerror`
#[unsafe(export_name = "memif_v1_strerror")]
pub extern "C" fn strerror(err_code: c_int) -> *mut c_char {
    as_char(text_v1(err_code))
}

/// `memif_get_details`
#[unsafe(export_name = "memif_v1_get_details")]
pub unsafe extern "C" fn get_details(
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

/// Runs a data call on an array of C: says at `out` how many packets it moved, also when that is none.
///
/// # Safety
/// As said for all functions above; `count` is how many elements the array has.
#[inline(always)]
unsafe fn burst<T>(
    out: *mut u16,
    bufs: *mut Buffer,
    count: u16,
    exists: impl FnOnce() -> Outcome,
    act: impl FnOnce(&mut [T]) -> Result<Moved, Code>,
) -> c_int {
    call(|| {
        if out.is_null() || bufs.is_null() && count > 0 {
            return exists().and(Err(Code::InvalArg));
        }
        // SAFETY: the caller's promise; `T` is a Buffer, or one that may not have been written to yet.
        let moved = unsafe { slice_mut(bufs.cast::<T>(), count.into()) }.and_then(act);
        let (moved, outcome) = moved.unwrap_or_else(|code| (0, Err(code)));
        // SAFETY: the caller's promise.
        unsafe { write(out, moved) }?;
        outcome
    })
}

/// How many of `wanted` packets a call moved, with the code for fewer.
fn moved(count: usize, wanted: usize, fewer: Code) -> Moved {
    let outcome = if count == wanted { Ok(()) } else { Err(fewer) };
    (u16::try_from(count).unwrap_or(u16::MAX), outcome)
}

/// `memif_buffer_alloc`
#[unsafe(export_name = "memif_v1_buffer_alloc")]
pub unsafe extern "C" fn buffer_alloc(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    count_out: *mut u16,
    size: u16,
) -> c_int {
    let act = |bufs: &mut [MaybeUninit<Buffer>]| {
        let mut cell = data::tx(conn, qid)?;
        cell.link().ok_or(Code::Disconnected)?;
        let (queue, packets) = cell.parts()?;
        let done = packets.allocate(queue, bufs, size.into());
        cell.in_use = cell.packets.len();
        Ok(moved(done, bufs.len(), Code::NobufRing))
    };
    // SAFETY: the caller's promise.
    unsafe { burst(count_out, bufs, count, || data::tx(conn, qid).map(drop), act) }
}

/// `memif_buffer_free`
#[unsafe(export_name = "memif_v1_buffer_free")]
pub unsafe extern "C" fn buffer_free(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    count_out: *mut u16,
) -> c_int {
    let act = |bufs: &mut [Buffer]| {
        let mut cell = data::rx(conn, qid)?;
        cell.link().ok_or(Code::Disconnected)?;
        let (queue, packets) = cell.parts()?;
        let done = packets.release(queue, bufs);
        cell.in_use = cell.packets.len();
        Ok(moved(done, bufs.len(), Code::InvalArg))
    };
    // SAFETY: the caller's promise.
    unsafe { burst(count_out, bufs, count, || data::rx(conn, qid).map(drop), act) }
}

/// `memif_tx_burst`
#[unsafe(export_name = "memif_v1_tx_burst")]
pub unsafe extern "C" fn tx_burst(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    tx: *mut u16,
) -> c_int {
    let act = |bufs: &mut [Buffer]| {
        let mut cell = data::tx(conn, qid)?;
        cell.link().ok_or(Code::Disconnected)?;
        let (queue, packets) = cell.parts()?;
        let done = packets.send(queue, bufs);
        cell.in_use = cell.packets.len();
        Ok(moved(done, bufs.len(), Code::InvalArg))
    };
    // SAFETY: the caller's promise.
    unsafe { burst(tx, bufs, count, || data::tx(conn, qid).map(drop), act) }
}

/// `memif_rx_burst`
#[unsafe(export_name = "memif_v1_rx_burst")]
pub unsafe extern "C" fn rx_burst(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    rx: *mut u16,
) -> c_int {
    let act = |bufs: &mut [MaybeUninit<Buffer>]| {
        let mut cell = data::rx(conn, qid)?;
        cell.link().ok_or(Code::Disconnected)?;
        let (queue, packets) = cell.parts()?;
        let (done, more) = packets.receive(queue, bufs);
        if !more {
            queue.settle_event();
        }
        cell.in_use = cell.packets.len();
        let done = u16::try_from(done).unwrap_or(u16::MAX);
        Ok((done, if more { Err(Code::Nobuf) } else { Ok(()) }))
    };
    // SAFETY: the caller's promise.
    unsafe { burst(rx, bufs, count, || data::rx(conn, qid).map(drop), act) }
}
