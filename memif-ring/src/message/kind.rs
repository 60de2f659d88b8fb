//! Message types, interface modes and ring directions.

use core::fmt;
use core::str::FromStr;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum MessageKind {
    /// Master to slave: the previous message is accepted.
    Ack = 1,
    /// Master to slave: the first message, with the master's limits.
    Hello = 2,
    /// Slave to master: the interface that it requests.
    Init = 3,
    /// Slave to master: one region of shared memory.
    AddRegion = 4,
    /// Slave to master: one ring within a region.
    AddRing = 5,
    /// Slave to master: all regions and rings were sent.
    Connect = 6,
    /// Master to slave: the link is up.
    Connected = 7,
    /// Either way: the link ends.
    Disconnect = 8,
}

impl MessageKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Ack,
        Self::Hello,
        Self::Init,
        Self::AddRegion,
        Self::AddRing,
        Self::Connect,
        Self::Connected,
        Self::Disconnect,
    ];

    /// The number on the wire, 1 to 8.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Whether a message of this type carries a file descriptor: a memfd on ADD_REGION, an eventfd on ADD_RING.
    #[must_use]
    pub const fn carries_fd(self) -> bool {
        matches!(self, Self::AddRegion | Self::AddRing)
    }

    /// The name in the protocol, such as `ADD_REGION`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ack => "ACK",
            Self::Hello => "HELLO",
            Self::Init => "INIT",
            Self::AddRegion => "ADD_REGION",
            Self::AddRing => "ADD_RING",
            Self::Connect => "CONNECT",
            Self::Connected => "CONNECTED",
            Self::Disconnect => "DISCONNECT",
        }
    }
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Mode of an interface: the kind of its packets (docs/protocol.md, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Mode {
    /// Ethernet frames, number 0.
    #[default]
    Ethernet = 0,
    /// IP packets without a link header, number 1.
    Ip = 1,
    /// Packets that a forwarder punts or injects, number 2.
    PuntInject = 2,
}

impl Mode {
    /// Every mode, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Ethernet, Self::Ip, Self::PuntInject];

    /// The number on the wire, 0 to 2.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::Ip => "ip",
            Self::PuntInject => "punt-inject",
        }
    }
}

impl fmt::Display for Mode {
    /// `ethernet`, `ip` or `punt-inject`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a [`Mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode: use ethernet, ip or punt-inject")]
pub struct ParseModeError;

impl FromStr for Mode {
    type Err = ParseModeError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseModeError> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or(ParseModeError)
    }
}

/// Direction of the packets of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Slave to master: the slave's transmit ring.
    #[doc(alias = "C2S")]
    S2M,
    /// Master to slave: the slave's receive ring.
    #[doc(alias = "S2C")]
    M2S,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S2M => "S2M",
            Self::M2S => "M2S",
        })
    }
}
