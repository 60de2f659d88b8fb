//! The exported functions of libmemif 1.0, as `memif_v1_*`; its header says what they do.
//!
//! What 4.0 calls a socket, a control plane with its interfaces, there is one of in 1.0, between `memif_init` and
//! `memif_cleanup`; packets are whole (`packets.rs`). All else is as in [4.0](crate::v4), pointers of C included.
//!
//! # Safety
//! As for the functions of [4.0](crate::v4) that are `unsafe`; a `char *` is NULL or points to a text with a NUL.
#![allow(unsafe_code)] // exported to C, which passes arrays, texts and functions
#![allow(clippy::missing_safety_doc, reason = "said once for all of them above")]

pub mod abi;

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use libc::ssize_t;
use memif_pmd::{DEFAULT_SOCKET, RxQueue, TxQueue};

use self::abi::{Buffer, ConnArgs, ControlFdUpdate, Details, QueueDetails};
use crate::abi::{ConnectionUpdate, Handle, OnInterrupt};
use crate::callback::{Callbacks, CallerLoop, Context};
use crate::calls;
use crate::cell::{Linked, Traits};
use crate::code::{Code, Moved, text_v1};
use crate::conn::{self, Held, Wish, rx};
use crate::details::Packed;
use crate::face::{Face, call};
use crate::memory::{Allocator, as_char, c_text, text};
use crate::socket::{Socket, cancel_poll};

/// How long slaves wait between attempts.
const RECONNECT: Duration = Duration::from_secs(2);

/// The socket that all interfaces are on; NULL before `memif_init` and after `memif_cleanup`. A number, see
/// [`crate::handle`].
static SOCKET: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// The program's name, for interfaces that have no other.
static APP_NAME: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());
/// The application's name of a program that gives none, and how long a name may be.
const DEFAULT_APP_NAME: &[u8] = b"libmemif-app";
const MAX_APP_NAME_LEN: usize = 31;

/// libmemif 1.0.
pub(crate) enum V1 {}

impl Face for V1 {
    type ConnArgs = ConnArgs;
    type Buffer = Buffer;
    type Details = Details;
    type QueueDetails = QueueDetails;
    const DESCRIBES_REGIONS: bool = false;

    fn number(code: Code) -> c_int {
        code.v1()
    }

    fn wish(args: &ConnArgs) -> Result<(Arc<Socket>, Wish), Code> {
        let socket = socket()?;
        // SAFETY: the caller of memif_create's: the field is NULL, or points to a text with a NUL that does not change.
        let path = unsafe { c_text(args.socket_filename) };
        let path = path.filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_SOCKET.into());
        let app_name = match text(&args.instance_name) {
            [] => app_name().clone(),
            name => name.to_vec(),
        };
        let wish = Wish {
            path: String::from_utf8(path).map_err(|_| Code::InvalArg)?,
            app_name,
            name: args.interface_name,
            secret: args.secret,
            id: args.interface_id,
            is_master: args.is_master != 0,
            mode: args.mode,
            s2m_rings: args.num_s2m_rings,
            m2s_rings: args.num_m2s_rings,
            log2_ring_size: args.log2_ring_size,
            buffer_size: args.buffer_size,
            posts_itself: true,
            allocator: Allocator::default(),
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
            socket_filename: packed.socket,
            rx_queues_num: packed.rx_queues_num,
            tx_queues_num: packed.tx_queues_num,
            rx_queues: packed.rx_queues,
            tx_queues: packed.tx_queues,
            link_up_down: packed.link_up_down,
        }
    }

    fn alloc_room(_: &Traits, count: u16, _: u16) -> usize {
        count.into()
    }

    #[inline(always)]
    fn allocate(
        mut cell: Held<TxQueue>,
        bufs: &mut [MaybeUninit<Buffer>],
        (_, size): (u16, u16),
    ) -> Result<Moved, Code> {
        let Linked { queue, packets, .. } = cell.linked()?;
        let done = packets.allocate(queue, bufs, size.into());
        cell.in_use = cell.packets.len();
        Ok(moved(done, bufs.len(), Code::NobufRing))
    }

    #[inline(always)]
    fn send(mut cell: Held<TxQueue>, bufs: &[Buffer]) -> Result<Moved, Code> {
        let Linked { queue, packets, .. } = cell.linked()?;
        let done = packets.send(queue, bufs);
        cell.in_use = cell.packets.len();
        Ok(moved(done, bufs.len(), Code::InvalArg))
    }

    #[inline(always)]
    fn receive(mut cell: Held<RxQueue>, bufs: &mut [MaybeUninit<Buffer>]) -> Result<Moved, Code> {
        let Linked { queue, packets, .. } = cell.linked()?;
        let (done, more) = packets.receive(queue, bufs);
        if !more {
            queue.raw().settle_event();
        }
        cell.in_use = cell.packets.len();
        let done = u16::try_from(done).unwrap_or(u16::MAX);
        Ok((done, if more { Err(Code::Nobuf) } else { Ok(()) }))
    }
}

/// How many of `wanted` packets a call moved, with the code for fewer.
fn moved(count: usize, wanted: usize, fewer: Code) -> Moved {
    let outcome = if count == wanted { Ok(()) } else { Err(fewer) };
    (u16::try_from(count).unwrap_or(u16::MAX), outcome)
}

/// The socket, between `memif_init` and `memif_cleanup`.
fn socket() -> Result<Arc<Socket>, Code> {
    // Acquire: pairs with the Release in `init`
    Socket::find(SOCKET.load(Ordering::Acquire))
}

fn app_name() -> std::sync::MutexGuard<'static, Vec<u8>> {
    APP_NAME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// `memif_init`
#[unsafe(export_name = "memif_v1_init")]
pub unsafe extern "C" fn init(update: Option<ControlFdUpdate>, name: *mut c_char) -> c_int {
    call::<V1>(|| {
        if socket().is_ok() {
            return Err(Code::Already);
        }
        // SAFETY: the caller's: `name` is NULL, or points to a text with a NUL that does not change during the call.
        let name = unsafe { c_text(name) }.unwrap_or_else(|| DEFAULT_APP_NAME.into());
        if name.len() > MAX_APP_NAME_LEN {
            return Err(Code::InvalArg);
        }
        *app_name() = name;
        let made = Socket::create(None, |_| update.map(CallerLoop::v1))?;
        conn::set_reconnect(&made, RECONNECT);
        SOCKET.store(made.handle(), Ordering::Release);
        Ok(())
    })
}

/// `memif_cleanup`
#[unsafe(export_name = "memif_v1_cleanup")]
pub extern "C" fn cleanup() -> c_int {
    call::<V1>(|| {
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
    conn: Option<&Cell<Handle>>,
    args: Option<&ConnArgs>,
    on_connect: Option<ConnectionUpdate>,
    on_disconnect: Option<ConnectionUpdate>,
    on_interrupt: Option<OnInterrupt>,
    private_ctx: *mut c_void,
) -> c_int {
    let context = Context(private_ctx);
    calls::create::<V1>(conn, args, Callbacks { on_connect, on_disconnect, on_interrupt, context })
}

/// `memif_delete`
#[unsafe(export_name = "memif_v1_delete")]
pub extern "C" fn delete(conn: Option<&Cell<Handle>>) -> c_int {
    calls::delete::<V1>(conn)
}

/// `memif_control_fd_handler`. What interrupt functions return is ignored, as in libmemif 1.0.
#[unsafe(export_name = "memif_v1_control_fd_handler")]
pub extern "C" fn control_fd_handler(fd: c_int, _events: u8) -> c_int {
    call::<V1>(|| socket()?.handle_fd(fd).map(drop))
}

/// `memif_poll_event`. What interrupt functions return is ignored, as in libmemif 1.0.
#[unsafe(export_name = "memif_v1_poll_event")]
pub extern "C" fn poll_event(timeout: c_int) -> c_int {
    call::<V1>(|| socket()?.poll(timeout).map(drop))
}

/// `memif_cancel_poll_event`: safe in a signal handler.
#[unsafe(export_name = "memif_v1_cancel_poll_event")]
pub extern "C" fn cancel_poll_event() -> c_int {
    // Acquire: pairs with the Release in `init`
    call::<V1>(|| cancel_poll(SOCKET.load(Ordering::Acquire)))
}

/// `memif_set_rx_mode`
#[unsafe(export_name = "memif_v1_set_rx_mode")]
pub extern "C" fn set_rx_mode(conn: Handle, rx_mode: c_int, qid: u16) -> c_int {
    calls::set_rx_mode::<V1>(conn, rx_mode, qid)
}

/// `memif_get_queue_efd`
#[unsafe(export_name = "memif_v1_get_queue_efd")]
pub extern "C" fn get_queue_efd(conn: Handle, qid: u16, fd: Option<&Cell<c_int>>) -> c_int {
    calls::get_queue_efd::<V1>(conn, qid, fd)
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
    md: Option<&mut MaybeUninit<Details>>,
    buf: *mut c_char,
    buflen: ssize_t,
) -> c_int {
    // SAFETY: the caller's: `buf` is NULL, or points to `buflen` bytes that may be written and that nobody else uses.
    unsafe { calls::get_details::<V1>(conn, md, buf, buflen) }
}

/// `memif_buffer_alloc`
#[unsafe(export_name = "memif_v1_buffer_alloc")]
pub unsafe extern "C" fn buffer_alloc(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    count_out: Option<&Cell<u16>>,
    size: u16,
) -> c_int {
    // SAFETY: the caller's: `bufs` is NULL, or points to `count` entries that may be written and that nobody else uses.
    unsafe { calls::buffer_alloc::<V1>((conn, qid), (bufs, count, size), count_out) }
}

/// `memif_buffer_free`
#[unsafe(export_name = "memif_v1_buffer_free")]
pub unsafe extern "C" fn buffer_free(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    count_out: Option<&Cell<u16>>,
) -> c_int {
    let act = |mut cell: Held<RxQueue>, bufs: &mut [Buffer]| {
        let Linked { queue, packets, .. } = cell.linked()?;
        let done = packets.release(queue, bufs);
        cell.in_use = cell.packets.len();
        Ok(moved(done, bufs.len(), Code::InvalArg))
    };
    let len = |_: &_| count.into();
    // SAFETY: the caller's: `bufs` is NULL, or points to `count` buffers that nobody else uses.
    unsafe { calls::burst::<V1, _, _>(count_out, || rx(conn, qid), (bufs, len), act) }
}

/// `memif_tx_burst`
#[unsafe(export_name = "memif_v1_tx_burst")]
pub unsafe extern "C" fn tx_burst(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    tx: Option<&Cell<u16>>,
) -> c_int {
    // SAFETY: the caller's: `bufs` is NULL, or points to `count` buffers that nobody else uses.
    unsafe { calls::tx_burst::<V1>((conn, qid), (bufs, count), tx) }
}

/// `memif_rx_burst`
#[unsafe(export_name = "memif_v1_rx_burst")]
pub unsafe extern "C" fn rx_burst(
    conn: Handle,
    qid: u16,
    bufs: *mut Buffer,
    count: u16,
    rx: Option<&Cell<u16>>,
) -> c_int {
    // SAFETY: the caller's: `bufs` is NULL, or points to `count` entries that may be written and that nobody else uses.
    unsafe { calls::rx_burst::<V1>((conn, qid), (bufs, count), rx) }
}
