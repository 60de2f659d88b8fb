//! What an interface tells about itself, and what its queues count.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::{PATIENCE, Pair, exchange, packet, until};
use memif_pmd::{Burst, Details, Disconnect, Mode, Role, RxMode};

/// The slave has `rx_queues` receive queues, its master three transmit queues.
fn named(rx_queues: u16) -> Pair {
    Pair::with(
        |builder| {
            let builder = builder.name("left").app_name("switch").id(5).mode(Mode::Ip);
            builder.rx_queues(2).tx_queues(3).rx_mode(RxMode::Adaptive)
        },
        |builder| {
            let builder = builder.name("right").app_name("router").id(5).mode(Mode::Ip);
            builder.tx_queues(2).rx_queues(rx_queues).ring_size(256).buffer_size(512)
        },
    )
}

#[test]
fn both_ends_tell_who_they_are() {
    let pair = named(3);
    let (master, slave) = (pair.master.details().unwrap(), pair.slave.details().unwrap());
    for (own, peer) in [(&master, &slave), (&slave, &master)] {
        assert_eq!(own.peer_name, peer.name);
        assert_eq!(own.peer_app_name, peer.app_name);
        assert_eq!((own.id, own.mode, own.link_up, own.connects), (5, Mode::Ip, true, 1));
        assert_eq!(own.last_disconnect, None);
        assert_eq!(own.socket, peer.socket);
        assert_eq!(own.faults().count(), 0);
    }
    assert_eq!((master.name.to_string(), master.app_name.to_string()), ("left".into(), "switch".into()));
    assert_eq!((slave.name.to_string(), slave.app_name.to_string()), ("right".into(), "router".into()));
    assert_eq!((master.role, slave.role), (Role::Master, Role::Slave));
    assert!(master.socket.starts_with("@memif-test-"));
}

#[test]
fn queues_tell_of_their_rings() {
    let pair = named(4);
    let (master, slave) = (pair.master.details().unwrap(), pair.slave.details().unwrap());
    let counts = |details: &Details| (details.rx.len(), details.tx.len());
    assert_eq!((counts(&master), counts(&slave)), ((2, 3), (4, 2)));
    assert!(master.rx.iter().all(|queue| queue.rx_mode == RxMode::Adaptive));
    assert!(slave.rx.iter().all(|queue| queue.rx_mode == RxMode::Polling));
    for queue in master.rx.iter().chain(&master.tx).chain(&slave.rx[..3]).chain(&slave.tx) {
        let ring = queue.ring.unwrap();
        assert_eq!((ring.size, ring.buffer_size, ring.region), (256, 512, 0));
        assert_eq!(ring.flags & 1, 1, "nobody wants interrupts");
    }
    assert_eq!(slave.rx[3].ring, None, "more than the master has");
    assert!(master.rx.iter().zip(0..).all(|(queue, index)| queue.index == index));
    // rings are the same ones, seen from both ends; a slave's buffers are all posted
    let ring = |details: &Details, rx: bool| if rx { details.rx[1].ring } else { details.tx[1].ring };
    assert_eq!(ring(&master, true), ring(&slave, false));
    assert_eq!(ring(&master, false), ring(&slave, true));
    assert_eq!((slave.rx[1].ring.unwrap().head, slave.rx[1].ring.unwrap().tail), (256, 0));
    assert_eq!((slave.tx[1].ring.unwrap().head, slave.tx[1].ring.unwrap().tail), (0, 0));

    let mut burst = Burst::new(8).unwrap();
    for number in 0..3 {
        burst.push(&packet(60, number)).unwrap();
    }
    assert_eq!(pair.slave.tx(1).unwrap().send(&mut burst), 3);
    let ring = pair.master.details().unwrap().rx[1].ring.unwrap();
    assert_eq!((ring.head, ring.tail), (3, 0));
    let mut rx = pair.master.rx(1).unwrap();
    assert_eq!(rx.receive(&mut burst), 3);
    assert_eq!(rx.receive(&mut burst), 0);
    let ring = pair.slave.details().unwrap().tx[1].ring.unwrap();
    assert_eq!((ring.head, ring.tail), (3, 3));
    pair.master.set_rx_mode(1, RxMode::Interrupt).unwrap();
    assert_eq!(pair.slave.details().unwrap().tx[1].ring.unwrap().flags & 1, 0);
}

#[test]
fn regions_are_the_same_from_both_ends() {
    let pair = named(3);
    let (master, slave) = (pair.master.details().unwrap(), pair.slave.details().unwrap());
    assert_eq!((master.regions.len(), slave.regions.len()), (1, 1));
    let (theirs, ours) = (&master.regions[0], &slave.regions[0]);
    assert_eq!((theirs.index, theirs.size, theirs.page_size), (0, ours.size, ours.page_size));
    assert!(theirs.sealed && ours.sealed);
    // five rings of 256 buffers of 512 bytes, and their descriptors
    assert!(ours.size > 5 * 256 * (512 + 16));
    assert_eq!(ours.size % ours.page_size, 0);
}

#[test]
fn the_end_of_a_link_leaves_its_reason() {
    let pair = named(3);
    drop(pair.slave);
    until("the end", || !pair.master.is_up());
    let details = pair.master.details().unwrap();
    let reason = details.last_disconnect.unwrap();
    assert!(
        matches!(&reason, Disconnect::Peer { code: 0, reason } if reason.to_string() == "the interface was deleted")
    );
    assert!(!details.link_up && details.peer_name.is_empty() && details.peer_app_name.is_empty());
    assert_eq!(details.connects, 1);
    assert!(details.regions.is_empty() && details.rx.iter().all(|queue| queue.ring.is_none()));

    let slave = pair.memif.interface(&details.socket).id(5).mode(Mode::Ip).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    until("the next", || pair.master.is_up());
    assert_eq!(pair.master.details().unwrap().connects, 2);
}

#[test]
fn counters_agree_from_both_ends_and_outlive_links_and_handles() {
    let mut pair = Pair::of(|builder| builder.ring_size(16));
    let mut sent = 0;
    for round in 1..=3 {
        let (mut tx, mut rx) = pair.s2m();
        exchange((&mut tx, &mut rx), 0..100, 100..=100);
        sent = if round == 1 { 100 } else { sent + 100 };
        drop((tx, rx));
        let stats = &pair.master.details().unwrap().rx[0].stats;
        assert_eq!((stats.packets, stats.bytes, stats.dropped()), (sent, sent * 100, 0));
        let stats = &pair.slave.details().unwrap().tx[0].stats;
        assert_eq!((stats.packets, stats.bytes), (100, 10_000), "a new interface counts anew");
        assert!(stats.ring_full > 0, "bursts of 32 do not fit into a ring of 16");
        let socket = pair.master.details().unwrap().socket;
        drop(std::mem::replace(
            &mut pair.slave,
            pair.memif.interface("@nobody-listens-here").open().unwrap(),
        ));
        assert!(pair.master.wait_down(Some(PATIENCE)).unwrap());
        pair.slave = pair.memif.interface(&socket).ring_size(16).open().unwrap();
        pair.wait_up();
    }
}

#[test]
fn wake_ups_are_counted() {
    let pair = Pair::of(|builder| builder.rx_mode(RxMode::Interrupt));
    let (mut tx, mut rx) = pair.s2m();
    let mut burst = Burst::new(1).unwrap();
    for number in 0..10 {
        burst.push(&packet(60, number)).unwrap();
        assert_eq!(tx.send(&mut burst), 1);
        assert!(rx.wait(Some(PATIENCE)).unwrap());
        assert_eq!(rx.receive(&mut burst), 1);
        burst.clear();
    }
    assert_eq!(tx.stats().interrupts, 10);
    assert_eq!(rx.stats().wakeups, 10);
    assert_eq!(pair.master.details().unwrap().rx[0].stats, rx.stats());
}

#[test]
fn what_finds_no_link_is_counted() {
    let memif = memif_pmd::Memif::start().unwrap();
    let interface = memif.interface(common::address()).open().unwrap();
    let mut tx = interface.tx(0).unwrap();
    let mut burst = Burst::new(8).unwrap();
    for _ in 0..3 {
        burst.push(b"nowhere").unwrap();
        burst.push(b"to go").unwrap();
        assert_eq!(tx.send(&mut burst), 0);
        assert!(burst.is_empty());
    }
    let stats = &interface.details().unwrap().tx[0].stats;
    assert_eq!((stats.link_down, stats.dropped(), stats.packets), (6, 6, 0));
    assert!(stats.drops().any(|drop| drop == ("link_down", 6)));
}
