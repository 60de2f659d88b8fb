//! Receive modes: no wake-up is lost, whenever the mode changes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{PATIENCE, Pair, Random, address, check, events, next, packet, until};
use memif_os::event::poll_fds;
use memif_pmd::{Burst, Error, Event, Interface, Memif, RxMode, RxQueue, TxQueue};

const MODES: [RxMode; 3] = [RxMode::Polling, RxMode::Interrupt, RxMode::Adaptive];

/// Sends `count` packets one by one, each once the one before has arrived: every one of them needs a wake-up.
fn send_one_by_one(mut tx: TxQueue, count: u64, arrived: &AtomicU64) {
    let mut burst = Burst::new(1).unwrap();
    for number in 0..count {
        burst.push(&packet(64, number)).unwrap();
        until("room", || {
            tx.send(&mut burst);
            burst.is_empty()
        });
        until("the packet before", || arrived.load(Ordering::Acquire) > number);
    }
}

/// Receives `count` packets, and does nothing but wait in between.
fn receive_by_waiting(rx: &mut RxQueue, count: u64, arrived: &AtomicU64) {
    let mut burst = Burst::new(8).unwrap();
    let mut expected = 0;
    while expected < count {
        // longer than the sender's patience, so that a wake-up that is lost fails the test
        rx.wait(Some(2 * PATIENCE)).unwrap();
        rx.receive(&mut burst);
        for got in &burst {
            check(got, expected);
            expected += 1;
        }
        burst.clear();
        arrived.store(expected, Ordering::Release);
    }
}

#[test]
fn a_waiting_receiver_is_woken_in_every_mode() {
    for mode in MODES {
        let pair = Pair::of(|builder| builder.rx_mode(mode));
        for (tx, mut rx) in [pair.s2m(), pair.m2s()] {
            assert_eq!(rx.mode(), mode);
            let arrived = AtomicU64::new(0);
            thread::scope(|scope| {
                scope.spawn(|| send_one_by_one(tx, 1000, &arrived));
                receive_by_waiting(&mut rx, 1000, &arrived);
            });
            assert_eq!(rx.stats().packets, 1000);
        }
    }
}

#[test]
fn no_wake_up_is_lost_while_modes_change() {
    let pair = Pair::of(|builder| builder);
    let ends: [(&Interface, (TxQueue, RxQueue)); 2] = [(&pair.master, pair.s2m()), (&pair.slave, pair.m2s())];
    for (receiver, (tx, mut rx)) in ends {
        let (arrived, over) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| send_one_by_one(tx, 3000, &arrived));
            scope.spawn(|| {
                let mut random = Random::new(1);
                while !over.load(Ordering::Relaxed) {
                    receiver.set_rx_mode(0, MODES[random.range(0, 2)]).unwrap();
                    // lets a few packets pass
                    let (before, some) = (arrived.load(Ordering::Relaxed), random.next() % 4);
                    until("some packets", || {
                        arrived.load(Ordering::Relaxed) >= before + some || over.load(Ordering::Relaxed)
                    });
                }
            });
            receive_by_waiting(&mut rx, 3000, &arrived);
            over.store(true, Ordering::Relaxed);
        });
    }
}

/// Fails when the thread does not end by itself.
fn ends<T>(thread: thread::JoinHandle<T>) -> T {
    until("a thread that waits", || thread.is_finished());
    thread.join().unwrap()
}

#[test]
fn a_wait_ends_at_the_timeout_and_when_the_link_changes() {
    let pair = Pair::of(|builder| builder);
    let (_tx, mut rx) = pair.s2m();
    assert!(!rx.wait(Some(Duration::ZERO)).unwrap());
    assert!(!rx.wait(Some(Duration::from_millis(5))).unwrap());
    let waiting = thread::spawn(move || {
        while rx.is_up() {
            assert!(!rx.wait(None).unwrap());
        }
        rx
    });
    drop(pair.slave);
    let mut rx = ends(waiting);
    // and with the next link
    let waiting = thread::spawn(move || {
        while !rx.is_up() {
            rx.wait(None).unwrap();
        }
    });
    let socket = pair.master.details().unwrap().socket;
    let _next = pair.memif.interface(socket).open().unwrap();
    ends(waiting);
}

#[test]
fn a_link_lost_before_the_first_wait_ends_it() {
    let pair = Pair::of(|builder| builder);
    let (_tx, mut rx) = pair.s2m();
    assert!(rx.is_up());
    drop(pair.slave);
    assert!(pair.master.wait_down(Some(PATIENCE)).unwrap());
    ends(thread::spawn(move || assert!(!rx.wait(None).unwrap())));
}

#[test]
fn an_external_event_loop_receives_every_packet() {
    let pair = Pair::of(|builder| builder.rx_mode(RxMode::Interrupt));
    for (tx, mut rx) in [pair.s2m(), pair.m2s()] {
        let arrived = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| send_one_by_one(tx, 1000, &arrived));
            let mut burst = Burst::new(8).unwrap();
            let mut expected = 0;
            while expected < 1000 {
                let ready = poll_fds(&[rx.event_fd().unwrap().as_fd()], Some(PATIENCE)).unwrap();
                assert_eq!(ready, 1, "packet {expected} was not announced");
                rx.clear_event();
                while rx.receive(&mut burst) > 0 {
                    for got in &burst {
                        check(got, expected);
                        expected += 1;
                    }
                    burst.clear();
                }
                arrived.store(expected, Ordering::Release);
            }
        });
    }
}

#[test]
fn a_polling_receiver_is_not_notified() {
    let pair = Pair::of(|builder| builder);
    for (mut tx, mut rx) in [pair.s2m(), pair.m2s()] {
        let mut burst = Burst::new(1).unwrap();
        for mode in [RxMode::Polling, RxMode::Adaptive, RxMode::Interrupt] {
            rx.set_mode(mode);
            rx.clear_event();
            assert_eq!(poll_fds(&[rx.event_fd().unwrap()], Some(Duration::ZERO)).unwrap(), 0);
            let rung = tx.stats().interrupts;
            burst.push(&packet(64, 0)).unwrap();
            until("room", || tx.send(&mut burst) == 1);
            let wanted = mode == RxMode::Interrupt;
            assert_eq!(tx.stats().interrupts, rung + u64::from(wanted));
            let ready = poll_fds(&[rx.event_fd().unwrap()], Some(Duration::ZERO)).unwrap();
            assert_eq!(ready, usize::from(wanted), "{mode}");
            until("the packet", || rx.receive(&mut burst) == 1);
            burst.clear();
        }
    }
}

#[test]
fn a_mode_change_wakes_a_sleeper_on_the_eventfd() {
    let pair = Pair::of(|builder| builder.rx_mode(RxMode::Interrupt));
    let mut rx = pair.master.rx(0).unwrap();
    for mode in MODES {
        rx.clear_event();
        pair.master.set_rx_mode(0, mode).unwrap();
        assert_eq!(rx.mode(), mode);
        assert_eq!(poll_fds(&[rx.event_fd().unwrap()], Some(PATIENCE)).unwrap(), 1);
    }
    let error = pair.master.set_rx_mode(1, RxMode::Polling).unwrap_err();
    assert!(matches!(error, Error::NoSuchQueue { direction: "rx", index: 1, count: 1 }), "{error}");
}

#[test]
fn a_mode_survives_a_reconnect() {
    let pair = Pair::of(|builder| builder);
    pair.master.set_rx_mode(0, RxMode::Interrupt).unwrap();
    let socket = pair.master.details().unwrap().socket;
    drop(pair.slave);
    assert!(pair.master.wait_down(Some(PATIENCE)).unwrap());
    let slave = pair.memif.interface(socket).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    pair.master.wait_up(Some(PATIENCE)).unwrap();
    let details = pair.master.details().unwrap();
    assert_eq!((details.rx[0].rx_mode, details.rx[0].ring.unwrap().flags), (RxMode::Interrupt, 0));
    assert_eq!(slave.details().unwrap().rx[0].ring.unwrap().flags, 1);
}

#[test]
fn packets_cause_interrupt_events() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let (handler, seen) = events();
    let master = memif.interface(&socket).master().rx_mode(RxMode::Interrupt).notify_interrupts();
    let master = master.on_event(handler).open().unwrap();
    let slave = memif.interface(&socket).open().unwrap();
    assert_eq!(next(&seen), Event::Connected);
    slave.wait_up(Some(PATIENCE)).unwrap();
    let (mut tx, mut rx) = (slave.tx(0).unwrap(), master.rx(0).unwrap());
    let mut burst = Burst::new(4).unwrap();
    for number in 0..200 {
        burst.push(&packet(60, number)).unwrap();
        assert_eq!(tx.send(&mut burst), 1);
        assert_eq!(next(&seen), Event::Interrupt { queue: 0 });
        assert_eq!(rx.receive(&mut burst), 1);
        check(burst.get(0).unwrap(), number);
        burst.clear();
        assert_eq!(rx.receive(&mut burst), 0);
    }
}
