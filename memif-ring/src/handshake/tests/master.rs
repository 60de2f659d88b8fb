//! What a master refuses, and what it accepts.

use super::*;

#[test]
fn init_of_another_version_is_refused() {
    for version in [0, 0x01ff, 0x0201, 0x0300, u16::MAX] {
        let fault = PeerFault::VersionMismatch { min: version, max: version, want: VERSION };
        assert_fault(new_master(), Message::Init(Init { version, ..init() }), fault);
    }
}

#[test]
fn admission_is_refused_for_each_reason() {
    let secret = &Secret::new("open").unwrap();
    let guarded = Admission::Interface { mode: Mode::Ethernet, secret, s2m_rings: 1, m2s_rings: 1 };
    let ip = Admission::Interface { mode: Mode::Ip, secret, s2m_rings: 1, m2s_rings: 1 };
    let wrong = Init { secret: Secret::new("opem").unwrap(), ..init() };
    let longer = Init { secret: Secret::new("open!").unwrap(), ..init() };
    for (init, admission, fault) in [
        (init(), Admission::Unknown, PeerFault::UnknownId { id: 5 }),
        (init(), Admission::Busy, PeerFault::AlreadyConnected { id: 5 }),
        (init(), ip, PeerFault::ModeMismatch { got: Mode::Ethernet, want: Mode::Ip }),
        (init(), guarded, PeerFault::SecretRequired { id: 5 }),
        (wrong, guarded, PeerFault::WrongSecret { id: 5 }),
        (longer, guarded, PeerFault::WrongSecret { id: 5 }),
    ] {
        let mut master = new_master();
        assert_eq!(tell(&mut master, Message::Init(init)), Ok(MasterEvent::Init(init)));
        assert_eq!(master.admit(admission), Err(AdmitError::Refused(fault)));
        assert_refused(&mut master, fault);
    }
}

#[test]
fn a_matching_secret_is_admitted_and_an_unneeded_one_ignored() {
    let secret = Secret::new("open").unwrap();
    for own in [&secret, NO_SECRET] {
        let mut master = new_master();
        tell(&mut master, Message::Init(Init { secret, ..init() })).unwrap();
        let admission =
            Admission::Interface { mode: Mode::Ethernet, secret: own, s2m_rings: 1, m2s_rings: 1 };
        assert_eq!(master.admit(admission), Ok(()));
        assert_eq!((sent_by_master(&mut master), master.stage()), (Some(Message::Ack), Stage::Setup));
    }
}

#[test]
fn region_indices_out_of_order_are_refused() {
    for got in [1, 2, u16::MAX] {
        assert_fault(master_in_setup(), region(got), PeerFault::RegionIndex { got, want: 0 });
    }
    for got in [0, 2] {
        assert_fault(master_with_a_ring(), region(got), PeerFault::RegionIndex { got, want: 1 });
    }
}

#[test]
fn region_sizes_are_bounded() {
    for size in [0, MAX_REGION_SIZE + 1, 1 << 63, u64::MAX] {
        let message = Message::AddRegion(AddRegion { index: 0, size });
        let fault = PeerFault::RegionSize { region: 0, got: size, limit: MAX_REGION_SIZE };
        assert_fault(master_in_setup(), message, fault);
    }
    for size in [1, MAX_REGION_SIZE] {
        let event = tell(&mut master_in_setup(), Message::AddRegion(AddRegion { index: 0, size }));
        assert_eq!(event, Ok(MasterEvent::Region { index: 0, size, fd: 7 }));
    }
}

#[test]
fn regions_are_bounded_in_number() {
    for (max_region, limit) in [(0, 1), (254, 255), (255, 256), (256, 256), (u16::MAX, 256)] {
        let mut master = MasterHandshake::new(HelloParams { max_region, ..hello_params() });
        let _hello = master.poll_transmit();
        tell(&mut master, Message::Init(init())).unwrap();
        master.admit(interface(1, 1)).unwrap();
        for index in 0..limit {
            assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
            tell(&mut master, region(index)).unwrap();
        }
        assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
        let limit = u32::from(limit);
        let last = u16::try_from(limit).unwrap();
        assert_fault(master, region(last), PeerFault::TooManyRegions { got: limit + 1, limit });
    }
}

#[test]
fn ring_indices_out_of_order_are_refused() {
    let direction = Direction::S2M;
    for got in [0, 2, u16::MAX] {
        let fault = PeerFault::RingIndex { direction, got, want: 1 };
        assert_fault(master_with_a_ring(), ring(direction, got, 4096), fault);
    }
    let direction = Direction::M2S;
    let fault = PeerFault::RingIndex { direction, got: 1, want: 0 };
    assert_fault(master_with_a_ring(), ring(direction, 1, 4096), fault);
}

#[test]
fn the_number_of_rings_is_limited_by_interface_and_hello() {
    for direction in [Direction::S2M, Direction::M2S] {
        for (highest, queues, limit) in
            [(255, 0, 0), (255, 3, 3), (1, 3, 2), (255, 256, 256), (256, 300, 256), (u16::MAX, u16::MAX, 256)]
        {
            let params = HelloParams { max_s2m_ring: highest, max_m2s_ring: highest, ..hello_params() };
            let mut master = MasterHandshake::new(params);
            let _hello = master.poll_transmit();
            tell(&mut master, Message::Init(init())).unwrap();
            master.admit(interface(queues, queues)).unwrap();
            let _ack = master.poll_transmit();
            tell(&mut master, region(0)).unwrap();
            for index in 0..limit {
                assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
                tell(&mut master, ring(direction, index, u32::from(index) * 384)).unwrap();
            }
            assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
            let fault =
                PeerFault::TooManyRings { direction, got: u32::from(limit) + 1, limit: u32::from(limit) };
            assert_fault(master, ring(direction, limit, 500 * 384), fault);
        }
    }
}

#[test]
fn directions_may_mix_and_regions_may_follow_rings() {
    let mut master = master_with_a_ring();
    let in_region_1 = Message::AddRing(AddRing { region: 1, ..a_ring(Direction::M2S, 1, 0) });
    for message in [
        ring(Direction::M2S, 0, 384),
        ring(Direction::S2M, 1, 768),
        region(1),
        in_region_1,
        ring(Direction::S2M, 2, 1152),
    ] {
        tell(&mut master, message).unwrap();
        assert_eq!(sent_by_master(&mut master), Some(Message::Ack));
    }
}

#[test]
fn ring_geometry_is_checked() {
    let good = AddRing { index: 0, ..a_ring(Direction::M2S, 0, 4096) };
    for (ring, fault) in [
        (AddRing { private_hdr_size: 1, ..good }, PeerFault::PrivateHeader { got: 1 }),
        (AddRing { private_hdr_size: 256, ..good }, PeerFault::PrivateHeader { got: 256 }),
        (AddRing { log2_size: 0, ..good }, PeerFault::RingSize { log2_size: 0, limit: 14 }),
        (AddRing { log2_size: 15, ..good }, PeerFault::RingSize { log2_size: 15, limit: 14 }),
        (AddRing { log2_size: 64, ..good }, PeerFault::RingSize { log2_size: 64, limit: 14 }),
        (AddRing { log2_size: 255, ..good }, PeerFault::RingSize { log2_size: 255, limit: 14 }),
        (AddRing { region: 1, ..good }, PeerFault::UnknownRegion { region: 1, known: 1 }),
        (AddRing { region: u16::MAX, ..good }, PeerFault::UnknownRegion { region: u16::MAX, known: 1 }),
        (AddRing { offset: 4097, ..good }, PeerFault::RingMisaligned { offset: 4097 }),
        (AddRing { offset: 4104, ..good }, PeerFault::RingMisaligned { offset: 4104 }),
        (AddRing { offset: u32::MAX, ..good }, PeerFault::RingMisaligned { offset: u32::MAX }),
    ] {
        assert_fault(master_with_a_ring(), Message::AddRing(ring), fault);
    }
}

#[test]
fn a_ring_ends_within_its_region() {
    let ring = |offset, log2_size| {
        Message::AddRing(AddRing { log2_size, region: 0, ..a_ring(Direction::S2M, 0, offset) })
    };
    let top = u32::MAX - 15;
    let largest = 128 + (16 << 14);
    for (size, offset, log2_size, end) in [
        (384, 0, 4, 384),
        (160, 0, 1, 160),
        (384, 16, 4, 400),
        (383, 0, 4, 384),
        (1, 0, 1, 160),
        (largest, 0, 14, largest),
        (largest - 1, 0, 14, largest),
        (u64::from(top), top, 14, u64::from(top) + largest),
        (u64::from(top) + largest, top, 14, u64::from(top) + largest),
        (u64::from(top) + largest - 1, top, 14, u64::from(top) + largest),
        (1 << 20, top, 4, u64::from(top) + 384),
    ] {
        let mut master = master_in_setup();
        tell(&mut master, Message::AddRegion(AddRegion { index: 0, size })).unwrap();
        let _ack = master.poll_transmit();
        if end <= size {
            assert!(tell(&mut master, ring(offset, log2_size)).is_ok(), "{size} {offset} {log2_size}");
        } else {
            let fault = PeerFault::RingOutsideRegion { region: 0, end, size };
            assert_fault(master, ring(offset, log2_size), fault);
        }
    }
}

#[test]
fn overlapping_rings_are_refused_and_touching_ones_are_not() {
    let start = |first, offset| {
        let mut master = master_in_setup();
        for message in [region(0), region(1), ring(first, 0, offset)] {
            tell(&mut master, message).unwrap();
            let _ack = master.poll_transmit();
        }
        master
    };
    let region = 0;
    let (s2m, m2s) = (Direction::S2M, Direction::M2S);
    for (first, direction, index) in [(s2m, m2s, 0), (m2s, s2m, 0), (s2m, s2m, 1), (m2s, m2s, 1)] {
        for offset in [4096 - 384 + 16, 4096 - 16, 4096, 4096 + 16, 4096 + 384 - 16] {
            let fault = PeerFault::RingOverlap { direction, index, region, offset };
            assert_fault(start(first, 4096), ring(direction, index, offset), fault);
        }
        for offset in [0, 4096 - 384, 4096 + 384] {
            assert!(tell(&mut start(first, 4096), ring(direction, index, offset)).is_ok(), "{offset}");
        }
        let elsewhere = AddRing { region: 1, ..a_ring(direction, index, 4096) };
        assert!(tell(&mut start(first, 4096), Message::AddRing(elsewhere)).is_ok());
    }
}

#[test]
fn connect_without_rings_is_refused() {
    assert_fault(master_in_setup(), connect(), PeerFault::NoRings);
    let mut master = master_in_setup();
    tell(&mut master, region(0)).unwrap();
    let _ack = master.poll_transmit();
    assert_fault(master, connect(), PeerFault::NoRings);
}
