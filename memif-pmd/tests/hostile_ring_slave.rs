//! A slave that abuses the rings of its link: the victim is the master.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::thread;
use std::time::Duration;

use common::{Random, check, packet, until};
use hostile_peer::memory::{Memory, RingFile, next};
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::{Arena, How, VICTIM, meanwhile};
use memif_pmd::{Burst, Disconnect, DropReason, FaultKind, PeerFault, RxMode};
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::message::Direction;

fn attacker(arena: &Arena) -> ScriptedSlave {
    ScriptedSlave::until(&arena.socket, VICTIM, Step::Up)
}

/// Packets that must be dropped, one each: descriptors from a good buffer, and why.
fn bad_packets(good: Desc, region: u64) -> Vec<(Vec<Desc>, DropReason)> {
    use DropReason::{Empty, OutOfRegion, Oversized, UnknownRegion};
    let size = u32::try_from(region).unwrap();
    let at = |offset, length| Desc { offset, length, ..good };
    vec![
        (vec![Desc { region: 1, ..good }], UnknownRegion),
        (vec![Desc { region: 256, ..good }], UnknownRegion),
        (vec![Desc { region: u16::MAX, ..good }], UnknownRegion),
        (vec![at(size, 1)], OutOfRegion),
        (vec![at(size - 63, 64)], OutOfRegion),
        (vec![at(0, size + 1)], OutOfRegion),
        (vec![at(u32::MAX, u32::MAX)], OutOfRegion),
        (vec![at(u32::MAX, 1)], OutOfRegion),
        (vec![at(64, u32::MAX - 63)], OutOfRegion),
        (vec![at(1 << 31, 1 << 31)], OutOfRegion),
        (vec![at(0, 0)], Empty),
        (vec![at(0, 65536)], Oversized),
        (vec![next(good), Desc { region: 9, ..good }], UnknownRegion),
        (vec![next(at(size, 1)), next(good), good], OutOfRegion),
        (vec![next(at(0, 0)), at(0, 0)], Empty),
        (vec![next(at(0, 40000)), at(0, 40000)], Oversized),
        // flags that mean nothing, with a fault beside them
        (vec![Desc { flags: DescFlags::from_bits_retain(0xFFFE), region: 3, ..good }], UnknownRegion),
    ]
}

#[test]
fn bad_descriptors_cost_their_own_packet() {
    let arena = Arena::master();
    for how in How::ALL {
        let slave = attacker(&arena);
        let mut rx = arena.victim.rx(0).unwrap();
        let good = slave.memory.slot(Direction::S2M, 0);
        for (bad, reason) in bad_packets(good, slave.memory.len()) {
            let before = arena.drops(reason);
            let head = slave.s2m().head();
            let last = head + 1 + u16::try_from(bad.len()).unwrap();
            let first = slave.memory.packet(head, 64, head.into());
            let second = slave.memory.packet(last, 1514, last.into());
            slave.s2m().publish([first].into_iter().chain(bad.clone()).chain([second]));
            let got = how.all(&mut rx);
            assert_eq!(got.len(), 2, "{bad:?} {how:?}");
            check(&got[0], head.into());
            check(&got[1], last.into());
            assert_eq!(arena.drops(reason), before + 1, "{bad:?} {how:?}");
            assert_eq!(slave.s2m().tail(), last + 1, "all slots come back");
        }
        assert!(arena.victim.is_up());
        assert_eq!(arena.details().faults().count(), 0);
        drop((slave, rx));
        until("the link's end", || !arena.victim.is_up());
    }
    arena.unharmed_master();
}

#[test]
fn chains_without_an_end_are_left_behind() {
    let arena = Arena::master();
    for how in How::ALL {
        let slave = attacker(&arena);
        let mut rx = arena.victim.rx(0).unwrap();
        let good = slave.memory.slot(Direction::S2M, 0);
        for (length, times) in [(1, 1), (3, 2), (15, 3), (16, 4)] {
            let before = arena.drops(DropReason::ChainBroken);
            slave.s2m().publish(vec![next(good); length]);
            assert!(how.all(&mut rx).is_empty());
            assert_eq!(arena.drops(DropReason::ChainBroken), before + 1, "{length} {how:?}");
            let head = slave.s2m().head();
            slave.s2m().publish([slave.memory.packet(head, 100, times)]);
            let got = how.all(&mut rx);
            assert_eq!(got.len(), 1, "{how:?}");
            check(&got[0], times);
        }
        drop((slave, rx));
        until("the link's end", || !arena.victim.is_up());
    }
    arena.unharmed_master();
}

#[test]
fn a_chain_of_more_segments_than_any_packet_needs() {
    let arena = Arena::master();
    for how in How::ALL {
        // 2047 slots of one byte, then a good packet
        let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, Memory::new(11, 64), Step::Up);
        let mut rx = arena.victim.rx(0).unwrap();
        let byte = Desc { length: 1, ..slave.memory.slot(Direction::S2M, 0) };
        let chain = vec![next(byte); 2046].into_iter().chain([byte]);
        slave.s2m().publish(chain.chain([slave.memory.packet(2047, 64, 1)]));
        let before = arena.drops(DropReason::ChainTooLong);
        let got = how.all(&mut rx);
        assert_eq!(got.len(), 1, "{how:?}");
        check(&got[0], 1);
        assert_eq!(arena.drops(DropReason::ChainTooLong), before + 1);
        drop((slave, rx));
        until("the link's end", || !arena.victim.is_up());
    }
    arena.unharmed_master();
}

#[test]
fn a_head_out_of_range_on_m2s_ends_the_link() {
    let mut arena = Arena::master();
    let mut times = 0;
    for how in How::ALL {
        for head in [17, 18, 255, 0x7FFF, 0x8000, 0xFF00, u16::MAX] {
            let slave = attacker(&arena);
            slave.m2s().set_head(head);
            assert!(!how.send(&mut arena.victim.tx(0).unwrap(), &packet(64, 1)));
            assert_eq!(slave.wire.last_words().as_deref(), Some("Ring head out of range"));
            times += 1;
            arena.blames(PeerFault::HeadTooFar { head, tail: 0, size: 16 }, times);
        }
    }
    arena.bystander.moves_on();
    arena.unharmed_master();
}

#[test]
fn a_head_out_of_range_on_s2m_costs_the_descriptors_up_to_it() {
    let mut arena = Arena::master();
    for how in How::ALL {
        let slave = attacker(&arena);
        let mut rx = arena.victim.rx(0).unwrap();
        let (mut at, mut lost) = (0u16, arena.drops(DropReason::Overrun));
        // the last one goes back by 3
        for ahead in [17, 18, 255, 0x7FFF, 0x8000, 0xFF00, u16::MAX - 2] {
            slave.s2m().set_head(at.wrapping_add(ahead));
            assert!(how.once(&mut rx).is_empty());
            at = at.wrapping_add(ahead);
            lost += u64::from(ahead);
            assert_eq!((slave.s2m().tail(), arena.drops(DropReason::Overrun)), (at, lost), "{ahead} {how:?}");
            slave.s2m().publish([slave.memory.packet(at, 700, ahead.into())]);
            let got = how.all(&mut rx);
            assert_eq!(got.len(), 1, "{ahead} {how:?}");
            check(&got[0], ahead.into());
            at = at.wrapping_add(1);
        }
        assert!(arena.victim.is_up());
        drop((slave, rx));
        until("the link's end", || !arena.victim.is_up());
    }
    assert_eq!(arena.details().faults().count(), 0);
    arena.bystander.moves_on();
    arena.unharmed_master();
}

#[test]
fn overruns_that_no_traffic_explains_end_the_link() {
    let mut arena = Arena::master();
    let slave = attacker(&arena);
    let mut rx = arena.victim.rx(0).unwrap();
    let (mut head, mut polls, mut burst) = (0u16, 0u64, Burst::new(64).unwrap());
    until("the end of the link", || {
        for poll in 0..1000 {
            head = head.wrapping_add(1000);
            slave.s2m().set_head(head);
            let found = if poll % 2 == 0 { rx.receive(&mut burst) } else { rx.peek(64).len() };
            assert_eq!(found, 0);
            polls += 1;
        }
        !arena.victim.is_up()
    });
    assert!(polls >= 5000, "{polls}");
    assert_eq!(slave.wire.last_words().as_deref(), Some("Ring overrun without end"));
    assert_eq!((arena.faults(FaultKind::Overruns), arena.all_faults()), (1, 1));
    let last = arena.details().last_disconnect;
    assert!(
        matches!(
            last,
            Some(Disconnect::Fault(PeerFault::Overruns { overruns: 1000.., packets: 0, seconds: 5 }))
        ),
        "{last:?}"
    );
    arena.bystander.moves_on();
    drop((slave, rx));
    arena.unharmed_master();
}

#[test]
fn a_sleeper_gets_what_comes_after_an_overrun() {
    let arena = Arena::master_with(|builder| builder.rx_mode(RxMode::Interrupt));
    let slave = attacker(&arena);
    let mut rx = arena.victim.rx(0).unwrap();
    slave.s2m().set_head(100);
    assert!(!rx.wait(Some(Duration::from_millis(5))).unwrap());
    assert_eq!(arena.drops(DropReason::Overrun), 100);
    slave.s2m().publish([slave.memory.packet(100, 64, 1)]);
    rustix::io::write(slave.event(Direction::S2M), &1u64.to_ne_bytes()).unwrap();
    assert!(rx.wait(Some(common::PATIENCE)).unwrap());
    let got = How::Copy.all(&mut rx);
    assert_eq!(got.len(), 1);
    check(&got[0], 1);
    assert!(arena.victim.is_up());
    drop((slave, rx));
    arena.unharmed_master();
}

#[test]
fn bad_buffers_to_send_into() {
    use DropReason::{OutOfRegion, UnknownRegion};
    let arena = Arena::master();
    for how in How::ALL {
        let slave = attacker(&arena);
        let mut tx = arena.victim.tx(0).unwrap();
        let good = slave.memory.slot(Direction::M2S, 3);
        let size = u32::try_from(slave.memory.len()).unwrap();
        let at = |offset, length| Desc { offset, length, ..good };
        let bad = [
            (Desc { region: 1, ..good }, UnknownRegion),
            (Desc { region: u16::MAX, ..good }, UnknownRegion),
            (at(size, 1), OutOfRegion),
            (at(size - 1, 2), OutOfRegion),
            (at(u32::MAX, u32::MAX), OutOfRegion),
            (at(0, u32::MAX), OutOfRegion),
        ];
        for (desc, reason) in bad {
            let before = arena.drops(reason);
            let at = slave.m2s().head();
            slave.m2s().publish([desc, good]);
            // the copying form loses the packet, the form in place passes the buffer by
            let sent = [1, 2].map(|sequence| how.send(&mut tx, &packet(600, sequence)));
            assert!(sent.contains(&true), "{desc:?} {how:?}");
            assert_eq!(arena.drops(reason), before + 1, "{desc:?} {how:?}");
            let (passed_by, filled) = (slave.m2s().desc(at), slave.m2s().desc(at + 1));
            assert_eq!(
                passed_by,
                Desc { flags: DescFlags::empty(), length: 0, ..desc },
                "place untouched, no bytes"
            );
            assert_eq!(filled, Desc { length: 600, ..good });
            assert_eq!(slave.m2s().tail(), at + 2);
        }
        assert!(arena.victim.is_up());
        drop((slave, tx));
        until("the link's end", || !arena.victim.is_up());
    }
    assert_eq!(arena.details().faults().count(), 0);
    arena.unharmed_master();
}

#[test]
fn buffers_too_small_to_be_of_use() {
    let arena = Arena::master();
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, Memory::new(11, 64), Step::Up);
    let mut tx = arena.victim.tx(0).unwrap();
    let byte = Desc { length: 1, ..slave.memory.slot(Direction::M2S, 0) };
    slave.m2s().publish(vec![byte; 2048]);
    assert!(!How::Copy.send(&mut tx, &packet(1514, 0)), "1514 buffers are no packet");
    assert_eq!(arena.drops(DropReason::TooLarge), 1);
    assert!(How::Copy.send(&mut tx, &packet(1000, 1)), "1000 are one, if there are so many");
    // buffers of no bytes at all never add up to a packet
    let slave = {
        drop(slave);
        until("the link's end", || !arena.victim.is_up());
        attacker(&arena)
    };
    slave.m2s().publish(vec![Desc { length: 0, ..slave.memory.slot(Direction::M2S, 0) }; 16]);
    for sequence in 0..16 {
        assert!(!How::Copy.send(&mut tx, &packet(60, sequence)));
    }
    assert_eq!(arena.drops(DropReason::OutOfRegion), 16);
    assert_eq!(slave.m2s().tail(), 16);
    drop((slave, tx));
    arena.unharmed_master();
}

#[test]
fn a_slave_that_never_posts_and_never_reads() {
    let mut arena = Arena::master();
    let slave = attacker(&arena);
    let mut tx = arena.victim.tx(0).unwrap();
    let mut burst = Burst::new(64).unwrap();
    while burst.push(&packet(300, 0)).is_ok() {}
    let waiting = burst.len();
    for _ in 0..1000 {
        assert_eq!(tx.send(&mut burst), 0);
        assert!(tx.reserve(64, 2048).is_empty());
    }
    assert_eq!(burst.len(), waiting, "packets stay with the caller");
    slave.post();
    assert_eq!(tx.send(&mut burst), 16);
    for _ in 0..1000 {
        assert_eq!(tx.send(&mut burst), 0);
    }
    assert_eq!(burst.len(), waiting - 16);
    assert_eq!(tx.stats().ring_full, 2001);
    assert_eq!(tx.stats().dropped(), 0);
    arena.bystander.moves_on();
    assert!(arena.victim.is_up());
    drop((slave, tx));
    arena.unharmed_master();
}

#[test]
fn descriptors_that_flip_while_they_are_read() {
    let mut arena = Arena::master();
    for (seed, how) in (1..).zip([How::Copy, How::InPlace, How::Copy, How::InPlace]) {
        let slave = attacker(&arena);
        let mut rx = arena.victim.rx(0).unwrap();
        let good = slave.memory.slot(Direction::S2M, 0);
        let size = slave.memory.len();
        let flip = |random: &mut Random| {
            let bad = bad_packets(good, size);
            let choice = &bad[random.range(0, bad.len() - 1)].0;
            let desc = if random.range(0, 1) == 0 { good } else { choice[0] };
            slave.s2m().set_desc(u16::try_from(random.range(0, 15)).unwrap(), desc);
        };
        let mut received = 0;
        meanwhile(flip, seed, || {
            // below 256, so that our own index is never seen torn
            for head in 1..250 {
                slave.s2m().set_head(head);
                for packet in how.once(&mut rx) {
                    assert!((1..=65535).contains(&packet.len()));
                    received += 1;
                }
                thread::yield_now();
            }
        });
        how.all(&mut rx);
        assert!(arena.victim.is_up(), "descriptors cost packets, not the link");
        assert!(received <= 249);
        assert_eq!(slave.s2m().tail(), 249, "all was consumed");
        drop((slave, rx));
        until("the link's end", || !arena.victim.is_up());
    }
    assert_eq!(arena.details().faults().count(), 0);
    arena.bystander.moves_on();
    arena.unharmed_master();
}

#[test]
fn packets_in_hand_do_not_change() {
    let arena = Arena::master();
    let slave = attacker(&arena);
    let mut rx = arena.victim.rx(0).unwrap();
    let place = slave.memory.slot(Direction::S2M, 0).offset;
    let scribble = |random: &mut Random| {
        let bytes = random.next().to_ne_bytes().repeat(32);
        std::os::unix::fs::FileExt::write_all_at(slave.memory.file(), &bytes, place.into()).unwrap();
    };
    meanwhile(scribble, 3, || {
        let mut burst = Burst::new(16).unwrap();
        for head in 1..250 {
            slave.s2m().publish([Desc { length: 256, ..slave.memory.slot(Direction::S2M, 0) }]);
            assert_eq!(slave.s2m().head(), head);
            assert_eq!(rx.receive(&mut burst), 1);
            let once = burst.get(0).unwrap().to_vec();
            thread::yield_now();
            assert_eq!(burst.get(0).unwrap(), once, "a packet changed in private memory");
            burst.clear();
        }
    });
    drop((slave, rx));
    arena.unharmed_master();
}

fn throw(ring: RingFile<'_>, random: &mut Random) {
    let mut any = || u16::try_from(random.next() & 0xFFFF).unwrap();
    ring.set_head(any() % 64);
    ring.set_tail(any());
    ring.set_flags(any());
    ring.set_cookie(any().into());
    ring.set_head(any());
}

#[test]
fn indices_thrown_around_during_traffic() {
    let mut arena = Arena::master();
    for round in 1..=20 {
        let slave = attacker(&arena);
        slave.post();
        let (mut rx, mut tx) = (arena.victim.rx(0).unwrap(), arena.victim.tx(0).unwrap());
        let mischief = |random: &mut Random| {
            throw(slave.s2m(), random);
            throw(slave.m2s(), random);
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
        assert_eq!(slave.wire.last_words().as_deref(), Some("Ring head out of range"));
        assert_eq!(arena.faults(FaultKind::HeadTooFar), round);
        assert!(matches!(
            arena.details().last_disconnect,
            Some(Disconnect::Fault(PeerFault::HeadTooFar { size: 16, .. }))
        ));
    }
    arena.bystander.moves_on();
    arena.unharmed_master();
}

#[test]
fn regions_of_64_gib_and_places_at_the_edge_of_4() {
    let arena = Arena::master();
    let memory = Memory::new(4, 2048);
    memory.file().set_len(1 << 36).unwrap();
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Admitted);
    let region = memif_ring::message::AddRegion { index: 0, size: 1 << 36 };
    slave.tell(&memif_ring::message::Message::AddRegion(region), Some(slave.memory.fd()));
    slave.run(Step::Region, Step::Up);
    let mut rx = arena.victim.rx(0).unwrap();
    let far = packet(100, 1);
    std::os::unix::fs::FileExt::write_all_at(slave.memory.file(), &far, u32::MAX.into()).unwrap();
    let desc =
        Desc { flags: DescFlags::empty(), region: 0, length: 100, offset: u32::MAX, metadata: u32::MAX };
    let huge = Desc { length: u32::MAX, ..desc };
    slave.s2m().publish([huge, desc, next(huge), next(huge), huge, desc]);
    let got = How::Copy.all(&mut rx);
    assert_eq!(got, [far.clone(), far], "in range is in range, also past 4 GiB");
    assert_eq!(arena.drops(DropReason::Oversized), 2);
    drop((slave, rx));
    arena.unharmed_master();
}
