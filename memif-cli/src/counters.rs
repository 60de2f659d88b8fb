//! Counters of a worker: plain numbers in its own memory, published for the report once a burst.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::check::Findings;

/// What a worker has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Packets handed to memif or received from it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the first of them was handled, in nanoseconds of the monotonic clock; 0 before it was.
    pub first_ns: u64,
    /// When the last of them was handled.
    pub last_ns: u64,
    /// What a sink found.
    pub findings: Findings,
}

const CELLS: usize = 11;

impl Counts {
    /// Sets the totals of a queue, reached at `now`.
    #[inline(always)]
    pub(crate) fn reached(&mut self, packets: u64, bytes: u64, now: u64) {
        self.packets = packets;
        self.bytes = bytes;
        self.last_ns = now;
        if self.first_ns == 0 {
            self.first_ns = now;
        }
    }

    /// The sum of both, and the time that spans both.
    pub(crate) fn join(self, other: Self) -> Self {
        let first = |a: u64, b: u64| if a == 0 || (b != 0 && b < a) { b } else { a };
        let (ours, theirs) = (self.findings, other.findings);
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            first_ns: first(self.first_ns, other.first_ns),
            last_ns: self.last_ns.max(other.last_ns),
            findings: Findings {
                verified: ours.verified + theirs.verified,
                corrupt: ours.corrupt + theirs.corrupt,
                wrong_length: ours.wrong_length + theirs.wrong_length,
                unfilled: ours.unfilled + theirs.unfilled,
                foreign: ours.foreign + theirs.foreign,
                lost: ours.lost.saturating_add(theirs.lost),
                reordered: ours.reordered + theirs.reordered,
            },
        }
    }

    /// Seconds from the first packet to the last.
    pub(crate) fn seconds(&self) -> f64 {
        self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9
    }

    fn cells(&self) -> [u64; CELLS] {
        let found = &self.findings;
        [
            self.packets,
            self.bytes,
            self.first_ns,
            self.last_ns,
            found.verified,
            found.corrupt,
            found.wrong_length,
            found.unfilled,
            found.foreign,
            found.lost,
            found.reordered,
        ]
    }

    fn from_cells(cells: [u64; CELLS]) -> Self {
        let [packets, bytes, first_ns, last_ns, findings @ ..] = cells;
        let [verified, corrupt, wrong_length, unfilled, foreign, lost, reordered] = findings;
        let findings = Findings { verified, corrupt, wrong_length, unfilled, foreign, lost, reordered };
        Self { packets, bytes, first_ns, last_ns, findings }
    }
}

/// Counts of one worker, read by the report once a second. On cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Published([AtomicU64; CELLS]);

impl Published {
    /// Publishes `counts`. Relaxed: no number depends on another.
    #[inline(always)]
    pub(crate) fn publish(&self, counts: &Counts) {
        for (cell, value) in self.0.iter().zip(counts.cells()) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// The counts published last. While the worker runs, they may be a mixture of two bursts.
    pub(crate) fn read(&self) -> Counts {
        Counts::from_cells(std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(n: u64) -> Counts {
        Counts::from_cells(std::array::from_fn(|i| n * (i as u64 + 1)))
    }

    #[test]
    fn published_counts_are_read() {
        let published = Published::default();
        assert_eq!(published.read(), Counts::default());
        published.publish(&counts(7));
        assert_eq!(published.read(), counts(7));
        assert_eq!(published.read().findings.reordered, 77);
    }

    #[test]
    fn counts_are_joined() {
        let both = counts(2).join(counts(1));
        assert_eq!((both.packets, both.bytes), (3, 6));
        assert_eq!((both.first_ns, both.last_ns), (3, 8));
        assert_eq!(both.findings, counts(3).findings);
        assert_eq!(counts(2).join(Counts::default()), counts(2));
        assert_eq!(Counts::default().join(counts(2)), counts(2));
    }

    #[test]
    fn time_runs_from_the_first_packet_to_the_last() {
        let mut counts = Counts::default();
        counts.reached(3, 180, 1_000_000_000);
        assert!(counts.seconds().abs() < 1e-9);
        counts.reached(4, 244, 3_500_000_000);
        assert_eq!((counts.packets, counts.bytes), (4, 244));
        assert!((counts.seconds() - 2.5).abs() < 1e-9);
    }
}
