//! Where a slave's ring has its buffers: a private table with one place for each slot.
//!
//! The table is the truth, whatever the descriptors in shared memory say. As a place belongs to a slot only until it is
//! exchanged for another one's, packets can go from ring to ring without their bytes being touched: see
//! [`crate::exchange`]. Each buffer is in exactly one slot of one table.

use crate::cursor::slot;
use crate::layout::Desc;

/// Where one buffer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    region: u16,
    /// Bytes that the master may not touch at the buffer's start, as of when it was posted last.
    headroom: u16,
    offset: u32,
}

impl Place {
    /// Of a slot that the table does not have: no link has a region of this index.
    const NOWHERE: Self = Self::new(u16::MAX, 0);

    /// `offset` bytes from the start of a region.
    #[must_use]
    pub const fn new(region: u16, offset: u32) -> Self {
        Self { region, headroom: 0, offset }
    }

    /// Places every `stride` bytes from `first` on. Sums wrap rather than panic; the region map refuses the result.
    pub fn row(region: u16, first: u32, stride: u32) -> impl Iterator<Item = Self> {
        (0u32..).map(move |number| Self::new(region, first.wrapping_add(number.wrapping_mul(stride))))
    }

    /// Index of the region, as the link counts them.
    #[must_use]
    pub const fn region(&self) -> u16 {
        self.region
    }

    /// Start of the buffer, in bytes from the region's start.
    #[must_use]
    pub const fn offset(&self) -> u32 {
        self.offset
    }
}

/// What keeps the places of a ring: an array, a box, a vector.
pub trait PlaceTable: AsRef<[Place]> + AsMut<[Place]> {}

impl<T: AsRef<[Place]> + AsMut<[Place]>> PlaceTable for T {}

/// The buffers of one ring. A table shorter than the ring leaves slots without a buffer: they carry no packets.
#[derive(Debug)]
pub struct Buffers<T> {
    places: T,
    capacity: u32,
}

impl<T: PlaceTable> Buffers<T> {
    /// Buffers of `capacity` bytes each, that of slot `i` at `places[i]`. Places lie apart by `capacity` at least.
    pub const fn new(places: T, capacity: u32) -> Self {
        Self { places, capacity }
    }

    /// Bytes that each buffer holds.
    #[inline(always)]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// What keeps the places.
    #[inline(always)]
    pub const fn table(&self) -> &T {
        &self.places
    }

    /// The table by slot, for the length of a burst: held in registers, as no write to shared memory can change it.
    #[inline(always)]
    pub(crate) fn view(&self, mask: u16) -> View<'_> {
        View { places: self.places.as_ref(), capacity: self.capacity, mask }
    }

    /// Whether every slot of a ring of `mask + 1` has a place.
    #[inline(always)]
    pub(crate) fn covers(&self, mask: u16) -> bool {
        self.places.as_ref().len() > usize::from(mask)
    }

    /// The place of a slot, to be exchanged for another.
    #[inline(always)]
    pub(crate) fn place_mut(&mut self, index: u16, mask: u16) -> Option<&mut Place> {
        self.places.as_mut().get_mut(slot(index, mask))
    }

    /// Sets the headroom of a slot that is about to be posted, and returns its descriptor.
    #[inline(always)]
    pub(crate) fn post(&mut self, index: u16, mask: u16, headroom: u16) -> Desc {
        // a store only where it changes something: those of the loop that posts leave together without it
        if let Some(place) = self.place_mut(index, mask).filter(|place| place.headroom != headroom) {
            place.headroom = headroom;
        }
        self.view(mask).posted(index)
    }

    /// Exchanges the places of two slots. False when the table does not have both.
    pub(crate) fn swap(&mut self, one: u16, other: u16, mask: u16) -> bool {
        let places = self.places.as_mut();
        let (one, other) = (slot(one, mask), slot(other, mask));
        let known = one.max(other) < places.len();
        if known {
            places.swap(one, other);
        }
        known
    }
}

/// A table with the mask of its ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    places: &'a [Place],
    capacity: u32,
    mask: u16,
}

impl View<'_> {
    #[inline(always)]
    fn place(&self, index: u16) -> Place {
        self.places.get(slot(index, self.mask)).copied().unwrap_or(Place::NOWHERE)
    }

    /// The whole buffer of a slot.
    #[inline(always)]
    pub(crate) fn whole(&self, index: u16) -> Desc {
        let place = self.place(index);
        Desc { flags: 0, region: place.region, length: self.capacity, offset: place.offset, metadata: 0 }
    }

    /// The empty buffer of a slot as it is posted: behind its headroom.
    #[inline(always)]
    pub(crate) fn posted(&self, index: u16) -> Desc {
        let place = self.place(index);
        let headroom = u32::from(place.headroom).min(self.capacity);
        Desc {
            flags: 0,
            region: place.region,
            length: self.capacity - headroom,
            offset: place.offset.wrapping_add(headroom),
            metadata: 0,
        }
    }
}
