//! Each variant of the error is produced by the mistake that it is for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use common::{address, variant};
use memif_pmd::{Error, FdRegistry, HugePages, Memif, Port, RxMode, Workers};

const SHORT: Duration = Duration::from_millis(5);

struct Refusing;

impl FdRegistry for Refusing {
    fn watch(&self, _: BorrowedFd<'_>) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn unwatch(&self, _: BorrowedFd<'_>) {}
}

fn panics() -> Error {
    Workers::new().anywhere((), |(), _| panic!("on purpose")).start().unwrap().wait().unwrap_err()
}

/// The error of a slave that gets no link on this socket.
fn no_link(memif: &Memif, socket: &str, secret: &str) -> Error {
    let slave = memif.interface(socket).secret(secret).reconnect(SHORT).open().unwrap();
    // whatever it met first, it is told within a few attempts
    loop {
        match slave.wait_up(Some(10 * SHORT)).unwrap_err() {
            Error::NoLink { last: None, .. } => {}
            error => return error,
        }
    }
}

#[test]
fn each_mistake_has_its_variant() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let master = memif.interface(&socket).master().secret("right").open().unwrap();
    let dead = memif.interface(address()).master().open().unwrap();
    let _rx = master.rx(0).unwrap();
    let other = Memif::start().unwrap();
    let many = (0..4096).fold(Workers::new(), |workers, _| workers.anywhere((), |(), _| ()));
    let on_request = memif.interface(address()).reconnect_on_request().open().unwrap();
    let file = || OwnedFd::from(File::open("/dev/null").unwrap());

    let mut errors = vec![
        (memif.interface("").open().unwrap_err(), "Address"),
        (memif.interface("/does/not/exist").master().open().unwrap_err(), "NoDirectory"),
        (other.interface(&socket).master().open().unwrap_err(), "AddressInUse"),
        (many.burst(1 << 20).huge_pages(HugePages::Require).start().unwrap_err(), "NoHugePages"),
        (other.set_listener("@x", file()).unwrap_err(), "NotAListener"),
        (on_request.request_connection().unwrap_err(), "NobodyListens"),
        (memif.packet_memory().over(file(), 4096, &[0]).unwrap_err(), "UnusableMemory"),
        (memif.packet_memory().over(file(), 4096, &[4096]).unwrap_err(), "BufferOffset"),
        (Workers::new().on_core(5000, (), |(), _| ()).start().unwrap_err(), "Core"),
        (memif.interface(&socket).buffer_size(1).open().unwrap_err(), "OutOfRange"),
        (memif.interface(&socket).ring_size(5).open().unwrap_err(), "RingSize"),
        (memif.interface(&socket).ring_size(16384).queues(64).open().unwrap_err(), "TooMuchMemory"),
        (memif.interface(&socket).secret([b's'; 25]).open().unwrap_err(), "Text"),
        ("x,y".parse::<Port>().unwrap_err(), "Port"),
        (memif.interface(&socket).master().open().unwrap_err(), "IdInUse"),
        (master.rx(1).unwrap_err(), "NoSuchQueue"),
        (master.tx(1).unwrap_err(), "NoSuchQueue"),
        (master.set_rx_mode(1, RxMode::Polling).unwrap_err(), "NoSuchQueue"),
        (master.rx(0).unwrap_err(), "QueueInUse"),
        (no_link(&memif, &socket, "wrong"), "NoLink Refused"),
        (no_link(&memif, &address(), ""), "NoLink Failed"),
        (master.wait_up(Some(Duration::ZERO)).unwrap_err(), "NoLink WrongSecret"),
        (panics(), "Worker"),
        (Memif::with_registry(Refusing).unwrap_err(), "System"),
    ];
    drop(memif);
    errors.push((dead.details().unwrap_err(), "Deleted"));
    for (error, names) in errors {
        let names: Vec<&str> = names.split(' ').collect();
        assert_eq!(variant(&error), names[0], "{error}");
        if let Error::NoLink { last, .. } = &error {
            assert!(format!("{last:?}").contains(names[1]), "{last:?}");
        }
        // what `main` prints that returns it
        assert_eq!(format!("{error:?}"), error.to_string());
    }
}
