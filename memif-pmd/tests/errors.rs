//! Every error that can be had is had, and has libmemif's number.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use common::address;
use memif_pmd::{Error, ErrorCode, FdRegistry, HugePages, Memif, Port, RxMode, Workers};

const SHORT: Duration = Duration::from_millis(5);

struct Refusing;

impl FdRegistry for Refusing {
    fn watch(&mut self, _: BorrowedFd<'_>) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn unwatch(&mut self, _: BorrowedFd<'_>) {}
}

fn panics() -> Error {
    Workers::new().anywhere((), |(), _| panic!("on purpose")).start().unwrap().wait().unwrap_err()
}

/// The error of a slave that gets no link on this socket.
fn no_link(memif: &Memif, socket: &str, secret: &str) -> Error {
    let slave = memif.interface(socket).secret(secret).reconnect(SHORT).open().unwrap();
    // whatever it met first, it is told within a few attempts
    slave.wait_up(Some(10 * SHORT)).unwrap_err()
}

#[test]
fn every_error_has_the_number_of_the_header() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().secret("right").open().unwrap();
    let dead = memif.interface(address()).master().open().unwrap();
    let _rx = master.rx(0).unwrap();
    let other = Memif::start().unwrap();
    let many = (0..4096).fold(Workers::new(), |workers, _| workers.anywhere((), |(), _| ()));

    let mut errors = vec![
        (memif.interface("").open().unwrap_err(), "Address", 10),
        (memif.interface("/does/not/exist").master().open().unwrap_err(), "Socket", 3),
        (other.interface(&socket).master().open().unwrap_err(), "Socket", 6),
        (many.burst(1 << 20).huge_pages(HugePages::Require).start().unwrap_err(), "Pool", 9),
        (Workers::new().on_core(5000, (), |(), _| ()).start().unwrap_err(), "Core", 10),
        (memif.interface(&socket).buffer_size(1).open().unwrap_err(), "OutOfRange", 10),
        (memif.interface(&socket).ring_size(5).open().unwrap_err(), "RingSize", 10),
        (memif.interface(&socket).ring_size(16384).queues(64).open().unwrap_err(), "TooMuchMemory", 10),
        (memif.interface(&socket).secret([b's'; 25]).open().unwrap_err(), "Text", 10),
        ("x,y".parse::<Port>().unwrap_err(), "Port", 10),
        (memif.interface(&socket).master().open().unwrap_err(), "IdInUse", 10),
        (master.rx(1).unwrap_err(), "NoSuchQueue", 22),
        (master.tx(1).unwrap_err(), "NoSuchQueue", 22),
        (master.set_rx_mode(1, RxMode::Polling).unwrap_err(), "NoSuchQueue", 22),
        (master.rx(0).unwrap_err(), "QueueInUse", 22),
        (no_link(&memif, &socket, "wrong"), "NoLink", 33),
        (no_link(&memif, &address(), ""), "NoLink", 1),
        (master.wait_up(Some(Duration::ZERO)).unwrap_err(), "NoLink", 28),
        (panics(), "Worker", 1),
        (Memif::with_registry(Refusing).unwrap_err(), "System", 2),
    ];
    drop(memif);
    errors.push((dead.details().unwrap_err(), "Deleted", 11));
    for (error, variant, number) in errors {
        assert!(format!("{error:?}").starts_with(variant), "{error:?}");
        assert_eq!(error.code().number(), number, "{error}");
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn numbers_and_texts_are_those_of_the_header() {
    assert_eq!(ErrorCode::ALL.len(), 38);
    for (number, code) in (0..).zip(ErrorCode::ALL) {
        assert_eq!(code.number(), number);
        assert!(!code.text().is_empty());
    }
}
