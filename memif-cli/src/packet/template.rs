//! The generator's side: makes test packets.

use super::head::{Head, IpHeader, udp_checksum};
use super::layout::{
    CHECK, ETHER_TYPE, ETHER_TYPE_IPV6, ETHERNET, ETHERNET_HEADER, FIRST_PORT, FLOW_PORTS, Fill, Framing,
    IPV4, IPV6, SEQUENCE, STAMP, Stream, TAG_TYPE, TAGGED, UDP, UDP_CHECKSUM, Version, check, put,
};
use super::route::{Addresses, Route};

/// Makes the packets of one stream, of any size. Fastest when packets that follow each other have one size.
#[derive(Debug)]
pub(crate) struct Template {
    stream: Stream,
    framing: Framing,
    fill: Fill,
    route: Route,
    ethernet: [u8; ETHERNET],
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
        let version = route.addresses.version();
        let ip_size = version.head_len();
        let head = Head::new(stream, ip_size, fill, version);
        let ethernet = ethernet_header(version);
        let tagged = route.vlan.filter(|_| framing == Framing::Ethernet).map(|vlan| tagged(ethernet, vlan));
        let mut template = Self { stream, framing, fill, route, ethernet, tagged, head, key: 0, ip_size };
        template.turn_to(0);
        template
    }

    /// Fills `packet` as number `sequence`, stamped with `stamp` nanoseconds or 0. One that is shorter than
    /// [`Framing::min_size`], and with a tag 4 bytes more, is not completed.
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
                *ethernet = self.ethernet;
                ip = rest;
            }
        }
        if ip.len() != self.ip_size {
            self.ip_size = ip.len();
            self.head.resize(self.ip_size);
        }
        if self.route.flows > 1 {
            self.turn_to(sequence);
        }
        match &self.head.ip {
            IpHeader::V4(header) => {
                let Some((ip, rest)) = ip.split_first_chunk_mut::<IPV4>() else { return };
                *ip = *header;
                self.write_behind_ip(rest, sequence, stamp);
            }
            IpHeader::V6(header) => {
                let Some((ip, rest)) = ip.split_first_chunk_mut::<IPV6>() else { return };
                *ip = *header;
                self.write_behind_ip(rest, sequence, stamp);
                let Some((udp, body)) = rest.split_first_chunk_mut::<UDP>() else { return };
                let checksum = udp_checksum(header, udp, body);
                put(udp, UDP_CHECKSUM, &checksum);
            }
        }
    }

    #[inline(always)]
    fn write_behind_ip(&self, datagram: &mut [u8], sequence: u64, stamp: u64) {
        let Some((udp, body)) = datagram.split_first_chunk_mut::<UDP>() else { return };
        *udp = self.head.udp;
        put(udp, CHECK, &check(self.key, sequence, stamp).to_le_bytes());
        put(udp, SEQUENCE, &sequence.to_le_bytes());
        put(udp, STAMP, &stamp.to_le_bytes());
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
        self.head.set_source_port(port.to_be_bytes());
        let further = flow / FLOW_PORTS;
        self.head.set_addresses(match self.route.addresses {
            Addresses::V4 { source, target } => {
                Addresses::V4 { source: u32::from(source).wrapping_add(further).into(), target }
            }
            Addresses::V6 { source, target } => {
                Addresses::V6 { source: u128::from(source).wrapping_add(further.into()).into(), target }
            }
        });
        self.key = self.stream.key_on(self.head.ip.borrow().hash_of_addresses(), &self.head.udp);
    }
}

/// The Ethernet header of packets without a tag.
pub(super) fn ethernet_header(version: Version) -> [u8; ETHERNET] {
    let mut header = ETHERNET_HEADER;
    if version == Version::V6 {
        put(&mut header, ETHER_TYPE, &ETHER_TYPE_IPV6);
    }
    header
}

/// The Ethernet header `untagged` with an 802.1Q tag.
fn tagged(untagged: [u8; ETHERNET], vlan: u16) -> [u8; TAGGED] {
    let mut header = [0; TAGGED];
    let (addresses, rest) = header.split_at_mut(ETHER_TYPE.start);
    addresses.copy_from_slice(&untagged[..ETHER_TYPE.start]);
    let [a, b] = TAG_TYPE;
    let [c, d] = (vlan & 0x0fff).to_be_bytes();
    rest.copy_from_slice(&[a, b, c, d, untagged[12], untagged[13]]);
    header
}
