//! Two joined interfaces in memory, for tests of the program's own code.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::packet::Burst;
use crate::transfer::{Receive, Transmit};

/// Makes two joined ends, each with one receive and one transmit queue: what is sent on one end is received on the other,
/// in order and unchanged. Each direction holds at most `packets` packets; what there is no room for stays with the
/// sender, as with a full ring.
///
/// There are no sockets, threads or clocks behind it, so a test with it gives the same result every time. A packet takes
/// one place whatever its size, and none is lost.
///
/// A unit test of a forwarder, written against [`Receive`] and [`Transmit`]:
///
/// ```
/// use memif_pmd::{Burst, Receive, Transmit, loopback};
///
/// /// The code under test: passes IPv4 packets on.
/// fn pass_ipv4((rx, tx): &mut (impl Receive, impl Transmit), burst: &mut Burst) {
///     rx.receive(burst);
///     burst.retain(|packet| packet.get(12..14) == Some(&[0x08, 0x00]));
///     tx.send(burst);
/// }
///
/// # fn ethernet(ethertype: [u8; 2]) -> Vec<u8> {
/// #     let mut packet = vec![0; 60];
/// #     packet[12..14].copy_from_slice(&ethertype);
/// #     packet
/// # }
/// let (ipv4, arp) = (ethernet([0x08, 0x00]), ethernet([0x08, 0x06]));
/// let (mut client, near) = loopback(64);
/// let (mut server, far) = loopback(2);
/// let (mut forwarder, mut burst) = ((near.rx, far.tx), Burst::new(8)?);
///
/// let mut sent = Burst::new(8)?;
/// for packet in [&ipv4, &arp, &ipv4, &ipv4] {
///     sent.push(packet)?;
/// }
/// assert_eq!(client.tx.send(&mut sent), 4);
/// pass_ipv4(&mut forwarder, &mut burst);
///
/// // the server's side has room for two packets: the third one waits
/// let mut received = Burst::new(8)?;
/// assert_eq!(server.rx.receive(&mut received), 2);
/// assert_eq!(received.get(0), Some(&ipv4[..]));
/// pass_ipv4(&mut forwarder, &mut burst);
/// assert_eq!(server.rx.receive(&mut received), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn loopback(packets: usize) -> (LoopbackEnd, LoopbackEnd) {
    let there = Arc::new(Pipe { packets: Mutex::default(), capacity: packets });
    let back = Arc::new(Pipe { packets: Mutex::default(), capacity: packets });
    (LoopbackEnd::new(&back, &there), LoopbackEnd::new(&there, &back))
}

/// One direction.
#[derive(Debug)]
struct Pipe {
    packets: Mutex<VecDeque<Box<[u8]>>>,
    capacity: usize,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Box<[u8]>>> {
        // nothing panics between two states of it
        self.packets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One end of a [`loopback()`]: take its queues out and use them as those of an interface.
#[derive(Debug)]
pub struct LoopbackEnd {
    /// Receives what the other end sends.
    pub rx: LoopbackRx,
    /// Sends to the other end.
    pub tx: LoopbackTx,
}

impl LoopbackEnd {
    fn new(from: &Arc<Pipe>, to: &Arc<Pipe>) -> Self {
        let rx = LoopbackRx { pipe: Arc::clone(from), received: 0 };
        Self { rx, tx: LoopbackTx { pipe: Arc::clone(to), sent: 0 } }
    }
}

/// The receive queue of a [`LoopbackEnd`].
#[derive(Debug)]
pub struct LoopbackRx {
    pipe: Arc<Pipe>,
    received: u64,
}

impl LoopbackRx {
    /// Packets received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }
}

impl Receive for LoopbackRx {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        burst.set_aside();
        let mut packets = self.pipe.lock();
        let mut received = 0;
        while packets.pop_front_if(|packet| burst.push(packet).is_ok()).is_some() {
            received += 1;
        }
        self.received += received as u64;
        received
    }
}

/// The transmit queue of a [`LoopbackEnd`].
#[derive(Debug)]
pub struct LoopbackTx {
    pipe: Arc<Pipe>,
    sent: u64,
}

impl LoopbackTx {
    /// Packets sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

impl Transmit for LoopbackTx {
    fn send(&mut self, burst: &mut Burst) -> usize {
        let mut packets = self.pipe.lock();
        let room = self.pipe.capacity.saturating_sub(packets.len());
        let sent = burst.offer(|offered| {
            let sent = room.min(offered.len());
            packets.extend(offered.take(sent).map(Box::from));
            sent
        });
        self.sent += sent as u64;
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_bounded_and_keep_their_order() {
        let (mut left, mut right) = loopback(3);
        let mut burst = Burst::new(8).unwrap();
        for number in 0..5 {
            burst.push(&[number; 60]).unwrap();
        }
        assert_eq!((left.tx.send(&mut burst), left.tx.send(&mut burst), burst.len()), (3, 0, 2));
        let mut small = Burst::new(2).unwrap();
        assert_eq!((right.rx.receive(&mut small), right.rx.receive(&mut small)), (2, 0));
        assert_eq!((left.tx.send(&mut burst), burst.len()), (2, 0));
        assert_eq!(right.tx.send(&mut small), 2);
        assert_eq!(right.rx.receive(&mut small), 2);
        assert_eq!(small.iter().map(|packet| packet[0]).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(left.rx.receive(&mut burst), 2);
        assert_eq!(burst.iter().map(|packet| packet[0]).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((left.tx.sent(), right.rx.received(), right.tx.sent(), left.rx.received()), (5, 4, 2, 2));
    }

    #[test]
    fn packets_that_do_not_fit_the_burst_stay() {
        let (mut left, mut right) = loopback(8);
        let mut burst = Burst::new(4).unwrap();
        burst.push(&[1; 65535]).unwrap();
        left.tx.send(&mut burst);
        burst.push(&[2; 65535]).unwrap();
        left.tx.send(&mut burst);
        let mut one = Burst::new(1).unwrap();
        for number in [1, 2] {
            assert_eq!(right.rx.receive(&mut one), 1);
            assert_eq!(one.get(0).map(|packet| (packet.len(), packet[0])), Some((65535, number)));
            one.clear();
        }
    }
}
