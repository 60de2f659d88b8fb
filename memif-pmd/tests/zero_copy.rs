//! Packets that cross from one slave interface to another in shared packet memory, without being copied.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::fs::File;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::{PATIENCE, Random, address, check, fill, length, packet, receive_all, until};
use hostile_peer::master::{ScriptedListener, ScriptedMaster, Step};
use hostile_peer::meanwhile;
use hostile_peer::memory::{RingFile, memfd};
use memif_os::huge_pages::HugePages;
use memif_pmd::{
    Burst, Disconnect, DropReason, Error, Interface, Memif, NotShared, PacketMemory, PeerFault, RxQueue,
    TxQueue, Workers, forward_in_place,
};
use memif_ring::layout::{DESC_FLAG_NEXT, Desc};
use memif_ring::message::Direction;
use rustix::fs::MemfdFlags;

const RING: u32 = 64;
const BUFFER: u32 = 2048;
/// Two interfaces of a ring each way, and as many again.
const BUFFERS: usize = 2 * ON_LINKS;
const ON_LINKS: usize = 4 * RING as usize;

fn memory(memif: &Memif) -> PacketMemory {
    PacketMemory::new(memif, memory_size(), BUFFER, HugePages::Off).unwrap()
}

fn memory_size() -> u32 {
    BUFFERS.try_into().unwrap()
}

fn slave(memif: &Memif, socket: &str, memory: &PacketMemory) -> Interface {
    let builder = memif.interface(socket).ring_size(RING).huge_pages(HugePages::Off);
    builder.packet_memory(memory).reconnect(Duration::from_millis(1)).open().unwrap()
}

fn master(memif: &Memif, socket: &str) -> Interface {
    memif.interface(socket).master().open().unwrap()
}

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
        assert_eq!(memory.free_buffers(), memory.buffers());
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
        for got in back.iter() {
            assert_eq!(got.len(), length(expected, low, high), "length of packet {expected}");
            check(got, expected);
            expected += 1;
        }
        back.clear();
    }
}

#[test]
fn packets_cross_whole_in_order_and_counted() {
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
fn chains_cross_both_ways() {
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
fn without_a_link_on_the_way_out_packets_are_dropped_and_buffers_are_not() {
    let mut crossing = Crossing::new();
    let (mut way, (mut tx, _)) = (crossing.way(0), crossing.ends(0));
    crossing.masters[1] = None;
    until("the link's end", || !way.1.is_up());
    let mut burst = Burst::new(10).unwrap();
    for round in 1..=20 {
        while burst.push(&packet(3000, round)) {}
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
fn too_few_buffers_fail_the_attempt_which_is_made_again() {
    let memif = Memif::start().unwrap();
    let buffers = 3 * RING;
    let memory = PacketMemory::new(&memif, buffers, BUFFER, HugePages::Off).unwrap();
    let sockets = [address(), address()];
    let _masters = [0, 1].map(|side| master(&memif, &sockets[side]));
    let first = slave(&memif, &sockets[0], &memory);
    first.wait_up(Some(PATIENCE)).unwrap();
    let second = slave(&memif, &sockets[1], &memory);
    let refused =
        Disconnect::TooFewBuffers { needed: 2 * RING as usize, free: RING as usize, total: buffers as usize };
    until("the reason", || second.details().unwrap().last_disconnect == Some(refused.clone()));
    let text = refused.to_string();
    assert!(text.contains("128") && text.contains("64") && text.contains("192"), "{text}");
    // a thread that has not looked since the link went down still has its buffers
    let mut held = first.rx(0).unwrap();
    assert!(held.is_up());
    drop(first);
    assert!(!second.is_up());
    drop(held);
    second.wait_up(Some(PATIENCE)).unwrap();
    assert_eq!(memory.free_buffers(), RING as usize);
}

#[test]
fn what_cannot_be_shared_is_refused() {
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
fn queues_that_share_nothing_are_told_so() {
    let memif = Memif::start().unwrap();
    for shared in [[false, false], [true, false], [false, true], [true, true]] {
        let (masters, slaves) = unshared(&memif, &shared);
        let (mut rx, mut tx) = (slaves[0].rx(0).unwrap(), slaves[1].tx(0).unwrap());
        assert_eq!(rx.forward_to(&mut tx, 64), Err(NotShared), "{shared:?}");
        assert!(!rx.swap_with(0, &mut tx, 0));
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
fn memory_may_come_from_elsewhere() {
    let memif = Memif::start().unwrap();
    let file = File::from(memfd(MemfdFlags::ALLOW_SEALING));
    let size = 2 * BUFFERS as u64 * u64::from(BUFFER);
    file.set_len(size).unwrap();
    // from the end of the file, with gaps
    let offsets: Vec<_> = (0..memory_size()).rev().map(|number| 2 * number * BUFFER).collect();
    let fd = || OwnedFd::from(file.try_clone().unwrap());
    let error = PacketMemory::from_fd(&memif, fd(), size, 2 * BUFFER + 1, &offsets).unwrap_err();
    assert!(matches!(error, Error::BufferPlace { .. }), "{error}");
    let error = PacketMemory::from_fd(&memif, fd(), size + 4096, BUFFER, &offsets).unwrap_err();
    assert!(matches!(error, Error::Region(_)), "{error}");
    let memory = PacketMemory::from_fd(&memif, fd(), size, BUFFER, &offsets).unwrap();
    let crossing = Crossing::over(memif, memory);
    carry(&mut crossing.ends(0), &mut crossing.way(0), 0..300, 60..=9000, 1..=64);
    crossing.end();
}

#[test]
fn slots_are_posted_when_told_and_behind_their_headroom() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().explicit_posting().open().unwrap();
    let slave = memif.interface(&socket).ring_size(16).explicit_posting().huge_pages(HugePages::Off);
    let slave = slave.open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    let (mut tx, mut rx) = (master.tx(0).unwrap(), slave.rx(0).unwrap());
    let mut burst = Burst::new(16).unwrap();
    while burst.push(&packet(BUFFER as usize - 100, 1)) {}
    assert_eq!(tx.send(&mut burst), 0);
    assert_eq!((rx.held(), rx.post(6, 100), rx.held()), (16, 6, 10));
    assert_eq!(tx.send(&mut burst), 6);
    let peeked = rx.peek(16);
    assert_eq!(peeked.len(), 6);
    assert!(peeked.iter().all(|packet| packet.bytes() == BUFFER as usize - 100));
    peeked.release(6);
    assert_eq!((rx.held(), rx.peek(16).len(), tx.send(&mut burst)), (16, 0, 0));
    assert!(rx.swap_buffers(0, 15) && !rx.swap_buffers(0, 16));
    assert_eq!(rx.post(u16::MAX, 0), 16);
    assert_eq!(tx.send(&mut burst), 10);

    let mut back = tx;
    // the other way: the slave says where packets begin, the master when its slots are free again
    let (mut tx, mut rx) = (slave.tx(0).unwrap(), master.rx(0).unwrap());
    let mut room = tx.reserve(16);
    assert_eq!(room.len(), 16);
    for index in 0..16 {
        assert_eq!(room.span(index).unwrap().write_at(28, &packet(60, index as u64)), 60);
        assert!(room.set_range(index, 28, 60));
    }
    room.commit(16);
    receive_all(&mut rx, 0..16);
    assert_eq!((rx.held(), tx.reserve(1).len()), (16, 0));
    assert_eq!((rx.post(5, 0), tx.reserve(16).len()), (5, 5));
    let mut room = back.reserve(1);
    assert!(room.set_range(0, 0, 60) && !room.set_range(0, 28, 60), "a master's begin where the buffer does");
}

#[test]
fn buffers_of_one_link_are_exchanged_slot_by_slot() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let (master, slave) =
        (master(&memif, &socket), memif.interface(&socket).ring_size(16).explicit_posting());
    let slave = slave.huge_pages(HugePages::Off).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    let (mut out, mut back) = (master.tx(0).unwrap(), master.rx(0).unwrap());
    let (mut rx, mut tx) = (slave.rx(0).unwrap(), slave.tx(0).unwrap());
    rx.post(16, 0);
    let mut burst = Burst::new(16).unwrap();
    for number in 0..3 {
        assert!(burst.push(&packet(200, number)));
    }
    assert_eq!(out.send(&mut burst), 3);
    let peeked = rx.peek(16);
    peeked.release(3);
    for slot in 0..3 {
        assert!(rx.swap_with(slot, &mut tx, slot));
    }
    assert!(!rx.swap_with(3, &mut tx, 0), "the peer has it");
    assert!(tx.swap_buffers(4, 5) && !tx.swap_buffers(4, 16));
    let mut room = tx.reserve(3);
    (0..3).for_each(|index| room.set_len(index, 200));
    room.commit(3);
    receive_all(&mut back, 0..3);
}

#[test]
fn links_that_come_and_go_lose_no_buffer() {
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
                    for got in back.iter() {
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

/// A forwarder with a scripted master on one side and a sound one on the other.
struct Ambush {
    listener: ScriptedListener,
    /// 0 is on the scripted side.
    slaves: [Interface; 2],
    sound: Interface,
    memory: PacketMemory,
    _memif: Memif,
}

impl Ambush {
    fn new() -> Self {
        let memif = Memif::start().unwrap();
        let memory = memory(&memif);
        let sockets = [address(), address()];
        let listener = ScriptedListener::new(&sockets[0]);
        let sound = master(&memif, &sockets[1]);
        let slaves = [0, 1].map(|side| slave(&memif, &sockets[side], &memory));
        sound.wait_up(Some(PATIENCE)).unwrap();
        slaves[1].wait_up(Some(PATIENCE)).unwrap();
        Self { listener, slaves, sound, memory, _memif: memif }
    }

    fn attacker(&self) -> ScriptedMaster {
        until("the last link's end", || !self.slaves[0].is_up());
        let master = self.listener.until(Step::Up);
        until("the link", || self.slaves[0].is_up());
        master
    }

    fn blamed(&self, fault: PeerFault) {
        let blamed = Some(Disconnect::Fault(fault));
        until("the fault", || self.slaves[0].details().unwrap().last_disconnect == blamed);
        assert!(self.slaves[1].is_up());
    }

    fn end(self) {
        let Self { slaves, memory, .. } = self;
        drop(slaves);
        assert_eq!(memory.free_buffers(), BUFFERS);
    }
}

/// Sends so many descriptors, each spoilt by `spoil`, as a master.
fn publish(ring: &RingFile<'_>, count: u16, spoil: impl Fn(u16, Desc) -> Desc) {
    let tail = ring.tail();
    for ahead in 0..count {
        let index = tail.wrapping_add(ahead);
        ring.set_desc(index, spoil(ahead, Desc { length: 60, flags: 0, ..ring.desc(index) }));
    }
    ring.set_tail(tail.wrapping_add(count));
}

#[test]
fn a_hostile_sender_loses_its_own_packets() {
    use DropReason::{BufferChanged, ChainBroken, Empty, OutOfRegion};
    let ambush = Ambush::new();
    let master = ambush.attacker();
    let ring = master.ring(Direction::M2S);
    let (mut rx, mut tx) = (ambush.slaves[0].rx(0).unwrap(), ambush.slaves[1].tx(0).unwrap());
    let mut back = ambush.sound.rx(0).unwrap();
    type Spoil = fn(Desc) -> Desc;
    let cases: [(DropReason, Spoil); 7] = [
        (BufferChanged, |desc| Desc { region: 0, ..desc }),
        (BufferChanged, |desc| Desc { region: u16::MAX, ..desc }),
        (BufferChanged, |desc| Desc { offset: desc.offset ^ 2176, ..desc }),
        (OutOfRegion, |desc| Desc { length: BUFFER + 1, ..desc }),
        (OutOfRegion, |desc| Desc { length: u32::MAX, ..desc }),
        (Empty, |desc| Desc { length: 0, ..desc }),
        (ChainBroken, |desc| Desc { flags: DESC_FLAG_NEXT, ..desc }),
    ];
    for (reason, spoil) in cases {
        let before = rx.stats().drops_for(reason);
        // the last one is spoilt: what comes before it goes over
        publish(&ring, 3, |ahead, desc| if ahead == 2 { spoil(desc) } else { desc });
        assert_eq!(rx.forward_to(&mut tx, 64), Ok(2), "{reason}");
        assert_eq!(rx.stats().drops_for(reason), before + 1, "{reason}");
        let mut burst = Burst::new(8).unwrap();
        assert_eq!(back.receive(&mut burst), 2);
        // an idle round posts what was received: the table's buffers, not what the master wrote
        assert_eq!(rx.forward_to(&mut tx, 64), Ok(0));
        let posted: Vec<_> = (0..64).map(|slot| ring.desc(slot)).collect();
        assert!(posted.iter().all(|desc| desc.region == 1 && desc.length == BUFFER), "{reason}");
        let mut offsets: Vec<_> = posted.iter().map(|desc| desc.offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        assert_eq!(offsets.len(), 64, "{reason}");
    }
    ring.set_tail(ring.head().wrapping_add(1));
    assert_eq!(rx.forward_to(&mut tx, 64), Ok(0));
    let (head, size) = (ring.head(), RING);
    ambush.blamed(PeerFault::TailTooFar { tail: head.wrapping_add(1), head, size });
    drop((rx, tx, back));
    ambush.end();
}

#[test]
fn a_hostile_receiver_loses_its_link_alone() {
    let ambush = Ambush::new();
    let (mut out, mut rx) = (ambush.sound.tx(0).unwrap(), ambush.slaves[1].rx(0).unwrap());
    let mut tx = ambush.slaves[0].tx(0).unwrap();
    for round in 0..3 {
        let master = ambush.attacker();
        let ring = master.ring(Direction::S2M);
        let mut burst = Burst::new(8).unwrap();
        while burst.push(&packet(100, round)) {}
        assert_eq!(out.send(&mut burst), 8);
        assert_eq!(rx.forward_to(&mut tx, 64), Ok(8));
        assert_eq!(ring.head(), 8);
        ring.set_tail(1000);
        // the tail is asked for once the ring may be full
        for _ in 0..20 {
            while burst.push(&packet(100, round)) {}
            out.send(&mut burst);
            burst.clear();
            rx.forward_to(&mut tx, 64).unwrap();
        }
        until("the fault", || {
            matches!(
                ambush.slaves[0].details().unwrap().last_disconnect,
                Some(Disconnect::Fault(PeerFault::TailTooFar { tail: 1000, size: RING, .. }))
            )
        });
        assert!(ambush.slaves[1].is_up());
        assert!(tx.stats().link_down > 0, "what came afterwards was dropped");
    }
    drop((out, rx, tx));
    ambush.end();
}

#[test]
fn masters_that_write_everywhere_cost_no_buffer() {
    let ambush = Ambush::new();
    let mut ways = [0, 1]
        .map(|from: usize| (ambush.slaves[from].rx(0).unwrap(), ambush.slaves[1 - from].tx(0).unwrap()));
    let (mut out, mut back) = (ambush.sound.tx(0).unwrap(), ambush.sound.rx(0).unwrap());
    let mut moved = 0;
    for seed in 0..20 {
        let master = ambush.attacker();
        let rings = [Direction::S2M, Direction::M2S].map(|direction| master.ring(direction));
        let mischief = |random: &mut Random| {
            let ring = &rings[random.range(0, 1)];
            let index = u16::try_from(random.range(0, 63)).unwrap();
            let good = ring.desc(index);
            let number = |random: &mut Random| u32::try_from(random.next() >> 16).unwrap_or(u32::MAX);
            match random.range(0, 9) {
                0 => ring.set_desc(index, Desc { offset: number(random), ..good }),
                1 => ring.set_desc(index, Desc { length: number(random) % 4096, ..good }),
                2 => ring.set_desc(index, Desc { flags: 1, length: 60, ..good }),
                3 if random.range(0, 200) == 0 => ring.set_tail(index),
                _ => {
                    let ahead = ring.head().wrapping_sub(ring.tail()).min(3);
                    ring.set_desc(index, Desc { flags: 0, length: 60, ..good });
                    ring.set_tail(ring.tail().wrapping_add(ahead));
                }
            }
        };
        meanwhile(mischief, seed, || {
            let (mut burst, mut sink) = (Burst::new(32).unwrap(), Burst::new(64).unwrap());
            for round in 0..300 {
                while burst.push(&packet(3000, round)) {}
                out.send(&mut burst);
                burst.clear();
                for (rx, tx) in &mut ways {
                    moved += rx.forward_to(tx, 64).unwrap();
                }
                back.receive(&mut sink);
                sink.clear();
            }
        });
        drop(master);
        assert!(ambush.slaves[1].is_up());
    }
    assert!(moved > 0);
    drop((ways, out, back));
    ambush.end();
}
