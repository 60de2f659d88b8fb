//! Files in memory: made, allocated and sealed.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::io::Errno;

/// A new file of no bytes on pages of size `huge`, or on normal ones. It can be sealed.
pub(super) fn memfd(name: &CStr, huge: Option<usize>) -> io::Result<OwnedFd> {
    // The page size travels as its binary logarithm in the upper bits of the flags.
    let size = huge.map_or(MemfdFlags::empty(), |page| {
        MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(page.trailing_zeros() << libc::MFD_HUGE_SHIFT)
    });
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | size;
    // Kernels from 6.3 on may insist on an executable bit being ruled out; older ones do not know the flag.
    match memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => Ok(memfd_create(name, flags)?),
        other => Ok(other?),
    }
}

/// Allocates every page now, so that a lack of memory is an error here and not a signal later.
pub(super) fn allocate(file: &OwnedFd, len: usize) -> io::Result<()> {
    // A signal interrupts a long allocation, and the kernel then starts over: a steady stream of them must
    // not hold us.
    for _ in 0..16 {
        match fallocate(file, FallocateFlags::empty(), 0, len as u64) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}
