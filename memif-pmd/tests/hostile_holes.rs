//! Masters that punch holes into the memory of their slave: every access to a page waits for the whole punch. The slave's own
//! region takes none once the link is up; packet memory does, and goes on as zeros.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use common::{check, packet, until};
use hostile_peer::child::{Actor, arrived, part};
use hostile_peer::master::{ScriptedListener, ScriptedMaster, Step, connected};
use hostile_peer::{Arena, How};
use memif_os::region_file::{PeerRegion, RegionError, ShrinkSeal};
use memif_pmd::{Disconnect, DropReason, Event, PeerFault};
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::message::Direction;
use rustix::fs::{FallocateFlags, SealFlags, fallocate, fcntl_add_seals};
use rustix::io::Errno;

/// Punches the whole file away.
fn punch(file: &File) -> rustix::io::Result<()> {
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, hole, 0, file.metadata().unwrap().len())
}

/// Sends good packets with these numbers.
fn send(master: &ScriptedMaster, numbers: std::ops::Range<u16>) {
    let ring = master.ring(Direction::M2S);
    for index in numbers.clone() {
        let desc = ring.desc(index);
        master.write(&packet(200, index.into()), desc.offset.into());
        ring.set_desc(index, Desc { length: 200, flags: DescFlags::empty(), ..desc });
    }
    ring.set_tail(numbers.end);
}

/// Packets go both ways.
fn works(arena: &Arena, master: &ScriptedMaster) {
    let (mut rx, mut tx) = (arena.victim.rx(0).unwrap(), arena.victim.tx(0).unwrap());
    send(master, 0..8);
    let packets = How::Copy.all(&mut rx);
    (0..).zip(&packets).for_each(|(number, packet)| check(packet, number));
    assert_eq!(packets.len(), 8);
    assert!(How::Copy.send(&mut tx, &packet(300, 9)));
    let sent = master.ring(Direction::S2M).desc(0);
    let mut bytes = vec![0; 300];
    master.read(&mut bytes, sent.offset.into());
    check(&bytes, 9);
}

/// The attacker's part: takes up the link, and has no way to take a page away.
fn attack(socket: &str) {
    let master = ScriptedListener::new(socket).until(Step::Up);
    let file = master.file();
    let len = file.metadata().unwrap().len();
    // the slave seals its region when it hears of the link
    until("the seal", || punch(file) == Err(Errno::PERM));
    for offset in [0, 4096, len - 4096] {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(fallocate(file, hole, offset, 4096), Err(Errno::PERM));
    }
    assert_eq!(file.write_at(&[0; 8], 0).unwrap_err().raw_os_error(), Some(1), "EPERM");
    let again = PeerRegion::map(file, len, ShrinkSeal::Require);
    assert!(matches!(again, Err(RegionError::Map { .. })), "a second mapping");
    assert_eq!(file.metadata().unwrap().blocks() * 512, len);
    until("buffers", || master.ring(Direction::M2S).head() == 16);
    send(&master, 0..4);
    arrived();
    for _ in 0..1000 {
        assert_eq!(punch(file), Err(Errno::PERM));
    }
}

#[test]
fn a_master_in_another_process_cannot_punch_holes_into_the_slaves_region() {
    const TEST: &str = "a_master_in_another_process_cannot_punch_holes_into_the_slaves_region";
    if let Some(part) = part() {
        return attack(&part[0]);
    }
    let (mut arena, listener) = Arena::slave();
    drop(listener);
    let mut attacker = Actor::new(TEST, &arena.socket);
    attacker.wait_arrived();
    until("the victim's link", || arena.victim.is_up());
    let (mut rx, mut tx) = (arena.victim.rx(0).unwrap(), arena.victim.tx(0).unwrap());
    let packets = How::Copy.all(&mut rx);
    (0..).zip(&packets).for_each(|(number, packet)| check(packet, number));
    assert_eq!(packets.len(), 4);
    assert!(How::Copy.send(&mut tx, &packet(300, 1)));
    arena.bystander.moves_on();
    assert!(arena.victim.is_up());
    drop((rx, tx));
    attacker.finish();
    arena.finds_a_master();
    arena.bystander.finish();
}

#[test]
fn holes_that_a_master_punched_before_the_link_are_filled() {
    let (mut arena, listener) = Arena::slave();
    let master = listener.until(Step::Connect);
    let file = master.file();
    punch(file).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 0);
    master.wire.send(&connected(), &[]);
    until("the victim's link", || arena.victim.is_up());
    assert_eq!(punch(file), Err(Errno::PERM));
    assert_eq!(file.metadata().unwrap().blocks() * 512, file.metadata().unwrap().len());
    works(&arena, &master);
    arena.bystander.moves_on();
    drop(master);
    arena.unharmed_slave(listener);
}

/// Whoever keeps the slave from sealing its region has no link, and spoils nothing for the next attempt.
#[test]
fn a_region_that_its_master_sealed_is_given_up() {
    let (handler, heard) = common::events();
    let (mut arena, listener) = Arena::slave_with(|builder| builder.on_event(handler));
    let inode = |master: &ScriptedMaster| master.file().metadata().unwrap().ino();
    let honest = listener.until(Step::Connect);
    let mut last = inode(&honest);
    drop(honest);
    let next = listener.until(Step::Connect);
    assert_eq!(inode(&next), last, "memory that was offered in vain is offered again");
    drop(next);
    for seals in [SealFlags::SEAL, SealFlags::FUTURE_WRITE, SealFlags::FUTURE_WRITE | SealFlags::SEAL] {
        let master = listener.until(Step::Connect);
        fcntl_add_seals(master.file(), seals).unwrap();
        heard.try_iter().for_each(drop);
        if seals.contains(SealFlags::SEAL) {
            let fault = PeerFault::RegionSealed { region: 0 };
            master.wire.send(&connected(), &[]);
            assert_eq!(master.wire.last_words().as_deref(), Some("Region file sealed by its master"));
            until("the event", || common::next(&heard) == Event::ConnectFailed(Disconnect::Fault(fault)));
        }
        drop(master);
        let fresh = listener.until(Step::Connect);
        assert_ne!(inode(&fresh), last, "{seals:?}");
        last = inode(&fresh);
        arena.bystander.moves_on();
    }
    let master = listener.until(Step::Up);
    until("the victim's link", || arena.victim.is_up());
    works(&arena, &master);
    drop(master);
    arena.unharmed_slave(listener);
}

/// Packet memory is for several peers, the next one of which has to map it: it is not sealed against holes.
#[test]
fn holes_in_packet_memory_read_as_zeros() {
    let (mut arena, listener, packets) = Arena::slave_with_packets(128, 16);
    for _ in 0..2 {
        until("the last link's end", || !arena.victim.is_up());
        let master = listener.until(Step::Up);
        until("the victim's link", || arena.victim.is_up());
        let (mut rx, mut tx) = (arena.victim.rx(0).unwrap(), arena.victim.tx(0).unwrap());
        assert_eq!(punch(master.file()), Err(Errno::PERM), "the rings have a region of their own");
        master.packets().write_all_at(&[1; 4096], 0).unwrap();
        punch(master.packets()).unwrap();
        let ring = master.ring(Direction::M2S);
        for index in 0..4 {
            ring.set_desc(index, Desc { length: 100, flags: DescFlags::empty(), ..ring.desc(index) });
        }
        ring.set_tail(4);
        assert_eq!(How::Copy.all(&mut rx), vec![vec![0; 100]; 4]);
        assert!(How::Copy.send(&mut tx, &packet(60, 1)));
        assert_eq!(arena.drops(DropReason::BufferChanged), 0);
        assert!(arena.victim.is_up() && !packets.is_damaged());
        arena.bystander.moves_on();
    }
    arena.unharmed_slave(listener);
}
