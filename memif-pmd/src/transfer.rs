//! What bursts come from and go to: the traits that queues implement, and that a program can implement as well.

use crate::packet::Burst;

/// Something that bursts of packets are received from: an [`RxQueue`](crate::RxQueue), one end of a
/// [`loopback`](crate::loopback()), or a type of the program.
///
/// Write forwarders against this trait and [`Transmit`], and they can be tested without an interface.
pub trait Receive {
    /// Appends packets to `burst`, as many as are there and fit; returns how many. Does not wait. Before that, what the last
    /// send had no room for is set aside, whether packets came or not: an implementation begins with [`Burst::set_aside`].
    fn receive(&mut self, burst: &mut Burst) -> usize;
}

/// Something that bursts of packets are sent to: a [`TxQueue`](crate::TxQueue), one end of a
/// [`loopback`](crate::loopback()), or a type of the program.
pub trait Transmit {
    /// Sends packets from the front of `burst`, those first that were set aside, as many as there is room for; returns how
    /// many. They leave the burst, and so do packets that can never be sent. What there is no room for now stays, in order.
    /// Does not wait. An implementation calls [`Burst::offer`].
    fn send(&mut self, burst: &mut Burst) -> usize;
}

impl<R: Receive + ?Sized> Receive for &mut R {
    #[inline]
    fn receive(&mut self, burst: &mut Burst) -> usize {
        (**self).receive(burst)
    }
}

impl<T: Transmit + ?Sized> Transmit for &mut T {
    #[inline]
    fn send(&mut self, burst: &mut Burst) -> usize {
        (**self).send(burst)
    }
}
