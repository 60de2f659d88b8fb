//! The loops over slots that stay in somebody's hands, written once for both roles and compiled for each.

use memif_ring::burst::Tally;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::layout::{DESC_FLAG_NEXT, Desc, MAX_PACKET_SIZE};
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, Span};
use memif_ring::tail_side::{TailReceiver, TailSender};

use super::rx::acceptable;
use super::slots::{Filled, SlotBuffer, Taken};
use crate::packet_memory::Places;

/// Slots of broken packets: consumed, but never shown to the caller, who therefore cannot count them when it gives slots
/// back. Only a broken peer makes any.
#[derive(Debug, Default)]
pub(super) struct Skips {
    /// The link whose slots these are.
    epoch: u64,
    /// In the order of their indices.
    indices: std::collections::VecDeque<u16>,
    /// Slots that the caller is done with and that wait to be posted, and the headroom that they shall have.
    pub(super) owed: u16,
    pub(super) headroom: u16,
}

impl Skips {
    /// Forgets the slots of another link.
    #[inline(always)]
    pub(super) fn follow(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.indices.clear();
            self.owed = 0;
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

/// What a loop over received slots asks of either role.
pub(super) trait Receiver {
    fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault>;
    fn position(&self) -> u16;
    fn piece<'m>(&self, regions: &'m RegionMap, ahead: u16) -> (bool, Result<Span<'m>, DropReason>);
    fn peek(&self, regions: &RegionMap, ahead: u16, visit: impl FnMut(Desc))
    -> (u16, Result<(), DropReason>);
    fn release(&mut self, slots: u16);
}

/// What a loop over free slots asks of either role.
pub(super) trait Sender {
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
pub(super) fn take(
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
    let (mut ahead, mut taken, mut bytes, mut packets) = (0, 0, 0, 0);
    loop {
        // as far as packets of one buffer could go on
        let run = usize::from(ready - ahead).min(max - taken).min(packets_left);
        let from = ahead;
        let span_at = |ahead| match side.piece(regions, ahead) {
            (false, Ok(span)) if matches!(span.len(), 1..=MAX_PACKET_SIZE) => Some(span),
            _ => None,
        };
        while usize::from(ahead - from) < run
            && let Some(span) = span_at(ahead)
        {
            let number = taken + usize::from(ahead - from);
            span.prefetch_to_read();
            visit(number, SlotBuffer { index: first.wrapping_add(ahead), span, next: false });
            bytes += span.len() as u64;
            ahead += 1;
        }
        let moved = usize::from(ahead - from);
        packets += moved as u64;
        (taken, packets_left) = (taken + moved, packets_left - moved);
        if moved == run {
            break;
        }
        let odd = take_odd(side, regions, ahead, (taken, max), tally, skips, &mut visit);
        let Some((slots, buffers)) = odd else { break };
        packets_left -= usize::from(buffers > 0);
        ahead += slots;
        taken += buffers;
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
pub(super) fn claim(
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
                span.prefetch_to_write();
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
pub(super) fn publish(
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
