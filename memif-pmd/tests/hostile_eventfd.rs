//! Eventfds that block, are full, ring all the time or not at all. They belong to both ends, so a peer can do to them
//! what it likes; no thread of ours may wait for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{MANY_DESCRIPTORS, PATIENCE, in_child_process, packet, until};
use hostile_peer::master::Step as MasterStep;
use hostile_peer::memory::Memory;
use hostile_peer::slave::{ScriptedSlave, Step, connect, event};
use hostile_peer::wire::Wire;
use hostile_peer::{Arena, How, VICTIM};
use memif_os::event::{Epoll, Event as Ready, EventFd, Interest, poll_fds};
use memif_pmd::{PeerFault, RxMode, RxQueue, TxQueue};
use memif_ring::layout::Desc;
use memif_ring::message::{Direction, MessageKind};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_setfl};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The most that an eventfd holds.
const FULL: u64 = u64::MAX - 1;

/// Fills the counter again and again, for as long as `business` takes, on a file that blocks for everyone who shares it.
fn kept_full<T>(event: &OwnedFd, business: impl FnOnce() -> T) -> T {
    fcntl_setfl(event, OFlags::empty()).unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let (mut file, ends) = (File::from(event.try_clone().unwrap()), Arc::clone(&over));
    // not scoped: it may be left waiting when a test fails
    let filler = thread::spawn(move || {
        while !ends.load(Ordering::Acquire) {
            file.write_all(&FULL.to_ne_bytes()).unwrap();
        }
    });
    let result = business();
    over.store(true, Ordering::Release);
    let counter = EventFd::from_peer(event.try_clone().unwrap()).unwrap();
    while !filler.is_finished() {
        counter.drain().unwrap(); // lets it out of its last write
    }
    filler.join().unwrap();
    fcntl_setfl(event, OFlags::NONBLOCK).unwrap();
    result
}

/// Sends with interrupts wanted, and does whatever else rings.
fn ring_a_lot(arena: &Arena, tx: &mut TxQueue, consume: impl Fn(u16)) {
    for sequence in 1..200 {
        let how = How::ALL[usize::from(sequence % 2)];
        assert!(how.send(tx, &packet(64, sequence.into())));
        consume(sequence);
        arena.victim.set_rx_mode(0, RxMode::Interrupt).unwrap();
        arena.victim.set_rx_mode(0, RxMode::Adaptive).unwrap();
    }
    assert_eq!(tx.stats().interrupts, 199);
}

fn wait_a_little(rx: &mut RxQueue) {
    for mode in [RxMode::Polling, RxMode::Interrupt, RxMode::Adaptive] {
        rx.set_mode(mode);
        assert!(!rx.wait(Some(Duration::from_millis(2))).unwrap());
        rx.clear_event();
    }
}

#[test]
fn a_slaves_eventfds_that_block_and_are_full() {
    let mut arena = Arena::master();
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    let (mut tx, mut rx) = (arena.victim.tx(0).unwrap(), arena.victim.rx(0).unwrap());
    slave.post();
    kept_full(slave.event(Direction::M2S), || {
        kept_full(slave.event(Direction::S2M), || {
            let post = |sequence| slave.m2s().publish([slave.memory.slot(Direction::M2S, sequence)]);
            ring_a_lot(&arena, &mut tx, post);
            wait_a_little(&mut rx);
            arena.bystander.moves_on();
        });
    });
    assert!(arena.victim.is_up());
    drop((slave, tx, rx));
    arena.unharmed_master();
}

#[test]
fn our_own_eventfds_that_a_master_makes_block_and_fills() {
    let (mut arena, listener) = Arena::slave();
    let master = listener.until(MasterStep::Up);
    until("the victim's link", || arena.victim.is_up());
    let (mut tx, mut rx) = (arena.victim.tx(0).unwrap(), arena.victim.rx(0).unwrap());
    kept_full(master.event(Direction::M2S), || {
        kept_full(master.event(Direction::S2M), || {
            ring_a_lot(&arena, &mut tx, |sequence| master.ring(Direction::S2M).set_tail(sequence));
            wait_a_little(&mut rx);
            arena.bystander.moves_on();
        });
    });
    assert!(arena.victim.is_up());
    drop((master, tx, rx));
    arena.unharmed_slave(listener);
}

/// A slave whose eventfds are these, of S2M and of M2S, with CONNECT still to be sent.
fn with_events(arena: &Arena, events: [OwnedFd; 2]) -> ScriptedSlave {
    let slave = ScriptedSlave::unconnected(Wire::connect(&arena.socket), VICTIM, Memory::new(4, 2048));
    let slave = ScriptedSlave { events, ..slave };
    slave.wire.expect(MessageKind::Hello);
    slave.run(Step::Hello, Step::Rings);
    slave
}

/// An eventfd with a count.
fn counting(flags: EventfdFlags, count: u64) -> OwnedFd {
    let event = eventfd(0, flags).unwrap();
    File::from(event.try_clone().unwrap()).write_all(&count.to_ne_bytes()).unwrap();
    event
}

/// Semaphores give back one count a read, and stay readable for ever: whoever waits on one would never sleep.
#[test]
fn eventfds_that_never_fall_silent() {
    let mut arena = Arena::master_with(|builder| builder.rx_mode(RxMode::Interrupt).notify_interrupts());
    let (direction, index) = (Direction::S2M, 0);
    let flags = [EventfdFlags::SEMAPHORE, EventfdFlags::SEMAPHORE | EventfdFlags::NONBLOCK];
    let cases = flags.iter().flat_map(|flags| [0, 1, FULL].map(|count| (*flags, count)));
    for (times, (flags, count)) in (1..).zip(cases) {
        let slave = with_events(&arena, [counting(flags, count), event()]);
        slave.wire.send(&connect(), &[]);
        assert_eq!(slave.wire.last_words().as_deref(), Some("Interrupt descriptor is a semaphore"));
        arena.blames(PeerFault::SemaphoreEventFd { direction, index }, times);
        until("the link's end", || !arena.victim.is_up());
    }
    // full counters are emptied, and on the rings that we send on nobody of ours waits
    let slave = with_events(&arena, [counting(EventfdFlags::empty(), FULL), counting(flags[0], FULL)]);
    slave.run(Step::Rings, Step::Up);
    let (mut tx, mut rx) = (arena.victim.tx(0).unwrap(), arena.victim.rx(0).unwrap());
    slave.post();
    for sequence in 0..16 {
        assert!(How::Copy.send(&mut tx, &packet(64, sequence)));
        assert!(!rx.wait(Some(Duration::from_millis(1))).unwrap());
    }
    let event = rx.event_fd().unwrap();
    assert_eq!(poll_fds(&[event], Some(Duration::ZERO)).unwrap(), 0);
    arena.bystander.moves_on();
    slave.s2m().publish([slave.memory.packet(0, 64, 1)]);
    assert_eq!(How::Copy.all(&mut rx).len(), 1);
    drop((slave, tx, rx));
    arena.unharmed_master();
}

#[test]
fn rings_without_packets_and_packets_without_rings() {
    let mut arena = Arena::master_with(|builder| builder.rx_mode(RxMode::Interrupt));
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    let mut rx = arena.victim.rx(0).unwrap();
    let mut event = File::from(slave.event(Direction::S2M).try_clone().unwrap());
    for sequence in 0..100u16 {
        event.write_all(&1u64.to_ne_bytes()).unwrap();
        assert!(!rx.wait(Some(Duration::from_secs(30))).unwrap(), "woken for nothing, and told so");
        // a wake-up that the peer steals is made up for by the look before the sleep
        slave.s2m().publish([Desc { length: 60, ..slave.memory.slot(Direction::S2M, sequence) }]);
        let _ = event.read(&mut [0; 8]);
        assert!(rx.wait(Some(Duration::from_secs(30))).unwrap());
        assert_eq!(How::Copy.once(&mut rx).len(), 1);
    }
    arena.bystander.moves_on();
    drop((slave, rx));
    arena.unharmed_master();
}

/// The kernel runs the callbacks of all watches on the thread that notifies.
#[test]
fn a_peer_with_very_many_watches_is_notified_rarely() {
    if !in_child_process("a_peer_with_very_many_watches_is_notified_rarely", MANY_DESCRIPTORS) {
        return;
    }
    let arena = Arena::master();
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    let mut tx = arena.victim.tx(0).unwrap();
    slave.post();
    let event = slave.event(Direction::M2S);
    let copies: Vec<_> = (0..400).map(|_| event.try_clone().unwrap()).collect();
    let watches: Vec<_> = (0..360).map(|_| Epoll::new().unwrap()).collect();
    for (epoll, copy) in watches.iter().flat_map(|epoll| copies.iter().map(move |copy| (epoll, copy))) {
        epoll.add(copy, 0, Interest::READ | Interest::EDGE).unwrap();
    }
    for sequence in 1..=500 {
        assert!(How::ALL[usize::from(sequence % 2)].send(&mut tx, &packet(64, sequence.into())));
        slave.m2s().publish([slave.memory.slot(Direction::M2S, sequence)]);
    }
    let stats = tx.stats();
    assert_eq!(stats.interrupts + stats.interrupts_deferred, 500);
    assert!(stats.interrupts < 250, "{stats:?}");
    // with the next link, and without the watches, it is notified every time
    drop((watches, slave));
    until("the link's end", || !arena.victim.is_up());
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Up);
    slave.post();
    let deferred = tx.stats().interrupts_deferred;
    for sequence in 1..=10 {
        assert!(How::Copy.send(&mut tx, &packet(64, sequence)));
    }
    assert_eq!(tx.stats().interrupts_deferred, deferred);
    arena.bystander.finish();
}

/// Has the kernel refuse asynchronous I/O to this thread and those that it starts, for good.
fn refuse_asynchronous_io() {
    let refused = [(libc::SYS_io_setup, Vec::new())].into_iter().collect();
    let errno = u32::try_from(libc::EPERM).unwrap();
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter =
        SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(errno), architecture).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// A plain write to an eventfd could wait for the peer. So where a sandbox forbids asynchronous I/O, whoever changes a mode does
/// not write, and the sleeper is woken all the same.
#[test]
fn a_change_of_mode_writes_to_no_eventfd_without_asynchronous_io() {
    if !in_child_process("a_change_of_mode_writes_to_no_eventfd_without_asynchronous_io", ":") {
        return;
    }
    refuse_asynchronous_io();
    let own = EventFd::new().unwrap();
    assert!(!own.try_notify().unwrap(), "there is asynchronous I/O");
    let (mut arena, listener) = Arena::slave();
    let master = listener.until(MasterStep::Up);
    until("the victim's link", || arena.victim.is_up());
    let event = master.event(Direction::M2S);
    fcntl_setfl(event, OFlags::empty()).unwrap();
    let watch = Epoll::new().unwrap();
    watch.add(event, 0, Interest::READ | Interest::EDGE).unwrap();
    let mut rx = arena.victim.rx(0).unwrap();
    rx.set_mode(RxMode::Polling);
    assert!(!rx.wait(Some(Duration::ZERO)).unwrap());
    while watch.wait(&mut [Ready::NONE], Some(Duration::ZERO)).unwrap() > 0 {}
    let asleep = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            while asleep.load(Ordering::Acquire) {
                arena.victim.set_rx_mode(0, RxMode::Polling).unwrap();
            }
        });
        let start = Instant::now();
        let packets = rx.wait(Some(2 * PATIENCE));
        asleep.store(false, Ordering::Release);
        assert!(!packets.unwrap() && start.elapsed() < PATIENCE, "not woken");
    });
    assert_eq!(
        watch.wait(&mut [Ready::NONE], Some(Duration::ZERO)).unwrap(),
        0,
        "somebody wrote to the eventfd"
    );
    arena.bystander.moves_on();
    drop((master, rx));
    arena.unharmed_slave(listener);
}
