//! A slave that takes memory away under its master: files cut short while packets flow, with and without a seal, on
//! normal pages and on huge ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::fs::File;
use std::os::fd::AsFd;

use common::{check, packet, until};
use hostile_peer::memory::{Memory, memfd};
use hostile_peer::slave::{ScriptedSlave, Step, connect};
use hostile_peer::{Arena, How, VICTIM, meanwhile};
use memif_pmd::{Disconnect, FaultKind, PeerFault};
use memif_ring::layout::Desc;
use memif_ring::message::{AddRegion, Direction, Message};
use rustix::fs::MemfdFlags;

const LOST: &str = "Region file changed under the link";

/// Memory that nobody can seal.
fn unsealable() -> Memory {
    Memory::over(memfd(MemfdFlags::empty()), 4, 2048)
}

fn attacker(arena: &Arena, memory: Memory) -> ScriptedSlave {
    until("the last link's end", || !arena.victim.is_up());
    ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Up)
}

#[test]
fn what_can_be_sealed_is_sealed() {
    let arena = Arena::master();
    for memory in [Memory::new(4, 2048), Memory::unsealed(4, 2048)] {
        let slave = attacker(&arena, memory);
        assert!(arena.details().regions[0].sealed);
        let len = slave.memory.len();
        for shorter in [0, 4096, len - 1] {
            assert!(slave.memory.file().set_len(shorter).is_err());
        }
        let mut rx = arena.victim.rx(0).unwrap();
        slave.s2m().publish([slave.memory.packet(0, 500, 1)]);
        let got = How::Copy.all(&mut rx);
        assert_eq!(got.len(), 1);
        check(&got[0], 1);
    }
    arena.unharmed_master();
}

#[test]
fn seals_can_be_insisted_on() {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is not general enough")]
    let arena = Arena::master_with(|builder| builder.require_seals());
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, unsealable(), Step::Rings);
    slave.wire.send(&connect(), &[]);
    assert_eq!(slave.wire.last_words().as_deref(), Some("Region file can shrink: add F_SEAL_SHRINK"));
    arena.blames(PeerFault::RegionNotSealed { region: 0 }, 1);
    drop(attacker(&arena, Memory::unsealed(4, 2048)));
    arena.unharmed_master();
}

/// What the victim is doing when its memory goes.
const BUSINESS: [fn(&Arena); 5] = [
    |arena| drop(How::Copy.all(&mut arena.victim.rx(0).unwrap())),
    |arena| drop(How::InPlace.all(&mut arena.victim.rx(0).unwrap())),
    |arena| _ = How::Copy.send(&mut arena.victim.tx(0).unwrap(), &packet(900, 1)),
    |arena| _ = How::InPlace.send(&mut arena.victim.tx(0).unwrap(), &packet(900, 1)),
    |arena| drop(arena.details()),
];

#[test]
fn a_file_cut_short_costs_the_link() {
    let mut arena = Arena::master();
    let mut times = 0;
    for business in BUSINESS {
        let slave = attacker(&arena, unsealable());
        assert!(!arena.details().regions[0].sealed);
        slave.post();
        slave.s2m().publish((0..8).map(|index| slave.memory.packet(index, 1500, index.into())));
        slave.memory.file().set_len(0).unwrap();
        business(&arena);
        assert_eq!(slave.wire.last_words().as_deref(), Some(LOST));
        times += 1;
        arena.blames(PeerFault::RegionLost { region: 0 }, times);
    }
    arena.bystander.moves_on();
    arena.unharmed_master();
}

#[test]
fn buffers_cut_off_and_rings_left() {
    let arena = Arena::master();
    for (times, business) in (1..).zip(&BUSINESS[..4]) {
        let slave = attacker(&arena, unsealable());
        slave.post();
        slave.s2m().publish((0..8).map(|index| slave.memory.packet(index, 1500, index.into())));
        slave.memory.file().set_len(4096).unwrap();
        business(&arena);
        assert_eq!(slave.wire.last_words().as_deref(), Some(LOST));
        arena.blames(PeerFault::RegionLost { region: 0 }, times);
    }
    arena.unharmed_master();
}

#[test]
fn a_file_that_comes_and_goes_during_handshakes() {
    let mut arena = Arena::master();
    for round in 0..50 {
        until("the last link's end", || !arena.victim.is_up());
        let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, unsealable(), Step::Rings);
        let (file, len) = (slave.memory.file().try_clone().unwrap(), slave.memory.len());
        let come_and_go = |_: &mut _| {
            file.set_len(0).unwrap();
            file.set_len(len).unwrap();
        };
        meanwhile(come_and_go, 0, || {
            slave.wire.send(&connect(), &[]);
            // refused, or up and then lost: whichever the race gives
            until("the end", || {
                for business in BUSINESS {
                    business(&arena);
                }
                arena.all_faults() > round
            });
        });
        let words = slave.wire.last_words();
        let expected = [LOST, "Invalid region size", "Wrong ring cookie", "Ring head out of range"];
        assert!(words.as_deref().is_some_and(|words| expected.contains(&words)), "{words:?}");
    }
    arena.bystander.moves_on();
    arena.unharmed_master();
}

/// Offers region 0 on normal pages, for the rings, and region 1 on huge ones; the words that refuse it, if any.
fn offer_huge(arena: &Arena, huge: &File) -> (ScriptedSlave, Option<String>) {
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Region);
    let region = Message::AddRegion(AddRegion { index: 1, size: huge.metadata().unwrap().len() });
    slave.tell(&region, Some(huge.as_fd()));
    slave.run(Step::Region, Step::Rings);
    slave.wire.send(&connect(), &[]);
    let words = match slave.wire.hear() {
        Some((Message::Connected { .. }, _)) => None,
        Some((Message::Disconnect { reason, .. }, _)) => Some(reason.to_string()),
        other => panic!("{other:?}"),
    };
    (slave, words)
}

/// With a huge page to be had it goes as on normal pages; without, the region is refused.
#[test]
fn huge_pages_cut_off() {
    const HUGE: u64 = 2 << 20;
    let arena = Arena::master();
    for sealing in [MemfdFlags::empty(), MemfdFlags::ALLOW_SEALING] {
        let huge = File::from(memfd(MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB | sealing));
        huge.set_len(HUGE).unwrap();
        until("the last link's end", || !arena.victim.is_up());
        let (slave, refused) = offer_huge(&arena, &huge);
        if let Some(words) = refused {
            const ENOMEM: i32 = 12;
            assert_eq!(words, "Region cannot be mapped");
            arena.ended_with(&PeerFault::RegionUnmappable { region: 1, errno: ENOMEM }.into());
            continue;
        }
        let mut rx = arena.victim.rx(0).unwrap();
        let far = Desc { region: 1, length: 1000, ..slave.memory.slot(Direction::S2M, 0) };
        slave.s2m().publish([far]);
        assert_eq!(How::Copy.all(&mut rx), [[0; 1000]]);
        let cut = huge.set_len(0);
        slave.s2m().publish([far]);
        let got = How::Copy.all(&mut rx);
        if sealing.is_empty() {
            cut.unwrap();
            assert_eq!(slave.wire.last_words().as_deref(), Some(LOST));
            arena.blames(PeerFault::RegionLost { region: 1 }, 1);
        } else {
            assert!(cut.is_err(), "the master has sealed it");
            assert_eq!(got.len(), 1);
            assert!(arena.victim.is_up());
        }
    }
    assert_eq!(arena.faults(FaultKind::BadCookie), 0);
    assert!(
        arena
            .details()
            .last_disconnect
            .is_none_or(|last| matches!(last, Disconnect::Fault(_) | Disconnect::Closed))
    );
    arena.unharmed_master();
}
