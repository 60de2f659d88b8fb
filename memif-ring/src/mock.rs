//! One ring and its buffers on the heap, laid out as in shared memory, with both ends and a peer's bad manners at hand.
//!
//! Tests, benches and fuzz targets play both peers on it: the sides see a [`Ring`] over "shared" bytes, and the
//! methods here write to those bytes as a hostile peer would.
#![allow(unsafe_code)] // stands in for a mapping

extern crate std;

use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::boxed::Box;

use crate::layout::{Desc, ring_bytes};
use crate::places::{Buffers, Place};
use crate::region::RegionMap;
use crate::shm::{Ring, RingMemory};

/// A region with one ring at offset 0 and its buffers behind it.
#[derive(Debug)]
pub struct MockRegion {
    start: NonNull<u8>,
    layout: Layout,
    log2_size: u8,
    /// Offset of the first buffer.
    first: u32,
    stride: u32,
    capacity: u32,
    regions: RegionMap,
}

/// A table of places on the heap.
pub type Places = Box<[Place]>;

// SAFETY: the memory is owned, and reached through `Ring` and `RegionMap` alone, which are Send and Sync.
unsafe impl Send for MockRegion {}
// SAFETY: as above.
unsafe impl Sync for MockRegion {}

impl MockRegion {
    /// A ring of `1 << log2_size` descriptors (1 to 14) with buffers of `capacity` bytes every `stride` bytes.
    ///
    /// # Panics
    /// On geometry that the protocol does not have: this is for tests.
    #[must_use]
    pub fn new(log2_size: u8, stride: u32, capacity: u32) -> Self {
        Self::for_rings(1, log2_size, stride, capacity)
    }

    /// As [`MockRegion::new`], with buffers for so many rings of this size: the others are in regions of their own.
    ///
    /// # Panics
    /// As [`MockRegion::new`].
    #[must_use]
    #[expect(clippy::expect_used, clippy::cast_possible_truncation, reason = "a helper of tests")]
    pub fn for_rings(rings: usize, log2_size: u8, stride: u32, capacity: u32) -> Self {
        let first = ring_bytes(log2_size).next_multiple_of(64);
        let len = first + rings * ((stride as usize) << log2_size);
        let layout = Layout::from_size_align(len, 4096).expect("a sane size");
        // SAFETY: the layout has a size above zero, as a ring has.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory) else { handle_alloc_error(layout) };
        let mut regions = RegionMap::new();
        // SAFETY: `len` bytes, owned by this value, which the map does not outlive; all access goes through rings
        // and spans.
        unsafe {
            regions.push(start, len);
            Ring::create(start, log2_size).expect("a size within 1 to 14");
        }
        Self { start, layout, log2_size, first: first as u32, stride, capacity, regions }
    }

    /// A handle on the ring. Must not outlive `self`; tests keep both in one scope.
    #[must_use]
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "made in new, which checked")]
    pub fn ring(&self) -> Ring {
        // SAFETY: made with this very size in `new`.
        unsafe { Ring::attach(self.start, self.log2_size).expect("the ring made in new") }
    }

    /// Where the buffers of the ring are.
    #[must_use]
    pub fn buffers(&self) -> Buffers<Places> {
        self.buffers_of(0)
    }

    /// Where the buffers of the ring of that number are.
    #[must_use]
    pub fn buffers_of(&self, ring: u32) -> Buffers<Places> {
        let first = self.first + ring * (self.stride << self.log2_size);
        let places = Place::row(0, first, self.stride).take(1 << self.log2_size).collect();
        Buffers::new(places, self.capacity)
    }

    /// Offset of the first buffer, and bytes from one buffer to the next.
    #[must_use]
    pub const fn geometry(&self) -> (u32, u32) {
        (self.first, self.stride)
    }

    /// The region as the sides see it.
    #[must_use]
    pub const fn regions(&self) -> &RegionMap {
        &self.regions
    }

    /// Writes the slave's index, as a slave could at any time.
    pub fn set_head(&self, index: u16) {
        self.ring().publish_head(index);
    }

    /// Writes the master's index, as a master could at any time.
    pub fn set_tail(&self, index: u16) {
        self.ring().publish_tail(index);
    }

    /// Writes a descriptor, as either peer could at any time.
    pub fn set_desc(&self, index: u16, desc: Desc) {
        self.ring().set_desc(index, desc);
    }

    /// Reads a descriptor.
    #[must_use]
    pub fn desc(&self, index: u16) -> Desc {
        self.ring().desc(index)
    }

    /// Writes any byte of the region.
    ///
    /// # Panics
    /// When `at` is past the region's end.
    pub fn poke(&self, at: usize, byte: u8) {
        assert!(at < self.layout.size(), "{at} is past the region's {} bytes", self.layout.size());
        // SAFETY: within the allocation; written as a peer would.
        unsafe { self.start.add(at).write_volatile(byte) };
    }

    /// Bytes of the region.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.layout.size()
    }

    /// Never true: a region holds a ring.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

impl Drop for MockRegion {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
