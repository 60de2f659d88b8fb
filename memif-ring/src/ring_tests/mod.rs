//! Both ends of a ring with each other, and with a hostile peer, on a ring on the heap.

extern crate std;

mod faulty_senders;
mod in_place;
mod look_ahead;
mod packed;

use std::{collections::VecDeque, vec, vec::Vec};

use proptest::prelude::*;

use super::LINE;
use crate::buffers::BufferAddr;
use crate::burst::{PacketSink, Tally};
use crate::end::{Receiver, Sender};
use crate::fault::{DropReason, PeerFault};
use crate::head_side::{HeadReceiver, HeadSender};
use crate::layout::{Desc, DescFlags, MAX_PACKET_SIZE};
use crate::mock::{HeapTable, MockRegion, MockRing};
use crate::shm::RingMemory;
use crate::tail_side::{TailReceiver, TailSender};
use crate::tuning::{LOOK_FROM, PACKET_ALIGN};

/// Flags of the last, or only, descriptor of a packet.
const LAST: DescFlags = DescFlags::empty();

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
trait Link<'a> {
    fn over(shared: &'a MockRegion) -> Self;
    fn send(&mut self, shared: &MockRegion, packets: &[&[u8]]) -> Result<usize, PeerFault>;
    fn receive(&mut self, shared: &MockRegion, inbox: &mut Inbox) -> Result<usize, PeerFault>;
    fn sent(&self) -> &Tally;
    fn received(&self) -> &Tally;
}

struct S2m<'a> {
    slave: HeadSender<MockRing<'a>, HeapTable>,
    master: TailReceiver<MockRing<'a>>,
    tallies: (Tally, Tally),
}

/// [`S2m`], with packets one behind the other.
struct Packed<'a>(S2m<'a>);

struct M2s<'a> {
    master: TailSender<MockRing<'a>>,
    slave: HeadReceiver<MockRing<'a>, HeapTable>,
    tallies: (Tally, Tally),
}

impl<'a> Link<'a> for S2m<'a> {
    fn over(shared: &'a MockRegion) -> Self {
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

impl<'a> Link<'a> for Packed<'a> {
    fn over(shared: &'a MockRegion) -> Self {
        let slave = HeadSender::new(shared.ring(), shared.packed_buffers());
        Self(S2m { slave, master: TailReceiver::new(shared.ring()), tallies: Default::default() })
    }
    fn send(&mut self, shared: &MockRegion, packets: &[&[u8]]) -> Result<usize, PeerFault> {
        self.0.send(shared, packets)
    }
    fn receive(&mut self, shared: &MockRegion, inbox: &mut Inbox) -> Result<usize, PeerFault> {
        self.0.receive(shared, inbox)
    }
    fn sent(&self) -> &Tally {
        self.0.sent()
    }
    fn received(&self) -> &Tally {
        self.0.received()
    }
}

impl<'a> Link<'a> for M2s<'a> {
    fn over(shared: &'a MockRegion) -> Self {
        let mut slave = HeadReceiver::new(shared.ring(), shared.buffers());
        let master = TailSender::new(shared.ring()).with_look_ahead(LOOK_FROM);
        slave.flush();
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

fn region(log2_size: u8, capacity: u32) -> MockRegion {
    MockRegion::laid_out(LINE, 1, log2_size, capacity.next_multiple_of(64), capacity)
}

/// Sends packets of the given sizes through a ring, in bursts, and checks that all arrive whole and in order. Far more
/// than 65,536 descriptors where `rounds` says so: the indices wrap.
fn carry_all<'a, L: Link<'a>>(shared: &'a MockRegion, sizes: &[usize], rounds: usize) {
    let mut link = L::over(shared);
    let mut expected = VecDeque::new();
    let mut arrived = 0;
    for round in 0..rounds {
        let burst: Vec<_> = sizes.iter().enumerate().map(|(i, len)| packet(round + i, *len)).collect();
        let mut waiting: Vec<&[u8]> = burst.iter().map(Vec::as_slice).collect();
        expected.extend(burst.iter().cloned());
        let mut turns = 0;
        while !waiting.is_empty() || !expected.is_empty() {
            let done = link.send(shared, &waiting).unwrap();
            waiting.drain(..done);
            let mut inbox = Inbox::new(3);
            link.receive(shared, &mut inbox).unwrap();
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
        carry_all::<S2m<'_>>(&region(log2_size, 64), &[1, 64, 17, 33], 50);
        carry_all::<Packed<'_>>(&region(log2_size, 64), &[1, 64, 17, 33], 50);
        carry_all::<M2s<'_>>(&region(log2_size, 64), &[1, 64, 17, 33], 50);
    }
}

#[test]
fn indices_wrap() {
    carry_all::<S2m<'_>>(&region(3, 64), &[60, 61, 62, 63, 64], 30_000);
    carry_all::<Packed<'_>>(&region(3, 64), &[60, 61, 62, 63, 64], 30_000);
    carry_all::<M2s<'_>>(&region(3, 64), &[60, 61, 62, 63, 64], 30_000);
}

#[test]
fn large_packets_are_chained() {
    for sizes in [&[9000][..], &[64, 9000, 1514, 2048, 2049, 1], &[MAX_PACKET_SIZE, 60]] {
        carry_all::<S2m<'_>>(&region(5, 2048), sizes, 100);
        carry_all::<Packed<'_>>(&region(5, 2048), sizes, 100);
        carry_all::<M2s<'_>>(&region(5, 2048), sizes, 100);
    }
}

#[test]
fn a_packet_may_need_the_whole_ring() {
    carry_all::<S2m<'_>>(&region(2, 100), &[400, 1, 399, 400, 2], 100);
    carry_all::<Packed<'_>>(&region(2, 100), &[400, 1, 399, 400, 2], 100);
    carry_all::<M2s<'_>>(&region(2, 100), &[400, 1, 399, 400, 2], 100);
}

fn drops_packets_larger_than_the_ring<'a, L: Link<'a>>(shared: &'a MockRegion) {
    let mut link = L::over(shared);
    let (large, small) = (packet(0, 401), packet(1, 50));
    let packets: [&[u8]; 3] = [&small, &large, &small];
    let mut done = 0;
    let mut inbox = Inbox::new(8);
    for _ in 0..8 {
        done += link.send(shared, &packets[done..]).unwrap();
        link.receive(shared, &mut inbox).unwrap();
    }
    assert_eq!(done, 3);
    assert_eq!(link.sent().dropped_for(DropReason::TooLarge), 1);
    assert_eq!(inbox.packets, [small.clone(), small]);
}

#[test]
fn a_packet_larger_than_the_ring_does_not_stop_the_others() {
    drops_packets_larger_than_the_ring::<S2m<'_>>(&region(2, 100));
    drops_packets_larger_than_the_ring::<Packed<'_>>(&region(2, 100));
    drops_packets_larger_than_the_ring::<M2s<'_>>(&region(2, 100));
}

/// Sends one packet that a free ring cannot hold, then one that it can.
fn drops_without_a_descriptor<'a, L: Link<'a>>(shared: &'a MockRegion, index: fn(&MockRegion) -> u16) {
    let mut link = L::over(shared);
    let (large, small) = (packet(0, 65_535), packet(1, 20));
    assert_eq!(link.send(shared, &[&large]), Ok(1));
    assert_eq!((link.sent().dropped_for(DropReason::TooLarge), index(shared)), (1, 0));
    assert_eq!(link.send(shared, &[&large, &small]), Ok(2));
    assert_eq!((link.sent().dropped_for(DropReason::TooLarge), index(shared)), (2, 1));
    let mut inbox = Inbox::new(8);
    assert_eq!(link.receive(shared, &mut inbox), Ok(1));
    assert_eq!((inbox.packets, link.received().dropped()), (vec![small], 0));
}

#[test]
fn a_packet_too_large_for_a_free_ring_is_dropped_without_a_descriptor() {
    // 16 buffers in all; 2048 buffers, of which one packet may have 1024
    for (log2_size, capacity) in [(4, 100), (11, 32)] {
        drops_without_a_descriptor::<S2m<'_>>(&region(log2_size, capacity), |shared| shared.ring().head());
        drops_without_a_descriptor::<Packed<'_>>(&region(log2_size, capacity), |shared| shared.ring().head());
        drops_without_a_descriptor::<M2s<'_>>(&region(log2_size, capacity), |shared| shared.ring().tail());
    }
}

#[test]
fn empty_and_oversized_packets_are_not_sent() {
    let shared = MockRegion::laid_out(LINE, 1, 6, 2048, 2048);
    let mut link = S2m::over(&shared);
    let oversized = vec![0; MAX_PACKET_SIZE + 1];
    let packets: [&[u8]; 3] = [b"", &oversized, b"fine"];
    assert_eq!(link.send(&shared, &packets), Ok(3));
    assert_eq!(link.sent().dropped_for(DropReason::Empty), 1);
    assert_eq!(link.sent().dropped_for(DropReason::Oversized), 1);
    let mut inbox = Inbox::new(8);
    link.receive(&shared, &mut inbox).unwrap();
    assert_eq!(inbox.packets, [b"fine".to_vec()]);
}

/// A master that has received nothing yet, and what a hostile slave wrote for it.
fn receive_as_master(descs: &[Desc]) -> (Vec<Vec<u8>>, Tally) {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
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

fn desc(region: u16, offset: u32, length: u32, flags: DescFlags) -> Desc {
    Desc { flags, region, length, offset, metadata: 0 }
}

#[test]
fn a_descriptor_outside_its_region_drops_one_packet() {
    let good = desc(0, 0, 60, LAST);
    for (bad, reason) in [
        (desc(1, 0, 60, LAST), DropReason::UnknownRegion),
        (desc(u16::MAX, 0, 60, LAST), DropReason::UnknownRegion),
        (desc(0, 1 << 20, 60, LAST), DropReason::OutOfRegion),
        (desc(0, u32::MAX, 60, LAST), DropReason::OutOfRegion),
        (desc(0, 16, u32::MAX, LAST), DropReason::OutOfRegion),
        (desc(0, u32::MAX, u32::MAX, LAST), DropReason::OutOfRegion),
        (desc(0, 0, 0, LAST), DropReason::Empty),
    ] {
        let (packets, tally) = receive_as_master(&[good, bad, good]);
        assert_eq!(packets.len(), 2, "{reason}");
        assert_eq!(tally.dropped_for(reason), 1, "{reason}");
        assert_eq!(tally.dropped(), 1, "{reason}");
    }
}

#[test]
fn a_chain_with_a_bad_piece_is_dropped_whole() {
    let (good, piece) = (desc(0, 0, 60, LAST), desc(0, 0, 60, DescFlags::NEXT));
    let (packets, tally) = receive_as_master(&[piece, desc(9, 0, 60, DescFlags::NEXT), good, good]);
    assert_eq!(packets.len(), 1);
    assert_eq!(tally.dropped_for(DropReason::UnknownRegion), 1);
    let (packets, tally) = receive_as_master(&[good, piece, piece, piece]);
    assert_eq!(packets.len(), 1);
    assert_eq!(tally.dropped_for(DropReason::ChainBroken), 1);
}

#[test]
fn a_chain_over_64_kib_is_dropped() {
    let shared = MockRegion::laid_out(LINE, 1, 10, 2048, 2048);
    let mut master = TailReceiver::new(shared.ring());
    for index in 0..33 {
        shared.set_desc(index, desc(0, 0, 2048, DescFlags::next_if(index < 32)));
    }
    shared.set_head(33);
    let (mut inbox, mut tally) = (Inbox::new(64), Tally::default());
    assert_eq!(master.receive(shared.regions(), &mut inbox, &mut tally), Ok(33));
    assert_eq!(tally.dropped_for(DropReason::Oversized), 1);
    assert!(inbox.packets.is_empty());
}

#[test]
fn a_chain_of_more_pieces_than_any_packet_needs_is_dropped() {
    let shared = MockRegion::laid_out(LINE, 1, 14, 64, 64);
    let mut master = TailReceiver::new(shared.ring());
    for index in 0..3000 {
        shared.set_desc(index, desc(0, 0, 1, DescFlags::next_if(index < 2999)));
    }
    shared.set_desc(3000, desc(0, 0, 60, LAST));
    shared.set_head(3001);
    let (mut inbox, mut tally) = (Inbox::new(64), Tally::default());
    assert_eq!(master.receive(shared.regions(), &mut inbox, &mut tally), Ok(3001));
    assert_eq!(tally.dropped_for(DropReason::ChainTooLong), 1);
    assert_eq!(inbox.packets.len(), 1);
}

#[test]
fn indices_too_far_ahead_end_the_link() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
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
        slave.flush();
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
fn indices_moved_back_end_the_link() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
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
fn a_slave_detects_changed_buffers() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
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
    assert_eq!(link.received().dropped_for(DropReason::BufferChanged), 2);
    assert_eq!(link.received().dropped_for(DropReason::OutOfRegion), 1);
}

#[test]
fn a_master_gives_unusable_posted_buffers_back() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut link = M2s::over(&shared);
    shared.set_desc(0, Desc { offset: u32::MAX, ..shared.desc(0) });
    shared.set_desc(2, Desc { region: 3, ..shared.desc(2) });
    shared.set_desc(3, Desc { length: 0, ..shared.desc(3) });
    let packets: [&[u8]; 5] = [b"lost", b"kept", b"lost", b"lost", b"kept"];
    assert_eq!(link.send(&shared, &packets), Ok(5));
    assert_eq!(link.sent().packets, 2);
    assert_eq!(link.sent().dropped(), 3);
    assert_eq!(shared.ring().tail(), 5);
}

#[test]
fn buffers_outside_the_region_are_not_written() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let buffers = shared.buffers_at([BufferAddr::new(0, u32::MAX - 64); 8], 64);
    let mut slave = HeadSender::new(shared.ring(), buffers);
    let mut tally = Tally::default();
    let packets: [&[u8]; 2] = [b"one", b"two"];
    assert_eq!(slave.send(shared.regions(), &packets[..], &mut tally), Ok(2));
    assert_eq!(tally.packets, 0);
}

#[test]
fn an_idle_receiver_gives_every_slot_back() {
    let shared = MockRegion::laid_out(LINE, 1, 4, 64, 64);
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a peer writes: bounded work, no packet larger than allowed, and a fault or a count for the rest.
    #[test]
    fn random_descriptors_are_received_dropped_or_a_fault(
        descs in proptest::collection::vec((any::<u16>(), 0u16..3, 0u32..200, any::<u32>()), 1..=16),
        head: u16,
    ) {
        let shared = MockRegion::laid_out(LINE, 1, 4, 64, 64);
        let mut master = TailReceiver::new(shared.ring());
        for (index, (flags, region, length, offset)) in descs.iter().enumerate() {
            let flags = DescFlags::from_bits_retain(*flags);
            shared.set_desc(index as u16, desc(*region, offset % 4096, *length, flags));
        }
        shared.set_head(head);
        let (mut inbox, mut tally) = (Inbox::new(64), Tally::default());
        match master.receive(shared.regions(), &mut inbox, &mut tally) {
            Ok(consumed) => {
                prop_assert!(head <= 16);
                prop_assert_eq!(consumed, usize::from(head));
                prop_assert!(tally.packets + tally.dropped() <= u64::from(head));
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
        carry_all::<S2m<'_>>(&region(log2_size, 256), &sizes, rounds);
        carry_all::<Packed<'_>>(&region(log2_size, 256), &sizes, rounds);
        carry_all::<M2s<'_>>(&region(log2_size, 256), &sizes, rounds);
    }
}
