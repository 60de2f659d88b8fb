//! The slave's sender: [`HeadSender`].

use crate::buffers::{BufferAddr, BufferTable, Buffers};
use crate::burst::{PacketSource, Tally};
use crate::cursor::{distance, slot, within};
use crate::end::Sender;
use crate::fault::{DropReason, PeerFault};
use crate::head_slots::{FixedSlots, PackedSlots};
use crate::layout::{DESCS_A_LINE, Desc, DescFlags};
use crate::packing::Cursor;
use crate::region::{Buffer, RegionMap};
use crate::send::{At, Room, send_burst};
use crate::shm::RingMemory;
use crate::tuning::{FEW, PREFETCH_BYTES, PREFETCH_BYTES_FEW};

/// Sends on S2M: fills `desc[head]`, then moves `head`.
#[derive(Debug)]
pub struct HeadSender<R, T> {
    pub(crate) ring: R,
    pub(crate) buffers: Buffers<T>,
    /// Our index: slots before it are published.
    pub(crate) head: u16,
    /// The master's index as last loaded: the master has not received `tail..head`.
    tail: u16,
    /// The last burst did not fit whole: see [`HeadSender::room`].
    pub(crate) short: bool,
    layout: Layout,
    reserved: Option<Reserved>,
}

/// Slots from `head` on that have bytes of their own in the packed layout, and are not published.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    slots: u16,
    /// Where the next one goes.
    next: Cursor,
}

/// Where packets are put.
#[derive(Clone, Copy, Debug)]
enum Layout {
    /// Each slot has its buffer.
    Fixed,
    /// One behind the other.
    Packed(Cursor),
    /// As `Fixed`, once all that was packed is with the peer: nothing is sent until then.
    Draining,
}

impl<R: RingMemory, T: BufferTable> HeadSender<R, T> {
    /// The sending end of a ring that was just created.
    ///
    /// With [`Buffers::in_area`] it lays packets one behind the other, each in as many bytes as it has or as were reserved
    /// for it. The first call for a slot's own buffer ([`Sender::free`], exchanges) gives each slot one: from then on no slot
    /// is free until the master has taken all packets, and all slots are as with [`Buffers::new`].
    #[must_use]
    pub fn new(ring: R, buffers: Buffers<T>) -> Self {
        let area = buffers.area().filter(|_| buffers.covers(ring.mask()));
        let layout =
            area.map_or(Layout::Fixed, |area| Layout::Packed(Cursor::new(area, buffers.stride(area))));
        Self { ring, buffers, head: 0, tail: 0, short: false, layout, reserved: None }
    }

    /// The ring.
    #[inline(always)]
    pub const fn ring(&self) -> &R {
        &self.ring
    }

    /// The buffers of the ring's slots.
    #[inline(always)]
    pub const fn buffers(&self) -> &Buffers<T> {
        &self.buffers
    }

    /// [`Sender::free`] for `packets` packets. After a burst that did not fit whole it loads the master's index in
    /// any case: packets of several buffers need more slots than there are packets.
    ///
    /// # Errors
    /// Those of [`Sender::send`].
    #[inline(always)]
    pub fn room(&mut self, packets: usize) -> Result<u16, PeerFault> {
        self.free(if self.short { usize::MAX } else { packets })
    }

    /// Number of slots known to be free that have a buffer: none while packets that lie one behind the other are in flight.
    #[inline(always)]
    pub(crate) fn known_free(&mut self) -> u16 {
        if !self.is_fixed() && !self.fix() {
            return 0;
        }
        self.unused()
    }

    /// Whether packets are laid one behind the other: see [`HeadSender::new`].
    #[inline(always)]
    #[must_use]
    pub const fn is_packed(&self) -> bool {
        matches!(self.layout, Layout::Packed(_))
    }

    #[inline(always)]
    const fn is_fixed(&self) -> bool {
        matches!(self.layout, Layout::Fixed)
    }

    /// Number of slots known to be free.
    #[inline(always)]
    fn unused(&self) -> u16 {
        self.ring.size() - distance(self.head, self.tail)
    }

    /// The master's index as last loaded.
    #[cfg(test)]
    pub(crate) const fn known_tail(&self) -> u16 {
        self.tail
    }

    /// Loads the master's index unless `wanted` slots are known to be free. Returns how many are.
    #[inline(always)]
    fn look(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        if usize::from(self.unused()) < wanted {
            let tail = self.ring.tail();
            if !within(tail, self.tail, self.head) {
                let size = u32::from(self.ring.size());
                return Err(PeerFault::TailTooFar { tail, head: self.head, size });
            }
            if tail != self.tail {
                self.tail = tail;
                self.release();
            }
        }
        Ok(self.unused())
    }

    /// The master has taken packets: their bytes are free.
    #[inline(always)]
    fn release(&mut self) {
        if let Layout::Packed(cursor) = &mut self.layout {
            let in_flight = self.tail != self.head;
            cursor.release(in_flight.then(|| self.buffers.start(self.tail, self.ring.mask())));
        }
    }

    /// Loads the master's index, for packets of more slots or bytes than are known to be free. Returns how many slots
    /// are. Where nothing is in flight a packet may have all bytes in one piece.
    fn look_again(&mut self) -> Result<u16, PeerFault> {
        let free = self.look(usize::MAX)?;
        if let Layout::Packed(cursor) = &mut self.layout
            && self.tail == self.head
        {
            cursor.start_over();
        }
        Ok(free)
    }

    /// Gives each slot its buffer if nothing is known to be in flight. Returns whether it did.
    #[cold]
    fn fix(&mut self) -> bool {
        let empty = self.tail == self.head;
        if empty {
            self.buffers.fix();
            self.layout = Layout::Fixed;
        }
        empty
    }

    /// Gives each slot its buffer, once the master has taken all packets that lie one behind the other. Nothing is sent
    /// until then.
    #[cold]
    fn drain(&mut self) -> Result<(), PeerFault> {
        if !self.fix() {
            self.layout = Layout::Draining;
            self.look(usize::MAX)?;
            self.fix();
        }
        Ok(())
    }

    /// Gives up what is reserved in the packed layout, and starts anew.
    #[inline(always)]
    fn begin_reservation(&mut self) {
        if let Layout::Packed(cursor) = &self.layout {
            self.reserved = Some(Reserved { slots: 0, next: *cursor });
        }
    }

    /// [`Sender::reserve`] in the packed layout. Where bytes are lacking, it looks for more once.
    fn lay<'s>(
        &'s mut self,
        regions: &'s RegionMap,
        ahead: u16,
        len: usize,
    ) -> Option<Result<Buffer<'s>, DropReason>> {
        let (free, mask) = (self.unused(), self.ring.mask());
        let capacity = self.buffers.capacity().min(u32::from(u16::MAX));
        let reserved = self.reserved.as_mut().filter(|reserved| reserved.slots == ahead && ahead < free)?;
        let len = u32::try_from(len).unwrap_or(u32::MAX).clamp(1, capacity.max(1));
        let Some(offset) = reserved.next.take(len as usize) else {
            let looks = ahead == 0 && !self.short;
            self.short = true;
            // a fault is found again, by the next to look
            return if looks && self.look_again().is_ok() {
                self.begin_reservation();
                self.lay(regions, ahead, len as usize)
            } else {
                None
            };
        };
        let (region, index) = (reserved.next.area().region(), self.head.wrapping_add(ahead));
        let place = self.buffers.places().get_mut(slot(index, mask))?;
        if usize::from(index).is_multiple_of(DESCS_A_LINE) {
            self.ring.prefetch_to_write(index);
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most u16::MAX")]
        let bytes = len as u16;
        *place = BufferAddr::reserved(region, offset, bytes);
        let desc = place.first(len);
        reserved.slots += 1;
        Some(regions.lookup(region, offset, len).map(|span| Buffer { desc, span }))
    }

    /// The buffer of a free slot that may be filled: the one reserved for it, or its own.
    #[inline(always)]
    fn filled(&self, ahead: u16) -> Option<Desc> {
        let (view, index) = (self.buffers.view(self.ring.mask()), self.head.wrapping_add(ahead));
        match (&self.layout, &self.reserved) {
            (Layout::Fixed, _) => Some(view.whole(index)),
            (Layout::Packed(_), Some(reserved)) if ahead < reserved.slots => Some(view.reserved(index)),
            _ => None,
        }
    }

    /// Publishes the first `slots` reserved slots, or all if there are fewer.
    #[inline(always)]
    fn commit_reserved(&mut self, slots: u16) {
        let (Layout::Packed(cursor), Some(reserved)) = (&mut self.layout, self.reserved.take()) else {
            return;
        };
        let slots = slots.min(reserved.slots);
        let until = self.head.wrapping_add(slots);
        if slots == reserved.slots {
            *cursor = reserved.next;
        } else {
            // the same bytes again, up to there
            let view = self.buffers.view(self.ring.mask());
            let mut index = self.head;
            while index != until {
                let _ = cursor.take(view.reserved(index).length as usize);
                index = index.wrapping_add(1);
            }
        }
        let leaves_gaps = cursor.leaves_gaps();
        self.publish(until);
        if leaves_gaps {
            self.leave_gap(slots);
        }
    }

    /// Sends packets of `packets` to free slots up to `until`. Returns how many were sent or dropped.
    #[inline(always)]
    fn send_run<'p>(
        &mut self,
        regions: &RegionMap,
        (free, count): (u16, usize),
        packets: impl Iterator<Item = &'p [u8]> + Clone,
        tally: &mut Tally,
    ) -> usize {
        let room = Room { until: self.head.wrapping_add(free), size: self.ring.size() };
        let ring = &self.ring;
        let capacity = self.buffers.capacity();
        match &mut self.layout {
            Layout::Packed(cursor) => {
                let mut at = At { index: self.head, place: *cursor };
                let area = at.place.area();
                let span = regions.lookup_or_empty(area.region(), area.start(), area.len());
                let starts = self.buffers.places();
                let ahead = if count < FEW { PREFETCH_BYTES_FEW } else { PREFETCH_BYTES };
                let mut slots = PackedSlots { ring, starts, area, span, capacity, ahead, regions };
                let done = send_burst(&mut slots, &mut at, room, packets, tally);
                *cursor = at.place;
                let (leaves_gaps, head) = (cursor.leaves_gaps(), self.head);
                self.publish(at.index);
                if leaves_gaps {
                    self.leave_gap(distance(at.index, head));
                }
                done
            }
            Layout::Fixed => {
                let mut at = At { index: self.head, place: () };
                let mut slots = FixedSlots { ring, buffers: self.buffers.view(ring.mask()), regions };
                let done = send_burst(&mut slots, &mut at, room, packets, tally);
                self.publish(at.index);
                done
            }
            Layout::Draining => 0,
        }
    }

    /// Exchanges the buffers of two free slots. Returns whether it did: not unless both are free.
    pub fn swap_buffers(&mut self, ahead: u16, other: u16) -> bool {
        ahead.max(other) < self.known_free()
            && self.buffers.swap(
                self.head.wrapping_add(ahead),
                self.head.wrapping_add(other),
                self.ring.mask(),
            )
    }

    /// Leaves bytes unused behind the last `slots` slots, which were a burst. A function of its own, which costs processors
    /// without gaps nothing.
    #[inline(never)]
    fn leave_gap(&mut self, slots: u16) {
        if let Layout::Packed(cursor) = &mut self.layout {
            cursor.end_burst(self.buffers.start(self.head.wrapping_sub(slots), self.ring.mask()), slots);
        }
    }

    #[inline(always)]
    pub(crate) fn publish(&mut self, head: u16) {
        if head != self.head {
            self.head = head;
            self.ring.publish_head(head);
        }
    }
}

impl<R: RingMemory, T: BufferTable> Sender for HeadSender<R, T> {
    const MOVABLE: bool = true;

    #[inline(always)]
    fn send<P: PacketSource + ?Sized>(
        &mut self,
        regions: &RegionMap,
        packets: &P,
        tally: &mut Tally,
    ) -> Result<usize, PeerFault> {
        if matches!(self.layout, Layout::Draining) {
            self.drain()?;
        }
        self.reserved = None;
        let count = packets.count();
        let mut looked = self.short;
        let mut free = if looked { self.look_again()? } else { self.look(count)? };
        let (mut rest, mut done) = (packets.packets(), 0);
        loop {
            let sent = self.send_run(regions, (free, count), rest.clone(), tally);
            done += sent;
            self.short = done < count;
            if !self.short || looked || self.is_fixed() {
                return Ok(done);
            }
            // there may be slots without bytes for them
            looked = true;
            free = self.look_again()?;
            rest.by_ref().take(sent).for_each(drop);
        }
    }

    #[inline(always)]
    fn free(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        self.reserved = None;
        if !self.is_fixed() {
            self.drain()?;
        }
        self.look(wanted)?;
        Ok(self.known_free())
    }

    #[inline(always)]
    fn reservable(&mut self, wanted: usize) -> Result<u16, PeerFault> {
        self.reserved = None;
        if !self.is_packed() {
            return self.free(wanted);
        }
        // the last one may have lacked bytes, not slots
        let free = if self.short { self.look_again()? } else { self.look(wanted)? };
        self.short = false;
        self.begin_reservation();
        Ok(free)
    }

    #[inline(always)]
    fn reserve<'s>(
        &'s mut self,
        regions: &'s RegionMap,
        ahead: u16,
        len: usize,
    ) -> Option<Result<Buffer<'s>, DropReason>> {
        if self.is_packed() { self.lay(regions, ahead, len) } else { self.buffer(regions, ahead) }
    }

    #[inline(always)]
    fn buffer<'s>(
        &'s mut self,
        regions: &'s RegionMap,
        ahead: u16,
    ) -> Option<Result<Buffer<'s>, DropReason>> {
        if ahead >= self.known_free() {
            return None;
        }
        let desc = self.buffers.view(self.ring.mask()).whole(self.head.wrapping_add(ahead));
        Some(regions.lookup(desc.region, desc.offset, desc.length).map(|span| Buffer { desc, span }))
    }

    fn complete(&mut self, ahead: u16, flags: DescFlags, start: u32, length: u32) {
        let Some(whole) = self.filled(ahead) else { return };
        let start = start.min(whole.length);
        let (length, offset) = (length.min(whole.length - start), whole.offset.wrapping_add(start));
        if let Some(reserved) = &mut self.reserved
            && reserved.slots == ahead + 1
        {
            reserved.next.cut(whole.offset, (start + length) as usize);
        }
        self.ring.set_desc(self.head.wrapping_add(ahead), Desc { flags, length, offset, ..whole });
    }

    #[inline(always)]
    fn position(&self) -> u16 {
        self.head
    }

    fn commit(&mut self, slots: u16) {
        if self.is_packed() {
            return self.commit_reserved(slots);
        }
        let slots = slots.min(self.known_free());
        self.publish(self.head.wrapping_add(slots));
    }
}
