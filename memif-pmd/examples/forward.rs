//! Forwards packets between two ports, in both directions: `cargo run --release --example forward -- PORT PORT`
//!
//! A PORT is a socket and options of the interface, such as `/run/a.sock,role=master,id=1`; both must have the same number
//! of queues. Ctrl-C ends the program.

use memif_pmd::{Error, Interface, Memif, Port, Workers, ctrl_c, forward};

const USAGE: &str = "usage: forward PATH[,role=master|slave][,id=N]… PATH…";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(left), Some(right)) = (args.next(), args.next()) else { return Err(USAGE.into()) };

    // The control plane runs on a thread of its own. It connects, and reconnects when a link ends.
    let memif = Memif::start()?;
    let left = left.parse::<Port>()?.interface(&memif).open()?;
    let right = right.parse::<Port>()?.interface(&memif).open()?;

    if left.rx_count() != right.rx_count() {
        return Err("give both ports the same queues=N".into());
    }

    // One polling thread for each queue of each direction. `on_core(1, …)` in place of `anywhere(…)` pins it to a core; a
    // closure in place of `forward` can look at the packets.
    let mut workers = Workers::new();
    for (from, to) in [(&left, &right), (&right, &left)] {
        for index in 0..from.rx_count() {
            workers = workers.anywhere((from.rx(index)?, to.tx(index)?), forward);
        }
    }
    workers.run_until(&ctrl_c()?)?;

    report("left", &left)?;
    report("right", &right)?;
    Ok(())
}

fn report(side: &str, interface: &Interface) -> Result<(), Error> {
    let details = interface.details()?;
    for (rx, tx) in details.rx.iter().zip(&details.tx) {
        println!("{side}, queue {}: {} packets in, {} out", rx.index, rx.stats.packets, tx.stats.packets);
    }
    Ok(())
}
