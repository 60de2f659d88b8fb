//! The slots of a slave's sender in either layout: each with its buffer, or packets one behind the other.

use crate::buffers::{BufferAddr, View};
use crate::cursor::slot;
use crate::layout::{Desc, DescFlags};
use crate::packing::Cursor;
use crate::region::RegionMap;
use crate::send::{NoBytes, SendSlots, return_empty};
use crate::shm::{RingMemory, SpanMut};
use crate::tuning::{PREFETCH_BYTES, PREFETCH_PACKETS};

/// Slots of which each has its buffer.
pub(crate) struct FixedSlots<'a, R> {
    pub(crate) ring: &'a R,
    pub(crate) buffers: View<'a>,
    pub(crate) regions: &'a RegionMap,
}

impl<'a, R: RingMemory> SendSlots<'a> for FixedSlots<'a, R> {
    const LOOKS_AHEAD: bool = false;

    type Place = ();

    #[inline(always)]
    fn bytes(&self, (): &mut (), index: u16, _len: usize) -> Result<SpanMut<'a>, NoBytes> {
        let desc = self.buffers.whole(index);
        Ok(self.regions.lookup(desc.region, desc.offset, desc.length)?)
    }

    #[inline(always)]
    fn fetch(&self, (): &(), index: u16, len: usize) {
        let desc = self.buffers.whole(index.wrapping_add(PREFETCH_PACKETS));
        if let Ok(span) = self.regions.lookup(desc.region, desc.offset, desc.length) {
            span.prefetch_to_write(len);
        }
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
    pub(crate) region: u16,
    pub(crate) capacity: u32,
    pub(crate) regions: &'m RegionMap,
}

impl<'m, R: RingMemory> SendSlots<'m> for PackedSlots<'_, 'm, R> {
    const LOOKS_AHEAD: bool = false;

    type Place = Cursor;

    #[inline(always)]
    fn bytes(&self, place: &mut Cursor, _index: u16, len: usize) -> Result<SpanMut<'m>, NoBytes> {
        let len = len.min(self.capacity as usize);
        let start = place.take(len).ok_or(NoBytes::Full)?;
        #[expect(clippy::cast_possible_truncation, reason = "at most the capacity")]
        Ok(self.regions.lookup(self.region, start, len as u32)?)
    }

    #[inline(always)]
    fn fetch(&self, place: &Cursor, _index: u16, len: usize) {
        let len = len.min(self.capacity as usize);
        #[expect(clippy::cast_possible_truncation, reason = "at most the capacity")]
        let span = self.regions.lookup(self.region, place.ahead(PREFETCH_BYTES), len as u32);
        if let Ok(span) = span {
            span.prefetch_to_write(len);
        }
    }

    #[inline(always)]
    fn complete(&mut self, place: &mut Cursor, index: u16, flags: DescFlags, length: usize) {
        let Some(offset) = place.take(length) else { return };
        #[expect(clippy::cast_possible_truncation, reason = "a packet is below 2^16")]
        let length = length as u32;
        if let Some(start) = self.starts.get_mut(slot(index, self.ring.mask())) {
            *start = BufferAddr::new(self.region, offset);
        }
        self.ring.set_desc(index, Desc { flags, region: self.region, length, offset, metadata: 0 });
    }

    /// No slot has a buffer, so there is none to give back.
    fn give_up(&mut self, _place: &mut Cursor, from: u16, _until: u16) -> u16 {
        from
    }
}
