//! What the control plane logs, once its lock is released: a subscriber may take as long as it likes.

use memif_os::socket::{SocketAddress, SocketError};
use memif_ring::fault::PeerFault;
use memif_ring::message::Name;

/// Something for the log. `suppressed`: how many before it were not logged, of the same interface, listener or kind. All of
/// these can be repeated by a peer: they are made where a [`RateLimit`](crate::rate_limit::RateLimit) lets them pass.
pub(super) enum Warning {
    /// A peer of an interface did something wrong.
    Fault { interface: Name, fault: PeerFault, suppressed: u64 },
    /// The slave of an interface writes to slots of a ring that it does not own.
    Overrun { interface: Name, queue: u16, lost: u64, suppressed: u64 },
    /// A client without an interface did something wrong.
    Stranger { fault: PeerFault, suppressed: u64 },
    /// A peer's memory can be cut short.
    Unsealed { interface: Name, region: u16, suppressed: u64 },
    /// A client could not be accepted.
    Accept { socket: SocketAddress, error: SocketError, suppressed: u64 },
    /// The registry refused to watch a descriptor.
    Watch { what: &'static str, error: String, suppressed: u64 },
    /// A peer is notified rarely.
    SlowPeer { interface: Name, queue: u16, suppressed: u64 },
}

impl Warning {
    pub(super) fn log(self) {
        match self {
            Self::Fault { interface, fault, suppressed } => {
                tracing::warn!(%interface, kind = fault.kind().name(), suppressed, "peer fault: {fault}");
            }
            Self::Stranger { fault, suppressed } => {
                tracing::warn!(kind = fault.kind().name(), suppressed, "client refused: {fault}");
            }
            Self::Overrun { interface, queue, lost, suppressed } => {
                tracing::warn!(%interface, queue, lost, suppressed, "the peer overruns the ring; packets are lost");
            }
            Self::Unsealed { interface, region, suppressed } => {
                tracing::warn!(%interface, region, suppressed, "the peer's memory is not sealed against shrinking");
            }
            Self::Accept { socket, error, suppressed } => {
                tracing::warn!(%error, %socket, suppressed, "cannot accept a client");
            }
            Self::Watch { what, error, suppressed } => {
                tracing::warn!(error, suppressed, "cannot watch {what}");
            }
            Self::SlowPeer { interface, queue, suppressed } => {
                tracing::warn!(%interface, queue, suppressed, "notifying the peer takes very long: it is notified rarely");
            }
        }
    }
}
