//! Peers that take their time in the handshake: they are waited for, as long as they are not silent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::thread;
use std::time::Duration;

use common::PATIENCE;
use hostile_peer::master::{self, ScriptedMaster};
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::{Arena, VICTIM};

/// Longest silence, and how long a slow peer waits before each of its messages: several of them take longer.
const SILENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(250);

#[test]
fn a_slave_waits_for_a_master_that_answers_slowly() {
    let (arena, listener) =
        Arena::slave_with(|b| b.silence_timeout(SILENCE).reconnect(Duration::from_secs(86_400)));
    let mut master = ScriptedMaster::on(listener.accept());
    master.pause = PAUSE;
    master.run(master::Step::Up);
    arena.victim.wait_up(Some(PATIENCE)).unwrap();
    assert_eq!(arena.details().last_disconnect, None);
}

#[test]
fn a_master_waits_for_a_slave_that_answers_slowly() {
    let arena = Arena::master_with(|builder| builder.silence_timeout(SILENCE));
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Hello);
    for (from, to) in Step::ALL.into_iter().zip(Step::ALL.into_iter().skip(1)) {
        thread::sleep(2 * PAUSE);
        slave.run(from, to);
    }
    arena.victim.wait_up(Some(PATIENCE)).unwrap();
    assert_eq!(arena.all_faults(), 0);
}
