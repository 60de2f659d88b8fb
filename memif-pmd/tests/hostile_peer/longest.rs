//! The longest of some times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest of some calls, in nanoseconds; shared between the thread that makes them and the one that asks.
#[derive(Debug, Default)]
pub(crate) struct Longest(AtomicU64);

impl Longest {
    pub(crate) fn note(&self, time: Duration) {
        self.0.fetch_max(nanos(time), Ordering::Relaxed);
    }

    pub(crate) fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = call();
        self.note(start.elapsed());
        result
    }

    /// The longest since the last time that this was asked.
    pub(crate) fn take(&self) -> Duration {
        Duration::from_nanos(self.0.swap(0, Ordering::Relaxed))
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}
