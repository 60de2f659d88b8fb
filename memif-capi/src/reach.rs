//! The packets of a queue, for fuzz targets: what the exported functions call, without handles.

use std::mem::MaybeUninit;

use memif_pmd::{RxQueue, TxQueue};

use crate::packets::Packets;
use crate::v1::abi::Buffer;

/// Packets that a program holds.
#[derive(Default)]
#[expect(missing_debug_implementations, reason = "for fuzz targets")]
pub struct Held(Packets);

impl Held {
    /// `memif_v1_rx_burst`: how many packets, and whether there are more.
    pub fn receive(&mut self, queue: &mut RxQueue, bufs: &mut [MaybeUninit<Buffer>]) -> (usize, bool) {
        self.0.receive(queue, bufs)
    }

    /// `memif_v1_refill_queue`.
    pub fn release(&mut self, queue: &mut RxQueue, bufs: &[Buffer]) -> usize {
        self.0.release(queue, bufs)
    }

    /// `memif_v1_buffer_alloc`.
    pub fn allocate(&mut self, queue: &mut TxQueue, bufs: &mut [MaybeUninit<Buffer>], size: usize) -> usize {
        self.0.allocate(queue, bufs, size)
    }

    /// `memif_v1_tx_burst`.
    pub fn send(&mut self, queue: &mut TxQueue, bufs: &[Buffer]) -> usize {
        self.0.send(queue, bufs)
    }
}
