//! Several packet memories over one file: no byte is in two buffers, whoever asks for what and in which order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use common::packet_memory::{BUFFER, BUFFERS, RING, master, memory, memory_size, slave};
use common::{PATIENCE, address, packet, until};
use memif_pmd::{Burst, Error, Interface, Memif, PacketMemory, RxQueue, TxQueue};

const SIZE: u64 = 1 << 20;
/// Buffers that one interface takes.
const ONE: u32 = 2 * RING;

fn file() -> File {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(SIZE).unwrap();
    file
}

fn over(memif: &Memif, file: impl AsFd, offsets: &[u32]) -> Result<PacketMemory, Error> {
    let fd = file.as_fd().try_clone_to_owned().unwrap();
    memif.packet_memory().buffer_size(BUFFER).over(fd, SIZE, offsets)
}

fn offsets(buffers: std::ops::Range<u32>) -> Vec<u32> {
    buffers.map(|number| number * BUFFER).collect()
}

fn refused(result: Result<PacketMemory, Error>, at: u32) {
    match result.unwrap_err() {
        Error::BufferInUse { offset, buffer_size: BUFFER } => assert_eq!(offset, u64::from(at)),
        error => panic!("{error}"),
    }
}

#[test]
fn buffers_that_overlap_are_refused_to_every_control_plane() {
    let (memif, other, file) = (Memif::new().unwrap(), Memif::new().unwrap(), file());
    let first = over(&memif, &file, &offsets(4..8)).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let reopened = File::options().read(true).write(true).open(path).unwrap();
    for (plane, file) in [(&memif, &file), (&other, &file), (&other, &reopened)] {
        refused(over(plane, file, &offsets(4..8)), 4 * BUFFER);
        refused(over(plane, file, &[0, 7 * BUFFER]), 7 * BUFFER);
        refused(over(plane, file, &[8 * BUFFER, 3 * BUFFER + 1]), 3 * BUFFER + 1);
        refused(over(plane, file, &[8 * BUFFER - 1]), 8 * BUFFER - 1);
    }
    // nothing of what was refused is taken
    let second = over(&other, &reopened, &offsets(0..4)).unwrap();
    let third = over(&memif, &file, &offsets(8..12)).unwrap();
    drop((first, third));
    refused(over(&memif, &file, &offsets(3..12)), 3 * BUFFER);
    over(&memif, &file, &offsets(4..12)).unwrap();
    drop(second);
    over(&memif, &file, &offsets(0..12)).unwrap();
}

#[test]
fn buffers_that_were_allocated_are_refused_as_well() {
    let memif = Memif::new().unwrap();
    let own = memory(&memif);
    let over =
        |fd: OwnedFd, offset| memif.packet_memory().buffer_size(64).over(fd, own.len() as u64, &[offset]);
    let stride = u32::try_from(own.len() / own.buffers()).unwrap() / 128 * 128;
    for offset in [0, stride, (memory_size() - 1) * stride] {
        let error = over(own.as_fd().try_clone_to_owned().unwrap(), offset).unwrap_err();
        assert!(matches!(error, Error::BufferInUse { .. }), "{error}");
    }
}

/// A slave with memory of a file, its master, and their queues.
struct Side {
    slave: Interface,
    memory: PacketMemory,
    queues: (RxQueue, TxQueue),
    master: Interface,
}

impl Side {
    fn new(memif: &Memif, memory: PacketMemory) -> Self {
        let socket = address();
        let (master, slave) = (master(memif, &socket), slave(memif, &socket, &memory));
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
        let mut queues = (slave.rx(0).unwrap(), slave.tx(0).unwrap());
        assert!(queues.0.is_up() && queues.1.is_up());
        Self { slave, memory, queues, master }
    }
}

#[test]
fn buffers_are_free_again_when_the_last_queue_lets_go_of_them() {
    let (memif, file) = (Memif::start().unwrap(), file());
    let Side { slave, memory, queues: (mut rx, tx), master } =
        Side::new(&memif, over(&memif, &file, &offsets(0..2 * ONE)).unwrap());
    drop((slave, memory, tx, master));
    // this thread could be reading them
    assert!(over(&memif, &file, &offsets(0..2 * ONE)).is_err());
    assert!(!rx.is_up());
    // the control thread may still be dealing with the connection
    let mut again = None;
    until("the buffers", || {
        again = over(&memif, &file, &offsets(0..2 * ONE)).ok();
        again.is_some()
    });
    Side::new(&memif, again.unwrap());
    drop(rx);
}

/// Forwarding exchanges buffers between memories of one layout: each keeps what it has in the end.
#[test]
fn exchanged_buffers_belong_to_the_memory_that_has_them() {
    let (memif, file) = (Memif::start().unwrap(), file());
    let all = offsets(0..4 * ONE);
    let (left, right) = all.split_at(all.len() / 2);
    let mut left = Side::new(&memif, over(&memif, &file, left).unwrap());
    let mut right = Side::new(&memif, over(&memif, &file, right).unwrap());
    let (mut out, mut back) = (left.master.tx(0).unwrap(), right.master.rx(0).unwrap());
    let mut burst = Burst::new(16).unwrap();
    while burst.push(&packet(100, 1)).is_ok() {}
    assert_eq!(out.send(&mut burst), 16);
    until("the packets", || {
        left.queues.0.forward_to(&mut right.queues.1, 64).unwrap();
        back.receive(&mut burst) > 0
    });
    drop((out, back, left));
    until("the buffers", || over(&memif, &file, &all[BUFFERS / 2 - 1..][..1]).is_ok());
    // 16 buffers of the left one are the right one's now, which has given as many for them
    let free = |offset: &&u32| over(&memif, &file, &[**offset]).is_ok();
    let (was_left, was_right) = all.split_at(all.len() / 2);
    assert_eq!(was_left.iter().filter(free).count(), was_left.len() - 16);
    assert_eq!(was_right.iter().filter(free).count(), 16);
    drop(right);
    until("all buffers", || over(&memif, &file, &all).is_ok());
}
