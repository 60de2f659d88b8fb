//! Forwards packets between two interfaces until Ctrl-C.

use memif_pmd::{Memif, Workers, ctrl_c, forward};

fn main() -> Result<(), memif_pmd::Error> {
    let memif = Memif::start()?; // the control plane, on a thread of its own
    let left = memif.interface("left.sock").master().open()?; // listens
    let right = memif.interface("right.sock").slave().id(3).secret("psst").open()?; // connects
    let mut ipv4 = 0;
    Workers::new()
        .anywhere((left.rx(0)?, right.tx(0)?), |(rx, tx), burst| {
            rx.receive(burst);
            ipv4 += burst.iter().filter(|packet| packet.get(12..14) == Some(&[0x08, 0x00])).count();
            tx.send(burst); // what a full ring does not take waits, and is sent first in the next round
        })
        .anywhere((right.rx(0)?, left.tx(0)?), forward) // on_core(1, …) pins the thread
        .run_until(&ctrl_c()?)?;
    println!("{ipv4} IPv4 packets went from left to right");
    Ok(())
}
