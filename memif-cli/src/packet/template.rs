//! The generator's side: makes test packets.

use super::ip::{fold, ones_sum};
use super::layout::{
    CHECK, DISCARD_PORT, ETHER_TYPE, ETHERNET, ETHERNET_HEADER, FIRST_PORT, FLOW_PORTS, Fill, Framing, HEAD,
    Head, IDENTIFICATION, INSTANCE, IP_CHECKSUM, IP_LENGTH, IPV4, MAGIC, MAGIC_FILLED, MAGIC_PLAIN, QUEUE,
    SEQUENCE, SOURCE, STAMP, Stream, TAG_TYPE, TAGGED, TARGET, UDP_LENGTH, UDP_SOURCE, UDP_TARGET, bytes,
    check, put,
};
use super::route::Route;

/// Makes the packets of one stream, of any size. Fastest when packets that follow each other have one size.
#[derive(Debug)]
pub(crate) struct Template {
    stream: Stream,
    framing: Framing,
    fill: Fill,
    route: Route,
    /// The Ethernet header with its tag, if there is one.
    tagged: Option<[u8; TAGGED]>,
    /// The head of packets of `ip_size`.
    head: Head,
    /// The key of the stream on the head's route.
    key: u64,
    ip_size: usize,
}

impl Template {
    /// The packets of `stream`.
    pub(crate) fn new(stream: Stream, framing: Framing, fill: Fill, route: Route) -> Self {
        let mut head = head(stream, HEAD, fill);
        put(&mut head, SOURCE, &route.source.octets());
        put(&mut head, TARGET, &route.target.octets());
        sign(&mut head);
        let tagged = route.vlan.filter(|_| framing == Framing::Ethernet).map(tagged);
        let mut template = Self { stream, framing, fill, route, tagged, head, key: 0, ip_size: HEAD };
        template.turn_to(0);
        template
    }

    /// Fills `packet` as number `sequence`, stamped with `stamp` nanoseconds or 0. One that is shorter than
    /// [`Framing::min_size`], and with a tag 4 bytes more, is left as it is.
    #[inline(always)]
    pub(crate) fn write(&mut self, packet: &mut [u8], sequence: u64, stamp: u64) {
        let mut ip = packet;
        if self.framing == Framing::Ethernet {
            if let Some(header) = &self.tagged {
                let Some((ethernet, rest)) = ip.split_first_chunk_mut() else { return };
                *ethernet = *header;
                ip = rest;
            } else {
                let Some((ethernet, rest)) = ip.split_first_chunk_mut::<ETHERNET>() else { return };
                *ethernet = ETHERNET_HEADER;
                ip = rest;
            }
        }
        if ip.len() != self.ip_size {
            self.ip_size = ip.len();
            resize(&mut self.head, self.ip_size);
        }
        if self.route.flows > 1 {
            self.turn_to(sequence);
        }
        let Some((head, body)) = ip.split_first_chunk_mut::<HEAD>() else { return };
        *head = self.head;
        put(head, CHECK, &check(self.key, sequence, stamp).to_le_bytes());
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

    /// Makes the head that of the flow of packet `sequence`.
    fn turn_to(&mut self, sequence: u64) {
        let flows = self.route.flows.max(1);
        let within = u32::try_from(sequence % u64::from(flows)).unwrap_or_default();
        let flow = u32::from(self.stream.queue).wrapping_mul(flows).wrapping_add(within);
        let port = FIRST_PORT | u16::try_from(flow % FLOW_PORTS).unwrap_or_default();
        put(&mut self.head, UDP_SOURCE, &port.to_be_bytes());
        let source = u32::from(self.route.source).wrapping_add(flow / FLOW_PORTS).to_be_bytes();
        if bytes(&self.head, SOURCE) != source {
            put(&mut self.head, SOURCE, &source);
            sign(&mut self.head);
        }
        self.key = self.stream.key_on(&self.head);
    }
}

/// The head of a stream's IP packets of `size` bytes, without addresses, UDP source port, sequence, stamp and check. Its
/// checksum is that of a header without addresses.
pub(crate) fn head(stream: Stream, size: usize, fill: Fill) -> Head {
    let mut head = [0; HEAD];
    let [_, high, low @ ..] = stream.instance.to_be_bytes();
    // don't fragment, 64 hops, UDP
    put(&mut head, 0..IP_CHECKSUM.start, &[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
    put(&mut head, IDENTIFICATION, &low);
    put(&mut head, IP_LENGTH, &length(size).to_be_bytes());
    sign(&mut head);
    put(&mut head, UDP_TARGET, &DISCARD_PORT.to_be_bytes());
    put(&mut head, UDP_LENGTH, &length(size.saturating_sub(IPV4)).to_be_bytes());
    let magic = if fill == Fill::Plain { MAGIC_PLAIN } else { MAGIC_FILLED };
    put(&mut head, MAGIC, &magic.to_le_bytes());
    [head[QUEUE], head[INSTANCE]] = [u8::try_from(stream.queue).unwrap_or(u8::MAX), high];
    head
}

/// Makes `head` that of packets of `size` bytes: its lengths, and its checksum by what has changed (RFC 1624).
pub(crate) fn resize(head: &mut Head, size: usize) {
    let [was, checksum] = [IP_LENGTH, IP_CHECKSUM].map(|field| u16::from_be_bytes(bytes(head, field)));
    let is = length(size);
    let sum = fold(u32::from(!checksum) + u32::from(!was) + u32::from(is));
    put(head, IP_LENGTH, &is.to_be_bytes());
    put(head, IP_CHECKSUM, &(!sum).to_be_bytes());
    put(head, UDP_LENGTH, &length(size.saturating_sub(IPV4)).to_be_bytes());
}

/// Computes the checksum of the IP header.
pub(super) fn sign(head: &mut Head) {
    put(head, IP_CHECKSUM, &[0; 2]);
    let checksum = !ones_sum(&head[..IPV4]);
    put(head, IP_CHECKSUM, &checksum.to_be_bytes());
}

/// The Ethernet header with an 802.1Q tag.
fn tagged(vlan: u16) -> [u8; TAGGED] {
    let mut header = [0; TAGGED];
    let (addresses, rest) = header.split_at_mut(ETHER_TYPE.start);
    addresses.copy_from_slice(&ETHERNET_HEADER[..ETHER_TYPE.start]);
    let [a, b] = TAG_TYPE;
    let [c, d] = (vlan & 0x0fff).to_be_bytes();
    rest.copy_from_slice(&[a, b, c, d, ETHERNET_HEADER[12], ETHERNET_HEADER[13]]);
    header
}

fn length(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}
