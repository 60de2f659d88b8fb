//! Packets of all sizes through rings of all sizes, copied and in place, in both roles: always whole and in order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, Pair, Random, check, exchange, fill, packet, receive_all, until};
use memif_pmd::{Burst, DropReason, RxMode, RxQueue, TxQueue};

/// Pairs with such rings and buffers, and both directions of each.
fn both_ways(ring: u32, buffer: u32, mut test: impl FnMut(&mut TxQueue, &mut RxQueue)) {
    let pair = Pair::with(|builder| builder, |builder| builder.ring_size(ring).buffer_size(buffer));
    for (mut tx, mut rx) in [pair.s2m(), pair.m2s()] {
        test(&mut tx, &mut rx);
        let (sent, received) = (tx.stats(), rx.stats());
        assert_eq!((sent.packets, sent.bytes), (received.packets, received.bytes));
        assert_eq!(sent.dropped() + received.dropped(), 0);
    }
}

#[test]
fn every_length_arrives() {
    both_ways(64, 2048, |tx, rx| exchange((tx, rx), 0..300, 1..=65535));
}

#[test]
fn chained_packets_wrap_around_the_ring() {
    // an odd number of buffers a packet: a chain begins at every slot of the ring
    both_ways(16, 128, |tx, rx| exchange((tx, rx), 0..500, 300..=384));
    both_ways(16, 64, |tx, rx| exchange((tx, rx), 0..2000, 1..=16 * 64));
}

#[test]
fn a_packet_can_fill_the_whole_ring() {
    both_ways(32, 2048, |tx, rx| exchange((tx, rx), 0..20, 65535..=65535));
    both_ways(1024, 64, |tx, rx| exchange((tx, rx), 0..20, 65535..=65535));
    both_ways(2, 65535, |tx, rx| exchange((tx, rx), 0..20, 65535..=65535));
}

#[test]
fn a_packet_larger_than_the_ring_is_dropped_and_counted() {
    let pair = Pair::with(|builder| builder, |builder| builder.ring_size(8).buffer_size(64));
    for (mut tx, mut rx) in [pair.s2m(), pair.m2s()] {
        let mut burst = Burst::new(3).unwrap();
        burst.push(&packet(100, 0)).unwrap();
        burst.push(&packet(8 * 64 + 1, 99)).unwrap();
        burst.push(&packet(200, 1)).unwrap();
        let mut received = Burst::new(3).unwrap();
        // a packet that is too large is known to be once the whole ring is free
        until("the burst to go", || {
            tx.send(&mut burst);
            rx.receive(&mut received);
            burst.is_empty() && received.len() == 2
        });
        received.iter().zip(0..).for_each(|(got, number)| check(got, number));
        assert_eq!((tx.stats().packets, tx.stats().drops_for(DropReason::TooLarge)), (2, 1));
        assert_eq!(tx.stats().dropped(), 1);
        assert_eq!(
            tx.stats().drops().filter(|(_, count)| *count > 0).collect::<Vec<_>>(),
            [("too_large", 1)]
        );
    }
}

#[test]
fn packets_that_do_not_fit_stay_in_the_burst() {
    let pair = Pair::with(|builder| builder, |builder| builder.ring_size(8));
    for (mut tx, mut rx) in [pair.s2m(), pair.m2s()] {
        let mut burst = Burst::new(20).unwrap();
        for number in 0..20 {
            burst.push(&packet(60, number)).unwrap();
        }
        until("a full ring", || {
            tx.send(&mut burst);
            burst.len() == 12
        });
        assert_eq!(tx.send(&mut burst), 0);
        assert!(tx.stats().ring_full >= 2);
        // 20 where the peer has posted nothing yet
        assert!((12..=20).contains(&tx.stats().refused_at_once));
        assert_eq!(burst.len(), 12);
        check(burst.get(0).unwrap(), 8);
        receive_all(&mut rx, 0..8);
        until("room", || tx.send(&mut burst) > 0);
        until("the rest", || {
            tx.send(&mut burst);
            let mut some = Burst::new(20).unwrap();
            rx.receive(&mut some);
            some.iter().any(|got| got == packet(60, 19))
        });
    }
}

/// More packets than an index counts, between two threads.
fn wraps(pair: (TxQueue, RxQueue), numbers: std::ops::Range<u64>) {
    let (mut tx, mut rx) = pair;
    let end = numbers.end;
    let sender = thread::spawn(move || {
        let mut burst = Burst::new(32).unwrap();
        let mut number = 0;
        let deadline = Instant::now() + 2 * PATIENCE;
        while number < end || !burst.is_empty() {
            while number < end {
                let Ok(bytes) = burst.reserve(64) else { break };
                fill(bytes, number);
                number += 1;
            }
            if tx.send(&mut burst) == 0 {
                assert!(Instant::now() < deadline);
                thread::yield_now();
            }
        }
        tx
    });
    receive_all(&mut rx, numbers);
    let tx = sender.join().unwrap();
    assert_eq!((tx.stats().packets, rx.stats().packets), (end, end));
}

#[test]
fn indices_wrap_many_times() {
    let pair = Pair::with(|builder| builder, |builder| builder.ring_size(32).buffer_size(64));
    wraps(pair.s2m(), 0..210_000);
    wraps(pair.m2s(), 0..210_000);
}

/// Sends a packet in place, in as many buffers as it takes; false when there is no room.
fn send_in_place(tx: &mut TxQueue, bytes: &[u8], buffer: usize) -> bool {
    let wanted = bytes.len().div_ceil(buffer);
    let mut reserved = tx.reserve(wanted, 2048);
    if reserved.len() < wanted {
        return false; // dropping it sends nothing
    }
    for (index, part) in bytes.chunks(buffer).enumerate() {
        assert_eq!(reserved.span(index).unwrap().len(), buffer);
        assert_eq!(reserved.fill(index, part), part.len());
        if index + 1 < wanted {
            reserved.chain(index);
        }
    }
    assert_eq!(reserved.fill(wanted, b"no such buffer"), 0);
    reserved.commit(wanted);
    true
}

#[test]
fn packets_are_sent_and_received_in_place_in_both_roles() {
    both_ways(16, 256, |tx, rx| {
        let mut random = Random::new(3);
        let (mut number, mut expected) = (0, 0);
        let end = Instant::now() + PATIENCE;
        while expected < 3000 {
            assert!(Instant::now() < end);
            let len = Random::new(number).range(1, 16 * 256);
            if number < 3000 && send_in_place(tx, &packet(len, number), 256) {
                number += 1;
            }
            let peeked = rx.peek(random.range(1, 4));
            let some = random.range(0, peeked.len());
            for (pieces, number) in peeked.iter().zip(expected..) {
                let mut bytes = vec![0; pieces.bytes()];
                assert_eq!(pieces.clone().map(|span| span.len()).sum::<usize>(), bytes.len());
                assert_eq!(pieces.copy_to(&mut bytes), bytes.len());
                check(&bytes, number);
            }
            // some of them stay, to be seen again
            peeked.release(some);
            expected += some as u64;
        }
        assert!(rx.peek(1).is_empty());
    });
}

#[test]
fn copied_and_in_place_packets_mix() {
    both_ways(32, 512, |tx, rx| {
        let mut burst = Burst::new(1).unwrap();
        for number in 0..400 {
            let sent = packet(Random::new(number).range(1, 32 * 512), number);
            until("room", || {
                assert!(rx.peek(1).is_empty()); // gives all buffers back
                match number % 2 {
                    0 => send_in_place(tx, &sent, 512),
                    _ => {
                        if burst.is_empty() {
                            burst.push(&sent).unwrap();
                        }
                        tx.send(&mut burst);
                        burst.is_empty()
                    }
                }
            });
            until("the packet", || match number / 2 % 2 {
                0 => rx.receive(&mut burst) == 1,
                _ => {
                    let peeked = rx.peek(1);
                    let Some(pieces) = peeked.get(0) else { return false };
                    assert_eq!(pieces.copy_to(burst.reserve(pieces.bytes()).unwrap()), sent.len());
                    peeked.release(1);
                    true
                }
            });
            check(burst.get(0).unwrap(), number);
            assert_eq!(burst.get(0).unwrap().len(), sent.len());
            burst.clear();
        }
    });
}

#[test]
fn a_reservation_may_be_used_in_part_or_not_at_all() {
    both_ways(8, 128, |tx, rx| {
        for number in 0..100 {
            // a receiver that finds nothing gives all buffers back
            until("all buffers", || rx.peek(1).is_empty() && tx.reserve(8, 2048).len() == 8);
            let mut reserved = tx.reserve(100, 2048);
            assert_eq!(reserved.len(), 8);
            assert!(!reserved.is_empty() && reserved.span(8).is_none());
            let number = 2 * number;
            assert_eq!(reserved.fill(0, &packet(128, number)), 128);
            let mut span = reserved.span(1).unwrap();
            assert_eq!(span.write_at(0, &packet(77, number + 1)), 77);
            reserved.set_len(1, 77);
            reserved.commit(2);
            receive_all(rx, number..number + 2);
        }
    });
}

#[test]
fn a_buffer_without_length_is_dropped_by_the_receiver() {
    let pair = Pair::of(|builder| builder);
    for (mut tx, mut rx) in [pair.s2m(), pair.m2s()] {
        let mut burst = Burst::new(4).unwrap();
        until("a buffer", || !tx.reserve(1, 2048).is_empty());
        tx.reserve(1, 2048).commit(1);
        until("the packet to be dropped", || {
            assert_eq!(rx.receive(&mut burst), 0);
            rx.stats().drops_for(DropReason::Empty) == 1
        });
        exchange((&mut tx, &mut rx), 0..100, 60..=60);
    }
}

#[test]
fn an_empty_commit_does_not_notify() {
    let pair = Pair::of(|builder| builder.rx_mode(RxMode::Interrupt));
    for (mut tx, _rx) in [pair.s2m(), pair.m2s()] {
        until("buffers", || tx.reserve(4, 2048).len() == 4);
        tx.reserve(4, 2048).commit(0);
        tx.reserve(0, 2048).commit(4);
        assert_eq!(tx.stats().interrupts, 0);
        tx.reserve(4, 2048).commit(1);
        assert_eq!(tx.stats().interrupts, 1);
    }
}

#[test]
fn a_full_burst_leaves_packets_in_the_ring() {
    both_ways(64, 2048, |tx, rx| {
        let (mut out, mut small) = (Burst::new(10).unwrap(), Burst::new(3).unwrap());
        for number in 0..10 {
            out.push(&packet(60, number)).unwrap();
        }
        until("the burst to go", || {
            tx.send(&mut out);
            out.is_empty()
        });
        until("three", || {
            rx.receive(&mut small);
            small.len() == 3
        });
        assert_eq!(rx.receive(&mut small), 0);
        small.clear();
        receive_all(rx, 3..10);
    });
}

#[test]
fn a_packet_stays_in_the_ring_until_the_burst_has_room() {
    both_ways(64, 2048, |tx, rx| {
        let (mut out, mut back) = (Burst::new(1).unwrap(), Burst::new(2).unwrap());
        let mut sent = 0;
        until("two", || {
            if sent < 2 && out.is_empty() {
                out.push(&packet(65535, sent)).unwrap();
                sent += 1;
            }
            tx.send(&mut out);
            rx.receive(&mut back);
            !back.is_empty()
        });
        // the memory of a burst holds one of this size
        assert_eq!(back.len(), 1);
        check(back.get(0).unwrap(), 0);
        back.clear();
        until("the other", || {
            if sent < 2 && out.is_empty() {
                out.push(&packet(65535, sent)).unwrap();
                sent += 1;
            }
            tx.send(&mut out);
            rx.receive(&mut back) == 1
        });
        check(back.get(0).unwrap(), 1);
    });
}

#[test]
fn a_new_queue_handle_continues_on_another_thread() {
    let pair = Pair::of(|builder| builder);
    for round in 0..20 {
        // a new handle goes on where the last one was
        let (mut tx, mut rx) = pair.s2m();
        thread::spawn(move || exchange((&mut tx, &mut rx), round * 100..(round + 1) * 100, 60..=5000));
        until("the handles", || pair.slave.tx(0).is_ok());
        until("the handles", || pair.master.rx(0).is_ok());
    }
    assert_eq!(pair.master.rx(0).unwrap().stats().packets, 2000);
    assert!(pair.slave.wait_down(Some(Duration::ZERO)).is_ok_and(|down| !down));
}
