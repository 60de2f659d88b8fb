//! A forwarder with unit tests that need no interface: `cargo test --example unit_test`

use memif_pmd::{Burst, Memif, Receive, Transmit, Workers, ctrl_c};

fn main() -> Result<(), memif_pmd::Error> {
    let memif = Memif::start()?;
    let (left, right) = (memif.interface("left.sock").open()?, memif.interface("right.sock").open()?);
    Workers::new().anywhere((left.rx(0)?, right.tx(0)?), route).run_until(&ctrl_c()?).map(drop)
}

/// Sends on the packets whose first byte, the time to live, is not used up.
fn route((rx, tx): &mut (impl Receive, impl Transmit), burst: &mut Burst) {
    rx.receive(burst);
    burst.retain(|packet| {
        packet[0] = packet[0].saturating_sub(1);
        packet[0] > 0
    });
    tx.send(burst);
}

#[cfg(test)]
mod tests {
    use memif_pmd::{Burst, Receive as _, Transmit as _, loopback};

    #[test]
    fn packets_that_wait_for_room_lose_one_hop_like_the_others() {
        let ((mut client, near), (far, mut server)) = (loopback(8), loopback(1));
        let (mut queues, mut burst) = ((near.rx, far.tx), Burst::new(8).unwrap());
        let (mut sent, mut received) = (Burst::new(8).unwrap(), Burst::new(8).unwrap());
        for hops in [64, 1, 32, 16] {
            sent.push(&[hops; 60]).unwrap();
        }
        client.tx.send(&mut sent);
        for _round in 0..3 {
            super::route(&mut queues, &mut burst); // the server has room for one packet
            server.rx.receive(&mut received);
        }
        assert_eq!(received.iter().map(|packet| packet[0]).collect::<Vec<_>>(), [63, 31, 15]);
    }
}
