//! Zero-copy forwarding between slave interfaces that share packet memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::Instant;

use common::packet_memory::{BUFFER, BUFFERS, ON_LINKS, RING, allocate, master, memory, memory_size, slave};
use common::{PATIENCE, Random, address, check, fill, length, packet, until};
use hostile_peer::memory::memfd;
use memif_os::huge_pages::HugePages;
use memif_pmd::{
    Burst, Disconnect, Error, Interface, Memif, NotShared, PacketMemory, RxQueue, TxQueue, Workers,
    forward_in_place,
};
use rustix::fs::MemfdFlags;

/// Two masters and a forwarder between them, which is slave on both.
struct Crossing {
    masters: [Option<Interface>; 2],
    slaves: [Interface; 2],
    sockets: [String; 2],
    memory: PacketMemory,
    memif: Memif,
}

impl Crossing {
    fn new() -> Self {
        let memif = Memif::start().unwrap();
        let memory = memory(&memif);
        Self::over(memif, memory)
    }

    fn over(memif: Memif, memory: PacketMemory) -> Self {
        let sockets = [address(), address()];
        let masters = [0, 1].map(|side| Some(master(&memif, &sockets[side])));
        let slaves = [0, 1].map(|side| slave(&memif, &sockets[side], &memory));
        let crossing = Self { masters, slaves, sockets, memory, memif };
        crossing.wait_up();
        crossing
    }

    fn wait_up(&self) {
        self.slaves.iter().for_each(|slave| slave.wait_up(Some(PATIENCE)).unwrap());
        self.masters.iter().flatten().for_each(|master| master.wait_up(Some(PATIENCE)).unwrap());
    }

    /// The forwarder's queues from that side to the other.
    fn way(&self, from: usize) -> (RxQueue, TxQueue) {
        (self.slaves[from].rx(0).unwrap(), self.slaves[1 - from].tx(0).unwrap())
    }

    /// The masters' queues for packets from that side to the other.
    fn ends(&self, from: usize) -> (TxQueue, RxQueue) {
        let master = |side: usize| self.masters[side].as_ref().unwrap();
        (master(from).tx(0).unwrap(), master(1 - from).rx(0).unwrap())
    }

    /// All interfaces go, and every buffer is back in the pool.
    fn end(self) {
        let Self { masters, slaves, memory, memif, .. } = self;
        drop((masters, slaves));
        // a builder thread may have been about to make the next link
        until("the buffers to be back", || memory.free_buffers() == memory.buffers());
        drop(memif);
    }
}

/// Packets with these numbers cross, some at a time, whole and in order.
fn carry(
    (tx, rx): &mut (TxQueue, RxQueue),
    way: &mut (RxQueue, TxQueue),
    numbers: std::ops::Range<u64>,
    lengths: RangeInclusive<usize>,
    bursts: RangeInclusive<usize>,
) {
    let mut random = Random::new(numbers.end);
    let (low, high) = (*lengths.start(), *lengths.end());
    let (mut out, mut back) = (Burst::new(64).unwrap(), Burst::new(64).unwrap());
    let (mut next, mut expected) = (numbers.start, numbers.start);
    let end = Instant::now() + PATIENCE;
    while expected < numbers.end {
        // no yielding: this thread is all there is to wait for
        assert!(Instant::now() < end, "packet {expected} has not arrived");
        while next < numbers.end && out.len() < random.range(1, 64) {
            fill(out.reserve(length(next, low, high)).unwrap(), next);
            next += 1;
        }
        tx.send(&mut out);
        way.0.forward_to(&mut way.1, random.range(*bursts.start(), *bursts.end())).unwrap();
        rx.receive(&mut back);
        for got in &back {
            assert_eq!(got.len(), length(expected, low, high), "length of packet {expected}");
            check(got, expected);
            expected += 1;
        }
        back.clear();
    }
}

#[test]
fn forwarded_packets_arrive_whole_in_order_and_counted() {
    let crossing = Crossing::new();
    assert_eq!(crossing.memory.free_buffers(), BUFFERS - ON_LINKS);
    let (mut ends, mut way) = (crossing.ends(0), crossing.way(0));
    let mut numbers = 0..0;
    for burst in [1, 2, 7, 32, 64] {
        numbers = numbers.end..numbers.end + 400;
        carry(&mut ends, &mut way, numbers.clone(), 60..=200, burst..=burst);
    }
    let (received, sent) = (way.0.stats(), way.1.stats());
    assert_eq!((received.packets, received.bytes), (sent.packets, sent.bytes));
    assert_eq!((received.packets, received.dropped(), sent.dropped()), (2000, 0, 0));
    assert_eq!(crossing.memory.free_buffers(), BUFFERS - ON_LINKS);
    drop((ends, way));
    crossing.end();
}

#[test]
fn chained_packets_are_forwarded_in_both_directions() {
    let crossing = Crossing::new();
    for from in [0, 1, 0] {
        let (mut ends, mut way) = (crossing.ends(from), crossing.way(from));
        carry(&mut ends, &mut way, 0..500, 60..=9000, 1..=64);
    }
    crossing.end();
}

#[test]
fn indices_wrap() {
    let crossing = Crossing::new();
    let (mut ends, mut way) = (crossing.ends(0), crossing.way(0));
    carry(&mut ends, &mut way, 0..70_000, 60..=64, 1..=64);
    drop((ends, way));
    crossing.end();
}

#[test]
fn a_link_of_packet_memory_has_two_regions() {
    let crossing = Crossing::new();
    for (slave, master) in crossing.slaves.iter().zip(crossing.masters.iter().flatten()) {
        let (ours, theirs) = (slave.details().unwrap(), master.details().unwrap());
        let sizes = |regions: &[memif_pmd::RegionDetails]| -> Vec<_> {
            regions.iter().map(|region| (region.index, region.size, region.sealed)).collect()
        };
        assert_eq!(sizes(&ours.regions), sizes(&theirs.regions));
        let [_, packets] = &ours.regions[..] else { panic!("{:?}", ours.regions) };
        assert_eq!(packets.size, crossing.memory.len() as u64);
        assert_eq!(packets.address, crossing.memory.as_ptr().addr().get());
        assert!(packets.fd.is_some() && theirs.regions.iter().all(|region| region.fd.is_none()));
        assert_eq!(ours.rx[0].ring.unwrap().buffer_size, BUFFER);
    }
    crossing.end();
}

#[test]
fn packets_are_dropped_while_the_outgoing_link_is_down_and_buffers_are_kept() {
    let mut crossing = Crossing::new();
    let (mut way, (mut tx, _)) = (crossing.way(0), crossing.ends(0));
    crossing.masters[1] = None;
    until("the link's end", || !way.1.is_up());
    let mut burst = Burst::new(10).unwrap();
    for round in 1..=20 {
        while burst.push(&packet(3000, round)).is_ok() {}
        assert_eq!(tx.send(&mut burst), 10, "round {round}");
        for _ in 0..2 {
            assert_eq!(way.0.forward_to(&mut way.1, 5), Ok(0));
        }
        assert_eq!(way.0.forward_to(&mut way.1, 5), Ok(0));
        assert_eq!(way.1.stats().link_down, 10 * round);
    }
    assert_eq!((way.0.stats().packets, way.0.stats().dropped()), (200, 0));
    crossing.masters[1] = Some(master(&crossing.memif, &crossing.sockets[1]));
    crossing.wait_up();
    let rx = crossing.masters[1].as_ref().unwrap().rx(0).unwrap();
    carry(&mut (tx, rx), &mut way, 0..200, 60..=3000, 1..=64);
    drop(way);
    crossing.end();
}

#[test]
fn too_few_buffers_fail_the_attempt_and_it_is_repeated() {
    let memif = Memif::start().unwrap();
    // one too few for a second link while a receive queue of the first holds its own
    let buffers = 3 * RING - 1;
    let memory = allocate(&memif, buffers);
    let sockets = [address(), address()];
    let _masters = [0, 1].map(|side| master(&memif, &sockets[side]));
    let first = slave(&memif, &sockets[0], &memory);
    first.wait_up(Some(PATIENCE)).unwrap();
    let second = slave(&memif, &sockets[1], &memory);
    let refused = |free| Disconnect::TooFewBuffers { needed: 128, free, total: 191 };
    until("the reason", || second.details().unwrap().last_disconnect == Some(refused(63)));
    let text = refused(63).to_string();
    assert!(text.contains("128") && text.contains("63") && text.contains("191"), "{text}");
    // a thread that has not used its queue since the link went down still holds its buffers
    let mut held = first.rx(0).unwrap();
    assert!(held.is_up());
    drop(first);
    until("the reason", || second.details().unwrap().last_disconnect == Some(refused(127)));
    assert!(!second.is_up());
    drop(held);
    second.wait_up(Some(PATIENCE)).unwrap();
    assert_eq!(memory.free_buffers(), 63);
}

#[test]
fn packet_memory_of_a_master_or_of_another_control_plane_is_rejected() {
    let (memif, other) = (Memif::start().unwrap(), Memif::start().unwrap());
    let memory = memory(&memif);
    let error = memif.interface(address()).master().packet_memory(&memory).open().unwrap_err();
    assert!(matches!(error, Error::PacketMemoryOfMaster), "{error}");
    let error = other.interface(address()).packet_memory(&memory).open().unwrap_err();
    assert!(matches!(error, Error::ForeignPacketMemory), "{error}");
}

/// Two links whose slaves have memory of their own each, or one of them has.
fn unshared(memif: &Memif, shared: &[bool]) -> (Vec<Interface>, Vec<Interface>) {
    let (mut masters, mut slaves) = (Vec::new(), Vec::new());
    for shared in shared {
        let socket = address();
        masters.push(master(memif, &socket));
        slaves.push(match shared {
            true => slave(memif, &socket, &memory(memif)),
            false => memif.interface(&socket).huge_pages(HugePages::Off).open().unwrap(),
        });
    }
    for end in masters.iter().chain(&slaves) {
        end.wait_up(Some(PATIENCE)).unwrap();
    }
    (masters, slaves)
}

#[test]
fn queues_without_common_memory_return_not_shared() {
    let memif = Memif::start().unwrap();
    for shared in [[false, false], [true, false], [false, true], [true, true]] {
        let (masters, slaves) = unshared(&memif, &shared);
        let (mut rx, mut tx) = (slaves[0].rx(0).unwrap(), slaves[1].tx(0).unwrap());
        assert_eq!(rx.forward_to(&mut tx, 64), Err(NotShared), "{shared:?}");
        assert!(!rx.raw().swap_with_tx(0, &mut tx.raw(), 0));
        let (mut rx, mut tx) = (masters[0].rx(0).unwrap(), masters[1].tx(0).unwrap());
        assert_eq!(rx.forward_to(&mut tx, 64), Err(NotShared));
    }
}

#[test]
fn workers_forward_in_place_and_copy_where_nothing_is_shared() {
    let crossing = Crossing::new();
    let memif = Memif::start().unwrap();
    let (masters, slaves) = unshared(&memif, &[false, false]);
    let workers = Workers::new()
        .anywhere(crossing.way(0), forward_in_place)
        .anywhere((slaves[0].rx(0).unwrap(), slaves[1].tx(0).unwrap()), forward_in_place);
    let running = workers.start().unwrap();
    let copied = (masters[0].tx(0).unwrap(), masters[1].rx(0).unwrap());
    for (mut tx, mut rx) in [crossing.ends(0), copied] {
        common::exchange((&mut tx, &mut rx), 0..500, 60..=9000);
    }
    running.stop().stop();
    running.wait().unwrap();
    crossing.end();
}

#[test]
fn packet_memory_can_be_a_file_of_the_caller() {
    let memif = Memif::start().unwrap();
    let file = File::from(memfd(MemfdFlags::ALLOW_SEALING));
    let size = 2 * BUFFERS as u64 * u64::from(BUFFER);
    file.set_len(size).unwrap();
    // from the end of the file, with gaps
    let offsets: Vec<_> = (0..memory_size()).rev().map(|number| 2 * number * BUFFER).collect();
    let fd = || OwnedFd::from(file.try_clone().unwrap());
    let error = memif.packet_memory().buffer_size(2 * BUFFER + 1).over(fd(), size, &offsets).unwrap_err();
    assert!(matches!(error, Error::BufferOffset { .. }), "{error}");
    let error = memif.packet_memory().buffer_size(BUFFER).over(fd(), size + 4096, &offsets).unwrap_err();
    assert!(matches!(error, Error::UnusableMemory(_)), "{error}");
    let memory = memif.packet_memory().buffer_size(BUFFER).over(fd(), size, &offsets).unwrap();
    let crossing = Crossing::over(memif, memory);
    carry(&mut crossing.ends(0), &mut crossing.way(0), 0..300, 60..=9000, 1..=64);
    crossing.end();
}

/// Two memories over one file are one only if everything about them agrees: a buffer of one must be a buffer of the other,
/// and lie in what the other's peer has mapped.
#[test]
fn memories_of_one_file_share_only_with_the_same_layout() {
    const SIZE: u64 = 1 << 20;
    let memif = Memif::start().unwrap();
    let file = File::from(memfd(MemfdFlags::ALLOW_SEALING));
    file.set_len(SIZE).unwrap();
    let over = |size: u64, buffer: u32, buffers: std::ops::Range<u32>| {
        let offsets: Vec<_> = buffers.map(|number| number * BUFFER).collect();
        let fd = || OwnedFd::from(file.try_clone().unwrap());
        let mut memory = None;
        // the control plane may still be dealing with the last round's connections
        until("the buffers", || {
            memory = memif.packet_memory().buffer_size(buffer).over(fd(), size, &offsets).ok();
            memory.is_some()
        });
        memory.unwrap()
    };
    for (size, buffer, shared) in [(SIZE, BUFFER, true), (SIZE, 1024, false), (SIZE - 4096, BUFFER, false)] {
        let memories = [over(SIZE, BUFFER, 0..200), over(size, buffer, 200..500)];
        let sockets = [address(), address()];
        let masters = [0, 1].map(|side| master(&memif, &sockets[side]));
        let slaves = [0, 1].map(|side| slave(&memif, &sockets[side], &memories[side]));
        slaves.iter().chain(&masters).for_each(|end| end.wait_up(Some(PATIENCE)).unwrap());
        let mut ends = (masters[0].tx(0).unwrap(), masters[1].rx(0).unwrap());
        let mut way = (slaves[0].rx(0).unwrap(), slaves[1].tx(0).unwrap());
        if shared {
            carry(&mut ends, &mut way, 0..200, 60..=3000, 1..=64);
        } else {
            assert_eq!(way.0.forward_to(&mut way.1, 64), Err(NotShared), "{size} {buffer}");
            assert!(!way.0.raw().swap_with_tx(0, &mut way.1.raw(), 0));
        }
    }
}

#[test]
fn reconnecting_links_lose_no_buffer() {
    let mut crossing = Crossing::new();
    let mut random = Random::new(7);
    let (mut out, mut back) = (Burst::new(64).unwrap(), Burst::new(64).unwrap());
    let mut ways = [crossing.way(0), crossing.way(1)];
    // what is under way when the other side's link goes arrives with the next one
    let (mut sequence, mut arrived, mut seen) = (0, 0, [0, 0]);
    for _ in 0..200 {
        {
            let mut ends = [crossing.ends(0), crossing.ends(1)];
            for _ in 0..random.range(1, 12) {
                for (side, (tx, rx)) in ends.iter_mut().enumerate() {
                    for _ in 0..random.range(0, 40) {
                        fill(out.reserve(random.range(60, 5000)).unwrap(), sequence);
                        sequence += 1;
                    }
                    tx.send(&mut out);
                    out.clear();
                    let (from, to) = &mut ways[side];
                    from.forward_to(to, random.range(1, 64)).unwrap();
                    rx.receive(&mut back);
                    for got in &back {
                        let number = u64::from_le_bytes(*got.first_chunk().unwrap());
                        assert!(
                            (seen[side]..sequence).contains(&number),
                            "packet {number} after {}",
                            seen[side]
                        );
                        check(got, number);
                        seen[side] = number + 1;
                        arrived += 1;
                    }
                    back.clear();
                }
            }
        }
        // either side goes, with packets in both of its rings and in the other's
        let side = random.range(0, 1);
        crossing.masters[side] = None;
        for _ in 0..random.range(0, 3) {
            for (rx, tx) in &mut ways {
                rx.forward_to(tx, 64).unwrap();
            }
        }
        until("the link's end", || !crossing.slaves[side].is_up());
        crossing.masters[side] = Some(master(&crossing.memif, &crossing.sockets[side]));
        crossing.wait_up();
        ways.iter_mut().for_each(|(rx, tx)| assert!(rx.is_up() && tx.is_up()));
        assert_eq!(crossing.memory.free_buffers(), BUFFERS - ON_LINKS);
    }
    assert!(arrived > 1000, "{arrived} of {sequence}");
    drop(ways);
    crossing.end();
}
