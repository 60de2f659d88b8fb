//! Echo and forwarder: what comes in on one queue goes out on another.

use std::sync::Arc;

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, RxQueue, TxQueue};

use crate::counters::{Counts, Published};

/// Passes packets from one queue to another. Nothing is dropped when the way out is full: the way in waits.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    counts: Counts,
    published: Arc<Published>,
}

impl Relay {
    /// A relay, and where it shows its counters.
    pub(crate) fn new() -> (Self, Arc<Published>) {
        let relay = Self::default();
        let published = Arc::clone(&relay.published);
        (relay, published)
    }

    /// Passes a burst, if there is one.
    #[inline]
    pub(crate) fn turn(&mut self, rx: &mut RxQueue, tx: &mut TxQueue, burst: &mut Burst) {
        if burst.is_empty() && rx.receive(burst) == 0 {
            return;
        }
        if tx.send(burst) > 0 {
            self.publish(tx);
        }
    }

    /// Passes at most `most` packets without copying them; the queues share their packet memory.
    #[inline]
    pub(crate) fn turn_in_place(&mut self, rx: &mut RxQueue, tx: &mut TxQueue, most: usize) {
        if rx.forward_to(tx, most).is_ok_and(|moved| moved > 0) {
            self.publish(tx);
        }
    }

    #[inline]
    fn publish(&mut self, tx: &TxQueue) {
        let stats = tx.stats();
        self.counts.reached(stats.packets, stats.bytes, monotonic_ns());
        self.published.publish(&self.counts);
    }
}
