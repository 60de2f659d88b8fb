//! Echo and forwarder: packets received on some queues are sent on another one.

use std::sync::Arc;

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, RxQueue, TxQueue};

use crate::counters::{Counts, Published};

/// Passes packets from receive queues to one transmit queue. When that one is full, packets wait in the receive queues.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// Index of the receive queue whose turn is next.
    next: usize,
    counts: Counts,
    published: Arc<Published>,
}

impl Relay {
    /// A relay, and where it publishes its counters.
    pub(crate) fn new() -> (Self, Arc<Published>) {
        let relay = Self::default();
        let published = Arc::clone(&relay.published);
        (relay, published)
    }

    /// Passes a burst from each receive queue, while the transmit queue has room.
    #[inline]
    pub(crate) fn turn(&mut self, from: &mut [RxQueue], tx: &mut TxQueue, burst: &mut Burst) {
        for _ in 0..from.len() {
            if burst.is_empty() && self.next_of(from).is_none_or(|rx| rx.receive(burst) == 0) {
                continue;
            }
            if tx.send(burst) > 0 {
                self.publish(tx);
            }
            if !burst.is_empty() {
                return;
            }
        }
    }

    /// The receive queues in turn, so that none starves when there is never room for all.
    #[inline]
    fn next_of<'q>(&mut self, from: &'q mut [RxQueue]) -> Option<&'q mut RxQueue> {
        let at = if self.next < from.len() { self.next } else { 0 };
        self.next = at + 1;
        from.get_mut(at)
    }

    /// Passes up to `most` packets from each receive queue without copying them; the queues share their packet memory.
    #[inline]
    pub(crate) fn turn_in_place(&mut self, from: &mut [RxQueue], tx: &mut TxQueue, most: usize) {
        for _ in 0..from.len() {
            if self.next_of(from).is_some_and(|rx| rx.forward_to(tx, most).is_ok_and(|moved| moved > 0)) {
                self.publish(tx);
            }
        }
    }

    #[inline]
    fn publish(&mut self, tx: &TxQueue) {
        let stats = tx.stats();
        self.counts.reached(stats.packets, stats.bytes, monotonic_ns());
        self.published.publish(&self.counts);
    }
}
