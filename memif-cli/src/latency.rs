//! Latencies on their way from a sink's worker to the report.
//!
//! The worker records into a histogram of its own. When the report asks, the worker swaps it for the empty one in the
//! mailbox, between two bursts: it never waits for the report, and allocates nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use hdrhistogram::{CreationError, Histogram};
use serde::Serialize;

/// Longest latency recorded, in nanoseconds; longer ones count as this.
const MAX_NS: u64 = 60_000_000_000;
/// Significant decimal digits kept.
const DIGITS: u8 = 3;

/// A histogram of latencies in nanoseconds.
pub(crate) type Latencies = Histogram<u64>;

/// An empty histogram, 1 ns to 60 s.
///
/// # Errors
/// None with these bounds; the histogram's type says otherwise.
pub(crate) fn histogram() -> Result<Latencies, CreationError> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS)
}

/// What the report and one worker share.
#[derive(Debug)]
pub(crate) struct Mailbox {
    wanted: AtomicBool,
    histogram: Mutex<Latencies>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Latencies> {
        // a histogram is whole after each call
        self.histogram.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the worker for what it has.
    pub(crate) fn request(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Moves what the worker has left here to `total`.
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
    mailbox: Arc<Mailbox>,
}

impl Recorder {
    /// A recorder and its mailbox.
    ///
    /// # Errors
    /// See [`histogram`].
    pub(crate) fn new() -> Result<(Self, Arc<Mailbox>), CreationError> {
        let mailbox =
            Arc::new(Mailbox { wanted: AtomicBool::new(false), histogram: Mutex::new(histogram()?) });
        Ok((Self { own: histogram()?, mailbox: Arc::clone(&mailbox) }, mailbox))
    }

    /// Records one latency in nanoseconds.
    #[inline(always)]
    pub(crate) fn record(&mut self, ns: u64) {
        self.own.saturating_record(ns);
    }

    /// Between two bursts: hands over what there is if the report has asked. Costs one load when it has not.
    #[inline(always)]
    pub(crate) fn hand_over_if_wanted(&mut self) {
        if self.mailbox.wanted.load(Ordering::Relaxed) {
            self.hand_over();
        }
    }

    #[cold]
    fn hand_over(&mut self) {
        let mut mailbox = match self.mailbox.histogram.try_lock() {
            Ok(mailbox) => mailbox,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // the report is at it: next burst
            Err(TryLockError::WouldBlock) => return,
        };
        if mailbox.is_empty() {
            std::mem::swap(&mut *mailbox, &mut self.own);
            self.mailbox.wanted.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Recorder {
    /// The worker has ended: the rest goes to the mailbox.
    fn drop(&mut self) {
        // both have the same bounds, which is all that may fail
        let _ = self.mailbox.lock().add(&self.own);
    }
}

/// One-way latencies, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Quantiles {
    /// Half of the packets took no longer.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_arrive_when_asked_for_and_at_the_end() {
        let (mut recorder, mailbox) = Recorder::new().unwrap();
        let mut total = histogram().unwrap();
        recorder.record(1000);
        recorder.hand_over_if_wanted();
        mailbox.collect(&mut total);
        assert_eq!(total.len(), 0, "nobody asked");
        mailbox.request();
        recorder.hand_over_if_wanted();
        recorder.record(2000);
        mailbox.collect(&mut total);
        assert_eq!(total.len(), 1);
        drop(recorder);
        mailbox.collect(&mut total);
        mailbox.collect(&mut total);
        assert_eq!(total.len(), 2);
    }

    #[test]
    fn a_full_mailbox_loses_nothing() {
        let (mut recorder, mailbox) = Recorder::new().unwrap();
        for ns in [1, 2, 3] {
            recorder.record(ns);
            mailbox.request();
            recorder.hand_over_if_wanted();
        }
        drop(recorder);
        let mut total = histogram().unwrap();
        mailbox.collect(&mut total);
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
