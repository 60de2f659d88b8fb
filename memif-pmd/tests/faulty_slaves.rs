//! Honest slaves with the known faults of peers in the field: links stay up, what arrives is right, what is lost is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use common::{PATIENCE, check, packet, until};
use hostile_peer::memory::Memory;
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::wire::Wire;
use hostile_peer::{Arena, How, VICTIM};
use memif_pmd::{DropReason, RxMode, RxQueue};
use memif_ring::layout::{Desc, DescFlags, RingFlags};
use memif_ring::message::MessageKind;
use memif_ring::mock::{Faults, FaultySender};

/// Bytes of a buffer.
const BUFFER: usize = 2048;

/// The length of packet `sequence`: of one, one, two or five pieces.
fn length(sequence: u64) -> usize {
    [64, 1514, 3000, 9000][usize::try_from(sequence * 7 / 3 % 4).unwrap()]
}

fn pieces(sequence: u64) -> u64 {
    length(sequence).div_ceil(BUFFER) as u64
}

/// What arrives on a queue: packets in order, and nothing that was not sent.
#[derive(Default)]
struct Arrived {
    packets: u64,
    descriptors: u64,
    /// Packets that were joined with what follows.
    joined: u64,
    next: u64,
}

impl Arrived {
    fn take(&mut self, how: How, rx: &mut RxQueue) {
        for got in how.all(rx) {
            let sequence = u64::from_le_bytes(*got.first_chunk().unwrap());
            assert!(sequence >= self.next, "packet {sequence} after {}", self.next);
            let (whole, rest) = got.split_at(length(sequence));
            check(whole, sequence);
            self.joined += u64::from(!rest.is_empty());
            self.packets += 1;
            self.descriptors += pieces(sequence);
            self.next = sequence + 1;
        }
    }
}

/// Bursts of mixed sizes from a slave with these faults, to a receiver that is late now and then.
fn mixed_sizes(faults: Faults, how: How) {
    let mut arena = Arena::master();
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    let mut rx = arena.victim.rx(0).unwrap();
    let mut sender = FaultySender::new(faults);
    let (mut next, mut descriptors, mut overruns, mut broken) = (0, 0, 0, 0);
    let mut arrived = Arrived::default();
    for round in 0..600u64 {
        let burst: Vec<_> = (next..=next + round % 7).map(|number| packet(length(number), number)).collect();
        let before = slave.s2m().head();
        let sent = sender.send(&slave.memory, burst.iter().map(Vec::as_slice)) as u64;
        let whole: u64 = (next..next + sent).map(pieces).sum();
        let published = u64::from(slave.s2m().head().wrapping_sub(before));
        broken += u64::from(published > whole);
        (next, descriptors) = (next + sent, descriptors + whole);
        overruns += u64::from(sender.has_overrun(&slave.memory));
        if round % 4 > 0 || faults.contains(Faults::MISSING_LAST_PIECE) {
            arrived.take(how, &mut rx);
        }
    }
    arrived.take(how, &mut rx);
    assert_eq!(overruns > 20, faults.contains(Faults::OVERRUN), "{overruns} overruns");
    assert_eq!(broken > 10, faults.contains(Faults::MISSING_LAST_PIECE), "{broken} broken chains");
    if faults == Faults::OVERRUN | Faults::STALE_NEXT {
        // flags are left alone where the slave may be writing
        assert!(arrived.joined < arrived.packets / 4, "{} of {}", arrived.joined, arrived.packets);
    } else {
        assert_eq!(arrived.joined, 0);
        assert_eq!(
            arrived.descriptors + arena.drops(DropReason::Overrun),
            descriptors,
            "received, or counted"
        );
        assert_eq!(arena.drops(DropReason::ChainBroken), broken);
        assert_eq!(rx.stats().dropped(), broken + arena.drops(DropReason::Overrun));
    }
    assert!(arrived.packets > next / 4, "{} of {next} packets arrived", arrived.packets);
    assert!(arena.victim.is_up());
    assert_eq!((arena.details().connects, arena.all_faults()), (1, 0));
    arena.bystander.moves_on();
    drop((slave, rx));
    arena.unharmed_master();
}

#[test]
fn packets_arrive_from_a_slave_by_the_book() {
    How::ALL.into_iter().for_each(|how| mixed_sizes(Faults::empty(), how));
}

#[test]
fn packets_arrive_from_a_slave_that_overruns_the_ring() {
    How::ALL.into_iter().for_each(|how| mixed_sizes(Faults::OVERRUN, how));
}

#[test]
fn packets_arrive_from_a_slave_that_never_clears_next() {
    How::ALL.into_iter().for_each(|how| mixed_sizes(Faults::STALE_NEXT, how));
}

#[test]
fn packets_arrive_from_a_slave_that_overruns_the_ring_and_never_clears_next() {
    How::ALL.into_iter().for_each(|how| mixed_sizes(Faults::OVERRUN | Faults::STALE_NEXT, how));
}

#[test]
fn packets_arrive_from_a_slave_that_leaves_last_pieces_out() {
    let faults = Faults::MISSING_LAST_PIECE | Faults::STALE_NEXT;
    How::ALL.into_iter().for_each(|how| mixed_sizes(faults, how));
}

/// Connects with what `spoil` changes beforehand.
fn connect(arena: &Arena, spoil: impl FnOnce(&mut ScriptedSlave)) -> ScriptedSlave {
    let mut slave = ScriptedSlave::unconnected(Wire::connect(&arena.socket), VICTIM, Memory::new(4, 2048));
    slave.wire.expect(MessageKind::Hello);
    spoil(&mut slave);
    slave.run(Step::Hello, Step::Up);
    slave
}

#[test]
fn interrupts_that_the_sender_has_masked_are_wanted_all_the_same() {
    let arena = Arena::master_with(|builder| builder.rx_mode(RxMode::Interrupt));
    let slave = connect(&arena, |slave| slave.s2m().set_flags(RingFlags::MASK_INT.bits()));
    let mut rx = arena.victim.rx(0).unwrap();
    until("the mask's end", || slave.s2m().flags() == 0);
    slave.s2m().publish([slave.memory.packet(0, 1514, 1)]);
    assert!(rx.wait(Some(PATIENCE)).unwrap());
    check(&How::Copy.all(&mut rx)[0], 1);
    drop((slave, rx));
    arena.unharmed_master();
}

#[test]
fn padding_may_hold_anything() {
    let arena = Arena::master();
    let slave = connect(&arena, |slave| slave.wire.padding = 0xA5);
    let mut rx = arena.victim.rx(0).unwrap();
    let padded = |index: u16| Desc {
        flags: DescFlags::from_bits_retain(0xFFFE),
        metadata: u32::MAX,
        ..slave.memory.packet(index, 1514, index.into())
    };
    for head in 0..50 {
        slave.s2m().publish([padded(head)]);
        let got = How::ALL[usize::from(head % 2)].all(&mut rx);
        assert_eq!(got.len(), 1);
        check(&got[0], head.into());
    }
    drop((slave, rx));
    arena.unharmed_master();
}

#[test]
fn slots_that_a_program_keeps_over_an_overrun_are_posted_once() {
    let arena = Arena::master_with(|builder| builder.explicit_posting().buffer_size(2048));
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    let mut rx = arena.victim.rx(0).unwrap();
    let take = |rx: &mut RxQueue| {
        let mut packets = Vec::new();
        rx.raw().take(64, |_, buffer| {
            let mut bytes = vec![0; buffer.span.len()];
            buffer.span.read_at(0, &mut bytes);
            packets.push(bytes);
        });
        packets
    };
    let publish = |range: std::ops::Range<u16>| {
        slave.s2m().publish(range.map(|index| slave.memory.packet(index, 64, index.into())));
    };
    publish(0..5);
    assert_eq!(take(&mut rx).len(), 5);
    // over two of the five, which the program does not hold any more
    publish(5..18);
    assert!(take(&mut rx).is_empty());
    assert_eq!((slave.s2m().tail(), rx.raw().held(), rx.raw().to_return()), (2, 5, 5));
    assert_eq!(rx.raw().position_of(2), Some(2));
    assert_eq!(take(&mut rx).len(), 11, "never more than the ring has");
    assert_eq!(rx.raw().post(1, 0), 1);
    assert_eq!(slave.s2m().tail(), 2, "nothing is posted for a slot that is not held");
    assert_eq!(rx.raw().post(4, 0), 4);
    assert_eq!(slave.s2m().tail(), 5);
    assert_eq!(take(&mut rx).len(), 2);
    assert_eq!((rx.raw().to_return(), arena.drops(DropReason::Overrun)), (13, 0));
    // over all that it has, and more
    publish(18..35);
    assert!(take(&mut rx).is_empty());
    assert_eq!((slave.s2m().tail(), rx.raw().to_return(), arena.drops(DropReason::Overrun)), (35, 13, 17));
    publish(35..40);
    let got = take(&mut rx);
    assert_eq!(got.len(), 3);
    got.iter().zip(35..).for_each(|(bytes, sequence)| check(bytes, sequence));
    assert_eq!(rx.raw().post_in_lots(14, 0), 14);
    assert_eq!((slave.s2m().tail(), rx.raw().to_return()), (35, 2), "one slot is owed, and two are kept");
    assert_eq!(rx.raw().post(u16::MAX, 0), 3);
    assert_eq!((slave.s2m().tail(), rx.raw().to_return()), (38, 0));
    assert!(arena.victim.is_up());
    drop((slave, rx));
    arena.unharmed_master();
}
