use super::ip::ones_sum;
use super::layout::{CHECK, ETHERNET_HEADER, HEAD, HOPS, IP_CHECKSUM, IPV4, ROUTE};
use super::*;
use Framing::{Ethernet, Ip};

const STREAM: Stream = Stream { instance: 0x00ad_beef, queue: 255 };

fn packet(framing: Framing, size: usize, fill: Fill, sequence: u64, stamp: u64) -> Vec<u8> {
    let mut packet = vec![0xaa; size];
    Template::new(STREAM, framing, fill, Route::default()).write(&mut packet, sequence, stamp);
    packet
}

/// The head that `packet` must have.
fn expected(size: usize, fill: Fill, packet: &TestPacket<'_>) -> Head {
    let mut head = head(STREAM, size, fill);
    packet.give_route(&mut head);
    head
}

#[test]
fn what_is_written_is_read() {
    for framing in [Ethernet, Ip] {
        for size in [64, 65, 1514, 9000, 65535] {
            for (fill, sequence, stamp) in [(Fill::Plain, 0, 0), (Fill::BySequence, u64::MAX, 1)] {
                let packet = packet(framing, size, fill, sequence, stamp);
                let read = TestPacket::parse(&packet, framing).unwrap();
                assert_eq!((read.stream(), read.sequence(), read.fill()), (STREAM, sequence, fill));
                assert_eq!(read.stamp(), (stamp != 0).then_some(stamp));
                let ip_size = size - framing.header_len();
                assert_eq!((read.ip_size(), read.sent_size()), (ip_size, ip_size));
                assert!(read.numbers_are_whole() && read.has_head(&expected(ip_size, fill, &read)));
                let empty = ip_size == HEAD;
                assert_eq!(read.has_its_body(), empty || fill == Fill::BySequence || sequence == 0);
                assert!(is_sound_ip(&packet, framing));
            }
        }
    }
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
    for framing in [Ethernet, Ip] {
        let mut template = Template::new(STREAM, framing, Fill::BySequence, Route::default());
        let sizes = (framing.min_size()..=MAX_SIZE).step_by(7);
        for (sequence, size) in
            (0..).zip(sizes.flat_map(|size| [size, framing.min_size(), MAX_SIZE - size / 2]))
        {
            let mut made = vec![0xaa; size];
            template.write(&mut made, sequence, 0);
            assert!(is_sound_ip(&made, framing), "{size}");
            let read = TestPacket::parse(&made, framing).unwrap();
            assert!(read.has_head(&expected(size - framing.header_len(), Fill::BySequence, &read)), "{size}");
        }
        let mut short = vec![0xaa; framing.min_size() - 1];
        template.write(&mut short, 0, 0);
        assert!(TestPacket::parse(&short, framing).is_none());
    }
}

#[test]
fn a_change_anywhere_shows() {
    for framing in [Ethernet, Ip] {
        let good = packet(framing, 200, Fill::BySequence, 77, 12345);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let sent = TestPacket::parse(&good, framing).unwrap();
            let expected = expected(200 - framing.header_len(), Fill::BySequence, &sent);
            let seen = TestPacket::parse(&bad, framing).is_some_and(|read| {
                read.numbers_are_whole() && read.has_head(&expected) && read.has_its_body()
            });
            assert!(!seen, "byte {at}");
        }
    }
}

#[test]
fn a_packet_that_routers_have_passed_on_is_whole() {
    let routed = |framing: Framing, hops: u8| {
        let mut packet = packet(framing, 200, Fill::BySequence, 77, 0);
        let ip = &mut packet[framing.header_len()..];
        ip[HOPS] = hops;
        ip[IP_CHECKSUM].fill(0);
        let checksum = !ones_sum(&ip[..IPV4]);
        ip[IP_CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        packet
    };
    let is_whole = |packet: &[u8], framing: Framing| {
        let read = TestPacket::parse(packet, framing).unwrap();
        read.has_head(&expected(200 - framing.header_len(), Fill::BySequence, &read))
    };
    for (hops, whole) in [(64, true), (63, true), (1, true), (0, false), (65, false), (255, false)] {
        assert_eq!(is_whole(&routed(Ip, hops), Ip), whole, "{hops}");
    }
    for at in 0..CHECK.start {
        let mut bad = routed(Ip, 63);
        bad[at] ^= 0x10;
        let sent = packet(Ip, 200, Fill::BySequence, 77, 0);
        let expected = expected(200, Fill::BySequence, &TestPacket::parse(&sent, Ip).unwrap());
        assert!(!TestPacket::parse(&bad, Ip).is_some_and(|read| read.has_head(&expected)), "byte {at}");
    }
    assert!(!is_whole(&routed(Ethernet, 63), Ethernet), "frames are bridged, not routed");
}

#[test]
fn bodies_differ_by_sequence_and_stream() {
    let body = |sequence| packet(Ip, 1500, Fill::BySequence, sequence, 0).split_off(HEAD);
    assert_ne!(body(1), body(2));
    let other = Stream { queue: 0, ..STREAM };
    assert_ne!(STREAM.body(1, 100), other.body(1, 100));
    for sequence in 0..10_000 {
        assert_eq!(STREAM.body(sequence, MAX_SIZE - HEAD).len(), MAX_SIZE - HEAD);
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
    padded[14..34].copy_from_slice(&head(STREAM, 28, Fill::Plain)[..IPV4]);
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
    let source = std::net::Ipv4Addr::new(10, 0, 0, 255);
    let target = std::net::Ipv4Addr::new(10, 9, 0, 1);
    for (framing, vlan) in [(Ethernet, None), (Ethernet, Some(4094)), (Ip, None)] {
        let route = Route { source, target, vlan, flows: 40_000 };
        let mut template = Template::new(STREAM, framing, Fill::BySequence, route);
        let header_len = framing.header_len() + if vlan.is_some() { usize::from(TAG) } else { 0 };
        let mut seen = std::collections::HashSet::new();
        let mut head = head(STREAM, 110, Fill::BySequence);
        for sequence in 0..80_000 {
            let mut made = vec![0; header_len + 110];
            template.write(&mut made, sequence, 0);
            assert!(is_sound_ip(&made, framing));
            let read = TestPacket::parse(&made, framing).unwrap();
            read.give_route(&mut head);
            assert!(read.numbers_are_whole() && read.has_head(&head) && read.has_its_body());
            assert_eq!((read.stream(), read.ip_size()), (STREAM, 110));
            let ip = &made[header_len..];
            assert_eq!(ip[16..20], [10, 9, 0, 1]);
            seen.insert(<[u8; 10]>::try_from(&ip[12..22]).unwrap());
        }
        assert_eq!(seen.len(), 40_000);
        if let Some(vlan) = vlan {
            let mut made = vec![0; 68];
            template.write(&mut made, 0, 0);
            assert_eq!(
                (&made[12..16], &made[16..18]),
                (&[0x81, 0, 0x0f, 0xfe][..], &[0x08, 0x00][..]),
                "{vlan}"
            );
        }
    }
}

#[test]
fn a_change_of_the_route_shows() {
    let good = packet(Ip, 100, Fill::BySequence, 7, 0);
    for at in ROUTE {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(!TestPacket::parse(&bad, Ip).unwrap().numbers_are_whole(), "byte {at}");
    }
}
