//! What the two ends must agree on, and what becomes of what they ask for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::os::fd::AsFd;
use std::time::Duration;

use common::{MANY_DESCRIPTORS, PATIENCE, Pair, address, events, exchange, in_child_process, next, until};
use memif_os::event::poll_fds;
use memif_os::socket::{Channel, Incoming, SocketAddress};
use memif_pmd::{
    Disconnect, Error, Event, FaultKind, Interface, InterfaceBuilder, Memif, Mode, Role, RxMode,
};
use memif_ring::message::{MESSAGE_SIZE, Message};

const SHORT: Duration = Duration::from_millis(5);

/// Rings of a link as this end sees them: what it receives on, and what it sends on.
fn rings(interface: &Interface) -> (usize, usize) {
    let details = interface.details().unwrap();
    let count =
        |queues: &[memif_pmd::QueueDetails]| queues.iter().filter(|queue| queue.ring.is_some()).count();
    (count(&details.rx), count(&details.tx))
}

/// A slave that the master refuses: what both of them see.
fn refused(
    master: impl for<'m> Fn(InterfaceBuilder<'m>) -> InterfaceBuilder<'m>,
    slave: impl for<'m> Fn(InterfaceBuilder<'m>) -> InterfaceBuilder<'m>,
    words: &str,
    kind: FaultKind,
) {
    let memif = Memif::start().unwrap();
    let socket = address();
    let (handler, seen) = events();
    let master = master(memif.interface(&socket).master()).open().unwrap();
    let slave = slave(memif.interface(&socket).reconnect(SHORT)).on_event(handler).open().unwrap();
    let Event::ConnectFailed(reason) = next(&seen) else { panic!() };
    let Disconnect::Refused { reason: text, code } = &reason else { panic!("{reason}") };
    assert_eq!(text.to_string(), words);
    assert_ne!(*code, 0);
    let error = slave.wait_up(Some(10 * SHORT)).unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(slave.details().unwrap().last_disconnect, Some(reason));
    assert!(!master.is_up() && !slave.is_up());
    // counted where it belongs, after the refusal is on its way
    let counted = || {
        if kind == FaultKind::UnknownId {
            memif.stranger_faults()
        } else {
            master.details().unwrap().faults().collect()
        }
    };
    until("the count", || !counted().is_empty());
    assert!(counted().iter().all(|(counted, _)| *counted == kind), "{:?}", counted());
}

#[test]
fn secrets_must_be_the_same() {
    for secret in ["", "psst", "twenty-four bytes long.."] {
        let pair = Pair::with(|builder| builder.secret(secret), |builder| builder.secret(secret));
        assert!(pair.slave.is_up());
    }
    // a master without one takes anybody
    Pair::with(|builder| builder, |builder| builder.secret("whatever"));
    refused(|b| b.secret("right"), |b| b.secret("wrong"), "Incorrect secret", FaultKind::WrongSecret);
    refused(|b| b.secret("right"), |b| b.secret("righ"), "Incorrect secret", FaultKind::WrongSecret);
    refused(|b| b.secret("right"), |b| b, "Secret required", FaultKind::SecretRequired);
}

#[test]
fn modes_must_be_the_same() {
    for mode in [Mode::Ethernet, Mode::Ip, Mode::PuntInject] {
        let pair = Pair::of(|builder| builder.mode(mode));
        assert_eq!(pair.slave.details().unwrap().mode, mode);
        let (mut tx, mut rx) = pair.s2m();
        exchange((&mut tx, &mut rx), 0..50, 20..=100);
    }
    refused(|b| b, |b| b.mode(Mode::Ip), "mode mismatch", FaultKind::ModeMismatch);
    refused(|b| b.mode(Mode::Ip), |b| b.mode(Mode::PuntInject), "mode mismatch", FaultKind::ModeMismatch);
}

#[test]
fn ids_tell_the_interfaces_of_a_listener_apart() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let ids = [0, 7, u32::MAX];
    let masters = ids.map(|id| memif.interface(&socket).master().id(id).open().unwrap());
    let slaves = ids.map(|id| memif.interface(&socket).id(id).name(format!("slave {id}")).open().unwrap());
    for ((master, slave), id) in masters.iter().zip(&slaves).zip(ids) {
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
        assert_eq!(master.details().unwrap().peer_name.to_string(), format!("slave {id}"));
        exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..50, 60..=60);
    }
    let error = memif.interface(&socket).master().id(7).open().unwrap_err();
    assert!(matches!(&error, Error::IdInUse { id: 7, socket: at } if *at == socket), "{error}");
    refused(|b| b.id(1), |b| b.id(2), "ID not found", FaultKind::UnknownId);
}

#[test]
fn an_interface_has_one_peer_at_a_time() {
    let pair = Pair::of(|builder| builder);
    let socket = pair.master.details().unwrap().socket;
    let other = Memif::start().unwrap();
    let (handler, seen) = events();
    let second = other.interface(&socket).reconnect(SHORT).on_event(handler).open().unwrap();
    let Event::ConnectFailed(Disconnect::Refused { reason, .. }) = next(&seen) else { panic!() };
    assert_eq!(reason.to_string(), "Already connected");
    let (mut tx, mut rx) = pair.s2m();
    exchange((&mut tx, &mut rx), 0..50, 60..=60);
    drop(pair.slave);
    second.wait_up(Some(PATIENCE)).unwrap();
}

#[test]
fn queue_counts_are_the_lesser_of_both_wishes() {
    if !in_child_process("queue_counts_are_the_lesser_of_both_wishes", MANY_DESCRIPTORS) {
        return;
    }
    // (master receives, master sends), (slave sends, slave receives), rings from slave to master, and back
    for ((m_rx, m_tx), (s_tx, s_rx), (s2m, m2s)) in [
        ((1, 1), (1, 1), (1, 1)),
        ((2, 5), (5, 2), (2, 2)),
        ((5, 2), (2, 5), (2, 2)),
        ((3, 1), (7, 9), (3, 1)),
        ((7, 9), (3, 1), (3, 1)),
        ((1, 256), (256, 256), (1, 256)),
    ] {
        let pair = Pair::with(
            |builder| builder.rx_queues(m_rx).tx_queues(m_tx),
            |builder| builder.tx_queues(s_tx).rx_queues(s_rx).ring_size(16).buffer_size(64),
        );
        assert_eq!(rings(&pair.master), (s2m, m2s));
        assert_eq!(rings(&pair.slave), (m2s, s2m));
        assert_eq!((pair.slave.rx_count(), pair.slave.tx_count()), (s_rx, s_tx));
        let last = u16::try_from(s2m - 1).unwrap();
        let (mut tx, mut rx) = (pair.slave.tx(last).unwrap(), pair.master.rx(last).unwrap());
        exchange((&mut tx, &mut rx), 0..50, 60..=60);
        let last = u16::try_from(m2s - 1).unwrap();
        let (mut tx, mut rx) = (pair.master.tx(last).unwrap(), pair.slave.rx(last).unwrap());
        exchange((&mut tx, &mut rx), 0..50, 60..=60);
        // a queue without a ring is there, and has no link
        if usize::from(s_tx) > s2m {
            assert!(!pair.slave.tx(s_tx - 1).unwrap().is_up());
        }
    }
}

#[test]
fn a_sibling_with_more_queues_keeps_no_slave_from_its_interface() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let few = memif.interface(&socket).master().id(1).queues(1).open().unwrap();
    let many = memif.interface(&socket).master().id(2).queues(4).open().unwrap();
    for (id, master, count) in [(1, &few, 1), (2, &many, 4)] {
        // the master's answer tells how many: no retry after a time
        let slave = memif.interface(&socket).id(id).queues(4).reconnect(Duration::from_secs(86_400));
        let slave = slave.open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
        assert_eq!((rings(&slave), rings(master)), ((count, count), (count, count)));
        assert_eq!(slave.details().unwrap().last_disconnect, None);
    }
}

#[test]
fn hello_announces_the_limits_of_the_protocol_whatever_the_interfaces_have() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let _master = memif.interface(&socket).master().queues(1).app_name("one queue").open().unwrap();
    let mut client = Channel::connect(&SocketAddress::new(&socket).unwrap()).unwrap();
    assert_ne!(poll_fds(&[client.as_fd()], Some(PATIENCE)).unwrap(), 0);
    let mut bytes = [0; MESSAGE_SIZE];
    assert!(matches!(client.recv(&mut bytes), Ok(Incoming::Message(_))));
    let Message::Hello(hello) = Message::parse(&bytes).unwrap() else { panic!("{bytes:?}") };
    assert_eq!((hello.max_s2m_ring, hello.max_m2s_ring, hello.max_region), (255, 255, 255));
    assert_eq!((hello.max_log2_ring_size, hello.name.to_string()), (14, "one queue".to_owned()));
}

#[test]
fn there_may_be_256_rings_each_way() {
    if !in_child_process("there_may_be_256_rings_each_way", MANY_DESCRIPTORS) {
        return;
    }
    for count in [255, 256] {
        let pair = Pair::of(|builder| builder.queues(count).ring_size(2).buffer_size(64));
        assert_eq!(rings(&pair.master), (count.into(), count.into()));
        for index in 0..count {
            let number = u64::from(index) << 8;
            let (mut tx, mut rx) = (pair.slave.tx(index).unwrap(), pair.master.rx(index).unwrap());
            exchange((&mut tx, &mut rx), number..number + 5, 60..=64);
            let (mut tx, mut rx) = (pair.master.tx(index).unwrap(), pair.slave.rx(index).unwrap());
            exchange((&mut tx, &mut rx), number..number + 5, 60..=64);
        }
    }
}

#[test]
fn rings_have_2_to_16384_descriptors() {
    for log2 in 1..=14 {
        let size = 1 << log2;
        let pair = Pair::with(|builder| builder, |builder| builder.ring_size(size).buffer_size(128));
        let ring = pair.master.details().unwrap().rx[0].ring.unwrap();
        assert_eq!(ring.size, size);
        let (mut tx, mut rx) = pair.s2m();
        exchange((&mut tx, &mut rx), 0..u64::from(size) + 3, 60..=128);
        let (mut tx, mut rx) = pair.m2s();
        exchange((&mut tx, &mut rx), 0..u64::from(size) + 3, 60..=128);
    }
}

#[test]
fn buffers_have_64_to_65535_bytes() {
    for size in [64, 65, 100, 2048, 9000, 65535] {
        let pair = Pair::with(|builder| builder, |builder| builder.ring_size(32).buffer_size(size));
        for interface in [&pair.master, &pair.slave] {
            let details = interface.details().unwrap();
            assert_eq!(details.rx[0].ring.unwrap().buffer_size, size);
            assert_eq!(details.tx[0].ring.unwrap().buffer_size, size);
        }
        let largest = usize::try_from(size).unwrap();
        for (mut tx, mut rx) in [pair.s2m(), pair.m2s()] {
            exchange((&mut tx, &mut rx), 0..100, 1..=largest);
            exchange((&mut tx, &mut rx), 0..100, largest..=largest);
        }
    }
}

#[test]
fn defaults_are_those_of_libmemif() {
    let pair = Pair::of(|builder| builder);
    let details = pair.slave.details().unwrap();
    assert_eq!((details.role, details.id, details.mode), (Role::Slave, 0, Mode::Ethernet));
    assert_eq!((details.rx.len(), details.tx.len()), (1, 1));
    let ring = details.tx[0].ring.unwrap();
    assert_eq!((ring.size, ring.buffer_size), (1024, 2048));
    assert_eq!(details.rx[0].rx_mode, RxMode::Polling);
    assert_eq!(details.name.to_string(), "memif0");
    assert!(details.app_name.to_string().starts_with("memif-rs "));
    assert_eq!(memif_pmd::DEFAULT_SOCKET, "/run/vpp/memif.sock");
}

#[test]
fn numbers_out_of_range_are_named() {
    let memif = Memif::start().unwrap();
    let builder = || memif.interface("@never");
    let day = Duration::from_secs(86_400);
    for (wrong, what, number) in [
        (builder().rx_queues(0), "number of rx queues", 0),
        (builder().rx_queues(257), "number of rx queues", 257),
        (builder().tx_queues(0), "number of tx queues", 0),
        (builder().tx_queues(u16::MAX), "number of tx queues", 65535),
        (builder().ring_size(0), "ring size", 0),
        (builder().ring_size(1), "ring size", 1),
        (builder().ring_size(32768), "ring size", 32768),
        (builder().buffer_size(63), "buffer size", 63),
        (builder().buffer_size(65536), "buffer size", 65536),
        (builder().buffer_size(u32::MAX), "buffer size", u64::from(u32::MAX)),
        (builder().reconnect(Duration::ZERO), "reconnect interval in ms", 0),
        (builder().reconnect(2 * day), "reconnect interval in ms", 172_800_000),
        (builder().silence_timeout(Duration::ZERO), "silence timeout in ms", 0),
        (builder().silence_timeout(day), "silence timeout in ms", 86_400_000),
        (builder().handshake_timeout(Duration::from_nanos(9)), "handshake timeout in ms", 0),
        (builder().handshake_timeout(day), "handshake timeout in ms", 86_400_000),
    ] {
        for wrong in [wrong.clone().slave(), wrong.master()] {
            let error = wrong.open().unwrap_err();
            let Error::OutOfRange { what: named, got, min, max } = error else { panic!("{error}") };
            assert_eq!((named, got), (what, number));
            assert!(got < min || got > max);
            assert!(error.to_string().contains(&number.to_string()), "{error}");
        }
    }
    for size in [3, 1000, 16383] {
        let error = builder().ring_size(size).open().unwrap_err();
        assert!(matches!(error, Error::RingSize { got } if got == size), "{error}");
        assert!(error.to_string().contains(&size.to_string()), "{error}");
    }
}

#[test]
fn names_and_secrets_must_fit_their_fields() {
    let memif = Memif::start().unwrap();
    let builder = || memif.interface(address()).master();
    builder().name("n".repeat(31)).app_name("a".repeat(31)).secret("s".repeat(24)).open().unwrap();
    for (wrong, which) in [
        (builder().name("n".repeat(32)), "interface name"),
        (builder().app_name("a".repeat(32)), "application name"),
        (builder().secret("s".repeat(25)), "secret"),
        (builder().secret(b"a\0b"), "secret"),
    ] {
        let error = wrong.open().unwrap_err();
        assert!(matches!(error, Error::Text { what, .. } if what == which), "{error}");
        assert!(error.to_string().contains(which), "{error}");
    }
}
