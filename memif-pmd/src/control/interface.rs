//! What the control plane knows of one interface.

use std::sync::Arc;
use std::time::Instant;

use memif_ring::fault::PeerFault;

use super::connection::Admitted;
use super::folders::Awaited;
use super::queues::Queues;
use super::retry::Retry;
use super::ring_wish::RingWish;
use super::turn::{ConnectionId, PeerNames};
use super::warning::Warning;
use crate::config::{Config, Role};
use crate::error::Disconnect;
use crate::link::Link;
use crate::link::slave::Spare;
use crate::quota::Counted;
use crate::rate_limit::RateLimit;
use crate::stats::FaultCounts;

/// One interface: its configuration, its queues, and its link while there is one.
pub(super) struct InterfaceState {
    pub(super) config: Arc<Config>,
    pub(super) queues: Arc<Queues>,
    /// The connection that claims the interface, up or on its way.
    pub(super) connection: Option<ConnectionId>,
    pub(super) link: Option<Arc<Link>>,
    /// Memory of a failed attempt, for the next one.
    pub(super) spare: Option<Spare>,
    /// The program has provided packet memory for the connection.
    pub(super) lent: bool,
    /// The rings that a slave asks for.
    pub(super) rings: RingWish,
    /// When a slave without a connection tries next.
    pub(super) retry: Retry,
    /// The file that a slave waits for, if its folder is watched.
    pub(super) awaited: Option<Awaited>,
    pub(super) peer: PeerNames,
    pub(super) connects: u64,
    pub(super) faults: FaultCounts,
    warnings: RateLimit,
    pub(super) last_disconnect: Option<Disconnect>,
    _counted: Counted,
}

impl InterfaceState {
    pub(super) fn new(config: Arc<Config>, queues: Arc<Queues>) -> Self {
        Self {
            rings: RingWish::of(&config),
            retry: Retry::new(config.reconnect),
            awaited: None,
            config,
            queues,
            connection: None,
            link: None,
            spare: None,
            lent: false,
            peer: PeerNames::none(),
            connects: 0,
            faults: FaultCounts::NONE,
            warnings: RateLimit::new(),
            last_disconnect: None,
            _counted: Counted::new(),
        }
    }

    pub(super) fn admitted(&self, key: u64) -> Admitted {
        Admitted { key, config: Arc::clone(&self.config), queues: Arc::clone(&self.queues) }
    }

    /// The peer did something wrong: counts it, and has it logged, but not each one of a flood.
    pub(super) fn note_fault(&mut self, fault: PeerFault) -> Option<Warning> {
        self.faults.count(fault.kind());
        let suppressed = self.warnings.pass(Instant::now())?;
        Some(Warning::Fault { interface: self.config.name, fault, suppressed })
    }

    /// Notifying the peer takes so long that it is done rarely.
    pub(super) fn note_slow_peer(&mut self, queue: u16) -> Option<Warning> {
        let suppressed = self.warnings.pass(Instant::now())?;
        Some(Warning::SlowPeer { interface: self.config.name, queue, suppressed })
    }

    /// The slave has overrun a ring, and the link goes on.
    pub(super) fn note_overrun(&mut self, queue: u16, lost: u64) -> Option<Warning> {
        let suppressed = self.warnings.pass(Instant::now())?;
        Some(Warning::Overrun { interface: self.config.name, queue, lost, suppressed })
    }

    /// A client asked for the interface and was refused: whoever waits for a link is told why.
    pub(super) fn note_refusal(&mut self, fault: PeerFault) -> Option<Warning> {
        if self.connection.is_none() {
            self.last_disconnect = Some(Disconnect::Fault(fault));
        }
        self.note_fault(fault)
    }

    /// The link is up. Its first region that is not sealed is worth a warning.
    pub(super) fn link_up(&mut self, link: Arc<Link>, peer: PeerNames) -> Option<Warning> {
        let unsealed = link.unsealed_region();
        self.link = Some(link);
        self.awaited = None;
        self.peer = peer;
        self.connects += 1;
        self.queues.set_up(true);
        let suppressed = unsealed.and_then(|_| self.warnings.pass(Instant::now()))?;
        Some(Warning::Unsealed { interface: self.config.name, region: unsealed?, suppressed })
    }

    /// The connection is gone, and with it the link if there was one, which is returned.
    pub(super) fn link_down(&mut self, reason: Disconnect) -> Option<Arc<Link>> {
        self.connection = None;
        self.peer = PeerNames::none();
        let link = self.link.take();
        if self.config.role == Role::Slave {
            // a peer that could be reached a moment ago, or is about to be started again
            let ended = matches!(reason, Disconnect::Closed | Disconnect::Peer { .. } | Disconnect::Fault(_));
            let act = if link.is_some() && ended { Retry::soon } else { Retry::later };
            act(&mut self.retry, Instant::now());
        }
        self.last_disconnect = Some(reason);
        link
    }

    /// Whether a slave waits for its master, and the folder of the socket is to be watched for that.
    pub(super) fn wants_folder(&self) -> bool {
        let later = self.retry.at().is_some_and(|at| at > Instant::now());
        later && self.waits() && self.awaited.is_none() && self.config.socket.path().is_some()
    }

    /// Whether a slave has no connection, and will try by itself.
    pub(super) fn waits(&self) -> bool {
        self.config.role == Role::Slave && self.connection.is_none() && self.retry.is_automatic()
    }

    /// The master takes fewer rings than the attempt offered: the next one, at once, offers those.
    pub(super) fn ask_for_fewer_rings(&mut self) {
        self.connection = None;
        self.retry.go_on(Instant::now());
    }
}
