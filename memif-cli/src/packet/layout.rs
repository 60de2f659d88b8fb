//! Where the fields of a test packet are, and what its body holds.

use std::ops::Range;

use memif_pmd::Mode;

/// Smallest IPv4 test packet with an Ethernet header, in bytes.
pub(crate) const MIN_SIZE: usize = Framing::Ethernet.min_size(Version::V4);
/// Largest packet that memif interfaces take, in bytes.
pub(crate) const MAX_SIZE: usize = 65535;

pub(super) const ETHERNET: usize = 14;
pub(super) const IPV4: usize = 20;
pub(super) const IPV6: usize = 40;
/// The UDP header, and the numbers behind it.
pub(super) const UDP: usize = 8 + 22;

pub(super) const IPV4_LENGTH: Range<usize> = 2..4;
pub(super) const IDENTIFICATION: Range<usize> = 4..6;
pub(super) const IPV4_HOPS: usize = 8;
pub(super) const IP_CHECKSUM: Range<usize> = 10..12;
pub(super) const IPV4_SOURCE: Range<usize> = 12..16;
pub(super) const IPV4_TARGET: Range<usize> = 16..20;

/// The lower 16 bits of the flow label.
pub(super) const FLOW_LABEL: Range<usize> = 2..4;
/// Length of what follows an IPv6 header.
pub(super) const IPV6_LENGTH: Range<usize> = 4..6;
pub(super) const IPV6_HOPS: usize = 7;
pub(super) const IPV6_SOURCE: Range<usize> = 8..24;
pub(super) const IPV6_TARGET: Range<usize> = 24..40;

pub(super) const UDP_SOURCE: Range<usize> = 0..2;
pub(super) const UDP_TARGET: Range<usize> = 2..4;
pub(super) const UDP_PORTS: Range<usize> = 0..4;
pub(super) const UDP_LENGTH: Range<usize> = 4..6;
pub(super) const UDP_CHECKSUM: Range<usize> = 6..8;
pub(super) const MAGIC: Range<usize> = 8..10;
pub(super) const QUEUE: usize = 10;
pub(super) const INSTANCE: usize = 11;
pub(super) const CHECK: Range<usize> = 12..14;
pub(super) const SEQUENCE: Range<usize> = 14..22;
pub(super) const STAMP: Range<usize> = 22..30;
const _: () = assert!(INSTANCE + 1 == CHECK.start && STAMP.end == UDP);

/// Locally administered addresses, and IPv4.
pub(super) const ETHERNET_HEADER: [u8; ETHERNET] =
    [0x02, 0x6d, 0x69, 0x66, 0, 1, 0x02, 0x6d, 0x69, 0x66, 0, 2, 0x08, 0x00];
pub(super) const ETHER_TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
pub(super) const ETHER_SOURCE: Range<usize> = 6..8;
pub(super) const ETHER_TYPE: Range<usize> = 12..14;
pub(super) const FIRST_PORT: u16 = 0xC000;
pub(super) const DISCARD_PORT: u16 = 9;
/// Ports that flows take turns in, from the first one on.
pub(super) const FLOW_PORTS: u32 = 0x4000;
pub(super) const MAGIC_PLAIN: u16 = 0x9e70;
pub(super) const MAGIC_FILLED: u16 = 0x9e66;
/// Bytes of an 802.1Q tag, and how it begins.
pub(crate) const TAG: u16 = 4;
pub(super) const TAGGED: usize = ETHERNET + TAG as usize;
pub(super) const TAG_TYPE: [u8; 2] = [0x81, 0x00];

/// How packets begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// With an Ethernet header.
    Ethernet,
    /// With an IP header.
    Ip,
}

impl Framing {
    /// The framing of an interface's packets.
    pub(crate) fn of(mode: Mode) -> Self {
        match mode {
            Mode::Ip => Self::Ip,
            Mode::Ethernet | Mode::PuntInject => Self::Ethernet,
        }
    }

    /// Smallest test packet, in bytes.
    pub(crate) const fn min_size(self, version: Version) -> usize {
        self.header_len() + version.head_len()
    }

    /// Bytes before the IP header.
    pub(super) const fn header_len(self) -> usize {
        match self {
            Self::Ethernet => ETHERNET,
            Self::Ip => 0,
        }
    }
}

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

impl Version {
    /// Bytes of the IP header.
    pub(super) const fn header_len(self) -> usize {
        match self {
            Self::V4 => IPV4,
            Self::V6 => IPV6,
        }
    }

    /// Bytes of the IP header, the UDP header and the numbers of a test packet.
    pub(super) const fn head_len(self) -> usize {
        self.header_len() + UDP
    }
}

/// How the bodies of a stream's packets are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// All packets of a stream have the same body. This is fast, but a sink cannot check the content.
    Plain,
    /// The body depends on stream and sequence, for a sink that verifies.
    BySequence,
}

/// What one queue of one run of a generator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// A number that every run of a generator chooses at random, of 24 bits.
    pub instance: u32,
    /// The generating queue, 0 to 255.
    pub queue: u16,
}

impl Stream {
    /// Tells streams apart where a single number is needed.
    fn key(self) -> u64 {
        (u64::from(self.instance) << 16 | u64::from(self.queue)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Tells its packets from those of other streams, and the ways of its flows apart. `addresses` is a hash of both addresses.
    #[inline(always)]
    pub(super) fn key_on(self, addresses: u64, udp: &[u8; UDP]) -> u64 {
        let ports = u32::from_be_bytes(bytes(udp, UDP_PORTS));
        let route = addresses.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ u64::from(ports).rotate_left(40);
        self.key() ^ route.wrapping_mul(0xc4ce_b9fe_1a85_ec53)
    }

    /// The `len` bytes, at most [`LONGEST_BODY`], that follow the head of packet `sequence`.
    pub(super) fn body(self, sequence: u64, len: usize) -> &'static [u8] {
        let start = ((sequence ^ self.key()).wrapping_mul(0x9fb2_1c65_1e98_df25) >> 52) as usize;
        PATTERN.get(start..start + len).unwrap_or_default()
    }
}

/// A checksum over the numbers of the head, which no other checksum covers. `key` is the key of the stream and route.
#[inline(always)]
pub(super) fn check(key: u64, sequence: u64, stamp: u64) -> u16 {
    let mixed = (sequence ^ stamp.rotate_left(32) ^ key).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 48) as u16
}

/// Bodies are windows into this: any two starts differ at once, and comparing is one memcmp.
static PATTERN: [u8; PATTERN_LEN] = pattern();
/// The longest body, that of an IPv4 packet without an Ethernet header.
pub(super) const LONGEST_BODY: usize = MAX_SIZE - Version::V4.head_len();
/// The longest body at the last of 4096 starts.
const PATTERN_LEN: usize = (LONGEST_BODY + 4096).next_multiple_of(8);

const fn pattern() -> [u8; PATTERN_LEN] {
    let mut bytes = [0; PATTERN_LEN];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut i = 0;
    while i < PATTERN_LEN {
        if i.is_multiple_of(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        bytes[i] = state.to_le_bytes()[i % 8];
        i += 1;
    }
    bytes
}

pub(super) fn put(header: &mut [u8], at: Range<usize>, bytes: &[u8]) {
    header[at].copy_from_slice(bytes);
}

/// Reads the `N` bytes of `header` that are in the range `at`.
#[inline(always)]
pub(super) fn bytes<const N: usize>(header: &[u8], at: Range<usize>) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&header[at]);
    field
}
