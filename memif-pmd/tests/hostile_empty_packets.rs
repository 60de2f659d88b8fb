//! Millions of empty packets, which are dropped: whoever receives them in place takes note of none for ever.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use common::packet_memory::{master, memory, slave};
use common::{PATIENCE, Pair, address, in_child_process, resident_bytes, until};
use memif_pmd::{DropReason, Memif, RxQueue, TxQueue};

const PACKETS: u64 = 3_000_000;
/// More than the noise, and far less than a byte for each packet.
const GROWTH: usize = 1 << 20;

/// Sends empty packets while `receive` drops them; memory must not grow.
fn flood(tx: &mut TxQueue, rx: &mut RxQueue, mut receive: impl FnMut(&mut RxQueue)) {
    until("a link", || !tx.reserve(1, 2048).is_empty());
    let mut before = None;
    while rx.stats().drops_for(DropReason::Empty) < PACKETS {
        let empty = tx.reserve(512, 2048);
        let count = empty.len();
        empty.commit(count);
        receive(rx);
        // what is allocated once is there by then
        if rx.stats().dropped() > PACKETS / 10 {
            before.get_or_insert_with(resident_bytes);
        }
    }
    let grown = resident_bytes().saturating_sub(before.unwrap());
    assert!(grown < GROWTH, "{grown} bytes for {PACKETS} packets");
}

#[test]
fn peeking_keeps_no_memory_of_dropped_packets() {
    if !in_child_process("peeking_keeps_no_memory_of_dropped_packets", "true") {
        return;
    }
    let pair = Pair::of(|builder| builder);
    for (mut tx, mut rx) in [pair.s2m(), pair.m2s()] {
        flood(&mut tx, &mut rx, |rx| assert!(rx.peek(64).is_empty()));
    }
}

#[test]
fn forwarding_without_an_outgoing_link_keeps_no_memory_of_dropped_packets() {
    if !in_child_process("forwarding_without_an_outgoing_link_keeps_no_memory_of_dropped_packets", "true") {
        return;
    }
    let memif = Memif::start().unwrap();
    let memory = memory(&memif);
    let sockets = [address(), address()];
    let sender = master(&memif, &sockets[0]);
    let slaves = [0, 1].map(|side| slave(&memif, &sockets[side], &memory));
    slaves[0].wait_up(Some(PATIENCE)).unwrap();
    sender.wait_up(Some(PATIENCE)).unwrap();
    let mut nowhere = slaves[1].tx(0).unwrap();
    flood(&mut sender.tx(0).unwrap(), &mut slaves[0].rx(0).unwrap(), |rx| {
        assert_eq!(rx.forward_to(&mut nowhere, 64), Ok(0));
    });
    assert_eq!(nowhere.stats().link_down, 0);
}
