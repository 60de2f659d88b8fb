//! What lies in shared memory: the ring header, the descriptor and their constants.
//!
//! These types describe the layout (protocol section 4) and are private copies when in hand; nothing here touches
//! shared memory. Every offset is asserted at compile time, as a wrong one would corrupt a peer silently.

use core::mem::{offset_of, size_of};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Marks the start of every ring: `0x03E31F20`, written once by the slave.
pub const COOKIE: u32 = 0x03E3_1F20;
/// Bytes of a ring before its first descriptor.
pub const RING_HEADER_SIZE: usize = 128;
/// Bytes of a descriptor.
pub const DESC_SIZE: usize = 16;
/// The largest ring every peer takes, as a power of two: 16384 descriptors.
pub const MAX_LOG2_RING_SIZE: u8 = 14;
/// Alignment we ask of a ring's offset in its region, in bytes: a descriptor's own size. Rings lie on multiples of
/// 128 in practice, but libmemif's rings of two descriptors follow one another every 160 bytes.
pub const RING_ALIGN: usize = DESC_SIZE;
/// Most bytes one packet may have, over all its descriptors.
pub const MAX_PACKET_SIZE: usize = 65535;
/// Most descriptors one packet may span. 64 KiB in 64-byte pieces; real peers use buffers of 1 KiB and more.
pub const MAX_SEGMENTS: usize = 1024;

/// Ring flag, bit 0: the receiver of packets does not want interrupts.
pub const RING_FLAG_MASK_INT: u16 = 1;
/// Descriptor flag, bit 0: the packet goes on in the following descriptor.
pub const DESC_FLAG_NEXT: u16 = 1;

/// The 128 bytes before a ring's descriptors. `head` is written by the slave alone and `tail` by the master alone, on
/// cache lines of their own.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RingHeader {
    /// [`COOKIE`].
    pub cookie: u32,
    /// [`RING_FLAG_MASK_INT`] or 0; written by the receiver of packets.
    pub flags: u16,
    /// Free-running index of the slave.
    pub head: u16,
    reserved0: [u8; 56],
    /// Free-running index of the master.
    pub tail: u16,
    reserved1: [u8; 62],
}

impl RingHeader {
    /// The header of a fresh ring: both indices 0, interrupts wanted.
    pub const FRESH: Self =
        Self { cookie: COOKIE, flags: 0, head: 0, reserved0: [0; 56], tail: 0, reserved1: [0; 62] };
}

/// One buffer of a ring, or one piece of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
pub struct Desc {
    /// [`DESC_FLAG_NEXT`] or 0.
    pub flags: u16,
    /// Index of the region that the buffer lies in.
    pub region: u16,
    /// Bytes of packet in the buffer; while it is posted to a master, the bytes that it can hold.
    pub length: u32,
    /// Start of the buffer, in bytes from the region's start.
    pub offset: u32,
    /// Unused by every peer.
    pub metadata: u32,
}

impl Desc {
    /// Whether the packet goes on in the following descriptor.
    #[inline(always)]
    #[must_use]
    pub const fn has_next(&self) -> bool {
        self.flags & DESC_FLAG_NEXT != 0
    }
}

/// Bytes that a ring of `1 << log2_size` descriptors takes, its header included.
#[must_use]
pub const fn ring_bytes(log2_size: u8) -> usize {
    RING_HEADER_SIZE + (DESC_SIZE << log2_size)
}

const _: () = {
    assert!(size_of::<RingHeader>() == RING_HEADER_SIZE);
    assert!(offset_of!(RingHeader, cookie) == 0);
    assert!(offset_of!(RingHeader, flags) == 4);
    assert!(offset_of!(RingHeader, head) == 6);
    assert!(offset_of!(RingHeader, tail) == 64);
    assert!(size_of::<Desc>() == DESC_SIZE);
    assert!(offset_of!(Desc, flags) == 0);
    assert!(offset_of!(Desc, region) == 2);
    assert!(offset_of!(Desc, length) == 4);
    assert!(offset_of!(Desc, offset) == 8);
    assert!(offset_of!(Desc, metadata) == 12);
    assert!(MAX_SEGMENTS <= 1 << MAX_LOG2_RING_SIZE);
};
