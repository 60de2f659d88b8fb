//! Sends every packet back on the queue with the same number: `cargo run --release --example echo -- PORT`
//!
//! PORT is a socket and options of the interface, such as `/run/memif.sock,role=master,queues=2`. Ctrl-C ends the program.

use memif_pmd::{Idle, Memif, Port, Workers, ctrl_c, forward};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).ok_or("usage: echo PATH[,role=master|slave][,id=N][,queues=N]…")?;

    // The control plane runs on a thread of its own. It connects, and reconnects when a link ends.
    let memif = Memif::start()?;
    let interface = text.parse::<Port>()?.interface(&memif).open()?;

    // A thread for each pair of queues, which sleeps while there are no packets.
    let mut workers = Workers::new().idle(Idle::Sleep { after: 10_000 });
    for queue in 0..interface.rx_count() {
        workers = workers.anywhere((interface.rx(queue)?, interface.tx(queue)?), forward);
    }
    workers.run_until(&ctrl_c()?)?;

    for queue in interface.details()?.rx {
        println!("queue {}: {} packets", queue.index, queue.stats.packets);
    }
    Ok(())
}
