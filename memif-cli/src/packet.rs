//! Test packets: what the generator sends and a sink can check to the last byte.
//!
//! A test packet is Ethernet, IPv4 and UDP from 198.18.0.1 to 198.19.0.1 port 9 (discard), so that any peer may
//! forward or drop it, followed by 22 bytes of our own and a body:
//!
//! | offset | field |
//! | --- | --- |
//! | 6 | source address: `02:6d` and the generator's instance, u32 big-endian |
//! | 34 | UDP source port: 0xC000 and the generator's queue |
//! | 42 | magic u32, one value with the body filled by sequence and one without |
//! | 46 | check u16 over stream, sequence and stamp |
//! | 48 | sequence u64, from 0 for each stream |
//! | 56 | stamp u64: nanoseconds of the monotonic clock, 0 = not stamped |
//! | 64 | body |
//!
//! Our own numbers are little-endian. A *stream* is what one queue of one run of a generator sends.

use std::ops::Range;

/// Smallest test packet, in bytes: its headers.
pub(crate) const MIN_SIZE: usize = 64;
/// Largest packet that memif interfaces take, in bytes.
pub(crate) const MAX_SIZE: usize = 65535;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;

const ETHER_TYPE: Range<usize> = 12..14;
const MAC_PREFIX: Range<usize> = 6..8;
const INSTANCE: Range<usize> = 8..12;
const UDP_SOURCE: Range<usize> = 34..36;
const MAGIC: Range<usize> = 42..46;
const CHECK: Range<usize> = 46..48;
const SEQUENCE: Range<usize> = 48..56;
const STAMP: Range<usize> = 56..64;

const FIRST_PORT: u16 = 0xC000;
const DISCARD_PORT: u16 = 9;
const MAGIC_PLAIN: u32 = 0x6d65_6d70;
const MAGIC_FILLED: u32 = 0x6d65_6d66;

/// The part of a test packet that is no body.
pub(crate) type Head = [u8; MIN_SIZE];

/// What one queue of one run of a generator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// A number that every run of a generator chooses at random.
    pub instance: u32,
    /// The generating queue, 0 to 255.
    pub queue: u16,
}

impl Stream {
    /// Tells streams apart where a single number is needed.
    fn key(self) -> u64 {
        (u64::from(self.instance) << 16 | u64::from(self.queue)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Guards the numbers of the head, which no other checksum covers.
    fn check(self, sequence: u64, stamp: u64) -> u16 {
        let mixed = (sequence ^ stamp.rotate_left(32) ^ self.key()).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> 48) as u16
    }

    /// The `len` bytes, at most [`MAX_SIZE`] - [`MIN_SIZE`], that follow the head of packet `sequence`.
    fn body(self, sequence: u64, len: usize) -> &'static [u8] {
        let start = ((sequence ^ self.key()).wrapping_mul(0x9fb2_1c65_1e98_df25) >> 52) as usize;
        PATTERN.get(start..start + len).unwrap_or_default()
    }
}

/// Bodies are windows into this: any two starts differ at once, and comparing is one memcmp.
static PATTERN: [u8; PATTERN_LEN] = pattern();
/// The longest body at the last of 4096 starts.
const PATTERN_LEN: usize = (MAX_SIZE - MIN_SIZE + 4096).next_multiple_of(8);

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

/// Whether bodies are different for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// All packets of a stream have one body: fast, and says nothing about content.
    Plain,
    /// The body depends on stream and sequence, for a sink that verifies.
    BySequence,
}

/// Makes the packets of one stream, all of one size.
#[derive(Debug)]
pub(crate) struct Template {
    stream: Stream,
    fill: Fill,
    head: Head,
}

impl Template {
    /// Packets of `size` bytes, which is brought into [`MIN_SIZE`] to [`MAX_SIZE`].
    pub(crate) fn new(stream: Stream, size: usize, fill: Fill) -> Self {
        Self { stream, fill, head: head(stream, size.clamp(MIN_SIZE, MAX_SIZE), fill) }
    }

    /// Fills `packet`, which has the template's size, as number `sequence`, stamped with `stamp` nanoseconds or 0.
    #[inline(always)]
    pub(crate) fn write(&self, packet: &mut [u8], sequence: u64, stamp: u64) {
        let Some((head, body)) = packet.split_first_chunk_mut::<MIN_SIZE>() else { return };
        *head = self.head;
        put(head, CHECK, &self.stream.check(sequence, stamp).to_le_bytes());
        put(head, SEQUENCE, &sequence.to_le_bytes());
        put(head, STAMP, &stamp.to_le_bytes());
        if !body.is_empty() {
            let number = if self.fill == Fill::Plain { 0 } else { sequence };
            let content = self.stream.body(number, body.len());
            if content.len() == body.len() {
                body.copy_from_slice(content);
            }
        }
    }
}

/// The head of a stream's packets of `size` bytes, without sequence, stamp and check.
pub(crate) fn head(stream: Stream, size: usize, fill: Fill) -> Head {
    let mut head = [0; MIN_SIZE];
    put(&mut head, 0..6, &[0x02, 0x6d, 0x69, 0x66, 0, 1]);
    put(&mut head, MAC_PREFIX, &[0x02, 0x6d]);
    put(&mut head, INSTANCE, &stream.instance.to_be_bytes());
    put(&mut head, ETHER_TYPE, &[0x08, 0x00]);
    put(&mut head, ETHERNET..ETHERNET + IPV4, &ipv4_header(size));
    put(&mut head, UDP_SOURCE, &FIRST_PORT.wrapping_add(stream.queue).to_be_bytes());
    put(&mut head, 36..38, &DISCARD_PORT.to_be_bytes());
    put(&mut head, 38..40, &length(size - ETHERNET - IPV4).to_be_bytes());
    let magic = if fill == Fill::Plain { MAGIC_PLAIN } else { MAGIC_FILLED };
    put(&mut head, MAGIC, &magic.to_le_bytes());
    head
}

fn ipv4_header(size: usize) -> [u8; IPV4] {
    let [high, low] = length(size - ETHERNET).to_be_bytes();
    // don't fragment, 64 hops, UDP
    let mut header = [0x45, 0, high, low, 0, 0, 0x40, 0, 64, 17, 0, 0, 198, 18, 0, 1, 198, 19, 0, 1];
    let [high, low] = (!ones_sum(&header)).to_be_bytes();
    header[10] = high;
    header[11] = low;
    header
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

fn put(head: &mut Head, at: Range<usize>, bytes: &[u8]) {
    head[at].copy_from_slice(bytes);
}

/// The ones' complement sum of IPv4 (RFC 1071).
fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from)).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or_default() // folded above
}

/// A packet that carries our magic: what its head says. Nothing of it has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestPacket<'p> {
    head: &'p Head,
    body: &'p [u8],
    fill: Fill,
}

impl<'p> TestPacket<'p> {
    /// `None` when it is none of ours.
    #[inline(always)]
    pub(crate) fn parse(packet: &'p [u8]) -> Option<Self> {
        let (head, body) = packet.split_first_chunk::<MIN_SIZE>()?;
        let fill = match u32::from_le_bytes(bytes(head, MAGIC)) {
            MAGIC_PLAIN => Fill::Plain,
            MAGIC_FILLED => Fill::BySequence,
            _ => return None,
        };
        (bytes(head, MAC_PREFIX) == [0x02, 0x6d] && body.len() <= MAX_SIZE - MIN_SIZE).then_some(Self {
            head,
            body,
            fill,
        })
    }

    /// Nanoseconds of the sender's monotonic clock, `None` when the packet is not stamped.
    #[inline(always)]
    pub(crate) fn stamp(&self) -> Option<u64> {
        let stamp = u64::from_le_bytes(bytes(self.head, STAMP));
        (stamp != 0).then_some(stamp)
    }

    /// The stream that it says it belongs to.
    pub(crate) fn stream(&self) -> Stream {
        let port = u16::from_be_bytes(bytes(self.head, UDP_SOURCE));
        Stream {
            instance: u32::from_be_bytes(bytes(self.head, INSTANCE)),
            queue: port.wrapping_sub(FIRST_PORT),
        }
    }

    /// Its number in its stream.
    pub(crate) fn sequence(&self) -> u64 {
        u64::from_le_bytes(bytes(self.head, SEQUENCE))
    }

    /// How the generator filled its body.
    pub(crate) fn fill(&self) -> Fill {
        self.fill
    }

    /// Bytes of the whole packet.
    pub(crate) fn size(&self) -> usize {
        MIN_SIZE + self.body.len()
    }

    /// Whether stream, sequence and stamp are as they were sent.
    pub(crate) fn numbers_are_whole(&self) -> bool {
        let check = self.stream().check(self.sequence(), self.stamp().unwrap_or(0));
        check.to_le_bytes() == bytes(self.head, CHECK)
    }

    /// Whether everything before the numbers is like `expected`, the [`head`] of its stream at its size.
    pub(crate) fn has_head(&self, expected: &Head) -> bool {
        self.head.first_chunk::<{ CHECK.start }>() == expected.first_chunk::<{ CHECK.start }>()
    }

    /// Whether the body is the one of its stream and sequence; only for [`Fill::BySequence`].
    pub(crate) fn has_its_body(&self) -> bool {
        self.body == self.stream().body(self.sequence(), self.body.len())
    }
}

/// The field of `head` at `at`, which is `N` bytes long.
#[inline(always)]
fn bytes<const N: usize>(head: &Head, at: Range<usize>) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&head[at]);
    field
}

/// Whether a packet of any origin is IPv4 with a right header checksum and a total length that is its own; short
/// packets may be padded, as Ethernet pads them.
pub(crate) fn is_sound_ipv4(packet: &[u8]) -> bool {
    let Some((ethernet, ip)) = packet.split_at_checked(ETHERNET) else { return false };
    let Some(&[first, _, high, low]) = ip.first_chunk::<4>() else { return false };
    let header_len = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([high, low]));
    let right_length = total == ip.len() || (total < ip.len() && packet.len() <= MIN_SIZE);
    ethernet.ends_with(&[0x08, 0x00])
        && first >> 4 == 4
        && (IPV4..=total).contains(&header_len)
        && right_length
        && ip.get(..header_len).is_some_and(|header| ones_sum(header) == 0xffff)
}

const _: () = assert!(ETHERNET + IPV4 + UDP == MAGIC.start && STAMP.end == MIN_SIZE);

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream { instance: 0xdead_beef, queue: 255 };

    fn packet(size: usize, fill: Fill, sequence: u64, stamp: u64) -> Vec<u8> {
        let mut packet = vec![0xaa; size];
        Template::new(STREAM, size, fill).write(&mut packet, sequence, stamp);
        packet
    }

    #[test]
    fn what_is_written_is_read() {
        for size in [64, 65, 1514, 9000, 65535] {
            for (fill, sequence, stamp) in [(Fill::Plain, 0, 0), (Fill::BySequence, u64::MAX, 1)] {
                let packet = packet(size, fill, sequence, stamp);
                let read = TestPacket::parse(&packet).unwrap();
                assert_eq!((read.stream(), read.sequence(), read.fill()), (STREAM, sequence, fill));
                assert_eq!((read.stamp(), read.size()), ((stamp != 0).then_some(stamp), size));
                assert!(read.numbers_are_whole() && read.has_head(&head(STREAM, size, fill)));
                assert_eq!(read.has_its_body(), size == 64 || fill == Fill::BySequence || sequence == 0);
                assert!(is_sound_ipv4(&packet));
            }
        }
    }

    #[test]
    fn headers_are_as_the_rfcs_have_them() {
        let packet = packet(1514, Fill::Plain, 0, 0);
        assert_eq!(packet[12..18], [0x08, 0x00, 0x45, 0, 0x05, 0xdc]);
        assert_eq!(packet[23], 17);
        // the checksum of this header, computed by hand
        let words = [0x4500u32, 0x05dc, 0, 0x4000, 0x4011, 0xc612, 0x0001, 0xc613, 0x0001];
        let sum = words.iter().sum::<u32>();
        let sum = (sum & 0xffff) + (sum >> 16);
        assert_eq!(u32::from(u16::from_be_bytes([packet[24], packet[25]])), 0xffff - sum);
        assert_eq!(packet[34..42], [0xc0, 0xff, 0, 9, 0x05, 0xc8, 0, 0]);
        assert_eq!(packet[6] & 3, 2, "locally administered, unicast");
    }

    #[test]
    fn a_change_anywhere_shows() {
        let good = packet(200, Fill::BySequence, 77, 12345);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let seen = TestPacket::parse(&bad).is_some_and(|read| {
                read.numbers_are_whole()
                    && read.has_head(&head(STREAM, 200, Fill::BySequence))
                    && read.has_its_body()
            });
            assert!(!seen, "byte {at}");
        }
    }

    #[test]
    fn bodies_differ_by_sequence_and_stream() {
        let (a, b) = (packet(1514, Fill::BySequence, 1, 0), packet(1514, Fill::BySequence, 2, 0));
        assert_ne!(a[64..], b[64..]);
        let other = Stream { queue: 0, ..STREAM };
        assert_ne!(STREAM.body(1, 100), other.body(1, 100));
        for sequence in 0..10_000 {
            assert_eq!(STREAM.body(sequence, MAX_SIZE - MIN_SIZE).len(), MAX_SIZE - MIN_SIZE);
        }
    }

    #[test]
    fn strangers_are_not_ours() {
        for len in [0, 1, 13, 14, 33, 34, 63, 64, 1514] {
            assert!(TestPacket::parse(&vec![0; len]).is_none(), "{len}");
            assert!(!is_sound_ipv4(&vec![0; len]), "{len}");
            assert!(!is_sound_ipv4(&vec![0xff; len]), "{len}");
        }
        assert!(TestPacket::parse(&packet(64, Fill::Plain, 0, 0)[..63]).is_none());
    }

    #[test]
    fn ipv4_is_checked() {
        let good = packet(100, Fill::Plain, 0, 0);
        assert!(is_sound_ipv4(&good));
        assert!(!is_sound_ipv4(&good[..99]), "too short");
        assert!(!is_sound_ipv4(&[&good[..], &[0]].concat()), "too long");
        for at in 12..34 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(!is_sound_ipv4(&bad), "byte {at}");
        }
        let mut padded = vec![0; 60];
        padded[12..14].copy_from_slice(&[8, 0]);
        padded[14..34].copy_from_slice(&ipv4_header(14 + 28));
        assert!(is_sound_ipv4(&padded));
    }
}
