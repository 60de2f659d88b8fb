//! So many descriptors whose `close` waits that all threads are taken which one peer can take: others go on, and whoever
//! left them gets no new connection until they are closed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, address, exchange};
use hostile_peer::Arena;
use hostile_peer::VICTIM;
use hostile_peer::lingering::{LINGER, Lingering, pass};
use hostile_peer::memory::memfd;
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::wire::Wire;
use memif_os::huge_pages::HugePages;
use memif_pmd::Memif;
use memif_ring::message::Message;
use rustix::fs::MemfdFlags;

/// More than the threads that one owner may occupy.
const HUNG: usize = 10;

/// Clients that leave a descriptor whose `close` waits, having come as far as `step`.
fn hang(arena: &Arena, step: Step) -> Vec<Lingering> {
    let leave = |_| {
        let (slave, lingering) = pass(LINGER, |fd| {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
            slave.wire.send(&slave.region(), &[fd]);
            slave
        });
        drop(slave);
        lingering
    };
    (0..HUNG).map(leave).collect()
}

/// Clients that leave a descriptor until no more is accepted; whether that came to be.
fn flood(arena: &Arena) -> bool {
    let refused = arena.memif.stats().refused_by_quota;
    let file = memfd(MemfdFlags::empty());
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match Wire::try_connect(&arena.socket) {
            Some(wire) => wire.send_bytes(&[1; 127], &[file.as_fd()]),
            None => thread::sleep(Duration::from_millis(1)), // its backlog is full
        }
        if arena.memif.stats().refused_by_quota > refused {
            return true;
        }
    }
    false
}

/// A link through another listener of the process, and one of a slave of the process: both come up, and packets flow.
fn others_connect(memif: &Memif) {
    let other = Memif::start().unwrap();
    for (here, there) in [(memif, &other), (&other, memif)] {
        let socket = address();
        let master = here.interface(&socket).master().open().unwrap();
        let slave = there.interface(&socket).slave().huge_pages(HugePages::Off).open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
        exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..200, 60..=1500);
        exchange((&mut master.tx(0).unwrap(), &mut slave.rx(0).unwrap()), 0..200, 60..=1500);
    }
}

#[test]
fn strangers_who_leave_too_much_keep_nobody_from_another_listener() {
    let mut arena = Arena::master();
    let crowd = hang(&arena, Step::Hello);
    crowd[0].wait_closing();
    assert!(flood(&arena), "a listener accepts without end");
    others_connect(&arena.memif);
    arena.bystander.moves_on();
    assert!(crowd[0].is_closing(), "this shows nothing unless somebody is still waiting");
    drop(crowd);
    arena.unharmed_master();
}

/// One connection of the victim that leaves a descriptor; false if the victim takes no more.
fn leave_one(arena: &Arena) -> bool {
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Hello);
    slave.wire.send(&slave.init(), &[]);
    match slave.wire.hear() {
        Some((Message::Ack, _)) => slave.wire.send(&slave.region(), &[slave.memory.fd()]),
        Some((Message::Disconnect { reason, .. }, _)) => return !reason.to_string().contains("at most"),
        other => panic!("neither ACK nor DISCONNECT: {other:?}"),
    }
    true
}

#[test]
fn an_interface_whose_peers_leave_too_much_keeps_nobody_from_another_on_the_same_listener() {
    let mut arena = Arena::master();
    let crowd = hang(&arena, Step::Admitted);
    crowd[0].wait_closing();
    let end = Instant::now() + PATIENCE;
    while leave_one(&arena) {
        assert!(Instant::now() < end, "an interface takes peers without end");
        thread::sleep(Duration::from_millis(1));
    }
    let socket = arena.socket.clone();
    let neighbour = arena.memif.interface(&socket).master().id(99).open().unwrap();
    let other = Memif::start().unwrap();
    let slave = other.interface(&socket).slave().id(99).huge_pages(HugePages::Off).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    neighbour.wait_up(Some(PATIENCE)).unwrap();
    exchange((&mut slave.tx(0).unwrap(), &mut neighbour.rx(0).unwrap()), 0..200, 60..=1500);
    others_connect(&arena.memif);
    arena.bystander.moves_on();
    assert!(crowd[0].is_closing(), "this shows nothing unless somebody is still waiting");
    drop(crowd);
    arena.unharmed_master();
}
