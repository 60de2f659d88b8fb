//! The clock that all processes of a machine share.
//!
//! `std::time::Instant` reads the same clock and hides its value, so it cannot be compared between processes.

// clock_gettime has no wrapper in std that shows its value.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// Nanoseconds of `CLOCK_MONOTONIC`: since boot, without the time spent suspended, the same for every process.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the kernel writes one timespec to where the pointer says, and there is room for one.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) };
    // SAFETY: zeroed above, and all zeroes are a valid timespec; the call cannot fail for this clock.
    let now = unsafe { now.assume_init() };
    now.tv_sec.unsigned_abs().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_clock_never_runs_backwards_and_moves() {
        let start = monotonic_ns();
        let mut last = start;
        for _ in 0..1000 {
            let now = monotonic_ns();
            assert!(now >= last);
            last = now;
        }
        std::thread::sleep(Duration::from_millis(2));
        assert!(monotonic_ns() - start >= 2_000_000);
    }
}
