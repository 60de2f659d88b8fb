//! A master that abuses the rings and the memory that it was given: the victim is the slave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::time::Duration;

use common::{Random, check, packet, until};
use hostile_peer::master::{ScriptedListener, ScriptedMaster, Step};
use hostile_peer::memory::{RingFile, next};
use hostile_peer::{Arena, How, meanwhile};
use memif_pmd::{Burst, Disconnect, DropReason, FaultKind, PeerFault};
use memif_ring::layout::{COOKIE, Desc, DescFlags};
use memif_ring::message::Direction;

/// A link, up on both ends.
fn attacker(arena: &Arena, listener: &ScriptedListener) -> ScriptedMaster {
    until("the last link's end", || !arena.victim.is_up());
    let master = listener.until(Step::Up);
    until("the victim's link", || arena.victim.is_up());
    master
}

/// Writes a good packet into the next posted buffer, without publishing it.
fn fill(master: &ScriptedMaster, index: u16, sequence: u64) {
    let ring = master.ring(Direction::M2S);
    let desc = ring.desc(index);
    master.write(&packet(200, sequence), desc.offset.into());
    ring.set_desc(index, Desc { length: 200, flags: DescFlags::empty(), ..desc });
}

/// What can be wrong with descriptors of posted buffers, and what must come of it: one packet dropped.
fn bad_packets(posted: &[Desc; 3]) -> Vec<(Vec<Desc>, DropReason)> {
    use DropReason::{BufferChanged, Empty, OutOfRegion};
    let [first, second, third] = *posted;
    vec![
        (vec![Desc { region: 1, ..first }], BufferChanged),
        (vec![Desc { region: u16::MAX, ..first }], BufferChanged),
        (vec![Desc { offset: 0, ..first }], BufferChanged),
        (vec![Desc { offset: u32::MAX, ..first }], BufferChanged),
        (vec![Desc { offset: second.offset, ..first }], BufferChanged),
        (vec![Desc { length: 2049, ..first }], OutOfRegion),
        (vec![Desc { length: 65536, ..first }], OutOfRegion),
        (vec![Desc { length: u32::MAX, ..first }], OutOfRegion),
        (vec![Desc { length: 0, ..first }], Empty),
        (vec![next(first), Desc { offset: 1, ..second }], BufferChanged),
        (vec![next(Desc { length: u32::MAX, ..first }), next(second), third], OutOfRegion),
        (vec![next(Desc { length: 0, ..first }), Desc { length: 0, ..second }], Empty),
    ]
}

#[test]
fn bad_descriptors_cost_their_own_packet() {
    let (arena, listener) = Arena::slave();
    for how in How::ALL {
        let master = attacker(&arena, &listener);
        let ring = master.ring(Direction::M2S);
        let mut rx = arena.victim.rx(0).unwrap();
        for case in 0..12 {
            let tail = ring.tail();
            let posted = [1, 2, 3].map(|ahead| ring.desc(tail + ahead));
            let (bad, reason) = bad_packets(&posted)[case].clone();
            let before = arena.drops(reason);
            fill(&master, tail, 100);
            for (index, desc) in (tail + 1..).zip(&bad) {
                ring.set_desc(index, *desc);
            }
            let last = tail + 1 + u16::try_from(bad.len()).unwrap();
            fill(&master, last, 200);
            ring.set_tail(last + 1);
            let got = how.all(&mut rx);
            assert_eq!(got.len(), 2, "{bad:?} {how:?}");
            check(&got[0], 100);
            check(&got[1], 200);
            assert_eq!(arena.drops(reason), before + 1, "{bad:?} {how:?}");
            assert_eq!(ring.head(), last + 1 + 16, "all buffers are posted again");
            for (ahead, posted) in (1..).zip(&posted) {
                assert_eq!(ring.desc(tail + ahead).offset, posted.offset, "and where they were");
            }
        }
        assert!(arena.victim.is_up());
        drop((master, rx));
    }
    assert_eq!(arena.details().faults().count(), 0);
    arena.unharmed_slave(listener);
}

#[test]
fn chains_without_an_end_are_left_behind() {
    let (arena, listener) = Arena::slave();
    for how in How::ALL {
        let master = attacker(&arena, &listener);
        let ring = master.ring(Direction::M2S);
        let mut rx = arena.victim.rx(0).unwrap();
        for length in [1, 3, 15, 16] {
            let before = arena.drops(DropReason::ChainBroken);
            let tail = ring.tail();
            for index in tail..tail + length {
                ring.set_desc(index, next(ring.desc(index)));
            }
            ring.set_tail(tail + length);
            assert!(how.all(&mut rx).is_empty());
            assert_eq!(arena.drops(DropReason::ChainBroken), before + 1, "{length} {how:?}");
            fill(&master, tail + length, 5);
            ring.set_tail(tail + length + 1);
            let got = how.all(&mut rx);
            assert_eq!(got.len(), 1);
            check(&got[0], 5);
        }
        drop((master, rx));
    }
    arena.unharmed_slave(listener);
}

#[test]
fn a_chain_of_more_segments_than_any_packet_needs() {
    let (arena, listener) = Arena::slave_with(|builder| builder.ring_size(2048).buffer_size(256));
    for how in How::ALL {
        // 2047 buffers of one byte, then a good packet
        let master = attacker(&arena, &listener);
        let ring = master.ring(Direction::M2S);
        let mut rx = arena.victim.rx(0).unwrap();
        let piece = |index| Desc { length: 1, ..ring.desc(index) };
        (0..2046).for_each(|index| ring.set_desc(index, next(piece(index))));
        ring.set_desc(2046, piece(2046));
        fill(&master, 2047, 1);
        ring.set_tail(2048);
        let before = arena.drops(DropReason::ChainTooLong);
        let got = how.all(&mut rx);
        assert_eq!(got.len(), 1, "{how:?}");
        check(&got[0], 1);
        assert_eq!(arena.drops(DropReason::ChainTooLong), before + 1);
        assert_eq!(ring.head(), 2 * 2048, "all buffers are posted again");
        drop((master, rx));
    }
    assert_eq!(arena.details().faults().count(), 0);
    arena.unharmed_slave(listener);
}

#[test]
fn a_tail_out_of_range_ends_the_link() {
    let (mut arena, listener) = Arena::slave();
    let mut times = 0;
    for direction in [Direction::S2M, Direction::M2S] {
        for how in How::ALL {
            for tail in [17, 18, 255, 0x7FFF, 0x8000, 0xFF00, u16::MAX] {
                let master = attacker(&arena, &listener);
                master.ring(direction).set_tail(tail);
                match direction {
                    Direction::S2M => {
                        let mut tx = arena.victim.tx(0).unwrap();
                        // nobody asks the master before the ring is full
                        for sequence in 0..16 {
                            assert!(how.send(&mut tx, &packet(64, sequence)));
                        }
                        assert!(!how.send(&mut tx, &packet(64, 16)));
                    }
                    Direction::M2S => assert!(how.once(&mut arena.victim.rx(0).unwrap()).is_empty()),
                }
                assert_eq!(master.wire.last_words().as_deref(), Some("Ring tail out of range"));
                times += 1;
                arena.blames(PeerFault::TailTooFar { tail, head: 16, size: 16 }, times);
            }
        }
        arena.bystander.moves_on();
    }
    arena.unharmed_slave(listener);
}

#[test]
fn a_tail_that_goes_back_ends_the_link() {
    let (arena, listener) = Arena::slave();
    let mut times = 0;
    for how in How::ALL {
        let master = attacker(&arena, &listener);
        let mut rx = arena.victim.rx(0).unwrap();
        let ring = master.ring(Direction::M2S);
        (0..4).for_each(|index| fill(&master, index, index.into()));
        ring.set_tail(4);
        assert_eq!(how.all(&mut rx).len(), 4);
        ring.set_tail(3);
        assert!(how.once(&mut rx).is_empty());
        assert_eq!(master.wire.last_words().as_deref(), Some("Ring tail out of range"));
        times += 1;
        arena.blames(PeerFault::TailTooFar { tail: 3, head: 20, size: 16 }, times);

        let master = attacker(&arena, &listener);
        let mut tx = arena.victim.tx(0).unwrap();
        let ring = master.ring(Direction::S2M);
        let mut send =
            |count| (0..count).filter(|sequence| how.send(&mut tx, &packet(64, *sequence))).count();
        assert_eq!(send(17), 16);
        ring.set_tail(8);
        assert_eq!(send(8), 8);
        ring.set_tail(7);
        assert_eq!(send(1), 0);
        assert_eq!(master.wire.last_words().as_deref(), Some("Ring tail out of range"));
        times += 1;
        arena.blames(PeerFault::TailTooFar { tail: 7, head: 24, size: 16 }, times);
    }
    arena.unharmed_slave(listener);
}

#[test]
fn a_master_that_never_reads() {
    let (mut arena, listener) = Arena::slave();
    let master = attacker(&arena, &listener);
    let mut tx = arena.victim.tx(0).unwrap();
    let mut burst = Burst::new(64).unwrap();
    while burst.push(&packet(300, 0)).is_ok() {}
    let all = burst.len();
    assert_eq!(tx.send(&mut burst), 16);
    for _ in 0..1000 {
        assert_eq!(tx.send(&mut burst), 0);
        assert!(tx.reserve(64, 2048).is_empty());
    }
    assert_eq!(burst.len(), all - 16, "packets stay with the caller");
    assert_eq!(tx.stats().ring_full, 1001);
    assert_eq!(tx.stats().dropped(), 0);
    // a packet larger than the whole ring is not waited for
    burst.clear();
    burst.push(&packet(40_000, 1)).unwrap();
    assert_eq!(tx.send(&mut burst), 0);
    arena.bystander.moves_on();
    assert!(arena.victim.is_up());
    drop((master, tx));
    arena.unharmed_slave(listener);
}

#[test]
fn descriptors_that_flip_while_they_are_read() {
    let (mut arena, listener) = Arena::slave();
    for (seed, how) in (1..).zip([How::Copy, How::InPlace, How::Copy, How::InPlace]) {
        let master = attacker(&arena, &listener);
        let mut rx = arena.victim.rx(0).unwrap();
        let ring = master.ring(Direction::M2S);
        let posted: Vec<_> = (0..16).map(|index| ring.desc(index)).collect();
        let flip = |random: &mut Random| {
            let slot = random.range(0, 15);
            let three = [0, 1, 2].map(|ahead| posted[(slot + ahead) % 16]);
            let bad = bad_packets(&three);
            let choice = bad[random.range(0, bad.len() - 1)].0[0];
            let desc = if random.range(0, 1) == 0 { posted[slot] } else { choice };
            ring.set_desc(u16::try_from(slot).unwrap(), desc);
        };
        let mut received = 0;
        meanwhile(flip, seed, || {
            // below 256, so that our own index is never seen torn
            for tail in 1..240 {
                until("a posted buffer", || {
                    let packets = how.once(&mut rx);
                    assert!(packets.iter().all(|packet| (1..=65535).contains(&packet.len())));
                    received += packets.len();
                    ring.head().wrapping_sub(tail) < 32
                });
                ring.set_tail(tail);
            }
        });
        received += how.all(&mut rx).len();
        assert!(arena.victim.is_up(), "descriptors cost packets, not the link");
        assert!(received <= 239);
        assert_eq!(ring.head(), 239 + 16, "all was consumed and posted again");
        drop((master, rx));
    }
    assert_eq!(arena.details().faults().count(), 0);
    arena.bystander.moves_on();
    arena.unharmed_slave(listener);
}

#[test]
fn packets_in_hand_do_not_change() {
    let (arena, listener) = Arena::slave();
    let master = attacker(&arena, &listener);
    let ring = master.ring(Direction::M2S);
    let mut rx = arena.victim.rx(0).unwrap();
    let places: Vec<u64> = (0..16).map(|index| ring.desc(index).offset.into()).collect();
    let scribble = |random: &mut Random| {
        let bytes = random.next().to_ne_bytes().repeat(32);
        master.write(&bytes, places[random.range(0, 15)]);
    };
    meanwhile(scribble, 3, || {
        let mut burst = Burst::new(16).unwrap();
        for tail in 0..240 {
            ring.set_desc(tail, Desc { length: 256, flags: DescFlags::empty(), ..ring.desc(tail) });
            ring.set_tail(tail + 1);
            assert_eq!(rx.receive(&mut burst), 1);
            let once = burst.get(0).unwrap().to_vec();
            std::thread::yield_now();
            assert_eq!(burst.get(0).unwrap(), once, "a packet changed in private memory");
            burst.clear();
            assert_eq!(rx.receive(&mut burst), 0); // posts
        }
    });
    drop((master, rx));
    arena.unharmed_slave(listener);
}

#[test]
fn descriptors_of_the_sending_ring_do_not_matter() {
    let (arena, listener) = Arena::slave();
    let master = attacker(&arena, &listener);
    let ring = master.ring(Direction::S2M);
    let mut tx = arena.victim.tx(0).unwrap();
    let mut places = Vec::new();
    for sequence in 0..200u16 {
        let index = sequence;
        // whatever stands there beforehand, the slave knows its own buffers
        ring.set_desc(
            index,
            Desc { flags: DescFlags::NEXT, region: 77, length: 0, offset: u32::MAX, metadata: 1 },
        );
        assert!(How::ALL[usize::from(sequence % 2)].send(&mut tx, &packet(500, sequence.into())));
        let desc = ring.desc(index);
        assert_eq!((desc.region, desc.length, desc.flags), (0, 500, DescFlags::empty()));
        let mut bytes = vec![0; 500];
        master.read(&mut bytes, desc.offset.into());
        check(&bytes, sequence.into());
        places.push(desc.offset);
        ring.set_tail(sequence + 1);
    }
    places.sort_unstable();
    assert!(
        places[199] + 500 - places[0] <= 16 * (2048 + 128),
        "in the bytes of the ring's buffers: {places:?}"
    );
    drop((master, tx));
    arena.unharmed_slave(listener);
}

fn throw(ring: RingFile<'_>, random: &mut Random) {
    let mut any = || u16::try_from(random.next() & 0xFFFF).unwrap();
    ring.set_tail(any() % 64);
    ring.set_head(any());
    ring.set_flags(any());
    ring.set_cookie(any().into());
    ring.set_tail(any());
}

#[test]
fn indices_thrown_around_during_traffic() {
    let (mut arena, listener) = Arena::slave();
    for round in 1..=20 {
        let master = attacker(&arena, &listener);
        let (mut rx, mut tx) = (arena.victim.rx(0).unwrap(), arena.victim.tx(0).unwrap());
        let mischief = |random: &mut Random| {
            throw(master.ring(Direction::S2M), random);
            throw(master.ring(Direction::M2S), random);
        };
        meanwhile(mischief, round, || {
            until("the fault", || {
                for how in How::ALL {
                    how.once(&mut rx);
                    how.send(&mut tx, &packet(700, round));
                }
                let _ = rx.wait(Some(Duration::from_micros(10))).unwrap();
                !arena.victim.is_up()
            });
        });
        assert_eq!(master.wire.last_words().as_deref(), Some("Ring tail out of range"));
        assert_eq!(arena.faults(FaultKind::TailTooFar), round);
        assert!(matches!(
            arena.details().last_disconnect,
            Some(Disconnect::Fault(PeerFault::TailTooFar { size: 16, .. }))
        ));
    }
    arena.bystander.moves_on();
    arena.unharmed_slave(listener);
}

#[test]
fn the_slaves_memory_can_be_neither_cut_nor_grown() {
    let (arena, listener) = Arena::slave();
    let master = attacker(&arena, &listener);
    let len = master.file().metadata().unwrap().len();
    for other in [0, 4096, len - 1, len + 1, 1 << 40] {
        assert!(master.file().set_len(other).is_err(), "{other}");
    }
    assert_eq!(master.file().metadata().unwrap().len(), len);
    let mut tx = arena.victim.tx(0).unwrap();
    assert!(How::Copy.send(&mut tx, &packet(60, 1)));
    drop((master, tx));
    arena.unharmed_slave(listener);
}

#[test]
fn flags_and_cookies_after_the_handshake_mean_nothing() {
    let (arena, listener) = Arena::slave();
    let master = attacker(&arena, &listener);
    let (mut rx, mut tx) = (arena.victim.rx(0).unwrap(), arena.victim.tx(0).unwrap());
    for (sequence, (cookie, flags)) in (0..).zip([(0, 0), (COOKIE + 1, u16::MAX), (1, 0xFFFE), (u32::MAX, 1)])
    {
        for direction in [Direction::S2M, Direction::M2S] {
            master.ring(direction).set_cookie(cookie);
            master.ring(direction).set_flags(flags);
        }
        fill(&master, sequence, sequence.into());
        master.ring(Direction::M2S).set_tail(sequence + 1);
        assert_eq!(How::Copy.all(&mut rx).len(), 1);
        assert!(How::Copy.send(&mut tx, &packet(60, 1)));
    }
    assert!(arena.victim.is_up());
    drop((master, rx, tx));
    arena.unharmed_slave(listener);
}
