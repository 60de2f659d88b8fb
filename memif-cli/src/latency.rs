//! Latencies, measured by a sink's worker for the report.
//!
//! The worker records into a histogram of its own. On request, between two bursts, it swaps that for the empty one in the
//! [`Handover`]: it never waits for the report, and allocates nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

/// Longest recorded latency in nanoseconds; longer ones are recorded as this.
const MAX_NS: u64 = 60_000_000_000;
/// Significant decimal digits kept.
const DIGITS: u8 = 3;

/// A histogram of latencies in nanoseconds.
pub(crate) type Latencies = Histogram<u64>;

/// An empty histogram, 1 ns to 60 s.
///
/// # Errors
/// Does not fail with these bounds.
pub(crate) fn histogram() -> Result<Latencies, CreationError> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS)
}

/// Shared by the report and one worker.
#[derive(Debug)]
pub(crate) struct Handover {
    wanted: AtomicBool,
    histogram: Mutex<Latencies>,
}

impl Handover {
    fn lock(&self) -> MutexGuard<'_, Latencies> {
        // a histogram is consistent after each call
        self.histogram.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the worker for its latencies.
    pub(crate) fn request(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether the worker has handed over what was requested.
    pub(crate) fn is_done(&self) -> bool {
        !self.wanted.load(Ordering::Relaxed)
    }

    /// Moves latencies that the worker has handed over to `total`.
    pub(crate) fn collect(&self, total: &mut Latencies) {
        let mut ours = self.lock();
        // both have the same bounds, which is all that may fail
        let _ = total.add(&*ours);
        ours.reset();
    }
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Recorder {
    own: Latencies,
    handover: Arc<Handover>,
}

impl Recorder {
    /// A recorder, and the report's end.
    ///
    /// # Errors
    /// See [`histogram`].
    pub(crate) fn new() -> Result<(Self, Arc<Handover>), CreationError> {
        let handover =
            Arc::new(Handover { wanted: AtomicBool::new(false), histogram: Mutex::new(histogram()?) });
        Ok((Self { own: histogram()?, handover: Arc::clone(&handover) }, handover))
    }

    /// Records one latency in nanoseconds.
    #[inline(always)]
    pub(crate) fn record(&mut self, ns: u64) {
        self.own.saturating_record(ns);
    }

    /// Between two bursts: hands the latencies over if the report has requested them. Costs one load otherwise.
    #[inline(always)]
    pub(crate) fn hand_over_if_wanted(&mut self) {
        if self.handover.wanted.load(Ordering::Relaxed) {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&mut self) {
        let mut handover = match self.handover.histogram.try_lock() {
            Ok(handover) => handover,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // the report is collecting: after the next burst
            Err(TryLockError::WouldBlock) => return,
        };
        if handover.is_empty() {
            std::mem::swap(&mut *handover, &mut self.own);
            self.handover.wanted.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Recorder {
    /// Hands the rest over when the worker ends.
    fn drop(&mut self) {
        // both have the same bounds, which is all that may fail
        let _ = self.handover.lock().add(&self.own);
    }
}

/// Latencies, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Quantiles {
    /// 50 % of the packets took no longer.
    pub p50: u64,
    /// 90 % took no longer.
    pub p90: u64,
    /// 99 % took no longer.
    pub p99: u64,
    /// 99.9 % took no longer.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Quantiles {
    /// `None` when nothing was measured.
    pub(crate) fn of(latencies: &Latencies) -> Option<Self> {
        let at = |quantile| latencies.value_at_quantile(quantile);
        (!latencies.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: latencies.max(),
        })
    }
}

impl Quantiles {
    /// As text, in microseconds.
    pub(crate) fn text(&self) -> String {
        let [p50, p90, p99, p999, max] =
            [self.p50, self.p90, self.p99, self.p999, self.max].map(|ns| ns as f64 / 1e3);
        format!("p50 {p50:.1} us, p90 {p90:.1} us, p99 {p99:.1} us, p99.9 {p999:.1} us, max {max:.1} us")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_handed_over_on_request_and_at_the_end() {
        let (mut recorder, handover) = Recorder::new().unwrap();
        let mut total = histogram().unwrap();
        recorder.record(1000);
        recorder.hand_over_if_wanted();
        handover.collect(&mut total);
        assert_eq!(total.len(), 0, "no request");
        handover.request();
        recorder.hand_over_if_wanted();
        recorder.record(2000);
        handover.collect(&mut total);
        assert_eq!(total.len(), 1);
        drop(recorder);
        handover.collect(&mut total);
        handover.collect(&mut total);
        assert_eq!(total.len(), 2);
    }

    #[test]
    fn an_occupied_handover_loses_nothing() {
        let (mut recorder, handover) = Recorder::new().unwrap();
        for ns in [1, 2, 3] {
            recorder.record(ns);
            handover.request();
            recorder.hand_over_if_wanted();
        }
        drop(recorder);
        let mut total = histogram().unwrap();
        handover.collect(&mut total);
        assert_eq!(total.len(), 3);
    }

    #[test]
    fn quantiles_are_those_of_the_latencies() {
        let mut latencies = histogram().unwrap();
        assert_eq!(Quantiles::of(&latencies), None);
        for ns in 1..=1000 {
            latencies.saturating_record(ns);
        }
        latencies.saturating_record(u64::MAX);
        let quantiles = Quantiles::of(&latencies).unwrap();
        assert_eq!((quantiles.p50, quantiles.p90, quantiles.p99), (501, 901, 991));
        assert!(quantiles.max >= MAX_NS && quantiles.max < MAX_NS + MAX_NS / 100);
    }
}
