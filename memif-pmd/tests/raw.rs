//! Queues whose buffers stay with the program: taken and posted, claimed and published, exchanged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use common::packet_memory::{BUFFER, master};
use common::{PATIENCE, Pair, address, check, packet, receive_all, until};
use hostile_peer::memory::next;
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::{Arena, VICTIM};
use memif_os::huge_pages::HugePages;
use memif_pmd::raw::Filled;
use memif_pmd::{Burst, DropReason, Memif, RxQueue, TxQueue};
use memif_ring::layout::Desc;

/// Both directions of a link whose receivers keep what they take.
fn both_ways(ring: u32, buffer: u32, test: impl Fn(&mut TxQueue, &mut RxQueue)) {
    let pair = Pair::of(|builder| builder.explicit_posting().ring_size(ring).buffer_size(buffer));
    pair.slave.rx(0).unwrap().raw().post(u16::MAX, 0);
    for (mut tx, mut rx) in [pair.s2m(), pair.m2s()] {
        test(&mut tx, &mut rx);
    }
}

/// Sends packets of this length.
fn send(tx: &mut TxQueue, numbers: std::ops::Range<u64>, len: usize) {
    let mut burst = Burst::new(64).unwrap();
    numbers.for_each(|number| burst.push(&packet(len, number)).unwrap());
    until("room", || {
        tx.send(&mut burst);
        burst.is_empty()
    });
}

/// Takes up to `max` buffers; the bytes of each, with its index.
fn take(rx: &mut RxQueue, max: usize) -> Vec<(u16, Vec<u8>)> {
    let mut buffers = Vec::new();
    let taken = rx.raw().take(max, |number, buffer| {
        buffers.truncate(number);
        let mut bytes = vec![0; buffer.span.len()];
        buffer.span.read_at(0, &mut bytes);
        buffers.push((buffer.index, bytes));
    });
    buffers.truncate(taken.buffers);
    buffers
}

#[test]
fn taken_buffers_stay_until_they_are_posted() {
    both_ways(16, 2048, |tx, rx| {
        for round in 0..3000 {
            send(tx, 3 * round..3 * round + 3, 60);
            let mut taken = Vec::new();
            until("three", || {
                taken.extend(take(rx, 2));
                taken.len() == 3
            });
            taken.iter().zip(3 * round..).for_each(|((_, bytes), number)| check(bytes, number));
            let positions: Vec<_> = taken.iter().map(|(index, _)| rx.raw().position_of(*index)).collect();
            assert_eq!(positions, [Some(0), Some(1), Some(2)]);
            assert_eq!(rx.raw().held(), 3);
            assert_eq!((rx.raw().post(1, 0), rx.raw().position_of(taken[0].0)), (1, None));
            assert_eq!((rx.raw().position_of(taken[1].0), rx.raw().post(9, 0)), (Some(0), 2));
        }
    });
}

#[test]
fn slots_posted_in_lots_are_never_more_than_the_program_has() {
    both_ways(1024, 2048, |tx, rx| {
        send(tx, 0..4, 60);
        until("four", || rx.raw().take(4, |_, _| ()).buffers == 4);
        assert_eq!(rx.raw().post_in_lots(100, 0), 4);
        assert_eq!(rx.raw().post_in_lots(100, 0), 0);
        send(tx, 4..68, 60);
        until("64", || rx.raw().take(64, |_, _| ()).buffers == 64);
        // nothing left to take: the four go back, and not what the program is reading
        assert_eq!(rx.raw().take(64, |_, _| ()).buffers, 0);
        assert_eq!(rx.raw().held(), 64);
        assert_eq!((rx.raw().post_in_lots(64, 0), rx.raw().post_in_lots(1, 0)), (64, 0));
        assert_eq!((rx.raw().take(1, |_, _| ()).buffers, rx.raw().held()), (0, 0));
    });
}

#[test]
fn a_packet_that_is_taken_in_parts_counts_all_its_bytes_once() {
    both_ways(32, 256, |tx, rx| {
        for round in 1..=20 {
            send(tx, 0..1, 1200); // five buffers
            send(tx, 1..2, 100);
            for part in [2, 2, 1] {
                let mut next = Vec::new();
                let visit = |next: &mut Vec<_>, rx: &mut RxQueue| {
                    next.clear();
                    rx.raw().take(2, |_, buffer| next.push(buffer.next)).buffers
                };
                until("a part", || visit(&mut next, rx) > 0);
                // the next packet is whole, and comes with the last part
                assert_eq!(next, if part == 2 { [true, true] } else { [false, false] });
            }
            assert_eq!((rx.stats().packets, rx.stats().bytes), (2 * round, 1300 * round));
            assert_eq!(rx.raw().post(u16::MAX, 0), 6);
        }
        assert_eq!(rx.stats().dropped(), 0);
    });
}

#[test]
fn a_packet_that_grows_while_it_is_taken_in_parts_is_dropped() {
    let arena = Arena::master_with(|builder| builder.id(VICTIM).explicit_posting());
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    let mut rx = arena.victim.rx(0).unwrap();
    let (ring, good) = (slave.s2m(), slave.memory.packet(2, 2000, 0));
    for (times, length) in [(1, 61_600), (2, 61_536), (3, 65_535)] {
        let first = ring.head();
        let piece = |ahead| slave.memory.packet(first.wrapping_add(ahead), 2000, 0);
        ring.publish([next(piece(0)), next(piece(1)), good]);
        until("the first part", || rx.raw().take(2, |_, _| ()).buffers == 2);
        // with the first part it is more than a packet may have
        ring.set_desc(first.wrapping_add(2), Desc { offset: 0, length, ..good });
        assert_eq!(rx.raw().take(2, |_, _| ()).buffers, 0);
        assert_eq!(rx.stats().drops_for(DropReason::Oversized), times);
        assert_eq!((rx.raw().post(2, 0), rx.stats().packets), (3, 0));
    }
    let first = ring.head();
    let piece = |ahead| slave.memory.packet(first.wrapping_add(ahead), 2000, 0);
    ring.publish([next(piece(0)), next(piece(1)), good]);
    until("the first part", || rx.raw().take(2, |_, _| ()).buffers == 2);
    ring.set_desc(first.wrapping_add(2), Desc { offset: 0, length: 61_535, ..good });
    assert_eq!(rx.raw().take(2, |_, _| ()).buffers, 1);
    assert_eq!((rx.stats().packets, rx.stats().bytes), (1, 65_535));
    drop(rx);
    drop(slave);
    arena.bystander.finish();
}

#[test]
fn claimed_buffers_are_sent_as_described() {
    both_ways(16, 256, |tx, rx| {
        for round in 0..500 {
            until("six buffers", || {
                rx.raw().post(u16::MAX, 0);
                tx.raw().claimable(6) >= 6
            });
            let bytes = packet(600, 2 * round);
            let claimed = tx.raw().claim(6, |number, mut buffer| {
                buffer.span.write_at(0, bytes.get(256 * number..).unwrap_or_default());
            });
            assert_eq!((claimed, tx.raw().claimed()), (6, 6));
            tx.raw().unclaim(4);
            // the fourth goes on in one that is not among them: it stays
            let lengths = [(256, true), (256, true), (88, false), (60, true)];
            let sent = tx.raw().publish(9, |number, _| {
                let (len, next) = lengths[number];
                Some(Filled { start: 0, len, next })
            });
            assert_eq!((sent, tx.raw().claimed()), (3, 1));
            assert_eq!(tx.raw().publish(1, |_, _| Some(Filled { start: 200, len: 57, next: false })), 0);
            assert_eq!(tx.raw().publish(1, |_, _| None), 0);
            tx.raw().unclaim(0);
            let mut burst = Burst::new(4).unwrap();
            until("the packet", || rx.receive(&mut burst) == 1);
            check(burst.get(0).unwrap(), 2 * round);
            assert_eq!(burst.get(0).unwrap().len(), 600);
        }
    });
}

#[test]
fn slots_are_posted_on_request_and_without_their_headroom() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().explicit_posting().open().unwrap();
    let slave = memif.interface(&socket).ring_size(16).explicit_posting().huge_pages(HugePages::Off);
    let slave = slave.open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    let (mut tx, mut rx) = (master.tx(0).unwrap(), slave.rx(0).unwrap());
    let mut burst = Burst::new(16).unwrap();
    while burst.push(&packet(BUFFER as usize - 100, 1)).is_ok() {}
    assert_eq!(tx.send(&mut burst), 0);
    assert_eq!((rx.raw().held(), rx.raw().post(6, 100), rx.raw().held()), (16, 6, 10));
    assert_eq!(tx.send(&mut burst), 6);
    let peeked = rx.peek(16);
    assert_eq!(peeked.len(), 6);
    assert!(peeked.iter().all(|packet| packet.bytes() == BUFFER as usize - 100));
    peeked.release(6);
    assert_eq!((rx.raw().held(), rx.peek(16).len(), tx.send(&mut burst)), (16, 0, 0));
    assert!(rx.raw().swap(0, 15) && !rx.raw().swap(0, 16));
    assert_eq!(rx.raw().post(u16::MAX, 0), 16);
    assert_eq!(tx.send(&mut burst), 10);

    let mut back = tx;
    // the other way: the slave says where packets begin, the master when its slots are free again
    let (mut tx, mut rx) = (slave.tx(0).unwrap(), master.rx(0).unwrap());
    let mut room = tx.reserve(16, 2048);
    assert_eq!(room.len(), 16);
    for index in 0..16 {
        assert_eq!(room.span(index).unwrap().write_at(28, &packet(60, index as u64)), 60);
        assert!(room.set_range(index, 28, 60));
    }
    room.commit(16);
    receive_all(&mut rx, 0..16);
    assert_eq!((rx.raw().held(), tx.reserve(1, 2048).len()), (16, 0));
    assert_eq!((rx.raw().post(5, 0), tx.reserve(16, 2048).len()), (5, 5));
    let mut room = back.reserve(1, 2048);
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
    rx.raw().post(16, 0);
    let mut burst = Burst::new(16).unwrap();
    for number in 0..3 {
        burst.push(&packet(200, number)).unwrap();
    }
    assert_eq!(out.send(&mut burst), 3);
    let peeked = rx.peek(16);
    peeked.release(3);
    for slot in 0..3 {
        assert!(rx.raw().swap_with_tx(slot, &mut tx.raw(), slot));
    }
    assert!(!rx.raw().swap_with_tx(3, &mut tx.raw(), 0), "the peer has it");
    assert!(tx.raw().swap(4, 5) && !tx.raw().swap(4, 16));
    let mut room = tx.reserve(3, 2048);
    (0..3).for_each(|index| room.set_len(index, 200));
    room.commit(3);
    receive_all(&mut back, 0..3);
}
