//! What a slave requests, agrees to and offers.

use super::*;

#[test]
fn slave_params_are_checked() {
    let new = |s2m_rings, m2s_rings, log2_ring_size| {
        SlaveHandshake::new(SlaveParams { s2m_rings, m2s_rings, log2_ring_size, ..slave_params() }).err()
    };
    let too_many = |direction, got| Some(SlaveParamsError::TooManyRings { direction, got });
    assert_eq!(new(0, 0, 10), Some(SlaveParamsError::NoRings));
    assert_eq!(new(257, 1, 10), too_many(Direction::S2M, 257));
    assert_eq!(new(0, u16::MAX, 10), too_many(Direction::M2S, u16::MAX));
    assert_eq!(new(1, 1, 0), Some(SlaveParamsError::RingSize { log2_size: 0 }));
    assert_eq!(new(1, 1, 15), Some(SlaveParamsError::RingSize { log2_size: 15 }));
    assert_eq!((new(256, 256, 14), new(1, 0, 1), new(0, 1, 1)), (None, None, None));
}

/// What a slave with these wishes agrees to after this HELLO.
fn agree(params: SlaveParams, hello: Hello) -> Result<Negotiated, PeerFault> {
    let mut slave = SlaveHandshake::new(params).unwrap();
    tell_slave(&mut slave, Message::Hello(hello))?;
    let _init = slave.poll_transmit();
    match tell_slave(&mut slave, Message::Ack)? {
        SlaveEvent::Offer(agreed) => Ok(agreed),
        event => panic!("{event:?}"),
    }
}

#[test]
fn the_lesser_of_request_and_limit_is_agreed() {
    let wish = SlaveParams { s2m_rings: 256, m2s_rings: 4, log2_ring_size: 12, ..slave_params() };
    for (highest, s2m, m2s) in
        [(0, 1, 1), (2, 3, 3), (254, 255, 4), (255, 256, 4), (256, 256, 4), (u16::MAX, 256, 4)]
    {
        let hello = Hello { max_s2m_ring: highest, max_m2s_ring: highest, max_region: highest, ..hello() };
        let agreed = agree(wish, hello).unwrap();
        assert_eq!((agreed.s2m_rings(), agreed.m2s_rings(), agreed.log2_ring_size()), (s2m, m2s, 12));
        assert_eq!(agreed.max_regions(), MAX_REGIONS.min(usize::from(highest) + 1));
    }
    for (highest, log2) in [(1, 1), (11, 11), (12, 12), (14, 12), (255, 12)] {
        let agreed = agree(wish, Hello { max_log2_ring_size: highest, ..hello() }).unwrap();
        assert_eq!(agreed.log2_ring_size(), log2);
    }
    let fault = agree(wish, Hello { max_log2_ring_size: 0, ..hello() }).unwrap_err();
    assert_eq!(fault, PeerFault::RingSize { log2_size: 0, limit: 14 });
}

#[test]
fn a_slave_accepts_masters_whose_versions_include_its_own() {
    for (min, max, good) in [
        (VERSION, VERSION, true),
        (0, u16::MAX, true),
        (0x0100, 0x01ff, false),
        (0x0201, 0x0300, false),
        (0x0300, 0x0100, false),
    ] {
        let agreed = agree(slave_params(), Hello { min_version: min, max_version: max, ..hello() });
        let fault = PeerFault::VersionMismatch { min, max, want: VERSION };
        assert_eq!(agreed.err(), (!good).then_some(fault), "{min:#x} {max:#x}");
    }
}

#[test]
fn rings_are_adjacent_at_multiples_of_128() {
    let sizes = (1..=14).flat_map(|log2_size| LineSize::ALL.map(|line| (log2_size, line)));
    for (log2_ring_size, line) in sizes {
        let params = SlaveParams { s2m_rings: 256, m2s_rings: 256, log2_ring_size, line, ..slave_params() };
        let agreed = agree(params, hello()).unwrap();
        assert_eq!(agreed.line(), line);
        let bytes = 2 * line.bytes() as u64 + (16_u64 << log2_ring_size);
        let mut end = 0;
        for direction in [Direction::S2M, Direction::M2S] {
            for index in 0..256 {
                let offset = u64::from(agreed.ring_offset(direction, index).unwrap());
                assert!(offset >= end && offset < end + 128 && offset % 128 == 0);
                end = offset + bytes;
            }
            assert_eq!(agreed.ring_offset(direction, 256), None);
        }
        assert!(agreed.rings_size() >= end && agreed.rings_size() < end + 128);
    }
}

#[test]
fn an_offer_that_the_master_would_refuse_is_not_made() {
    let rings = agree(slave_params(), hello()).unwrap().rings_size();
    for (regions, error) in [
        (&[][..], OfferError::Regions { got: 0, limit: 256 }),
        (&[rings; 257], OfferError::Regions { got: 257, limit: 256 }),
        (&[rings - 1], OfferError::RingsOutside { rings, size: rings - 1 }),
        (&[rings, 0], OfferError::RegionSize { region: 1, got: 0 }),
        (&[rings, MAX_REGION_SIZE + 1], OfferError::RegionSize { region: 1, got: MAX_REGION_SIZE + 1 }),
    ] {
        let mut slave = slave_allocating();
        assert_eq!(slave.offer(regions), Err(error));
        assert_eq!((slave.stage(), sent_by_slave(&mut slave)), (Stage::Allocate, None));
        assert_eq!(slave.offer(&[rings]), Ok(()));
    }
}

#[test]
fn state_machines_have_the_documented_size() {
    assert!((5 * 1024..7 * 1024).contains(&size_of::<MasterHandshake>()));
    assert!((2 * 1024..3 * 1024).contains(&size_of::<SlaveHandshake>()));
}
