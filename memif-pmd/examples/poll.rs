//! An echo in an event loop of poll(2), on one thread: `cargo run --release --example poll -- PORT`
//!
//! PORT is a socket and options of the interface, such as `/run/memif.sock,role=master`. Ctrl-C ends the program.

use memif_pmd::{Burst, Memif, Port, RxMode, ctrl_c};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const SOON: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("usage: poll PATH[,role=master|slave]…")?;
    let memif = Memif::new()?; // has no thread: its descriptor is readable when it has something to do
    let interface = text.parse::<Port>()?.interface(&memif);
    // the peer signals packets, and the control plane's descriptor is readable then, too
    let interface = interface.rx_mode(RxMode::Interrupt).notify_interrupts().open()?;
    let (mut rx, mut tx, mut burst) = (interface.rx(0)?, interface.tx(0)?, Burst::new(64)?);
    let (stop, mut timeout) = (ctrl_c()?, None);
    while !stop.is_stopped() {
        let mut fds = [PollFd::new(&memif, PollFlags::IN), PollFd::new(&stop, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        memif.poll(Some(std::time::Duration::ZERO))?;
        let moved = rx.receive(&mut burst) + tx.send(&mut burst);
        timeout = match (moved, burst.is_empty()) {
            (_, false) => Some(SOON), // nobody announces that there is room again
            (0, true) => None,
            (_, true) => Some(NOW), // there may be more, which was announced before
        };
    }
    Ok(())
}
