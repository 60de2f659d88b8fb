//! Packets as lines of text.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice, TransportSlice};
use memif_observe::capture::Packet;
use memif_observe::frame::LinkType;

/// One line a packet.
pub(crate) struct Lines<W> {
    out: W,
    types: HashMap<usize, LinkType>,
}

impl<W: Write> Lines<W> {
    /// Nothing is written yet.
    pub(crate) fn new(out: W) -> Self {
        Self { out, types: HashMap::new() }
    }

    /// The header that packets of a ring begin with, derived from its first packet.
    pub(crate) fn link_type(&mut self, number: usize, packet: &Packet<'_>) -> LinkType {
        *self.types.entry(number).or_insert_with(|| LinkType::of(packet.bytes, packet.length))
    }

    /// Writes a packet of a ring.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn packet(&mut self, ring: &str, packet: &Packet<'_>, link: LinkType) -> io::Result<()> {
        writeln!(self.out, "{} {ring} {}", time(packet.time), describe(packet, link))
    }

    /// Hands on what was written.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Time of day, UTC.
fn time(time: Duration) -> String {
    let seconds = time.as_secs() % 86400;
    format!("{:02}:{:02}:{:02}.{:09}", seconds / 3600, seconds / 60 % 60, seconds % 60, time.subsec_nanos())
}

/// Addresses, ports, flags and lengths.
fn describe(packet: &Packet<'_>, link: LinkType) -> String {
    let mut text = String::new();
    let sliced = link.slice(packet.bytes);
    for id in sliced.iter().flat_map(LaxSlicedPacket::vlan_ids) {
        let _ = write!(text, "vlan {}, ", id.value());
    }
    let upper = sliced.as_ref().and_then(network);
    text.push_str(
        &upper.or_else(|| sliced.as_ref().and_then(ethernet)).unwrap_or_else(|| "unknown".to_owned()),
    );
    let _ = write!(text, ", length {}", packet.length);
    text
}

fn network(sliced: &LaxSlicedPacket<'_>) -> Option<String> {
    let (source, destination, protocol): (IpAddr, IpAddr, u8) = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload().ip_number.0)
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload().ip_number.0)
        }
        LaxNetSlice::Arp(arp) => return Some(format!("ARP operation {}", arp.operation().0)),
    };
    Some(match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let (from, to) = (tcp.source_port(), tcp.destination_port());
            format!("{source}.{from} > {destination}.{to}: TCP [{}]", flags(tcp))
        }
        Some(TransportSlice::Udp(udp)) => {
            format!("{source}.{} > {destination}.{}: UDP", udp.source_port(), udp.destination_port())
        }
        Some(TransportSlice::Icmpv4(_)) => format!("{source} > {destination}: ICMP"),
        Some(TransportSlice::Icmpv6(_)) => format!("{source} > {destination}: ICMPv6"),
        Some(TransportSlice::Igmp(_)) | None => format!("{source} > {destination}: IP protocol {protocol}"),
    })
}

fn flags(tcp: &TcpSlice<'_>) -> String {
    let flags = [
        (tcp.syn(), 'S'),
        (tcp.fin(), 'F'),
        (tcp.rst(), 'R'),
        (tcp.psh(), 'P'),
        (tcp.urg(), 'U'),
        (tcp.ack(), '.'),
    ];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect()
}

fn ethernet(sliced: &LaxSlicedPacket<'_>) -> Option<String> {
    let Some(LinkSlice::Ethernet2(header)) = &sliced.link else { return None };
    let address = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    let (source, destination) = (address(header.source()), address(header.destination()));
    Some(format!("{source} > {destination}: type {:#06x}", header.ether_type().0))
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn line(bytes: &[u8], link: LinkType) -> String {
        let mut lines = Lines::new(Vec::new());
        let time = Duration::new(3 * 86400 + 3723, 45);
        let packet = Packet { time, length: u32::try_from(bytes.len()).unwrap(), bytes };
        lines.packet("s2m/0", &packet, link).unwrap();
        String::from_utf8(lines.out).unwrap()
    }

    #[test]
    fn a_line_has_time_ring_addresses_ports_and_flags() {
        let ip = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        let mut bytes = Vec::new();
        ip.tcp(1000, 80, 0, 0).syn().ack(1).write(&mut bytes, b"").unwrap();
        let expected = "01:02:03.000000045 s2m/0 10.0.0.1.1000 > 10.0.0.2.80: TCP [S.], length 40\n";
        assert_eq!(line(&bytes, LinkType::Ip), expected);
        let tagged = PacketBuilder::ethernet2([2; 6], [4; 6]).single_vlan(7u16.try_into().unwrap());
        let mut bytes = Vec::new();
        tagged.ipv6([1; 16], [2; 16], 64).udp(5, 6).write(&mut bytes, b"abc").unwrap();
        assert!(line(&bytes, LinkType::Ethernet).contains("vlan 7, 101:101:"));
    }

    #[test]
    fn any_bytes_are_one_line() {
        for len in 0..100 {
            for byte in [0, 0x45, 0x60, 0xFF] {
                for link in [LinkType::Ethernet, LinkType::Ip] {
                    assert_eq!(line(&vec![byte; len], link).lines().count(), 1);
                }
            }
        }
        let lldp = [&[1; 6][..], &[2; 6], &[0x88, 0xCC, 0, 0]].concat();
        assert!(
            line(&lldp, LinkType::Ethernet).contains("02:02:02:02:02:02 > 01:01:01:01:01:01: type 0x88cc")
        );
    }
}
