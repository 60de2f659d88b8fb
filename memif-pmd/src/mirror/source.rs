//! The queues whose packets are copied.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use memif_ring::message::{Direction, Mode};

use crate::config::Role;
use crate::stats::Details;

/// Whether packets were received or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MirrorDirection {
    /// Packets were received.
    Received,
    /// Packets were sent.
    Sent,
}

impl fmt::Display for MirrorDirection {
    /// `received` or `sent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Received => "received",
            Self::Sent => "sent",
        })
    }
}

/// A queue whose packets are copied.
#[derive(Debug)]
pub struct MirrorSource {
    number: usize,
    socket: String,
    id: u32,
    role: Role,
    mode: Mode,
    direction: MirrorDirection,
    queue: u16,
    packets: AtomicU64,
    dropped: AtomicU64,
}

impl MirrorSource {
    /// The queue of an interface with this direction and index.
    pub(super) fn new(number: usize, interface: &Details, direction: MirrorDirection, queue: u16) -> Self {
        Self {
            number,
            socket: interface.socket.clone(),
            id: interface.id,
            role: interface.role,
            mode: interface.mode,
            direction,
            queue,
            packets: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    /// Counts packets as copied or as dropped.
    pub(super) fn count(&self, packets: usize, copied: bool) {
        let counter = if copied { &self.packets } else { &self.dropped };
        counter.fetch_add(packets as u64, Ordering::Relaxed);
    }

    /// Its number among the sources of the mirror, from 0.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The socket's address.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The interface's id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The interface's role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The interface's mode, which says which header packets begin with.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the queue receives or sends.
    #[must_use]
    pub const fn direction(&self) -> MirrorDirection {
        self.direction
    }

    /// The direction of the ring.
    #[must_use]
    pub const fn ring(&self) -> Direction {
        match (self.role, self.direction) {
            (Role::Master, MirrorDirection::Received) | (Role::Slave, MirrorDirection::Sent) => {
                Direction::S2M
            }
            _ => Direction::M2S,
        }
    }

    /// Index of the queue in its direction.
    #[must_use]
    pub const fn queue(&self) -> u16 {
        self.queue
    }

    /// Number of packets copied so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Number of packets that were not copied so far, as the mirror had no room for them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
