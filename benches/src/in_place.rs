//! Ends that use the ring's buffers where they are.

use std::hint;

use memif_pmd::{RxQueue, TxQueue};

use crate::sizes;

/// Bytes that an in-place sender writes and an in-place receiver reads: an Ethernet header.
const HEADER: usize = 14;
/// Bytes of a buffer.
const BUFFER: usize = sizes::BUFFER as usize;

/// Writes headers into the ring's buffers and sends them.
#[inline]
pub(crate) fn send_in_place(tx: &mut TxQueue, size: usize, burst: usize) -> usize {
    let pieces = size.div_ceil(BUFFER);
    let mut room = tx.reserve(burst * pieces, size);
    let packets = room.len() / pieces;
    for first in (0..packets).map(|packet| packet * pieces) {
        if let Some(mut span) = room.span(first) {
            span.copy_from(&[0x5a; HEADER]);
        }
        for piece in 0..pieces {
            room.set_len(first + piece, (size - piece * BUFFER).min(BUFFER));
            if piece + 1 < pieces {
                room.chain(first + piece);
            }
        }
    }
    room.commit(packets * pieces);
    packets
}

/// Reads headers in the ring's buffers and releases the packets.
#[inline]
pub(crate) fn receive_in_place(rx: &mut RxQueue, burst: usize) -> usize {
    let peeked = rx.peek(burst);
    let received = peeked.len();
    let mut header = [0; HEADER];
    for span in peeked.iter().filter_map(|mut packet| packet.next()) {
        span.read_at(0, &mut header);
        hint::black_box(&mut header);
    }
    peeked.release(received);
    received
}
