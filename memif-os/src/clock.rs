//! The clock that all processes of a machine share.
//!
//! `std::time::Instant` reads the same clock and hides its value, so it cannot be compared between processes.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`: since boot, without the time spent suspended, the same for every process.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds of processor time that the calling thread has used, in the kernel too. Takes a system call, some 200 ns.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.unsigned_abs().wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.unsigned_abs())
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

    #[test]
    fn a_thread_that_sleeps_uses_no_processor_time() {
        let (clock, used) = (monotonic_ns(), thread_cpu_ns());
        std::thread::sleep(Duration::from_millis(50));
        let (clock, used) = (monotonic_ns() - clock, thread_cpu_ns() - used);
        assert!(used < clock / 2, "{used} of {clock} ns");
        let before = thread_cpu_ns();
        while thread_cpu_ns() == before {}
    }
}
