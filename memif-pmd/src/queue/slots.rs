//! Buffers in place that outlive a call: taken, used for as long as one likes, and given back by number.
//!
//! [`RxQueue::peek`](super::RxQueue::peek) and [`TxQueue::reserve`](super::TxQueue::reserve) lend buffers for as long as
//! a borrow, which is what Rust programs want. A C program keeps them between its calls, names them by their slot's index,
//! and may come with one of a link that is long gone. So here indices are checked against what is really in the caller's
//! hands, and [`RxQueue::link_epoch`](super::RxQueue::link_epoch) tells one link from the next.

use std::sync::Arc;

use memif_ring::fault::PeerFault;
use memif_ring::places::Place;
use memif_ring::shm::{RingMemory, Span, wake_fence};

use super::slot_loops::{claim, publish, take};
use super::tx::ring_receiver;
use super::{Handle, RxQueue, TxQueue};
use crate::config::RxMode;
use crate::link::{RxSide, TxSide};

/// One buffer of a ring.
#[derive(Clone, Copy, Debug)]
pub struct SlotBuffer<'a> {
    /// The free-running index of its slot.
    pub index: u16,
    /// The bytes received; of a claimed buffer, all that it holds.
    pub span: Span<'a>,
    /// The packet goes on in the following buffer.
    pub next: bool,
}

/// What [`RxQueue::take`](super::RxQueue::take) came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Buffers taken.
    pub buffers: usize,
    /// There are packets that did not fit.
    pub more: bool,
}

/// What a claimed buffer was filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Where packet bytes begin in the buffer, in bytes; a master's begin at 0.
    pub start: u32,
    /// How many there are.
    pub len: u32,
    /// The packet goes on in the following buffer.
    pub next: bool,
}

impl RxQueue {
    /// Tells one link from another: the number changes with each. `None` while there is no link.
    #[inline]
    pub fn link_epoch(&mut self) -> Option<u64> {
        let up = self.handle.link().is_some();
        up.then_some(self.handle.epoch)
    }

    /// Takes up to `max` buffers with received packets, which stay in the caller's hands until
    /// [`RxQueue::post`]: `visit` gets each with its number in this call, counted from 0. For interfaces with
    /// [`explicit_posting`](crate::InterfaceBuilder::explicit_posting).
    ///
    /// Packets of several buffers are taken whole, or else left for the next call; one of more than `max` buffers comes in
    /// parts. Broken ones are dropped and counted: then a number may be visited again, with what comes in its place.
    #[inline]
    pub fn take(&mut self, max: usize, visit: impl FnMut(usize, SlotBuffer<'_>)) -> Taken {
        self.take_some(max, usize::MAX, visit)
    }

    /// As [`RxQueue::take`], for up to `max` packets of any number of buffers each.
    #[inline]
    pub fn take_packets(&mut self, max: usize, visit: impl FnMut(usize, SlotBuffer<'_>)) -> Taken {
        self.take_some(usize::MAX, max, visit)
    }

    #[inline(always)]
    fn take_some(&mut self, max: usize, packets: usize, visit: impl FnMut(usize, SlotBuffer<'_>)) -> Taken {
        if self.handle.link().is_none() {
            return Taken::default();
        }
        self.skips.follow(self.handle.epoch);
        match self.take_ready(max, packets, visit) {
            Ok(taken) => {
                // a peer that waits for slots may be all that there is to wait for
                if self.skips.owed > 0 && (taken.buffers == 0 || self.mode() == RxMode::Interrupt) {
                    self.post_owed();
                }
                taken
            }
            Err(fault) => {
                self.handle.fail(fault);
                Taken::default()
            }
        }
    }

    /// As [`RxQueue::post`], but a receiver that polls gives slots back in lots of a quarter ring, or once it finds nothing
    /// to take: each time the peer has to fetch our index, so not for every few slots. Returns how many the caller is
    /// done with, as far as they can be his.
    #[inline]
    pub fn post_in_lots(&mut self, slots: u16, headroom: u16) -> u16 {
        let Some(queue) = self.handle.link() else { return 0 };
        let (held, size) = (queue.side.held(), queue.side.ring().size());
        self.skips.follow(self.handle.epoch);
        if self.skips.owed > 0 && self.skips.headroom != headroom {
            self.post_owed();
        }
        let done = slots.min(held.saturating_sub(self.skips.owed));
        self.skips.headroom = headroom;
        self.skips.owed = self.skips.owed.saturating_add(slots);
        if self.skips.owed > size / 4 || self.mode() == RxMode::Interrupt {
            self.post_owed();
        }
        done
    }

    fn post_owed(&mut self) {
        let (owed, headroom) = (std::mem::take(&mut self.skips.owed), self.skips.headroom);
        self.post(owed, headroom);
    }

    #[inline(always)]
    fn take_ready(
        &mut self,
        max: usize,
        packets: usize,
        visit: impl FnMut(usize, SlotBuffer<'_>),
    ) -> Result<Taken, PeerFault> {
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else {
            return Ok(Taken::default());
        };
        let regions = &queue.link.regions;
        let limit = (max, packets);
        let taken = match &mut queue.side {
            RxSide::Slave(side) => take(side, regions, limit, tally, &mut self.skips, visit),
            RxSide::Master(side) => take(side, regions, limit, tally, &mut self.skips, visit),
        }?;
        slot.counters.show(tally);
        Ok(taken)
    }

    /// After all packets were taken: makes the eventfd unreadable, unless more packets have come meanwhile. No ring is
    /// lost. Costs a system call in [`RxMode::Interrupt`], and one when that ends.
    #[inline]
    pub fn settle_event(&mut self) {
        let polls = self.mode() != RxMode::Interrupt;
        if polls && self.quiet || self.handle.link().is_none() {
            return;
        }
        self.quiet = polls;
        let Some(queue) = &self.handle.link else { return };
        let _ = queue.event.drain(); // nothing to drain is fine
        wake_fence(); // pairs with the sender's, between its index and its ring
        if !polls
            && self.has_packets()
            && let Some(queue) = &self.handle.link
        {
            let _ = queue.event.ring(); // a full counter is rung already
        }
    }

    /// How many slots in the caller's hands come before that of `index`; `None` unless it is one of them.
    pub fn held_before(&mut self, index: u16) -> Option<u16> {
        self.skips.follow(self.handle.epoch);
        if self.skips.owed > 0 {
            self.post_owed();
        }
        let side = &self.handle.link()?.side;
        let before = index.wrapping_sub(side.oldest());
        (before < side.held()).then_some(before)
    }

    /// Moves the buffer of a slot in our hands to the next buffer that `tx` would give, and claims that; the buffer that
    /// was there takes its place. Returns the index of its new slot. `None`, and nothing is done, when the slot is not in
    /// our hands, `tx` is full, or as [`RxQueue::swap_with`].
    pub fn move_to(&mut self, index: u16, tx: &mut TxQueue) -> Option<u16> {
        let held = self.held_before(index)?;
        let free = tx.claimed();
        if tx.claimable(1) == 0 || !self.swap_with(held, tx, free) {
            return None;
        }
        tx.claims.count += 1;
        Some(tx.handle.link.as_ref()?.side.position().wrapping_add(free))
    }

    /// Exchanges the buffers of slots in our hands, here and in another queue of the same slave. False, and nothing is
    /// done, unless that is what they are.
    pub fn swap_held(&mut self, held: u16, other: &mut Self, other_held: u16) -> bool {
        let (Some(one), Some(two)) = (self.handle.link(), other.handle.link()) else { return false };
        if !Arc::ptr_eq(&one.link, &two.link) {
            return false;
        }
        let (RxSide::Slave(one), RxSide::Slave(two)) = (&mut one.side, &mut two.side) else { return false };
        exchange(one.place_mut(held), two.place_mut(other_held))
    }
}

/// Buffers of a transmit queue in the caller's hands: so many, behind what was sent.
#[derive(Debug, Default)]
pub(super) struct Claims {
    epoch: u64,
    count: u16,
}

impl TxQueue {
    /// As [`RxQueue::link_epoch`].
    #[inline]
    pub fn link_epoch(&mut self) -> Option<u64> {
        let up = self.handle.link().is_some();
        up.then_some(self.handle.epoch)
    }

    /// Buffers in the caller's hands; those of another link are gone.
    #[inline(always)]
    pub fn claimed(&mut self) -> u16 {
        if self.handle.link().is_none() || self.claims.epoch != self.handle.epoch {
            self.claims = Claims { epoch: self.handle.epoch, count: 0 };
        }
        self.claims.count
    }

    /// Buffers that [`TxQueue::claim`] could give, at least `wanted` if there are so many.
    #[inline]
    pub fn claimable(&mut self, wanted: usize) -> u16 {
        let claimed = self.claimed();
        let Some(queue) = self.handle.link() else { return 0 };
        match queue.side.free(wanted.saturating_add(claimed.into())) {
            Ok(free) => free.saturating_sub(claimed),
            Err(fault) => {
                self.handle.fail(fault);
                0
            }
        }
    }

    /// Takes up to `max` free buffers behind those taken before, and returns how many. They stay in the caller's hands until
    /// [`TxQueue::publish`] or [`TxQueue::unclaim`]: `visit` gets each with its number in this call, counted from 0. Not
    /// to be mixed with [`TxQueue::send`] and [`TxQueue::reserve`], which use the same buffers.
    #[inline]
    pub fn claim(&mut self, max: usize, visit: impl FnMut(usize, SlotBuffer<'_>)) -> usize {
        let free = self.claimable(max);
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else { return 0 };
        let (regions, claimed) = (&queue.link.regions, self.claims.count);
        let max = max.min(free.into());
        let dropped = tally.dropped;
        let number = match &mut queue.side {
            TxSide::Slave(side) => claim(side, regions, claimed, max, tally, visit),
            TxSide::Master(side) => claim(side, regions, claimed, max, tally, visit),
        };
        if tally.dropped != dropped {
            slot.counters.show(tally);
        }
        self.claims.count += number;
        number.into()
    }

    /// How many claimed buffers come before that of slot `index`; `None` unless it is one of them.
    pub fn claimed_before(&mut self, index: u16) -> Option<u16> {
        let claimed = self.claimed();
        let before = index.wrapping_sub(self.handle.link()?.side.position());
        (before < claimed).then_some(before)
    }

    /// Gives claimed buffers back unused, down to the first `keep`.
    pub fn unclaim(&mut self, keep: u16) {
        self.claims.count = self.claimed().min(keep);
    }

    /// Sends the first `max` claimed buffers as `describe` says they were filled, given each with its number in this call,
    /// and returns how many. Ends before one that `describe` says nothing about or that is filled beyond its end, and
    /// before a packet whose last buffer is not among them.
    #[inline]
    pub fn publish(
        &mut self,
        max: usize,
        describe: impl FnMut(usize, SlotBuffer<'_>) -> Option<Filled>,
    ) -> usize {
        let count = max.min(self.claimed().into());
        let Handle { link: Some(queue), tally, slot, .. } = &mut self.handle else { return 0 };
        let regions = &queue.link.regions;
        let sent = match &mut queue.side {
            TxSide::Slave(side) => publish(side, regions, count, tally, describe),
            TxSide::Master(side) => publish(side, regions, count, tally, describe),
        };
        if sent > 0 {
            self.claims.count -= sent;
            ring_receiver(queue, &slot.counters);
            slot.counters.show(tally);
        }
        sent.into()
    }

    /// As [`RxQueue::swap_held`], for free buffers.
    pub fn swap_free(&mut self, free: u16, other: &mut Self, other_free: u16) -> bool {
        let (Some(one), Some(two)) = (self.handle.link(), other.handle.link()) else { return false };
        if !Arc::ptr_eq(&one.link, &two.link) {
            return false;
        }
        let (TxSide::Slave(one), TxSide::Slave(two)) = (&mut one.side, &mut two.side) else { return false };
        exchange(one.place_mut(free), two.place_mut(other_free))
    }
}

fn exchange(one: Option<&mut Place>, other: Option<&mut Place>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            std::mem::swap(one, other);
            true
        }
        _ => false,
    }
}
