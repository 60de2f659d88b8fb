//! Ringing an eventfd that a peer shares, without ever waiting for it.
//!
//! A `write` to a full eventfd waits, unless the descriptor is in non-blocking mode, which the peer can take away. Asking
//! first does not help: the peer can fill the counter in between, and would hold up the thread for as long as it likes.
//! The kernel itself rings eventfds without waiting, when an asynchronous operation ends that names one. So we let an
//! operation end: reading nothing from an empty file.
#![allow(unsafe_code)] // system calls that neither std nor libc wraps

use std::ffi::{c_long, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

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

/// One thread's means to ring.
pub(super) struct Ringer {
    context: c_ulong,
    empty: OwnedFd,
}

impl Ringer {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: the name is a C string; the call makes a descriptor or returns -1.
        let empty = unsafe { super::owned(libc::memfd_create(c"memif ringer".as_ptr(), libc::MFD_CLOEXEC)) }?;
        Ok(Self { context: make_context()?, empty })
    }

    /// Adds 1 to the counter of `eventfd`, or nothing when it is full.
    pub(super) fn ring(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
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
