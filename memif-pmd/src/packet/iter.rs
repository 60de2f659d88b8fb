//! Where the packets of a burst lie, and the iterators over them.

use std::{mem, slice};

/// Where one packet lies in the memory of its burst.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Entry {
    /// `len` bytes from `start` on, within the memory of a burst.
    #[inline(always)]
    pub(super) const fn new(start: usize, len: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a burst is below 2^32 bytes")]
        let entry = Self { start: start as u32, len: len as u32 };
        entry
    }

    /// Offset of the byte behind the packet.
    #[inline(always)]
    pub(super) const fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    #[inline(always)]
    pub(super) fn bytes(self, memory: &[u8]) -> &[u8] {
        memory.get(self.start as usize..self.end()).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn bytes_mut(self, memory: &mut [u8]) -> &mut [u8] {
        memory.get_mut(self.start as usize..self.end()).unwrap_or_default()
    }
}

/// The packets of a burst in order: [`Burst::iter`](crate::Burst::iter).
#[derive(Clone, Debug)]
#[must_use = "iterators are lazy"]
pub struct Packets<'a> {
    // a slice: a block's fields would be loaded anew for each packet
    pub(super) memory: &'a [u8],
    pub(super) entries: slice::Iter<'a, Entry>,
}

impl<'a> Iterator for Packets<'a> {
    type Item = &'a [u8];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.entries.next().map(|entry| entry.bytes(self.memory))
    }

    #[inline(always)]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Packets<'_> {}

/// The packets of a burst in order, to be changed in place: [`Burst::iter_mut`](crate::Burst::iter_mut).
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct PacketsMut<'a> {
    /// The memory from offset `at` on: entries ascend and do not overlap.
    pub(super) rest: &'a mut [u8],
    pub(super) at: usize,
    pub(super) entries: slice::Iter<'a, Entry>,
}

impl<'a> Iterator for PacketsMut<'a> {
    type Item = &'a mut [u8];

    fn next(&mut self) -> Option<&'a mut [u8]> {
        let entry = self.entries.next()?;
        let gap = (entry.start as usize).checked_sub(self.at)?;
        let (_, tail) = mem::take(&mut self.rest).split_at_mut_checked(gap)?;
        let (packet, tail) = tail.split_at_mut_checked(entry.len as usize)?;
        self.rest = tail;
        self.at = entry.end();
        Some(packet)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for PacketsMut<'_> {}
