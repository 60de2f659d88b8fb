//! The messages as values.

use super::kind::{Direction, MessageKind, Mode};
use super::text::{Name, Reason, Secret};

/// Bytes in every control message. Bytes that a message does not use are zero.
pub const MESSAGE_SIZE: usize = 128;

/// The one protocol version in use, 2.0: major in the high byte, minor in the low one.
pub const VERSION: u16 = 0x0200;

/// HELLO: the master's versions and limits. `max_region`, `max_m2s_ring` and `max_s2m_ring` are the highest *index*:
/// the count is one more. A peer may send 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The master's application name.
    pub name: Name,
    /// Lowest version implemented: see [`VERSION`].
    pub min_version: u16,
    /// Highest version implemented.
    pub max_version: u16,
    /// Highest region index accepted.
    pub max_region: u16,
    /// Highest index of an M2S ring accepted.
    pub max_m2s_ring: u16,
    /// Highest index of an S2M ring accepted.
    pub max_s2m_ring: u16,
    /// Binary logarithm of the largest ring accepted, in descriptors.
    pub max_log2_ring_size: u8,
}

/// INIT: the interface that a slave requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Init {
    /// The version that the slave selected: see [`VERSION`].
    pub version: u16,
    /// The interface's id on this socket.
    pub id: u32,
    /// Mode of the slave's interface.
    pub mode: Mode,
    /// The shared secret, empty for none.
    pub secret: Secret,
    /// The slave's application name.
    pub name: Name,
}

/// ADD_REGION: one region of shared memory. Carries its memfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddRegion {
    /// Index: regions are numbered from 0 without gaps.
    pub index: u16,
    /// Size in bytes, as announced.
    pub size: u64,
}

/// ADD_RING: one ring within a region. Carries its eventfd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddRing {
    /// Direction of its packets. The other flag bits have no meaning and are dropped.
    pub direction: Direction,
    /// Index: rings are numbered from 0 without gaps, in each direction.
    pub index: u16,
    /// Index of the ring's region.
    pub region: u16,
    /// Offset of the ring header, in bytes from the region's start.
    pub offset: u32,
    /// Binary logarithm of the number of descriptors.
    pub log2_size: u8,
    /// Bytes of private header before each packet; every known peer requires 0.
    pub private_hdr_size: u16,
}

/// One control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The previous message is accepted.
    Ack,
    /// The master's versions and limits: the first message.
    Hello(Hello),
    /// The slave's request for an interface.
    Init(Init),
    /// One region.
    AddRegion(AddRegion),
    /// One ring.
    AddRing(AddRing),
    /// The slave has sent all regions and rings.
    Connect {
        /// The slave's name for its interface.
        if_name: Name,
    },
    /// The link is up.
    Connected {
        /// The master's name for its interface.
        if_name: Name,
    },
    /// The link ends.
    Disconnect {
        /// Code, without a meaning that peers agree on; they send 0.
        code: u32,
        /// Reason, as text.
        reason: Reason,
    },
}

impl Message {
    /// The message type.
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
