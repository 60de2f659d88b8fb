//! Unfinished packets of a kernel are completed; segments to the kernel are joined.

use super::checksum::{TCP, UDP, addresses, pseudo_header, write_ip_checksum};
use super::split::Unfinished;
use super::vnet::{GSO_ECN, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CHECKSUM};
use super::*;
use crate::packet::fold;
use etherparse::{PacketBuilder, PacketHeaders, TransportHeader};
use memif_pmd::Burst;
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
            let length = u16::try_from(whole.len() - transport).unwrap();
            let pseudo = fold(pseudo_header(&whole[addresses], if udp { UDP } else { TCP }, length));
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

/// What is written for these packets: header and packet, and how many packets were joined.
fn joined(packets: &[Vec<u8>]) -> Vec<(Vec<u8>, usize)> {
    let mut joined = Joined::new();
    let mut all = Vec::new();
    let write = |joined: &mut Joined, all: &mut Vec<_>| {
        all.push((joined.finish().to_vec(), joined.count().0));
        joined.clear();
    };
    for packet in packets {
        if !joined.add(packet) {
            write(&mut joined, &mut all);
            assert!(joined.add(packet));
        }
    }
    if joined.count().0 > 0 {
        write(&mut joined, &mut all);
    }
    all
}

/// The segments of a packet of TCP with `len` bytes.
fn segments(v6: bool, vlan: bool, len: usize) -> Vec<Vec<u8>> {
    let (packet, transport) = build(v6, vlan, false, &payload(len));
    let gso = if v6 { GSO_TCP6 } else { GSO_TCP4 };
    let mut segments = packets(header(NEEDS_CHECKSUM, gso, 1448, transport, 16), &packet).unwrap();
    // a FIN is not joined
    set(segments.last_mut().unwrap(), transport + 13, 0x18);
    segments
}

/// Changes a byte of a packet and computes its checksums again.
fn set(packet: &mut [u8], at: usize, value: u8) {
    packet[at] = value;
    let ip = if packet[12..14] == [0x81, 0] { 18 } else { 14 };
    let is_v4 = packet[ip] >> 4 == 4;
    let transport = if is_v4 { ip + 20 } else { ip + 40 };
    if is_v4 {
        write_ip_checksum(&mut packet[ip..transport]);
    }
    let length = u16::try_from(packet.len() - transport).unwrap();
    let pseudo = fold(pseudo_header(&packet[addresses(ip, is_v4)], TCP, length));
    packet[transport + 16..transport + 18].copy_from_slice(&pseudo.to_ne_bytes());
    complete_checksum(packet);
}

#[test]
fn joined_segments_are_the_packet_that_they_were_split_from() {
    for (v6, vlan) in [(false, false), (true, false), (false, true), (true, true)] {
        for len in [1449, 2896, 40_001, 65_000] {
            let segments = segments(v6, vlan, len);
            let whole = joined(&segments);
            assert_eq!(whole.len(), 1, "{v6} {vlan} {len}");
            let (written, count) = &whole[0];
            assert_eq!(*count, segments.len());
            let (header, packet) = written.split_first_chunk().unwrap();
            assert_eq!(packets(*header, packet).unwrap(), segments);
        }
    }
    // an IP packet has at most 64 KiB
    let two = [segments(true, false, 65_000), segments(true, false, 65_000)].concat();
    assert_eq!(joined(&two).len(), 2);
}

#[test]
fn segments_that_differ_or_are_damaged_are_not_joined() {
    const IP: usize = 14;
    const TRANSPORT: usize = IP + 20;
    let whole = segments(false, false, 5 * 1448);
    // address, type of service, identification, fragment, time to live, source, ports, sequence, acknowledgement, flags, window
    let fields = [0, IP + 1, IP + 5, IP + 6, IP + 8, IP + 15]
        .into_iter()
        .chain([0, 3, 5, 9, 13, 14].map(|at| TRANSPORT + at));
    for at in fields {
        let mut packets = whole.clone();
        if at == IP + 5 {
            // it has a meaning where packets may be fragmented
            packets.iter_mut().for_each(|packet| set(packet, IP + 6, 0));
        }
        let value = packets[2][at] ^ 0x21;
        set(&mut packets[2], at, value);
        let counts: Vec<_> = joined(&packets).into_iter().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 1, 2], "{at}");
    }
    // a wrong checksum, of IPv4 and of TCP, in a later and in the first packet
    for (at, counts) in [(2, vec![2, 1, 2]), (0, vec![1, 4])] {
        for byte in [IP + 10, TRANSPORT + 16, 100] {
            let mut packets = whole.clone();
            packets[at][byte] ^= 1;
            let joined = joined(&packets);
            assert_eq!(joined.iter().map(|(_, count)| *count).collect::<Vec<_>>(), counts, "{at} {byte}");
        }
    }
    // a segment with PSH or with less payload is the last one
    let mut pushed = whole.clone();
    set(&mut pushed[2], TRANSPORT + 13, 0x18);
    assert_eq!(joined(&pushed).len(), 2);
    let longer = [segments(false, false, 1500), whole].concat();
    assert_eq!(joined(&longer).len(), 2);
}

#[test]
fn cleared_packets_leave_nothing_behind() {
    let whole = segments(false, false, 3 * 1448);
    let mut again = Joined::new();
    assert!(whole.iter().all(|packet| again.add(packet)));
    assert_eq!(again.count(), (3, whole.iter().map(|packet| packet.len() as u64).sum()));
    again.clear();
    assert_eq!(again.count(), (0, 0));
    assert!(again.add(&whole[2]) && !again.add(&whole[0]));
    assert_eq!(again.finish(), [&[0; VNET_HEADER], &whole[2][..]].concat());
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

    /// Whatever a peer sends, the kernel gets the same packets.
    #[test]
    fn joined_packets_are_the_same_packets(
        choices in prop::collection::vec((0usize..12, any::<bool>(), 0usize..90, any::<u8>(), any::<bool>()), 1..40),
    ) {
        let flows = [segments(false, false, 5 * 1448 + 7), segments(true, false, 5 * 1448 + 7)].concat();
        let mut sent = Vec::new();
        let mut next = 0;
        for (jump, is_changed, at, value, is_cut) in choices {
            // mostly the next one
            next = if jump < 9 { next + 1 } else { next + jump } % flows.len();
            let mut packet = flows[next].clone();
            if is_changed && at < packet.len() {
                packet[at] = value;
            }
            if is_cut && at < 20 {
                packet.truncate(usize::from(value).max(1));
            }
            sent.push(packet);
        }
        let mut received = Vec::new();
        for (written, count) in joined(&sent) {
            let (header, packet) = written.split_first_chunk().unwrap();
            let parts = packets(*header, packet).unwrap();
            prop_assert_eq!(parts.len(), count);
            received.extend(parts);
        }
        prop_assert_eq!(received, sent);
    }
}
