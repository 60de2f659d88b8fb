//! Passes packets on between two ports, in both directions: `cargo run --release --example forward -- PORT PORT`
//!
//! A PORT is a socket and what the interface shall be, such as `/run/a.sock,role=master,id=1`. Ctrl-C ends it.

use memif_pmd::{Interface, Memif, Port, Workers, ctrl_c, forward};

const USAGE: &str = "usage: forward PATH[,role=master|slave][,id=N]… PATH…";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(left), Some(right)) = (args.next(), args.next()) else { return Err(USAGE.into()) };

    // The control plane: connects, and connects again, on a thread of its own.
    let memif = Memif::start()?;
    let left = left.parse::<Port>()?.interface(&memif).open()?;
    let right = right.parse::<Port>()?.interface(&memif).open()?;

    // A thread for each direction, which polls. To pin it, say `on_core(1, …)` in place of `anywhere(…)`; to look at
    // the packets, write a closure in place of `forward`.
    Workers::new()
        .anywhere((left.rx(0)?, right.tx(0)?), forward)
        .anywhere((right.rx(0)?, left.tx(0)?), forward)
        .run_until(&ctrl_c()?)?;

    report("left", &left)?;
    report("right", &right)
}

fn report(side: &str, interface: &Interface) -> Result<(), Box<dyn std::error::Error>> {
    let details = interface.details()?;
    for (rx, tx) in details.rx.iter().zip(&details.tx) {
        println!("{side}: {} packets in, {} out", rx.stats.packets, tx.stats.packets);
    }
    Ok(())
}
