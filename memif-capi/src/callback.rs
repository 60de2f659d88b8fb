//! Calls into the C program.
#![allow(unsafe_code)] // calls functions of C

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memif_pmd::FdRegistry;

use crate::abi::{
    ConnectionUpdate, ControlFdUpdate, FD_EVENT_DEL, FD_EVENT_READ, FdEvent, Handle, OnInterrupt,
};
use crate::handle::{Id, fd_context};
use crate::v1::abi as v1;

/// A pointer of the program's that is only handed back to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context(pub(crate) *mut c_void);

// SAFETY: never dereferenced here. That it may be handed back on the thread that polls is said in the header.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

thread_local! {
    /// This thread is in an fd callback, within which the control plane cannot be used.
    static IN_FD_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in an fd callback.
pub(crate) fn in_fd_callback() -> bool {
    IN_FD_CALLBACK.get()
}

/// Tells a program of a descriptor and of what to do with it (`MEMIF_FD_EVENT_*`); not 0 when the program failed.
type Tell = Box<dyn Fn(c_int, c_int) -> c_int + Send>;

/// A program's event loop: told of each descriptor through its callback.
pub(crate) struct CallerLoop {
    tell: Tell,
    /// Set when the callback failed, for the call that needed it to tell.
    failed: Arc<AtomicBool>,
}

impl CallerLoop {
    /// A loop that is told as 4.0 does it.
    pub(crate) fn v4(
        update: ControlFdUpdate,
        context: Context,
        socket: Id,
        failed: &Arc<AtomicBool>,
    ) -> Self {
        let tell = move |fd, kind| {
            // the whole Context, which may go to another thread, and not the pointer alone
            let Context(context) = { context };
            let event = FdEvent { fd, kind, private_ctx: fd_context(socket, fd) };
            // SAFETY: the program vouches for its function; the event is passed by value.
            unsafe { update(event, context) }
        };
        Self { tell: Box::new(tell), failed: Arc::clone(failed) }
    }

    /// A loop that is told as 1.0 does it.
    pub(crate) fn v1(update: v1::ControlFdUpdate, failed: &Arc<AtomicBool>) -> Self {
        // SAFETY: the program vouches for its function; the events fit into 8 bits.
        let tell = move |fd, kind: c_int| unsafe { update(fd, u8::try_from(kind).unwrap_or(0)) };
        Self { tell: Box::new(tell), failed: Arc::clone(failed) }
    }

    fn tell(&self, fd: BorrowedFd<'_>, kind: c_int) -> c_int {
        IN_FD_CALLBACK.set(true);
        let outcome = (self.tell)(fd.as_raw_fd(), kind);
        IN_FD_CALLBACK.set(false);
        outcome
    }
}

impl FdRegistry for CallerLoop {
    fn watch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.tell(fd, FD_EVENT_READ) == 0 {
            return Ok(());
        }
        self.failed.store(true, Ordering::Relaxed);
        Err(io::Error::other("the program's callback failed"))
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) {
        self.tell(fd, FD_EVENT_DEL); // it is closed in any case
    }
}

/// What a connection tells its program.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) on_connect: Option<ConnectionUpdate>,
    pub(crate) on_disconnect: Option<ConnectionUpdate>,
    pub(crate) on_interrupt: Option<OnInterrupt>,
    pub(crate) context: Context,
}

impl Callbacks {
    pub(crate) fn connected(&self, conn: Handle) {
        if let Some(call) = self.on_connect {
            // SAFETY: the program vouches for its function; the handle is a number.
            unsafe { call(conn, self.context.0) };
        }
    }

    pub(crate) fn disconnected(&self, conn: Handle) {
        if let Some(call) = self.on_disconnect {
            // SAFETY: as above.
            unsafe { call(conn, self.context.0) };
        }
    }

    pub(crate) fn interrupted(&self, conn: Handle, queue: u16) {
        if let Some(call) = self.on_interrupt {
            // SAFETY: as above.
            unsafe { call(conn, self.context.0, queue) };
        }
    }
}
