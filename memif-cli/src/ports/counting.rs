//! Counters of queues that are not memif's, and what their port shows of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Moved;
use crate::report::Drops;

/// Dropped packets of a port, by reason. Shared by its queues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses(Arc<Mutex<Drops>>);

impl Losses {
    fn lock(&self) -> MutexGuard<'_, Drops> {
        // a map is whole after each call
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So far.
    pub(crate) fn read(&self) -> Drops {
        self.lock().clone()
    }
}

/// The counters of one queue.
#[derive(Debug)]
pub(crate) struct Tally {
    moved: Moved,
    dropped: u64,
    losses: Losses,
}

impl Tally {
    /// Nothing yet; drops are added to those of the port.
    pub(crate) fn new(losses: &Losses) -> Self {
        Self { moved: Moved::default(), dropped: 0, losses: losses.clone() }
    }

    /// A packet of so many bytes has passed.
    #[inline]
    pub(crate) fn pass(&mut self, bytes: usize) {
        self.moved.packets += 1;
        self.moved.bytes += bytes as u64;
    }

    /// Packets were dropped.
    #[cold]
    pub(crate) fn drop(&mut self, reason: &str, packets: u64) {
        if packets > 0 {
            self.dropped += packets;
            *self.losses.lock().entry(reason.to_owned()).or_default() += packets;
        }
    }

    /// What has passed.
    pub(crate) fn moved(&self) -> Moved {
        self.moved
    }

    /// A number that changes with each packet, passed or dropped: see [`memif_pmd::Queues::activity`].
    pub(crate) fn activity(&self) -> u64 {
        self.moved.packets.wrapping_add(self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_all_queues_are_those_of_the_port() {
        let losses = Losses::default();
        let mut queues = [Tally::new(&losses), Tally::new(&losses)];
        for tally in &mut queues {
            tally.pass(60);
            tally.drop("too_long", 2);
            tally.drop("empty", 0);
        }
        assert_eq!(losses.read(), Drops::from([("too_long".to_owned(), 4)]));
        assert_eq!((queues[0].moved(), queues[0].activity()), (Moved { packets: 1, bytes: 60 }, 3));
    }
}
