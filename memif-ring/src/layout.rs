//! The layout of shared memory: ring header, descriptor, flags and sizes.
//!
//! These types describe the layout (docs/protocol.md, section 4). Values of them are private copies; nothing here
//! touches shared memory. Every offset is asserted at compile time, as a wrong one would corrupt a peer silently.

use core::fmt;
use core::mem::{offset_of, size_of};
use core::str::FromStr;

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First field of every ring, written once by the slave: `0x03E31F20`.
pub const COOKIE: u32 = 0x03E3_1F20;
/// Bytes of a descriptor.
pub const DESC_SIZE: usize = 16;
/// Descriptors in a cache line of 64 bytes.
pub const DESCS_A_LINE: usize = 64 / DESC_SIZE;
/// Binary logarithm of the largest ring that every peer accepts: 16384 descriptors.
pub const MAX_LOG2_RING_SIZE: u8 = 14;
/// Required alignment of a ring's offset in its region, in bytes: the size of a descriptor. Most peers use multiples of
/// 128, but libmemif's rings of two descriptors are 160 bytes apart.
pub const RING_ALIGN: usize = DESC_SIZE;
/// Largest packet in bytes, over all its descriptors.
pub const MAX_PACKET_SIZE: usize = 65535;
/// Most descriptors of one packet: 64 KiB in buffers of 64 bytes. Known peers use buffers of 1 KiB and more.
pub const MAX_SEGMENTS: usize = 1024;

/// Flags of a ring, written by the receiver of its packets. A peer may set any bit; unknown ones are kept and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct RingFlags(u16);

/// Flags of a descriptor. A peer may set any bit; unknown ones are kept and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct DescFlags(u16);

bitflags! {
    impl RingFlags: u16 {
        /// The receiver polls: the sender need not notify.
        const MASK_INT = 1;
        const _ = !0;
    }

    impl DescFlags: u16 {
        /// The packet continues in the following descriptor.
        const NEXT = 1;
        const _ = !0;
    }
}

impl DescFlags {
    /// [`NEXT`](Self::NEXT), or no flag.
    #[inline(always)]
    #[must_use]
    pub const fn next_if(next: bool) -> Self {
        if next { Self::NEXT } else { Self::empty() }
    }
}

/// The size of the cache lines that rings are laid out for: it decides where `tail` and the descriptors are. All rings of a
/// link have one layout, which the slave chooses; nothing on the control socket names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineSize {
    /// `tail` at 64, descriptors from 128: peers as built for x86-64, and most others.
    Bytes64,
    /// `tail` at 128, descriptors from 256: VPP, DPDK and libmemif as distributions build them for arm64.
    Bytes128,
}

impl LineSize {
    /// Every layout.
    pub const ALL: [Self; 2] = [Self::Bytes64, Self::Bytes128];
    /// The layout of libmemif as built for this architecture: 128 on aarch64, otherwise 64.
    pub const NATIVE: Self = if cfg!(target_arch = "aarch64") { Self::Bytes128 } else { Self::Bytes64 };

    /// Bytes of a line.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Bytes64 => 64,
            Self::Bytes128 => 128,
        }
    }

    /// Offset of `tail` in a ring, in bytes: on a line of its own, as the slave writes `head` and the master `tail`.
    #[must_use]
    pub const fn tail_offset(self) -> usize {
        self.bytes()
    }

    /// Bytes of a ring before its first descriptor.
    #[must_use]
    pub const fn header_size(self) -> usize {
        2 * self.bytes()
    }

    /// Bytes of a ring of `1 << log2_size` descriptors, including its header.
    #[must_use]
    pub const fn ring_bytes(self, log2_size: u8) -> usize {
        self.header_size() + (DESC_SIZE << log2_size)
    }
}

impl fmt::Display for LineSize {
    /// `64` or `128`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes())
    }
}

/// The text is not that of a [`LineSize`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown line size: use 64 or 128")]
pub struct ParseLineSizeError;

impl FromStr for LineSize {
    type Err = ParseLineSizeError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseLineSizeError> {
        match text {
            "64" => Ok(Self::Bytes64),
            "128" => Ok(Self::Bytes128),
            _ => Err(ParseLineSizeError),
        }
    }
}

/// The first eight bytes of a ring, the same in both layouts. `tail` is at [`LineSize::tail_offset`], the descriptors begin
/// at [`LineSize::header_size`]; the bytes between are not used.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct RingHeader {
    /// [`COOKIE`].
    pub cookie: u32,
    /// Written by the receiver of packets.
    pub flags: RingFlags,
    /// Free-running index of the slave.
    pub head: u16,
}

impl RingHeader {
    /// The header of a new ring: index 0, interrupts wanted.
    pub const FRESH: Self = Self { cookie: COOKIE, flags: RingFlags::empty(), head: 0 };
}

/// A descriptor: names one buffer, which holds a packet or a piece of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
pub struct Desc {
    /// Whether the packet continues.
    pub flags: DescFlags,
    /// Index of the buffer's region.
    pub region: u16,
    /// Packet bytes in the buffer; of a buffer posted to a master, its capacity in bytes.
    pub length: u32,
    /// Start of the buffer, in bytes from the region's start.
    pub offset: u32,
    /// Not used by any known peer.
    pub metadata: u32,
}

impl Desc {
    /// Whether the packet continues in the following descriptor.
    #[inline(always)]
    #[must_use]
    pub const fn has_next(&self) -> bool {
        self.flags.contains(DescFlags::NEXT)
    }
}

const _: () = {
    assert!(size_of::<RingHeader>() == 8);
    assert!(offset_of!(RingHeader, cookie) == 0);
    assert!(offset_of!(RingHeader, flags) == 4);
    assert!(offset_of!(RingHeader, head) == 6);
    assert!(size_of::<Desc>() == DESC_SIZE);
    assert!(offset_of!(Desc, flags) == 0);
    assert!(offset_of!(Desc, region) == 2);
    assert!(offset_of!(Desc, length) == 4);
    assert!(offset_of!(Desc, offset) == 8);
    assert!(offset_of!(Desc, metadata) == 12);
    assert!(MAX_SEGMENTS <= 1 << MAX_LOG2_RING_SIZE);
};

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    #[test]
    fn tail_and_descriptors_are_where_peers_have_them() {
        let places = LineSize::ALL.map(|line| (line.tail_offset(), line.header_size(), line.ring_bytes(10)));
        assert_eq!(places, [(64, 128, 128 + 16 * 1024), (128, 256, 256 + 16 * 1024)]);
    }

    #[test]
    fn line_sizes_are_read_as_they_are_written() {
        for line in LineSize::ALL {
            assert_eq!(line.to_string().parse(), Ok(line));
        }
        for text in ["", "63", "064", "128 ", "256", "+64"] {
            assert_eq!(text.parse::<LineSize>(), Err(ParseLineSizeError), "{text}");
        }
    }
}
