//! The slave's end of a ring: [`HeadSender`] sends on S2M, [`HeadReceiver`] posts buffers and receives on M2S.
//!
//! The slave owns `head` and the memory. It never trusts what a descriptor says about a place: the place of a slot's
//! buffer comes from its own [`Buffers`], and the master's writes to region and offset are found out.

use crate::burst::{Outlet, PacketSink, PacketSource, Tally, gather, place, take};
use crate::cursor::{distance, slot, within};
use crate::fault::{DropReason, PeerFault};
use crate::layout::Desc;
use crate::region::RegionMap;
use crate::shm::{RingMemory, Span};

/// Where a slave's ring has its buffers: slot `i` at `first + i * stride` of one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Index of the region.
    pub region: u16,
    /// Offset of slot 0's buffer, in bytes from the region's start.
    pub first: u32,
    /// Bytes from one buffer to the next.
    pub stride: u32,
    /// Bytes that a buffer holds; at most `stride`.
    pub capacity: u32,
}

impl Buffers {
    /// The empty buffer of a slot, as it is posted. Sums wrap rather than panic; the region map refuses the result.
    #[inline(always)]
    fn posted(&self, index: u16, mask: u16) -> Desc {
        #[expect(clippy::cast_possible_truncation, reason = "a slot is below 2^14")]
        let slot = slot(index, mask) as u32;
        let offset = self.first.wrapping_add(slot.wrapping_mul(self.stride));
        Desc { flags: 0, region: self.region, length: self.capacity, offset, metadata: 0 }
    }
}

/// Sends on S2M: fills `desc[head]`, then moves `head`.
#[derive(Debug)]
pub struct HeadSender<R> {
    ring: R,
    buffers: Buffers,
    /// Our index: slots up to it are the master's.
    head: u16,
    /// The master's index as last seen; `tail..head` waits for it.
    tail: u16,
    /// The last burst did not fit: a chain may need more slots than there are packets, so look before the next.
    short: bool,
}

struct Own<'a, R> {
    ring: &'a R,
    buffers: &'a Buffers,
    regions: &'a RegionMap,
}

impl<R: RingMemory> Outlet for Own<'_, R> {
    #[inline(always)]
    fn buffer(&self, index: u16) -> Result<Span<'_>, DropReason> {
        let desc = self.buffers.posted(index, self.ring.mask());
        self.regions.span(desc.region, desc.offset, desc.length)
    }

    #[inline(always)]
    fn complete(&self, index: u16, flags: u16, length: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a packet is below 2^16")]
        let length = length as u32;
        let desc = self.buffers.posted(index, self.ring.mask());
        self.ring.set_desc(index, Desc { flags, length, ..desc });
    }
}

impl<R: RingMemory> HeadSender<R> {
    /// The sending end of a fresh ring.
    #[must_use]
    pub const fn new(ring: R, buffers: Buffers) -> Self {
        Self { ring, buffers, head: 0, tail: 0, short: false }
    }

    /// The ring itself.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.ring
    }

    /// Copies packets into the ring and publishes them, as many as fit; returns how many of `packets` are done with,
    /// sent or dropped (see `tally`).
    ///
    /// # Errors
    /// The master moved `tail` past `head` or back: the link must go.
    #[inline(always)]
    pub fn send<P: PacketSource + ?Sized>(
        &mut self,
        regions: &RegionMap,
        packets: &P,
        tally: &mut Tally,
    ) -> Result<usize, PeerFault> {
        let wanted = if self.short { usize::MAX } else { packets.count() };
        let until = self.head.wrapping_add(self.free(wanted)?);
        let outlet = Own { ring: &self.ring, buffers: &self.buffers, regions };
        let (head, done) = place(&outlet, self.head, until, self.ring.size(), packets, tally);
        self.publish(head);
        self.short = done < packets.count();
        Ok(done)
    }

    /// Slots that may be filled; asks the master's index only when those known of are fewer than `wanted`.
    ///
    /// # Errors
    /// As [`HeadSender::send`].
    #[inline(always)]
    pub fn free(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        let size = self.ring.size();
        if usize::from(size - distance(self.head, self.tail)) < wanted {
            let tail = self.ring.tail();
            if !within(tail, self.tail, self.head) {
                return Err(PeerFault::TailTooFar { tail, head: self.head, size: u32::from(size) });
            }
            self.tail = tail;
        }
        Ok(size - distance(self.head, self.tail))
    }

    /// The place of the `ahead`-th free slot's buffer, to be filled there. `ahead` is below [`HeadSender::free`].
    ///
    /// # Errors
    /// The slot's buffer lies outside its region.
    pub fn buffer(&self, regions: &RegionMap, ahead: u16) -> Result<Desc, DropReason> {
        let desc = self.buffers.posted(self.head.wrapping_add(ahead), self.ring.mask());
        regions.span(desc.region, desc.offset, desc.length).map(|_| desc)
    }

    /// Writes down the `ahead`-th free slot as filled with `length` bytes; published by [`HeadSender::commit`].
    pub fn complete(&mut self, ahead: u16, flags: u16, length: u32) {
        let desc = self.buffers.posted(self.head.wrapping_add(ahead), self.ring.mask());
        let length = length.min(desc.length);
        self.ring.set_desc(self.head.wrapping_add(ahead), Desc { flags, length, ..desc });
    }

    /// Publishes the first `slots` free slots. Never more than are free.
    pub fn commit(&mut self, slots: u16) {
        let free = self.ring.size() - distance(self.head, self.tail);
        self.publish(self.head.wrapping_add(slots.min(free)));
    }

    #[inline(always)]
    fn publish(&mut self, head: u16) {
        if head != self.head {
            self.head = head;
            self.ring.publish_head(head);
        }
    }
}

/// Posts empty buffers on M2S by moving `head`, and receives up to `tail`.
#[derive(Debug)]
pub struct HeadReceiver<R> {
    ring: R,
    buffers: Buffers,
    /// Our index: slots up to it are posted.
    head: u16,
    /// Received up to here; `next..head` is the master's or waits for us, the rest of the ring waits to be posted.
    next: u16,
    /// The master's index as last seen, within `next..=head`.
    tail: u16,
}

impl<R: RingMemory> HeadReceiver<R> {
    /// The receiving end of a fresh ring. Nothing is posted until [`HeadReceiver::post`], which must wait for CONNECTED.
    #[must_use]
    pub const fn new(ring: R, buffers: Buffers) -> Self {
        Self { ring, buffers, head: 0, next: 0, tail: 0 }
    }

    /// The ring itself.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.ring
    }

    /// Copies packets into `sink`, as many as it takes, and posts their buffers again in lots of a quarter ring, or all
    /// of them once there is nothing to receive. Returns how many descriptors were consumed.
    ///
    /// # Errors
    /// The master moved `tail` past `head` or back: the link must go.
    #[inline(always)]
    pub fn receive<S: PacketSink>(
        &mut self,
        regions: &RegionMap,
        sink: &mut S,
        tally: &mut Tally,
    ) -> Result<usize, PeerFault> {
        let wanted = sink.room();
        let until = self.next.wrapping_add(self.ready(wanted)?);
        let (buffers, mask) = (self.buffers, self.ring.mask());
        let resolve = |index, desc: &Desc| resolve_posted(&buffers, mask, regions, index, desc);
        let next = take(&self.ring, self.next, until, resolve, sink, tally);
        let consumed = distance(next, self.next);
        self.next = next;
        self.repost(consumed == 0);
        Ok(usize::from(consumed))
    }

    /// Descriptors that may be received; asks the master's index only when those known of are fewer than `wanted`.
    ///
    /// # Errors
    /// As [`HeadReceiver::receive`].
    #[inline(always)]
    pub fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        if usize::from(distance(self.tail, self.next)) < wanted {
            let tail = self.ring.tail();
            if !within(tail, self.tail, self.head) {
                let size = u32::from(self.ring.size());
                return Err(PeerFault::TailTooFar { tail, head: self.head, size });
            }
            self.tail = tail;
        }
        Ok(distance(self.tail, self.next))
    }

    /// The descriptors of the whole packet `ahead` descriptors from the next one, each checked and handed to `visit`;
    /// returns how many there are, or why the packet must be dropped, and how many to release for it.
    ///
    /// `ahead` is below what [`HeadReceiver::ready`] returned.
    #[inline]
    pub fn peek(
        &self,
        regions: &RegionMap,
        ahead: u16,
        mut visit: impl FnMut(Desc),
    ) -> (u16, Result<(), DropReason>) {
        let from = self.next.wrapping_add(ahead);
        let (end, verdict) = gather(&self.ring, from, self.tail, self.ring.desc(from), |index, desc| {
            resolve_posted(&self.buffers, self.ring.mask(), regions, index, desc).map(|_| visit(*desc))
        });
        (distance(end, from), verdict)
    }

    /// Gives back the buffers of the next `slots` descriptors. Never more than are ready.
    pub fn release(&mut self, slots: u16) {
        let ready = distance(self.tail, self.next);
        self.next = self.next.wrapping_add(slots.min(ready));
        self.repost(false);
    }

    /// Posts in lots: each post takes the head's cache line from the master, so not one a burst. An idle poll posts all,
    /// as the master may be waiting for the last slot of the ring.
    #[inline(always)]
    fn repost(&mut self, idle: bool) {
        let missing = self.ring.size() - distance(self.head, self.next);
        if missing > self.ring.size() / 4 || (idle && missing > 0) {
            self.post();
        }
    }

    /// Posts every buffer that is not posted.
    pub fn post(&mut self) {
        let until = self.next.wrapping_add(self.ring.size());
        while self.head != until {
            self.ring.set_desc(self.head, self.buffers.posted(self.head, self.ring.mask()));
            self.head = self.head.wrapping_add(1);
        }
        self.ring.publish_head(self.head);
    }
}

/// The bytes of a received packet in the buffer that we posted at `index`: of the master's snapshot only the length is
/// used, and a changed place is found out.
#[inline(always)]
fn resolve_posted<'m>(
    buffers: &Buffers,
    mask: u16,
    regions: &'m RegionMap,
    index: u16,
    desc: &Desc,
) -> Result<Span<'m>, DropReason> {
    let posted = buffers.posted(index, mask);
    if desc.region != posted.region || desc.offset != posted.offset {
        return Err(DropReason::BufferChanged);
    }
    if desc.length > posted.length {
        return Err(DropReason::OutOfRegion);
    }
    regions.span(posted.region, posted.offset, desc.length)
}
