//! Copy kernels: packet bytes between shared and private memory.
//!
//! Sizes up to [`INLINE_MAX`] are copied inline, in ascending blocks of 32 bytes: a call with its dispatch costs as
//! much as a short copy, and stores to shared lines wait for the other core in program order. Longer sizes go to the
//! platform's `memcpy`.
//!
//! Measured between two cores of a Zen 4: 256 bytes at 17 Mpps in a loop of one block, at 9 in one unrolled by four, at
//! 7 with `memcpy`, which stores from both ends; 512 bytes at 40 against 16; at 1024 bytes no difference, and above
//! `memcpy` was ahead of this loop, of whole lines and of `rep movsb`.
#![allow(unsafe_code)] // raw copies; callers prove both ranges

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use core::ptr::copy_nonoverlapping;

/// Longest copy done inline, in bytes.
pub const INLINE_MAX: usize = 1024;

/// Copies `len` bytes. Either range may be shared with a peer that writes at the same time: the result is then a mix of
/// old and new bytes. The bytes are not examined here.
///
/// # Safety
/// `src` is valid for reads and `dst` for writes of `len` bytes, and the two ranges do not overlap.
#[inline(always)]
pub unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: both ranges are valid for `len` bytes, as the caller promised; each branch stays within `len`.
    unsafe {
        match len {
            64 => copy_nonoverlapping(src, dst, 64),
            33..=INLINE_MAX => copy_blocks(dst, src, len),
            16..=32 => copy_ends::<16>(dst, src, len),
            8..=15 => copy_ends::<8>(dst, src, len),
            4..=7 => copy_ends::<4>(dst, src, len),
            0..=3 => copy_tiny(dst, src, len),
            _ => copy_nonoverlapping(src, dst, len),
        }
    }
}

/// `N <= len <= 2 * N`: the first and the last `N` bytes, which overlap in the middle.
///
/// # Safety
/// The conditions of [`copy`], and `len` within that range.
#[inline(always)]
unsafe fn copy_ends<const N: usize>(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: N <= len, so both N-byte ranges lie within the caller's `len` bytes.
    unsafe {
        copy_nonoverlapping(src, dst, N);
        copy_nonoverlapping(src.add(len - N), dst.add(len - N), N);
    }
}

/// `32 < len <= INLINE_MAX`: whole 32-byte blocks, then the last 32 bytes, which overlap the block before.
///
/// # Safety
/// The conditions of [`copy`], and `len` within that range.
#[inline(always)]
unsafe fn copy_blocks(dst: *mut u8, src: *const u8, len: usize) {
    let last = len - 32;
    let mut at = 0;
    // SAFETY: at + 32 <= last + 32 == len in every step, and so for the last block.
    unsafe {
        while at < last {
            copy_nonoverlapping(src.add(at), dst.add(at), 32);
            at += 32;
            keep_rolled();
        }
        copy_nonoverlapping(src.add(last), dst.add(last), 32);
    }
}

/// Prevents the optimiser from unrolling the loop around it: the processor's prefetcher follows one store instruction
/// that advances in steps of 32 bytes.
#[inline(always)]
fn keep_rolled() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an empty template: no instruction.
    unsafe {
        core::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// `len <= 3`: no branch a byte, as all three stores may hit the same byte.
///
/// # Safety
/// The conditions of [`copy`], and `len` within that range.
#[inline(always)]
unsafe fn copy_tiny(dst: *mut u8, src: *const u8, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: 0 < len <= 3, so 0, len / 2 and len - 1 are all below len.
    unsafe {
        for at in [0, len / 2, len - 1] {
            dst.add(at).write(src.add(at).read());
        }
    }
}
