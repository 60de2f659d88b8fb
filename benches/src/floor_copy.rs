//! Copies and prefetches of the floors: the same loop compiled for several instruction sets.

// Raw copies between private and shared memory, and code for instructions that not every processor has.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::copy_nonoverlapping;

/// How packets are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// The platform's `memcpy`.
    Memcpy,
    /// A rolled loop of 32-byte moves. [`Kernel::Memcpy`] on a processor without AVX2.
    Block32,
    /// A rolled loop of 64-byte moves. [`Kernel::Memcpy`] on a processor without AVX-512.
    Block64,
}

/// A way to copy; see [`Kernel`].
pub(crate) trait Copies {
    /// Copies `len` bytes.
    ///
    /// # Safety
    /// `src` is valid for reads and `dst` for writes of `len` bytes, and the ranges do not overlap.
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize);
}

/// A loop that copies packets. `run` must be `#[inline(always)]`: it is compiled once for each instruction set.
pub(crate) trait Loop {
    /// The output.
    type Output;
    /// Runs it with this copy.
    fn run<C: Copies>(self) -> Self::Output;
}

impl Kernel {
    /// Those that this processor has.
    pub(crate) fn available() -> Vec<Self> {
        let mut kernels = vec![Self::Memcpy];
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(is_x86_feature_detected!("avx2").then_some(Self::Block32));
            kernels.extend(is_x86_feature_detected!("avx512f").then_some(Self::Block64));
        }
        kernels
    }

    /// Runs `work` with this copy.
    pub(crate) fn run<L: Loop>(self, work: L) -> L::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX2.
            Self::Block32 if is_x86_feature_detected!("avx2") => unsafe { with_avx2(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor has AVX-512F.
            Self::Block64 if is_x86_feature_detected!("avx512f") => unsafe { with_avx512(work) },
            _ => work.run::<Memcpy>(),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memcpy => "memcpy",
            Self::Block32 => "32-byte blocks",
            Self::Block64 => "64-byte blocks",
        })
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<L: Loop>(work: L) -> L::Output {
    work.run::<Blocks<32>>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn with_avx512<L: Loop>(work: L) -> L::Output {
    work.run::<Blocks<64>>()
}

/// See [`Kernel::Memcpy`].
struct Memcpy;

impl Copies for Memcpy {
    #[inline(always)]
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: both ranges are valid for `len` bytes, as the caller promised.
        unsafe { copy_nonoverlapping(src, dst, len) }
    }
}

/// Whole blocks of `N` bytes, then the last `N` bytes, which overlap the block before.
struct Blocks<const N: usize>;

impl<const N: usize> Copies for Blocks<N> {
    #[inline(always)]
    unsafe fn copy(dst: *mut u8, src: *const u8, len: usize) {
        let Some(last) = len.checked_sub(N) else {
            // SAFETY: both ranges are valid for `len` bytes, as the caller promised.
            return unsafe { copy_nonoverlapping(src, dst, len) };
        };
        let mut at = 0;
        // SAFETY: at + N <= last + N == len in every step, and so for the last block.
        unsafe {
            while at < last {
                copy_nonoverlapping(src.add(at), dst.add(at), N);
                at += N;
                keep_rolled();
            }
            copy_nonoverlapping(src.add(last), dst.add(last), N);
        }
    }
}

/// Prevents the optimiser from unrolling the loop around it.
#[inline(always)]
fn keep_rolled() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an empty template: no instruction.
    unsafe {
        std::arch::asm!("", options(nomem, nostack, preserves_flags));
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Prefetches the cache lines of `len` bytes from `start`, to write them. Touches no memory: any address may be given.
#[inline(always)]
pub(crate) fn ask_to_write(start: *const u8, len: usize) {
    for line in (0..len).step_by(LINE) {
        let _address = start.wrapping_add(line);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint that faults for no address, and does nothing on a processor without it.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) _address, options(nostack, preserves_flags, readonly));
        }
    }
}

/// Prefetches the cache lines of `len` bytes from `start`, to read them. Touches no memory: any address may be given.
#[inline(always)]
pub(crate) fn ask_to_read(start: *const u8, len: usize) {
    for line in (0..len).step_by(LINE) {
        let _address = start.wrapping_add(line);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint that faults for no address.
        unsafe {
            std::arch::asm!("prefetcht0 [{}]", in(reg) _address, options(nostack, preserves_flags, readonly));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Once<'a>(&'a [u8], &'a mut [u8]);

    impl Loop for Once<'_> {
        type Output = ();
        #[inline(always)]
        fn run<C: Copies>(self) {
            assert!(self.0.len() <= self.1.len());
            // SAFETY: two slices, the second at least as long as the first.
            unsafe { C::copy(self.1.as_mut_ptr(), self.0.as_ptr(), self.0.len()) }
        }
    }

    #[test]
    fn every_kernel_copies_all_bytes_and_no_more() {
        for kernel in [Kernel::Memcpy, Kernel::Block32, Kernel::Block64] {
            for len in [0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 1514] {
                let from: Vec<u8> = (1..=250).cycle().take(len).collect();
                let mut to = vec![0; len + 1];
                kernel.run(Once(&from, &mut to));
                assert_eq!((&to[..len], to[len]), (&from[..], 0), "{kernel} {len}");
            }
        }
    }

    #[test]
    fn memcpy_is_always_available() {
        assert_eq!(Kernel::available().first(), Some(&Kernel::Memcpy));
    }
}
