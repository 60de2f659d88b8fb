//! Where the rings of a region lie, and how large they are.
//!
//! The ends exchange both on the control socket during the handshake, where an observer cannot read them. All known slaves
//! place their rings one behind the other from the start of their first region, all of one size, and each ring begins with
//! the cookie. The distance from one cookie to the next therefore gives the layout and the size (docs/protocol.md, section 4.1).

use std::mem::offset_of;

use memif_os::region_file::ObservedRegion;
use memif_ring::layout::{COOKIE, DESC_SIZE, Desc, LineSize, MAX_LOG2_RING_SIZE, RingHeader};
use zerocopy::{IntoBytes, transmute};

/// Most rings that are looked for in a region: 256 in each direction.
pub const MAX_RINGS: usize = 512;

/// The layout and size that all rings of a region have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Lines of 64 or of 128 bytes.
    pub line: LineSize,
    /// Binary logarithm of the number of descriptors, 1 to 14.
    pub log2_size: u8,
}

impl Shape {
    /// Number of descriptors.
    #[must_use]
    pub const fn size(self) -> u16 {
        1 << self.log2_size
    }

    /// Bytes of a ring.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.line.ring_bytes(self.log2_size)
    }

    /// Every layout and size.
    fn all() -> impl Iterator<Item = Self> {
        let sizes = 1..=MAX_LOG2_RING_SIZE;
        LineSize::ALL
            .into_iter()
            .flat_map(move |line| sizes.clone().map(move |log2_size| Self { line, log2_size }))
    }

    /// Distances from one ring to the next in the layouts of known slaves.
    const fn distances(self) -> [usize; 2] {
        [self.bytes(), self.bytes().next_multiple_of(128)]
    }
}

/// The rings of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Offsets of the rings.
    pub offsets: Vec<usize>,
    /// Their layout and size; `None` where several are possible: a single ring, or very small ones.
    pub shape: Option<Shape>,
}

impl Geometry {
    /// Looks for rings at the start of a region. `None` if it does not begin with one.
    #[must_use]
    pub fn of(region: &ObservedRegion) -> Option<Self> {
        has_cookie(region, 0).then_some(())?;
        let mut distances: Vec<usize> = Shape::all().flat_map(Shape::distances).collect();
        distances.sort_unstable();
        let Some(distance) = distances.into_iter().find(|distance| looks_like_ring(region, *distance)) else {
            return Some(Self { offsets: vec![0], shape: alone(region) });
        };
        let mut shapes = Shape::all().filter(|shape| shape.distances().contains(&distance));
        let shape = shapes.next().filter(|_| shapes.next().is_none());
        let rings_end = first_buffer(region, shape).unwrap_or(usize::MAX).min(region.len());
        let bytes = shape.map_or(distance, Shape::bytes);
        let fits = |offset: &usize| {
            offset.checked_add(bytes).is_some_and(|end| end <= rings_end) && looks_like_ring(region, *offset)
        };
        let others = (1..MAX_RINGS).map(|number| number * distance).take_while(fits);
        Some(Self { offsets: [0].into_iter().chain(others).collect(), shape })
    }
}

/// The shape of a ring that is alone in its region: known only if the ring fills the region.
fn alone(region: &ObservedRegion) -> Option<Shape> {
    let mut shapes =
        Shape::all().filter(|shape| shape.bytes().next_multiple_of(region.page_size()) == region.len());
    shapes.next().filter(|_| shapes.next().is_none())
}

/// The header at an offset.
#[must_use]
pub(crate) fn header(region: &ObservedRegion, offset: usize) -> Option<RingHeader> {
    let mut bytes = [0; size_of::<RingHeader>()];
    region.copy_to(offset, &mut bytes)?;
    Some(transmute!(bytes))
}

/// The slave's index of the ring at an offset, as one load that no later read passes.
#[must_use]
pub(crate) fn load_head(region: &ObservedRegion, ring: usize) -> Option<u16> {
    region.load_u16(ring.checked_add(offset_of!(RingHeader, head))?)
}

/// Whether a ring begins at an offset: as far as the cookie tells.
#[must_use]
pub(crate) fn has_cookie(region: &ObservedRegion, offset: usize) -> bool {
    header(region, offset).is_some_and(|header| header.cookie == COOKIE)
}

/// Whether a ring begins at an offset: the cookie, and zeros in the first line behind the header. A packet can begin with the
/// cookie as well.
fn looks_like_ring(region: &ObservedRegion, offset: usize) -> bool {
    let unused = size_of::<RingHeader>();
    let mut rest = [0u8; 64 - size_of::<RingHeader>()];
    has_cookie(region, offset)
        && region.copy_to(offset.saturating_add(unused), &mut rest).is_some()
        && rest.iter().all(|byte| *byte == 0)
}

/// The lowest offset that a descriptor of the first ring names in the rings' own region: no ring lies behind it.
fn first_buffer(region: &ObservedRegion, shape: Option<Shape>) -> Option<usize> {
    let shape = shape?;
    let descs = (0..shape.size()).filter_map(|slot| descriptor(region, 0, shape, slot));
    let offsets = descs.filter(|desc| desc.region == 0 && desc.length > 0).map(|desc| desc.offset as usize);
    // descriptors of our own slaves name offset 0 before they are used
    offsets.filter(|offset| *offset >= 2 * shape.bytes()).min()
}

/// A snapshot of one descriptor of the ring at `ring`.
#[must_use]
pub(crate) fn descriptor(region: &ObservedRegion, ring: usize, shape: Shape, index: u16) -> Option<Desc> {
    let slot = memif_ring::cursor::slot(index, shape.size() - 1);
    let mut desc = Desc::default();
    region.copy_to(ring.checked_add(shape.line.header_size() + slot * DESC_SIZE)?, desc.as_mut_bytes())?;
    Some(desc)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file(bytes: u64) -> File {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    fn put_ring(file: &File, offset: usize) {
        file.write_all_at(RingHeader::FRESH.as_bytes(), offset as u64).unwrap();
    }

    fn found(file: &File) -> Option<Geometry> {
        Geometry::of(&ObservedRegion::map(file).unwrap())
    }

    #[test]
    fn the_distance_between_rings_tells_layout_and_size() {
        for shape in Shape::all().filter(|shape| shape.size() >= 32) {
            for (distance, rings) in [(shape.distances()[0], 2), (shape.distances()[1], 7)] {
                let file = file(8 << 20);
                (0..rings).for_each(|ring| put_ring(&file, ring * distance));
                let expected = (0..rings).map(|ring| ring * distance).collect();
                assert_eq!(found(&file), Some(Geometry { offsets: expected, shape: Some(shape) }));
            }
        }
    }

    #[test]
    fn sizes_that_cannot_be_told_are_not_guessed() {
        for (file_len, rings, distance) in [(1 << 20, 1, 0), (1 << 20, 2, 256), (1 << 20, 4, 384)] {
            let file = file(file_len);
            (0..rings).for_each(|ring| put_ring(&file, ring * distance));
            let geometry = found(&file).unwrap();
            assert_eq!((geometry.offsets.len(), geometry.shape), (rings, None));
        }
    }

    #[test]
    fn a_region_without_a_ring_at_its_start_has_none() {
        let file = file(8192);
        assert_eq!(found(&file), None);
        put_ring(&file, 64);
        assert_eq!(found(&file), None);
    }

    #[test]
    fn a_packet_that_begins_with_the_cookie_is_no_ring() {
        let shape = Shape { line: LineSize::Bytes64, log2_size: 10 };
        let file = file(1 << 20);
        (0..2).for_each(|ring| put_ring(&file, ring * shape.bytes()));
        let buffers = 2 * shape.bytes();
        let desc = Desc { length: 64, offset: u32::try_from(buffers).unwrap(), ..Desc::default() };
        file.write_all_at(desc.as_bytes(), shape.line.header_size() as u64).unwrap();
        put_ring(&file, buffers);
        assert_eq!(found(&file).unwrap().offsets.len(), 2, "where a descriptor says that buffers begin");
        file.write_all_at(Desc::default().as_bytes(), shape.line.header_size() as u64).unwrap();
        file.write_all_at(b"a packet", buffers as u64 + 20).unwrap();
        assert_eq!(found(&file).unwrap().offsets.len(), 2, "by what follows the cookie");
    }
}
