//! The buffers of a slave's ring: a private table with the address of one buffer for each slot.
//!
//! The slave uses its table, never the addresses in shared descriptors. A buffer belongs to a slot until it is
//! exchanged for that of another slot: so packets go from ring to ring without a copy, see
//! [`buffer_swap`](crate::buffer_swap). Each buffer is in one slot of one table.

use crate::cursor::slot;
use crate::layout::{Desc, DescFlags};
use crate::packing::Area;
use crate::tuning::PACKET_ALIGN;

/// Address of one buffer: region and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferAddr {
    region: u16,
    /// If the buffer was posted: the number of bytes at its start that the master does not get. If a packed sender has reserved
    /// it: its length in bytes.
    bytes: u16,
    offset: u32,
}

impl BufferAddr {
    /// For slots that the table does not cover: no link has a region of this index.
    const NONE: Self = Self::new(u16::MAX, 0);

    /// `offset` bytes from the start of the region of index `region`.
    #[must_use]
    pub const fn new(region: u16, offset: u32) -> Self {
        Self { region, bytes: 0, offset }
    }

    /// Addresses every `stride` bytes from offset `first`. Sums wrap; what is then outside of its region is refused
    /// when it is used.
    pub fn row(region: u16, first: u32, stride: u32) -> impl Iterator<Item = Self> {
        (0u32..).map(move |number| Self::new(region, first.wrapping_add(number.wrapping_mul(stride))))
    }

    /// Index of the region.
    #[must_use]
    pub const fn region(&self) -> u16 {
        self.region
    }

    /// Start of the buffer, in bytes from the region's start.
    #[must_use]
    pub const fn offset(&self) -> u32 {
        self.offset
    }

    /// A buffer of `bytes` bytes that a packed sender has reserved, `offset` bytes from the start of the region.
    pub(crate) const fn reserved(region: u16, offset: u32, bytes: u16) -> Self {
        Self { region, bytes, offset }
    }

    /// The first `length` bytes of the buffer.
    #[inline(always)]
    pub(crate) const fn first(&self, length: u32) -> Desc {
        Desc { flags: DescFlags::empty(), region: self.region, length, offset: self.offset, metadata: 0 }
    }

    /// The empty buffer of `capacity` bytes as it is posted: behind its headroom.
    #[inline(always)]
    fn posted(&self, capacity: u32) -> Desc {
        let headroom = u32::from(self.bytes).min(capacity);
        Desc { offset: self.offset.wrapping_add(headroom), ..self.first(capacity - headroom) }
    }
}

/// Storage of a table: an array, a box, a vector.
pub trait BufferTable: AsRef<[BufferAddr]> + AsMut<[BufferAddr]> {}

impl<T: AsRef<[BufferAddr]> + AsMut<[BufferAddr]>> BufferTable for T {}

/// The buffers of one ring. A slot beyond the end of the table has no buffer and carries no packet.
#[derive(Debug)]
pub struct Buffers<T> {
    table: T,
    capacity: u32,
    /// The bytes of all buffers, where packets may lie anywhere in them.
    area: Option<Area>,
}

impl<T: BufferTable> Buffers<T> {
    /// Buffers of `capacity` bytes each: slot `i` has the one at `table[i]`.
    ///
    /// # Safety
    /// Ends of rings write these buffers, on their threads, so no two may have the same one:
    ///
    /// - Each address names `capacity` bytes that no other address in use names, in the [`RegionMap`] that the end is
    ///   called with. An address that is not within its region does no harm: it is found at each use.
    /// - `table` returns one slice, and changes no address itself.
    /// - If buffers are exchanged with another end ([`buffer_swap`](crate::buffer_swap)), the same addresses name the
    ///   same bytes in its [`RegionMap`].
    ///
    /// [`RegionMap`]: crate::region::RegionMap
    #[expect(unsafe_code, reason = "addresses decide which bytes are written")]
    pub const unsafe fn new(table: T, capacity: u32) -> Self {
        Self { table, capacity, area: None }
    }

    /// Buffers that share the bytes of `area`: packets may lie anywhere in it. `table` has one entry for each slot, whose
    /// content does not matter. Buffers hold `capacity` bytes, or fewer where the area has not so many for each.
    ///
    /// A sender lays packets one behind the other, until it is used in place: see
    /// [`HeadSender`](crate::head_side::HeadSender). Every other end has fixed places in the area.
    ///
    /// # Safety
    /// - No address in use names bytes of `area`, in the [`RegionMap`] that the end is called with, and no other end
    ///   has it. An area that is not within its region does no harm: it is found at each use.
    /// - `table` returns one slice, and changes no address itself.
    ///
    /// [`RegionMap`]: crate::region::RegionMap
    #[expect(unsafe_code, reason = "addresses decide which bytes are written")]
    pub unsafe fn in_area(table: T, area: Area, capacity: u32) -> Self {
        let mut buffers = Self { table, capacity, area: Some(area) };
        buffers.capacity = capacity.min(buffers.stride(area));
        buffers.spread(area);
        buffers
    }

    /// Bytes from one fixed place to the next: an equal share of the area for each slot.
    pub(crate) fn stride(&self, area: Area) -> u32 {
        let slots = u32::try_from(self.table.as_ref().len()).unwrap_or(u32::MAX);
        let share = area.len().checked_div(slots).unwrap_or_default();
        share - share % PACKET_ALIGN
    }

    /// Gives each slot its fixed place in the area.
    fn spread(&mut self, area: Area) {
        let places = BufferAddr::row(area.region(), area.start(), self.stride(area));
        for (addr, place) in self.table.as_mut().iter_mut().zip(places) {
            *addr = place;
        }
    }

    /// The area, where packets may lie anywhere.
    pub(crate) const fn area(&self) -> Option<Area> {
        self.area
    }

    /// From now on each slot has its fixed place. Only while no packet is in flight.
    pub(crate) fn fix(&mut self) {
        if let Some(area) = self.area.take() {
            self.spread(area);
        }
    }

    /// Bytes that each buffer holds.
    #[inline(always)]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The table.
    #[inline(always)]
    pub const fn table(&self) -> &T {
        &self.table
    }

    /// The table for one burst: its fields stay in registers, as no store to shared memory can change them.
    #[inline(always)]
    pub(crate) fn view(&self, mask: u16) -> View<'_> {
        View { table: self.table.as_ref(), capacity: self.capacity, mask }
    }

    /// Whether every slot of a ring of `mask + 1` slots has a buffer.
    #[inline(always)]
    pub(crate) fn covers(&self, mask: u16) -> bool {
        self.table.as_ref().len() > usize::from(mask)
    }

    /// Where the packet of a slot begins, as it was last laid.
    #[inline(always)]
    pub(crate) fn start(&self, index: u16, mask: u16) -> u32 {
        self.view(mask).addr(index).offset
    }

    /// The table, to lay packets.
    #[inline(always)]
    pub(crate) fn places(&mut self) -> &mut [BufferAddr] {
        self.table.as_mut()
    }

    /// The address of a slot's buffer, to be exchanged.
    #[inline(always)]
    pub(crate) fn addr_mut(&mut self, index: u16, mask: u16) -> Option<&mut BufferAddr> {
        self.table.as_mut().get_mut(slot(index, mask))
    }

    /// Sets the headroom of a slot to be posted, and returns its descriptor.
    #[inline(always)]
    pub(crate) fn post(&mut self, index: u16, mask: u16, headroom: u16) -> Desc {
        let capacity = self.capacity;
        let Some(addr) = self.addr_mut(index, mask) else { return BufferAddr::NONE.posted(capacity) };
        // stores only what changes: stores of the posting loop then leave the core together
        if addr.bytes != headroom {
            addr.bytes = headroom;
        }
        addr.posted(capacity)
    }

    /// Exchanges the buffers of two slots. False unless the table has both.
    pub(crate) fn swap(&mut self, one: u16, other: u16, mask: u16) -> bool {
        let table = self.table.as_mut();
        let (one, other) = (slot(one, mask), slot(other, mask));
        let known = one.max(other) < table.len();
        if known {
            table.swap(one, other);
        }
        known
    }
}

/// A table, and the mask of its ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    table: &'a [BufferAddr],
    capacity: u32,
    mask: u16,
}

impl View<'_> {
    #[inline(always)]
    fn addr(&self, index: u16) -> BufferAddr {
        self.table.get(slot(index, self.mask)).copied().unwrap_or(BufferAddr::NONE)
    }

    /// The whole buffer of a slot.
    #[inline(always)]
    pub(crate) fn whole(&self, index: u16) -> Desc {
        self.addr(index).first(self.capacity)
    }

    /// The bytes that a packed sender has reserved for a slot.
    #[inline(always)]
    pub(crate) fn reserved(&self, index: u16) -> Desc {
        let addr = self.addr(index);
        addr.first(addr.bytes.into())
    }

    /// The empty buffer of a slot as it is posted: behind its headroom.
    #[inline(always)]
    pub(crate) fn posted(&self, index: u16) -> Desc {
        self.addr(index).posted(self.capacity)
    }
}
