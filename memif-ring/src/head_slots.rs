//! The slots of a slave's sender in either layout: each with its buffer, or packets one behind the other.

use crate::buffers::{BufferAddr, View};
use crate::cursor::slot;
use crate::fault::DropReason;
use crate::layout::{DESCS_A_LINE, Desc, DescFlags};
use crate::packing::{Area, Cursor};
use crate::region::RegionMap;
use crate::send::{At, NoBytes, SendSlots, fill_run, return_empty};
use crate::shm::{RingMemory, SpanMut};
use crate::tuning::PREFETCH_PACKETS;

/// Slots that each have a buffer of their own.
pub(crate) struct FixedSlots<'a, R> {
    pub(crate) ring: &'a R,
    pub(crate) buffers: View<'a>,
    pub(crate) regions: &'a RegionMap,
}

impl<'a, R: RingMemory> FixedSlots<'a, R> {
    #[inline(always)]
    fn buffer(&self, index: u16) -> Result<SpanMut<'a>, DropReason> {
        let desc = self.buffers.whole(index);
        self.regions.lookup(desc.region, desc.offset, desc.length)
    }
}

impl<'a, R: RingMemory> SendSlots<'a> for FixedSlots<'a, R> {
    type Place = ();

    #[inline(always)]
    fn fill<'p>(
        &mut self,
        from: At<()>,
        until: u16,
        packets: &mut (impl Iterator<Item = &'p [u8]> + Clone),
    ) -> (At<()>, Option<&'p [u8]>) {
        let fetch = |index: u16, len| {
            if usize::from(index).is_multiple_of(DESCS_A_LINE) {
                self.ring.prefetch_to_write(index);
            }
            if let Ok(span) = self.buffer(index.wrapping_add(PREFETCH_PACKETS)) {
                span.prefetch_to_write(len);
            }
        };
        let (index, other) = fill_run(from.index, until, packets, |index| self.buffer(index), fetch);
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

    #[inline(always)]
    fn complete(&mut self, (): &mut (), index: u16, flags: DescFlags, length: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a packet is below 2^16")]
        let length = length as u32;
        self.ring.set_desc(index, Desc { flags, length, ..self.buffers.whole(index) });
    }

    fn give_up(&mut self, place: &mut (), from: u16, until: u16) -> u16 {
        return_empty(self, place, from, until)
    }
}

/// Slots whose packets lie one behind the other.
pub(crate) struct PackedSlots<'a, 'm, R> {
    pub(crate) ring: &'a R,
    /// Where the packet of each slot begins.
    pub(crate) starts: &'a mut [BufferAddr],
    pub(crate) area: Area,
    /// All bytes of the area; none if it is not within its region.
    pub(crate) span: SpanMut<'m>,
    pub(crate) capacity: u32,
    /// How many bytes ahead of a packet cache lines are prefetched.
    pub(crate) ahead: usize,
    pub(crate) regions: &'m RegionMap,
}

impl<R: RingMemory> PackedSlots<'_, '_, R> {
    /// Decides where the packets of the next slots go, up to `until` or the first packet that does not fit. This is a pass of
    /// its own because it stores to private memory only; meanwhile it prefetches the lines of their descriptors.
    #[inline(always)]
    fn lay<'p>(
        &mut self,
        from: At<Cursor>,
        until: u16,
        packets: impl Iterator<Item = &'p [u8]>,
    ) -> At<Cursor> {
        let At { mut index, mut place } = from;
        let (mask, region) = (self.ring.mask(), self.area.region());
        for packet in packets {
            if index == until || packet.is_empty() || packet.len() > self.capacity as usize {
                break;
            }
            let mut next = place;
            let (Some(offset), Some(start)) =
                (next.take(packet.len()), self.starts.get_mut(slot(index, mask)))
            else {
                break;
            };
            *start = BufferAddr::new(region, offset);
            place = next;
            if usize::from(index).is_multiple_of(DESCS_A_LINE) {
                self.ring.prefetch_to_write(index);
            }
            index = index.wrapping_add(1);
        }
        At { index, place }
    }

    /// Where the packet of a slot was put in the area.
    #[inline(always)]
    fn start(&self, index: u16) -> u32 {
        self.starts.get(slot(index, self.ring.mask())).map_or(0, BufferAddr::offset)
    }
}

impl<'m, R: RingMemory> SendSlots<'m> for PackedSlots<'_, 'm, R> {
    type Place = Cursor;

    #[inline(always)]
    fn fill<'p>(
        &mut self,
        from: At<Cursor>,
        until: u16,
        packets: &mut (impl Iterator<Item = &'p [u8]> + Clone),
    ) -> (At<Cursor>, Option<&'p [u8]>) {
        // bytes that are not all there are looked up one by one
        let until = if self.span.is_empty() { from.index } else { until };
        let next = self.lay(from, until, packets.clone());
        let mut index = from.index;
        while index != next.index
            && let Some(packet) = packets.next()
        {
            let at = self.start(index).wrapping_sub(self.area.start()) as usize;
            self.span.prefetch_part_to_write(at + self.ahead, packet.len());
            self.span.part(at, packet.len()).copy_from(packet);
            index = index.wrapping_add(1);
        }
        (next, packets.next())
    }

    #[inline(always)]
    fn describe(&mut self, index: u16, length: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a packet is below 2^16")]
        let length = length as u32;
        let (region, offset) = (self.area.region(), self.start(index));
        self.ring.set_desc(index, Desc { flags: DescFlags::empty(), region, length, offset, metadata: 0 });
    }

    fn bytes(&self, place: &mut Cursor, _index: u16, len: usize) -> Result<SpanMut<'m>, NoBytes> {
        let len = len.min(self.capacity as usize);
        let start = place.take(len).ok_or(NoBytes::Full)?;
        #[expect(clippy::cast_possible_truncation, reason = "at most the capacity")]
        Ok(self.regions.lookup(self.area.region(), start, len as u32)?)
    }

    fn complete(&mut self, place: &mut Cursor, index: u16, flags: DescFlags, length: usize) {
        let Some(offset) = place.take(length) else { return };
        let region = self.area.region();
        #[expect(clippy::cast_possible_truncation, reason = "a packet is below 2^16")]
        let length = length as u32;
        if let Some(start) = self.starts.get_mut(slot(index, self.ring.mask())) {
            *start = BufferAddr::new(region, offset);
        }
        self.ring.set_desc(index, Desc { flags, region, length, offset, metadata: 0 });
    }

    /// No slot has a buffer, so there is none to give back.
    fn give_up(&mut self, _place: &mut Cursor, from: u16, _until: u16) -> u16 {
        from
    }
}
