//! Peers that are killed in the middle of traffic: the other side loses a link, and nothing else. The only test of its
//! program, because it counts what the whole process has.
//!
//! `MEMIF_KILLS` says how often each kind of peer is killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

mod common;

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Holdings, PATIENCE, check, fill, length, resident_bytes, shared_mappings, until};
use memif_pmd::{Burst, Idle, Interface, Memif, Role, RxMode, RxQueue, TxQueue, Workers, forward};

const RETRY: Duration = Duration::from_millis(2);
const PEER: &str = "MEMIF_TEST_PEER";
/// Kills until everything that is made once has been made.
const WARM_UP: u64 = 5;

/// With interrupts, so that each thread has from the first what it needs to ring.
fn open(memif: &Memif, role: Role, socket: &str) -> Interface {
    let builder = memif.interface(socket).role(role).reconnect(RETRY).ring_size(128);
    let builder = builder.rx_mode(RxMode::Interrupt);
    builder.open().unwrap()
}

/// A process of its own that sends back what it receives, until it is killed or its parent is gone.
fn be_a_peer(role: Role, socket: &str) {
    let memif = Memif::start().unwrap();
    let interface = open(&memif, role, socket);
    let queues = (interface.rx(0).unwrap(), interface.tx(0).unwrap());
    let _running =
        Workers::new().idle(Idle::Sleep { after: 1000 }).anywhere(queues, forward).start().unwrap();
    // ends with the parent's end of the pipe
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn spawn_peer(role: Role, socket: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(PEER, format!("{role} {socket}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Sends numbered packets and checks what comes back, over however many links. Packets get lost with a link; none is
/// damaged, doubled or out of order.
fn echo_for_ever((mut tx, mut rx): (TxQueue, RxQueue), echoed: &AtomicU64, over: &AtomicBool) {
    let (mut out, mut back) = (Burst::new(32).unwrap(), Burst::new(32).unwrap());
    let (mut number, mut lowest) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        while let Ok(bytes) = out.reserve(length(number, 8, 5000)) {
            fill(bytes, number);
            number += 1;
        }
        if tx.send(&mut out) == 0 {
            rx.wait(Some(RETRY)).unwrap();
        }
        rx.receive(&mut back);
        for got in &back {
            let number = u64::from_le_bytes(*got.first_chunk().unwrap());
            assert!(number >= lowest, "packet {number} after {lowest}");
            assert_eq!(got.len(), length(number, 8, 5000));
            check(got, number);
            lowest = number + 1;
        }
        echoed.fetch_add(back.len() as u64, Ordering::Relaxed);
        back.clear();
    }
}

fn kill_peers(own: Role, peer: Role, socket: &str, kills: u64) {
    let memif = Memif::start().unwrap();
    let interface = open(&memif, own, socket);
    let queues = (interface.tx(0).unwrap(), interface.rx(0).unwrap());
    let (echoed, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let data = {
        let (echoed, over) = (Arc::clone(&echoed), Arc::clone(&over));
        thread::spawn(move || echo_for_ever(queues, &echoed, &over))
    };
    let (mut before, mut bytes_before) = (None, 0);
    for kill in 0..WARM_UP + kills {
        let before_it = echoed.load(Ordering::Relaxed);
        let mut child = spawn_peer(peer, socket);
        until("some traffic", || echoed.load(Ordering::Relaxed) > before_it + 200 || data.is_finished());
        assert!(!data.is_finished());
        child.kill().unwrap();
        child.wait().unwrap();
        drop(child);
        assert!(interface.wait_down(Some(PATIENCE)).unwrap());
        until("the queues to let go", || shared_mappings() == 0);
        if kill + 1 == WARM_UP {
            before = Some(Holdings::at_rest());
            bytes_before = resident_bytes();
        } else if let Some(before) = &before {
            before.until_back();
        }
    }
    let grown = resident_bytes().saturating_sub(bytes_before);
    assert!(grown < 2 << 20, "{grown} bytes more after {kills} kills");
    let details = interface.details().unwrap();
    assert!(details.connects >= WARM_UP + kills);
    assert_eq!(
        details.faults().count(),
        0,
        "a death is no fault: {:?}",
        details.faults().collect::<Vec<_>>()
    );
    over.store(true, Ordering::Relaxed);
    data.join().unwrap();
}

const TEST: &str = "a_killed_peer_costs_its_link_and_nothing_else";

#[test]
fn a_killed_peer_costs_its_link_and_nothing_else() {
    if let Ok(peer) = std::env::var(PEER) {
        let (role, socket) = peer.split_once(' ').unwrap();
        return be_a_peer(if role == "master" { Role::Master } else { Role::Slave }, socket);
    }
    let kills = std::env::var("MEMIF_KILLS").map_or(30, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    // a killed master leaves its socket file behind, for the next one to take over
    let socket = dir.path().join("killed.sock");
    kill_peers(Role::Slave, Role::Master, socket.to_str().unwrap(), kills);
    kill_peers(Role::Master, Role::Slave, &common::address(), kills);
}
