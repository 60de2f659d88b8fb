//! Attacks by a slave that are over in some milliseconds, to be made one after the other beside other business. Each one
//! begins without a link of the victim, and hangs up at its end.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use memif_os::event::{Epoll, Interest};
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::message::{AddRegion, Direction, Message};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate};

use super::lingering::pass;
use super::memory::{Memory, memfd, next};
use super::slave::{ScriptedSlave, Step};
use super::stalling::{connects, many_regions};
use super::{Arena, How, VICTIM};
use crate::common::{Random, until};

/// What it is called, and how it is made.
pub(crate) type Attack = (&'static str, fn(&Arena, &mut Random));

pub(crate) const ATTACKS: [Attack; 9] = [
    ("every second page is cut off", every_second_page),
    ("a chain of pieces of 256 MiB", large_chain),
    ("empty packets", empty_packets),
    ("as many regions as are taken", regions_to_the_quota),
    ("a sparse file with pages behind its end", sparse_file),
    ("thousands of watches", watches),
    ("holes", holes),
    ("a descriptor that takes long to be closed", lingering),
    ("253 descriptors with each message", many_descriptors),
];

/// A link with this memory, in a region of `bytes`.
fn link(arena: &Arena, memory: Memory, bytes: u64) -> ScriptedSlave {
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Admitted);
    slave.tell(&Message::AddRegion(AddRegion { index: 0, size: bytes }), Some(slave.memory.fd()));
    slave.run(Step::Region, Step::Up);
    until("the victim's link", || arena.victim.is_up());
    slave
}

/// Receives and sends, in any way.
fn use_link(arena: &Arena, random: &mut Random) {
    let (mut rx, mut tx) = (arena.victim.rx(0).unwrap(), arena.victim.tx(0).unwrap());
    let how = How::ALL[random.range(0, 1)];
    how.all(&mut rx);
    how.send(&mut tx, &[1; 1000]);
}

fn every_second_page(arena: &Arena, random: &mut Random) {
    let memory = Memory::over(memfd(MemfdFlags::empty()), 10, 4096);
    let bytes = memory.len();
    let slave = link(arena, memory, bytes);
    let first = u64::from(slave.memory.slot(Direction::S2M, 0).offset);
    slave.memory.file().set_len(first).unwrap();
    slave
        .s2m()
        .publish((0..512).map(|index| Desc { length: 64, ..slave.memory.slot(Direction::S2M, 2 * index) }));
    use_link(arena, random);
}

fn large_chain(arena: &Arena, random: &mut Random) {
    const PIECE: u32 = 256 << 20;
    let memory = Memory::unsealed(4, 2048);
    memory.file().set_len(u64::from(4 * PIECE)).unwrap();
    let slave = link(arena, memory, u64::from(4 * PIECE));
    let piece = |index| Desc {
        flags: DescFlags::empty(),
        region: 0,
        length: PIECE,
        offset: index * PIECE,
        metadata: 0,
    };
    slave.s2m().publish([next(piece(0)), next(piece(1)), next(piece(2)), piece(3)]);
    use_link(arena, random);
}

fn empty_packets(arena: &Arena, random: &mut Random) {
    let slave = link(arena, Memory::new(8, 64), Memory::new(8, 64).len());
    for _ in 0..random.range(1, 20) {
        let ring = slave.s2m();
        let free = slave.memory.size() - u32::from(ring.head().wrapping_sub(ring.tail()));
        let empty = Desc { length: 0, ..slave.memory.slot(Direction::S2M, 0) };
        ring.publish((0..free).map(|_| empty));
        use_link(arena, random);
    }
}

fn regions_to_the_quota(arena: &Arena, random: &mut Random) {
    let file = File::from(memfd(MemfdFlags::ALLOW_SEALING));
    file.set_len(1 << 20).unwrap();
    let slave = many_regions(&arena.socket, VICTIM, &file);
    if random.range(0, 1) == 0 {
        connects(&slave);
    }
    // until all of it waits to be closed: the quota is used up while it does
    slave.wire.send_bytes(&[1; 127], &[]);
    slave.wire.last_words();
}

fn sparse_file(arena: &Arena, random: &mut Random) {
    const BYTES: u64 = 4 << 30;
    let memory = Memory::unsealed(4, 2048);
    memory.file().set_len(BYTES).unwrap();
    fallocate(memory.file(), FallocateFlags::KEEP_SIZE, BYTES, 1 << 20).unwrap();
    let slave = link(arena, memory, BYTES);
    slave.s2m().publish([Desc { length: 64, ..slave.memory.slot(Direction::S2M, 0) }]);
    use_link(arena, random);
}

fn watches(arena: &Arena, random: &mut Random) {
    let slave = link(arena, Memory::new(4, 2048), Memory::new(4, 2048).len());
    let event = slave.event(Direction::M2S);
    let copies: Vec<_> = (0..50).map(|_| event.try_clone().unwrap()).collect();
    let watches: Vec<_> = (0..50).map(|_| Epoll::new().unwrap()).collect();
    for (epoll, copy) in watches.iter().flat_map(|epoll| copies.iter().map(move |copy| (epoll, copy))) {
        epoll.add(copy, 0, Interest::READ | Interest::EDGE).unwrap();
    }
    slave.post();
    for _ in 0..10 {
        use_link(arena, random);
    }
}

fn holes(arena: &Arena, random: &mut Random) {
    let memory = Memory::unsealed(10, 2048);
    let bytes = memory.len();
    let slave = link(arena, memory, bytes);
    slave.s2m().publish((0..64).map(|index| slave.memory.packet(index, 500, index.into())));
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(slave.memory.file(), punch, 4096 * random.range(0, 64) as u64, bytes).unwrap();
    use_link(arena, random);
}

fn lingering(arena: &Arena, random: &mut Random) {
    let step = [Step::Hello, Step::Admitted][random.range(0, 1)];
    let (slave, lingering) = pass(Duration::from_secs(1), |fd| {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
        slave.wire.send(&slave.region(), &[fd]);
        slave
    });
    drop(slave);
    lingering.wait_closing();
}

fn many_descriptors(arena: &Arena, random: &mut Random) {
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::ALL[random.range(0, 4)]);
    slave.wire.send(&slave.region(), &[slave.memory.file().as_fd(); 253]);
    slave.wire.last_words();
}
