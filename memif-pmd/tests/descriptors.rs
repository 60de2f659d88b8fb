//! Descriptors that the API hands out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use common::{PATIENCE, Pair, address, packet};
use memif_os::event::poll_fds;
use memif_pmd::{Burst, Error, Memif, RxMode};

#[test]
fn the_peer_signals_a_queue_event_which_outlives_its_link() {
    let pair = Pair::of(|builder| builder.rx_mode(RxMode::Interrupt));
    let event = pair.master.event_fd(0).unwrap();
    let readable = |timeout| poll_fds(&[event.as_fd()], Some(timeout)).unwrap() == 1;
    let mut burst = Burst::new(1).unwrap();
    burst.push(&packet(60, 1)).unwrap();
    pair.slave.tx(0).unwrap().send(&mut burst);
    assert!(readable(PATIENCE));

    drop(pair.slave);
    pair.master.wait_down(Some(PATIENCE)).unwrap();
    readable(Duration::ZERO);
    assert!(matches!(pair.master.event_fd(0), Err(Error::NoLink { .. })));
    assert!(matches!(pair.master.event_fd(1), Err(Error::NoSuchQueue { index: 1, .. })));
}

#[test]
fn a_listener_is_lent_for_a_call() {
    let memif = Memif::start().unwrap();
    let socket = address();
    assert_eq!(memif.with_listener(&socket, |fd| fd.as_raw_fd()), None);
    let master = memif.interface(&socket).master().open().unwrap();
    let listening = memif.with_listener(&socket, |fd| poll_fds(&[fd], Some(Duration::ZERO)).unwrap());
    assert_eq!(listening, Some(0));
    drop(master);
    assert_eq!(memif.with_listener(&socket, |fd| fd.as_raw_fd()), None);
    assert_eq!(memif.with_listener("", |fd| fd.as_raw_fd()), None);
}
