//! How a master tells the layout of a slave's rings.

use super::*;
use crate::layout::{Desc, LineSize};

use LineSize::{Bytes64, Bytes128};

/// Where a ring is: region, offset, and the binary logarithm of its size.
type Place = (u16, u32, u8);

/// Announces regions of these sizes and S2M rings, and connects.
fn places_of(regions: &[u64], rings: &[Place]) -> Result<Places, PeerFault> {
    let mut master = master_in_admission();
    master.admit(interface(256, 256)).unwrap();
    let _ack = master.poll_transmit();
    for (index, &size) in (0..).zip(regions) {
        tell(&mut master, Message::AddRegion(AddRegion { index, size })).unwrap();
        let _ack = master.poll_transmit();
    }
    for (index, &(region, offset, log2_size)) in (0..).zip(rings) {
        let ring = AddRing { region, log2_size, ..a_ring(Direction::S2M, index, offset) };
        tell(&mut master, Message::AddRing(ring)).unwrap();
        let _ack = master.poll_transmit();
    }
    match tell(&mut master, connect())? {
        MasterEvent::Connect { places, .. } => Ok(places),
        other => panic!("{other:?}"),
    }
}

/// Rings one behind the other, as VPP, DPDK, libmemif and gomemif place them, and the bytes of all of them.
fn in_a_row(line: LineSize, count: u32, log2_size: u8) -> (Vec<Place>, u64) {
    let bytes = line.ring_bytes(log2_size) as u32;
    ((0..count).map(|ring| (0, ring * bytes, log2_size)).collect(), u64::from(count * bytes))
}

#[test]
fn rings_as_every_peer_places_them_tell_their_layout() {
    for line in LineSize::ALL {
        for log2_size in 1..=14 {
            for count in [2, 3, 7, 256] {
                let (rings, end) = in_a_row(line, count, log2_size);
                // zero-copy: the rings alone; otherwise with buffers behind them, also the smallest possible
                for size in [end, end + 128, end + 256, end + (u64::from(count) << (11 + log2_size)), 1 << 30]
                {
                    let told = places_of(&[size], &rings);
                    assert_eq!(told, Ok(Places::Tell(line)), "{count} rings of 2^{log2_size}, {size} bytes");
                }
            }
        }
    }
}

#[test]
fn rings_as_our_slave_places_them_tell_their_layout() {
    for line in LineSize::ALL {
        for log2_ring_size in 1..=14 {
            let params = SlaveParams { s2m_rings: 2, m2s_rings: 1, log2_ring_size, line, ..slave_params() };
            let (mut slave, mut master) =
                (SlaveHandshake::new(params).unwrap(), MasterHandshake::new(hello_params()));
            let agreed = agree_between(&mut slave, &mut master);
            let rings = [(Direction::S2M, 0), (Direction::S2M, 1), (Direction::M2S, 0)]
                .map(|(direction, index)| (0, agreed.ring_offset(direction, index).unwrap(), log2_ring_size));
            // with whole pages behind the rings, or none
            for size in [agreed.rings_size(), agreed.rings_size().next_multiple_of(4096), 1 << 30] {
                assert_eq!(places_of(&[size], &rings), Ok(Places::Tell(line)), "2^{log2_ring_size} {size}");
            }
        }
    }
}

/// Up to the offer.
fn agree_between(slave: &mut SlaveHandshake, master: &mut MasterHandshake) -> Negotiated {
    let hello = master.poll_transmit().unwrap();
    slave.handle(&hello.bytes, NO_FD, 0).unwrap();
    let init = slave.poll_transmit().unwrap();
    master.handle(&init.bytes, NO_FD, 0).unwrap();
    master.admit(interface(256, 256)).unwrap();
    let ack = master.poll_transmit().unwrap();
    match slave.handle(&ack.bytes, NO_FD, 0).unwrap() {
        SlaveEvent::Offer(agreed) => agreed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rings_of_different_sizes_tell_their_layout() {
    for line in LineSize::ALL {
        let mut end = 0;
        let rings = [3, 10, 1, 14].map(|log2_size| {
            let place = (0, end, log2_size);
            end += line.ring_bytes(log2_size) as u32;
            place
        });
        assert_eq!(places_of(&[1 << 30], &rings), Ok(Places::Tell(line)));
        let backwards: Vec<_> = rings.iter().rev().copied().collect();
        assert_eq!(places_of(&[1 << 30], &backwards), Ok(Places::Tell(line)));
    }
}

#[test]
fn a_ring_that_fits_only_in_the_shorter_layout_has_it() {
    let (narrow, wide) = (Bytes64.ring_bytes(4) as u64, Bytes128.ring_bytes(4) as u64);
    for size in [narrow, wide - 1] {
        assert_eq!(places_of(&[size], &[(0, 0, 4)]), Ok(Places::Tell(Bytes64)), "{size}");
        assert_eq!(places_of(&[4096 + size], &[(0, 4096, 4)]), Ok(Places::Tell(Bytes64)), "{size}");
    }
    // the next ring begins where the longer one would end, but for 16 bytes
    let rings = [(0, 0, 4), (0, wide as u32 - 16, 4)];
    assert_eq!(places_of(&[1 << 20], &rings), Ok(Places::Tell(Bytes64)));
}

#[test]
fn one_ring_that_fills_its_region_has_the_layout_that_does() {
    for log2_size in 1..=14 {
        let wide = Bytes128.ring_bytes(log2_size) as u64;
        let fills = Places::LeaveOpen { otherwise: Ok(Bytes128) };
        assert_eq!(places_of(&[wide], &[(0, 0, log2_size)]), Ok(fills));
        assert_eq!(places_of(&[wide + 16], &[(0, 0, log2_size)]), Ok(OPEN));
        let apart = [(0, 0, log2_size), (1, 0, log2_size)];
        assert_eq!(places_of(&[wide, wide], &apart), Ok(fills));
    }
}

#[test]
fn rings_that_tell_different_layouts_are_refused() {
    let (narrow, wide) = (Bytes64.ring_bytes(4) as u32, Bytes128.ring_bytes(4) as u32);
    let mixed = |offset, line, other| PeerFault::RingLayoutMixed { region: 0, offset, line, other };
    for (rings, size, fault) in [
        ([(0, 0, 4), (0, narrow, 4), (0, narrow + wide, 4)], 1 << 20, mixed(narrow, Bytes128, Bytes64)),
        ([(0, 0, 4), (0, wide, 4), (0, wide + narrow, 4)], 1 << 20, mixed(wide, Bytes64, Bytes128)),
        // the last ring runs past its region if it is laid out as the others are
        ([(0, 0, 4), (0, wide, 4), (0, 2 * wide, 4)], 3 * wide - 16, mixed(2 * wide, Bytes64, Bytes128)),
    ] {
        assert_eq!(places_of(&[size.into()], &rings), Err(fault));
    }
}

fn descs(lengths: [u32; 2]) -> [Desc; 2] {
    lengths.map(|length| Desc { length, ..Desc::default() })
}

/// What rings at offset 0 of the regions 0, 1 … contain.
fn contents(rings: &[[u32; 2]]) -> impl Iterator<Item = Result<(u16, u32, [Desc; 2]), PeerFault>> {
    (0..).zip(rings).map(|(region, lengths)| Ok((region, 0, descs(*lengths))))
}

#[test]
fn contents_tell_the_layout_that_places_leave_open() {
    for (rings, line) in [
        (&[[2048, 2048]][..], Bytes64),
        (&[[1, 0]], Bytes64),
        (&[[0, 2048]], Bytes128),
        (&[[0, 0], [0, 1]], Bytes128),
        (&[[0, 0], [u32::MAX, 0]], Bytes64),
        (&[[0, 0]], Bytes64),
    ] {
        assert_eq!(OPEN.layout(contents(rings)), Ok(line), "{rings:?}");
        let told = Places::Tell(Bytes128);
        assert_eq!(told.layout(contents(rings)), Ok(Bytes128), "{rings:?}");
    }
    let fills = Places::LeaveOpen { otherwise: Ok(Bytes128) };
    assert_eq!(fills.layout(contents(&[[0, 0]])), Ok(Bytes128));
    assert_eq!(fills.layout(contents(&[[2048, 0]])), Ok(Bytes64));
}

#[test]
fn contents_that_differ_are_refused() {
    let fault = PeerFault::RingLayoutMixed { region: 1, offset: 0, line: Bytes128, other: Bytes64 };
    assert_eq!(OPEN.layout(contents(&[[9, 9], [0, 9]])), Err(fault));
    let fault = PeerFault::BadCookie { got: 1 };
    assert_eq!(OPEN.layout([Err(fault)]), Err(fault));
}

#[test]
fn rings_further_apart_than_in_either_layout_need_contents_that_tell() {
    let wide = Bytes128.ring_bytes(4) as u32;
    for next in [wide + 16, wide + 144, 4096] {
        let places = places_of(&[1 << 20], &[(0, 0, 4), (0, next, 4)]).unwrap();
        let unknown = PeerFault::RingLayoutUnknown { region: 0, offset: 0, next };
        assert_eq!(places, Places::LeaveOpen { otherwise: Err(unknown) });
        assert_eq!(places.layout(contents(&[[0, 0], [0, 0]])), Err(unknown));
        assert_eq!(places.layout(contents(&[[9, 0], [0, 0]])), Ok(Bytes64));
    }
}
