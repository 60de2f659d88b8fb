//! A ring and its buffers on the heap, laid out as in shared memory: for tests, benches and fuzz targets, which play
//! both peers.
//!
//! The ends of [`MockRegion::ring`] work as on shared memory. Methods such as [`MockRegion::set_desc`] write what a
//! hostile peer would.
#![allow(unsafe_code)] // stands in for a mapping

extern crate std;

mod faulty_sender;

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use crate::buffers::{BufferAddr, Buffers};
use crate::cursor::distance;
use crate::fault::DropReason;
use crate::layout::{Desc, DescFlags, LineSize};
use crate::packing::Area;
use crate::region::RegionMap;
use crate::shm::{Ring, RingMemory, SpanMut};

pub use faulty_sender::{Faults, FaultySender, SenderMemory};

/// A region with one ring at offset 0, and buffers behind it.
///
/// For one thread: `Send`, and not `Sync`; [`MockRegion::peer`] is for another.
#[derive(Debug)]
pub struct MockRegion {
    start: NonNull<u8>,
    layout: Layout,
    line: LineSize,
    log2_size: u8,
    /// Offset of the first buffer.
    first: u32,
    stride: u32,
    capacity: u32,
    regions: RegionMap,
}

// SAFETY: the memory is owned, and whatever borrows the region stays on its thread.
unsafe impl Send for MockRegion {}

/// A peer of a [`MockRegion`] that writes while an end of the ring is in a call: on another thread, as another process
/// would.
#[derive(Debug)]
pub struct MockPeer<'a> {
    region: &'a MockRegion,
    ring: MockRing<'a>,
}

// SAFETY: all that it does is single atomic and volatile stores. The ends of rings expect those at any time, as they do of a
// mapping: they use atomics, volatile snapshots and raw copies.
unsafe impl Send for MockPeer<'_> {}

impl MockPeer<'_> {
    /// Like [`MockRegion::set_head`].
    pub fn set_head(&self, index: u16) {
        self.ring.publish_head(index);
    }

    /// Like [`MockRegion::set_tail`].
    pub fn set_tail(&self, index: u16) {
        self.ring.publish_tail(index);
    }

    /// Like [`MockRegion::set_desc`].
    pub fn set_desc(&self, index: u16, desc: Desc) {
        self.ring.set_desc(index, desc);
    }

    /// Like [`MockRegion::poke`].
    ///
    /// # Panics
    /// Those of [`MockRegion::poke`].
    pub fn poke(&self, at: usize, byte: u8) {
        self.region.poke(at, byte);
    }
}

/// A table of buffers on the heap.
pub type HeapTable = Box<[BufferAddr]>;

/// A handle on the ring of a [`MockRegion`], which it does not outlive:
///
/// ```compile_fail,E0505
/// use memif_ring::mock::MockRegion;
/// use memif_ring::tail_side::TailReceiver;
///
/// let region = MockRegion::new(4, 256, 256);
/// let mut master = TailReceiver::new(region.ring());
/// drop(region);
/// master.flush();
/// ```
#[derive(Debug)]
pub struct MockRing<'a> {
    ring: Ring,
    region: PhantomData<&'a MockRegion>,
}

impl Deref for MockRing<'_> {
    type Target = Ring;

    fn deref(&self) -> &Ring {
        &self.ring
    }
}

// SAFETY: descriptors are those of the ring.
unsafe impl RingMemory for MockRing<'_> {
    #[inline(always)]
    fn mask(&self) -> u16 {
        self.ring.mask()
    }

    #[inline(always)]
    fn head(&self) -> u16 {
        self.ring.head()
    }

    #[inline(always)]
    fn publish_head(&self, index: u16) {
        self.ring.publish_head(index);
    }

    #[inline(always)]
    fn tail(&self) -> u16 {
        self.ring.tail()
    }

    #[inline(always)]
    fn publish_tail(&self, index: u16) {
        self.ring.publish_tail(index);
    }

    #[inline(always)]
    fn desc(&self, index: u16) -> Desc {
        self.ring.desc(index)
    }

    #[inline(always)]
    fn set_desc(&self, index: u16, desc: Desc) {
        self.ring.set_desc(index, desc);
    }

    #[inline(always)]
    fn complete_desc(&self, index: u16, flags: DescFlags, length: u32) {
        self.ring.complete_desc(index, flags, length);
    }

    #[inline(always)]
    fn set_flags(&self, index: u16, flags: DescFlags) {
        self.ring.set_flags(index, flags);
    }
}

impl MockRegion {
    /// A ring of `1 << log2_size` descriptors (1 to 14), laid out as this architecture has it, with buffers of `capacity`
    /// bytes every `stride` bytes.
    ///
    /// # Panics
    /// On geometry that the protocol does not have: this is for tests.
    #[must_use]
    pub fn new(log2_size: u8, stride: u32, capacity: u32) -> Self {
        Self::laid_out(LineSize::NATIVE, 1, log2_size, stride, capacity)
    }

    /// Works like [`MockRegion::new`], with a layout for `line`, and with buffers for `rings` rings of this size. The region holds
    /// the first ring; the other rings are in regions of their own.
    ///
    /// # Panics
    /// Those of [`MockRegion::new`].
    #[must_use]
    #[expect(clippy::expect_used, clippy::cast_possible_truncation, reason = "a helper of tests")]
    pub fn laid_out(line: LineSize, rings: usize, log2_size: u8, stride: u32, capacity: u32) -> Self {
        let first = line.ring_bytes(log2_size).next_multiple_of(64);
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
            Ring::create(start, log2_size, line).expect("a size within 1 to 14");
        }
        Self { start, layout, line, log2_size, first: first as u32, stride, capacity, regions }
    }

    /// The layout of the ring.
    #[must_use]
    pub const fn line(&self) -> LineSize {
        self.line
    }

    /// A handle on the ring, as large as [`Ring`]. Any number may be in use: they are on one thread.
    #[must_use]
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "made in `laid_out`, which checked")]
    pub fn ring(&self) -> MockRing<'_> {
        // SAFETY: made with this very size and layout in `laid_out`; the handle borrows the memory, and is not Send.
        let ring = unsafe { Ring::attach(self.start, self.log2_size, self.line) };
        let ring = ring.expect("the ring made in laid_out");
        MockRing { ring, region: PhantomData }
    }

    /// A peer for another thread. [`MockRegion::bytes`] must not be called while it is there.
    #[must_use]
    pub fn peer(&self) -> MockPeer<'_> {
        MockPeer { region: self, ring: self.ring() }
    }

    /// The buffers of the ring.
    #[must_use]
    pub fn buffers(&self) -> Buffers<HeapTable> {
        self.buffers_of(0)
    }

    /// The buffers of ring `ring`, counted from 0: see [`MockRegion::laid_out`].
    #[must_use]
    pub fn buffers_of(&self, ring: u32) -> Buffers<HeapTable> {
        let first = self.first + ring * (self.stride << self.log2_size);
        self.buffers_at(BufferAddr::row(0, first, self.stride).take(1 << self.log2_size), self.capacity)
    }

    /// The buffers of the ring, with packets one behind the other: see [`Buffers::in_area`].
    ///
    /// # Panics
    /// Never: this is for tests, whose regions are small.
    #[must_use]
    pub fn packed_buffers(&self) -> Buffers<HeapTable> {
        self.packed_buffers_in(self.first)
    }

    /// Works like [`MockRegion::packed_buffers`], from offset `start` on, which may be a wrong one.
    ///
    /// # Panics
    /// When the area ends behind 4 GiB.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a helper of tests")]
    pub fn packed_buffers_in(&self, start: u32) -> Buffers<HeapTable> {
        let area = Area::new(0, start, self.stride << self.log2_size).expect("an area below 4 GiB");
        let table = BufferAddr::row(0, 0, 0).take(1 << self.log2_size).collect();
        // SAFETY: as in `buffers_at`.
        unsafe { Buffers::in_area(table, area, self.capacity) }
    }

    /// Buffers of `capacity` bytes at any addresses, also wrong ones.
    #[must_use]
    pub fn buffers_at(
        &self,
        table: impl IntoIterator<Item = BufferAddr>,
        capacity: u32,
    ) -> Buffers<HeapTable> {
        // SAFETY: the ends of mock rings are on one thread, so buffers may overlap.
        unsafe { Buffers::new(table.into_iter().collect(), capacity) }
    }

    /// `len` bytes from `offset`.
    ///
    /// # Errors
    /// [`DropReason::OutOfRegion`].
    pub fn span(&self, offset: u32, len: u32) -> Result<SpanMut<'_>, DropReason> {
        self.regions.lookup(0, offset, len)
    }

    /// A copy of the whole region.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        // SAFETY: the allocation has this length, and is written on this thread alone.
        unsafe { self.start.copy_to_nonoverlapping(NonNull::from(&mut bytes[..]).cast(), bytes.len()) };
        bytes
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

/// As a slave sends.
impl SenderMemory for MockRegion {
    fn size(&self) -> u16 {
        self.ring().size()
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }

    fn free(&self, index: u16) -> u16 {
        self.size().wrapping_sub(distance(index, self.ring().tail()))
    }

    fn publish(&self, index: u16) {
        self.set_head(index);
    }

    fn flags(&self, index: u16) -> DescFlags {
        self.desc(index).flags
    }

    #[expect(clippy::expect_used, clippy::cast_possible_truncation, reason = "a helper of tests")]
    fn fill(&self, index: u16, flags: DescFlags, bytes: &[u8]) {
        let slot = u32::from(index & self.ring().mask());
        let (offset, length) = (self.first + slot * self.stride, bytes.len() as u32);
        self.span(offset, length).expect("a buffer of the region").copy_from(bytes);
        self.set_desc(index, Desc { flags, region: 0, length, offset, metadata: 0 });
    }
}

/// A [`MockRegion`] as a master sends over it: into the buffers that were posted.
#[derive(Clone, Copy, Debug)]
pub struct PostedMemory<'a>(pub &'a MockRegion);

impl SenderMemory for PostedMemory<'_> {
    fn size(&self) -> u16 {
        self.0.size()
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn free(&self, index: u16) -> u16 {
        distance(self.0.ring().head(), index)
    }

    fn publish(&self, index: u16) {
        self.0.set_tail(index);
    }

    fn flags(&self, index: u16) -> DescFlags {
        self.0.desc(index).flags
    }

    fn fill(&self, index: u16, flags: DescFlags, bytes: &[u8]) {
        self.0.fill(index, flags, bytes);
    }
}

impl Drop for MockRegion {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
