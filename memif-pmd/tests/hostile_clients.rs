//! Clients that stall: at every step of the handshake, by saying nothing, or by saying a little for ever; and masters
//! that do the same. Each is hung up on after its time, which for all of them passes at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::time::Duration;

use common::{PATIENCE, address, exchange, until};
use hostile_peer::bystander::Bystander;
use hostile_peer::master::{ScriptedListener, ScriptedMaster, Step as MasterStep};
use hostile_peer::memory::Memory;
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::{Arena, VICTIM};
use memif_os::huge_pages::HugePages;
use memif_pmd::{Disconnect, FaultKind, Interface, Memif, PeerFault};
use memif_ring::handshake::Stage;
use memif_ring::message::{AddRegion, Message};

/// Longest silence of a peer, and longest handshake of one that talks.
const SILENCE: Duration = Duration::from_secs(2);
const HANDSHAKE: Duration = Duration::from_secs(5);
const TIMED_OUT: &str = "Handshake timed out";

fn faults(interface: &Interface, kind: FaultKind) -> u64 {
    interface.details().unwrap().faults().find(|(found, _)| *found == kind).map_or(0, |(_, count)| count)
}

/// Traffic between an interface that was under attack and a fresh, honest one.
fn talk(peer: &Interface, victim: &Interface) {
    peer.wait_up(Some(PATIENCE)).unwrap();
    victim.wait_up(Some(PATIENCE)).unwrap();
    exchange((&mut peer.tx(0).unwrap(), &mut victim.rx(0).unwrap()), 0..200, 60..=3000);
    exchange((&mut victim.tx(0).unwrap(), &mut peer.rx(0).unwrap()), 0..200, 60..=3000);
}

#[test]
fn slaves_that_stall_at_every_step() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let mut bystander = Bystander::new(&memif, &socket);
    let master = |id| {
        let builder = memif.interface(&socket).master().id(id).silence_timeout(SILENCE);
        builder.handshake_timeout(HANDSHAKE).open().unwrap()
    };
    let stalled = [(Step::Hello, 1), (Step::Admitted, 2), (Step::Region, 3), (Step::Rings, 4)];
    let victims: Vec<_> = (1..=5).map(master).collect();
    let slaves: Vec<_> = stalled.map(|(step, id)| ScriptedSlave::until(&socket, id, step)).into();
    // one that does say something, region by region, for as long as it is let: fewer than the smallest quota
    let talker = ScriptedSlave::until(&socket, 5, Step::Admitted);
    let mut regions = 0;
    while !talker.wire.is_readable(Duration::from_millis(800)) || regions == 0 {
        let region = AddRegion { index: regions, size: talker.memory.len() };
        talker.wire.send(&Message::AddRegion(region), &[talker.memory.fd()]);
        let Some((Message::Ack, _)) = talker.wire.hear() else { break };
        regions += 1;
        bystander.moves_on();
    }
    assert!((2..=8).contains(&regions), "the whole handshake has its time as well");
    let late = Disconnect::Fault(PeerFault::HandshakeTimedOut { stage: Stage::Setup });
    for ((slave, (step, _)), victim) in slaves.iter().zip(stalled).zip(&victims) {
        assert_eq!(slave.wire.last_words().as_deref(), Some(TIMED_OUT), "{step:?}");
        // whoever has not said what it wants holds up no interface
        let blamed = u64::from(step != Step::Hello);
        assert_eq!(faults(victim, FaultKind::HandshakeTimedOut), blamed);
        assert_eq!(victim.details().unwrap().last_disconnect, (blamed == 1).then(|| late.clone()));
    }
    assert_eq!(memif.stranger_faults(), [(FaultKind::HandshakeTimedOut, 1)]);
    until("the talker's end", || faults(&victims[4], FaultKind::HandshakeTimedOut) == 1);
    let own = Memif::start().unwrap();
    for (id, victim) in (1..).zip(&victims) {
        let slave = own.interface(&socket).id(id).huge_pages(HugePages::Off).open().unwrap();
        talk(&slave, victim);
    }
    bystander.finish();
}

#[test]
fn masters_that_stall_at_every_step() {
    let memif = Memif::start().unwrap();
    let mut bystander = Bystander::new(&memif, &address());
    let stages = [
        (MasterStep::Accepted, Stage::AwaitHello),
        (MasterStep::Init, Stage::AwaitAdmission),
        (MasterStep::Region, Stage::Offering),
        (MasterStep::Connect, Stage::AwaitConnected),
    ];
    let lured: Vec<(String, Interface, ScriptedListener, ScriptedMaster, Stage)> = stages
        .map(|(step, stage)| {
            let socket = address();
            let listener = ScriptedListener::new(&socket);
            let slave = memif.interface(&socket).slave().ring_size(16).huge_pages(HugePages::Off);
            let slave = slave.silence_timeout(SILENCE).reconnect(Duration::from_millis(5)).open().unwrap();
            let master = listener.until(step);
            (socket, slave, listener, master, stage)
        })
        .into();
    bystander.moves_on();
    for (socket, slave, listener, master, stage) in lured {
        assert_eq!(master.wire.last_words().as_deref(), Some(TIMED_OUT), "{stage}");
        assert_eq!(faults(&slave, FaultKind::HandshakeTimedOut), 1);
        let late = PeerFault::HandshakeTimedOut { stage };
        assert_eq!(slave.details().unwrap().last_disconnect, Some(late.into()));
        drop((listener, master));
        let own = Memif::start().unwrap();
        let honest = own.interface(&socket).master().open().unwrap();
        talk(&honest, &slave);
    }
    bystander.finish();
}

#[test]
fn many_that_ask_for_an_interface_that_is_taken() {
    let mut arena = Arena::master();
    let first = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    for times in 1..=300 {
        let other = ScriptedSlave::with_memory(&arena.socket, VICTIM, Memory::new(1, 64), Step::Hello);
        other.wire.send(&other.init(), &[]);
        assert_eq!(other.wire.last_words().as_deref(), Some("Already connected"));
        assert_eq!(arena.faults(FaultKind::AlreadyConnected), times);
    }
    assert!(arena.victim.is_up());
    arena.bystander.moves_on();
    drop(first);
    arena.unharmed_master();
}
