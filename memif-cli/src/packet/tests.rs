use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::{PacketHeaders, TransportHeader};

use super::head::IpHeader;
use super::ip::ones_sum;
use super::layout::{CHECK, ETHERNET_HEADER, IP_CHECKSUM, IPV4, IPV4_HOPS, IPV6, IPV6_HOPS, LONGEST_BODY};
use super::*;
use Framing::{Ethernet, Ip};
use Version::{V4, V6};

const STREAM: Stream = Stream { instance: 0x00ad_beef, queue: 255 };

fn route(version: Version) -> Route {
    Route { addresses: Addresses::of(version), ..Route::default() }
}

fn packet_of(version: Version, framing: Framing, size: usize, fill: Fill, number: (u64, u64)) -> Vec<u8> {
    let mut packet = vec![0xaa; size];
    let (sequence, stamp) = number;
    Template::new(STREAM, framing, fill, route(version)).write(&mut packet, sequence, stamp);
    packet
}

fn packet(framing: Framing, size: usize, fill: Fill, sequence: u64, stamp: u64) -> Vec<u8> {
    packet_of(V4, framing, size, fill, (sequence, stamp))
}

/// The head that `packet` must have.
fn expected(size: usize, fill: Fill, packet: &TestPacket<'_>) -> Head {
    let mut head = Head::new(STREAM, size, fill, packet.version());
    packet.give_route(&mut head);
    head
}

/// Whether a packet of `ip_size` bytes without its Ethernet header is as it was sent.
fn is_whole(packet: &[u8], framing: Framing, ip_size: usize) -> bool {
    TestPacket::parse(packet, framing).is_some_and(|read| {
        read.numbers_are_whole()
            && read.has_head(&expected(ip_size, Fill::BySequence, &read))
            && read.has_right_checksum()
            && read.has_its_body()
    })
}

const VERSIONS_AND_FRAMINGS: [(Version, Framing); 4] = [(V4, Ethernet), (V4, Ip), (V6, Ethernet), (V6, Ip)];

#[test]
fn what_is_written_is_read() {
    for (version, framing) in VERSIONS_AND_FRAMINGS {
        let smallest = framing.min_size(version);
        let sizes = [smallest, 64, 65, 85, 1514, 9000, 65535];
        for size in sizes.into_iter().filter(|size| *size >= smallest) {
            for (fill, sequence, stamp) in [(Fill::Plain, 0, 0), (Fill::BySequence, u64::MAX, 1)] {
                let packet = packet_of(version, framing, size, fill, (sequence, stamp));
                let read = TestPacket::parse(&packet, framing).unwrap();
                assert_eq!((read.stream(), read.sequence(), read.fill()), (STREAM, sequence, fill));
                assert_eq!((read.version(), read.stamp()), (version, (stamp != 0).then_some(stamp)));
                let ip_size = size - framing.header_len();
                assert_eq!((read.ip_size(), read.sent_size()), (ip_size, ip_size));
                assert!(read.numbers_are_whole() && read.has_head(&expected(ip_size, fill, &read)));
                let empty = size == smallest;
                assert_eq!(read.has_its_body(), empty || fill == Fill::BySequence || sequence == 0);
                assert!(read.has_right_checksum() && is_sound_ip(&packet, framing));
            }
        }
    }
}

#[test]
fn ipv6_packets_are_as_others_read_them() {
    let (source, target) =
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9), "2001:db8:709e::1".parse().unwrap());
    for (framing, vlan) in [(Ethernet, None), (Ethernet, Some(5)), (Ip, None)] {
        let route = Route { addresses: Addresses::V6 { source, target }, vlan, flows: 3 };
        let mut template = Template::new(STREAM, framing, Fill::BySequence, route);
        let tag = if vlan.is_some() { usize::from(TAG) } else { 0 };
        let (mut flows, smallest) = (std::collections::HashSet::new(), framing.min_size(V6) + tag);
        for (sequence, size) in (0..).zip([0, 1, 2, 7, 100, 1430, 65535 - smallest]) {
            let mut made = vec![0xaa; smallest + size];
            template.write(&mut made, sequence, 77);
            let read = match framing {
                Ethernet => PacketHeaders::from_ethernet_slice(&made).unwrap(),
                Ip => PacketHeaders::from_ip_slice(&made).unwrap(),
            };
            let Some(etherparse::NetHeaders::Ipv6(ip, _)) = read.net else { panic!("{:?}", read.net) };
            let Some(TransportHeader::Udp(udp)) = read.transport else { panic!("{:?}", read.transport) };
            assert_eq!((Ipv6Addr::from(ip.source), Ipv6Addr::from(ip.destination)), (source, target));
            assert_eq!((ip.hop_limit, ip.traffic_class), (64, 0));
            assert_eq!((usize::from(ip.payload_length), usize::from(udp.length)), (30 + size, 30 + size));
            assert_eq!(udp.destination_port, 9);
            assert_ne!(udp.checksum, 0, "no checksum is forbidden");
            let checksum = udp.calc_checksum_ipv6(&ip, read.payload.slice()).unwrap();
            assert_eq!(udp.checksum, checksum, "{size}");
            assert!(is_whole(&made, framing, 70 + size), "{size}");
            flows.insert((udp.source_port, ip.flow_label.value()));
        }
        assert_eq!(flows.len(), 3, "each flow has its port and its label");
    }
}

/// Packets with all checksums there are: one in 65536 would be 0, which means that there is none.
#[test]
fn an_ipv6_checksum_is_never_0() {
    let mut template = Template::new(STREAM, Ip, Fill::BySequence, route(V6));
    let mut saw_ones = false;
    for sequence in 0..400_000 {
        let mut made = [0; 70];
        template.write(&mut made, sequence, 0);
        assert_ne!(made[46..48], [0, 0], "{sequence}");
        saw_ones |= made[46..48] == [0xff, 0xff];
    }
    assert!(saw_ones);
}

#[test]
fn headers_are_as_the_rfcs_have_them() {
    let frame = packet(Ethernet, 1514, Fill::Plain, 0, 0);
    assert_eq!(frame[12..14], [0x08, 0x00]);
    assert!(frame[0] & 3 == 2 && frame[6] & 3 == 2, "locally administered, unicast");
    let ip = packet(Ip, 1500, Fill::Plain, 0, 0);
    assert_eq!(frame[14..], ip[..], "they differ in the Ethernet header alone");
    assert_eq!(ip[0..4], [0x45, 0, 0x05, 0xdc]);
    assert_eq!(ip[9], 17);
    // the checksum of this header, computed by hand
    let words = [0x4500u32, 0x05dc, 0xbeef, 0x4000, 0x4011, 0xc612, 0x0001, 0xc613, 0x0001];
    let sum = words.iter().sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    assert_eq!(u32::from(u16::from_be_bytes([ip[10], ip[11]])), 0xffff - sum);
    assert_eq!(ip[20..28], [0xc0, 0xff, 0, 9, 0x05, 0xc8, 0, 0]);
}

#[test]
fn one_template_makes_packets_of_all_sizes() {
    for (version, framing) in VERSIONS_AND_FRAMINGS {
        let mut template = Template::new(STREAM, framing, Fill::BySequence, route(version));
        let smallest = framing.min_size(version);
        let sizes = (smallest..=MAX_SIZE).step_by(29);
        for (sequence, size) in (0..).zip(sizes.flat_map(|size| [size, smallest, MAX_SIZE - size / 2])) {
            let mut made = vec![0xaa; size];
            template.write(&mut made, sequence, 0);
            assert!(is_sound_ip(&made, framing), "{size}");
            assert!(is_whole(&made, framing, size - framing.header_len()), "{size}");
        }
        let mut short = vec![0xaa; smallest - 1];
        template.write(&mut short, 0, 0);
        assert!(TestPacket::parse(&short, framing).is_none());
    }
}

#[test]
fn a_change_anywhere_shows() {
    for (version, framing) in VERSIONS_AND_FRAMINGS {
        let good = packet_of(version, framing, 200, Fill::BySequence, (77, 12345));
        let ip_size = 200 - framing.header_len();
        assert!(is_whole(&good, framing, ip_size));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            // the hops of an IP packet may be fewer
            bad[at] |= if (version, framing, at) == (V6, Ip, IPV6_HOPS) { 0x40 } else { 0 };
            assert!(!is_whole(&bad, framing, ip_size), "byte {at}");
        }
    }
}

#[test]
fn a_packet_that_routers_have_passed_on_is_whole() {
    let routed = |version: Version, framing: Framing, hops: u8| {
        let mut packet = packet_of(version, framing, 200, Fill::BySequence, (77, 0));
        let ip = &mut packet[framing.header_len()..];
        if version == V6 {
            ip[IPV6_HOPS] = hops;
            return packet;
        }
        ip[IPV4_HOPS] = hops;
        ip[IP_CHECKSUM].fill(0);
        let checksum = !ones_sum(&ip[..IPV4]);
        ip[IP_CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        packet
    };
    for version in [V4, V6] {
        for (hops, whole) in [(64, true), (63, true), (1, true), (0, false), (65, false), (255, false)] {
            assert_eq!(is_whole(&routed(version, Ip, hops), Ip, 200), whole, "{hops}");
        }
        for at in 0..version.header_len() + CHECK.start {
            let mut bad = routed(version, Ip, 63);
            bad[at] ^= if (version, at) == (V6, IPV6_HOPS) { 0x80 } else { 0x10 };
            assert!(!is_whole(&bad, Ip, 200), "byte {at}");
        }
        let frame = routed(version, Ethernet, 63);
        assert!(!is_whole(&frame, Ethernet, 200 - ETHERNET_HEADER.len()), "frames are bridged, not routed");
    }
}

#[test]
fn bodies_differ_by_sequence_and_stream() {
    let body = |sequence| packet(Ip, 1500, Fill::BySequence, sequence, 0).split_off(V4.head_len());
    assert_ne!(body(1), body(2));
    let other = Stream { queue: 0, ..STREAM };
    assert_ne!(STREAM.body(1, 100), other.body(1, 100));
    for sequence in 0..10_000 {
        assert_eq!(STREAM.body(sequence, LONGEST_BODY).len(), LONGEST_BODY);
    }
}

#[test]
fn other_packets_are_not_test_packets() {
    for framing in [Ethernet, Ip] {
        for len in [0, 1, 13, 14, 33, 34, 63, 64, 1514] {
            assert!(TestPacket::parse(&vec![0; len], framing).is_none(), "{len}");
            assert!(!is_sound_ip(&vec![0; len], framing), "{len}");
            assert!(!is_sound_ip(&vec![0xff; len], framing), "{len}");
        }
    }
    let (frame, ip) = (packet(Ethernet, 64, Fill::Plain, 0, 0), packet(Ip, 64, Fill::Plain, 0, 0));
    assert!(TestPacket::parse(&frame[..63], Ethernet).is_none());
    assert!(TestPacket::parse(&frame, Ip).is_none() && TestPacket::parse(&ip, Ethernet).is_none());
    assert!(!is_sound_ip(&frame, Ip) && !is_sound_ip(&ip, Ethernet));
}

#[test]
fn ipv4_is_checked() {
    for framing in [Ethernet, Ip] {
        let good = packet(framing, 100, Fill::Plain, 0, 0);
        assert!(is_sound_ip(&good, framing));
        assert!(!is_sound_ip(&good[..99], framing), "too short");
        assert!(!is_sound_ip(&[&good[..], &[0]].concat(), framing), "too long");
        let start = framing.header_len().saturating_sub(2);
        for at in start..framing.header_len() + IPV4 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(!is_sound_ip(&bad, framing), "byte {at}");
        }
    }
    let mut padded = vec![0; 60];
    padded[..14].copy_from_slice(&ETHERNET_HEADER);
    let IpHeader::V4(header) = Head::new(STREAM, 28, Fill::Plain, V4).ip else { panic!("not IPv4") };
    padded[14..34].copy_from_slice(&header);
    assert!(is_sound_ip(&padded, Ethernet));
    assert!(!is_sound_ip(&padded[14..], Ip), "nothing pads packets without Ethernet");
}

#[test]
fn ipv6_is_checked_by_its_length() {
    let mut ip = vec![0; 60];
    ip[0] = 0x60;
    ip[5] = 20;
    assert!(is_sound_ip(&ip, Ip));
    assert!(!is_sound_ip(&ip[..59], Ip) && !is_sound_ip(&ip[..5], Ip));
    let frame = |ether_type: [u8; 2]| [&[2; 12][..], &ether_type, &ip].concat();
    assert!(is_sound_ip(&frame([0x86, 0xdd]), Ethernet));
    assert!(!is_sound_ip(&frame([0x08, 0x00]), Ethernet));
}

#[test]
fn flows_take_turns_and_have_sound_headers() {
    let v4 = Addresses::V4 { source: Ipv4Addr::new(10, 0, 0, 255), target: Ipv4Addr::new(10, 9, 0, 1) };
    let source = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, u16::MAX, u16::MAX, u16::MAX, u16::MAX);
    let v6 = Addresses::V6 { source, target: TARGET_V6 };
    for addresses in [v4, v6] {
        for (framing, vlan) in [(Ethernet, None), (Ethernet, Some(4094)), (Ip, None)] {
            let route = Route { addresses, vlan, flows: 40_000 };
            let mut template = Template::new(STREAM, framing, Fill::BySequence, route);
            let header_len = framing.header_len() + if vlan.is_some() { usize::from(TAG) } else { 0 };
            let mut seen = std::collections::HashSet::new();
            let mut head = Head::new(STREAM, 110, Fill::BySequence, addresses.version());
            for sequence in 0..80_000 {
                let mut made = vec![0; header_len + 110];
                template.write(&mut made, sequence, 0);
                assert!(is_sound_ip(&made, framing));
                let read = TestPacket::parse(&made, framing).unwrap();
                read.give_route(&mut head);
                assert!(read.numbers_are_whole() && read.has_head(&head) && read.has_its_body());
                assert!(read.has_right_checksum());
                assert_eq!((read.stream(), read.ip_size()), (STREAM, 110));
                let ip = &made[header_len..];
                seen.insert(match addresses {
                    Addresses::V4 { target, .. } => {
                        assert_eq!(ip[16..20], target.octets());
                        ip[12..22].to_vec()
                    }
                    Addresses::V6 { target, .. } => {
                        assert_eq!(ip[24..40], target.octets());
                        [&ip[8..24], &ip[40..42]].concat()
                    }
                });
            }
            assert_eq!(seen.len(), 40_000);
        }
        let route = Route { addresses, vlan: Some(4094), flows: 1 };
        let mut made = vec![0; Ethernet.min_size(addresses.version()) + usize::from(TAG)];
        Template::new(STREAM, Ethernet, Fill::BySequence, route).write(&mut made, 0, 0);
        let kind = if addresses.version() == V4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        assert_eq!((&made[12..16], &made[16..18]), (&[0x81, 0, 0x0f, 0xfe][..], &kind[..]));
    }
}

#[test]
fn a_change_of_the_route_shows() {
    for (version, addresses, ports) in [(V4, 12..IPV4, IPV4), (V6, 8..IPV6, IPV6)] {
        let good = packet_of(version, Ip, 100, Fill::BySequence, (7, 0));
        for at in addresses.chain(ports..ports + 4) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(!TestPacket::parse(&bad, Ip).unwrap().numbers_are_whole(), "byte {at}");
        }
    }
}

#[test]
fn addresses_that_are_not_given_follow_the_version_of_the_others() {
    let version = |source: Option<&str>, target: Option<&str>| {
        let address = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        Addresses::new(address(source), address(target)).map(Addresses::version)
    };
    for (address, expected) in [("10.0.0.1", V4), ("2001:db8::1", V6)] {
        assert_eq!(version(Some(address), None), Some(expected));
        assert_eq!(version(None, Some(address)), Some(expected));
        assert_eq!(version(Some(address), Some(address)), Some(expected));
    }
    assert_eq!(version(None, None), Some(V4));
    assert_eq!(version(Some("10.0.0.1"), Some("::1")), None);
    assert_eq!(version(Some("::1"), Some("10.0.0.1")), None);
}
