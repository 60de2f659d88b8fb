//! Forwards packets between two ports, in both directions: `cargo run --release --example forward -- PORT PORT`
//!
//! A PORT is a socket and options of the interface, such as `/run/a.sock,role=master,id=1`; both must have the same number
//! of queues. Ctrl-C ends the program.

use memif_pmd::{Memif, Port, Workers, ctrl_c, forward};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let ports =
        args.next().zip(args.next()).ok_or("usage: forward PATH[,role=master|slave][,id=N]… PATH…")?;

    // The control plane runs on a thread of its own. It connects, and reconnects when a link ends.
    let memif = Memif::start()?;
    let left = ports.0.parse::<Port>()?.interface(&memif).open()?;
    let right = ports.1.parse::<Port>()?.interface(&memif).open()?;
    if left.rx_count() != right.rx_count() {
        return Err("give both ports the same queues=N".into());
    }

    // One polling thread for each queue of each direction. `on_core(1, …)` in place of `anywhere(…)` pins it to a core; a
    // closure in place of `forward` can look at the packets.
    let mut workers = Workers::new();
    for (from, to) in [(&left, &right), (&right, &left)] {
        for queue in 0..from.rx_count() {
            workers = workers.anywhere((from.rx(queue)?, to.tx(queue)?), forward);
        }
    }
    workers.run_until(&ctrl_c()?)?;

    for (side, interface) in [("left", left), ("right", right)] {
        let details = interface.details()?;
        for (rx, tx) in details.rx.iter().zip(&details.tx) {
            let (received, sent) = (rx.stats.packets, tx.stats.packets);
            println!("{side}, queue {}: {received} packets in, {sent} out", rx.index);
        }
    }
    Ok(())
}
