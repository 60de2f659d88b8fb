//! A slave that takes memory away under its master: files cut short while packets flow, with and without a seal. For huge
//! pages see `hostile_huge_pages.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use common::{check, packet, until};
use hostile_peer::memory::{Memory, memfd};
use hostile_peer::slave::{ScriptedSlave, Step, connect};
use hostile_peer::{Arena, How, VICTIM, meanwhile};
use memif_pmd::PeerFault;
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
