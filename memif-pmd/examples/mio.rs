//! An echo in an event loop of mio, on one thread: `cargo run --release --example mio -- PORT`
//!
//! PORT is a socket and options of the interface, such as `/run/memif.sock,role=master`. Ctrl-C ends the program.

use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use memif_pmd::{Burst, Memif, Polled, Port, RxMode, ctrl_c};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("usage: mio PATH[,role=master|slave]…")?;
    let memif = Memif::new()?; // has no thread: its descriptor is readable when it has something to do
    let interface = text.parse::<Port>()?.interface(&memif);
    // the peer signals packets, and the control plane's descriptor is readable then, too
    let interface = interface.rx_mode(RxMode::Interrupt).notify_interrupts().open()?;
    let (mut rx, mut tx, mut burst) = (interface.rx(0)?, interface.tx(0)?, Burst::new(64)?);
    let (stop, mut timeout) = (ctrl_c()?, None);
    let (mut mio, mut events) = (Poll::new()?, Events::with_capacity(2));
    for fd in [memif.as_fd(), stop.as_fd()] {
        mio.registry().register(&mut SourceFd(&fd.as_raw_fd()), Token(0), Interest::READABLE)?;
    }
    while !stop.is_stopped() {
        match mio.poll(&mut events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        // mio reports what has become readable, once: before it waits, nothing may be left to do
        let handled = memif.poll(Some(Duration::ZERO))? != Polled::TimedOut;
        let moved = rx.receive(&mut burst) + tx.send(&mut burst) > 0;
        timeout = match (handled || moved, burst.is_empty()) {
            (_, false) => Some(Duration::from_millis(1)), // nobody announces that there is room again
            (true, true) => Some(Duration::ZERO),
            (false, true) => None,
        };
    }
    Ok(())
}
