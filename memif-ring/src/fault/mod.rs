//! What a peer can do wrong, and what it costs.
//!
//! A [`PeerFault`] ends the link or refuses the handshake; [`PeerFault::reason`] is the text for the DISCONNECT. A
//! [`DropReason`] costs one packet, and the link stays up. [`FaultKind`] names the faults without their values, for
//! counters.

mod counted;
mod drop_reason;
mod kind;
mod peer_fault;
mod stage;

#[cfg(test)]
mod tests;

pub use drop_reason::DropReason;
pub use kind::FaultKind;
pub use peer_fault::{PeerFault, REFUSED};
pub use stage::Stage;
