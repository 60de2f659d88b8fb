//! Roles and receive modes, and the checked configuration of an interface.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use memif_os::huge_pages::HugePages;
use memif_os::socket::{Credentials, SocketAccess, SocketAddress};
use memif_ring::fault::PeerFault;
use memif_ring::layout::LineSize;
use memif_ring::message::{Mode, Name, Secret};

use crate::event::Event;
use crate::packet_memory::PacketMemory;

/// Which end of the link an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Listens on the socket, and maps the memory that the slave shares.
    #[doc(alias = "server")]
    Master,
    /// Connects to the socket, and allocates all shared memory.
    #[doc(alias = "client")]
    Slave,
}

impl Role {
    const ALL: [Self; 2] = [Self::Master, Self::Slave];

    const fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Slave => "slave",
        }
    }
}

impl fmt::Display for Role {
    /// `master` or `slave`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a [`Role`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role: use master or slave")]
pub struct ParseRoleError;

impl FromStr for Role {
    type Err = ParseRoleError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or(ParseRoleError)
    }
}

/// How a receive queue learns of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RxMode {
    /// It polls the ring; the peer need not notify. The fastest mode, which uses a whole core.
    #[default]
    Polling,
    /// The peer signals the queue's eventfd for every burst.
    Interrupt,
    /// It polls under load, and uses the eventfd while it sleeps ([`crate::RxQueue::wait`], [`crate::Idle::Sleep`]).
    Adaptive,
}

impl RxMode {
    const ALL: [Self; 3] = [Self::Polling, Self::Interrupt, Self::Adaptive];

    const fn name(self) -> &'static str {
        match self {
            Self::Polling => "poll",
            Self::Interrupt => "interrupt",
            Self::Adaptive => "adaptive",
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Polling => 0,
            Self::Interrupt => 1,
            Self::Adaptive => 2,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Interrupt,
            2 => Self::Adaptive,
            _ => Self::Polling,
        }
    }
}

impl fmt::Display for RxMode {
    /// `poll`, `interrupt` or `adaptive`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of an [`RxMode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown receive mode: use poll, interrupt or adaptive")]
pub struct ParseRxModeError;

impl FromStr for RxMode {
    type Err = ParseRxModeError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseRxModeError> {
        Self::ALL.into_iter().find(|mode| mode.name() == text).ok_or(ParseRxModeError)
    }
}

/// Where a slave puts the packets that it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PacketLayout {
    /// One behind the other, in the memory of all buffers of the ring. A packet takes its own length, or the length that
    /// was reserved for it.
    #[default]
    Packed,
    /// Each packet in the buffer that belongs to its descriptor.
    Fixed,
}

impl PacketLayout {
    pub(crate) const ALL: [Self; 2] = [Self::Packed, Self::Fixed];

    const fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Fixed => "fixed",
        }
    }
}

impl fmt::Display for PacketLayout {
    /// `packed` or `fixed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a [`PacketLayout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown packet layout: use packed or fixed")]
pub struct ParsePacketLayoutError;

impl FromStr for PacketLayout {
    type Err = ParsePacketLayoutError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParsePacketLayoutError> {
        Self::ALL.into_iter().find(|layout| layout.name() == text).ok_or(ParsePacketLayoutError)
    }
}

/// Called with the events of an interface, on the thread that polls the control plane.
pub(crate) type EventHandler = Arc<dyn Fn(&Event) + Send + Sync>;

/// Packet memory that a slave needs for one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryRequest {
    /// Number of buffers: one for each descriptor of the link's rings.
    pub buffers: u32,
    /// Bytes of each buffer.
    pub buffer_size: u32,
}

/// Why the program provides no memory.
pub(crate) type MemoryError = Box<dyn std::error::Error + Send + Sync>;

/// Called for each link of a slave.
pub(crate) type MemoryProvider =
    Arc<dyn Fn(MemoryRequest) -> Result<PacketMemory, MemoryError> + Send + Sync>;

/// Where a slave has its packet buffers.
#[derive(Clone)]
pub(crate) enum PacketSource {
    /// In memory that is allocated for the link.
    Link,
    /// In packet memory that other interfaces use as well.
    Shared(PacketMemory),
    /// In memory that the program provides for each link.
    Provided(MemoryProvider),
}

/// What the control plane does with the eventfds of receive queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupts {
    /// Nothing: the data threads use them.
    Left,
    /// Drains and reports them.
    Taken,
    /// Reports them while they are readable, without draining them.
    Pending,
}

/// How long a handshake may take. A peer whose process is busy answers slowly: VPP's main thread at times about one message
/// a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// Longest time between two messages of the peer.
    pub(crate) silence: Duration,
    /// Longest time of the whole handshake.
    pub(crate) handshake: Duration,
}

impl Timeouts {
    pub(crate) const DEFAULT: Self =
        Self { silence: Duration::from_secs(10), handshake: Duration::from_secs(60) };
}

/// A checked configuration.
pub(crate) struct Config {
    pub(crate) socket: SocketAddress,
    pub(crate) role: Role,
    pub(crate) id: u32,
    pub(crate) mode: Mode,
    pub(crate) secret: Secret,
    pub(crate) app_name: Name,
    pub(crate) name: Name,
    pub(crate) rx_queues: u16,
    pub(crate) tx_queues: u16,
    pub(crate) log2_ring_size: u8,
    pub(crate) line: LineSize,
    pub(crate) packet_layout: PacketLayout,
    pub(crate) buffer_size: u32,
    pub(crate) huge_pages: HugePages,
    pub(crate) packet_memory: PacketSource,
    pub(crate) explicit_posting: bool,
    pub(crate) rx_mode: RxMode,
    /// Time between a slave's attempts; `None`: it connects on request only.
    pub(crate) reconnect: Option<Duration>,
    pub(crate) timeouts: Timeouts,
    pub(crate) interrupts: Interrupts,
    pub(crate) require_seals: bool,
    pub(crate) socket_access: SocketAccess,
    pub(crate) allowed: Allowed,
    pub(crate) on_event: Option<EventHandler>,
}

/// Users and groups whose processes may be the peer of an interface; if both are empty, everybody may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    pub(crate) uids: Vec<u32>,
    pub(crate) gids: Vec<u32>,
}

impl Allowed {
    pub(crate) fn takes_all(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Whether the process with these credentials may be the peer.
    pub(crate) fn check(&self, process: Credentials) -> Result<(), PeerFault> {
        let Credentials { uid, gid, .. } = process;
        let takes = self.takes_all() || self.uids.contains(&uid) || self.gids.contains(&gid);
        if takes { Ok(()) } else { Err(PeerFault::NotAllowed { uid, gid }) }
    }
}

impl Config {
    /// Rings of a link in both directions.
    pub(crate) const fn rings(&self) -> u16 {
        self.s2m_rings() + self.m2s_rings()
    }

    /// Rings from slave to master.
    pub(crate) const fn s2m_rings(&self) -> u16 {
        match self.role {
            Role::Master => self.rx_queues,
            Role::Slave => self.tx_queues,
        }
    }

    /// Rings from master to slave.
    pub(crate) const fn m2s_rings(&self) -> u16 {
        match self.role {
            Role::Master => self.tx_queues,
            Role::Slave => self.rx_queues,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        for mode in RxMode::ALL {
            assert_eq!(mode.to_string().parse(), Ok(mode));
            assert_eq!(RxMode::from_number(mode.number()), mode);
        }
        for layout in PacketLayout::ALL {
            assert_eq!(layout.to_string().parse(), Ok(layout));
        }
    }

    proptest! {
        #[test]
        fn nothing_else_is_read(text in "[a-zA-Z ]{0,10}|master|slave|poll|interrupt|adaptive|packed|fixed") {
            if let Ok(role) = text.parse::<Role>() {
                prop_assert_eq!(role.to_string(), text.as_str());
            }
            if let Ok(mode) = text.parse::<RxMode>() {
                prop_assert_eq!(mode.to_string(), text.as_str());
            }
            if let Ok(layout) = text.parse::<PacketLayout>() {
                prop_assert_eq!(layout.to_string(), text.as_str());
            }
        }
    }
}
