//! Senders with the known faults of peers in the field (docs/protocol.md, section 7): honest, and not hostile.

use super::*;
use crate::mock::{Faults, FaultySender, PostedMemory};

/// Packets of one and of several pieces, over a ring of 8 slots and many times round it: each slot holds now a piece of
/// a chain, now a whole packet.
fn mixed_sizes_over_stale_flags(
    mut receive: impl FnMut(&MockRegion, &mut TailReceiver<MockRing<'_>>) -> Vec<Vec<u8>>,
) {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut slave = FaultySender::new(Faults::STALE_NEXT);
    let mut master = TailReceiver::new(shared.ring());
    for round in 0..1000 {
        let pieces = 1 + round * 7 % 3;
        let sent = packet(round, 60 * pieces);
        assert_eq!(slave.send(&shared, [&sent[..]]), 1);
        assert_eq!(receive(&shared, &mut master), [sent], "packet {round}");
    }
}

#[test]
fn next_that_a_slave_never_clears_joins_no_packets() {
    mixed_sizes_over_stale_flags(|shared, master| {
        let (mut inbox, mut tally) = (Inbox::new(8), Tally::default());
        master.receive(shared.regions(), &mut inbox, &mut tally).unwrap();
        assert_eq!(tally.dropped(), 0);
        inbox.packets
    });
}

/// The packet at the front, in place.
fn peek_one(shared: &MockRegion, master: &mut TailReceiver<MockRing<'_>>) -> (u16, Vec<u8>) {
    let mut bytes = Vec::new();
    let (slots, verdict) = master.peek(shared.regions(), 0, |piece| {
        let mut copy = [0; 64];
        let len = piece.span.copy_to(&mut copy);
        bytes.extend_from_slice(&copy[..len]);
    });
    assert_eq!(verdict, Ok(()));
    (slots, bytes)
}

#[test]
fn next_that_a_slave_never_clears_joins_no_packets_in_place() {
    mixed_sizes_over_stale_flags(|shared, master| {
        master.ready(8).unwrap();
        let (slots, bytes) = peek_one(shared, master);
        assert_eq!(peek_one(shared, master), (slots, bytes.clone()), "the same until it is released");
        master.release(slots);
        vec![bytes]
    });
}

#[test]
fn a_chain_is_cleared_as_far_as_it_was_released() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut slave = FaultySender::new(Faults::STALE_NEXT);
    let mut master = TailReceiver::new(shared.ring());
    assert_eq!(slave.send(&shared, [&packet(1, 150)[..], &packet(2, 150)]), 2);
    let flags = || (0..6).map(|index| shared.desc(index).has_next()).collect::<Vec<_>>();
    assert_eq!(master.ready(8), Ok(6));
    assert_eq!(master.peek(shared.regions(), 0, |_| {}), (3, Ok(())));
    assert_eq!(master.peek(shared.regions(), 3, |_| {}), (3, Ok(())));
    assert_eq!(flags(), [true, true, false, true, true, false], "peeked, and not released");
    master.release(1);
    assert_eq!(flags(), [false, true, false, true, true, false]);
    master.release(4);
    assert_eq!(flags(), [false, false, false, false, false, false]);
    master.release(1);
    assert_eq!(master.ready(8), Ok(0));
}

#[test]
fn a_dropped_chain_is_cleared_too() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut master = TailReceiver::new(shared.ring());
    for index in 0..3 {
        shared.set_desc(index, desc(9, 0, 60, DescFlags::next_if(index < 2)));
        shared.set_desc(index + 3, desc(0, 0, 60, DescFlags::NEXT));
    }
    shared.set_head(6);
    let (mut inbox, mut tally) = (Inbox::new(8), Tally::default());
    master.receive(shared.regions(), &mut inbox, &mut tally).unwrap();
    assert_eq!(tally.dropped_for(DropReason::UnknownRegion), 1);
    assert_eq!(tally.dropped_for(DropReason::ChainBroken), 1);
    assert!((0..6).all(|index| !shared.desc(index).has_next()));
}

#[test]
fn a_chain_that_does_not_fit_the_sink_keeps_its_flags() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut slave = FaultySender::new(Faults::STALE_NEXT);
    let mut master = TailReceiver::new(shared.ring());
    let sent = [packet(1, 40), packet(2, 150)];
    assert_eq!(slave.send(&shared, sent.iter().map(Vec::as_slice)), 2);
    let (mut inbox, mut tally) = (Inbox::new(1), Tally::default());
    master.ready(8).unwrap();
    assert_eq!(master.receive(shared.regions(), &mut inbox, &mut tally), Ok(1));
    inbox.room = 2;
    assert_eq!(master.receive(shared.regions(), &mut inbox, &mut tally), Ok(3));
    assert_eq!(inbox.packets, sent);
}

#[test]
fn a_single_descriptor_is_not_written_to() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut master = TailReceiver::new(shared.ring());
    let odd = DescFlags::from_bits_retain(0xFFFE);
    shared.set_desc(0, desc(0, 0, 60, odd));
    shared.set_desc(1, desc(0, 0, 60, odd | DescFlags::NEXT));
    shared.set_desc(2, desc(0, 0, 60, odd));
    shared.set_head(3);
    let (mut inbox, mut tally) = (Inbox::new(8), Tally::default());
    master.receive(shared.regions(), &mut inbox, &mut tally).unwrap();
    assert_eq!(inbox.packets.len(), 2);
    assert!((0..3).all(|index| shared.desc(index).flags == odd), "unknown flags are left alone");
}

/// A master's end, and what it does with a slave that overruns the ring.
struct Victim<'a> {
    shared: &'a MockRegion,
    master: TailReceiver<MockRing<'a>>,
    inbox: Inbox,
    tally: Tally,
    lost: u64,
}

impl<'a> Victim<'a> {
    fn of(shared: &'a MockRegion) -> Self {
        let (master, tally) = (TailReceiver::new(shared.ring()), Tally::default());
        Self { shared, master, inbox: Inbox::new(usize::MAX), tally, lost: 0 }
    }

    /// Receives what is there; resynchronises if it has to.
    fn poll(&mut self) {
        match self.master.receive(self.shared.regions(), &mut self.inbox, &mut self.tally) {
            Ok(_) => {}
            Err(PeerFault::HeadTooFar { .. }) => self.lost += u64::from(self.master.resynchronise().lost),
            Err(fault) => panic!("{fault}"),
        }
    }
}

/// Traffic over overruns; returns how many of the packets that arrived were joined with what follows, and how many were
/// not.
fn traffic_over_overruns(faults: Faults) -> (usize, usize) {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut slave = FaultySender::new(faults);
    let mut victim = Victim::of(&shared);
    let pieces = |sequence: u64| 1 + (sequence * 7 % 3) as usize;
    let sent = |sequence: u64| {
        let mut bytes = packet(sequence as usize, 60 * pieces(sequence));
        bytes[..8].copy_from_slice(&sequence.to_le_bytes());
        bytes
    };
    let (mut next, mut overruns, mut slots) = (0, 0, 0);
    for round in 0..30_000u64 {
        let burst: Vec<_> = (next..next + 1 + round % 7).map(sent).collect();
        let done = slave.send(&shared, burst.iter().map(Vec::as_slice)) as u64;
        slots += (next..next + done).map(|sequence| pieces(sequence) as u64).sum::<u64>();
        next += done;
        overruns += u64::from(slave.has_overrun(&shared));
        if round % 3 > 0 {
            victim.poll();
        }
    }
    for _ in 0..3 {
        victim.poll();
    }
    assert!(overruns > 100, "{overruns} overruns");
    let (mut last, mut received, mut joined) = (None, 0, 0);
    for got in &victim.inbox.packets {
        let sequence = u64::from_le_bytes(got[..8].try_into().unwrap());
        assert!(got.starts_with(&sent(sequence)), "packet {sequence}");
        assert!(last < Some(sequence), "packet {sequence} after {last:?}");
        joined += usize::from(got.len() > sent(sequence).len());
        last = Some(sequence);
        received += pieces(sequence) as u64;
    }
    if joined == 0 {
        assert_eq!(received + victim.lost, slots, "each descriptor was received or counted");
        assert_eq!(victim.tally.dropped(), 0);
    }
    assert!(victim.lost > 0 && received > slots / 10, "{received} received, {} lost of {slots}", victim.lost);
    assert_eq!(shared.ring().tail(), shared.ring().head());
    (joined, victim.inbox.packets.len() - joined)
}

#[test]
fn traffic_goes_on_after_overruns() {
    let (joined, whole) = traffic_over_overruns(Faults::OVERRUN);
    assert!(joined == 0 && whole > 10_000, "{joined} joined, {whole} not");
}

#[test]
fn traffic_goes_on_after_overruns_of_a_slave_that_never_clears_next() {
    // where it may be writing, its flags are left alone
    let (joined, whole) = traffic_over_overruns(Faults::OVERRUN | Faults::STALE_NEXT);
    assert!(joined < whole / 4, "{joined} joined, {whole} not");
}

#[test]
fn what_the_slave_may_be_writing_after_an_overrun_is_left_alone() {
    let shared = MockRegion::laid_out(LINE, 1, 4, 64, 64);
    let mut master = TailReceiver::new(shared.ring());
    (0..16).for_each(|index| shared.set_desc(index, desc(0, 0, 60, DescFlags::NEXT)));
    shared.set_head(20);
    master.ready(16).unwrap_err();
    assert_eq!(master.resynchronise().lost, 20);
    let still: Vec<_> = (20..36).filter(|index| shared.desc(*index).has_next()).collect();
    assert_eq!(still, (20..28).collect::<Vec<_>>(), "the next eight slots");
}

/// A master that has consumed and not returned `consumed` slots, and a slave at `head`.
fn overrun_after(consumed: u16, head: u16, explicit: bool) -> (crate::tail_side::Overrun, u16, u16) {
    let shared = MockRegion::laid_out(LINE, 1, 4, 64, 64);
    let mut master = TailReceiver::new(shared.ring());
    if explicit {
        master = master.with_explicit_return();
    }
    shared.set_head(consumed);
    assert_eq!(master.ready(16), Ok(consumed));
    master.release(consumed);
    shared.set_head(head);
    assert_eq!(master.ready(16), Err(PeerFault::HeadTooFar { head, tail: 0, size: 16 }));
    let overrun = master.resynchronise();
    assert_eq!(master.held(), master.position().wrapping_sub(master.oldest()));
    assert_eq!(shared.ring().tail(), master.oldest());
    assert!(
        head.wrapping_sub(shared.ring().tail()) <= 16,
        "the slave sees that the ring is full, or has room"
    );
    assert_eq!(master.ready(16), Ok(head.wrapping_sub(master.position())), "the same head is good now");
    (overrun, master.oldest(), master.position())
}

#[test]
fn only_slots_that_were_not_consumed_are_lost() {
    use crate::tail_side::Overrun;
    // consumed slots alone are written to: the other 13 are whole
    assert_eq!(overrun_after(4, 17, false), (Overrun { lost: 0, withdrawn: 0 }, 4, 4));
    assert_eq!(overrun_after(4, 20, false), (Overrun { lost: 0, withdrawn: 0 }, 4, 4));
    assert_eq!(overrun_after(4, 21, false), (Overrun { lost: 17, withdrawn: 0 }, 21, 21));
    assert_eq!(overrun_after(0, 17, false), (Overrun { lost: 17, withdrawn: 0 }, 17, 17));
    // back, or on by nearly 2^16
    assert_eq!(overrun_after(4, 3, false), (Overrun { lost: 65535, withdrawn: 0 }, 3, 3));
    // those that the caller keeps stay his as far as they were not written to
    assert_eq!(overrun_after(4, 17, true), (Overrun { lost: 0, withdrawn: 1 }, 1, 4));
    assert_eq!(overrun_after(4, 20, true), (Overrun { lost: 0, withdrawn: 4 }, 4, 4));
    assert_eq!(overrun_after(4, 21, true), (Overrun { lost: 17, withdrawn: 4 }, 21, 21));
    assert_eq!(overrun_after(4, 3, true), (Overrun { lost: 65535, withdrawn: 4 }, 3, 3));
}

#[test]
fn resynchronising_without_an_overrun_loses_nothing() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut slave = FaultySender::new(Faults::empty());
    let mut victim = Victim::of(&shared);
    slave.send(&shared, [&packet(1, 150)[..], &packet(2, 50)]);
    assert_eq!(victim.master.resynchronise(), crate::tail_side::Overrun::default());
    victim.poll();
    assert_eq!(victim.inbox.packets, [packet(1, 150), packet(2, 50)]);
}

#[test]
fn a_chain_without_its_last_piece_costs_that_packet_alone() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut slave = FaultySender::new(Faults::MISSING_LAST_PIECE | Faults::STALE_NEXT);
    let mut victim = Victim::of(&shared);
    let mut broken = 0;
    for round in 0..1000 {
        let burst: Vec<_> =
            (0..4).map(|number| packet(round, 60 + 110 * ((round * 3 + number) % 4))).collect();
        let sent = slave.send(&shared, burst.iter().map(Vec::as_slice));
        let slots: usize = burst[..sent].iter().map(|packet| packet.len().div_ceil(64)).sum();
        broken += usize::from(slots < 8);
        victim.inbox.packets.clear();
        victim.poll();
        victim.poll();
        assert_eq!(victim.inbox.packets, burst[..sent], "round {round}");
    }
    assert_eq!(victim.tally.dropped_for(DropReason::ChainBroken), broken as u64);
    assert_eq!(victim.tally.dropped(), broken as u64);
}

/// One link with a master that has these faults: bursts of packets of one, two and three pieces to a slave of ours that is
/// late now and then, until it refuses the ring or `rounds` are over. Returns how many packets were broken off, and whether
/// it refused.
fn link_of_a_faulty_master(faults: Faults, rounds: usize) -> (u64, bool) {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut slave = HeadReceiver::new(shared.ring(), shared.buffers());
    slave.flush();
    let mut master = FaultySender::new(faults);
    let (mut inbox, mut tally) = (Inbox::new(usize::MAX), Tally::default());
    let mut sent = Vec::new();
    for round in 0..rounds {
        let burst: Vec<_> =
            (0..1 + round % 4).map(|number| packet(round, 60 * (1 + (round * 3 + number) % 3))).collect();
        let done = master.send(&PostedMemory(&shared), burst.iter().map(Vec::as_slice));
        let overran = master.has_overrun(&PostedMemory(&shared));
        if round % 3 > 0 || overran {
            match slave.receive(shared.regions(), &mut inbox, &mut tally) {
                Ok(_) => assert!(!overran),
                Err(fault) => {
                    assert!(overran && matches!(fault, PeerFault::TailTooFar { .. }), "{fault}");
                    assert_eq!(inbox.packets, sent[..inbox.packets.len()]);
                    return (tally.dropped(), true);
                }
            }
        }
        sent.extend(burst.into_iter().take(done));
    }
    while slave.receive(shared.regions(), &mut inbox, &mut tally) != Ok(0) {}
    assert_eq!(inbox.packets, sent);
    assert_eq!(tally.dropped_for(DropReason::ChainBroken), tally.dropped());
    (tally.dropped(), false)
}

#[test]
fn a_master_that_overruns_the_ring_loses_its_link_before_a_wrong_packet_arrives() {
    for faults in [Faults::VPP_25_10, Faults::DPDK_22_11] {
        let (_, refused) = link_of_a_faulty_master(faults, 3000);
        assert!(refused, "{faults:?}");
    }
}

#[test]
fn other_faults_of_masters_cost_the_packets_that_they_broke() {
    assert_eq!(link_of_a_faulty_master(Faults::empty(), 3000), (0, false));
    assert_eq!(link_of_a_faulty_master(Faults::STALE_NEXT, 3000), (0, false), "posting clears NEXT");
    let (broken, refused) = link_of_a_faulty_master(Faults::MISSING_LAST_PIECE | Faults::STALE_NEXT, 3000);
    assert!(broken > 100 && !refused, "{broken}");
}
