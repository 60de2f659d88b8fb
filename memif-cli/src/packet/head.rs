//! The head of a test packet: its IP header, its UDP header and its numbers.

use etherparse::checksum::Sum16BitWords;

use super::ip::{fold, ones_sum};
use super::layout::{
    CHECK, DISCARD_PORT, FLOW_LABEL, Fill, IDENTIFICATION, INSTANCE, IP_CHECKSUM, IPV4, IPV4_HOPS,
    IPV4_LENGTH, IPV4_SOURCE, IPV4_TARGET, IPV6, IPV6_HOPS, IPV6_LENGTH, IPV6_SOURCE, IPV6_TARGET, MAGIC,
    MAGIC_FILLED, MAGIC_PLAIN, QUEUE, Stream, UDP, UDP_CHECKSUM, UDP_LENGTH, UDP_PORTS, UDP_SOURCE,
    UDP_TARGET, Version, bytes, put,
};
use super::route::Addresses;

/// The part of a test packet that is neither Ethernet header nor body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(super) ip: IpHeader,
    pub(super) udp: [u8; UDP],
}

/// An IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpHeader {
    V4([u8; IPV4]),
    V6([u8; IPV6]),
}

impl Head {
    /// The head of a stream's IP packets of `size` bytes, without addresses, UDP source port, sequence, stamp, check and UDP
    /// checksum. The checksum of an IPv4 header is that of one without addresses.
    pub(crate) fn new(stream: Stream, size: usize, fill: Fill, version: Version) -> Self {
        let [_, high, low @ ..] = stream.instance.to_be_bytes();
        let ip = match version {
            Version::V4 => {
                let mut ip = [0; IPV4];
                // don't fragment, 64 hops, UDP
                put(&mut ip, 0..IP_CHECKSUM.start, &[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
                put(&mut ip, IDENTIFICATION, &low);
                sign(&mut ip);
                IpHeader::V4(ip)
            }
            Version::V6 => {
                let mut ip = [0; IPV6];
                // UDP, 64 hops
                put(&mut ip, 0..IPV6_SOURCE.start, &[0x60, 0, 0, 0, 0, 0, 17, 64]);
                put(&mut ip, FLOW_LABEL, &low);
                IpHeader::V6(ip)
            }
        };
        let mut udp = [0; UDP];
        put(&mut udp, UDP_TARGET, &DISCARD_PORT.to_be_bytes());
        let magic = if fill == Fill::Plain { MAGIC_PLAIN } else { MAGIC_FILLED };
        put(&mut udp, MAGIC, &magic.to_le_bytes());
        [udp[QUEUE], udp[INSTANCE]] = [u8::try_from(stream.queue).unwrap_or(u8::MAX), high];
        let mut head = Self { ip, udp };
        head.resize(size);
        head
    }

    /// Makes it that of packets of `size` bytes: its lengths, and the checksum of an IPv4 header by what has changed (RFC 1624).
    pub(crate) fn resize(&mut self, size: usize) {
        let payload = length(size.saturating_sub(self.ip.version().header_len())).to_be_bytes();
        match &mut self.ip {
            IpHeader::V4(ip) => {
                let [was, checksum] =
                    [IPV4_LENGTH, IP_CHECKSUM].map(|field| u16::from_be_bytes(bytes(ip, field)));
                let is = length(size);
                let sum = fold(u32::from(!checksum) + u32::from(!was) + u32::from(is));
                put(ip, IPV4_LENGTH, &is.to_be_bytes());
                put(ip, IP_CHECKSUM, &(!sum).to_be_bytes());
            }
            IpHeader::V6(ip) => put(ip, IPV6_LENGTH, &payload),
        }
        put(&mut self.udp, UDP_LENGTH, &payload);
    }

    /// Sets the UDP source port, and the flow label of an IPv6 header, which has the port in it.
    pub(super) fn set_source_port(&mut self, port: [u8; 2]) {
        if let IpHeader::V6(ip) = &mut self.ip {
            let was: [u8; 2] = bytes(&self.udp, UDP_SOURCE);
            for (label, (was, is)) in ip[FLOW_LABEL].iter_mut().zip(was.into_iter().zip(port)) {
                *label ^= was ^ is;
            }
        }
        put(&mut self.udp, UDP_SOURCE, &port);
    }

    /// Sets the addresses, if they are of its version of IP, and the checksum of an IPv4 header.
    #[inline(always)]
    pub(super) fn set_addresses(&mut self, addresses: Addresses) {
        match (&mut self.ip, addresses) {
            (IpHeader::V4(ip), Addresses::V4 { source, target }) => {
                let new = (source.octets(), target.octets());
                if new != (bytes(ip, IPV4_SOURCE), bytes(ip, IPV4_TARGET)) {
                    put(ip, IPV4_SOURCE, &new.0);
                    put(ip, IPV4_TARGET, &new.1);
                    sign(ip);
                }
            }
            (IpHeader::V6(ip), Addresses::V6 { source, target }) => {
                put(ip, IPV6_SOURCE, &source.octets());
                put(ip, IPV6_TARGET, &target.octets());
            }
            _ => {}
        }
    }

    /// Sets the addresses and ports to those of another packet of the same stream.
    #[inline(always)]
    pub(super) fn set_route(&mut self, ip: Ip<'_>, udp: &[u8; UDP]) {
        self.set_addresses(ip.addresses());
        if self.udp[UDP_PORTS] != udp[UDP_PORTS] {
            self.set_source_port(bytes(udp, UDP_SOURCE));
            put(&mut self.udp, UDP_TARGET, &udp[UDP_TARGET]);
        }
    }
}

impl IpHeader {
    /// Its bytes.
    #[inline(always)]
    pub(super) fn borrow(&self) -> Ip<'_> {
        match self {
            Self::V4(ip) => Ip::V4(ip),
            Self::V6(ip) => Ip::V6(ip),
        }
    }

    fn version(&self) -> Version {
        self.borrow().version()
    }
}

/// The bytes of an IP header, of any content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ip<'p> {
    V4(&'p [u8; IPV4]),
    V6(&'p [u8; IPV6]),
}

impl Ip<'_> {
    pub(super) fn version(self) -> Version {
        match self {
            Self::V4(_) => Version::V4,
            Self::V6(_) => Version::V6,
        }
    }

    /// Bytes of the packet by this header.
    pub(super) fn packet_len(self) -> usize {
        match self {
            Self::V4(ip) => u16::from_be_bytes(bytes(ip, IPV4_LENGTH)).into(),
            Self::V6(ip) => IPV6 + usize::from(u16::from_be_bytes(bytes(ip, IPV6_LENGTH))),
        }
    }

    /// The lower 16 bits of the generator's instance.
    pub(super) fn instance(self, udp: &[u8; UDP]) -> [u8; 2] {
        match self {
            Self::V4(ip) => bytes(ip, IDENTIFICATION),
            Self::V6(ip) => {
                let ([a, b], [c, d]): ([u8; 2], [u8; 2]) = (bytes(ip, FLOW_LABEL), bytes(udp, UDP_SOURCE));
                [a ^ c, b ^ d]
            }
        }
    }

    #[inline(always)]
    fn addresses(self) -> Addresses {
        match self {
            Self::V4(ip) => {
                let [source, target] = [IPV4_SOURCE, IPV4_TARGET].map(|field| bytes::<4>(ip, field).into());
                Addresses::V4 { source, target }
            }
            Self::V6(ip) => {
                let [source, target] = [IPV6_SOURCE, IPV6_TARGET].map(|field| bytes::<16>(ip, field).into());
                Addresses::V6 { source, target }
            }
        }
    }

    /// A hash of both addresses.
    #[inline(always)]
    pub(super) fn hash_of_addresses(self) -> u64 {
        match self {
            Self::V4(ip) => u64::from_be_bytes(bytes(ip, IPV4_SOURCE.start..IPV4_TARGET.end)),
            Self::V6(ip) => {
                let (words, _) = ip[IPV6_SOURCE.start..IPV6_TARGET.end].as_chunks::<8>();
                words.iter().fold(0, |hash: u64, word| {
                    (hash ^ u64::from_be_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
                })
            }
        }
    }

    /// Whether this is `sent` after routers have passed it on: the hop limit is lower but not 0, the checksum of an IPv4 header
    /// is right, and the rest is the same.
    pub(super) fn is_routed(self, sent: Ip<'_>) -> bool {
        let (hops, sent_hops, same) = match (self, sent) {
            (Self::V4(now), Ip::V4(sent)) => {
                let rest = |header: &[u8; IPV4]| {
                    let mut header = *header;
                    header[IPV4_HOPS] = 0;
                    put(&mut header, IP_CHECKSUM, &[0; 2]);
                    header
                };
                let same = rest(now) == rest(sent) && ones_sum(now) == 0xffff;
                (now[IPV4_HOPS], sent[IPV4_HOPS], same)
            }
            (Self::V6(now), Ip::V6(sent)) => {
                let mut then = *now;
                then[IPV6_HOPS] = sent[IPV6_HOPS];
                (now[IPV6_HOPS], sent[IPV6_HOPS], then == *sent)
            }
            _ => return false,
        };
        same && (1..sent_hops).contains(&hops)
    }
}

/// The UDP checksum that an IPv6 packet must have. It does not depend on the one that is in the packet.
pub(super) fn udp_checksum(ip: &[u8; IPV6], udp: &[u8; UDP], body: &[u8]) -> [u8; 2] {
    let (before, after) = (&udp[..UDP_CHECKSUM.start], &udp[UDP_CHECKSUM.end..]);
    let sum = Sum16BitWords::new()
        .add_slice(&ip[IPV6_SOURCE.start..IPV6_TARGET.end])
        .add_2bytes(bytes(ip, IPV6_LENGTH))
        .add_2bytes([0, 17])
        .add_slice(before)
        .add_slice(after)
        .add_slice(body);
    // in the byte order of the machine
    sum.to_ones_complement_with_no_zero().to_ne_bytes()
}

/// Computes the checksum of an IPv4 header.
pub(super) fn sign(ip: &mut [u8; IPV4]) {
    put(ip, IP_CHECKSUM, &[0; 2]);
    let checksum = !ones_sum(ip);
    put(ip, IP_CHECKSUM, &checksum.to_be_bytes());
}

/// Whether the UDP header and what follows it up to the numbers are as in `expected`, leaving out the checksum.
#[inline(always)]
pub(super) fn is_same_udp(udp: &[u8; UDP], expected: &[u8; UDP]) -> bool {
    udp[..UDP_CHECKSUM.start] == expected[..UDP_CHECKSUM.start]
        && udp[MAGIC.start..CHECK.start] == expected[MAGIC.start..CHECK.start]
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
