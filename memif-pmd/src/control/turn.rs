//! What happens to a connection, and what it asks for in return.

use memif_ring::handshake::{Negotiated, Places};
use memif_ring::message::{Init, Name};

use super::queues::Prepared;
use crate::error::Disconnect;
use crate::link::slave::SlaveMemory;

/// Tells connections apart; never used again, as the number of a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ConnectionId(pub(super) u64);

/// Something that a connection has to deal with, one at a time.
pub(super) enum Turn {
    /// The peer has sent something.
    Readable,
    /// A builder thread has finished what the connection asked for.
    Built(Result<Product, Disconnect>),
    /// The handshake has taken too long, or the place is needed for another client.
    TimedOut,
    /// This side ends it.
    Close(Disconnect),
}

/// What a builder thread made.
pub(super) enum Product {
    /// Memory of a slave, ready to be offered.
    Allocated(SlaveMemory),
    /// A link, ready to be used.
    Link(Prepared),
}

/// What a message of the peer asks for.
pub(super) enum Step {
    /// Nothing: the next message will tell.
    Wait,
    /// A slave has named the interface that it wants.
    Admit(Init),
    /// A slave has offered everything: map it.
    Map(Places),
    /// A master has stated its limits: allocate.
    Allocate(Negotiated),
    /// A master has taken up the link: build our ends of the rings.
    Start,
}

/// Who the peer says it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerNames {
    pub(super) app: Name,
    pub(super) interface: Name,
}

impl PeerNames {
    pub(super) fn none() -> Self {
        Self { app: Name::from_field([0; 32]), interface: Name::from_field([0; 32]) }
    }
}
