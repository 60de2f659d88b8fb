//! Calls that wait, and end when their `Stop` is called.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::thread;
use std::time::Duration;

use common::{PATIENCE, Pair, address, packet};
use memif_pmd::{Burst, Error, Memif, Polled, Stop};

/// Runs what waits on a thread of its own, calls the stop once that has had some time, and returns what it gave.
fn ended_by_stop<T: Send>(wait: impl Fn(&Stop) -> T + Send + Sync) -> T {
    let stop = Stop::new().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&stop.child().unwrap()));
        thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished(), "it does not wait");
        stop.stop();
        waiting.join().unwrap();
    });
    // and one that was called before
    wait(&stop)
}

#[test]
fn a_queue_that_waits_without_limit_ends_with_its_stop() {
    let pair = Pair::of(|builder| builder);
    assert!(!ended_by_stop(|stop| pair.slave.rx(0).unwrap().wait_until(stop, None).unwrap()));
    // packets are seen all the same
    let mut burst = Burst::new(1).unwrap();
    burst.push(&packet(64, 0)).unwrap();
    pair.master.tx(0).unwrap().send(&mut burst);
    let stop = Stop::new().unwrap();
    assert!(pair.slave.rx(0).unwrap().wait_until(&stop, Some(PATIENCE)).unwrap());
    stop.stop();
    assert!(pair.slave.rx(0).unwrap().wait_until(&stop, None).unwrap());
}

#[test]
fn a_queue_without_a_link_waits_and_ends_as_well() {
    let memif = Memif::start().unwrap();
    let slave = memif.interface(address()).open().unwrap();
    assert!(!ended_by_stop(|stop| slave.rx(0).unwrap().wait_until(stop, None).unwrap()));
}

#[test]
fn a_poll_without_limit_ends_with_its_stop() {
    let memif = Memif::new().unwrap();
    let polled = ended_by_stop(|stop| {
        while memif.poll_until(stop, None).unwrap() != Polled::Cancelled {}
        memif.poll_until(stop, None).unwrap()
    });
    assert_eq!(polled, Polled::Cancelled);
    // events are handled all the same
    let stop = Stop::new().unwrap();
    assert_eq!(memif.poll_until(&stop, Some(Duration::ZERO)).unwrap(), Polled::TimedOut);
    let master = memif.interface(address()).master().open().unwrap();
    let slave = memif.interface(master.details().unwrap().socket).open().unwrap();
    while !slave.is_up() {
        assert!(matches!(memif.poll_until(&stop, Some(PATIENCE)).unwrap(), Polled::Handled(1..)));
    }
}

#[test]
fn waiting_for_a_link_ends_with_its_stop_whoever_polls() {
    for memif in [Memif::start().unwrap(), Memif::new().unwrap()] {
        let slave = memif.interface(address()).open().unwrap();
        let error = ended_by_stop(|stop| slave.wait_up_until(stop, None).unwrap_err());
        assert!(matches!(error, Error::Cancelled), "{error}");
    }
    // a link that there is counts for more than a stop
    let (pair, stop) = (Pair::of(|builder| builder), Stop::new().unwrap());
    stop.stop();
    pair.slave.wait_up_until(&stop, None).unwrap();
}
