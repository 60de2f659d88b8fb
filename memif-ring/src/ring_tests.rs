//! Both ends of a ring against each other and against a peer with bad manners, on a ring on the heap.

extern crate std;
use std::{collections::VecDeque, vec, vec::Vec};

use proptest::prelude::*;

use crate::burst::{PacketSink, Tally};
use crate::fault::{DropReason, PeerFault};
use crate::head_side::{HeadReceiver, HeadSender};
use crate::layout::{DESC_FLAG_NEXT, Desc, MAX_PACKET_SIZE};
use crate::mock::{MockRegion, Places};
use crate::places::{Buffers, Place};
use crate::shm::{Ring, RingMemory};
use crate::tail_side::{TailReceiver, TailSender};

/// Takes up to `room` packets of any size.
struct Inbox {
    packets: Vec<Vec<u8>>,
    room: usize,
}

impl Inbox {
    fn new(room: usize) -> Self {
        Self { packets: Vec::new(), room }
    }
}

impl PacketSink for Inbox {
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.packets.len() == self.room {
            return None;
        }
        self.packets.push(vec![0; len]);
        self.packets.last_mut().map(Vec::as_mut_slice)
    }

    fn room(&self) -> usize {
        self.room - self.packets.len()
    }
}

/// A link in one direction: a sender, a receiver, and the memory between them.
trait Link {
    fn over(shared: &MockRegion) -> Self;
    fn send(&mut self, shared: &MockRegion, packets: &[&[u8]]) -> Result<usize, PeerFault>;
    fn receive(&mut self, shared: &MockRegion, inbox: &mut Inbox) -> Result<usize, PeerFault>;
    fn sent(&self) -> &Tally;
    fn received(&self) -> &Tally;
}

struct S2m {
    slave: HeadSender<Ring, Places>,
    master: TailReceiver<Ring>,
    tallies: (Tally, Tally),
}

struct M2s {
    master: TailSender<Ring>,
    slave: HeadReceiver<Ring, Places>,
    tallies: (Tally, Tally),
}

impl Link for S2m {
    fn over(shared: &MockRegion) -> Self {
        let slave = HeadSender::new(shared.ring(), shared.buffers());
        Self { slave, master: TailReceiver::new(shared.ring()), tallies: Default::default() }
    }
    fn send(&mut self, shared: &MockRegion, packets: &[&[u8]]) -> Result<usize, PeerFault> {
        self.slave.send(shared.regions(), packets, &mut self.tallies.0)
    }
    fn receive(&mut self, shared: &MockRegion, inbox: &mut Inbox) -> Result<usize, PeerFault> {
        self.master.receive(shared.regions(), inbox, &mut self.tallies.1)
    }
    fn sent(&self) -> &Tally {
        &self.tallies.0
    }
    fn received(&self) -> &Tally {
        &self.tallies.1
    }
}

impl Link for M2s {
    fn over(shared: &MockRegion) -> Self {
        let mut slave = HeadReceiver::new(shared.ring(), shared.buffers());
        let master = TailSender::new(shared.ring());
        slave.post();
        Self { slave, master, tallies: Default::default() }
    }
    fn send(&mut self, shared: &MockRegion, packets: &[&[u8]]) -> Result<usize, PeerFault> {
        self.master.send(shared.regions(), packets, &mut self.tallies.0)
    }
    fn receive(&mut self, shared: &MockRegion, inbox: &mut Inbox) -> Result<usize, PeerFault> {
        self.slave.receive(shared.regions(), inbox, &mut self.tallies.1)
    }
    fn sent(&self) -> &Tally {
        &self.tallies.0
    }
    fn received(&self) -> &Tally {
        &self.tallies.1
    }
}

fn packet(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seed * 31 + i * 7) as u8).collect()
}

/// Sends packets of the given sizes through a ring, in bursts, and checks that all arrive whole and in order. Far more
/// than 65,536 descriptors where `rounds` says so: the indices wrap.
fn carry_all<L: Link>(log2_size: u8, capacity: u32, sizes: &[usize], rounds: usize) {
    let shared = MockRegion::new(log2_size, capacity.next_multiple_of(64), capacity);
    let mut link = L::over(&shared);
    let mut expected = VecDeque::new();
    let mut arrived = 0;
    for round in 0..rounds {
        let burst: Vec<_> = sizes.iter().enumerate().map(|(i, len)| packet(round + i, *len)).collect();
        let mut waiting: Vec<&[u8]> = burst.iter().map(Vec::as_slice).collect();
        expected.extend(burst.iter().cloned());
        let mut turns = 0;
        while !waiting.is_empty() || !expected.is_empty() {
            let done = link.send(&shared, &waiting).unwrap();
            waiting.drain(..done);
            let mut inbox = Inbox::new(3);
            link.receive(&shared, &mut inbox).unwrap();
            for got in inbox.packets {
                assert_eq!(Some(got), expected.pop_front(), "packet {arrived}");
                arrived += 1;
            }
            turns += 1;
            assert!(turns < 10_000, "stuck in round {round}");
        }
    }
    assert_eq!(link.sent().packets, (rounds * sizes.len()) as u64);
    assert_eq!(link.sent(), link.received());
}

#[test]
fn packets_arrive_whole_and_in_order_at_every_ring_size() {
    for log2_size in 1..=14 {
        carry_all::<S2m>(log2_size, 64, &[1, 64, 17, 33], 50);
        carry_all::<M2s>(log2_size, 64, &[1, 64, 17, 33], 50);
    }
}

#[test]
fn indices_wrap() {
    carry_all::<S2m>(3, 64, &[60, 61, 62, 63, 64], 30_000);
    carry_all::<M2s>(3, 64, &[60, 61, 62, 63, 64], 30_000);
}

#[test]
fn large_packets_are_chained() {
    for sizes in [&[9000][..], &[64, 9000, 1514, 2048, 2049, 1], &[MAX_PACKET_SIZE, 60]] {
        carry_all::<S2m>(5, 2048, sizes, 100);
        carry_all::<M2s>(5, 2048, sizes, 100);
    }
}

#[test]
fn a_packet_may_need_the_whole_ring() {
    carry_all::<S2m>(2, 100, &[400, 1, 399, 400, 2], 100);
    carry_all::<M2s>(2, 100, &[400, 1, 399, 400, 2], 100);
}

fn refuses_what_can_never_fit<L: Link>() {
    let shared = MockRegion::new(2, 128, 100);
    let mut link = L::over(&shared);
    let (large, small) = (packet(0, 401), packet(1, 50));
    let packets: [&[u8]; 3] = [&small, &large, &small];
    let mut done = 0;
    let mut inbox = Inbox::new(8);
    for _ in 0..8 {
        done += link.send(&shared, &packets[done..]).unwrap();
        link.receive(&shared, &mut inbox).unwrap();
    }
    assert_eq!(done, 3);
    assert_eq!(link.sent().drops[DropReason::TooLarge.index()], 1);
    assert_eq!(inbox.packets, [small.clone(), small]);
}

#[test]
fn a_packet_larger_than_the_ring_is_dropped_and_the_rest_goes_on() {
    refuses_what_can_never_fit::<S2m>();
    refuses_what_can_never_fit::<M2s>();
}

#[test]
fn empty_and_oversized_packets_are_not_sent() {
    let shared = MockRegion::new(6, 2048, 2048);
    let mut link = S2m::over(&shared);
    let oversized = vec![0; MAX_PACKET_SIZE + 1];
    let packets: [&[u8]; 3] = [b"", &oversized, b"fine"];
    assert_eq!(link.send(&shared, &packets), Ok(3));
    assert_eq!(link.sent().drops[DropReason::Empty.index()], 1);
    assert_eq!(link.sent().drops[DropReason::Oversized.index()], 1);
    let mut inbox = Inbox::new(8);
    link.receive(&shared, &mut inbox).unwrap();
    assert_eq!(inbox.packets, [b"fine".to_vec()]);
}

/// A master that has received nothing yet, and what a hostile slave wrote for it.
fn receive_as_master(descs: &[Desc]) -> (Vec<Vec<u8>>, Tally) {
    let shared = MockRegion::new(3, 64, 64);
    let mut master = TailReceiver::new(shared.ring());
    for (index, desc) in descs.iter().enumerate() {
        shared.set_desc(index as u16, *desc);
    }
    shared.set_head(descs.len() as u16);
    let (mut inbox, mut tally) = (Inbox::new(64), Tally::default());
    let consumed = master.receive(shared.regions(), &mut inbox, &mut tally).unwrap();
    assert_eq!(consumed, descs.len());
    (inbox.packets, tally)
}

fn desc(region: u16, offset: u32, length: u32, flags: u16) -> Desc {
    Desc { flags, region, length, offset, metadata: 0 }
}

#[test]
fn a_bad_place_costs_that_packet_alone() {
    let good = desc(0, 0, 60, 0);
    for (bad, reason) in [
        (desc(1, 0, 60, 0), DropReason::UnknownRegion),
        (desc(u16::MAX, 0, 60, 0), DropReason::UnknownRegion),
        (desc(0, 1 << 20, 60, 0), DropReason::OutOfRegion),
        (desc(0, u32::MAX, 60, 0), DropReason::OutOfRegion),
        (desc(0, 16, u32::MAX, 0), DropReason::OutOfRegion),
        (desc(0, u32::MAX, u32::MAX, 0), DropReason::OutOfRegion),
        (desc(0, 0, 0, 0), DropReason::Empty),
    ] {
        let (packets, tally) = receive_as_master(&[good, bad, good]);
        assert_eq!(packets.len(), 2, "{reason}");
        assert_eq!(tally.drops[reason.index()], 1, "{reason}");
        assert_eq!(tally.drops.iter().sum::<u64>(), 1, "{reason}");
    }
}

#[test]
fn a_chain_with_a_bad_piece_is_dropped_whole() {
    let (good, piece) = (desc(0, 0, 60, 0), desc(0, 0, 60, DESC_FLAG_NEXT));
    let (packets, tally) = receive_as_master(&[piece, desc(9, 0, 60, DESC_FLAG_NEXT), good, good]);
    assert_eq!(packets.len(), 1);
    assert_eq!(tally.drops[DropReason::UnknownRegion.index()], 1);
    let (packets, tally) = receive_as_master(&[good, piece, piece, piece]);
    assert_eq!(packets.len(), 1);
    assert_eq!(tally.drops[DropReason::ChainBroken.index()], 1);
}

#[test]
fn a_chain_over_64_kib_is_dropped() {
    let shared = MockRegion::new(10, 2048, 2048);
    let mut master = TailReceiver::new(shared.ring());
    for index in 0..33 {
        shared.set_desc(index, desc(0, 0, 2048, if index < 32 { DESC_FLAG_NEXT } else { 0 }));
    }
    shared.set_head(33);
    let (mut inbox, mut tally) = (Inbox::new(64), Tally::default());
    assert_eq!(master.receive(shared.regions(), &mut inbox, &mut tally), Ok(33));
    assert_eq!(tally.drops[DropReason::Oversized.index()], 1);
    assert!(inbox.packets.is_empty());
}

#[test]
fn a_chain_of_more_pieces_than_any_packet_needs_is_dropped() {
    let shared = MockRegion::new(14, 64, 64);
    let mut master = TailReceiver::new(shared.ring());
    for index in 0..3000 {
        shared.set_desc(index, desc(0, 0, 1, if index < 2999 { DESC_FLAG_NEXT } else { 0 }));
    }
    shared.set_desc(3000, desc(0, 0, 60, 0));
    shared.set_head(3001);
    let (mut inbox, mut tally) = (Inbox::new(64), Tally::default());
    assert_eq!(master.receive(shared.regions(), &mut inbox, &mut tally), Ok(3001));
    assert_eq!(tally.drops[DropReason::ChainTooLong.index()], 1);
    assert_eq!(inbox.packets.len(), 1);
}

#[test]
fn indices_thrown_about_cost_the_link() {
    let shared = MockRegion::new(3, 64, 64);
    let mut tally = Tally::default();
    let one: [&[u8]; 1] = [b"packet"];
    for bad in [9u16, 100, 0x7FFF, 0x8000, 0xFFFF] {
        shared.set_head(bad);
        let mut master = TailReceiver::new(shared.ring());
        let fault = master.receive(shared.regions(), &mut Inbox::new(9), &mut tally);
        assert_eq!(fault, Err(PeerFault::HeadTooFar { head: bad, tail: 0, size: 8 }));
        let mut master = TailSender::new(shared.ring());
        let fault = master.send(shared.regions(), &one[..], &mut tally);
        assert_eq!(fault, Err(PeerFault::HeadTooFar { head: bad, tail: 0, size: 8 }));

        let mut slave = HeadReceiver::new(shared.ring(), shared.buffers());
        slave.post();
        shared.set_tail(bad);
        let fault = slave.receive(shared.regions(), &mut Inbox::new(9), &mut tally);
        assert_eq!(fault, Err(PeerFault::TailTooFar { tail: bad, head: 8, size: 8 }));
        let mut slave = HeadSender::new(shared.ring(), shared.buffers());
        let eight: [&[u8]; 9] = [b"packet"; 9];
        let fault = slave.send(shared.regions(), &eight[..], &mut tally);
        assert_eq!(fault, Err(PeerFault::TailTooFar { tail: bad, head: 0, size: 8 }));
    }
    assert_eq!(tally, Tally::default());
}

#[test]
fn rewound_indices_cost_the_link() {
    let shared = MockRegion::new(3, 64, 64);
    let mut link = S2m::over(&shared);
    let four: [&[u8]; 4] = [b"packet"; 4];
    link.send(&shared, &four).unwrap();
    let mut inbox = Inbox::new(2);
    link.receive(&shared, &mut inbox).unwrap();
    shared.set_head(3);
    let fault = link.receive(&shared, &mut Inbox::new(64));
    assert_eq!(fault, Err(PeerFault::HeadTooFar { head: 3, tail: 0, size: 8 }));

    let mut link = M2s::over(&shared);
    link.send(&shared, &four).unwrap();
    link.receive(&shared, &mut Inbox::new(2)).unwrap();
    shared.set_tail(3);
    let fault = link.receive(&shared, &mut Inbox::new(64));
    assert!(matches!(fault, Err(PeerFault::TailTooFar { tail: 3, .. })), "{fault:?}");
}

#[test]
fn a_slave_finds_out_that_its_buffers_were_moved() {
    let shared = MockRegion::new(3, 64, 64);
    let mut link = M2s::over(&shared);
    let packets: [&[u8]; 4] = [b"packet"; 4];
    link.send(&shared, &packets).unwrap();
    let original = shared.desc(1);
    shared.set_desc(0, Desc { offset: original.offset, ..shared.desc(0) });
    shared.set_desc(1, Desc { region: 7, ..original });
    shared.set_desc(2, Desc { length: 65, ..shared.desc(2) });
    let mut inbox = Inbox::new(8);
    link.receive(&shared, &mut inbox).unwrap();
    assert_eq!(inbox.packets.len(), 1);
    assert_eq!(link.received().drops[DropReason::BufferChanged.index()], 2);
    assert_eq!(link.received().drops[DropReason::OutOfRegion.index()], 1);
}

#[test]
fn a_master_gives_unusable_posted_buffers_back() {
    let shared = MockRegion::new(3, 64, 64);
    let mut link = M2s::over(&shared);
    shared.set_desc(0, Desc { offset: u32::MAX, ..shared.desc(0) });
    shared.set_desc(2, Desc { region: 3, ..shared.desc(2) });
    shared.set_desc(3, Desc { length: 0, ..shared.desc(3) });
    let packets: [&[u8]; 5] = [b"lost", b"kept", b"lost", b"lost", b"kept"];
    assert_eq!(link.send(&shared, &packets), Ok(5));
    assert_eq!(link.sent().packets, 2);
    assert_eq!(link.sent().drops.iter().sum::<u64>(), 3);
    assert_eq!(shared.ring().tail(), 5);
}

#[test]
fn buffers_outside_the_region_never_are_written() {
    let shared = MockRegion::new(3, 64, 64);
    let buffers = Buffers::new([Place::new(0, u32::MAX - 64); 8], 64);
    let mut slave = HeadSender::new(shared.ring(), buffers);
    let mut tally = Tally::default();
    let packets: [&[u8]; 2] = [b"one", b"two"];
    assert_eq!(slave.send(shared.regions(), &packets[..], &mut tally), Ok(2));
    assert_eq!(tally.packets, 0);
}

#[test]
fn an_idle_receiver_gives_every_slot_back() {
    let shared = MockRegion::new(4, 64, 64);
    let one: [&[u8]; 1] = [b"packet"];
    let mut link = S2m::over(&shared);
    link.send(&shared, &one).unwrap();
    link.receive(&shared, &mut Inbox::new(8)).unwrap();
    assert_eq!(shared.ring().tail(), 0, "slots go back in lots");
    link.receive(&shared, &mut Inbox::new(8)).unwrap();
    assert_eq!(shared.ring().tail(), 1);

    let mut link = M2s::over(&shared);
    link.send(&shared, &one).unwrap();
    link.receive(&shared, &mut Inbox::new(8)).unwrap();
    assert_eq!(shared.ring().head(), 16);
    link.receive(&shared, &mut Inbox::new(8)).unwrap();
    assert_eq!(shared.ring().head(), 17);
}

#[test]
fn packets_are_peeked_and_released_in_place() {
    let shared = MockRegion::new(3, 64, 64);
    let mut link = S2m::over(&shared);
    let large = packet(3, 150);
    let packets: [&[u8]; 2] = [&large, b"small"];
    link.send(&shared, &packets).unwrap();
    let master = &mut link.master;
    assert_eq!(master.ready(64), Ok(4));
    let mut pieces = Vec::new();
    assert_eq!(master.peek(shared.regions(), 0, |desc| pieces.push(desc)), (3, Ok(())));
    assert_eq!(pieces.iter().map(|desc| desc.length).collect::<Vec<_>>(), [64, 64, 22]);
    let mut bytes = Vec::new();
    for piece in &pieces {
        let mut buffer = [0; 64];
        let span = shared.regions().span(piece.region, piece.offset, piece.length).unwrap();
        let len = span.copy_to(&mut buffer);
        bytes.extend_from_slice(&buffer[..len]);
    }
    assert_eq!(bytes, large);
    master.release(3);
    assert_eq!(master.ready(64), Ok(1));
    master.release(100);
    assert_eq!(master.ready(64), Ok(0));
}

#[test]
fn buffers_are_reserved_filled_and_committed_in_place() {
    let shared = MockRegion::new(3, 64, 64);
    let mut link = S2m::over(&shared);
    assert_eq!(link.slave.free(4), Ok(8));
    for ahead in 0..2 {
        let place = link.slave.buffer(shared.regions(), ahead).unwrap();
        let span = shared.regions().span(place.region, place.offset, place.length).unwrap();
        assert_eq!(span.copy_from(b"in place"), 8);
        link.slave.complete(ahead, 0, 8);
    }
    link.slave.commit(2);
    let mut inbox = Inbox::new(8);
    link.receive(&shared, &mut inbox).unwrap();
    assert_eq!(inbox.packets, [b"in place".to_vec(), b"in place".to_vec()]);

    let mut link = M2s::over(&shared);
    assert_eq!(link.master.free(1), Ok(8));
    let place = link.master.buffer(shared.regions(), 0).unwrap();
    shared.regions().span(place.region, place.offset, 5).unwrap().copy_from(b"reply");
    link.master.complete(0, 0, 5);
    link.master.commit(1);
    let mut inbox = Inbox::new(8);
    link.receive(&shared, &mut inbox).unwrap();
    assert_eq!(inbox.packets, [b"reply".to_vec()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a peer writes: bounded work, no packet larger than allowed, and a fault or a count for the rest.
    #[test]
    fn a_receiver_survives_any_descriptors(
        descs in proptest::collection::vec((any::<u16>(), 0u16..3, 0u32..200, any::<u32>()), 1..=16),
        head: u16,
    ) {
        let shared = MockRegion::new(4, 64, 64);
        let mut master = TailReceiver::new(shared.ring());
        for (index, (flags, region, length, offset)) in descs.iter().enumerate() {
            shared.set_desc(index as u16, desc(*region, offset % 4096, *length, *flags));
        }
        shared.set_head(head);
        let (mut inbox, mut tally) = (Inbox::new(64), Tally::default());
        match master.receive(shared.regions(), &mut inbox, &mut tally) {
            Ok(consumed) => {
                prop_assert!(head <= 16);
                prop_assert_eq!(consumed, usize::from(head));
                prop_assert!(tally.packets + tally.drops.iter().sum::<u64>() <= u64::from(head));
            }
            Err(fault) => {
                prop_assert!(head > 16);
                prop_assert_eq!(fault, PeerFault::HeadTooFar { head, tail: 0, size: 16 });
            }
        }
    }

    #[test]
    fn any_mix_of_sizes_and_bursts_arrives(
        sizes in proptest::collection::vec(1usize..3000, 1..40),
        log2_size in 5u8..8,
        rounds in 1usize..4,
    ) {
        carry_all::<S2m>(log2_size, 256, &sizes, rounds);
        carry_all::<M2s>(log2_size, 256, &sizes, rounds);
    }
}
