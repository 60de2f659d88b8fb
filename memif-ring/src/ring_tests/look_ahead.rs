//! Receivers look at several packets before they copy any, and masters at several buffers: what lies among those, a sink that
//! takes a part of them, and a ring with room for a part of them.

use core::cell::Cell;

use super::*;
use crate::burst::receive_burst;
use crate::shm::SpanMut;
use crate::tuning::RECEIVE_STEP;

/// Packets of two steps and a half.
const MANY: usize = RECEIVE_STEP * 5 / 2;

/// Bytes of packets that a master looks ahead for as well.
const LEN: usize = LOOK_FROM + 11;

/// Rings of 64 slots, and buffers that such a packet fits into.
fn shared() -> MockRegion {
    region(6, 256)
}

/// Takes packets for as long as they have `bytes` bytes at most, and does not say so before.
struct Tight {
    inbox: Inbox,
    bytes: usize,
}

impl PacketSink for Tight {
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        self.bytes = self.bytes.checked_sub(len)?;
        self.inbox.push(len)
    }

    fn room(&self) -> usize {
        self.inbox.room()
    }
}

/// Sends packets of `LEN` bytes, one of them as long as said; returns them.
fn send_with_one<'a, L: Link<'a>>(link: &mut L, shared: &MockRegion, at: usize, len: usize) -> Vec<Vec<u8>> {
    let packets: Vec<_> =
        (0..MANY).map(|number| packet(number, if number == at { len } else { LEN })).collect();
    let all: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    assert_eq!(link.send(shared, &all), Ok(MANY));
    packets
}

fn chain_at_each_place<'a, L: Link<'a>>(shared: &'a MockRegion) {
    let mut link = L::over(shared);
    for at in 0..MANY {
        let sent = send_with_one(&mut link, shared, at, 600);
        let mut inbox = Inbox::new(MANY);
        assert_eq!(link.receive(shared, &mut inbox), Ok(MANY + 2), "chain at {at}");
        assert_eq!(inbox.packets, sent, "chain at {at}");
        link.receive(shared, &mut inbox).unwrap();
    }
}

#[test]
fn a_chain_among_the_packets_looked_at_is_received_in_its_place() {
    chain_at_each_place::<S2m<'_>>(&shared());
    chain_at_each_place::<M2s<'_>>(&shared());
}

fn fault_at_each_place<'a, L: Link<'a>>(shared: &'a MockRegion, bad: Desc, reason: DropReason) {
    let mut link = L::over(shared);
    let mut first = 0u16;
    for at in 0..MANY {
        let mut sent = send_with_one(&mut link, shared, at, LEN);
        shared.set_desc(first.wrapping_add(at as u16), bad);
        sent.remove(at);
        let mut inbox = Inbox::new(MANY);
        assert_eq!(link.receive(shared, &mut inbox), Ok(MANY));
        assert_eq!(inbox.packets, sent, "fault at {at}");
        assert_eq!(link.received().dropped_for(reason), at as u64 + 1);
        link.receive(shared, &mut inbox).unwrap();
        first = first.wrapping_add(MANY as u16);
    }
    assert_eq!(link.received().dropped(), MANY as u64);
}

#[test]
fn a_bad_descriptor_among_those_looked_at_costs_one_packet() {
    for (bad, reason) in [
        (desc(9, 0, 40, LAST), DropReason::UnknownRegion),
        (desc(0, u32::MAX, 40, LAST), DropReason::OutOfRegion),
        (desc(0, 0, u32::MAX, LAST), DropReason::OutOfRegion),
        (desc(0, 0, 0, LAST), DropReason::Empty),
    ] {
        fault_at_each_place::<S2m<'_>>(&shared(), bad, reason);
    }
    for bad in [desc(9, 0, 40, LAST), desc(0, u32::MAX, 40, LAST), desc(0, 0, 0, LAST)] {
        fault_at_each_place::<M2s<'_>>(&shared(), bad, DropReason::BufferChanged);
    }
}

fn sink_full_at_each_place<'a, L: Link<'a>>(
    shared: &'a MockRegion,
    receive: fn(&mut L, &MockRegion, &mut Tight) -> usize,
) {
    let mut link = L::over(shared);
    for taken in 0..=MANY {
        let sent = send_with_one(&mut link, shared, 0, LEN);
        let mut tight = Tight { inbox: Inbox::new(MANY), bytes: LEN * taken };
        assert_eq!(receive(&mut link, shared, &mut tight), taken);
        assert_eq!(tight.inbox.packets, sent[..taken], "{taken} taken");
        tight.bytes = usize::MAX;
        assert_eq!(receive(&mut link, shared, &mut tight), MANY - taken);
        assert_eq!(tight.inbox.packets, sent, "the rest after {taken}");
        receive(&mut link, shared, &mut tight);
    }
    assert_eq!(link.sent(), link.received());
}

#[test]
fn packets_that_a_sink_does_not_take_are_received_later() {
    sink_full_at_each_place::<S2m<'_>>(&shared(), |link, shared, sink| {
        link.master.receive(shared.regions(), sink, &mut link.tallies.1).unwrap()
    });
    sink_full_at_each_place::<M2s<'_>>(&shared(), |link, shared, sink| {
        link.slave.receive(shared.regions(), sink, &mut link.tallies.1).unwrap()
    });
}

#[test]
fn what_was_looked_at_and_not_taken_is_judged_anew() {
    let shared = shared();
    let mut link = S2m::over(&shared);
    let sent = send_with_one(&mut link, &shared, 0, LEN);
    let mut tight = Tight { inbox: Inbox::new(MANY), bytes: LEN * 3 };
    assert_eq!(link.master.receive(shared.regions(), &mut tight, &mut link.tallies.1), Ok(3));
    // the slave turns a good descriptor into a bad one
    shared.set_desc(3, desc(0, u32::MAX, 40, LAST));
    tight.bytes = usize::MAX;
    link.master.receive(shared.regions(), &mut tight, &mut link.tallies.1).unwrap();
    assert_eq!(link.received().dropped_for(DropReason::OutOfRegion), 1);
    assert_eq!(tight.inbox.packets, [&sent[..3], &sent[4..]].concat());
}

#[test]
fn an_unusable_buffer_among_those_looked_at_costs_one_packet() {
    let good = packet(1, LEN);
    let all: Vec<&[u8]> = vec![&good; MANY];
    for at in 0..MANY {
        let shared = shared();
        let mut link = M2s::over(&shared);
        let posted = shared.desc(at as u16);
        shared.set_desc(at as u16, Desc { offset: u32::MAX, ..posted });
        assert_eq!(link.send(&shared, &all), Ok(MANY));
        assert_eq!(link.sent().dropped_for(DropReason::OutOfRegion), 1, "buffer {at}");
        let mut inbox = Inbox::new(MANY);
        link.receive(&shared, &mut inbox).unwrap();
        assert!(
            inbox.packets.len() == MANY - 1 && inbox.packets.iter().all(|got| *got == good),
            "buffer {at}"
        );
    }
}

fn room_for_a_part<'a, L: Link<'a>>(shared: &'a MockRegion) {
    let mut link = L::over(shared);
    let numbered: Vec<_> = (0..MANY).map(|number| packet(number, LEN)).collect();
    let all: Vec<&[u8]> = numbered.iter().map(Vec::as_slice).collect();
    for room in 0..MANY {
        let in_front = 64 - room;
        let mut left = in_front;
        while left > 0 {
            left -= link.send(shared, &all[..left.min(MANY)]).unwrap();
        }
        assert_eq!(link.send(shared, &all), Ok(room));
        let mut inbox = Inbox::new(64);
        link.receive(shared, &mut inbox).unwrap();
        assert_eq!(inbox.packets[in_front..], numbered[..room], "room for {room}");
        link.receive(shared, &mut inbox).unwrap();
    }
}

#[test]
fn a_ring_with_room_for_a_part_takes_that_part() {
    room_for_a_part::<S2m<'_>>(&shared());
    room_for_a_part::<M2s<'_>>(&shared());
}

#[test]
fn a_receiver_reads_no_more_descriptors_than_its_sink_has_room_for_and_the_next() {
    let shared = shared();
    let mut link = S2m::over(&shared);
    send_with_one(&mut link, &shared, 0, LEN);
    for room in 1..MANY {
        let read = Cell::new(0);
        let resolve = |_, desc: &Desc| {
            read.set(read.get() + 1);
            shared.regions().lookup(desc.region, desc.offset, desc.length).map(SpanMut::into_span)
        };
        let mut inbox = Inbox::new(room);
        let (until, mut tally) = (MANY as u16, Tally::default());
        let taken =
            receive_burst(link.master.ring(), 0, until, resolve, |_, _, _| {}, &mut inbox, &mut tally);
        assert_eq!((usize::from(taken), inbox.packets.len()), (room, room));
        assert!(read.get() <= room + 1, "{} for {room}", read.get());
    }
}

fn bursts_across_the_wrap<'a, L: Link<'a>>(shared: &'a MockRegion) {
    let mut link = L::over(shared);
    // more than 65,536 descriptors, in bursts that begin anywhere in a step
    for round in 0..2 * 65_536 / MANY {
        let sent = send_with_one(&mut link, shared, round % MANY, 60);
        let mut inbox = Inbox::new(MANY);
        link.receive(shared, &mut inbox).unwrap();
        assert!(inbox.packets == sent, "round {round}");
        link.receive(shared, &mut inbox).unwrap();
    }
}

#[test]
fn steps_cross_the_end_of_the_ring_and_of_the_indices() {
    bursts_across_the_wrap::<S2m<'_>>(&shared());
    bursts_across_the_wrap::<M2s<'_>>(&shared());
}
