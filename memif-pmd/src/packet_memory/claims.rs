//! Which bytes of shared files are buffers of packet memory: in one process each byte is in one buffer of one memory. Two
//! memories over the same bytes would have two threads write one buffer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Device and inode of a file.
pub(super) type FileId = (u64, u64);

static FILES: Mutex<BTreeMap<FileId, Claims>> = Mutex::new(BTreeMap::new());

/// What is claimed of one file.
#[derive(Default)]
struct Claims {
    /// Claims that are not given back.
    count: usize,
    /// Start and end of each range; no two overlap.
    ranges: BTreeMap<u64, u64>,
}

impl Claims {
    fn overlap(&self, range: &Range<u64>) -> bool {
        self.ranges.range(..range.end).next_back().is_some_and(|(_, end)| *end > range.start)
    }
}

/// A memory's claim to ranges of a file. The memory keeps the file open, so no other one gets its numbers.
#[derive(Debug)]
pub(super) struct Claim(FileId);

impl Claim {
    /// Claims all of these ranges, which do not overlap one another, or none: then the start of the first that is taken is
    /// the error.
    pub(super) fn new(file: FileId, ranges: impl Iterator<Item = Range<u64>> + Clone) -> Result<Self, u64> {
        let mut files = files();
        if let Some(claims) = files.get(&file)
            && let Some(taken) = ranges.clone().find(|range| claims.overlap(range))
        {
            return Err(taken.start);
        }
        let claims = files.entry(file).or_default();
        claims.count += 1;
        claims.ranges.extend(ranges.map(|range| (range.start, range.end)));
        Ok(Self(file))
    }

    /// Gives back the ranges with these starts: those that the memory has in the end. Forwarding in place exchanges buffers
    /// between memories of one layout.
    pub(super) fn give_back(self, starts: impl Iterator<Item = u64>) {
        let mut files = files();
        let Some(claims) = files.get_mut(&self.0) else { return };
        claims.count -= 1;
        if claims.count == 0 {
            files.remove(&self.0);
        } else {
            for start in starts {
                claims.ranges.remove(&start);
            }
        }
    }
}

fn files() -> MutexGuard<'static, BTreeMap<FileId, Claims>> {
    // nothing panics between two states
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranges of 10 bytes of a file that no test has.
    fn claim(file: u64, starts: &[u64]) -> Result<Claim, u64> {
        Claim::new((u64::MAX, file), starts.iter().map(|start| *start..start + 10))
    }

    #[test]
    fn a_byte_is_claimed_once() {
        let first = claim(1, &[100, 0, 50]).unwrap();
        for (starts, taken) in [(&[20, 91][..], 91), (&[9], 9), (&[50], 50), (&[45, 109], 45)] {
            assert_eq!(claim(1, starts).unwrap_err(), taken);
        }
        let second = claim(1, &[10, 60, 90, 110]).unwrap();
        let other = claim(2, &[0]).unwrap();
        first.give_back([100, 0, 50].into_iter());
        assert_eq!(claim(1, &[0, 50, 100, 101]).unwrap_err(), 101);
        let third = claim(1, &[0, 50, 100]).unwrap();
        for (claim, starts) in [(second, &[10, 60, 90, 110][..]), (third, &[0, 50, 100]), (other, &[0])] {
            claim.give_back(starts.iter().copied());
        }
        assert!(files().keys().all(|(device, _)| *device != u64::MAX));
    }

    #[test]
    fn exchanged_ranges_are_given_back_by_whoever_has_them() {
        let (first, second) = (claim(3, &[0, 10]).unwrap(), claim(3, &[20, 30]).unwrap());
        first.give_back([0, 30].into_iter());
        assert_eq!(claim(3, &[10]).unwrap_err(), 10);
        let third = claim(3, &[0, 30]).unwrap();
        second.give_back([10, 20].into_iter());
        third.give_back([0, 30].into_iter());
    }
}
