//! Descriptors where none belong, none where one belongs, and of every wrong kind. One test, as it counts those of the
//! whole process after each message: not one may stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

pub(crate) mod common;
mod hostile_peer;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use common::{open_descriptors, settle, until};
use hostile_peer::master::Step as MasterStep;
use hostile_peer::memory::{Memory, memfd};
use hostile_peer::slave::{ScriptedSlave, Step, connect, event};

use hostile_peer::{Arena, VICTIM, master};
use memif_os::event::{Epoll, TimerFd};
use memif_pmd::{Disconnect, FaultKind, PeerFault};
use memif_ring::message::{Direction, Message, Name, Reason};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, open};

#[test]
fn no_descriptor_stays_whatever_comes() {
    let mut arena = Arena::master();
    settle();
    let rest = open_descriptors();
    let all_gone = |what: &str| until(what, || open_descriptors() == rest);

    every_message_with_every_count(&arena, &all_gone);
    arena.bystander.moves_on();
    descriptors_on_datagrams_of_wrong_sizes(&arena, &all_gone);
    files_that_are_no_regions(&arena, &all_gone);
    arena.bystander.moves_on();
    files_that_are_no_eventfds(&arena, &all_gone);

    arena.welcomes_a_slave();
    all_gone("after a good slave");
    arena.bystander.finish();

    every_message_of_a_master_with_every_count();
}

/// A message and the step before which it is right.
fn each_kind(slave: &ScriptedSlave) -> [(Message, bool); 8] {
    let if_name = Name::new("any").unwrap();
    [
        (Message::Ack, false),
        (Message::Hello(master::hello()), false),
        (slave.init(), false),
        (slave.region(), true),
        (slave.ring_message(Direction::S2M), true),
        (Message::Connect { if_name }, false),
        (Message::Connected { if_name }, false),
        (Message::Disconnect { code: 0, reason: Reason::truncated("bye") }, false),
    ]
}

fn every_message_with_every_count(arena: &Arena, all_gone: &dyn Fn(&str)) {
    for step in Step::ALL {
        for place in 0..8 {
            for count in [0, 1, 2, 253] {
                let slave = ScriptedSlave::until(&arena.socket, VICTIM, step);
                let (message, takes_one) = each_kind(&slave)[place];
                let right = usize::from(takes_one);
                if count == right {
                    continue; // about order, not about descriptors
                }
                let on = message.kind();
                let fault = match (takes_one, count) {
                    (false, _) => PeerFault::FdUnexpected { on },
                    (true, 0) => PeerFault::FdMissing { on },
                    // of more than two none are taken, so that they are not counted
                    (true, _) => PeerFault::SurplusFds { on, surplus: (count - 1).min(2) },
                };
                let before = arena.faults_at(step, fault.kind());
                slave.wire.send(&message, &vec![slave.memory.fd(); count]);
                let what = format!("{on} with {count} descriptors at {step:?}");
                assert_eq!(slave.wire.last_words().as_deref(), Some(fault.reason()), "{what}");
                assert_eq!(arena.faults_at(step, fault.kind()), before + 1, "{what}");
                if step != Step::Hello {
                    arena.ended_with(&fault.into());
                }
                drop(slave);
                all_gone(&what);
            }
        }
    }
}

/// To a slave none may ever come, whatever its master says.
fn every_message_of_a_master_with_every_count() {
    let (mut arena, listener) = Arena::slave();
    let rest = open_descriptors(); // with the slave's next attempt waiting for us
    for step in MasterStep::ALL {
        for message in master::one_of_each() {
            for count in [1, 2, 253] {
                let on = message.kind();
                let what = format!("{on} with {count} descriptors at {step:?}");
                let before = arena.faults(FaultKind::FdUnexpected);
                let scripted = listener.until(step);
                let fd = memfd(MemfdFlags::empty());
                scripted.wire.send(&message, &vec![fd.as_fd(); count]);
                assert_eq!(
                    scripted.wire.last_words().as_deref(),
                    Some("Unexpected file descriptor"),
                    "{what}"
                );
                arena.ended_with(&PeerFault::FdUnexpected { on }.into());
                assert_eq!(arena.faults(FaultKind::FdUnexpected), before + 1, "{what}");
                drop((scripted, fd));
                // a slave keeps the memory of a failed attempt for the next one with the same master
                until(&what, || (rest..=rest + 1).contains(&open_descriptors()));
            }
        }
        arena.bystander.moves_on();
    }
    arena.unharmed_slave(listener);
}

fn descriptors_on_datagrams_of_wrong_sizes(arena: &Arena, all_gone: &dyn Fn(&str)) {
    for len in [0, 1, 127, 129, 256, 257, 5000] {
        for count in [1, 2, 253] {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
            slave.wire.send_bytes(&vec![4; len], &vec![slave.memory.fd(); count]);
            assert_eq!(slave.wire.last_words().as_deref(), Some("Invalid message size"));
            drop(slave);
            all_gone("after a datagram of the wrong size");
        }
    }
}

/// Descriptors that a slave might pass off as its memory, and whether the kernel would take them for it.
fn no_regions() -> Vec<(&'static str, OwnedFd)> {
    let file = |path: &str, flags| open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let write_sealed = {
        let fd = memfd(MemfdFlags::ALLOW_SEALING);
        rustix::fs::ftruncate(&fd, 1 << 20).unwrap();
        fcntl_add_seals(&fd, SealFlags::WRITE).unwrap();
        fd
    };
    let read_only = {
        let memory = Memory::new(4, 2048);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory.fd()));
        OwnedFd::from(File::open(path).unwrap())
    };
    let path_only = {
        let memory = Memory::new(4, 2048);
        file(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&memory.fd())), OFlags::PATH)
    };
    let (pipe, writer) = std::io::pipe().unwrap();
    vec![
        ("the reading end of a pipe", pipe.into()),
        ("the writing end of a pipe", writer.into()),
        ("a directory", file("/", OFlags::RDONLY | OFlags::DIRECTORY)),
        ("a socket", UnixStream::pair().unwrap().0.into()),
        ("/dev/zero", file("/dev/zero", OFlags::RDWR)),
        ("/dev/null", file("/dev/null", OFlags::RDWR)),
        ("a file of /proc", file("/proc/self/status", OFlags::RDONLY)),
        ("an eventfd", event()),
        ("an epoll set", Epoll::new().unwrap().as_fd().try_clone_to_owned().unwrap()),
        ("a timer", TimerFd::new().unwrap().as_fd().try_clone_to_owned().unwrap()),
        ("memory that may only be read", read_only),
        ("memory by its path only", path_only),
        ("memory sealed against writing", write_sealed),
    ]
}

/// Goes through a handshake with `fd` as the region, to the end.
fn offer(arena: &Arena, fd: &OwnedFd) -> Option<String> {
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
    slave.tell(&slave.region(), Some(fd.as_fd()));
    slave.run(Step::Region, Step::Rings);
    slave.wire.send(&connect(), &[]);
    slave.wire.last_words()
}

fn files_that_are_no_regions(arena: &Arena, all_gone: &dyn Fn(&str)) {
    for (times, (what, fd)) in (1..).zip(no_regions()) {
        assert_eq!(offer(arena, &fd).as_deref(), Some("Region cannot be mapped"), "{what}");
        assert_eq!(arena.faults(FaultKind::RegionUnmappable), times, "{what}");
        let Some(Disconnect::Fault(PeerFault::RegionUnmappable { region: 0, .. })) =
            arena.details().last_disconnect
        else {
            panic!("{what}: {:?}", arena.details().last_disconnect);
        };
    }
    all_gone("files that are no memory");
    for len in [0, 1, 4096] {
        let fd = memfd(MemfdFlags::ALLOW_SEALING);
        rustix::fs::ftruncate(&fd, len).unwrap();
        assert_eq!(offer(arena, &fd).as_deref(), Some("Invalid region size"));
        drop(fd);
        all_gone("a memfd smaller than announced");
    }
    assert_eq!(arena.faults(FaultKind::RegionTooSmall), 3);
}

fn files_that_are_no_eventfds(arena: &Arena, all_gone: &dyn Fn(&str)) {
    let mut kinds = no_regions();
    kinds.retain(|(what, _)| *what != "an eventfd");
    kinds.push(("a region", Memory::new(4, 2048).fd().try_clone_to_owned().unwrap()));
    let mut times = 0;
    for (what, fd) in kinds {
        for bad in [Direction::S2M, Direction::M2S] {
            let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Region);
            for direction in [Direction::S2M, Direction::M2S] {
                let fd = if direction == bad { &fd } else { slave.event(direction) };
                slave.tell(&slave.ring_message(direction), Some(fd.as_fd()));
            }
            slave.wire.send(&connect(), &[]);
            let words = slave.wire.last_words();
            assert_eq!(words.as_deref(), Some("Interrupt descriptor is no eventfd"), "{what}");
            times += 1;
            arena.blames(PeerFault::NotAnEventFd { direction: bad, index: 0 }, times);
        }
    }
    all_gone("descriptors that are no eventfds");
}
