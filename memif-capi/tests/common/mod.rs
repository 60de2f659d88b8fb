//! Two ends of a link, driven through the functions that are exported to C.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses its part")]

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use memif::abi::{Buffer, ConnArgs, Details, Handle, SocketArgs};
use memif::code::Code;
use memif::v4::*;

pub const OK: c_int = 0;
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer than any test takes, so that only a test that hangs fails by it.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "no {what} after {PATIENCE:?}");
    }
}

/// A value as C points to it.
pub fn at<T>(value: &mut T) -> Option<&Cell<T>> {
    Some(Cell::from_mut(value))
}

/// What a connection was told, counted by its callbacks.
#[derive(Default)]
pub struct Told {
    pub ups: AtomicU32,
    pub downs: AtomicU32,
    pub interrupts: AtomicU32,
}

impl Told {
    pub fn context(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    pub fn ups(&self) -> u32 {
        self.ups.load(Ordering::SeqCst)
    }

    pub fn downs(&self) -> u32 {
        self.downs.load(Ordering::SeqCst)
    }

    pub fn interrupts(&self) -> u32 {
        self.interrupts.load(Ordering::SeqCst)
    }
}

unsafe fn told<'a>(context: *mut c_void) -> &'a Told {
    // SAFETY: every context given in these tests is a Told that outlives its connection.
    unsafe { &*context.cast::<Told>() }
}

pub unsafe extern "C" fn on_connect(_: Handle, context: *mut c_void) -> c_int {
    // SAFETY: see `told`.
    unsafe { told(context) }.ups.fetch_add(1, Ordering::SeqCst);
    0
}

pub unsafe extern "C" fn on_disconnect(_: Handle, context: *mut c_void) -> c_int {
    // SAFETY: see `told`.
    unsafe { told(context) }.downs.fetch_add(1, Ordering::SeqCst);
    0
}

pub unsafe extern "C" fn on_interrupt(_: Handle, context: *mut c_void, _: u16) -> c_int {
    // SAFETY: see `told`.
    unsafe { told(context) }.interrupts.fetch_add(1, Ordering::SeqCst);
    0
}

/// An abstract address of this test's own.
pub fn address() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("@memif-capi-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub fn socket_args(path: &str) -> SocketArgs {
    // SAFETY: all zero is what a C program begins with: no text, no timer, no function.
    let mut args: SocketArgs = unsafe { mem::zeroed() };
    for (to, from) in args.path.iter_mut().zip(path.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    args.connection_request_timer.it_interval.tv_nsec = 2_000_000;
    args
}

pub fn conn_args(socket: Handle, is_master: bool) -> ConnArgs {
    // SAFETY: as above.
    let mut args: ConnArgs = unsafe { mem::zeroed() };
    args.socket = socket;
    args.is_master = u8::from(is_master);
    args.interface_name[..4].copy_from_slice(if is_master { b"lord" } else { b"serf" });
    args
}

pub fn make_socket(args: &mut SocketArgs, context: *mut c_void) -> Handle {
    let mut socket = ptr::null_mut();
    // SAFETY: the functions in `args` have their types and outlive the socket.
    assert_eq!(unsafe { memif_create_socket(at(&mut socket), Some(args), context) }, OK);
    assert!(!socket.is_null());
    socket
}

pub fn make_conn(args: &mut ConnArgs, told: &Told) -> Handle {
    let mut conn = ptr::null_mut();
    let (up, down) = (Some(on_connect as _), Some(on_disconnect as _));
    // SAFETY: the functions get a Told that outlives the connection.
    let code =
        unsafe { memif_create(at(&mut conn), Some(args), up, down, Some(on_interrupt), told.context()) };
    assert_eq!(code, OK);
    assert!(!conn.is_null());
    conn
}

pub fn delete(conn: &mut Handle) {
    assert_eq!(memif_delete(at(conn)), OK);
    assert!(conn.is_null());
}

pub fn delete_socket(socket: &mut Handle) {
    assert_eq!(memif_delete_socket(at(socket)), OK);
    assert!(socket.is_null());
}

/// A master and a slave on sockets of their own, in one thread.
pub struct Pair {
    pub sockets: [Handle; 2],
    pub master: Handle,
    pub slave: Handle,
    pub told: Box<[Told; 2]>,
}

impl Pair {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// `change` adapts the arguments of both ends.
    pub fn with(change: impl Fn(&mut ConnArgs)) -> Self {
        let path = address();
        let sockets = [(); 2].map(|()| make_socket(&mut socket_args(&path), ptr::null_mut()));
        let told: Box<[Told; 2]> = Box::default();
        let make = |end: usize| {
            let mut args = conn_args(sockets[end], end == 0);
            change(&mut args);
            make_conn(&mut args, &told[end])
        };
        let pair = Self { sockets, master: make(0), slave: make(1), told };
        pair.connect(1);
        pair
    }

    /// Waits until both ends were told of `count` links.
    pub fn connect(&self, count: u32) {
        self.until("link", || self.told.iter().all(|told| told.ups() == count));
    }

    /// Polls both ends.
    pub fn turn(&self) {
        for socket in self.sockets {
            assert_eq!(memif_poll_event(socket, 1), OK);
        }
    }

    pub fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        until(what, || {
            self.turn();
            done()
        });
    }

    pub fn refill_all(&self) {
        assert_eq!(memif_refill_queue(self.slave, 0, u16::MAX, 0), OK);
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for conn in [&mut self.slave, &mut self.master] {
            if !conn.is_null() {
                delete(conn);
            }
        }
        self.sockets.iter_mut().for_each(delete_socket);
    }
}

pub const EMPTY: Buffer =
    Buffer { desc_index: 0, queue: ptr::null_mut(), len: 0, flags: 0, data: ptr::null_mut() };

/// A data call's code and count.
pub type Moved = (c_int, usize);

pub fn rx(conn: Handle, bufs: &mut [Buffer]) -> Moved {
    let mut count = 0;
    // SAFETY: the array has as many elements as the call is told.
    let code = unsafe { memif_rx_burst(conn, 0, bufs.as_mut_ptr(), len(bufs), at(&mut count)) };
    (code, count.into())
}

pub fn tx(conn: Handle, bufs: &mut [Buffer]) -> Moved {
    let mut count = 0;
    // SAFETY: as above.
    let code = unsafe { memif_tx_burst(conn, 0, bufs.as_mut_ptr(), len(bufs), at(&mut count)) };
    (code, count.into())
}

/// Allocates `count` packets; `bufs` has an entry for each buffer that they may take.
pub fn alloc(conn: Handle, bufs: &mut [Buffer], count: u16, size: u16) -> Moved {
    assert!(bufs.len() >= usize::from(count));
    let mut out = 0;
    // SAFETY: there are more entries than the header asks for.
    let code = unsafe { memif_buffer_alloc(conn, 0, bufs.as_mut_ptr(), count, at(&mut out), size) };
    (code, out.into())
}

fn len(bufs: &[Buffer]) -> u16 {
    u16::try_from(bufs.len()).unwrap()
}

/// Writes `bytes` to where a buffer's data is.
pub fn fill(buf: &Buffer, bytes: &[u8]) {
    assert!(bytes.len() <= buf.len as usize);
    // SAFETY: the library says that `len` bytes may be written at `data`.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buf.data.cast(), bytes.len()) };
}

/// The bytes of a buffer.
pub fn bytes(buf: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buf.len as usize];
    // SAFETY: the library says that `len` bytes may be read at `data`.
    unsafe { ptr::copy_nonoverlapping(buf.data.cast(), bytes.as_mut_ptr(), bytes.len()) };
    bytes
}

/// Sends one packet of one buffer.
pub fn send(conn: Handle, packet: &[u8]) {
    let mut bufs = [EMPTY; 1];
    assert_eq!(alloc(conn, &mut bufs, 1, u16::try_from(packet.len()).unwrap()), (OK, 1));
    fill(&bufs[0], packet);
    assert_eq!(tx(conn, &mut bufs), (OK, 1));
}

/// Calls `memif_get_details` with `text` as its buffer.
pub fn details(conn: Handle, text: &mut [u8]) -> (c_int, Details) {
    let mut details = MaybeUninit::zeroed();
    let len = text.len().try_into().unwrap();
    // SAFETY: `text` has as many bytes as the call is told.
    let code = unsafe { memif_get_details(conn, Some(&mut details), text.as_mut_ptr().cast(), len) };
    // SAFETY: all zero are details without anything, and the call has written others or nothing.
    (code, unsafe { details.assume_init() })
}

pub fn code(code: Code) -> c_int {
    code.v4()
}
