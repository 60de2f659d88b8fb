//! Listening sockets as the control plane knows them: the interfaces that share one, and the clients that have not yet
//! named the one they want.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memif_os::socket::{Listener, SocketAddress};

use super::turn::ConnectionId;
use crate::background::{Owner, new_number};
use crate::rate_limit::RateLimit;

/// Clients that may be connected without having named an interface. One more costs the oldest its place, so silent ones
/// cannot keep others out.
pub(super) const MAX_WAITING: usize = 128;
/// How long a listener is not watched when no client can be accepted.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// Whether the registry watches the listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    /// A thread is about to change it, and says so when it has.
    Changing,
    Watched,
    /// Until then.
    Paused(Instant),
}

/// A listening socket.
pub(super) struct Listening {
    /// None while it is being bound.
    pub(super) listener: Option<Arc<Listener>>,
    /// Interfaces by their id.
    pub(super) interfaces: HashMap<u32, u64>,
    /// Clients that have not named an interface, oldest first.
    waiting: VecDeque<ConnectionId>,
    pub(super) watch: Watch,
    /// Made by somebody else: it stays when its last interface goes.
    pub(super) kept: bool,
    warnings: RateLimit,
    /// Whose work it is to close what clients left that named no interface.
    pub(super) strangers: Owner,
}

impl Listening {
    pub(super) fn new(listener: Option<Listener>, kept: bool) -> Self {
        Self {
            listener: listener.map(Arc::new),
            interfaces: HashMap::new(),
            waiting: VecDeque::new(),
            watch: Watch::Changing,
            kept,
            warnings: RateLimit::new(),
            strangers: Owner::Strangers(new_number()),
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.interfaces.is_empty() && !self.kept
    }

    pub(super) fn paused_until(&self) -> Option<Instant> {
        match self.watch {
            Watch::Paused(until) => Some(until),
            _ => None,
        }
    }

    /// A client waits to name its interface; returns the one that must go for it.
    pub(super) fn wait(&mut self, id: ConnectionId) -> Option<ConnectionId> {
        self.waiting.push_back(id);
        if self.waiting.len() > MAX_WAITING { self.waiting.pop_front() } else { None }
    }

    /// The client that has been silent for longest, which is no longer counted.
    pub(super) fn evict(&mut self) -> Option<ConnectionId> {
        self.waiting.pop_front()
    }

    /// A client has named its interface, or is gone.
    pub(super) fn stop_waiting(&mut self, id: ConnectionId) {
        self.waiting.retain(|waiting| *waiting != id);
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = ConnectionId> {
        self.waiting.iter().copied()
    }

    /// Whether a failure to accept is worth a line in the log.
    pub(super) fn may_warn(&mut self) -> Option<u64> {
        self.warnings.pass(Instant::now())
    }
}

/// All listeners by address.
pub(super) type Listeners = HashMap<SocketAddress, Listening>;
