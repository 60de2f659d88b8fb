//! The stages of a handshake. Here, below [`handshake`](crate::handshake), because faults report them.

use core::fmt;

/// Stage of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Master: the peer has to send INIT.
    AwaitInit,
    /// Master: the driver has to look up the interface and call
    /// [`MasterHandshake::admit`](crate::handshake::MasterHandshake::admit).
    Admission,
    /// Master: the peer sends its regions and rings.
    Setup,
    /// Master: the driver has to map regions, check rings and call
    /// [`MasterHandshake::connected`](crate::handshake::MasterHandshake::connected).
    Attach,
    /// Slave: the peer has to send HELLO.
    AwaitHello,
    /// Slave: the peer has to acknowledge INIT.
    AwaitAdmission,
    /// Slave: the driver has to allocate memory and call
    /// [`SlaveHandshake::offer`](crate::handshake::SlaveHandshake::offer).
    Allocate,
    /// Slave: the peer has to acknowledge a region or a ring.
    Offering,
    /// Slave: the peer has to send CONNECTED.
    AwaitConnected,
    /// The link is up.
    Up,
    /// The link has ended. Messages are ignored.
    Closed,
}

impl Stage {
    /// What a peer that lets this stage time out may lack.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::AwaitHello => {
                ": the master has not accepted the connection; it may be stopped, busy or out of descriptors"
            }
            _ => "",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwaitInit => "waiting for INIT",
            Self::Admission => "looking up the interface",
            Self::Setup => "taking regions and rings",
            Self::Attach => "attaching regions and rings",
            Self::AwaitHello => "waiting for HELLO",
            Self::AwaitAdmission => "waiting for admission",
            Self::Allocate => "allocating regions and rings",
            Self::Offering => "offering regions and rings",
            Self::AwaitConnected => "waiting for CONNECTED",
            Self::Up => "the link is up",
            Self::Closed => "the link is closed",
        })
    }
}
