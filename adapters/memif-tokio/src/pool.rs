//! Bursts that go round.

use std::sync::{Arc, Mutex, PoisonError};

use memif_pmd::{Burst, Error};

/// Bursts that are kept while nobody uses them.
const SPARE: usize = 16;

/// Bursts for streams and sinks. A stream takes a burst for each item and a sink returns it once it is sent, so that a task
/// that forwards allocates nothing. Clones are the same pool.
///
/// Return the bursts of a stream that go to no sink with [`BurstPool::give`]. Bursts that are not returned are allocated
/// again.
#[derive(Clone, Debug)]
pub struct BurstPool {
    capacity: usize,
    spare: Arc<Mutex<Vec<Burst>>>,
}

impl BurstPool {
    /// A pool of bursts of `capacity` packets each.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), spare: Arc::default() }
    }

    /// An empty burst.
    ///
    /// # Errors
    /// Those of [`Burst::new`].
    pub fn take(&self) -> Result<Burst, Error> {
        let spare = self.lock_spare().pop();
        spare.map_or_else(|| Burst::new(self.capacity), Ok)
    }

    /// Returns a burst, with its packets if any, which are removed. 16 are kept; others, and those of another capacity, are
    /// freed.
    pub fn give(&self, mut burst: Burst) {
        burst.clear();
        if burst.capacity() == self.capacity {
            let mut spare = self.lock_spare();
            if spare.len() < SPARE {
                spare.push(burst);
            }
        }
    }

    fn lock_spare(&self) -> std::sync::MutexGuard<'_, Vec<Burst>> {
        // nothing panics between two states of it
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
