//! VPP of 25.10, DPDK of 22.11 and gomemif as they are, in both roles: links come up and stay, or come back at once, and no
//! packet arrives that was not sent. Beside them a hostile peer that uses what is forgiven to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::time::Duration;

use common::{PATIENCE, check, packet, until};
use hostile_peer::field::{ALL, FieldPeer, GOMEMIF};
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::{Arena, How, VICTIM, meanwhile};
use memif_pmd::{Burst, DropReason, FaultKind, RxMode, RxQueue};
use memif_ring::layout::{Desc, DescFlags, RingFlags};
use memif_ring::message::Direction;
use memif_ring::mock::{FaultySender, SenderMemory};

/// The length of packet `sequence`: of one, one, two or five pieces.
fn length(sequence: u64) -> usize {
    [64, 1514, 3000, 9000][usize::try_from(sequence * 7 / 3 % 4).unwrap()]
}

/// The packets of a peer's traffic, as they are sent and as they arrive.
#[derive(Default)]
struct Traffic {
    next: u64,
    arrived: u64,
    /// Packets that were joined with what follows.
    joined: u64,
    expected: u64,
    overruns: u64,
}

impl Traffic {
    /// A burst from the peer.
    fn send(&mut self, round: u64, sender: &mut FaultySender, memory: &impl SenderMemory) {
        let numbers = self.next..=self.next + round % 7;
        let burst: Vec<_> = numbers.map(|number| packet(length(number), number)).collect();
        self.next += sender.send(memory, burst.iter().map(Vec::as_slice)) as u64;
        self.overruns += u64::from(sender.has_overrun(memory));
    }

    /// What is there, in order, and nothing that was not sent.
    fn receive(&mut self, rx: &mut RxQueue) {
        for got in How::Copy.all(rx) {
            let sequence = u64::from_le_bytes(*got.first_chunk().unwrap());
            assert!(sequence >= self.expected && sequence < self.next, "packet {sequence}");
            let (whole, rest) = got.split_at(length(sequence));
            check(whole, sequence);
            self.joined += u64::from(!rest.is_empty());
            self.arrived += 1;
            self.expected = sequence + 1;
        }
    }
}

fn a_slave_in_the_field(peer: &FieldPeer) {
    let mut arena = Arena::master();
    let slave = peer.slave(&arena.socket);
    let mut rx = arena.victim.rx(0).unwrap();
    let (mut sender, mut traffic) = (FaultySender::new(peer.faults), Traffic::default());
    for round in 0..400 {
        traffic.send(round, &mut sender, &slave.memory);
        if round % 4 > 0 {
            traffic.receive(&mut rx);
        }
    }
    traffic.receive(&mut rx);
    let Traffic { next, arrived, joined, overruns, .. } = traffic;
    assert!(joined < arrived / 4 && arrived > next / 4, "{peer:?}: {arrived} of {next}, {joined} joined");
    if peer.faults.is_empty() {
        assert_eq!((arrived, rx.stats().dropped()), (next, 0));
    } else {
        assert!(overruns > 20 && arena.drops(DropReason::Overrun) > 20, "{peer:?}: {overruns}");
    }
    assert!(arena.victim.is_up());
    assert_eq!((arena.details().connects, arena.all_faults()), (1, 0));
    arena.bystander.moves_on();
    drop((slave, rx));
    arena.unharmed_master();
}

#[test]
fn links_with_slaves_in_the_field_stay_whatever_their_senders_do() {
    ALL.iter().for_each(a_slave_in_the_field);
}

/// The peer's links, each up to its sender's first overrun.
fn a_master_in_the_field(peer: &FieldPeer) {
    const LINKS: u64 = 4;
    let (arena, listener) = Arena::slave_with(|b| b.reconnect(Duration::from_secs(86_400)));
    let mut rx = arena.victim.rx(0).unwrap();
    let mut traffic = Traffic::default();
    for link in 1..=LINKS {
        let master = peer.master(&listener);
        until("the link", || arena.details().connects == link && rx.is_up());
        // it posts its buffers
        traffic.receive(&mut rx);
        let (mut sender, overruns) = (FaultySender::new(peer.faults), traffic.overruns);
        for round in 0..400 {
            traffic.send(round, &mut sender, &master);
            if traffic.overruns > overruns {
                break;
            }
            traffic.receive(&mut rx);
        }
        if traffic.overruns > overruns {
            // what was published before may have been overwritten: nothing of it is received
            assert_eq!(rx.receive(&mut Burst::new(64).unwrap()), 0);
            until("the end of the link", || arena.faults(FaultKind::TailTooFar) == traffic.overruns);
        }
        traffic.expected = traffic.next;
    }
    assert_eq!(traffic.overruns, if peer.faults.is_empty() { 0 } else { LINKS });
    assert_eq!((traffic.joined, arena.all_faults()), (0, traffic.overruns));
    assert!(traffic.arrived > 20, "{peer:?}: {}", traffic.arrived);
    arena.bystander.finish();
}

#[test]
fn slaves_have_masters_in_the_field_again_at_once_after_each_overrun() {
    ALL.iter().for_each(a_master_in_the_field);
}

#[test]
fn a_slave_that_masks_its_own_ring_wakes_a_sleeper() {
    let arena = Arena::master_with(|builder| builder.rx_mode(RxMode::Interrupt));
    let slave = GOMEMIF.slave(&arena.socket);
    let mut rx = arena.victim.rx(0).unwrap();
    until("the mask's end", || slave.s2m().flags() & RingFlags::MASK_INT.bits() == 0);
    slave.s2m().publish([slave.memory.packet(0, 1514, 1)]);
    let event = slave.event(Direction::S2M);
    rustix::io::write(event, &1u64.to_ne_bytes()).unwrap();
    assert!(rx.wait(Some(PATIENCE)).unwrap());
    check(&How::Copy.all(&mut rx)[0], 1);
    drop((slave, rx));
    arena.unharmed_master();
}

#[test]
fn a_slave_that_overruns_all_the_time_gets_no_more_than_a_ring_a_call() {
    let mut arena = Arena::master();
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    let mut rx = arena.victim.rx(0).unwrap();
    let flags = [DescFlags::empty(), DescFlags::NEXT];
    let mischief = |random: &mut common::Random| {
        let index = u16::try_from(random.range(0, 15)).unwrap();
        let desc = slave.memory.slot(Direction::S2M, index);
        slave.s2m().set_desc(index, Desc { flags: flags[random.range(0, 1)], ..desc });
        // up to a burst beyond the ring, as honest ones do, or anywhere
        let (tail, far) = (slave.s2m().tail(), random.range(0, 7) == 0);
        let ahead = u16::try_from(random.range(1, if far { 65_535 } else { 80 })).unwrap();
        slave.s2m().set_head(tail.wrapping_add(ahead));
    };
    let (size, mut burst) = (16, Burst::new(64).unwrap());
    let calls = meanwhile(mischief, 11, || {
        let mut calls = 0u64;
        while calls < 20_000 && rx.is_up() {
            let before = rx.stats();
            let got = if calls.is_multiple_of(2) {
                burst.clear();
                rx.receive(&mut burst)
            } else {
                let peeked = rx.peek(64);
                let count = peeked.len();
                peeked.release(count);
                count
            };
            let broken =
                rx.stats().drops_for(DropReason::ChainBroken) - before.drops_for(DropReason::ChainBroken);
            assert!(
                got <= size && broken <= size as u64,
                "{got} packets and {broken} broken ones of one call"
            );
            calls += 1;
        }
        calls
    });
    assert!(calls > 0);
    arena.bystander.moves_on();
    drop((slave, rx));
    arena.unharmed_master();
}
