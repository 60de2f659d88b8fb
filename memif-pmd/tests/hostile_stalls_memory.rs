//! Peers that hold up whoever maps, unmaps, allocates or reads for them: it is nobody that others wait for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use common::until;
use hostile_peer::master::Step as MasterStep;
use hostile_peer::probe::{during, page_tables};
use hostile_peer::{Arena, VICTIM, stalling};

/// A region whose pages take a while to be mapped, filled or taken away.
const LARGE: u64 = 512 << 20;
/// What reads the attacker's own memory waits for its punch, in the thread of the caller alone.
const READS_THE_PEERS_PAGES: [&str; 2] = ["receive of the victim", "details of the victim"];
/// Slack for page tables, in KiB.
const SLACK: u64 = 4 << 10;

#[test]
fn others_are_served_while_many_regions_are_mapped_and_while_they_are_unmapped() {
    let mut arena = Arena::master();
    let file = stalling::full(LARGE);
    let slave = stalling::many_regions(&arena.socket, VICTIM, &file);
    let before = page_tables();
    let (_, mapping) = during(&arena, |window| window.run(|| stalling::connects(&slave)));
    mapping.all_went_on_but(&[]);
    arena.bystander.moves_on();
    let (_, unmapping) = during(&arena, |window| {
        window.run(|| {
            drop(slave);
            until("the link's end", || !arena.victim.is_up());
            until("the page tables to go", || page_tables() <= before + SLACK);
        });
    });
    unmapping.all_went_on_but(&[]);
    arena.unharmed_master();
}

#[test]
fn others_are_served_while_a_slave_allocates() {
    let (arena, listener) = Arena::slave_with(stalling::much_memory);
    let (_, stalls) = during(&arena, |window| stalling::allocate_for_nothing(&listener, window, 5));
    stalls.all_went_on_but(&[]);
    arena.unharmed_slave(listener);
}

#[test]
fn others_are_served_while_a_slave_punches_holes_and_somebody_asks_for_details() {
    let arena = Arena::master();
    let slave = stalling::large_slave(&arena, LARGE);
    let (_, stalls) = during(&arena, |window| stalling::punch(slave.memory.file(), window, 10));
    println!("{stalls:?}");
    stalls.all_went_on_but(&READS_THE_PEERS_PAGES);
    drop(slave);
    arena.unharmed_master();
}

/// Into packet memory, which other peers will have to map as well: the slave's own region takes no holes.
#[test]
fn others_are_served_while_a_master_punches_holes_and_somebody_asks_for_details() {
    let buffers = u32::try_from(LARGE / 2176).unwrap();
    let (arena, listener, packets) = Arena::slave_with_packets(buffers, 16384);
    let master = listener.until(MasterStep::Up);
    until("the victim's link", || arena.victim.is_up());
    let (_, stalls) = during(&arena, |window| stalling::punch(master.packets(), window, 10));
    println!("{stalls:?}");
    stalls.all_went_on_but(&READS_THE_PEERS_PAGES);
    assert!(!packets.is_damaged());
    drop(master);
    arena.unharmed_slave(listener);
}
