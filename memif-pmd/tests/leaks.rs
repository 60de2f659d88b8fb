//! Everything that is opened is freed: descriptors, threads, mappings, socket files. The only test of its program,
//! because it counts what the whole process has.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

mod common;

use std::fs;
use std::time::Duration;

use common::{Holdings, PATIENCE, Pair, address, exchange, shared_mappings};
use memif_os::socket::{Channel, SocketAddress};
use memif_pmd::{Idle, Memif, RxMode, Workers, forward};

const RETRY: Duration = Duration::from_millis(2);

fn a_whole_life() {
    let pair = Pair::of(|builder| builder.queues(3).rx_mode(RxMode::Adaptive).notify_interrupts());
    let queues = (pair.master.rx(0).unwrap(), pair.master.tx(0).unwrap());
    let running = Workers::new().idle(Idle::Sleep { after: 10 }).anywhere(queues, forward).start().unwrap();
    exchange((&mut pair.slave.tx(0).unwrap(), &mut pair.slave.rx(0).unwrap()), 0..100, 60..=3000);
    drop(running);
    // a thread that rings a peer keeps the means to, for as long as it lives: this one rings in any case
    pair.master.set_rx_mode(1, RxMode::Interrupt).unwrap();
    exchange((&mut pair.slave.tx(1).unwrap(), &mut pair.master.rx(1).unwrap()), 0..100, 60..=60);
    assert!(pair.slave.tx(1).unwrap().stats().interrupts > 0);
}

fn queues_outlive_all_else() {
    let Pair { memif, master, slave } = Pair::of(|builder| builder);
    let (mut tx, mut rx) = (slave.tx(0).unwrap(), slave.rx(0).unwrap());
    rx.wait(Some(Duration::ZERO)).unwrap();
    let unused = master.rx(0).unwrap();
    drop(memif);
    drop((master, slave));
    // still mapped, for as long as they do not look
    assert!(shared_mappings() > 0);
    drop(unused);
    assert!(!tx.is_up() && !rx.is_up());
}

fn a_polled_life() {
    let memif = Memif::new().unwrap();
    let waker = memif.waker();
    let socket = address();
    let master = memif.interface(&socket).master().open().unwrap();
    let slave = memif.interface(&socket).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    drop(memif);
    waker.cancel();
    drop((master, slave));
}

fn refused_again_and_again() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let _master = memif.interface(&socket).master().secret("right").open().unwrap();
    let slave = memif.interface(&socket).secret("wrong").reconnect(Duration::from_millis(1)).open().unwrap();
    slave.wait_up(Some(Duration::from_millis(50))).unwrap_err();
    memif.interface(&socket).master().open().unwrap_err();
    let nobody = memif.interface(address()).reconnect(Duration::from_millis(1)).open().unwrap();
    nobody.wait_up(Some(Duration::from_millis(20))).unwrap_err();
}

fn clients_that_say_nothing() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let _master = memif.interface(&socket).master().open().unwrap();
    let silent: Vec<_> =
        (0..50).map(|_| Channel::connect(&SocketAddress::new(&socket).unwrap()).unwrap()).collect();
    let slave = memif.interface(&socket).reconnect(RETRY).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    drop(silent);
}

fn socket_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memif.sock").to_str().unwrap().to_owned();
    let memif = Memif::start().unwrap();
    let masters = [0, 1].map(|id| memif.interface(&path).master().id(id).open().unwrap());
    let slave = memif.interface(&path).id(1).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    let [first, second] = masters;
    drop(first);
    assert!(fs::exists(&path).unwrap(), "the second one still needs it");
    drop(second);
    assert!(!fs::exists(&path).unwrap());
    // interfaces that outlive their control plane
    let master = memif.interface(&path).master().open().unwrap();
    drop(memif);
    assert!(!fs::exists(&path).unwrap());
    drop(master);
    // somebody else's file is not ours to remove
    let memif = Memif::start().unwrap();
    let master = memif.interface(&path).master().open().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "somebody else's").unwrap();
    drop(master);
    assert!(fs::exists(&path).unwrap());
}

#[test]
fn everything_is_freed() {
    let lives = [
        a_whole_life,
        queues_outlive_all_else,
        a_polled_life,
        refused_again_and_again,
        clients_that_say_nothing,
        socket_files,
    ];
    // what is made once is made now
    lives.iter().for_each(|life| life());
    let before = Holdings::at_rest();
    for life in lives {
        // more often than what comes and goes could hide
        for _ in 0..5 {
            life();
            before.until_back();
        }
    }
}
