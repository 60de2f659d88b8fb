//! Descriptors whose `close` waits for as long as their maker likes. Whoever closes one of a peer's has to wait for it, so
//! it must be nobody that others wait for: not the control plane, nor a thread that asks it for anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Holdings, address, until};
use hostile_peer::bystander::Bystander;
use hostile_peer::lingering::{LINGER, Lingering, pass};
use hostile_peer::master::{self, ScriptedListener, ScriptedMaster, Step as MasterStep};
use hostile_peer::memory::memfd;
use hostile_peer::probe::at_once;
use hostile_peer::slave::{ScriptedSlave, Step, connect};
use hostile_peer::wire::Wire;
use hostile_peer::{Arena, Ends, VICTIM};
use memif_pmd::{Interface, Memif};
use memif_ring::message::{Direction, Message};
use rustix::fs::MemfdFlags;

/// Everything that a program asks of a control plane, while somebody still closes the descriptor.
fn answers(memif: &Memif, victim: &Interface, lingering: &Lingering) {
    lingering.wait_closing();
    at_once("is_up", || victim.is_up());
    at_once("details", || victim.details().unwrap());
    at_once("stranger_faults", || memif.stranger_faults());
    let master = at_once("opening a master", || memif.interface(address()).master().open().unwrap());
    let slave = at_once("opening a slave", || memif.interface(address()).slave().open().unwrap());
    at_once("dropping a master", || drop(master));
    at_once("dropping a slave", || drop(slave));
    assert!(lingering.is_closing(), "this shows nothing unless somebody is still waiting");
}

fn others_go_on(arena: &mut Arena, lingering: &Lingering) {
    answers(&arena.memif, &arena.victim, lingering);
    arena.bystander.moves_on();
    assert!(lingering.is_closing());
}

/// Passes the descriptor on, one way or another.
type Passes = fn(&Arena, BorrowedFd<'_>) -> ScriptedSlave;
/// What then makes the victim close it.
type Then = fn(ScriptedSlave);

const AS_REGION: Passes = |arena, fd| {
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
    slave.tell(&slave.region(), Some(fd));
    slave
};

/// With a message that is refused as soon as it is read.
fn with(
    arena: &Arena,
    step: Step,
    message: fn(&ScriptedSlave) -> Message,
    fds: &[BorrowedFd<'_>],
) -> ScriptedSlave {
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
    slave.wire.send(&message(&slave), fds);
    slave
}

const WAYS: [(&str, Passes, Then); 9] = [
    ("a region before INIT", |arena, fd| with(arena, Step::Hello, ScriptedSlave::region, &[fd]), drop),
    ("a region of a slave that goes away", AS_REGION, drop),
    ("a region that is to be mapped", AS_REGION, |slave| {
        slave.run(Step::Region, Step::Rings);
        slave.wire.send(&connect(), &[]);
        assert_eq!(slave.wire.last_words().as_deref(), Some("Region cannot be mapped"));
    }),
    (
        "an eventfd",
        |arena, fd| {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Region);
            slave.tell(&slave.ring_message(Direction::S2M), Some(fd));
            slave
        },
        |slave| {
            slave.tell(&slave.ring_message(Direction::M2S), Some(slave.event(Direction::M2S).as_fd()));
            slave.wire.send(&connect(), &[]);
            assert_eq!(slave.wire.last_words().as_deref(), Some("Interrupt descriptor is no eventfd"));
        },
    ),
    (
        "a surplus descriptor",
        |arena, fd| {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
            slave.wire.send(&slave.region(), &[slave.memory.fd(), fd]);
            slave
        },
        drop,
    ),
    (
        "the third of several",
        |arena, fd| {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
            let own = slave.memory.fd();
            slave.wire.send(&slave.region(), &[own, own, fd, own]);
            slave
        },
        drop,
    ),
    (
        "the last of as many as there can be",
        |arena, fd| {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
            let mut fds = vec![slave.memory.fd(); 252];
            fds.push(fd);
            slave.wire.send(&slave.region(), &fds);
            slave
        },
        drop,
    ),
    ("a descriptor where none belongs", |arena, fd| with(arena, Step::Up, |_| connect(), &[fd]), drop),
    (
        "a descriptor with a datagram of the wrong size",
        |arena, fd| {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
            slave.wire.send_bytes(&[1; 127], &[fd]);
            slave
        },
        drop,
    ),
];

#[test]
fn a_master_closes_what_lingers_without_holding_anybody_up() {
    let mut arena = Arena::master();
    for (what, passes, then) in WAYS {
        println!("{what}");
        let (slave, lingering) = pass(LINGER, |fd| passes(&arena, fd));
        then(slave);
        others_go_on(&mut arena, &lingering);
        until("the end of the link", || !arena.victim.is_up());
        arena.welcomes_a_slave();
        until("the end of the good link", || !arena.victim.is_up());
        assert!(lingering.is_closing());
    }
    arena.unharmed_master();
}

#[test]
fn a_slave_closes_what_lingers_without_holding_anybody_up() {
    let (mut arena, listener) = Arena::slave();
    for step in MasterStep::ALL {
        for message in master::one_of_each() {
            let (master, lingering) = pass(LINGER, |fd| {
                let master = listener.until(step);
                master.wire.send(&message, &[fd]);
                master
            });
            println!("{} at {step:?}", message.kind());
            others_go_on(&mut arena, &lingering);
            drop(master);
        }
    }
    let (master, lingering) = pass(LINGER, |fd| {
        let master = listener.until(MasterStep::Accepted);
        let own = memfd(MemfdFlags::empty());
        let mut fds = vec![own.as_fd(); 252];
        fds.push(fd);
        master.wire.send_bytes(&[1; 127], &fds);
        master
    });
    drop(master);
    others_go_on(&mut arena, &lingering);
    arena.unharmed_slave(listener);
}

/// Whole crowds of them: however many threads the process spends on it, they are all waiting.
#[test]
fn nobody_waits_for_a_hundred_of_them() {
    let before = Holdings::at_rest();
    let mut arena = Arena::master();
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let (slave, lingering) = pass(LINGER, |fd| with(&arena, Step::Hello, ScriptedSlave::region, &[fd]));
        drop(slave);
        crowd.push(lingering);
    }
    others_go_on(&mut arena, &crowd[0]);
    arena.welcomes_a_slave();
    assert!(crowd[0].is_closing());
    drop(crowd);
    arena.unharmed_master();
    before.until_back();
}

/// A control plane that the test polls itself, so that nothing is read before all has been sent.
struct Still {
    memif: Memif,
    bystander: Bystander,
    socket: String,
}

impl Still {
    fn new() -> Self {
        let memif = Memif::new().unwrap();
        let bystander = polled(&memif, || Bystander::new(&memif, &address()));
        Self { memif, bystander, socket: address() }
    }

    /// Polls until somebody closes the descriptor; nobody has to wait for it.
    fn goes_on(mut self, victim: Interface, lingering: &Lingering) {
        let poll = || self.memif.poll(Some(Duration::from_millis(10))).unwrap();
        until("somebody closes the descriptor", || {
            at_once("poll", poll);
            lingering.is_closing()
        });
        answers(&self.memif, &victim, lingering);
        at_once("poll", poll);
        self.bystander.moves_on();
        self.bystander.finish();
        at_once("dropping the victim", || drop(victim));
        at_once("dropping the control plane", || drop(self.memif));
        assert!(lingering.is_closing());
    }
}

/// Polls for as long as `business` takes.
fn polled<T>(memif: &Memif, business: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                memif.poll(Some(Duration::from_millis(1))).unwrap();
            }
        });
        let _ends = Ends(&over);
        business()
    })
}

#[test]
fn a_master_hangs_up_with_a_lingering_descriptor_unread() {
    let still = Still::new();
    let victim = still.memif.interface(&still.socket).master().id(VICTIM).open().unwrap();
    let wire = Wire::connect(&still.socket);
    let (_, lingering) = pass(LINGER, |fd| {
        wire.send_bytes(&[1; 127], &[]);
        wire.send(&Message::Ack, &[fd]);
    });
    still.goes_on(victim, &lingering);
}

#[test]
fn a_slave_hangs_up_with_a_lingering_descriptor_unread() {
    let still = Still::new();
    let listener = ScriptedListener::new(&still.socket);
    let victim = still.memif.interface(&still.socket).slave().id(VICTIM).open().unwrap();
    let master: ScriptedMaster = polled(&still.memif, || listener.until(MasterStep::Accepted));
    let (_, lingering) = pass(LINGER, |fd| {
        master.wire.send_bytes(&[1; 127], &[]);
        master.wire.send(&Message::Ack, &[fd]);
    });
    still.goes_on(victim, &lingering);
}

/// Closing a listener closes what its clients have sent before they were accepted.
#[test]
fn a_listener_goes_with_a_lingering_descriptor_in_its_backlog() {
    let still = Still::new();
    let victim = still.memif.interface(&still.socket).master().id(VICTIM).open().unwrap();
    let other = still.memif.interface(address()).master().open().unwrap();
    let wire = Wire::connect(&still.socket);
    let (_, lingering) = pass(LINGER, |fd| wire.send(&Message::Ack, &[fd]));
    at_once("dropping the last master of a listener", || drop(victim));
    still.goes_on(other, &lingering);
}
