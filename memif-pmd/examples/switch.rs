//! A learning switch: `cargo run --release --example switch -- PORT PORT…`
//!
//! A frame goes to the port behind which its destination was last seen, or to all others. A PORT is a socket and options of
//! the interface, such as `/run/a.sock,role=master`. Ctrl-C ends the program.

use std::collections::HashMap;

use memif_pmd::{Burst, Error, Memif, Port, Workers, ctrl_c};

/// Most addresses: who is behind a port cannot have more memory taken than that.
const ADDRESSES: usize = 4096;

fn main() -> Result<(), Error> {
    let memif = Memif::start()?;
    let open = |text: String| text.parse::<Port>()?.interface(&memif).open();
    let ports = std::env::args().skip(1).map(open).collect::<Result<Vec<_>, _>>()?;
    let queues = ports.iter().map(|port| Ok((port.rx(0)?, port.tx(0)?)));
    let queues = queues.collect::<Result<Vec<_>, Error>>()?;

    // what goes out on each port; the task's own burst is what came in
    let mut out = ports.iter().map(|_| Burst::new(256)).collect::<Result<Vec<_>, _>>()?;
    let (mut table, mut dropped) = (HashMap::new(), 0);
    Workers::new()
        .anywhere(queues, |queues, burst| {
            for (from, (rx, _)) in queues.iter_mut().enumerate() {
                rx.receive(burst);
                for (to, source, frame) in burst.iter().filter_map(addresses) {
                    if source[0] & 1 == 0 && (table.len() < ADDRESSES || table.contains_key(&source)) {
                        table.insert(source, from);
                    }
                    let known = table.get(&to);
                    for (port, out) in out.iter_mut().enumerate() {
                        if port != from && known.is_none_or(|known| *known == port) {
                            dropped += u64::from(out.push(frame).is_err()); // the port is slower than its senders
                        }
                    }
                }
                burst.clear();
            }
            for ((_, tx), out) in queues.iter_mut().zip(&mut out) {
                tx.send(out);
            }
        })
        .run_until(&ctrl_c()?)?;
    println!("{} addresses, {dropped} frames dropped", table.len());
    Ok(())
}

/// Destination and source of a frame, and the frame.
fn addresses(frame: &[u8]) -> Option<([u8; 6], [u8; 6], &[u8])> {
    Some((*frame.first_chunk()?, *frame.get(6..)?.first_chunk()?, frame))
}
