//! The sink's side: reads test packets.

use super::head::{Head, Ip, is_same_udp, udp_checksum};
use super::layout::{
    CHECK, ETHER_SOURCE, ETHER_TYPE, ETHERNET_HEADER, Fill, Framing, INSTANCE, IPV4, IPV6, MAGIC,
    MAGIC_FILLED, MAGIC_PLAIN, MAX_SIZE, QUEUE, SEQUENCE, STAMP, Stream, TAG_TYPE, TAGGED, UDP, UDP_CHECKSUM,
    Version, bytes, check,
};
use super::template::ethernet_header;

/// A packet that carries the tool's magic: what its head says. Nothing of it has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestPacket<'p> {
    ethernet: &'p [u8],
    ip: Ip<'p>,
    udp: &'p [u8; UDP],
    body: &'p [u8],
    fill: Fill,
}

impl<'p> TestPacket<'p> {
    /// `None` when it is not a test packet.
    #[inline(always)]
    pub(crate) fn parse(packet: &'p [u8], framing: Framing) -> Option<Self> {
        Self::behind(packet, framing.header_len()).or_else(|| Self::tagged(packet, framing))
    }

    /// Of a packet with an 802.1Q tag.
    #[cold]
    fn tagged(packet: &'p [u8], framing: Framing) -> Option<Self> {
        let tagged = framing == Framing::Ethernet && packet.get(ETHER_TYPE)? == TAG_TYPE;
        tagged.then(|| Self::behind(packet, TAGGED)).flatten()
    }

    #[inline(always)]
    fn behind(packet: &'p [u8], header_len: usize) -> Option<Self> {
        let (ethernet, ip) = packet.split_at_checked(header_len)?;
        if ip.first()? >> 4 == 6 {
            let (header, datagram) = ip.split_first_chunk::<IPV6>()?;
            return Self::behind_ip(ethernet, Ip::V6(header), datagram);
        }
        let (header, datagram) = ip.split_first_chunk::<IPV4>()?;
        Self::behind_ip(ethernet, Ip::V4(header), datagram)
    }

    #[inline(always)]
    fn behind_ip(ethernet: &'p [u8], ip: Ip<'p>, datagram: &'p [u8]) -> Option<Self> {
        let (udp, body) = datagram.split_first_chunk::<UDP>()?;
        let fill = match u16::from_le_bytes(bytes(udp, MAGIC)) {
            MAGIC_PLAIN => Fill::Plain,
            MAGIC_FILLED => Fill::BySequence,
            _ => return None,
        };
        let routed = !ethernet.is_empty() && ethernet.get(ETHER_SOURCE) != ETHERNET_HEADER.get(ETHER_SOURCE);
        let longest = MAX_SIZE - ip.version().head_len();
        (!routed && body.len() <= longest).then_some(Self { ethernet, ip, udp, body, fill })
    }

    /// Nanoseconds of the sender's monotonic clock, `None` when the packet is not stamped.
    #[inline(always)]
    pub(crate) fn stamp(&self) -> Option<u64> {
        let stamp = u64::from_le_bytes(bytes(self.udp, STAMP));
        (stamp != 0).then_some(stamp)
    }

    /// The stream that it says it belongs to.
    pub(crate) fn stream(&self) -> Stream {
        let [low, middle] = self.ip.instance(self.udp);
        let instance = u32::from_be_bytes([0, self.udp[INSTANCE], low, middle]);
        Stream { instance, queue: self.udp[QUEUE].into() }
    }

    /// The version of IP.
    pub(crate) fn version(&self) -> Version {
        self.ip.version()
    }

    /// Its number in its stream.
    pub(crate) fn sequence(&self) -> u64 {
        u64::from_le_bytes(bytes(self.udp, SEQUENCE))
    }

    /// How the generator filled its body.
    pub(crate) fn fill(&self) -> Fill {
        self.fill
    }

    /// Bytes of the IP packet.
    pub(crate) fn ip_size(&self) -> usize {
        self.version().head_len() + self.body.len()
    }

    /// Bytes of the IP packet by its own header: as many as were sent.
    pub(crate) fn sent_size(&self) -> usize {
        self.ip.packet_len()
    }

    /// Whether stream, addresses, ports, sequence and stamp are as they were sent.
    pub(crate) fn numbers_are_whole(&self) -> bool {
        let key = self.stream().key_on(self.ip.hash_of_addresses(), self.udp);
        check(key, self.sequence(), self.stamp().unwrap_or(0)).to_le_bytes() == bytes(self.udp, CHECK)
    }

    /// Whether everything before the numbers, except the UDP checksum, is as it was sent. `expected` is the head of its stream's
    /// packets of [`TestPacket::sent_size`]. A packet without an Ethernet header may have a lower hop limit, as routers make it.
    pub(crate) fn has_head(&self, expected: &Head) -> bool {
        let same = self.ip == expected.ip.borrow() && is_same_udp(self.udp, &expected.udp);
        if self.ethernet.is_empty() {
            same || self.is_routed(expected)
        } else {
            same && has_ethernet_header(self.ethernet, self.version())
        }
    }

    /// Makes `expected`, the head of another packet of its stream, have its addresses and ports.
    #[inline(always)]
    pub(crate) fn give_route(&self, expected: &mut Head) {
        expected.set_route(self.ip, self.udp);
    }

    #[cold]
    fn is_routed(&self, expected: &Head) -> bool {
        self.ip.is_routed(expected.ip.borrow()) && is_same_udp(self.udp, &expected.udp)
    }

    /// Whether the UDP checksum is right, which IPv4 packets do without. One that is not as long as it was sent has a wrong one.
    pub(crate) fn has_right_checksum(&self) -> bool {
        let expected = match self.ip {
            Ip::V4(_) => [0; 2],
            Ip::V6(ip) => udp_checksum(ip, self.udp, self.body),
        };
        self.udp[UDP_CHECKSUM] == expected
    }

    /// Whether the body is the one of its stream and sequence; only for [`Fill::BySequence`].
    pub(crate) fn has_its_body(&self) -> bool {
        self.body == self.stream().body(self.sequence(), self.body.len())
    }
}

/// Whether these are the bytes before the IP header, with or without a tag.
fn has_ethernet_header(bytes: &[u8], version: Version) -> bool {
    let untagged = ethernet_header(version);
    match bytes.split_at_checked(ETHER_TYPE.start) {
        Some((addresses, rest)) if bytes.len() == TAGGED => {
            addresses == &untagged[..ETHER_TYPE.start]
                && rest.starts_with(&TAG_TYPE)
                && rest.ends_with(&untagged[ETHER_TYPE])
        }
        _ => bytes == untagged,
    }
}
