//! One cache line there and back between two cores: what a round trip of a packet takes at least.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_utils::CachePadded;
use memif_os::clock::monotonic_ns;
use memif_os::cpu::pin_current;

use crate::error::Error;
use crate::measured::median;
use crate::pair::Cores;

/// Round trips of one part; the result is the median of the parts.
const ROUND_TRIPS: u64 = 100;
/// Number of parts, and nanoseconds after which no more are needed: on shared cores a part takes very long.
const PARTS: usize = 200;
const LONGEST_NS: u64 = 20_000_000;
/// Marks the end of the round trips.
const END: u64 = u64::MAX;

/// Nanoseconds of a round trip between the two cores, one cache line each way.
///
/// # Errors
/// No such core.
pub(crate) fn ping_pong(cores: Cores) -> Result<f64, Error> {
    let (there, back) = (CachePadded::new(AtomicU64::new(0)), CachePadded::new(AtomicU64::new(0)));
    let both = Barrier::new(2);
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let pinned = pin_current(cores.rx);
            both.wait();
            send_back(&there, &back);
            pinned.map_err(Error::from)
        });
        let ping = scope.spawn(|| {
            let pinned = pin_current(cores.tx);
            both.wait();
            let ns = round_trips(&there, &back);
            there.store(END, Ordering::Release);
            pinned.map(|()| ns).map_err(Error::from)
        });
        joined(echo)?;
        joined(ping)
    })
}

// Acquire pairs with the Release of the other's store, both ways: a line with nothing else in it.

fn send_back(there: &AtomicU64, back: &AtomicU64) {
    let mut seen = 0;
    while seen != END {
        let trip = there.load(Ordering::Acquire);
        if trip != seen {
            back.store(trip, Ordering::Release);
            seen = trip;
        }
    }
}

fn round_trips(there: &AtomicU64, back: &AtomicU64) -> f64 {
    let mut parts = Vec::with_capacity(PARTS);
    let first = monotonic_ns();
    let (mut start, mut trip) = (first, 0);
    while parts.len() < PARTS && (parts.is_empty() || start - first < LONGEST_NS) {
        for _ in 0..ROUND_TRIPS {
            trip += 1;
            there.store(trip, Ordering::Release);
            while back.load(Ordering::Acquire) != trip {}
        }
        let now = monotonic_ns();
        parts.push((now - start) as f64 / ROUND_TRIPS as f64);
        start = now;
    }
    median(&mut parts)
}

/// Sets a flag when its thread ends for any reason, which stops the other thread.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed); // orders nothing: the other thread ends a turn later
    }
}

/// The result of a thread of a floor.
///
/// # Errors
/// Its own, or it panicked.
pub(crate) fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or_else(|_| Err(Error::End("thread of a floor")))
}
