//! Ready-made tasks for workers: what comes in on one queue goes out on another.

use crate::packet::Burst;
use crate::queue::{RxQueue, TxQueue};
use crate::transfer::{Receive, Transmit};

/// Passes packets on: receives from the first queue and sends on the second. What the second one does not take waits in
/// the burst, so a slow receiver slows its sender down and loses no packets.
pub fn forward<R: Receive, T: Transmit>((rx, tx): &mut (R, T), burst: &mut Burst) {
    rx.receive(burst);
    tx.send(burst);
}

/// Like [`forward`], without copying, for two slaves that share a [`PacketMemory`](crate::PacketMemory). What the second
/// queue does not take waits in the first one's ring. Where the two share no memory, packets are copied.
pub fn forward_in_place(queues: &mut (RxQueue, TxQueue), burst: &mut Burst) {
    let (rx, tx) = queues;
    // a burst that is not empty holds what was copied before and did not fit
    if burst.room() < burst.capacity() || rx.forward_to(tx, burst.capacity()).is_err() {
        forward(queues, burst);
    }
}
