//! What attacks leave behind: nothing. One test, as it counts what the whole process has. `MEMIF_CONNECTS` sets how many
//! links come and go, 500 by default.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::time::Duration;

use common::{
    PATIENCE, Random, address, open_descriptors, resident_bytes, settle, shared_mappings, threads, until,
};
use hostile_peer::bystander::Bystander;
use hostile_peer::master::{ScriptedListener, Step as MasterStep};
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::{Arena, How, VICTIM};
use memif_os::huge_pages::HugePages;
use memif_pmd::Memif;

/// Descriptors, mappings of shared memory, threads.
fn holdings() -> [usize; 3] {
    [open_descriptors(), shared_mappings(), threads()]
}

/// Slack for what the allocator keeps.
const SLACK: usize = 8 << 20;

#[test]
fn links_come_and_go_and_leave_nothing() {
    let connects = std::env::var("MEMIF_CONNECTS").map_or(500, |count| count.parse().unwrap());
    let arena = Arena::master();
    let mut random = Random::new(500);
    let mut attack = |count: usize| {
        for _ in 0..count {
            attack_master(&arena, &mut random);
            until("the link's end", || !arena.victim.is_up());
        }
    };
    attack(50);
    settle();
    let (rest, memory) = (holdings(), resident_bytes());
    attack(connects);
    until("everything to go", || holdings() == rest);
    let grown = resident_bytes().saturating_sub(memory);
    assert!(grown < SLACK, "{grown} bytes more after {connects} links");
    arena.unharmed_master();

    slaves_leave_nothing(connects);
}

/// One link, up to some step, that ends in some way.
fn attack_master(arena: &Arena, random: &mut Random) {
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::ALL[random.range(0, 4)]);
    match random.range(0, 3) {
        0 => drop(slave),
        1 => {
            slave.wire.send_bytes(&[7; 100], &[slave.memory.fd(); 20]);
            slave.wire.last_words();
        }
        2 => {
            slave.wire.send(&slave.region(), &[slave.memory.fd(); 3]);
            slave.wire.last_words();
        }
        _ => {
            slave.s2m().set_head(u16::MAX);
            let mut rx = arena.victim.rx(0).unwrap();
            How::Copy.once(&mut rx);
            drop(slave);
        }
    }
}

fn slaves_leave_nothing(connects: usize) {
    let memif = Memif::start().unwrap();
    let bystander = Bystander::new(&memif, &address());
    let socket = address();
    let listener = ScriptedListener::new(&socket);
    let slave = memif.interface(&socket).slave().ring_size(16).huge_pages(HugePages::Off);
    let slave = slave.reconnect(Duration::from_millis(1)).open().unwrap();
    let mut random = Random::new(501);
    let mut attack = |count: usize| {
        for _ in 0..count {
            let master = listener.until(MasterStep::ALL[random.range(0, 4)]);
            if random.range(0, 1) == 0 {
                master.wire.send_bytes(&[1; 127], &[]);
                master.wire.last_words();
            }
        }
        // with one link up, so that there is the same to count each time
        let master = listener.until(MasterStep::Up);
        slave.wait_up(Some(PATIENCE)).unwrap();
        master
    };
    let master = attack(50);
    settle();
    let (rest, memory) = (holdings(), resident_bytes());
    drop(master);
    let master = attack(connects);
    until("everything to go", || holdings() == rest);
    let grown = resident_bytes().saturating_sub(memory);
    assert!(grown < SLACK, "{grown} bytes more after {connects} links");
    drop((master, slave, listener));
    bystander.finish();
}
