//! Links that come and go under queue handles that stay.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{PATIENCE, address, check, events, exchange, next, packet, until};
use memif_pmd::{Burst, Event, Memif, RxQueue, TxQueue};

const RETRY: Duration = Duration::from_millis(2);

/// Sends numbered packets for ever, dropping what finds no link.
fn send_for_ever(mut tx: TxQueue, over: &AtomicBool) {
    let mut burst = Burst::new(16).unwrap();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        if burst.push(&packet(100, number)).is_ok() {
            number += 1;
        }
        if tx.send(&mut burst) == 0 {
            thread::yield_now();
        }
    }
}

/// Receives for ever. Every packet is whole, and comes once and in order.
fn receive_for_ever(mut rx: RxQueue, received: &AtomicU64, over: &AtomicBool) {
    let mut burst = Burst::new(16).unwrap();
    let mut lowest = 0;
    while !over.load(Ordering::Relaxed) {
        if rx.receive(&mut burst) == 0 {
            thread::yield_now();
        }
        for got in &burst {
            let number = u64::from_le_bytes(*got.first_chunk().unwrap());
            assert!(number >= lowest, "packet {number} after {lowest}");
            check(got, number);
            lowest = number + 1;
        }
        received.fetch_add(burst.len() as u64, Ordering::Relaxed);
        burst.clear();
    }
}

#[test]
fn queues_of_a_slave_resume_with_each_master() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let slave = memif.interface(&socket).reconnect(RETRY).open().unwrap();
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let tx = slave.tx(0).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| send_for_ever(tx, &over));
        for round in 1..=20 {
            let other = Memif::start().unwrap();
            let master = other.interface(&socket).master().open().unwrap();
            let rx = master.rx(0).unwrap();
            let (received, done) = (&received, AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| receive_for_ever(rx, received, &done));
                let before = received.load(Ordering::Relaxed);
                until("packets", || received.load(Ordering::Relaxed) > before + 100);
                // one that goes with its control plane, and one that goes alone
                if round % 2 == 0 {
                    drop(other);
                } else {
                    drop(master);
                }
                done.store(true, Ordering::Relaxed);
            });
            assert!(slave.wait_down(Some(PATIENCE)).unwrap());
            assert_eq!(slave.details().unwrap().connects, round);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(slave.details().unwrap().tx[0].stats.link_down > 0);
}

#[test]
fn queues_of_a_master_resume_with_each_slave() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().open().unwrap();
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let rx = master.rx(0).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| receive_for_ever(rx, &received, &over));
        let mut number = 0;
        for round in 1..=20 {
            // rings and buffers of another size each time
            let builder = memif.interface(&socket).reconnect(RETRY).ring_size(2 << (round % 10));
            let slave = builder.buffer_size(64 * u32::try_from(round).unwrap()).open().unwrap();
            slave.wait_up(Some(PATIENCE)).unwrap();
            let mut tx = slave.tx(0).unwrap();
            let before = received.load(Ordering::Relaxed);
            let mut burst = Burst::new(16).unwrap();
            until("packets", || {
                if burst.push(&packet(100, number)).is_ok() {
                    number += 1;
                }
                tx.send(&mut burst);
                received.load(Ordering::Relaxed) > before + 100
            });
            drop(slave);
            // in the ring or not, nobody gets them any more
            assert!(!tx.is_up());
            until("the link to go", || !master.is_up());
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(master.details().unwrap().connects, 20);
}

#[test]
fn the_next_in_line_takes_the_place() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().open().unwrap();
    let mut slaves: Vec<_> = (0..5)
        .map(|i| memif.interface(&socket).name(format!("slave {i}")).reconnect(RETRY).open().unwrap())
        .collect();
    while !slaves.is_empty() {
        let mut up = None;
        until("one of them", || {
            up = slaves.iter().position(|slave| slave.is_up() && master.is_up());
            up.is_some()
        });
        let slave = slaves.swap_remove(up.unwrap());
        assert!(slaves.iter().all(|slave| !slave.is_up()));
        let name = slave.details().unwrap().name;
        assert_eq!(master.details().unwrap().peer_name, name);
        exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..100, 60..=60);
        drop(slave);
        until("the link to go", || master.details().unwrap().peer_name != name);
    }
}

#[test]
fn packets_of_the_old_link_do_not_come_on_the_new_one() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().open().unwrap();
    let mut rx = master.rx(0).unwrap();
    let mut burst = Burst::new(64).unwrap();
    for round in 0..5 {
        let slave = memif.interface(&socket).reconnect(RETRY).open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        let mut tx = slave.tx(0).unwrap();
        burst.push(&packet(60, round)).unwrap();
        burst.push(&packet(60, 1000 + round)).unwrap(); // received by nobody
        assert_eq!(tx.send(&mut burst), 2);
        let mut one = Burst::new(1).unwrap();
        until("the first", || rx.receive(&mut one) == 1);
        check(one.get(0).unwrap(), round);
        drop(slave);
        assert!(master.wait_down(Some(PATIENCE)).unwrap());
        assert_eq!(rx.receive(&mut burst), 0);
    }
}

#[test]
fn a_slave_tries_again_after_the_interval_it_was_given() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let (handler, seen) = events();
    // an hour: this one does not try again in a test's time
    let patient = memif.interface(&socket).reconnect(Duration::from_secs(3600)).open().unwrap();
    let eager = memif.interface(&socket).id(1).reconnect(RETRY).on_event(handler).open().unwrap();
    assert!(matches!(next(&seen), Event::ConnectFailed(_)));
    let _first = memif.interface(&socket).master().open().unwrap();
    let _second = memif.interface(&socket).master().id(1).open().unwrap();
    eager.wait_up(Some(PATIENCE)).unwrap();
    assert_eq!(patient.details().unwrap().connects, 0);
}

/// An interval that does not pass in a test's time: what happens is not the work of the timer.
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_listener_is_found_when_its_file_appears() {
    let memif = Memif::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("memif.sock").into_os_string().into_string().unwrap();
    let (handler, seen) = events();
    let slave = memif.interface(&socket).reconnect(DAY).on_event(handler).open().unwrap();
    assert!(matches!(next(&seen), Event::ConnectFailed(_)));
    for round in 1..=3 {
        let other = Memif::start().unwrap();
        let master = other.interface(&socket).master().open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        assert_eq!(slave.details().unwrap().connects, round);
        // one that says so, and one that takes its listener with it
        if round == 1 {
            drop(master);
        } else {
            drop(other);
        }
        assert!(slave.wait_down(Some(PATIENCE)).unwrap());
    }
}

#[test]
fn a_listener_is_found_when_its_folders_appear() {
    let memif = Memif::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("run/vpp");
    let socket = inner.join("memif.sock").into_os_string().into_string().unwrap();
    let slave = memif.interface(&socket).reconnect(DAY).open().unwrap();
    let sibling = memif.interface(&socket).id(1).reconnect(DAY).open().unwrap();
    for _ in 0..2 {
        std::fs::create_dir_all(&inner).unwrap();
        let other = Memif::start().unwrap();
        let _master = other.interface(&socket).master().open().unwrap();
        let _second = other.interface(&socket).master().id(1).open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        sibling.wait_up(Some(PATIENCE)).unwrap();
        drop(other);
        assert!(slave.wait_down(Some(PATIENCE)).unwrap() && sibling.wait_down(Some(PATIENCE)).unwrap());
        std::fs::remove_dir_all(folder.path().join("run")).unwrap();
    }
}
