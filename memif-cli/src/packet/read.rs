//! The sink's side: reads test packets.

use super::ip::ones_sum;
use super::layout::{
    CHECK, ETHER_SOURCE, ETHERNET_HEADER, FIRST_PORT, Fill, Framing, HEAD, HOPS, Head, IDENTIFICATION,
    IP_CHECKSUM, IP_LENGTH, IPV4, MAGIC, MAGIC_FILLED, MAGIC_PLAIN, MAX_SIZE, SEQUENCE, SOURCE, STAMP,
    Stream, UDP_SOURCE, bytes, put,
};

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
        let (ethernet, ip) = packet.split_at_checked(framing.header_len())?;
        let (head, body) = ip.split_first_chunk::<HEAD>()?;
        let fill = match u32::from_le_bytes(bytes(head, MAGIC)) {
            MAGIC_PLAIN => Fill::Plain,
            MAGIC_FILLED => Fill::BySequence,
            _ => return None,
        };
        let routed =
            framing == Framing::Ethernet && ethernet.get(ETHER_SOURCE) != ETHERNET_HEADER.get(ETHER_SOURCE);
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
        let [a, b] = bytes(self.head, IDENTIFICATION);
        let [c, d] = bytes(self.head, SOURCE);
        let port = u16::from_be_bytes(bytes(self.head, UDP_SOURCE));
        Stream { instance: u32::from_be_bytes([a, b, c, d]), queue: port.wrapping_sub(FIRST_PORT) }
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

    /// Whether stream, sequence and stamp are as they were sent.
    pub(crate) fn numbers_are_whole(&self) -> bool {
        let check = self.stream().check(self.sequence(), self.stamp().unwrap_or(0));
        check.to_le_bytes() == bytes(self.head, CHECK)
    }

    /// Whether everything before the numbers is as it was sent: `expected` is the [`head`](super::head) of its stream at its
    /// [`TestPacket::sent_size`]. In an
    /// IP packet, routers may have counted down the hops.
    pub(crate) fn has_head(&self, expected: &Head) -> bool {
        let same = self.head.first_chunk::<{ CHECK.start }>() == expected.first_chunk::<{ CHECK.start }>();
        if self.ethernet.is_empty() {
            same || self.is_routed(expected)
        } else {
            same && self.ethernet == ETHERNET_HEADER
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
