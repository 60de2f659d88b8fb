//! Shared memory in duplicate: once for the code under test, once for the model.

use std::ops::Range;

use arbitrary::{Arbitrary, Unstructured};
use memif_ring::buffers::{BufferAddr, Buffers};
use memif_ring::burst::PacketSink;
use memif_ring::fault::DropReason;
use memif_ring::layout::{Desc, DescFlags, LineSize};
use memif_ring::mock::{HeapTable, MockRegion, MockRing};
use memif_ring::shm::RingMemory;

/// Where the header has its first index (docs/protocol.md, section 4.1).
const HEAD_AT: usize = 6;

/// The layout of a ring, by a bit of an input that says its size with the others.
pub const fn line_of(log2_size: u8) -> LineSize {
    if log2_size < 128 { LineSize::Bytes64 } else { LineSize::Bytes128 }
}

/// Where the header has its second index, and where the descriptors begin (docs/protocol.md, section 4.1).
const fn places(line: LineSize) -> (usize, usize) {
    match line {
        LineSize::Bytes64 => (64, 128),
        LineSize::Bytes128 => (128, 256),
    }
}

/// Where a slave has its buffers: slot `i` at `first + i * stride` of a region.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub region: u16,
    pub first: u32,
    pub stride: u32,
    pub capacity: u32,
}

/// What the model believes the region to hold.
pub struct Image {
    /// Every byte of region 0.
    pub bytes: Vec<u8>,
    size: u16,
    line: LineSize,
    /// Where the slave has its buffers.
    pub buffers: Row,
}

impl Image {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes[at..at + N].try_into().unwrap()
    }

    /// Writes bytes, as a peer may anywhere.
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Descriptors in the ring.
    pub fn size(&self) -> u16 {
        self.size
    }

    pub fn head(&self) -> u16 {
        u16::from_ne_bytes(self.array(HEAD_AT))
    }

    pub fn tail(&self) -> u16 {
        u16::from_ne_bytes(self.array(places(self.line).0))
    }

    pub fn set_head(&mut self, index: u16) {
        self.write(HEAD_AT, &index.to_ne_bytes());
    }

    pub fn set_tail(&mut self, index: u16) {
        self.write(places(self.line).0, &index.to_ne_bytes());
    }

    fn desc_at(&self, index: u16) -> usize {
        places(self.line).1 + 16 * usize::from(index % self.size)
    }

    pub fn desc(&self, index: u16) -> Desc {
        let at = self.desc_at(index);
        Desc {
            flags: DescFlags::from_bits_retain(u16::from_ne_bytes(self.array(at))),
            region: u16::from_ne_bytes(self.array(at + 2)),
            length: u32::from_ne_bytes(self.array(at + 4)),
            offset: u32::from_ne_bytes(self.array(at + 8)),
            metadata: u32::from_ne_bytes(self.array(at + 12)),
        }
    }

    pub fn set_desc(&mut self, index: u16, desc: Desc) {
        let at = self.desc_at(index);
        self.complete(index, desc.flags, desc.length);
        self.write(at + 2, &desc.region.to_ne_bytes());
        self.write(at + 8, &desc.offset.to_ne_bytes());
        self.write(at + 12, &desc.metadata.to_ne_bytes());
    }

    /// What a master may write of a descriptor.
    pub fn complete(&mut self, index: u16, flags: DescFlags, length: u32) {
        let at = self.desc_at(index);
        self.write(at, &flags.bits().to_ne_bytes());
        self.write(at + 4, &length.to_ne_bytes());
    }

    /// The slave's empty buffer of a slot.
    pub fn posted(&self, index: u16) -> Desc {
        let Row { region, first, stride, capacity } = self.buffers;
        let slot = u32::from(index % self.size);
        let offset = first.wrapping_add(slot.wrapping_mul(stride));
        Desc { flags: DescFlags::empty(), region, length: capacity, offset, metadata: 0 }
    }

    /// The bytes of all the slave's buffers.
    pub fn area(&self) -> Range<u32> {
        let Row { first, stride, .. } = self.buffers;
        first..first + stride * u32::from(self.size)
    }

    /// Where a descriptor's bytes are, if they are anywhere.
    pub fn place(&self, desc: &Desc) -> Result<Range<usize>, DropReason> {
        if desc.region != 0 {
            return Err(DropReason::UnknownRegion);
        }
        let end = u128::from(desc.offset) + u128::from(desc.length);
        if end > self.bytes.len() as u128 {
            return Err(DropReason::OutOfRegion);
        }
        Ok(desc.offset as usize..end as usize)
    }
}

/// The region that the code under test works on, and the model's image of it.
pub struct Twin<'a> {
    pub shared: &'a MockRegion,
    pub image: Image,
    /// The peer's handle, which a spoilt cookie does not take away.
    peer: MockRing<'a>,
}

/// A region with a fresh ring.
pub fn region(line: LineSize, log2_size: u8, capacity: u32) -> MockRegion {
    MockRegion::laid_out(line, 1, log2_size, capacity.next_multiple_of(64), capacity)
}

impl<'a> Twin<'a> {
    /// Over a fresh [`region`]; `buffers` is what the slave believes of its own memory, if not the truth.
    pub fn new(shared: &'a MockRegion, capacity: u32, buffers: Option<Row>) -> Self {
        let (first, stride) = shared.geometry();
        let buffers = buffers.unwrap_or(Row { region: 0, first, stride, capacity });
        let peer = shared.ring();
        Self {
            shared,
            image: Image { bytes: shared.bytes(), size: peer.size(), line: shared.line(), buffers },
            peer,
        }
    }

    /// The table of the slave's buffers, for the code under test.
    pub fn table(&self) -> Buffers<HeapTable> {
        let Row { region, first, stride, capacity } = self.image.buffers;
        let row = BufferAddr::row(region, first, stride).take(self.image.size.into());
        self.shared.buffers_at(row, capacity)
    }

    /// As [`Twin::table`], of a slave that packs packets.
    pub fn packed_table(&self) -> Buffers<HeapTable> {
        self.shared.packed_buffers_in(self.image.buffers.first)
    }

    /// Writes bytes in both; what goes past the end is left out.
    pub fn poke(&mut self, at: usize, bytes: &[u8]) {
        let at = at % self.image.bytes.len();
        let bytes = &bytes[..bytes.len().min(self.image.bytes.len() - at)];
        self.image.write(at, bytes);
        for (at, byte) in (at..).zip(bytes) {
            self.shared.poke(at, *byte);
        }
    }

    pub fn set_head(&mut self, index: u16) {
        self.peer.publish_head(index);
        self.image.set_head(index);
    }

    pub fn set_tail(&mut self, index: u16) {
        self.peer.publish_tail(index);
        self.image.set_tail(index);
    }

    pub fn set_desc(&mut self, index: u16, desc: Desc) {
        self.peer.set_desc(index, desc);
        self.image.set_desc(index, desc);
    }

    pub fn complete(&mut self, index: u16, flags: DescFlags, length: u32) {
        let desc = Desc { flags, length, ..self.image.desc(index) };
        self.set_desc(index, desc);
    }

    /// Nothing was written but what the model says.
    pub fn check(&self) {
        let bytes = self.shared.bytes();
        if bytes != self.image.bytes {
            let at = bytes.iter().zip(&self.image.bytes).position(|(got, want)| got != want);
            panic!("the memory differs from the model's at byte {at:?}");
        }
    }
}

/// Takes up to `room` packets.
pub struct Inbox {
    pub packets: Vec<Vec<u8>>,
    room: usize,
}

impl Inbox {
    pub fn new(room: usize) -> Self {
        Self { packets: Vec::new(), room }
    }
}

impl PacketSink for Inbox {
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        assert!((1..=65535).contains(&len), "a packet of {len} bytes");
        if self.packets.len() == self.room {
            return None;
        }
        self.packets.push(vec![0; len]);
        self.packets.last_mut().map(Vec::as_mut_slice)
    }

    fn room(&self) -> usize {
        self.room - self.packets.len()
    }
}

/// Which end of the ring is under test; the other is the peer's.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Slave,
    Master,
}

/// A number around which things happen: small, around the end of a small region, or anything.
#[derive(Clone, Copy, Debug)]
pub struct Edge(pub u32);

impl<'a> Arbitrary<'a> for Edge {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(Self(match u.int_in_range(0..=9)? {
            0..=6 => u.int_in_range(0..=300)?,
            7 => u.int_in_range(0..=5000)?,
            8 => u32::MAX - u.int_in_range(0..=300)?,
            _ => u.arbitrary()?,
        }))
    }
}

/// A descriptor that is often right.
#[derive(Clone, Copy, Debug)]
pub struct AnyDesc(pub Desc);

impl<'a> Arbitrary<'a> for AnyDesc {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let region = if u.ratio(1, 16)? { u.arbitrary()? } else { 0 };
        let flags = if u.ratio(1, 16)? { u.arbitrary()? } else { u.int_in_range(0..=1)? };
        let (length, offset) = (Edge::arbitrary(u)?.0, Edge::arbitrary(u)?.0);
        let flags = DescFlags::from_bits_retain(flags);
        Ok(Self(Desc { flags, region, length, offset, metadata: 0 }))
    }
}

/// What a peer may write between two calls.
#[derive(Arbitrary, Clone, Debug)]
pub enum Mischief {
    /// Bytes anywhere in the region.
    Poke { at: u16, bytes: [u8; 4] },
    /// A descriptor, so many slots from the peer's index.
    Desc { ahead: i8, desc: AnyDesc },
    /// The first buffer's or the ring's place for a descriptor: buffers that overlap each other, or the ring.
    Alias { ahead: i8, of: u8 },
    /// The peer's index moves on, or back.
    Move { by: i8 },
    /// The peer's index, anything.
    Index { index: u16 },
}

impl Mischief {
    /// Does it, as the peer of `role`.
    pub fn commit(&self, twin: &mut Twin<'_>, role: Role) {
        let peer = match role {
            Role::Master => twin.image.head(),
            Role::Slave => twin.image.tail(),
        };
        let at = |ahead: i8| peer.wrapping_add_signed(ahead.into());
        match *self {
            Self::Poke { at, bytes } => twin.poke(at.into(), &bytes),
            Self::Desc { ahead, desc } => twin.set_desc(at(ahead), desc.0),
            Self::Alias { ahead, of } => {
                let offset = u32::from(of) * 8;
                twin.set_desc(at(ahead), Desc { offset, ..twin.image.posted(0) });
            }
            Self::Move { by } => move_peer(twin, role, at(by)),
            Self::Index { index } => move_peer(twin, role, index),
        }
    }
}

/// Sets the index that the peer of `role` owns.
pub fn move_peer(twin: &mut Twin<'_>, role: Role, index: u16) {
    match role {
        Role::Master => twin.set_head(index),
        Role::Slave => twin.set_tail(index),
    }
}

/// The slave's own idea of its buffers: usually the truth, else a mistake of its configuration.
#[derive(Clone, Copy, Debug)]
pub struct OwnBuffers(pub Option<Row>);

impl<'a> Arbitrary<'a> for OwnBuffers {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        if !u.ratio(1, 8)? {
            return Ok(Self(None));
        }
        let region = u.int_in_range(0..=1)?;
        let (first, stride) = (Edge::arbitrary(u)?.0, Edge::arbitrary(u)?.0);
        Ok(Self(Some(Row { region, first, stride, capacity: Edge::arbitrary(u)?.0 })))
    }
}

/// Bytes that tell packets apart, and where in a packet they are; of the longest, which fit no ring here, less is asked.
pub fn packet(seed: u8, len: usize) -> Vec<u8> {
    if len > 1 << 14 {
        return vec![seed; len];
    }
    (0..len).map(|at| seed.wrapping_mul(37).wrapping_add((at * 7 + at / 256) as u8)).collect()
}
