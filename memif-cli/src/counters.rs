//! Counters on their way from a worker to the report: plain numbers in the worker's own memory, published once a burst.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::check::Findings;

/// What a worker has done so far.
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

const CELLS: usize = 10;

impl Counts {
    /// A queue has come to `packets` of `bytes` together at `now`.
    #[inline(always)]
    pub(crate) fn reached(&mut self, packets: u64, bytes: u64, now: u64) {
        self.packets = packets;
        self.bytes = bytes;
        self.last_ns = now;
        if self.first_ns == 0 {
            self.first_ns = now;
        }
    }

    /// Both together; the times span both.
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
            found.unfilled,
            found.foreign,
            found.lost,
            found.reordered,
        ]
    }

    fn from_cells(cells: [u64; CELLS]) -> Self {
        let [packets, bytes, first_ns, last_ns, verified, corrupt, unfilled, foreign, lost, reordered] =
            cells;
        let findings = Findings { verified, corrupt, unfilled, foreign, lost, reordered };
        Self { packets, bytes, first_ns, last_ns, findings }
    }
}

/// Counts for others to read: written by one worker, read once a second. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Published([AtomicU64; CELLS]);

impl Published {
    /// Shows `counts`. Relaxed: each number stands for itself.
    #[inline(always)]
    pub(crate) fn publish(&self, counts: &Counts) {
        for (cell, value) in self.0.iter().zip(counts.cells()) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// What was shown last; while the worker runs, the numbers may be of two bursts.
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
    fn what_is_published_is_read() {
        let published = Published::default();
        assert_eq!(published.read(), Counts::default());
        published.publish(&counts(7));
        assert_eq!(published.read(), counts(7));
        assert_eq!(published.read().findings.reordered, 70);
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
