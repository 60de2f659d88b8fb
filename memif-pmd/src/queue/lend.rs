//! Spans of buffers that a queue holds between two calls: packets that were peeked, buffers that were reserved.
#![allow(unsafe_code)] // asks a link for spans: the borrowed queue holds their slots

use memif_ring::layout::Desc;
use memif_ring::region::RegionMap;
use memif_ring::shm::{Span, SpanMut};

use crate::link::{RxLink, TxLink};

/// The bytes of a descriptor that the queue peeked, and has not released.
pub(super) fn peeked<'q>(queue: &'q RxLink, piece: &Desc) -> Option<Span<'q>> {
    // SAFETY: the queue holds the slot while it is borrowed, and belongs to one thread.
    let span = unsafe { queue.link.regions.span(piece.region, piece.offset, piece.length) };
    span.ok().map(SpanMut::into_span)
}

/// The bytes of a buffer that the queue reserved, and has not sent.
pub(super) fn reserved<'q>(queue: &'q mut TxLink, buffer: &Desc) -> Option<SpanMut<'q>> {
    // SAFETY: as in `peeked`.
    unsafe { queue.link.regions.span(buffer.region, buffer.offset, buffer.length) }.ok()
}

/// The bytes of a descriptor that the end of a queue has ready, as it has checked them.
pub(super) fn ready<'m>(regions: &'m RegionMap, piece: &Desc) -> Option<SpanMut<'m>> {
    // SAFETY: the caller has the end of the queue, which holds the slot, to itself, and releases the slot afterwards.
    unsafe { regions.span(piece.region, piece.offset, piece.length) }.ok()
}
