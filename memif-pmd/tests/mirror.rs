//! Copies of what interfaces receive and send.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use memif_pmd::{Burst, Direction, Memif, Mirror, MirrorDirection, Role, RxQueue, TxQueue};

use common::{PATIENCE, Pair, address, packet, until};

type Written = Arc<Mutex<Vec<(Direction, MirrorDirection, Vec<u8>)>>>;

/// A mirror that keeps what it is given.
fn keeping() -> (Mirror, Written) {
    let written = Written::default();
    let kept = Arc::clone(&written);
    let mirror = Mirror::start(usize::MAX, usize::MAX, move |burst| {
        assert!(burst.time() <= SystemTime::now());
        let source = burst.source();
        let packets = burst.packets().map(|packet| {
            assert_eq!(packet.bytes.len(), packet.length);
            (source.ring(), source.direction(), packet.bytes.to_vec())
        });
        kept.lock().unwrap().extend(packets);
    });
    (mirror.unwrap(), written)
}

/// Passes packets of these numbers and sizes.
fn pass((tx, rx): (&mut TxQueue, &mut RxQueue), numbers: std::ops::Range<u64>, size: usize) {
    let (mut out, mut inbox) = (Burst::new(16).unwrap(), Burst::new(16).unwrap());
    let (mut next, mut arrived) = (numbers.start, numbers.start);
    until("packets to pass", || {
        while next < numbers.end && out.push(&packet(size, next)).is_ok() {
            next += 1;
        }
        tx.send(&mut out);
        rx.receive(&mut inbox);
        for received in &inbox {
            assert_eq!(received, packet(size, arrived));
            arrived += 1;
        }
        inbox.clear();
        arrived == numbers.end
    });
}

#[test]
fn packets_of_both_directions_are_copied_in_order_while_there_is_a_mirror() {
    let pair = Pair::of(|builder| builder.ring_size(32));
    let (mut s2m, mut m2s) = (pair.s2m(), pair.m2s());
    pass((&mut s2m.0, &mut s2m.1), 0..100, 64);
    let (mirror, written) = keeping();
    pair.master.set_mirror(Some(&mirror)).unwrap();
    pass((&mut s2m.0, &mut s2m.1), 100..300, 64);
    pass((&mut m2s.0, &mut m2s.1), 300..500, 5000);
    // of a mirror's own end alone, and on a new link as well
    let other = keeping();
    pair.slave.set_mirror(Some(&other.0)).unwrap();
    pair.master.set_mirror(None).unwrap();
    pass((&mut s2m.0, &mut s2m.1), 500..510, 64);
    pair.slave.set_mirror(None).unwrap();
    pass((&mut s2m.0, &mut s2m.1), 510..600, 64);
    mirror.finish();
    other.0.finish();
    let received = (100..300).map(|number| (Direction::S2M, MirrorDirection::Received, packet(64, number)));
    let sent = (300..500).map(|number| (Direction::M2S, MirrorDirection::Sent, packet(5000, number)));
    assert!(*written.lock().unwrap() == received.chain(sent).collect::<Vec<_>>());
    let sent = (500..510).map(|number| (Direction::S2M, MirrorDirection::Sent, packet(64, number)));
    assert!(*other.1.lock().unwrap() == sent.collect::<Vec<_>>());

    let sources = mirror.sources();
    let [rx, tx] = sources.as_slice() else { panic!("{sources:?}") };
    assert_eq!((rx.packets(), rx.dropped(), tx.packets(), tx.dropped()), (200, 0, 200, 0));
    assert_eq!((rx.role(), rx.id(), rx.queue(), rx.number(), tx.number()), (Role::Master, 0, 0, 0, 1));
}

#[test]
fn a_mirror_goes_on_over_links() {
    let pair = Pair::of(|builder| builder);
    let (mirror, written) = keeping();
    pair.master.set_mirror(Some(&mirror)).unwrap();
    let (memif, socket) = (Memif::start().unwrap(), pair.master.details().unwrap().socket);
    let mut rx = pair.master.rx(0).unwrap();
    pass((&mut pair.slave.tx(0).unwrap(), &mut rx), 0..10, 64);
    pair.slave.shut_down();
    assert!(pair.master.wait_down(Some(PATIENCE)).unwrap());
    let slave = memif.interface(&socket).slave().open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    pair.master.wait_up(Some(PATIENCE)).unwrap();
    pass((&mut slave.tx(0).unwrap(), &mut rx), 10..20, 64);
    mirror.finish();
    assert_eq!(written.lock().unwrap().len(), 20);
}

/// A writer that waits until it is let go, and says that it has begun.
fn waiting(limit: usize) -> (Mirror, Receiver<()>, Sender<()>) {
    let ((begun, begins), (go, goes)) = (channel(), channel::<()>());
    let mirror = Mirror::start(limit, usize::MAX, move |_| {
        let _ = begun.send(());
        let _ = goes.recv();
    });
    (mirror.unwrap(), begins, go)
}

#[test]
fn what_finds_no_room_is_counted_and_passes() {
    let pair = Pair::of(|builder| builder);
    let (mirror, begins, go) = waiting(64 * 100);
    pair.slave.set_mirror(Some(&mirror)).unwrap();
    let mut s2m = pair.s2m();
    pass((&mut s2m.0, &mut s2m.1), 0..1, 64);
    begins.recv_timeout(PATIENCE).unwrap();
    // the writer does not come back: nobody waits for it
    pass((&mut s2m.0, &mut s2m.1), 1..2000, 64);
    let source = Arc::clone(&mirror.sources()[1]);
    assert_eq!(source.direction(), MirrorDirection::Sent);
    assert!(source.packets() <= 100 && source.packets() + source.dropped() == 2000, "{source:?}");
    drop(go);
    mirror.finish();
    // it takes no more
    let dropped = source.dropped();
    pass((&mut s2m.0, &mut s2m.1), 0..10, 64);
    assert_eq!(source.dropped(), dropped + 10);
}

#[test]
fn packets_that_are_too_large_for_the_ring_are_not_sent_and_not_copied() {
    let pair = Pair::of(|builder| builder.ring_size(2).buffer_size(128));
    let (mirror, written) = keeping();
    pair.slave.set_mirror(Some(&mirror)).unwrap();
    let (mut tx, mut rx) = pair.s2m();
    let (mut burst, mut inbox) = (Burst::new(3).unwrap(), Burst::new(3).unwrap());
    for (number, size) in [(0, 3000), (1, 100), (2, 3000)] {
        burst.push(&packet(size, number)).unwrap();
    }
    let mut sent = 0;
    until("packets to leave the burst", || {
        sent += tx.send(&mut burst);
        rx.receive(&mut inbox);
        burst.is_empty()
    });
    assert_eq!(sent, 1);
    mirror.finish();
    assert!(*written.lock().unwrap() == [(Direction::S2M, MirrorDirection::Sent, packet(100, 1))]);
}

#[test]
fn packets_that_are_forwarded_in_place_are_copied_at_both_interfaces() {
    let memif = Memif::start().unwrap();
    let memory = memif.packet_memory().buffers(4096).allocate().unwrap();
    let ends = [address(), address()].map(|socket| {
        let master = memif.interface(&socket).master().open().unwrap();
        let slave = memif.interface(&socket).slave().packet_memory(&memory).open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
        (master, slave)
    });
    let [(first, left), (second, right)] = &ends;
    let (mirror, written) = keeping();
    for interface in [left, right] {
        interface.set_mirror(Some(&mirror)).unwrap();
    }
    let (mut tx, mut rx) = (first.tx(0).unwrap(), second.rx(0).unwrap());
    let (mut from, mut to) = (left.rx(0).unwrap(), right.tx(0).unwrap());
    let (mut out, mut inbox) = (Burst::new(4).unwrap(), Burst::new(4).unwrap());
    for number in 0..4 {
        out.push(&packet(3000, number)).unwrap();
    }
    until("packets to be sent", || {
        tx.send(&mut out);
        out.is_empty()
    });
    let mut forwarded = 0;
    until("packets to be forwarded", || {
        forwarded += from.forward_to(&mut to, 3).unwrap();
        rx.receive(&mut inbox);
        forwarded == 4 && inbox.len() == 4
    });
    mirror.finish();
    let of = |direction| {
        let written = written.lock().unwrap();
        let packets = written.iter().filter(|(_, found, _)| *found == direction);
        packets.map(|(_, _, bytes)| bytes.clone()).collect::<Vec<_>>()
    };
    let expected: Vec<_> = (0..4).map(|number| packet(3000, number)).collect();
    assert!(of(MirrorDirection::Received) == expected && of(MirrorDirection::Sent) == expected);
}
