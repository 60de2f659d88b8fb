//! Peers in processes of their own that are killed at every step of the handshake, or stopped with the link up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::thread;
use std::time::Duration;

use common::{PATIENCE, check, events, packet, until};
use hostile_peer::child::{Actor, arrived, part};
use hostile_peer::master::{ScriptedListener, Step as MasterStep};
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::{Arena, How, VICTIM};
use memif_os::huge_pages::HugePages;
use memif_pmd::{Burst, Disconnect, Event, Memif, forward};
use rustix::process::Signal;

#[test]
fn a_slave_killed_at_every_step() {
    if let Some(part) = part() {
        let _slave = ScriptedSlave::until(&part[0], VICTIM, Step::ALL[part[1].parse::<usize>().unwrap()]);
        return arrived();
    }
    let mut arena = Arena::master();
    for (place, step) in Step::ALL.into_iter().enumerate() {
        let mut actor = Actor::new("a_slave_killed_at_every_step", &format!("{} {place}", arena.socket));
        actor.wait_arrived();
        assert_eq!(arena.victim.is_up(), step == Step::Up);
        actor.signal(Signal::KILL);
        if step != Step::Hello {
            arena.ended_with(&Disconnect::Closed);
            until("the link's end", || !arena.victim.is_up());
        }
        drop(actor);
        arena.bystander.moves_on();
        // something else for the next to be told from
        let other = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
        other.wire.send_bytes(&[0], &[]);
        assert_eq!(other.wire.last_words().as_deref(), Some("Invalid message size"));
    }
    arena.unharmed_master();
}

#[test]
fn a_master_killed_at_every_step() {
    if let Some(part) = part() {
        let listener = ScriptedListener::new(&part[0]);
        let _master = listener.until(MasterStep::ALL[part[1].parse::<usize>().unwrap()]);
        return arrived();
    }
    let (handler, heard) = events();
    let (mut arena, listener) = Arena::slave_with(|builder| builder.on_event(handler));
    drop(listener);
    for (place, step) in MasterStep::ALL.into_iter().enumerate() {
        let mut actor = Actor::new("a_master_killed_at_every_step", &format!("{} {place}", arena.socket));
        actor.wait_arrived();
        if step == MasterStep::Up {
            until("the victim's link", || arena.victim.is_up());
        }
        heard.try_iter().for_each(drop); // that there was nobody, so far
        actor.signal(Signal::KILL);
        let expected = match step {
            MasterStep::Up => Event::Disconnected(Disconnect::Closed),
            _ => Event::ConnectFailed(Disconnect::Closed),
        };
        until("the link's end", || common::next(&heard) == expected);
        drop(actor);
        arena.bystander.moves_on();
    }
    arena.finds_a_master();
    arena.bystander.finish();
}

/// Sends until nothing fits any more.
fn fill(tx: &mut memif_pmd::TxQueue, next: &mut u64) {
    while How::Copy.send(tx, &packet(200, *next)) {
        *next += 1;
    }
}

#[test]
fn a_peer_stopped_and_continued() {
    if let Some(part) = part() {
        return echo(&part[0], &part[1]);
    }
    for role in ["slave", "master"] {
        let (handler, heard) = events();
        let mut arena = match role {
            "slave" => Arena::master_with(|builder| builder.on_event(handler)),
            _ => Arena::slave_with(|builder| builder.on_event(handler).ring_size(256)).0,
        };
        let mut actor = Actor::new("a_peer_stopped_and_continued", &format!("{role} {}", arena.socket));
        actor.wait_arrived();
        until("the victim's link", || arena.victim.is_up());
        let (mut tx, mut rx) = (arena.victim.tx(0).unwrap(), arena.victim.rx(0).unwrap());
        let (mut sent, mut back) = (0, 0);
        for _ in 0..3 {
            actor.signal(Signal::STOP);
            fill(&mut tx, &mut sent);
            thread::sleep(Duration::from_millis(500)); // as if it were debugged
            fill(&mut tx, &mut sent); // it took a little before it stopped
            let mut burst = Burst::new(1).unwrap();
            burst.push(b"no room for this").unwrap();
            for _ in 0..1000 {
                assert_eq!(tx.send(&mut burst) + tx.reserve(16, 2048).len(), 0, "nobody takes anything");
                take(&mut rx, &mut back);
            }
            arena.bystander.moves_on();
            assert!(arena.victim.is_up(), "a stopped peer is not a dead one");
            actor.signal(Signal::CONT);
            until("all packets", || {
                take(&mut rx, &mut back);
                back == sent
            });
        }
        assert_eq!(tx.stats().dropped() + rx.stats().dropped(), 0);
        drop((tx, rx));
        actor.signal(Signal::STOP);
        actor.signal(Signal::KILL);
        until("the link's end", || common::next(&heard) == Event::Disconnected(Disconnect::Closed));
        drop(actor);
        if role == "slave" {
            arena.welcomes_a_slave();
        } else {
            arena.finds_a_master();
        }
        arena.bystander.finish();
    }
}

fn take(rx: &mut memif_pmd::RxQueue, back: &mut u64) {
    for packet in How::Copy.once(rx) {
        check(&packet, *back);
        *back += 1;
    }
}

/// An honest peer that sends everything back, until it is killed.
fn echo(role: &str, socket: &str) {
    let memif = Memif::start().unwrap();
    let builder = memif.interface(socket).id(VICTIM).ring_size(256).huge_pages(HugePages::Off);
    let builder = builder.reconnect(Duration::from_millis(5));
    let interface = if role == "slave" { builder.slave() } else { builder.master() }.open().unwrap();
    interface.wait_up(Some(PATIENCE)).unwrap();
    println!("arrived");
    let mut queues = (interface.rx(0).unwrap(), interface.tx(0).unwrap());
    let mut burst = Burst::new(64).unwrap();
    until("the end", || {
        forward(&mut queues, &mut burst);
        !interface.is_up()
    });
}
