//! Where the fields of a test packet are, and what its body holds.

use std::ops::Range;

use memif_pmd::Mode;

/// Smallest test packet with an Ethernet header, in bytes.
pub(crate) const MIN_SIZE: usize = Framing::Ethernet.min_size();
/// Largest packet that memif interfaces take, in bytes.
pub(crate) const MAX_SIZE: usize = 65535;

pub(super) const ETHERNET: usize = 14;
pub(super) const IPV4: usize = 20;
pub(super) const UDP: usize = 8;
/// Headers and numbers of a test packet, without the Ethernet header.
pub(super) const HEAD: usize = IPV4 + UDP + 22;

pub(super) const IP_LENGTH: Range<usize> = 2..4;
pub(super) const IDENTIFICATION: Range<usize> = 4..6;
pub(super) const HOPS: usize = 8;
pub(super) const IP_CHECKSUM: Range<usize> = 10..12;
pub(super) const SOURCE: Range<usize> = 12..16;
pub(super) const TARGET: Range<usize> = 16..20;
/// Addresses and ports.
pub(super) const ROUTE: Range<usize> = 12..24;
pub(super) const UDP_SOURCE: Range<usize> = 20..22;
pub(super) const UDP_TARGET: Range<usize> = 22..24;
pub(super) const UDP_LENGTH: Range<usize> = 24..26;
pub(super) const MAGIC: Range<usize> = 28..30;
pub(super) const QUEUE: usize = 30;
pub(super) const INSTANCE: usize = 31;
pub(super) const CHECK: Range<usize> = 32..34;
pub(super) const SEQUENCE: Range<usize> = 34..42;
pub(super) const STAMP: Range<usize> = 42..50;
const _: () = assert!(IPV4 + UDP == MAGIC.start && INSTANCE + 1 == CHECK.start && STAMP.end == HEAD);

/// Locally administered addresses, and IPv4.
pub(super) const ETHERNET_HEADER: [u8; ETHERNET] =
    [0x02, 0x6d, 0x69, 0x66, 0, 1, 0x02, 0x6d, 0x69, 0x66, 0, 2, 0x08, 0x00];
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
    pub(crate) const fn min_size(self) -> usize {
        self.header_len() + HEAD
    }

    /// Bytes before the IP header.
    pub(super) const fn header_len(self) -> usize {
        match self {
            Self::Ethernet => ETHERNET,
            Self::Ip => 0,
        }
    }
}

/// The part of a test packet that is neither Ethernet header nor body.
pub(crate) type Head = [u8; HEAD];

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

    /// Tells its packets from those of other streams, and the ways of its flows apart.
    #[inline(always)]
    pub(super) fn key_on(self, head: &Head) -> u64 {
        let addresses = u64::from_be_bytes(bytes(head, SOURCE.start..TARGET.end));
        let ports = u32::from_be_bytes(bytes(head, UDP_SOURCE.start..UDP_TARGET.end));
        let route = addresses.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ u64::from(ports).rotate_left(40);
        self.key() ^ route.wrapping_mul(0xc4ce_b9fe_1a85_ec53)
    }

    /// The `len` bytes, at most [`MAX_SIZE`] - [`HEAD`], that follow the head of packet `sequence`.
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
/// The longest body at the last of 4096 starts.
const PATTERN_LEN: usize = (MAX_SIZE - HEAD + 4096).next_multiple_of(8);

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

pub(super) fn put(head: &mut Head, at: Range<usize>, bytes: &[u8]) {
    head[at].copy_from_slice(bytes);
}

/// The field of `head` at `at`, which is `N` bytes long.
#[inline(always)]
pub(super) fn bytes<const N: usize>(head: &Head, at: Range<usize>) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&head[at]);
    field
}
