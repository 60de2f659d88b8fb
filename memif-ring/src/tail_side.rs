//! The master's end of a ring: [`TailReceiver`] receives on S2M, [`TailSender`] sends on M2S.
//!
//! The master owns `tail` and no memory. Every buffer is named by a descriptor that the slave wrote, and each
//! descriptor is checked against the link's regions.

use crate::burst::{PacketSink, PacketSource, Tally, receive_burst, walk_chain};
use crate::cursor::distance;
use crate::end::{Receiver, Sender};
use crate::fault::{DropReason, PeerFault};
use crate::layout::{DESCS_A_LINE, Desc, DescFlags};
use crate::region::{Buffer, RegionMap};
use crate::send::{At, NoBytes, Room, SendSlots, fill_run, fill_steps, return_empty, send_burst};
use crate::shm::{RingMemory, SpanMut};
use crate::tuning::look_from;

/// What both directions share: the master's index, and the check of the slave's.
#[derive(Debug)]
struct Tail<R> {
    ring: R,
    /// Our index as published.
    tail: u16,
    /// The next descriptor: `tail..next` is consumed and not yet published.
    next: u16,
    /// The slave's index as last loaded, at most a ring ahead of `tail`.
    head: u16,
    /// The last burst sent did not fit whole: packets of several buffers need more slots than there are packets, so the
    /// next burst loads the slave's index in any case.
    short: bool,
}

impl<R: RingMemory> Tail<R> {
    /// Starts at 0, and publishes it: an earlier user may have left another value.
    fn new(ring: R) -> Self {
        ring.publish_tail(0);
        Self { ring, tail: 0, next: 0, head: 0, short: false }
    }

    /// Number of descriptors up to the slave's index, which is loaded only if fewer than `wanted` are known.
    #[inline(always)]
    fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        if usize::from(distance(self.head, self.next)) < wanted {
            let head = self.ring.head();
            if !self.reaches(head, self.tail) {
                let size = u32::from(self.ring.size());
                return Err(PeerFault::HeadTooFar { head, tail: self.tail, size });
            }
            self.head = head;
        }
        Ok(self.known())
    }

    /// Whether the slave's index may have come to `head`: not behind where it was last seen, and at most a ring ahead of
    /// `from`, the first slot that it must not have written to.
    #[inline(always)]
    fn reaches(&self, head: u16, from: u16) -> bool {
        let ahead = distance(head, from);
        ahead <= self.ring.size() && ahead >= distance(self.head, from)
    }

    /// Number of descriptors known to be ready.
    #[inline(always)]
    fn known(&self) -> u16 {
        distance(self.head, self.next)
    }

    /// Number of descriptors that were consumed and are not yet published.
    #[inline(always)]
    fn held(&self) -> u16 {
        distance(self.next, self.tail)
    }

    /// The descriptor `ahead` descriptors from the next one, checked; `None` unless it is known to be ready.
    #[inline(always)]
    fn buffer<'s>(&'s self, regions: &'s RegionMap, ahead: u16) -> Option<Result<Buffer<'s>, DropReason>> {
        if ahead >= self.known() {
            return None;
        }
        let desc = self.ring.desc(self.next.wrapping_add(ahead));
        Some(regions.lookup(desc.region, desc.offset, desc.length).map(|span| Buffer { desc, span }))
    }

    #[inline(always)]
    fn publish(&mut self) {
        if self.tail != self.next {
            self.tail = self.next;
            self.ring.publish_tail(self.next);
        }
    }
}

/// What [`TailReceiver::resynchronise`] gave up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrun {
    /// Descriptors that were passed over. How many packets they were is not known.
    pub lost: u16,
    /// Oldest held slots that are not held any more, with explicit return.
    pub withdrawn: u16,
}

/// Receives on S2M: reads up to `head`, then moves `tail`.
#[derive(Debug)]
pub struct TailReceiver<R> {
    side: Tail<R>,
    /// The caller gives slots back, nobody else.
    explicit: bool,
    /// Descriptors from the next one on among which [`Receiver::peek`] has seen NEXT.
    chained: u16,
}

impl<R: RingMemory> TailReceiver<R> {
    /// The receiving end of a ring that was just attached. Sets `tail` to 0.
    #[must_use]
    pub fn new(ring: R) -> Self {
        Self { side: Tail::new(ring), explicit: false, chained: 0 }
    }

    /// Gives no slot back without a call of [`Receiver::post`]. Received buffers can be used in place until then.
    #[must_use]
    pub fn with_explicit_return(self) -> Self {
        Self { explicit: true, ..self }
    }

    /// The ring.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.side.ring
    }

    /// Goes on after [`PeerFault::HeadTooFar`]: honest slaves overrun the ring, too (docs/protocol.md, section 4.4).
    ///
    /// Such a slave has written to slots that it does not own, and may be about to write to more of them: it stops when it
    /// sees a tail at most a ring behind its head. So where slots are affected that were not consumed, all of them are
    /// passed over, NEXT is cleared in the newest half of the ring, which the slave writes to last, and the next
    /// descriptor is the one at the slave's index. Where the slave has come no further than slots that were consumed,
    /// nothing is lost. Held slots that it has written to are not held any more; other receivers than those with explicit
    /// return give back all.
    #[cold]
    pub fn resynchronise(&mut self) -> Overrun {
        let side = &mut self.side;
        let (head, size, held) = (side.ring.head(), side.ring.size(), side.held());
        let ahead = distance(head, side.next);
        let whole = side.reaches(head, side.next);
        let kept = if whole && self.explicit { held.min(size - ahead) } else { 0 };
        if !whole {
            side.next = head;
            self.chained = 0;
            // the burst that the slave is writing has begun where the oldest ones are
            clear_next(&side.ring, head.wrapping_sub(size / 2), head);
        }
        side.head = head;
        side.tail = side.next.wrapping_sub(kept);
        side.ring.publish_tail(side.tail);
        Overrun {
            lost: if whole { 0 } else { ahead },
            withdrawn: if self.explicit { held - kept } else { 0 },
        }
    }

    /// Publishes in batches: each store takes the cache line of `tail` from the slave. An idle poll gives everything
    /// back, as the slave may wait for the last slot of the ring.
    #[inline(always)]
    fn return_batch(&mut self, idle: bool) {
        let side = &mut self.side;
        if !self.explicit && (idle || side.held() > side.ring.size() / 4) {
            side.publish();
        }
    }
}

impl<R: RingMemory> Receiver for TailReceiver<R> {
    #[inline(always)]
    fn receive_known<S: PacketSink>(
        &mut self,
        regions: &RegionMap,
        sink: &mut S,
        tally: &mut Tally,
    ) -> usize {
        let side = &mut self.side;
        let until = side.head;
        let resolve =
            |_, desc: &Desc| regions.lookup(desc.region, desc.offset, desc.length).map(SpanMut::into_span);
        let next = receive_burst(&side.ring, side.next, until, resolve, clear_next, sink, tally);
        let consumed = distance(next, side.next);
        side.next = next;
        self.return_batch(consumed == 0);
        usize::from(consumed)
    }

    #[inline(always)]
    fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        self.side.ready(wanted)
    }

    #[inline(always)]
    fn fetch(&self, count: usize) {
        let side = &self.side;
        for ahead in (0..side.known()).step_by(DESCS_A_LINE).take(count.div_ceil(DESCS_A_LINE)) {
            side.ring.prefetch_to_read(side.next.wrapping_add(ahead));
        }
    }

    #[inline(always)]
    fn piece<'s>(&'s mut self, regions: &'s RegionMap, ahead: u16) -> Option<Result<Buffer<'s>, DropReason>> {
        self.side.buffer(regions, ahead)
    }

    #[inline]
    fn peek(
        &mut self,
        regions: &RegionMap,
        ahead: u16,
        mut visit: impl FnMut(Buffer<'_>),
    ) -> (u16, Result<(), DropReason>) {
        let side = &self.side;
        if ahead >= side.known() {
            return (0, Ok(()));
        }
        let from = side.next.wrapping_add(ahead);
        let first = side.ring.desc(from);
        let (end, verdict) = walk_chain(&side.ring, from, side.head, first, |_, desc| {
            let span = regions.lookup(desc.region, desc.offset, desc.length)?;
            visit(Buffer { desc: *desc, span });
            Ok(())
        });
        if first.has_next() {
            self.chained = self.chained.max(distance(end, side.next));
        }
        (distance(end, from), verdict)
    }

    fn release(&mut self, slots: u16) {
        let side = &mut self.side;
        let slots = slots.min(side.known());
        clear_next(&side.ring, side.next, side.next.wrapping_add(slots.min(self.chained)));
        self.chained = self.chained.saturating_sub(slots);
        side.next = side.next.wrapping_add(slots);
        self.return_batch(false);
    }

    #[inline(always)]
    fn flush(&mut self) {
        self.return_batch(true);
    }

    fn held(&self) -> u16 {
        self.side.held()
    }

    #[inline(always)]
    fn position(&self) -> u16 {
        self.side.next
    }

    #[inline(always)]
    fn oldest(&self) -> u16 {
        self.side.tail
    }

    fn post(&mut self, slots: u16, _headroom: u16) -> u16 {
        let slots = slots.min(self.held());
        if slots > 0 {
            self.side.tail = self.side.tail.wrapping_add(slots);
            self.side.ring.publish_tail(self.side.tail);
        }
        slots
    }
}

/// Clears NEXT in the descriptors `from..until`, which were consumed and are not yet returned. Slaves in the field set it
/// and never clear it: the next packet in such a slot would seem to go on (docs/protocol.md, section 4.6).
#[inline(always)]
fn clear_next<R: RingMemory>(ring: &R, from: u16, until: u16) {
    let mut index = from;
    while index != until {
        let desc = ring.desc(index);
        if desc.has_next() {
            ring.set_flags(index, desc.flags - DescFlags::NEXT);
        }
        index = index.wrapping_add(1);
    }
}

/// Sends on M2S: fills the buffers that the slave posted up to `head`, then moves `tail`.
#[derive(Debug)]
pub struct TailSender<R> {
    side: Tail<R>,
    /// Looks ahead in bursts whose first packet has at least so many bytes.
    look_from: usize,
}

struct PostedSlots<'a, R> {
    ring: &'a R,
    regions: &'a RegionMap,
    look_from: usize,
}

impl<'a, R: RingMemory> PostedSlots<'a, R> {
    /// A slot's buffer is where the slave posted it.
    #[inline(always)]
    fn buffer(&self, index: u16) -> Result<SpanMut<'a>, DropReason> {
        let desc = self.ring.desc(index);
        self.regions.lookup(desc.region, desc.offset, desc.length)
    }
}

impl<'a, R: RingMemory> SendSlots<'a> for PostedSlots<'a, R> {
    type Place = ();

    #[inline(always)]
    fn fill<'p>(
        &mut self,
        from: At<()>,
        until: u16,
        packets: &mut (impl Iterator<Item = &'p [u8]> + Clone),
    ) -> (At<()>, Option<&'p [u8]>) {
        let is_long = packets.clone().next().is_some_and(|packet| packet.len() >= self.look_from);
        let (index, other) = if is_long {
            fill_steps(from.index, until, packets, |index| self.buffer(index))
        } else {
            fill_run(from.index, until, packets, |index| self.buffer(index), |_, _| ())
        };
        (At { index, place: () }, other)
    }

    #[inline(always)]
    fn describe(&mut self, index: u16, length: usize) {
        self.complete(&mut (), index, DescFlags::empty(), length);
    }

    #[inline(always)]
    fn bytes(&self, (): &mut (), index: u16, _len: usize) -> Result<SpanMut<'a>, NoBytes> {
        Ok(self.buffer(index)?)
    }

    fn give_up(&mut self, place: &mut (), from: u16, until: u16) -> u16 {
        return_empty(self, place, from, until)
    }

    #[inline(always)]
    fn complete(&mut self, (): &mut (), index: u16, flags: DescFlags, length: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a packet is below 2^16")]
        self.ring.complete_desc(index, flags, length as u32);
    }
}

impl<R: RingMemory> TailSender<R> {
    /// The sending end of a ring that was just attached. Sets `tail` to 0.
    #[must_use]
    pub fn new(ring: R) -> Self {
        Self { side: Tail::new(ring), look_from: look_from() }
    }

    /// Looks ahead in bursts whose first packet has at least `from` bytes, whatever [`look_from`] says. Tests use it to run
    /// both ways on one processor.
    #[must_use]
    pub fn with_look_ahead(self, from: usize) -> Self {
        Self { look_from: from, ..self }
    }

    /// The ring.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.side.ring
    }
}

impl<R: RingMemory> Sender for TailSender<R> {
    const MOVABLE: bool = false;

    #[inline(always)]
    fn send<P: PacketSource + ?Sized>(
        &mut self,
        regions: &RegionMap,
        packets: &P,
        tally: &mut Tally,
    ) -> Result<usize, PeerFault> {
        let side = &mut self.side;
        let wanted = if side.short { usize::MAX } else { packets.count() };
        let until = side.next.wrapping_add(side.ready(wanted)?);
        let mut slots = PostedSlots { ring: &side.ring, regions, look_from: self.look_from };
        let mut at = At { index: side.next, place: () };
        let room = Room { until, size: side.ring.size() };
        let done = send_burst(&mut slots, &mut at, room, packets.packets(), tally);
        side.next = at.index;
        side.publish();
        side.short = done < packets.count();
        Ok(done)
    }

    #[inline(always)]
    fn free(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        self.side.ready(wanted)
    }

    #[inline(always)]
    fn reservable(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        self.free(wanted)
    }

    /// The slave has chosen the buffer, whatever its length.
    #[inline(always)]
    fn reserve<'s>(
        &'s mut self,
        regions: &'s RegionMap,
        ahead: u16,
        _len: usize,
    ) -> Option<Result<Buffer<'s>, DropReason>> {
        self.buffer(regions, ahead)
    }

    #[inline(always)]
    fn buffer<'s>(
        &'s mut self,
        regions: &'s RegionMap,
        ahead: u16,
    ) -> Option<Result<Buffer<'s>, DropReason>> {
        self.side.buffer(regions, ahead)
    }

    fn complete(&mut self, ahead: u16, flags: DescFlags, _start: u32, length: u32) {
        self.side.ring.complete_desc(self.side.next.wrapping_add(ahead), flags, length);
    }

    #[inline(always)]
    fn position(&self) -> u16 {
        self.side.next
    }

    fn commit(&mut self, slots: u16) {
        self.side.next = self.side.next.wrapping_add(slots.min(self.side.known()));
        self.side.publish();
    }
}
