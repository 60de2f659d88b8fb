//! The role of a queue's end, asked once a call: below it everything is compiled for the end that is there.

use memif_ring::burst::packet_bytes;
use memif_ring::fault::DropReason;
use memif_ring::layout::MAX_SEGMENTS;

/// Evaluates an expression for the end that a queue has: `by_role!(&mut link.end, |end| end.ready(1))`.
macro_rules! by_role {
    ($end:expr, |$name:ident| $work:expr) => {
        match $end {
            $crate::link::End::Slave($name) => $work,
            $crate::link::End::Master($name) => $work,
        }
    };
}
pub(super) use by_role;

/// Checks a packet in place: at most [`MAX_SEGMENTS`] pieces, and 1 to 65535 bytes.
pub(super) fn check_packet(pieces: usize, bytes: usize) -> Result<(), DropReason> {
    if pieces > MAX_SEGMENTS { Err(DropReason::ChainTooLong) } else { packet_bytes(bytes).map(drop) }
}
