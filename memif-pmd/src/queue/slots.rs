//! Buffers in place that outlive a call: taken, used for as long as one likes, and given back by number.
//!
//! [`RxQueue::peek`](super::RxQueue::peek) and [`TxQueue::reserve`](super::TxQueue::reserve) lend buffers for as long as
//! a borrow, which is what Rust programs want. A C program keeps them between its calls, names them by their slot's index,
//! and may come with one of a link that is long gone. So here indices are checked against what is really in the caller's
//! hands, and [`RxQueue::link_epoch`](super::RxQueue::link_epoch) tells one link from the next.

use std::sync::Arc;

use memif_ring::burst::Tally;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::layout::{DESC_FLAG_NEXT, Desc, MAX_PACKET_SIZE};
use memif_ring::places::Place;
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, Span, wake_fence};
use memif_ring::tail_side::{TailReceiver, TailSender};

use super::rx::acceptable;
use super::tx::ring_receiver;
use super::{Handle, RxQueue, TxQueue};
use crate::config::RxMode;
use crate::link::{RxSide, TxSide};
use crate::packet_memory::Places;

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

/// Slots of broken packets: consumed, but never shown to the caller, who therefore cannot count them when it gives slots
/// back. Only a broken peer makes any.
#[derive(Debug, Default)]
pub(super) struct Skips {
    /// The link whose slots these are.
    epoch: u64,
    /// In the order of their indices.
    indices: std::collections::VecDeque<u16>,
}

impl Skips {
    /// Forgets the slots of another link.
    #[inline(always)]
    pub(super) fn follow(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.indices.clear();
        }
    }

    /// `count` slots from `index` on are consumed unseen. As many at a time as a ring has slots, so it is bounded.
    #[cold]
    pub(super) fn mark(&mut self, index: u16, count: u16) {
        self.indices.extend((0..count).map(|ahead| index.wrapping_add(ahead)));
    }

    /// How many of the `held` slots from `oldest` on `seen` of them that the caller saw reach to, those unseen before and
    /// right behind them included.
    #[inline(always)]
    pub(super) fn pass(&mut self, seen: u16, oldest: u16, held: u16) -> u16 {
        if self.indices.is_empty() { seen } else { self.pass_some(seen, oldest, held) }
    }

    #[cold]
    fn pass_some(&mut self, seen: u16, oldest: u16, held: u16) -> u16 {
        let (mut slots, mut left) = (0, seen);
        while slots < held {
            if self.indices.front() == Some(&oldest.wrapping_add(slots)) {
                self.indices.pop_front();
            } else if left > 0 {
                left -= 1;
            } else {
                break;
            }
            slots += 1;
        }
        slots
    }
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
            Ok(taken) => taken,
            Err(fault) => {
                self.handle.fail(fault);
                Taken::default()
            }
        }
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

/// What a loop over received slots asks of either role.
trait Receiver {
    fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault>;
    fn position(&self) -> u16;
    fn piece<'m>(&self, regions: &'m RegionMap, ahead: u16) -> (bool, Result<Span<'m>, DropReason>);
    fn peek(&self, regions: &RegionMap, ahead: u16, visit: impl FnMut(Desc))
    -> (u16, Result<(), DropReason>);
    fn release(&mut self, slots: u16);
}

/// What a loop over free slots asks of either role.
trait Sender {
    /// Packets may begin behind the start of their buffer.
    const MOVABLE: bool;
    fn position(&self) -> u16;
    fn buffer(&self, regions: &RegionMap, ahead: u16) -> Result<Desc, DropReason>;
    fn complete(&mut self, ahead: u16, flags: u16, start: u32, length: u32);
    fn commit(&mut self, slots: u16);
}

macro_rules! receiver {
    ($side:ty) => {
        impl Receiver for $side {
            #[inline(always)]
            fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
                <$side>::ready(self, wanted)
            }
            #[inline(always)]
            fn position(&self) -> u16 {
                <$side>::position(self)
            }
            #[inline(always)]
            fn piece<'m>(&self, regions: &'m RegionMap, ahead: u16) -> (bool, Result<Span<'m>, DropReason>) {
                <$side>::piece(self, regions, ahead)
            }
            fn peek(
                &self,
                regions: &RegionMap,
                ahead: u16,
                visit: impl FnMut(Desc),
            ) -> (u16, Result<(), DropReason>) {
                <$side>::peek(self, regions, ahead, visit)
            }
            #[inline(always)]
            fn release(&mut self, slots: u16) {
                <$side>::release(self, slots);
            }
        }
    };
}

macro_rules! sender {
    ($side:ty, $movable:literal, |$this:ident, $ahead:ident, $flags:ident, $start:ident, $length:ident| $complete:expr) => {
        impl Sender for $side {
            const MOVABLE: bool = $movable;
            #[inline(always)]
            fn position(&self) -> u16 {
                <$side>::position(self)
            }
            #[inline(always)]
            fn buffer(&self, regions: &RegionMap, ahead: u16) -> Result<Desc, DropReason> {
                <$side>::buffer(self, regions, ahead)
            }
            #[inline(always)]
            fn complete(&mut self, $ahead: u16, $flags: u16, $start: u32, $length: u32) {
                let $this = self;
                $complete
            }
            #[inline(always)]
            fn commit(&mut self, slots: u16) {
                <$side>::commit(self, slots);
            }
        }
    };
}

receiver!(HeadReceiver<Ring, Places>);
receiver!(TailReceiver<Ring>);
sender!(HeadSender<Ring, Places>, true, |side, ahead, flags, start, length| {
    side.complete_at(ahead, flags, start, length);
});
// a master leaves the slave's places alone: its packets begin where their buffers do
sender!(TailSender<Ring>, false, |side, ahead, flags, _start, length| side.complete(ahead, flags, length));

/// Takes buffers as [`RxQueue::take`] says, at most so many of them and of packets. Packets of one good buffer are the loop; all else is apart.
#[inline(always)]
fn take(
    side: &mut impl Receiver,
    regions: &RegionMap,
    (max, mut packets_left): (usize, usize),
    tally: &mut Tally,
    skips: &mut Skips,
    mut visit: impl FnMut(usize, SlotBuffer<'_>),
) -> Result<Taken, PeerFault> {
    // one more than asked for, to know whether there is more
    let ready = side.ready(max.min(packets_left).saturating_add(1))?;
    let first = side.position();
    let (mut ahead, mut taken, mut bytes) = (0, 0, 0);
    let mut packets = 0;
    while ahead < ready && taken < max && packets_left > 0 {
        match side.piece(regions, ahead) {
            (false, Ok(span)) if matches!(span.len(), 1..=MAX_PACKET_SIZE) => {
                visit(taken, SlotBuffer { index: first.wrapping_add(ahead), span, next: false });
                bytes += span.len() as u64;
                packets += 1;
                packets_left -= 1;
                ahead += 1;
                taken += 1;
            }
            _ => match take_odd(side, regions, ahead, (taken, max), tally, skips, &mut visit) {
                Some((slots, buffers)) => {
                    packets_left -= usize::from(buffers > 0);
                    ahead += slots;
                    taken += buffers;
                }
                None => break,
            },
        }
    }
    tally.packets += packets;
    tally.bytes += bytes;
    side.release(ahead);
    Ok(Taken { buffers: taken, more: ready > ahead })
}

/// A packet of several buffers, or a broken one: the slots it takes, and how many of those are the caller's. `None` when it
/// has to wait for the next call.
#[inline(never)]
fn take_odd(
    side: &impl Receiver,
    regions: &RegionMap,
    ahead: u16,
    (taken, max): (usize, usize),
    tally: &mut Tally,
    skips: &mut Skips,
    visit: &mut impl FnMut(usize, SlotBuffer<'_>),
) -> Option<(u16, usize)> {
    let first = side.position().wrapping_add(ahead);
    let (mut number, mut bytes) = (taken, 0);
    let (slots, verdict) = side.peek(regions, ahead, |desc| {
        bytes += desc.length as usize;
        if let Ok(span) = regions.span(desc.region, desc.offset, desc.length)
            && number < max
        {
            #[expect(clippy::cast_possible_truncation, reason = "below the ring's size")]
            let index = first.wrapping_add((number - taken) as u16);
            visit(number, SlotBuffer { index, span, next: desc.has_next() });
        }
        number += 1;
    });
    if let Err(reason) = verdict.and_then(|()| acceptable(slots.into(), bytes)) {
        skips.mark(first, slots);
        tally.count_drop(reason);
        return Some((slots, 0));
    }
    if number > max && taken > 0 {
        return None;
    }
    // a packet of more buffers than the caller has in all comes in parts; it counts with its last
    let part = slots.min(u16::try_from(max - taken).unwrap_or(u16::MAX));
    if part == slots {
        tally.count(bytes);
    }
    Some((part, part.into()))
}

/// Hands out up to `max` free buffers behind the `claimed` ones, and returns how many. Slots go in order: one that cannot
/// be used waits for those before it, and is then given up.
#[inline(always)]
fn claim(
    side: &mut impl Sender,
    regions: &RegionMap,
    claimed: u16,
    max: usize,
    tally: &mut Tally,
    mut visit: impl FnMut(usize, SlotBuffer<'_>),
) -> u16 {
    let mut number = 0u16;
    for _ in 0..max {
        match side.buffer(regions, claimed + number) {
            Ok(desc) => {
                let Ok(span) = regions.span(desc.region, desc.offset, desc.length) else { break };
                let index = side.position().wrapping_add(claimed + number);
                visit(number.into(), SlotBuffer { index, span, next: false });
                number += 1;
            }
            Err(_) if claimed + number > 0 => break,
            Err(reason) => {
                side.complete(0, 0, 0, 0);
                side.commit(1);
                tally.count_drop(reason);
            }
        }
    }
    number
}

/// Sends claimed buffers as [`TxQueue::publish`] says; returns how many.
#[inline(always)]
fn publish(
    side: &mut impl Sender,
    regions: &RegionMap,
    count: usize,
    tally: &mut Tally,
    mut describe: impl FnMut(usize, SlotBuffer<'_>) -> Option<Filled>,
) -> u16 {
    let first = side.position();
    let (mut sent, mut bytes, mut sent_bytes, mut packets) = (0, 0u64, 0u64, 0u64);
    #[expect(clippy::cast_possible_truncation, reason = "at most as many as are claimed")]
    for ahead in 0..count as u16 {
        let Ok(desc) = side.buffer(regions, ahead) else { break };
        let Ok(span) = regions.span(desc.region, desc.offset, desc.length) else { break };
        let buffer = SlotBuffer { index: first.wrapping_add(ahead), span, next: false };
        let Some(filled) = describe(ahead.into(), buffer) else { break };
        let end = u64::from(filled.start) + u64::from(filled.len);
        if end > u64::from(desc.length) || !(filled.start == 0 || is_movable(side)) {
            break;
        }
        side.complete(ahead, if filled.next { DESC_FLAG_NEXT } else { 0 }, filled.start, filled.len);
        bytes += u64::from(filled.len);
        if !filled.next {
            (sent, sent_bytes) = (ahead + 1, bytes);
            packets += 1;
        }
    }
    tally.packets += packets;
    tally.bytes += sent_bytes;
    if sent > 0 {
        side.commit(sent);
    }
    sent
}

const fn is_movable<S: Sender>(_: &S) -> bool {
    S::MOVABLE
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

#[cfg(test)]
mod tests {
    use super::Skips;

    #[test]
    fn slots_that_nobody_saw_go_back_with_their_neighbours() {
        let mut skips = Skips::default();
        assert_eq!(skips.pass(3, 100, 10), 3);
        // held: 65534 unseen, 65535 seen, 0 and 1 unseen, 2 seen, 3 seen
        skips.mark(65534, 1);
        skips.mark(0, 2);
        assert_eq!(skips.pass(0, 65534, 6), 1, "the unseen ones in front");
        assert_eq!(skips.pass(1, 65535, 5), 3, "and those right behind");
        assert_eq!(skips.pass(u16::MAX, 2, 2), u16::MAX, "none left: the ring's own count bounds it");
        skips.mark(7, 1);
        assert_eq!(skips.pass(u16::MAX, 5, 4), 4, "never more than are held");
        skips.mark(20, 2);
        skips.follow(1);
        assert_eq!(skips.pass(1, 20, 4), 1, "another link has none");
    }
}
