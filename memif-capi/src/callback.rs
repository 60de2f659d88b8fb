//! Calls into the C program: its event loop is told of descriptors, and its interfaces of links and interrupts.
#![allow(unsafe_code)] // calls functions of C

use std::cell::Cell;
use std::error::Error;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use memif_pmd::FdRegistry;

use crate::abi::{
    ConnectionUpdate, ControlFdUpdate, FD_EVENT_DEL, FD_EVENT_READ, FdEvent, Handle, OnInterrupt,
};
use crate::gate::Gate;
use crate::handle::{Id, fd_context};
use crate::v1::abi as v1;

/// A pointer of the program's that is only handed back to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context(pub(crate) *mut c_void);

// SAFETY: the pointer is never dereferenced here. That the program's functions get it on whichever thread calls them is
// said in the header.
unsafe impl Send for Context {}
// SAFETY: as above: `&Context` gives a copy of the pointer, and nothing else.
unsafe impl Sync for Context {}

/// The program's `memif_control_fd_update_t` returned something other than 0.
#[derive(Debug)]
pub(crate) struct FdUpdateFailed;

impl fmt::Display for FdUpdateFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the program's memif_control_fd_update_t failed")
    }
}

impl Error for FdUpdateFailed {}

/// The `memif_control_fd_update_t` of either interface.
#[derive(Clone, Copy)]
enum FdUpdate {
    V4 { update: ControlFdUpdate, context: Context, socket: Id },
    V1(v1::ControlFdUpdate),
}

/// A program's event loop, told of each descriptor through its function.
pub(crate) struct CallerLoop(FdUpdate);

impl CallerLoop {
    /// A loop that is told as 4.0 does it.
    pub(crate) const fn v4(update: ControlFdUpdate, context: Context, socket: Id) -> Self {
        Self(FdUpdate::V4 { update, context, socket })
    }

    /// A loop that is told as 1.0 does it.
    pub(crate) const fn v1(update: v1::ControlFdUpdate) -> Self {
        Self(FdUpdate::V1(update))
    }

    /// Tells of a descriptor and what to do with it (`MEMIF_FD_EVENT_*`); returns what the program returned.
    fn tell(&self, fd: BorrowedFd<'_>, kind: c_int) -> c_int {
        let fd = fd.as_raw_fd();
        match self.0 {
            FdUpdate::V4 { update, context, socket } => {
                let event = FdEvent { fd, kind, private_ctx: fd_context(socket, fd) };
                // SAFETY: `update` is the function that the program passed to memif_create_socket, with the type that the
                // header declares, and callable until the socket is deleted; the event is passed by value.
                unsafe { update(event, context.0) }
            }
            FdUpdate::V1(update) => {
                // SAFETY: `update` is the function that the program passed to memif_init, with the type that the header
                // declares, and callable until memif_cleanup; both arguments are numbers.
                unsafe { update(fd, u8::try_from(kind).unwrap_or(0)) }
            }
        }
    }
}

impl FdRegistry for CallerLoop {
    fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.tell(fd, FD_EVENT_READ) == 0 { Ok(()) } else { Err(io::Error::other(FdUpdateFailed)) }
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        self.tell(fd, FD_EVENT_DEL); // it is closed in any case
    }
}

thread_local! {
    /// What the first `memif_on_interrupt_t` returned that did not return 0, since [`returned_in`] began.
    static RETURNED: Cell<c_int> = const { Cell::new(0) };
}

/// Runs `poll`, and returns what the first `memif_on_interrupt_t` returned in it that did not return 0; else 0.
pub(crate) fn returned_in<T>(poll: impl FnOnce() -> T) -> (T, c_int) {
    let outer = RETURNED.replace(0);
    let outcome = poll();
    (outcome, RETURNED.replace(outer))
}

/// The functions that a program gave for one interface, called while its gate is open.
pub(crate) struct Callbacks {
    pub(crate) on_connect: Option<ConnectionUpdate>,
    pub(crate) on_disconnect: Option<ConnectionUpdate>,
    pub(crate) on_interrupt: Option<OnInterrupt>,
    pub(crate) context: Context,
}

impl Callbacks {
    /// The link of `conn` is up. What the program returns is ignored, as libmemif does.
    pub(crate) fn connected(&self, gate: &Gate, conn: Handle) {
        self.update(gate, self.on_connect, conn);
    }

    /// The link of `conn` is down. What the program returns is ignored, as libmemif does.
    pub(crate) fn disconnected(&self, gate: &Gate, conn: Handle) {
        self.update(gate, self.on_disconnect, conn);
    }

    fn update(&self, gate: &Gate, function: Option<ConnectionUpdate>, conn: Handle) {
        let (Some(function), Some(_pass)) = (function, gate.enter()) else { return };
        // SAFETY: `function` is one that the program passed to memif_create, with the type that the header declares, and
        // callable with this context until memif_delete returns, which waits for `_pass`; the handle is a number.
        unsafe { function(conn, self.context.0) };
    }

    /// The peer has notified a receive queue of `conn`.
    pub(crate) fn interrupted(&self, gate: &Gate, conn: Handle, queue: u16) {
        let (Some(function), Some(_pass)) = (self.on_interrupt, gate.enter()) else { return };
        // SAFETY: as in `update`.
        let returned = unsafe { function(conn, self.context.0, queue) };
        if RETURNED.get() == 0 {
            RETURNED.set(returned);
        }
    }
}
