//! Ten thousand clients at once that say nothing. They come from a process of their own, which holds as many as the
//! kernel lets it and lets go of the oldest for the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common::{open_descriptors, until};
use hostile_peer::child::{Actor, arrived, part};
use hostile_peer::wire::Wire;
use hostile_peer::{Arena, Ends};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const TEST: &str = "ten_thousand_clients_that_say_nothing";
const CLIENTS: usize = 10_000;
/// Clients that a listener keeps waiting, and what else this process may open meanwhile.
const FEW: usize = 128 + 64;

#[test]
fn ten_thousand_clients_that_say_nothing() {
    if let Some(part) = part() {
        return flood(&part[0]);
    }
    let mut arena = Arena::master();
    let rest = open_descriptors();
    let mut crowd = Actor::new(TEST, &arena.socket);
    let count = |most: &AtomicUsize| most.fetch_max(open_descriptors(), Ordering::Relaxed);
    let (most, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                count(&most);
                thread::yield_now();
            }
        });
        let _ends = Ends(&over);
        crowd.wait_arrived();
        // they are all still there, and one that means business finds its way
        arena.welcomes_a_slave();
    });
    let most = most.into_inner();
    assert!(most <= rest + FEW, "{most} descriptors, {rest} at rest");
    arena.bystander.moves_on();
    crowd.finish();
    until("the end of them all", || open_descriptors() <= rest);
    arena.unharmed_master();
}

fn flood(socket: &str) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let room = maximum.map_or(CLIENTS, |maximum| usize::try_from(maximum).unwrap() - 64).min(CLIENTS);
    let mut clients = VecDeque::with_capacity(room);
    for _ in 0..CLIENTS {
        if clients.len() == room {
            clients.pop_front();
        }
        clients.push_back(Wire::connect(socket));
    }
    arrived();
}
