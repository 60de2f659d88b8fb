//! Requests for cache lines that will be used soon. Many at once take as long as one.
#![allow(unsafe_code)] // instructions that have no safe name

use core::ptr::NonNull;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Starts to fetch a cache line that will be read.
#[inline(always)]
pub(super) fn to_read(line: NonNull<u8>) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint: it changes nothing and faults at no address; processors without it skip it.
    unsafe {
        core::arch::asm!("prefetcht0 [{}]", in(reg) line.as_ptr(), options(readonly, nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{}]", in(reg) line.as_ptr(), options(readonly, nostack, preserves_flags));
    }
    let _ = line; // used on these processors alone
}

/// Starts to fetch a cache line that will be written: one that the peer has read comes back from its core.
#[inline(always)]
pub(super) fn to_write(line: NonNull<u8>) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a hint: it changes nothing and faults at no address; processors without it skip it.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) line.as_ptr(), options(readonly, nostack, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("prfm pstl1keep, [{}]", in(reg) line.as_ptr(), options(readonly, nostack, preserves_flags));
    }
    let _ = line; // used on these processors alone
}
