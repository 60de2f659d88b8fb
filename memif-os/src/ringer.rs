//! Ringing an eventfd that a peer shares, without ever waiting for it.
//!
//! A `write` to a full eventfd waits, unless the descriptor is in non-blocking mode, which the peer can take away. Asking
//! first does not help: the peer can fill the counter in between, and would hold up the thread for as long as it likes.
//! The kernel itself adds to an eventfd without waiting, when an asynchronous operation ends that names one. So we let an
//! operation end: reading nothing from an empty file.
//!
//! Each thread has a context for that of its own, of which a machine has a limited number (`fs.aio-max-nr`). A thread that
//! gets none asks again after a while.
#![allow(unsafe_code)] // system calls that neither std, libc nor rustix wraps

use std::cell::RefCell;
use std::ffi::{c_long, c_ulong};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::clock::monotonic_ns;

/// How long a thread that gets no context goes without, in nanoseconds.
const PAUSE: u64 = 100_000_000;

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_FLAG_RESFD: u32 = 1;

/// `struct iocb` of linux/aio_abi.h; the two halves of `key` trade places with the byte order, and both are 0.
#[repr(C)]
#[derive(Default)]
struct Operation {
    data: u64,
    key: [u32; 2],
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    eventfd: u32,
}

/// `struct io_event` of linux/aio_abi.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Completion([u64; 4]);

const _: () = assert!(size_of::<Operation>() == 64 && size_of::<Completion>() == 32);

/// Adds 1 to the counter of `eventfd`, or nothing when it is full. `None`, and nothing done, when the kernel has no context
/// for this thread at the moment.
pub(crate) fn notify(eventfd: BorrowedFd<'_>) -> Option<io::Result<()>> {
    thread_local! {
        static OURS: RefCell<Option<Result<Ringer, NotBefore>>> = const { RefCell::new(None) };
    }
    // a thread that is ending has no ringer any more
    OURS.try_with(|ours| with(ours.borrow_mut().get_or_insert_with(new), eventfd)).ok()?
}

/// When a context is asked for again, in nanoseconds.
struct NotBefore(u64);

fn new() -> Result<Ringer, NotBefore> {
    Ringer::new().map_err(|_| NotBefore(monotonic_ns() + PAUSE))
}

fn with(ours: &mut Result<Ringer, NotBefore>, eventfd: BorrowedFd<'_>) -> Option<io::Result<()>> {
    if matches!(ours, Err(NotBefore(time)) if monotonic_ns() >= *time) {
        *ours = new();
    }
    ours.as_mut().ok().map(|ringer| ringer.notify(eventfd))
}

/// One thread's means to notify.
struct Ringer {
    context: c_ulong,
    empty: BorrowedFd<'static>,
}

/// The file that nothing is read from, one for all threads.
fn empty_file() -> io::Result<BorrowedFd<'static>> {
    static EMPTY: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(file) = EMPTY.get() {
        return Ok(file.as_fd());
    }
    let file = memfd_create(c"memif ringer", MemfdFlags::CLOEXEC)?;
    Ok(EMPTY.get_or_init(|| file).as_fd())
}

impl Ringer {
    fn new() -> io::Result<Self> {
        Ok(Self { empty: empty_file()?, context: make_context()? })
    }

    fn notify(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        match self.submit(eventfd) {
            // a fork leaves the context to the parent; its number means nothing here, so it is not destroyed either
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                let old = std::mem::replace(&mut self.context, make_context()?);
                self.submit(eventfd)
                    .inspect_err(|_| destroy_context(std::mem::replace(&mut self.context, old)))
            }
            result => result,
        }
    }

    fn submit(&self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        let operation = Operation {
            opcode: IOCB_CMD_PREAD,
            fd: self.empty.as_raw_fd().cast_unsigned(),
            flags: IOCB_FLAG_RESFD,
            eventfd: eventfd.as_raw_fd().cast_unsigned(),
            ..Operation::default()
        };
        let operations = [&raw const operation];
        // SAFETY: one operation, which outlives the call; it reads no bytes, so its null buffer is never written to.
        check(unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1 as c_long, operations.as_ptr()) })?;
        let mut done = [Completion::default(); 2];
        // SAFETY: room for two completions; the null timeout is not used, as none need be waited for.
        check(unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.context,
                0 as c_long,
                2 as c_long,
                done.as_mut_ptr(),
                ptr::null_mut::<libc::timespec>(),
            )
        })
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        destroy_context(self.context);
    }
}

fn destroy_context(context: c_ulong) {
    // SAFETY: takes a number; nothing is under way in a ringer's context when it lets go of it.
    unsafe { libc::syscall(libc::SYS_io_destroy, context) };
}

fn make_context() -> io::Result<c_ulong> {
    let mut context: c_ulong = 0;
    // SAFETY: room for two operations; the kernel writes the context's number to the local.
    check(unsafe { libc::syscall(libc::SYS_io_setup, 2 as c_long, &raw mut context) })?;
    Ok(context)
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::event::EventFd;

    #[test]
    fn a_thread_without_a_context_asks_again_after_a_while() {
        let event = EventFd::new().unwrap();
        let later = monotonic_ns() + 60_000_000_000;
        let mut ours = Err(NotBefore(later));
        assert!(with(&mut ours, event.as_fd()).is_none());
        assert!(matches!(ours, Err(NotBefore(time)) if time == later));
        ours = Err(NotBefore(monotonic_ns()));
        with(&mut ours, event.as_fd()).unwrap().unwrap();
        assert_eq!(event.drain().unwrap(), Some(1));
        assert!(ours.is_ok());
    }
}
