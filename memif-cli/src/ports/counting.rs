//! Packet counters for the queues of ports other than memif, and the drops of a whole port.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Moved;
use crate::report::Drops;

/// Dropped packets of a port, by reason. Shared by its queues.
#[derive(Clone, Debug, Default)]
pub(crate) struct Losses(Arc<Mutex<Drops>>);

impl Losses {
    fn lock(&self) -> MutexGuard<'_, Drops> {
        // no call leaves the map half changed
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The drops so far.
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
    /// Counters at zero. Drops are added to `losses` as well.
    pub(crate) fn new(losses: &Losses) -> Self {
        Self { moved: Moved::default(), dropped: 0, losses: losses.clone() }
    }

    /// Counts a packet of so many bytes as received or sent.
    #[inline]
    pub(crate) fn pass(&mut self, bytes: usize) {
        self.pass_all(1, bytes as u64);
    }

    /// Counts packets that have passed, with `bytes` bytes in total.
    #[inline]
    pub(crate) fn pass_all(&mut self, packets: u64, bytes: u64) {
        self.moved.packets += packets;
        self.moved.bytes += bytes;
    }

    /// Counts packets as dropped.
    #[cold]
    pub(crate) fn drop(&mut self, reason: &str, packets: u64) {
        if packets > 0 {
            self.dropped += packets;
            *self.losses.lock().entry(reason.to_owned()).or_default() += packets;
        }
    }

    /// Packets received or sent so far, and their bytes.
    pub(crate) fn moved(&self) -> Moved {
        self.moved
    }

    /// A number that changes with each packet, also a dropped one: see [`memif_pmd::Queues::activity`].
    pub(crate) fn activity(&self) -> u64 {
        self.moved.packets.wrapping_add(self.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_the_drops_of_all_its_queues() {
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
