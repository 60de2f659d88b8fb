//! The slave's end of a ring: [`HeadSender`] sends on S2M, [`HeadReceiver`] posts buffers and receives on M2S.
//!
//! The slave owns `head` and the memory. It takes the address of a slot's buffer from its own [`Buffers`], never from a
//! descriptor, and detects a master that changes a descriptor's region or offset.
//!
//! `ahead` counts slots: from the first free slot of a sender, from the next descriptor of a receiver.

use crate::buffers::{BufferTable, Buffers, View};
use crate::burst::{PacketSink, Tally, receive_burst, walk_chain};
use crate::cursor::{distance, within};
use crate::end::Receiver;
use crate::fault::{DropReason, PeerFault};
use crate::layout::{DESCS_A_LINE, Desc};
use crate::region::{Buffer, RegionMap};
use crate::shm::{RingMemory, SpanMut};

pub use crate::head_sender::HeadSender;

/// Posts empty buffers on M2S by moving `head`; receives up to `tail`.
#[derive(Debug)]
pub struct HeadReceiver<R, T> {
    pub(crate) ring: R,
    pub(crate) buffers: Buffers<T>,
    /// Our index: slots before it are posted.
    pub(crate) head: u16,
    /// The next descriptor to receive. `next..head` is posted; the other slots of the ring are held.
    pub(crate) next: u16,
    /// The master's index as last loaded, within `next..=head`.
    pub(crate) tail: u16,
    /// The caller posts, nobody else.
    explicit: bool,
}

impl<R: RingMemory, T: BufferTable> HeadReceiver<R, T> {
    /// The receiving end of a ring that was just created. Call [`Receiver::flush`] after CONNECTED: it posts the first
    /// buffers. Buffers that were received are then posted again without a call.
    #[must_use]
    pub fn new(ring: R, mut buffers: Buffers<T>) -> Self {
        buffers.fix();
        Self { ring, buffers, head: 0, next: 0, tail: 0, explicit: false }
    }

    /// Posts nothing without a call of [`Receiver::post`]. Received buffers can be used in place until then.
    #[must_use]
    pub fn with_explicit_posting(self) -> Self {
        Self { explicit: true, ..self }
    }

    /// The buffers of the ring's slots.
    #[inline(always)]
    pub const fn buffers(&self) -> &Buffers<T> {
        &self.buffers
    }

    /// The ring.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.ring
    }

    /// Posts in batches: each post takes the cache line of `head` from the master. An idle poll posts everything, as
    /// the master may wait for the last slot of the ring.
    #[inline(always)]
    pub(crate) fn repost(&mut self, idle: bool) {
        let waiting = self.held();
        if !self.explicit && (waiting > self.ring.size() / 4 || (idle && waiting > 0)) {
            self.post(u16::MAX, 0);
        }
    }

    /// Exchanges the buffers of two held slots. Returns whether it did: not unless both are held.
    pub fn swap_buffers(&mut self, ahead: u16, other: u16) -> bool {
        ahead.max(other) < self.held()
            && self.buffers.swap(
                self.head.wrapping_add(ahead),
                self.head.wrapping_add(other),
                self.ring.mask(),
            )
    }
}

impl<R: RingMemory, T: BufferTable> Receiver for HeadReceiver<R, T> {
    #[inline(always)]
    fn receive_known<S: PacketSink>(
        &mut self,
        regions: &RegionMap,
        sink: &mut S,
        tally: &mut Tally,
    ) -> usize {
        let until = self.tail;
        let buffers = self.buffers.view(self.ring.mask());
        let resolve =
            |index, desc: &Desc| resolve_posted(buffers, regions, index, desc).map(SpanMut::into_span);
        // posting writes the whole descriptor
        let leave = |_: &R, _, _| ();
        let next = receive_burst(&self.ring, self.next, until, resolve, leave, sink, tally);
        let consumed = distance(next, self.next);
        self.next = next;
        self.repost(consumed == 0);
        usize::from(consumed)
    }

    #[inline(always)]
    fn ready(&mut self, wanted: usize) -> Result<u16, PeerFault> {
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

    #[inline(always)]
    fn fetch(&self, count: usize) {
        let known = distance(self.tail, self.next);
        for ahead in (0..known).step_by(DESCS_A_LINE).take(count.div_ceil(DESCS_A_LINE)) {
            // to be posted again
            self.ring.prefetch_to_write(self.next.wrapping_add(ahead));
        }
    }

    #[inline(always)]
    fn piece<'s>(&'s mut self, regions: &'s RegionMap, ahead: u16) -> Option<Result<Buffer<'s>, DropReason>> {
        if ahead >= distance(self.tail, self.next) {
            return None;
        }
        let index = self.next.wrapping_add(ahead);
        let desc = self.ring.desc(index);
        let buffers = self.buffers.view(self.ring.mask());
        Some(resolve_posted(buffers, regions, index, &desc).map(|span| Buffer { desc, span }))
    }

    #[inline]
    fn peek(
        &mut self,
        regions: &RegionMap,
        ahead: u16,
        mut visit: impl FnMut(Buffer<'_>),
    ) -> (u16, Result<(), DropReason>) {
        if ahead >= distance(self.tail, self.next) {
            return (0, Ok(()));
        }
        let from = self.next.wrapping_add(ahead);
        let buffers = self.buffers.view(self.ring.mask());
        let (end, verdict) = walk_chain(&self.ring, from, self.tail, self.ring.desc(from), |index, desc| {
            resolve_posted(buffers, regions, index, desc).map(|span| visit(Buffer { desc: *desc, span }))
        });
        (distance(end, from), verdict)
    }

    fn release(&mut self, slots: u16) {
        let ready = distance(self.tail, self.next);
        self.next = self.next.wrapping_add(slots.min(ready));
        self.repost(false);
    }

    #[inline(always)]
    fn flush(&mut self) {
        self.repost(true);
    }

    #[inline(always)]
    fn held(&self) -> u16 {
        self.ring.size() - distance(self.head, self.next)
    }

    #[inline(always)]
    fn position(&self) -> u16 {
        self.next
    }

    #[inline(always)]
    fn oldest(&self) -> u16 {
        self.head.wrapping_sub(self.ring.size())
    }

    #[inline(never)]
    fn post(&mut self, slots: u16, headroom: u16) -> u16 {
        let slots = slots.min(self.held());
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
}

/// The received bytes in the buffer that was posted at `index`. Of the master's snapshot only the length is used; a
/// changed region or offset is detected.
#[inline(always)]
pub(crate) fn resolve_posted<'m>(
    buffers: View<'_>,
    regions: &'m RegionMap,
    index: u16,
    desc: &Desc,
) -> Result<SpanMut<'m>, DropReason> {
    let posted = buffers.posted(index);
    if desc.region != posted.region || desc.offset != posted.offset {
        return Err(DropReason::BufferChanged);
    }
    if desc.length > posted.length {
        return Err(DropReason::OutOfRegion);
    }
    regions.lookup(posted.region, posted.offset, desc.length)
}
