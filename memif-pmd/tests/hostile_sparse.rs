//! Files of a slave whose pages are not there, and files that look as if they were: a master fills none of them on its own
//! account, whether or not its process locks the memory that it maps. Locking and counting concern a whole process, so each
//! test runs in one of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::os::unix::fs::{FileExt, MetadataExt};

use common::{in_child_process, packet, resident_bytes, until};
use hostile_peer::memory::Memory;
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::{Arena, How, VICTIM};
use memif_ring::message::{AddRegion, Message};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, geteuid, getrlimit};

const MIB: u64 = 1 << 20;
/// What a link may take besides: stacks, bursts, and the pages that packets are in.
const LITTLE: u64 = 64 * MIB;
/// Pages of one link that are mapped before it comes up: `MAX_POPULATED`.
const BUDGET: u64 = 1024 * MIB;

/// From now on everything that is mapped is locked, and therefore filled. Without rights a process may lock a few MiB at most,
/// which is not enough for its own stacks.
fn lock_what_is_mapped() {
    if geteuid().is_root() || getrlimit(Resource::Memlock).current.is_none() {
        mlockall(MlockAllFlags::FUTURE).unwrap();
    }
}

/// The bytes of the file that are there.
fn present(slave: &ScriptedSlave) -> u64 {
    slave.memory.file().metadata().unwrap().blocks() * 512
}

/// A slave whose region is this memory and has `bytes`, up to its link, and what the process uses more since.
fn link(arena: &Arena, memory: Memory, bytes: u64) -> (ScriptedSlave, u64) {
    let slave = ScriptedSlave::with_memory(&arena.socket, VICTIM, memory, Step::Admitted);
    slave.tell(&Message::AddRegion(AddRegion { index: 0, size: bytes }), Some(slave.memory.fd()));
    slave.run(Step::Region, Step::Rings);
    let before = resident_bytes() as u64;
    slave.run(Step::Rings, Step::Up);
    until("the victim's link", || arena.victim.is_up());
    (slave, (resident_bytes() as u64).saturating_sub(before))
}

/// Packets of all slots both ways.
fn exchange(arena: &Arena, slave: &ScriptedSlave) {
    let (mut tx, mut rx) = (arena.victim.tx(0).unwrap(), arena.victim.rx(0).unwrap());
    let size = u16::try_from(slave.memory.size()).unwrap();
    slave.s2m().publish((0..size).map(|index| slave.memory.packet(index, 1000, index.into())));
    let packets = How::Copy.all(&mut rx);
    assert_eq!(packets, (0..size).map(|index| packet(1000, index.into())).collect::<Vec<_>>());
    slave.post();
    (0..size).for_each(|index| assert!(How::Copy.send(&mut tx, &packet(1000, index.into()))));
}

/// A link over the file works, and neither mapping it nor its packets have filled it. Returns what mapping took.
fn leaves_holes(mut arena: Arena, memory: Memory, bytes: u64) -> u64 {
    lock_what_is_mapped();
    let before = memory.file().metadata().unwrap().blocks() * 512;
    let (slave, mapped) = link(&arena, memory, bytes);
    assert!(present(&slave) <= before + MIB, "{} bytes of {before} after mapping", present(&slave));
    exchange(&arena, &slave);
    assert!(present(&slave) <= before + MIB, "{} bytes of {before} after packets", present(&slave));
    arena.bystander.moves_on();
    assert!(arena.victim.is_up());
    drop(slave);
    arena.unharmed_master();
    mapped
}

#[test]
fn a_sparse_file_stays_sparse() {
    if !in_child_process("a_sparse_file_stays_sparse", ":") {
        return;
    }
    let memory = Memory::unsealed(4, 2048);
    memory.file().set_len(4096 * MIB).unwrap();
    let mapped = leaves_holes(Arena::master(), memory, 4096 * MIB);
    assert!(mapped <= LITTLE, "{mapped} bytes");
}

/// As many blocks as the file has bytes, all of them behind its end.
#[test]
fn blocks_beyond_the_end_of_a_sparse_file_are_not_taken_for_its_pages() {
    if !in_child_process("blocks_beyond_the_end_of_a_sparse_file_are_not_taken_for_its_pages", ":") {
        return;
    }
    const BYTES: u64 = 256 * MIB;
    let memory = Memory::unsealed(4, 2048);
    memory.file().set_len(BYTES).unwrap();
    fallocate(memory.file(), FallocateFlags::KEEP_SIZE, BYTES, BYTES).unwrap();
    let metadata = memory.file().metadata().unwrap();
    assert!(metadata.len() == BYTES && metadata.blocks() * 512 > BYTES);
    let mapped = leaves_holes(Arena::master(), memory, BYTES);
    assert!(mapped <= LITTLE, "{mapped} bytes");
}

/// The pages are the peer's, but the tables that map them are ours.
#[test]
fn a_file_that_is_full_is_mapped_up_to_a_budget() {
    if !in_child_process("a_file_that_is_full_is_mapped_up_to_a_budget", ":") {
        return;
    }
    const BYTES: u64 = BUDGET + 4 * LITTLE;
    let memory = Memory::unsealed(4, 2048);
    memory.file().set_len(BYTES).unwrap();
    let zeros = vec![0; usize::try_from(MIB).unwrap()];
    (1..BYTES / MIB).for_each(|chunk| memory.file().write_all_at(&zeros, chunk * MIB).unwrap());
    let mapped = leaves_holes(Arena::master(), memory, BYTES);
    // none is counted under AddressSanitizer
    assert!(cfg!(asan) || (BUDGET / 2..=BUDGET + LITTLE).contains(&mapped), "{mapped} bytes");
}
