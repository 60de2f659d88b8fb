//! Out of descriptors and out of memory in the middle of a handshake. Limits count for a whole process, so each test
//! runs in one of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use common::{PATIENCE, address, exchange, open_descriptors, settle, until};
use hostile_peer::bystander::Bystander;
use hostile_peer::child::{Actor, arrived, in_a_process_of_its_own, part};
use hostile_peer::memory::Memory;
use hostile_peer::slave::{ScriptedSlave, Step, connect};
use hostile_peer::wire::Wire;
use hostile_peer::{Arena, VICTIM};
use memif_os::huge_pages::HugePages;
use memif_pmd::{Disconnect, Memif, PeerFault};
use memif_ring::message::{AddRegion, Direction, Message, MessageKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn limit(resource: Resource, current: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(resource);
    setrlimit(resource, Rlimit { current: current.or(maximum), maximum }).unwrap();
}

/// Lets this process open so many more descriptors, and not one beyond.
fn leave(count: u64) {
    let open: Vec<u64> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // not the directory that is being read
        .filter(|path| fs::read_link(path).is_ok_and(|target| !target.ends_with("fd")))
        .map(|path| path.file_name().unwrap().to_str().unwrap().parse().unwrap())
        .collect();
    let free = |limit: u64| (0..limit).filter(|fd| !open.contains(fd)).count() as u64;
    let limit_for = (0..).find(|limit| !open.contains(limit) && free(*limit) == count).unwrap();
    limit(Resource::Nofile, Some(limit_for));
}

/// Waits until no more is open than at rest: what is closed later would be left as well.
fn wait_closed(rest: usize) {
    settle();
    until("the descriptors of the last link to be closed", || open_descriptors() <= rest);
}

fn leave_plenty() {
    limit(Resource::Nofile, None);
}

const FAILED: &str = "The other side could not go on";

/// Says everything that a slave says, without opening anything; the words that end it, if any do.
fn say_it_all(slave: &ScriptedSlave) -> Option<String> {
    let events = [Direction::S2M, Direction::M2S].map(|direction| slave.event(direction).as_fd());
    let script: [(Message, Option<BorrowedFd<'_>>); 5] = [
        (slave.init(), None),
        (slave.region(), Some(slave.memory.fd())),
        (slave.ring_message(Direction::S2M), Some(events[0])),
        (slave.ring_message(Direction::M2S), Some(events[1])),
        (connect(), None),
    ];
    for (message, fd) in script {
        slave.wire.send(&message, fd.as_slice());
        match slave.wire.hear() {
            Some((Message::Ack | Message::Connected { .. }, _)) => {}
            Some((Message::Disconnect { reason, .. }, _)) => return Some(reason.to_string()),
            other => panic!("{other:?}"),
        }
    }
    None
}

#[test]
fn a_master_runs_out_of_descriptors() {
    if in_a_process_of_its_own("a_master_runs_out_of_descriptors") {
        return;
    }
    let mut arena = Arena::master();
    settle();
    let rest = open_descriptors();
    for count in 0..6 {
        until("the last link's end", || !arena.victim.is_up());
        wait_closed(rest);
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Hello);
        leave(count);
        let words = say_it_all(&slave);
        // a region and two eventfds
        if count < 3 {
            assert_eq!(words.as_deref(), Some(FAILED), "{count} left");
            let limit = getrlimit(Resource::Nofile).current.unwrap();
            let lost = format!(
                "out of file descriptors for a message: this process may have {limit} open files: close some or raise the \
                 limit (ulimit -n)"
            );
            arena.ended_with(&Disconnect::Failed(lost));
        } else {
            assert_eq!(words, None, "{count} left");
            assert!(arena.victim.is_up());
        }
        arena.bystander.moves_on();
        leave_plenty();
    }
    assert_eq!(arena.details().faults().count(), 0, "not the peer's fault");
    arena.unharmed_master();
}

#[test]
fn a_listener_runs_out_of_descriptors() {
    if in_a_process_of_its_own("a_listener_runs_out_of_descriptors") {
        return;
    }
    let mut arena = Arena::master();
    // one for the client's end, none to accept it with
    leave(1);
    let wire = Wire::connect(&arena.socket);
    arena.bystander.moves_on();
    std::thread::sleep(Duration::from_millis(300)); // several of the listener's pauses
    arena.bystander.moves_on();
    leave_plenty();
    let slave = ScriptedSlave::unconnected(wire, VICTIM, Memory::new(4, 2048));
    slave.wire.expect(MessageKind::Hello);
    slave.run(Step::Hello, Step::Up);
    drop(slave);
    arena.unharmed_master();
}

/// An honest master in a process of its own, until it is killed.
fn honest_master(socket: &str) {
    let memif = Memif::start().unwrap();
    let _master = memif.interface(socket).master().open().unwrap();
    arrived();
}

#[test]
fn a_slave_runs_out_of_descriptors() {
    const TEST: &str = "a_slave_runs_out_of_descriptors";
    match part() {
        None => return Actor::new(TEST, "alone").finish(),
        Some(part) if part[0] != "alone" => return honest_master(&part[0]),
        Some(_) => {}
    }
    let memif = Memif::start().unwrap();
    let mut bystander = Bystander::new(&memif, &address());
    let socket = address();
    let mut honest = Actor::new(TEST, &socket);
    honest.wait_arrived();
    settle();
    let (mut failures, rest) = (0, open_descriptors());
    for count in 0..8 {
        wait_closed(rest);
        leave(count);
        let slave = memif.interface(&socket).slave().ring_size(16).huge_pages(HugePages::Off);
        let slave = slave.reconnect(Duration::from_millis(5)).open().unwrap();
        until("an answer", || slave.is_up() || slave.details().unwrap().last_disconnect.is_some());
        if !slave.is_up() {
            failures += 1;
            let last = slave.details().unwrap().last_disconnect;
            assert!(matches!(last, Some(Disconnect::Failed(_))), "{count} left: {last:?}");
        }
        bystander.moves_on();
        leave_plenty();
        slave.wait_up(Some(PATIENCE)).unwrap();
    }
    // a socket, a region and two eventfds at the least
    assert!((4..8).contains(&failures), "{failures}");
    bystander.finish();
}

fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_master_runs_out_of_memory() {
    const ENOMEM: i32 = 12;
    if in_a_process_of_its_own("a_master_runs_out_of_memory") {
        return;
    }
    let mut arena = Arena::master();
    arena.bystander.moves_on(); // all threads have what they need
    for (bytes, enough) in [(1u64 << 30, false), (1 << 36, false), (1 << 20, true)] {
        until("the last link's end", || !arena.victim.is_up());
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
        slave.memory.file().set_len(bytes).unwrap();
        let region = Message::AddRegion(AddRegion { index: 0, size: bytes });
        slave.tell(&region, Some(slave.memory.fd()));
        slave.run(Step::Region, Step::Rings);
        limit(Resource::As, Some(address_space() + (64 << 20)));
        slave.wire.send(&connect(), &[]);
        if enough {
            slave.wire.expect(MessageKind::Connected);
        } else {
            assert_eq!(slave.wire.last_words().as_deref(), Some("Region cannot be mapped"));
            arena.ended_with(&PeerFault::RegionUnmappable { region: 0, errno: ENOMEM }.into());
        }
        arena.bystander.moves_on();
        limit(Resource::As, None);
    }
    arena.unharmed_master();
}

#[test]
fn a_slave_runs_out_of_memory() {
    if in_a_process_of_its_own("a_slave_runs_out_of_memory") {
        return;
    }
    let memif = Memif::start().unwrap();
    let mut bystander = Bystander::new(&memif, &address());
    let socket = address();
    let own = Memif::start().unwrap();
    let master = own.interface(&socket).master().open().unwrap();
    bystander.moves_on(); // all threads have what they need
    limit(Resource::As, Some(address_space() + (32 << 20)));
    let slave = memif.interface(&socket).slave().ring_size(8192).buffer_size(4096).huge_pages(HugePages::Off);
    let slave = slave.reconnect(Duration::from_millis(5)).open().unwrap();
    until("the failure", || slave.details().unwrap().last_disconnect.is_some());
    assert!(matches!(slave.details().unwrap().last_disconnect, Some(Disconnect::Failed(_))));
    bystander.moves_on();
    limit(Resource::As, None);
    slave.wait_up(Some(PATIENCE)).unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..200, 60..=3000);
    bystander.finish();
}
