//! Forwards all but TCP to one port number: `cargo run --release --example filter -- OUTSIDE INSIDE NUMBER`
//!
//! OUTSIDE and INSIDE are sockets and options of the interfaces, such as `/run/a.sock,role=master`. TCP packets from outside
//! to port NUMBER do not get in. Ctrl-C ends the program.

use etherparse::{SlicedPacket, TransportSlice};
use memif_pmd::{Idle, Memif, Port, Workers, ctrl_c, forward};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [outside, inside, closed] = &args[..] else {
        return Err("usage: filter OUTSIDE INSIDE NUMBER".into());
    };
    let closed: u16 = closed.parse()?;
    let memif = Memif::start()?;
    let outside = outside.parse::<Port>()?.interface(&memif).open()?;
    let inside = inside.parse::<Port>()?.interface(&memif).open()?;
    let mut refused = 0;
    Workers::new()
        .idle(Idle::Sleep { after: 10_000 })
        .anywhere((outside.rx(0)?, inside.tx(0)?), |(rx, tx), burst| {
            let received = rx.receive(burst);
            burst.retain(|packet| allowed(packet, closed));
            refused += received - burst.len();
            tx.send(burst);
        })
        .anywhere((inside.rx(0)?, outside.tx(0)?), forward)
        .run_until(&ctrl_c()?)?;
    println!("{refused} packets refused");
    Ok(())
}

/// What cannot be parsed is not allowed.
fn allowed(packet: &[u8], closed: u16) -> bool {
    match SlicedPacket::from_ethernet(packet).map(|packet| packet.transport) {
        Ok(Some(TransportSlice::Tcp(tcp))) => tcp.destination_port() != closed,
        Ok(_) => true,
        Err(_) => false,
    }
}
