//! The sink's side: reads test packets.

use super::ip::ones_sum;
use super::layout::{
    CHECK, ETHER_SOURCE, ETHER_TYPE, ETHERNET_HEADER, Fill, Framing, HEAD, HOPS, Head, IDENTIFICATION,
    INSTANCE, IP_CHECKSUM, IP_LENGTH, IPV4, MAGIC, MAGIC_FILLED, MAGIC_PLAIN, MAX_SIZE, QUEUE, ROUTE,
    SEQUENCE, STAMP, Stream, TAG_TYPE, TAGGED, bytes, check, put,
};
use super::template::sign;

/// A packet that carries the tool's magic: what its head says. Nothing of it has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TestPacket<'p> {
    ethernet: &'p [u8],
    head: &'p Head,
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
        let (head, body) = ip.split_first_chunk::<HEAD>()?;
        let fill = match u16::from_le_bytes(bytes(head, MAGIC)) {
            MAGIC_PLAIN => Fill::Plain,
            MAGIC_FILLED => Fill::BySequence,
            _ => return None,
        };
        let routed = header_len > 0 && ethernet.get(ETHER_SOURCE) != ETHERNET_HEADER.get(ETHER_SOURCE);
        (!routed && body.len() <= MAX_SIZE - HEAD).then_some(Self { ethernet, head, body, fill })
    }

    /// Nanoseconds of the sender's monotonic clock, `None` when the packet is not stamped.
    #[inline(always)]
    pub(crate) fn stamp(&self) -> Option<u64> {
        let stamp = u64::from_le_bytes(bytes(self.head, STAMP));
        (stamp != 0).then_some(stamp)
    }

    /// The stream that it says it belongs to.
    pub(crate) fn stream(&self) -> Stream {
        let [low, middle] = bytes(self.head, IDENTIFICATION);
        let instance = u32::from_be_bytes([0, self.head[INSTANCE], low, middle]);
        Stream { instance, queue: self.head[QUEUE].into() }
    }

    /// Its number in its stream.
    pub(crate) fn sequence(&self) -> u64 {
        u64::from_le_bytes(bytes(self.head, SEQUENCE))
    }

    /// How the generator filled its body.
    pub(crate) fn fill(&self) -> Fill {
        self.fill
    }

    /// Bytes of the IP packet.
    pub(crate) fn ip_size(&self) -> usize {
        HEAD + self.body.len()
    }

    /// Bytes of the IP packet by its own header: as many as were sent.
    pub(crate) fn sent_size(&self) -> usize {
        u16::from_be_bytes(bytes(self.head, IP_LENGTH)).into()
    }

    /// Whether stream, addresses, ports, sequence and stamp are as they were sent.
    pub(crate) fn numbers_are_whole(&self) -> bool {
        let key = self.stream().key_on(self.head);
        check(key, self.sequence(), self.stamp().unwrap_or(0)).to_le_bytes() == bytes(self.head, CHECK)
    }

    /// Whether everything before the numbers is as it was sent: `expected` is the [`head`](super::head) of its stream at its
    /// [`TestPacket::sent_size`]. In an
    /// IP packet, routers may have counted down the hops.
    pub(crate) fn has_head(&self, expected: &Head) -> bool {
        let same = self.head.first_chunk::<{ CHECK.start }>() == expected.first_chunk::<{ CHECK.start }>();
        if self.ethernet.is_empty() {
            same || self.is_routed(expected)
        } else {
            same && has_ethernet_header(self.ethernet)
        }
    }

    /// Makes `expected`, the head of another packet of its stream, have its addresses and ports.
    #[inline(always)]
    pub(crate) fn give_route(&self, expected: &mut Head) {
        let route = bytes::<{ ROUTE.end - ROUTE.start }>(self.head, ROUTE);
        if expected[ROUTE] != route {
            put(expected, ROUTE, &route);
            sign(expected);
        }
    }

    #[cold]
    fn is_routed(&self, expected: &Head) -> bool {
        let (hops, sent) = (self.head[HOPS], expected[HOPS]);
        let rest = |head: &Head| {
            let mut head = *head;
            head[HOPS] = 0;
            put(&mut head, IP_CHECKSUM, &[0; 2]);
            head.first_chunk::<{ CHECK.start }>().copied()
        };
        (1..sent).contains(&hops)
            && rest(self.head) == rest(expected)
            && ones_sum(&self.head[..IPV4]) == 0xffff
    }

    /// Whether the body is the one of its stream and sequence; only for [`Fill::BySequence`].
    pub(crate) fn has_its_body(&self) -> bool {
        self.body == self.stream().body(self.sequence(), self.body.len())
    }
}

/// Whether these are the bytes before the IP header, with or without a tag.
fn has_ethernet_header(bytes: &[u8]) -> bool {
    match bytes.split_at_checked(ETHER_TYPE.start) {
        Some((addresses, rest)) if bytes.len() == TAGGED => {
            addresses == &ETHERNET_HEADER[..ETHER_TYPE.start]
                && rest.starts_with(&TAG_TYPE)
                && rest.ends_with(&ETHERNET_HEADER[ETHER_TYPE])
        }
        _ => bytes == ETHERNET_HEADER,
    }
}
