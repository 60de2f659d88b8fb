//! The eight control messages of protocol section 2, as values and as bytes.
//!
//! This is the only place that knows where a field of a message lies. It says nothing about when a message may be
//! sent or whether its numbers make sense: [`handshake`](crate::handshake) does. Bytes come from an untrusted peer,
//! so parsing takes any bytes of any length and answers with a value or a [`PeerFault`].

mod text;
mod wire;

#[cfg(test)]
mod tests;

pub use text::{Secret, Text, TextError};

use crate::fault::PeerFault;
use core::fmt;

/// Bytes in every control message (protocol section 2). Bytes that a message does not use are zero.
pub const MESSAGE_SIZE: usize = 128;

/// The one protocol version in use, 2.0 (protocol section 2): major in the high byte, minor in the low one.
pub const VERSION: u16 = 0x0200;

/// Bytes in a secret field.
pub const SECRET_SIZE: usize = 24;

/// The name of an application or of an interface: a 32-byte field.
pub type Name = Text<32>;

/// Why a side disconnects, for people to read: a 96-byte field.
pub type Reason = Text<96>;

/// The type of a message, as it is numbered on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum MessageKind {
    /// Master to slave: the previous message is accepted.
    Ack = 1,
    /// Master to slave: the first message, with the master's limits.
    Hello = 2,
    /// Slave to master: which interface it wants, and as what.
    Init = 3,
    /// Slave to master: one region of shared memory.
    AddRegion = 4,
    /// Slave to master: one ring within a region.
    AddRing = 5,
    /// Slave to master: everything was sent.
    Connect = 6,
    /// Master to slave: the link is up.
    Connected = 7,
    /// Either way: the link is over.
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

    /// Whether one file descriptor rides on a message of this kind: a memfd on ADD_REGION, an eventfd on ADD_RING.
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

/// What the packets of an interface are (protocol section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Mode {
    /// Ethernet frames, number 0.
    #[default]
    Ethernet = 0,
    /// IP packets without a link header, number 1.
    Ip = 1,
    /// Packets punted from, or injected into, a forwarder, number 2.
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

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ethernet => "ethernet",
            Self::Ip => "ip",
            Self::PuntInject => "punt-inject",
        })
    }
}

/// Which way the packets of a ring go.
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

/// HELLO: what the master speaks and takes. Every `max_*` but the last is the highest *index*, so the count is one
/// more, and a peer may send 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The master's application name.
    pub name: Name,
    /// Lowest version spoken, see [`VERSION`].
    pub min_version: u16,
    /// Highest version spoken.
    pub max_version: u16,
    /// Highest region index taken.
    pub max_region: u16,
    /// Highest index of an M2S ring taken.
    pub max_m2s_ring: u16,
    /// Highest index of an S2M ring taken.
    pub max_s2m_ring: u16,
    /// Highest binary logarithm of a ring's descriptor count taken.
    pub max_log2_ring_size: u8,
}

/// INIT: the interface that a slave asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// The version that the slave chose, see [`VERSION`].
    pub version: u16,
    /// The interface's id on this socket.
    pub id: u32,
    /// What the slave takes the interface's packets for.
    pub mode: Mode,
    /// The shared secret, empty for none.
    pub secret: Secret,
    /// The slave's application name.
    pub name: Name,
}

/// ADD_REGION: one region of shared memory; its memfd rides along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddRegion {
    /// Regions are numbered from 0 without gaps.
    pub index: u16,
    /// Size in bytes, as the peer says.
    pub size: u64,
}

/// ADD_RING: where one ring lies; its eventfd rides along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddRing {
    /// Which way its packets go. The other flag bits mean nothing and are not kept.
    pub direction: Direction,
    /// Rings are numbered from 0 without gaps, in each direction.
    pub index: u16,
    /// The region that holds the ring.
    pub region: u16,
    /// Bytes from the region's start to the ring header.
    pub offset: u32,
    /// Binary logarithm of the descriptor count.
    pub log2_size: u8,
    /// Bytes of private header before each packet; every peer insists on 0.
    pub private_hdr_size: u16,
}

/// One control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The previous message is accepted.
    Ack,
    /// The master's first word.
    Hello(Hello),
    /// The interface asked for.
    Init(Init),
    /// One region.
    AddRegion(AddRegion),
    /// One ring.
    AddRing(AddRing),
    /// Everything was sent.
    Connect {
        /// The slave's name for its interface.
        if_name: Name,
    },
    /// The link is up.
    Connected {
        /// The master's name for its interface.
        if_name: Name,
    },
    /// The link is over.
    Disconnect {
        /// A number without agreed meaning; peers send 0.
        code: u32,
        /// Why, for people to read.
        reason: Reason,
    },
}

impl Message {
    /// Reads one message as it came off the socket. Bytes that the message does not use are not looked at.
    ///
    /// # Errors
    /// [`PeerFault::ShortMessage`], [`PeerFault::LongMessage`], [`PeerFault::UnknownType`] and
    /// [`PeerFault::UnknownMode`]. Any other number is passed on as it is.
    pub fn parse(bytes: &[u8]) -> Result<Self, PeerFault> {
        let got = bytes.len();
        match <&[u8; MESSAGE_SIZE]>::try_from(bytes) {
            Ok(bytes) => wire::parse(bytes),
            Err(_) if got < MESSAGE_SIZE => Err(PeerFault::ShortMessage { got, want: MESSAGE_SIZE }),
            Err(_) => Err(PeerFault::LongMessage { got, limit: MESSAGE_SIZE }),
        }
    }

    /// The message as it goes onto the socket, unused bytes zero.
    #[must_use]
    pub fn emit(&self) -> [u8; MESSAGE_SIZE] {
        wire::emit(self)
    }

    /// Which of the eight it is.
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Ack => MessageKind::Ack,
            Self::Hello(_) => MessageKind::Hello,
            Self::Init(_) => MessageKind::Init,
            Self::AddRegion(_) => MessageKind::AddRegion,
            Self::AddRing(_) => MessageKind::AddRing,
            Self::Connect { .. } => MessageKind::Connect,
            Self::Connected { .. } => MessageKind::Connected,
            Self::Disconnect { .. } => MessageKind::Disconnect,
        }
    }
}
