//! The control plane in all its forms, and the events of interfaces.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{PATIENCE, Pair, address, events, exchange, next, until};
use memif_os::event::poll_fds;
use memif_pmd::{Burst, Disconnect, Error, Event, Interface, Memif, Polled, RxMode};

const SHORT: Duration = Duration::from_millis(5);

/// Where a handler finds the interface that it shall drop.
type Cell = Arc<Mutex<Option<Interface>>>;

fn take(cell: &Cell) -> Option<Interface> {
    cell.lock().unwrap().take()
}

#[test]
fn a_control_plane_polls_by_itself() {
    let pair = Pair::of(|builder| builder);
    let (mut tx, mut rx) = pair.s2m();
    exchange((&mut tx, &mut rx), 0..1000, 60..=1500);
    let (mut tx, mut rx) = pair.m2s();
    exchange((&mut tx, &mut rx), 0..1000, 60..=1500);
}

#[test]
fn a_control_plane_is_polled_through_one_descriptor() {
    let memif = Memif::new().unwrap();
    let socket = address();
    let (handler, seen) = events();
    let master = memif.interface(&socket).master().on_event(handler).open().unwrap();
    let slave = memif.interface(&socket).slave().open().unwrap();
    // a loop of one's own, with a descriptor of one's own in it
    let (other, _writer) = std::io::pipe().unwrap();
    until("the link", || {
        if poll_fds(&[other.as_fd(), memif.as_fd()], Some(PATIENCE)).unwrap() > 0 {
            assert!(matches!(memif.poll(Some(Duration::ZERO)).unwrap(), Polled::Handled(_)));
        }
        master.is_up() && slave.is_up()
    });
    assert_eq!(seen.try_recv().unwrap(), Event::Connected);
    exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..100, 60..=60);
    drop(slave);
    assert_eq!(poll_fds(&[memif.as_fd()], Some(PATIENCE)).unwrap(), 1);
    until("the end of the link", || {
        memif.poll(Some(Duration::ZERO)).unwrap();
        !master.is_up()
    });
    assert!(matches!(seen.try_recv().unwrap(), Event::Disconnected(Disconnect::Peer { .. })));
}

#[test]
fn waiting_for_a_link_polls_a_control_plane_without_a_thread() {
    let memif = Memif::new().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().open().unwrap();
    let slave = memif.interface(&socket).slave().open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    drop(master);
    assert!(slave.wait_down(Some(PATIENCE)).unwrap());
    assert!(slave.wait_down(None).unwrap());
}

#[test]
fn a_poll_without_events_times_out() {
    let memif = Memif::new().unwrap();
    assert_eq!(memif.poll(Some(Duration::ZERO)).unwrap(), Polled::TimedOut);
    assert_eq!(memif.poll(Some(SHORT)).unwrap(), Polled::TimedOut);
}

#[test]
fn a_poll_is_cancelled_from_before() {
    let memif = Memif::new().unwrap();
    let waker = memif.waker();
    thread::spawn(move || waker.cancel()).join().unwrap();
    assert_eq!(memif.poll(None).unwrap(), Polled::Cancelled);
    // once and for all: the waker's descriptor may still be there to be handled, and then nothing is
    until("quiet", || memif.poll(Some(Duration::ZERO)).unwrap() == Polled::TimedOut);
}

#[test]
fn a_poll_is_cancelled_from_any_thread() {
    for _ in 0..50 {
        let memif = Arc::new(Memif::new().unwrap());
        let wakers = [memif.waker(), memif.waker()];
        let poller = {
            let memif = Arc::clone(&memif);
            thread::spawn(move || memif.poll(None).unwrap())
        };
        let threads = wakers.map(|waker| thread::spawn(move || waker.cancel()));
        assert_eq!(poller.join().unwrap(), Polled::Cancelled);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_control_plane_with_a_thread_survives_cancelling() {
    let memif = Memif::start().unwrap();
    for _ in 0..10 {
        memif.waker().cancel();
    }
    let socket = address();
    let _master = memif.interface(&socket).master().open().unwrap();
    memif.interface(&socket).open().unwrap().wait_up(Some(PATIENCE)).unwrap();
}

#[test]
fn events_tell_of_the_link_and_of_its_end() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let ((on_master, master_events), (on_slave, slave_events)) = (events(), events());
    let master = memif.interface(&socket).master().on_event(on_master).open().unwrap();
    let slave = memif.interface(&socket).on_event(on_slave).open().unwrap();
    assert_eq!(next(&master_events), Event::Connected);
    assert_eq!(next(&slave_events), Event::Connected);

    drop(slave);
    let Event::Disconnected(Disconnect::Peer { reason, .. }) = next(&master_events) else { panic!() };
    assert_eq!(reason.to_string(), "the interface was deleted");
    let ours = Event::Disconnected(Disconnect::Local("the interface was deleted"));
    assert_eq!(next(&slave_events), ours);

    let (on_slave, slave_events) = events();
    let _slave = memif.interface(&socket).on_event(on_slave).open().unwrap();
    assert_eq!(next(&master_events), Event::Connected);
    assert_eq!(next(&slave_events), Event::Connected);
    drop(master);
    let Event::Disconnected(reason) = next(&slave_events) else { panic!() };
    assert!(matches!(&reason, Disconnect::Peer { .. }), "{reason}");
    assert_eq!(next(&master_events), ours);
}

#[test]
fn a_slave_without_a_master_is_told_once_and_goes_on_trying() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let (handler, seen) = events();
    let slave = memif.interface(&socket).reconnect(SHORT).on_event(handler).open().unwrap();
    let Event::ConnectFailed(reason) = next(&seen) else { panic!() };
    assert!(reason.to_string().contains(&socket), "{reason}");
    let Err(Error::NoLink { last, .. }) = slave.wait_up(Some(10 * SHORT)) else { panic!() };
    assert_eq!(last, Some(reason));
    let _master = memif.interface(&socket).master().open().unwrap();
    assert_eq!(next(&seen), Event::Connected);
}

/// A slave that its own handler drops at the event that `at` picks.
fn dropped_in_its_handler(memif: &Memif, poll: impl Fn(), secret: &str, at: fn(&Event) -> bool) {
    let socket = address();
    let master = memif.interface(&socket).master().secret("right").open().unwrap();
    let cell = Cell::default();
    let handler = {
        let cell = Arc::clone(&cell);
        move |event: &Event| {
            if at(event) {
                drop(take(&cell));
            }
        }
    };
    let slave = memif.interface(&socket).secret(secret).reconnect(SHORT);
    let slave = slave.notify_interrupts().rx_mode(RxMode::Interrupt).on_event(handler).open().unwrap();
    *cell.lock().unwrap() = Some(slave);
    let mut tx = master.tx(0).unwrap();
    let mut burst = Burst::new(1).unwrap();
    until("the slave to be dropped", || {
        burst.push(b"an interrupt, please").unwrap();
        tx.send(&mut burst);
        burst.clear();
        poll();
        cell.lock().unwrap().is_none()
    });
    until("the master to notice", || {
        poll();
        !master.is_up()
    });
}

fn is_connected(event: &Event) -> bool {
    *event == Event::Connected
}

#[test]
fn a_handler_may_drop_its_interface_at_a_refusal_and_at_an_interrupt() {
    let refused = |event: &Event| matches!(event, Event::ConnectFailed(_));
    let interrupted = |event: &Event| matches!(event, Event::Interrupt { queue: 0 });
    let memif = Memif::start().unwrap();
    dropped_in_its_handler(&memif, || (), "wrong", refused);
    dropped_in_its_handler(&memif, || (), "right", interrupted);
    let memif = Memif::new().unwrap();
    let poll = || {
        memif.poll(Some(Duration::ZERO)).unwrap();
    };
    dropped_in_its_handler(&memif, poll, "wrong", refused);
    dropped_in_its_handler(&memif, poll, "right", interrupted);
}

#[test]
fn a_handler_may_drop_its_interface_as_it_comes_up_and_as_it_goes_down() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let cell = Cell::default();
    // the address is free once a drop has returned
    let dropped = Arc::new(AtomicU32::new(0));
    let (note, noted) = events();
    let handler = {
        let (cell, dropped) = (Arc::clone(&cell), Arc::clone(&dropped));
        move |event: &Event| {
            note(event);
            if is_connected(event) {
                // it may be here before the test has put it there
                until("the interface", || cell.lock().unwrap().is_some());
                drop(take(&cell));
                dropped.fetch_add(1, Ordering::Release);
            }
        }
    };
    let (on_slave, slave_events) = events();
    let slave = memif.interface(&socket).reconnect(SHORT).on_event(on_slave).open().unwrap();
    assert!(matches!(next(&slave_events), Event::ConnectFailed(_)));
    *cell.lock().unwrap() = Some(memif.interface(&socket).master().on_event(handler).open().unwrap());
    assert_eq!(next(&noted), Event::Connected);
    // told of its own end, from within
    assert_eq!(next(&noted), Event::Disconnected(Disconnect::Local("the interface was deleted")));
    assert!(take(&cell).is_none());
    until("the slave to notice", || {
        matches!(next(&slave_events), Event::Disconnected(Disconnect::Peer { .. }))
    });

    until("the drop to return", || dropped.load(Ordering::Acquire) == 1);

    // the other moment
    let handler = {
        let (cell, dropped) = (Arc::clone(&cell), Arc::clone(&dropped));
        move |event: &Event| {
            if matches!(event, Event::Disconnected(_)) {
                drop(take(&cell));
                dropped.fetch_add(1, Ordering::Release);
            }
        }
    };
    let master = memif.interface(&socket).master().on_event(handler).open().unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    *cell.lock().unwrap() = Some(master);
    drop(slave);
    until("the drop to return", || dropped.load(Ordering::Acquire) == 2);
    memif.interface(&socket).master().open().unwrap();
}

#[test]
fn a_handler_may_own_the_last_control_plane() {
    let socket = address();
    let memif = Memif::start().unwrap();
    let other = Memif::start().unwrap();
    let owned = Arc::new(Mutex::new(None));
    let (note, noted) = events();
    let handler = {
        let owned = Arc::clone(&owned);
        move |event: &Event| {
            note(event);
            if is_connected(event) {
                until("the control plane", || owned.lock().unwrap().is_some());
                let memif: Option<Memif> = owned.lock().unwrap().take();
                drop(memif);
            }
        }
    };
    let master = memif.interface(&socket).master().on_event(handler).open().unwrap();
    *owned.lock().unwrap() = Some(memif);
    let _slave = other.interface(&socket).reconnect(SHORT).open().unwrap();
    assert_eq!(next(&noted), Event::Connected);
    assert!(matches!(next(&noted), Event::Disconnected(Disconnect::Local(_))));
    until("the end of the interface", || matches!(master.details(), Err(Error::Deleted)));
}

#[test]
fn a_dead_control_plane_leaves_dead_interfaces_and_harmless_queues() {
    let Pair { memif, master, slave } = Pair::of(|builder| builder);
    let (mut tx, mut rx) = (slave.tx(0).unwrap(), master.rx(0).unwrap());
    exchange((&mut tx, &mut rx), 0..10, 60..=60);
    drop(memif);
    for interface in [&master, &slave] {
        assert!(!interface.is_up());
        assert!(matches!(interface.details(), Err(Error::Deleted)));
        assert!(matches!(interface.rx(0), Err(Error::Deleted)));
        assert!(matches!(interface.tx(0), Err(Error::Deleted)));
        assert!(matches!(interface.set_rx_mode(0, RxMode::Polling), Err(Error::Deleted)));
        assert!(matches!(interface.wait_up(None), Err(Error::Deleted)));
        assert!(interface.wait_down(None).unwrap());
    }
    drop((master, slave));
    let mut burst = Burst::new(4).unwrap();
    burst.push(b"into the void").unwrap();
    assert_eq!((tx.send(&mut burst), rx.receive(&mut burst)), (0, 0));
    assert!(burst.is_empty() && !tx.is_up() && !rx.is_up());
    assert_eq!(tx.stats().link_down, 1);
    assert!(tx.reserve(1, 2048).is_empty() && rx.peek(1).is_empty());
    assert!(!rx.wait(Some(Duration::ZERO)).unwrap());
    assert!(rx.event_fd().is_none());
}
