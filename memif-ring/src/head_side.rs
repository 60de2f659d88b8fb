//! The slave's end of a ring: [`HeadSender`] sends on S2M, [`HeadReceiver`] posts buffers and receives on M2S.
//!
//! The slave owns `head` and the memory. It never trusts what a descriptor says about a place: the place of a slot's
//! buffer comes from its own [`Buffers`], and the master's writes to region and offset are found out.
//!
//! Slots that are the slave's are named by how far they lie ahead: the `ahead`-th free slot of a sender is that of
//! index `head + ahead`, and so is the `ahead`-th slot of a receiver that waits to be posted.

use crate::burst::{Outlet, PacketSink, PacketSource, Tally, gather, place, take};
use crate::cursor::{distance, within};
use crate::fault::{DropReason, PeerFault};
use crate::layout::Desc;
use crate::places::{Buffers, Place, PlaceTable, View};
use crate::region::RegionMap;
use crate::shm::{RingMemory, Span};

/// Sends on S2M: fills `desc[head]`, then moves `head`.
#[derive(Debug)]
pub struct HeadSender<R, T> {
    pub(crate) ring: R,
    pub(crate) buffers: Buffers<T>,
    /// Our index: slots up to it are the master's.
    pub(crate) head: u16,
    /// The master's index as last seen; `tail..head` waits for it.
    tail: u16,
    /// The last burst did not fit: a chain may need more slots than there are packets, so look before the next.
    pub(crate) short: bool,
}

struct Own<'a, R> {
    ring: &'a R,
    buffers: View<'a>,
    regions: &'a RegionMap,
}

impl<R: RingMemory> Outlet for Own<'_, R> {
    #[inline(always)]
    fn buffer(&self, index: u16) -> Result<Span<'_>, DropReason> {
        let desc = self.buffers.whole(index);
        self.regions.span(desc.region, desc.offset, desc.length)
    }

    #[inline(always)]
    fn complete(&self, index: u16, flags: u16, length: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a packet is below 2^16")]
        let length = length as u32;
        self.ring.set_desc(index, Desc { flags, length, ..self.buffers.whole(index) });
    }
}

impl<R: RingMemory, T: PlaceTable> HeadSender<R, T> {
    /// The sending end of a fresh ring.
    #[must_use]
    pub const fn new(ring: R, buffers: Buffers<T>) -> Self {
        Self { ring, buffers, head: 0, tail: 0, short: false }
    }

    /// The ring itself.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.ring
    }

    /// The buffers of the ring's slots.
    #[inline(always)]
    pub const fn buffers(&self) -> &Buffers<T> {
        &self.buffers
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
        let until = self.head.wrapping_add(self.room(packets.count())?);
        let outlet = Own { ring: &self.ring, buffers: self.buffers.view(self.ring.mask()), regions };
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
        Ok(self.known_free())
    }

    /// [`HeadSender::free`] for so many packets. Where the last ones did not fit whole the number of packets says little
    /// about the slots that they need, and the master's index is asked in any case.
    ///
    /// # Errors
    /// As [`HeadSender::send`].
    #[inline(always)]
    pub fn room(&mut self, packets: usize) -> Result<u16, PeerFault> {
        self.free(if self.short { usize::MAX } else { packets })
    }

    /// Slots known to be free.
    #[inline(always)]
    pub(crate) fn known_free(&self) -> u16 {
        self.ring.size() - distance(self.head, self.tail)
    }

    /// The place of the `ahead`-th free slot's buffer, to be filled there. `ahead` is below [`HeadSender::free`].
    ///
    /// # Errors
    /// The slot's buffer lies outside its region.
    pub fn buffer(&self, regions: &RegionMap, ahead: u16) -> Result<Desc, DropReason> {
        let desc = self.buffers.view(self.ring.mask()).whole(self.head.wrapping_add(ahead));
        regions.span(desc.region, desc.offset, desc.length).map(|_| desc)
    }

    /// Writes down the `ahead`-th free slot as filled with `length` bytes; published by [`HeadSender::commit`].
    pub fn complete(&mut self, ahead: u16, flags: u16, length: u32) {
        self.complete_at(ahead, flags, 0, length);
    }

    /// As [`HeadSender::complete`], for packet bytes that begin `start` bytes into the buffer. What would leave the
    /// buffer is cut off.
    pub fn complete_at(&mut self, ahead: u16, flags: u16, start: u32, length: u32) {
        let index = self.head.wrapping_add(ahead);
        let whole = self.buffers.view(self.ring.mask()).whole(index);
        let start = start.min(whole.length);
        let (length, offset) = (length.min(whole.length - start), whole.offset.wrapping_add(start));
        self.ring.set_desc(index, Desc { flags, length, offset, ..whole });
    }

    /// Exchanges the buffers of two free slots. False, and nothing is done, unless both are free.
    pub fn swap_buffers(&mut self, ahead: u16, other: u16) -> bool {
        ahead.max(other) < self.known_free()
            && self.buffers.swap(
                self.head.wrapping_add(ahead),
                self.head.wrapping_add(other),
                self.ring.mask(),
            )
    }

    /// The place of the `ahead`-th free slot's buffer, to be exchanged for another one's; `None` unless it is known to be
    /// free. Whoever writes to it sees to it that no buffer is in two slots.
    pub fn place_mut(&mut self, ahead: u16) -> Option<&mut Place> {
        let index = self.head.wrapping_add(ahead);
        if ahead < self.known_free() { self.buffers.place_mut(index, self.ring.mask()) } else { None }
    }

    /// Index of the first free slot.
    #[inline(always)]
    pub const fn position(&self) -> u16 {
        self.head
    }

    /// Publishes the first `slots` free slots. Never more than are free.
    pub fn commit(&mut self, slots: u16) {
        self.publish(self.head.wrapping_add(slots.min(self.known_free())));
    }

    #[inline(always)]
    pub(crate) fn publish(&mut self, head: u16) {
        if head != self.head {
            self.head = head;
            self.ring.publish_head(head);
        }
    }
}

/// Posts empty buffers on M2S by moving `head`, and receives up to `tail`.
#[derive(Debug)]
pub struct HeadReceiver<R, T> {
    pub(crate) ring: R,
    pub(crate) buffers: Buffers<T>,
    /// Our index: slots up to it are posted.
    pub(crate) head: u16,
    /// Received up to here; `next..head` is the master's or waits for us, the rest of the ring waits to be posted.
    pub(crate) next: u16,
    /// The master's index as last seen, within `next..=head`.
    pub(crate) tail: u16,
    /// Slots are posted when we are told to, and not by themselves.
    explicit: bool,
}

impl<R: RingMemory, T: PlaceTable> HeadReceiver<R, T> {
    /// The receiving end of a fresh ring. Nothing is posted until [`HeadReceiver::post`], which must wait for CONNECTED;
    /// from then on what was received is posted again by itself.
    #[must_use]
    pub const fn new(ring: R, buffers: Buffers<T>) -> Self {
        Self { ring, buffers, head: 0, next: 0, tail: 0, explicit: false }
    }

    /// Leaves all posting to [`HeadReceiver::post`] and [`HeadReceiver::post_some`]: what was received stays ours, to be
    /// used in place, until then.
    #[must_use]
    pub fn with_explicit_posting(self) -> Self {
        Self { explicit: true, ..self }
    }

    /// The buffers of the ring's slots.
    #[inline(always)]
    pub const fn buffers(&self) -> &Buffers<T> {
        &self.buffers
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
        let buffers = self.buffers.view(self.ring.mask());
        let resolve = |index, desc: &Desc| resolve_posted(buffers, regions, index, desc);
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

    /// The bytes of the descriptor `ahead` descriptors from the next one, checked, and whether its packet goes on behind it.
    /// `ahead` is below what [`HeadReceiver::ready`] returned.
    #[inline(always)]
    pub fn piece<'m>(&self, regions: &'m RegionMap, ahead: u16) -> (bool, Result<Span<'m>, DropReason>) {
        let index = self.next.wrapping_add(ahead);
        let desc = self.ring.desc(index);
        (desc.has_next(), resolve_posted(self.buffers.view(self.ring.mask()), regions, index, &desc))
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
        let buffers = self.buffers.view(self.ring.mask());
        let (end, verdict) = gather(&self.ring, from, self.tail, self.ring.desc(from), |index, desc| {
            resolve_posted(buffers, regions, index, desc).map(|_| visit(*desc))
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
    pub(crate) fn repost(&mut self, idle: bool) {
        let waiting = self.unposted();
        if !self.explicit && (waiting > self.ring.size() / 4 || (idle && waiting > 0)) {
            self.post();
        }
    }

    /// Posts what waits to be posted, unless that is left to the caller: the master may be waiting for it.
    #[inline(always)]
    pub fn flush(&mut self) {
        self.repost(true);
    }

    /// Slots that wait to be posted: received, or never used.
    #[inline(always)]
    pub fn unposted(&self) -> u16 {
        self.ring.size() - distance(self.head, self.next)
    }

    /// The place of the buffer of the `ahead`-th slot that waits to be posted, as [`HeadSender::place_mut`].
    pub fn place_mut(&mut self, ahead: u16) -> Option<&mut Place> {
        let index = self.head.wrapping_add(ahead);
        if ahead < self.unposted() { self.buffers.place_mut(index, self.ring.mask()) } else { None }
    }

    /// Index of the next descriptor to receive.
    #[inline(always)]
    pub const fn position(&self) -> u16 {
        self.next
    }

    /// The index that the first slot waiting to be posted was received under, or would have been.
    #[inline(always)]
    pub fn oldest(&self) -> u16 {
        self.head.wrapping_sub(self.ring.size())
    }

    /// Posts every buffer that is not posted.
    pub fn post(&mut self) {
        self.post_some(u16::MAX, 0);
    }

    /// Posts the first `slots` slots that wait for it, or all where there are fewer, and returns how many. The master
    /// gets each buffer without its first `headroom` bytes, and may not write to those; at most a whole buffer.
    #[inline(never)]
    pub fn post_some(&mut self, slots: u16, headroom: u16) -> u16 {
        let slots = slots.min(self.unposted());
        let until = self.head.wrapping_add(slots);
        let mut index = self.head;
        while index != until {
            let desc = self.buffers.post(index, self.ring.mask(), headroom);
            self.ring.set_desc(index, desc);
            index = index.wrapping_add(1);
        }
        self.head = until;
        self.ring.publish_head(until);
        slots
    }

    /// Exchanges the buffers of two slots that wait to be posted. False, and nothing is done, unless both do.
    pub fn swap_buffers(&mut self, ahead: u16, other: u16) -> bool {
        ahead.max(other) < self.unposted()
            && self.buffers.swap(
                self.head.wrapping_add(ahead),
                self.head.wrapping_add(other),
                self.ring.mask(),
            )
    }
}

/// The bytes of a received packet in the buffer that we posted at `index`: of the master's snapshot only the length is
/// used, and a changed place is found out.
#[inline(always)]
pub(crate) fn resolve_posted<'m>(
    buffers: View<'_>,
    regions: &'m RegionMap,
    index: u16,
    desc: &Desc,
) -> Result<Span<'m>, DropReason> {
    let posted = buffers.posted(index);
    if desc.region != posted.region || desc.offset != posted.offset {
        return Err(DropReason::BufferChanged);
    }
    if desc.length > posted.length {
        return Err(DropReason::OutOfRegion);
    }
    regions.span(posted.region, posted.offset, desc.length)
}
