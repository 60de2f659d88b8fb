//! The regions of one link, and the check that every (region, offset, length) a peer names must pass.
#![allow(unsafe_code)] // turns checked ranges into spans

use core::ptr::NonNull;

use heapless::Vec;

use crate::fault::DropReason;
use crate::layout::Desc;
use crate::shm::SpanMut;

/// Most regions one link may have; the protocol's HELLO announces a highest index of 255.
pub const MAX_REGIONS: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Region {
    start: NonNull<u8>,
    len: u64,
}

/// A descriptor, and the bytes that it names.
#[derive(Debug)]
pub struct Buffer<'a> {
    /// The snapshot that was checked.
    pub desc: Desc,
    /// Its bytes.
    pub span: SpanMut<'a>,
}

/// The mapped regions of a link, by index. About 4 KiB: keep it behind a pointer.
///
/// A ring's end looks up the bytes of its descriptors here, and hands out spans of the buffers that it holds. Without
/// an end [`RegionMap::span`] is `unsafe`, as nothing says who else uses the bytes.
#[derive(Debug, Default)]
pub struct RegionMap {
    regions: Vec<Region, MAX_REGIONS>,
}

// SAFETY: a map holds addresses of memory that is shared between processes anyway; what it offers without `unsafe`
// reads its own private fields.
unsafe impl Send for RegionMap {}
// SAFETY: as above.
unsafe impl Sync for RegionMap {}

impl RegionMap {
    /// A link without regions.
    #[must_use]
    pub const fn new() -> Self {
        Self { regions: Vec::new() }
    }

    /// Adds the region of the next index: `len` bytes from `start`. Returns false if there are [`MAX_REGIONS`].
    ///
    /// # Safety
    /// `start` is valid for reads and writes of `len` bytes for as long as this map lives, and no reference to them is
    /// formed.
    pub unsafe fn push(&mut self, start: NonNull<u8>, len: usize) -> bool {
        self.regions.push(Region { start, len: len as u64 }).is_ok()
    }

    /// Number of regions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether there are no regions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// The bytes that a descriptor names, for callers that keep descriptors of slots that they hold. A ring's end hands
    /// out spans without `unsafe`.
    ///
    /// # Errors
    /// [`DropReason::UnknownRegion`], [`DropReason::OutOfRegion`].
    ///
    /// # Safety
    /// The caller holds the slot that the descriptor was read from, for as long as the span lives: no other thread of
    /// this process accesses these bytes.
    #[inline(always)]
    pub unsafe fn span(&self, region: u16, offset: u32, len: u32) -> Result<SpanMut<'_>, DropReason> {
        self.lookup(region, offset, len)
    }

    /// Like [`RegionMap::span`], for the ring ends, which hold their slots.
    #[inline(always)]
    pub(crate) fn lookup(&self, region: u16, offset: u32, len: u32) -> Result<SpanMut<'_>, DropReason> {
        let Some(known) = self.regions.get(usize::from(region)) else {
            return Err(DropReason::UnknownRegion);
        };
        // in 64 bits, where the sum cannot overflow
        if u64::from(offset) + u64::from(len) > known.len {
            return Err(DropReason::OutOfRegion);
        }
        // SAFETY: offset + len <= the region's length, for which the caller of `push` vouched.
        Ok(unsafe { SpanMut::new(known.start.add(offset as usize), len as usize) })
    }

    /// Works like [`RegionMap::lookup`], but returns an empty span instead of an error.
    #[inline(always)]
    pub(crate) fn lookup_or_empty(&self, region: u16, offset: u32, len: u32) -> SpanMut<'_> {
        // SAFETY: no bytes.
        self.lookup(region, offset, len).unwrap_or(unsafe { SpanMut::new(NonNull::dangling(), 0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{boxed::Box, vec};

    fn map_of(len: usize) -> RegionMap {
        let memory = Box::leak(vec![0u8; len.max(1)].into_boxed_slice());
        let mut map = RegionMap::new();
        // SAFETY: leaked, so valid for ever, and not used otherwise.
        assert!(unsafe { map.push(NonNull::from(memory).cast(), len) });
        map
    }

    #[test]
    fn ranges_inside_pass_and_edges_are_exact() {
        let map = map_of(4096);
        for (offset, len) in [(0, 0), (0, 4096), (4095, 1), (4096, 0), (100, 2048)] {
            assert_eq!(map.lookup(0, offset, len).map(|s| s.len()), Ok(len as usize), "{offset} + {len}");
        }
        for (offset, len) in
            [(0, 4097), (4096, 1), (4097, 0), (u32::MAX, 0), (1, u32::MAX), (u32::MAX, u32::MAX)]
        {
            assert_eq!(map.lookup(0, offset, len).err(), Some(DropReason::OutOfRegion), "{offset} + {len}");
        }
    }

    #[test]
    fn unknown_regions_are_refused() {
        let map = map_of(64);
        for region in [1, 2, 255, 256, u16::MAX] {
            assert_eq!(map.lookup(region, 0, 0).err(), Some(DropReason::UnknownRegion));
        }
        assert_eq!(RegionMap::new().lookup(0, 0, 0).err(), Some(DropReason::UnknownRegion));
    }

    #[test]
    fn a_map_holds_256_regions() {
        let mut map = map_of(16);
        let start = map.regions[0].start;
        // SAFETY: the same leaked memory as above.
        while unsafe { map.push(start, 16) } {}
        assert_eq!(map.len(), MAX_REGIONS);
        assert!(map.lookup(255, 0, 16).is_ok());
        assert_eq!(map.lookup(256, 0, 1).err(), Some(DropReason::UnknownRegion));
    }
}
