//! The master's end of a ring: [`TailReceiver`] receives on S2M, [`TailSender`] sends on M2S.
//!
//! The master owns `tail` and no memory: every place comes from a descriptor that the slave wrote, so every one is
//! checked against the link's regions.

use crate::burst::{Outlet, PacketSink, PacketSource, Tally, gather, place, take};
use crate::cursor::distance;
use crate::fault::{DropReason, PeerFault};
use crate::layout::Desc;
use crate::region::RegionMap;
use crate::shm::{RingMemory, Span};

/// The master's two indices and the check of the slave's: the same in both directions.
#[derive(Debug)]
struct Tail<R> {
    ring: R,
    /// Our index as published.
    tail: u16,
    /// Our index as far as we got; `tail..next` is consumed and not yet published.
    next: u16,
    /// The slave's index as last seen; at most a ring ahead of `tail`.
    head: u16,
    /// The last burst sent did not fit: a chain may need more slots than there are packets, so look before the next.
    short: bool,
}

impl<R: RingMemory> Tail<R> {
    /// Starts at 0 and says so, whatever an earlier user left in the ring.
    fn new(ring: R) -> Self {
        ring.publish_tail(0);
        Self { ring, tail: 0, next: 0, head: 0, short: false }
    }

    /// Descriptors up to the slave's index, which is asked only when those known of are fewer than `wanted`.
    #[inline(always)]
    fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        if usize::from(distance(self.head, self.next)) < wanted {
            let head = self.ring.head();
            let (size, ahead) = (self.ring.size(), distance(head, self.tail));
            if ahead > size || ahead < distance(self.head, self.tail) {
                return Err(PeerFault::HeadTooFar { head, tail: self.tail, size: u32::from(size) });
            }
            self.head = head;
        }
        Ok(distance(self.head, self.next))
    }

    #[inline(always)]
    fn publish(&mut self) {
        if self.tail != self.next {
            self.tail = self.next;
            self.ring.publish_tail(self.next);
        }
    }
}

/// Receives on S2M: reads up to `head`, then moves `tail`.
#[derive(Debug)]
pub struct TailReceiver<R> {
    side: Tail<R>,
    /// Slots go back when we are told to, and not by themselves.
    explicit: bool,
}

impl<R: RingMemory> TailReceiver<R> {
    /// The receiving end of a ring that was just attached. Sets `tail` to 0.
    #[must_use]
    pub fn new(ring: R) -> Self {
        Self { side: Tail::new(ring), explicit: false }
    }

    /// Leaves all giving back to [`TailReceiver::give_back`]: what was received stays ours, to be used in place, until
    /// then.
    #[must_use]
    pub fn with_explicit_return(self) -> Self {
        Self { explicit: true, ..self }
    }

    /// The ring itself.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.side.ring
    }

    /// Copies packets into `sink`, as many as it takes, and gives their slots back in lots of a quarter ring, or all of
    /// them once there is nothing to receive. Returns how many descriptors were consumed.
    ///
    /// # Errors
    /// The slave moved `head` further than the ring is large, or back: the link must go.
    #[inline(always)]
    pub fn receive<S: PacketSink>(
        &mut self,
        regions: &RegionMap,
        sink: &mut S,
        tally: &mut Tally,
    ) -> Result<usize, PeerFault> {
        let side = &mut self.side;
        let until = side.next.wrapping_add(side.ready(sink.room())?);
        let resolve = |_, desc: &Desc| regions.span(desc.region, desc.offset, desc.length);
        let next = take(&side.ring, side.next, until, resolve, sink, tally);
        let consumed = distance(next, side.next);
        side.next = next;
        self.return_lot(consumed == 0);
        Ok(usize::from(consumed))
    }

    /// Descriptors that may be received; asks the slave's index only when those known of are fewer than `wanted`.
    ///
    /// # Errors
    /// As [`TailReceiver::receive`].
    #[inline(always)]
    pub fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        self.side.ready(wanted)
    }

    /// As [`crate::head_side::HeadReceiver::piece`].
    #[inline(always)]
    pub fn piece<'m>(&self, regions: &'m RegionMap, ahead: u16) -> (bool, Result<Span<'m>, DropReason>) {
        let desc = self.side.ring.desc(self.side.next.wrapping_add(ahead));
        (desc.has_next(), regions.span(desc.region, desc.offset, desc.length))
    }

    /// As [`crate::head_side::HeadReceiver::peek`].
    #[inline]
    pub fn peek(
        &self,
        regions: &RegionMap,
        ahead: u16,
        mut visit: impl FnMut(Desc),
    ) -> (u16, Result<(), DropReason>) {
        let side = &self.side;
        let from = side.next.wrapping_add(ahead);
        let (end, verdict) = gather(&side.ring, from, side.head, side.ring.desc(from), |_, desc| {
            regions.span(desc.region, desc.offset, desc.length).map(|_| visit(*desc))
        });
        (distance(end, from), verdict)
    }

    /// Gives the slots of the next `slots` descriptors back to the slave. Never more than are ready.
    pub fn release(&mut self, slots: u16) {
        let ready = distance(self.side.head, self.side.next);
        self.side.next = self.side.next.wrapping_add(slots.min(ready));
        self.return_lot(false);
    }

    /// Gives back what waits for it, unless that is left to the caller: the slave may be waiting for it.
    #[inline(always)]
    pub fn flush(&mut self) {
        self.return_lot(true);
    }

    /// Slots that were received and not given back.
    #[must_use]
    pub fn held(&self) -> u16 {
        distance(self.side.next, self.side.tail)
    }

    /// Index of the next descriptor to receive.
    #[inline(always)]
    pub const fn position(&self) -> u16 {
        self.side.next
    }

    /// Index of the first descriptor that was received and not given back.
    #[inline(always)]
    pub const fn oldest(&self) -> u16 {
        self.side.tail
    }

    /// Gives the first `slots` slots that were received back to the slave, or all where there are fewer, and returns how
    /// many.
    pub fn give_back(&mut self, slots: u16) -> u16 {
        let slots = slots.min(self.held());
        if slots > 0 {
            self.side.tail = self.side.tail.wrapping_add(slots);
            self.side.ring.publish_tail(self.side.tail);
        }
        slots
    }

    /// Publishes in lots: each store takes the tail's cache line from the slave, so not one a burst. An idle poll gives
    /// all back, as the slave may be waiting for the last slot of the ring.
    #[inline(always)]
    fn return_lot(&mut self, idle: bool) {
        let side = &mut self.side;
        if !self.explicit && (idle || distance(side.next, side.tail) > side.ring.size() / 4) {
            side.publish();
        }
    }
}

/// Sends on M2S: fills the buffers that the slave posted up to `head`, then moves `tail`.
#[derive(Debug)]
pub struct TailSender<R>(Tail<R>);

struct Posted<'a, R> {
    ring: &'a R,
    regions: &'a RegionMap,
}

impl<R: RingMemory> Outlet for Posted<'_, R> {
    #[inline(always)]
    fn buffer(&self, index: u16) -> Result<Span<'_>, DropReason> {
        let desc = self.ring.desc(index);
        self.regions.span(desc.region, desc.offset, desc.length)
    }

    #[inline(always)]
    fn complete(&self, index: u16, flags: u16, length: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a packet is below 2^16")]
        self.ring.complete_desc(index, flags, length as u32);
    }
}

impl<R: RingMemory> TailSender<R> {
    /// The sending end of a ring that was just attached. Sets `tail` to 0.
    #[must_use]
    pub fn new(ring: R) -> Self {
        Self(Tail::new(ring))
    }

    /// The ring itself.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.0.ring
    }

    /// Copies packets into posted buffers and publishes them, as many as fit; returns how many of `packets` are done
    /// with, sent or dropped (see `tally`).
    ///
    /// # Errors
    /// The slave moved `head` further than the ring is large, or back: the link must go.
    #[inline(always)]
    pub fn send<P: PacketSource + ?Sized>(
        &mut self,
        regions: &RegionMap,
        packets: &P,
        tally: &mut Tally,
    ) -> Result<usize, PeerFault> {
        let side = &mut self.0;
        let wanted = if side.short { usize::MAX } else { packets.count() };
        let until = side.next.wrapping_add(side.ready(wanted)?);
        let outlet = Posted { ring: &side.ring, regions };
        let (next, done) = place(&outlet, side.next, until, side.ring.size(), packets, tally);
        side.next = next;
        side.publish();
        side.short = done < packets.count();
        Ok(done)
    }

    /// Buffers that may be filled; asks the slave's index only when those known of are fewer than `wanted`.
    ///
    /// # Errors
    /// As [`TailSender::send`].
    #[inline(always)]
    pub fn free(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        self.0.ready(wanted)
    }

    /// The snapshot of the `ahead`-th posted buffer, to be filled in place, checked. `ahead` is below
    /// [`TailSender::free`].
    ///
    /// # Errors
    /// What the slave posted lies outside its regions.
    pub fn buffer(&self, regions: &RegionMap, ahead: u16) -> Result<Desc, DropReason> {
        let desc = self.0.ring.desc(self.0.next.wrapping_add(ahead));
        regions.span(desc.region, desc.offset, desc.length).map(|_| desc)
    }

    /// Writes down the `ahead`-th posted buffer as filled with `length` bytes, at most what it holds; published by
    /// [`TailSender::commit`].
    pub fn complete(&mut self, ahead: u16, flags: u16, length: u32) {
        self.0.ring.complete_desc(self.0.next.wrapping_add(ahead), flags, length);
    }

    /// Index of the first posted buffer that is free.
    #[inline(always)]
    pub const fn position(&self) -> u16 {
        self.0.next
    }

    /// Publishes the first `slots` filled buffers. Never more than are posted.
    pub fn commit(&mut self, slots: u16) {
        let ready = distance(self.0.head, self.0.next);
        self.0.next = self.0.next.wrapping_add(slots.min(ready));
        self.0.publish();
    }
}
