//! The handshake of both roles, without I/O: messages in, messages and file descriptor tokens out.
//!
//! [`MasterHandshake`] and [`SlaveHandshake`] decide which message may arrive at which stage, and check every number
//! that a peer sends before anyone uses it. The driver owns the socket, the clock and the memory:
//!
//! 1. Before each `handle`, send what `poll_transmit` returns, until it returns `None`. If the socket is full, wait.
//!    Each message is answered before the next one is sent: a peer that does not wait for the answer is refused.
//! 2. Pass each received message to `handle`, with its file descriptor. Close surplus descriptors, and pass their
//!    number.
//! 3. After a fault, or at [`Stage::Closed`], send what `poll_transmit` returns, and close the socket.
//! 4. If the handshake takes too long, call `refuse` with [`PeerFault::HandshakeTimedOut`].
//!
//! Each call does bounded work and leaves at most one message to send.
//!
//! [`PeerFault::HandshakeTimedOut`]: crate::fault::PeerFault::HandshakeTimedOut

mod common;
mod master;
mod places;
mod slave;

#[cfg(test)]
mod tests;

pub use crate::fault::Stage;
pub use common::{FdToken, MAX_REGION_SIZE, MAX_RINGS, OutOfTurn, Transmit};
pub use master::{Admission, AdmitError, HelloParams, MasterEvent, MasterHandshake};
pub use places::Places;
pub use slave::{Negotiated, OfferError, SlaveEvent, SlaveHandshake, SlaveParams, SlaveParamsError};
