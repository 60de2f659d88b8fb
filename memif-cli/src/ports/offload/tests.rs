//! Unfinished packets of a kernel are completed.

use super::*;
use etherparse::{PacketBuilder, PacketHeaders, TransportHeader};
use proptest::prelude::*;

fn header(flags: u8, gso: u8, segment: u16, start: usize, offset: u16) -> [u8; VNET_HEADER] {
    let start = u16::try_from(start).unwrap();
    let words = [0, segment, start, offset].map(u16::to_ne_bytes);
    [&[flags, gso], words.as_flattened()].concat().try_into().unwrap()
}

/// The packets that a packet becomes, put into bursts of two.
fn packets(header: [u8; VNET_HEADER], packet: &[u8]) -> Result<Vec<Vec<u8>>, Unfinished> {
    let mut work = Work::new();
    let read = |buffer: &mut [u8]| {
        let whole = [&header, packet].concat();
        buffer[..whole.len()].copy_from_slice(&whole);
        Ok::<_, ()>(whole.len())
    };
    work.take(read).unwrap()?;
    let mut all = Vec::new();
    let mut burst = Burst::new(2).unwrap();
    while !work.is_done() {
        let mut counted = 0;
        work.put(&mut burst, |len| counted += len)?;
        assert_eq!(burst.iter().map(<[u8]>::len).sum::<usize>(), counted);
        all.extend(burst.iter().map(<[u8]>::to_vec));
        burst.clear();
    }
    Ok(all)
}

fn payload(len: usize) -> Vec<u8> {
    (0..=250).cycle().step_by(7).take(len).collect()
}

/// A packet with right checksums, and where its transport header begins.
fn build(v6: bool, vlan: bool, udp: bool, data: &[u8]) -> (Vec<u8>, usize) {
    let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let port = |ip: etherparse::PacketBuilderStep<etherparse::IpHeaders>| {
        let mut packet = Vec::new();
        if udp {
            ip.udp(53, 1000).write(&mut packet, data).unwrap();
        } else {
            ip.tcp(80, 1000, u32::MAX - 1000, 500).psh().fin().ack(7).write(&mut packet, data).unwrap();
        }
        packet
    };
    let packet = match (v6, vlan) {
        (false, false) => port(ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)),
        (false, true) => {
            port(ethernet.single_vlan(5.try_into().unwrap()).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64))
        }
        (true, false) => port(ethernet.ipv6([1; 16], [2; 16], 64)),
        (true, true) => port(ethernet.single_vlan(5.try_into().unwrap()).ipv6([1; 16], [2; 16], 64)),
    };
    let transport = packet.len() - data.len() - if udp { 8 } else { 20 };
    (packet, transport)
}

/// Checks lengths and checksums, and returns the payload.
fn checked(packet: &[u8]) -> (TransportHeader, Vec<u8>) {
    let headers = PacketHeaders::from_ethernet_slice(packet).unwrap();
    let data = headers.payload.slice();
    let mut again = Vec::new();
    let net = headers.net.unwrap();
    let (v4, v6) = match &net {
        etherparse::NetHeaders::Ipv4(ip, _) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            (Some(ip.clone()), None)
        }
        etherparse::NetHeaders::Ipv6(ip, _) => (None, Some(ip.clone())),
        other => panic!("{other:?}"),
    };
    let transport = headers.transport.unwrap();
    match &transport {
        TransportHeader::Tcp(tcp) => {
            let sum = v4.as_ref().map_or_else(
                || tcp.calc_checksum_ipv6(v6.as_ref().unwrap(), data),
                |ip| tcp.calc_checksum_ipv4(ip, data),
            );
            assert_eq!(tcp.checksum, sum.unwrap());
        }
        TransportHeader::Udp(udp) => {
            let sum = v4.as_ref().map_or_else(
                || udp.calc_checksum_ipv6(v6.as_ref().unwrap(), data),
                |ip| udp.calc_checksum_ipv4(ip, data),
            );
            assert_eq!(udp.checksum, sum.unwrap());
            assert_eq!(usize::from(udp.length), 8 + data.len());
        }
        other => panic!("{other:?}"),
    }
    again.extend_from_slice(data);
    (transport, again)
}

#[test]
fn large_packets_become_segments_with_right_numbers_and_checksums() {
    for (v6, vlan, udp) in
        [(false, false, false), (true, false, false), (false, true, false), (true, true, true)]
    {
        for len in [1, 1448, 1449, 40_001] {
            let data = payload(len);
            let (packet, transport) = build(v6, vlan, udp, &data);
            let gso = if udp {
                GSO_UDP
            } else if v6 {
                GSO_TCP6
            } else {
                GSO_TCP4 | GSO_ECN
            };
            let header = header(NEEDS_CHECKSUM, gso, 1448, transport, if udp { 6 } else { 16 });
            let segments = packets(header, &packet).unwrap();
            assert_eq!(segments.len(), len.div_ceil(1448));
            let mut joined = Vec::new();
            for (index, segment) in segments.iter().enumerate() {
                let (transport, data) = checked(segment);
                let is_last = index + 1 == segments.len();
                if let TransportHeader::Tcp(tcp) = transport {
                    let sequence = (u32::MAX - 1000).wrapping_add(u32::try_from(joined.len()).unwrap());
                    assert_eq!(tcp.sequence_number, sequence);
                    assert_eq!((tcp.psh, tcp.fin, tcp.ack), (is_last, is_last, true));
                }
                assert!(is_last || data.len() == 1448);
                joined.extend(data);
            }
            assert_eq!(joined, data);
        }
    }
}

#[test]
fn an_unfinished_checksum_is_completed() {
    for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
        for len in [0, 1, 1000, 1001] {
            let (whole, transport) = build(v6, false, udp, &payload(len));
            let offset: u16 = if udp { 6 } else { 16 };
            // the kernel leaves the sum of the pseudo header
            let mut open = whole.clone();
            let field = transport + usize::from(offset);
            let addresses = if v6 { 22..54 } else { 26..34 };
            let length = u16::try_from(whole.len() - transport).unwrap().to_be_bytes();
            let pseudo =
                fold(sum(&whole[addresses]) + sum(&[0, if udp { UDP } else { TCP }, length[0], length[1]]));
            open[field..field + 2].copy_from_slice(&pseudo.to_ne_bytes());
            let header = header(NEEDS_CHECKSUM, 0, 0, transport, offset);
            assert_eq!(packets(header, &open).unwrap().concat(), whole);
            // the same without a header that asks for it, and with padding
            open.extend([7; 3]);
            for packet in [&mut open, &mut [&whole[..], &[7; 3]].concat()] {
                complete_checksum(packet);
                assert_eq!(packet[..whole.len()], whole);
            }
        }
    }
}

#[test]
fn complete_packets_are_not_changed() {
    let (packet, _) = build(false, false, false, b"data");
    assert_eq!(packets([0; VNET_HEADER], &packet).unwrap(), [packet]);
}

proptest! {
    /// Correct kernels send no such headers, but a bug in one must not end the process.
    #[test]
    fn no_header_and_no_packet_cause_a_panic(
        head in any::<[u8; VNET_HEADER]>(),
        gso in prop::sample::select(vec![0, 1, 3, 4, 5, 0x81]),
        start in 0usize..80,
        packet in prop::collection::vec(any::<u8>(), 0..200),
        version in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x10]),
    ) {
        let mut packet = packet;
        if let Some(byte) = packet.get_mut(14) {
            *byte = version;
        }
        let mut head = head;
        head[1] = gso;
        head[6..8].copy_from_slice(&u16::try_from(start).unwrap().to_ne_bytes());
        for segment in packets(head, &packet).unwrap_or_default() {
            prop_assert!(segment.len() <= packet.len());
        }
        if let Some(byte) = packet.get_mut(23) {
            *byte = TCP;
        }
        complete_checksum(&mut packet);
    }
}
