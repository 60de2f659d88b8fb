//! Echo and forwarder: packets received on some queues are sent on another one.

use std::sync::Arc;

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, Stop};

use crate::counters::{Counts, Published};
use crate::ports::{Inlet, Outlet};

/// Passes packets from receive queues to one transmit queue. When that one is full, packets wait in the receive queues.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Index of the receive queue whose turn is next.
    next: usize,
    /// Raised when the receive queues will receive no more packets.
    over: Stop,
    counts: Counts,
    published: Arc<Published>,
}

impl Relay {
    /// A relay and its published counters. It raises `over` when its receive queues will receive no more packets.
    pub(crate) fn new(over: &Stop) -> (Self, Arc<Published>) {
        let published = Arc::<Published>::default();
        let relay = Self {
            next: 0,
            over: over.clone(),
            counts: Counts::default(),
            published: Arc::clone(&published),
        };
        (relay, published)
    }

    /// Passes a burst from each receive queue, while the transmit queue has room.
    #[inline]
    pub(crate) fn turn(&mut self, from: &mut [Box<dyn Inlet>], tx: &mut dyn Outlet, burst: &mut Burst) {
        for _ in 0..from.len() {
            if burst.is_empty() && self.next_of(from).is_none_or(|rx| rx.receive(burst) == 0) {
                self.look_for_the_end(from);
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
    fn next_of<'q>(&mut self, from: &'q mut [Box<dyn Inlet>]) -> Option<&'q mut Box<dyn Inlet>> {
        let at = if self.next < from.len() { self.next } else { 0 };
        self.next = at + 1;
        from.get_mut(at)
    }

    /// Passes up to `most` packets from each receive queue without copying them; the queues share their packet memory.
    #[inline]
    pub(crate) fn turn_in_place(&mut self, from: &mut [Box<dyn Inlet>], tx: &mut dyn Outlet, most: usize) {
        for _ in 0..from.len() {
            let queues = (self.next_of(from).and_then(|rx| rx.as_memif()), tx.as_memif());
            let (Some(rx), Some(memif)) = queues else { return };
            if rx.forward_to(memif, most).is_ok_and(|moved| moved > 0) {
                self.publish(tx);
            }
        }
    }

    /// Raises `over` if no receive queue will receive more packets. Called after a turn without packets.
    #[inline]
    fn look_for_the_end(&self, from: &[Box<dyn Inlet>]) {
        if from.iter().all(|rx| rx.is_over()) {
            self.over.stop();
        }
    }

    #[inline]
    fn publish(&mut self, tx: &dyn Outlet) {
        let moved = tx.moved();
        self.counts.reached(moved.packets, moved.bytes, monotonic_ns());
        self.published.publish(&self.counts);
    }
}
