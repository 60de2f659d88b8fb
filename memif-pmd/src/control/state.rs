//! What the control plane knows: its interfaces, listeners, connections and timers, and what each descriptor is for.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memif_os::event::TimerFd;
use memif_os::seqpacket::SocketAddress;
use memif_ring::fault::PeerFault;
use memif_ring::message::Name;

use super::connection::Connection;
use super::listener::Listening;
use super::rate_limit::RateLimit;
use super::{Event, FdRegistry, Reports};
use crate::config::{Config, EventHandler, Interrupts, Role, RxMode};
use crate::error::{Disconnect, Error};
use crate::link::{Attached, Link, LinkRing, RxLink, TxLink, rx_direction, tx_direction};
use crate::queue::Slot;
use crate::stats::{Details, FaultCounts, QueueDetails};

/// What a watched descriptor is for.
#[derive(Clone, Debug)]
enum Source {
    Waker,
    Timer,
    Listener(SocketAddress),
    Connection,
    Interrupt { owner: u64, queue: u16 },
}

/// An event on its way to its handler, once the lock is released.
pub(crate) struct Notice {
    pub(crate) handler: Option<EventHandler>,
    pub(crate) event: Event,
}

/// One interface: its configuration, its queues, and its link while there is one.
pub(crate) struct InterfaceState {
    pub(crate) config: Config,
    rx: Vec<Arc<Slot<RxLink>>>,
    tx: Vec<Arc<Slot<TxLink>>>,
    /// The connection that claims the interface, up or on its way.
    pub(crate) connection: Option<RawFd>,
    link: Option<Arc<Link>>,
    /// When a slave without a connection tries next.
    pub(super) retry_at: Option<Instant>,
    peer_name: Name,
    peer_app_name: Name,
    connects: u64,
    faults: FaultCounts,
    warnings: RateLimit,
    pub(crate) last_disconnect: Option<Disconnect>,
}

impl InterfaceState {
    pub(crate) fn is_up(&self) -> bool {
        self.link.is_some()
    }

    pub(crate) fn rx_slot(&self, index: u16) -> Option<&Arc<Slot<RxLink>>> {
        self.rx.get(usize::from(index))
    }

    pub(crate) fn tx_slot(&self, index: u16) -> Option<&Arc<Slot<TxLink>>> {
        self.tx.get(usize::from(index))
    }

    /// Whether a fault that a data thread met belongs to the present link.
    fn has_epoch(&self, epoch: u64) -> bool {
        self.rx.first().is_some_and(|slot| slot.epoch() == epoch)
    }

    /// The peer did something wrong: counts it, and says so, but not for every one of a flood.
    pub(super) fn note_fault(&mut self, fault: PeerFault) {
        self.faults.count(fault.kind());
        if let Some(suppressed) = self.warnings.pass(Instant::now()) {
            let (interface, kind) = (&self.config.name, fault.kind().name());
            tracing::warn!(%interface, kind, suppressed, "peer fault: {fault}");
        }
    }

    /// A client asked for the interface and was refused: whoever waits for a link wants to know why.
    pub(super) fn note_refusal(&mut self, fault: PeerFault) {
        self.note_fault(fault);
        if self.connection.is_none() {
            self.last_disconnect = Some(Disconnect::Fault(fault));
        }
    }

    /// Hands the link to the data threads. Every queue's epoch moves, also of those that have no ring.
    fn install(&self, attached: Attached) -> Arc<Link> {
        let Attached { link, rx, tx } = attached;
        let (mut rx, mut tx) = (rx.into_iter(), tx.into_iter());
        for slot in &self.rx {
            match rx.next() {
                Some(queue) => {
                    // the receiver says what it wants, whatever the flag was before
                    slot.apply_mode(&queue);
                    slot.install(queue);
                    let ring = link.ring(rx_direction(self.config.role), slot.index());
                    ring.inspect(|ring| slot.notice_mode(*ring));
                }
                None => slot.clear(),
            }
        }
        for slot in &self.tx {
            match tx.next() {
                Some(queue) => slot.install(queue),
                None => slot.clear(),
            }
        }
        link
    }

    fn clear_queues(&self) {
        self.rx.iter().for_each(|slot| slot.clear());
        self.tx.iter().for_each(|slot| slot.clear());
    }
}

pub(crate) struct State {
    registry: Box<dyn FdRegistry>,
    sources: HashMap<RawFd, Source>,
    pub(super) listeners: HashMap<SocketAddress, Listening>,
    pub(super) interfaces: HashMap<u64, InterfaceState>,
    pub(super) connections: HashMap<RawFd, Connection>,
    pub(super) reports: Arc<Reports>,
    /// Of clients that never got as far as an interface.
    pub(super) stranger_faults: FaultCounts,
    stranger_warnings: RateLimit,
    timer: TimerFd,
    /// What the timer is set to, as setting it is a system call and most polls change nothing.
    armed: Option<Instant>,
    notices: Vec<Notice>,
    next_key: u64,
    pub(super) closed: bool,
}

impl State {
    pub(super) fn new(registry: Box<dyn FdRegistry>, reports: &Arc<Reports>) -> Result<Self, Error> {
        let timer = TimerFd::new().map_err(Error::system("timerfd"))?;
        let mut state = Self {
            registry,
            sources: HashMap::new(),
            listeners: HashMap::new(),
            interfaces: HashMap::new(),
            connections: HashMap::new(),
            reports: Arc::clone(reports),
            stranger_faults: FaultCounts::NONE,
            stranger_warnings: RateLimit::default(),
            timer,
            armed: None,
            notices: Vec::new(),
            next_key: 0,
            closed: false,
        };
        state.registry.watch(reports.waker.as_fd()).map_err(Error::system("watching the waker"))?;
        state.sources.insert(reports.waker.as_fd().as_raw_fd(), Source::Waker);
        state.registry.watch(state.timer.as_fd()).map_err(Error::system("watching the timer"))?;
        state.sources.insert(state.timer.as_fd().as_raw_fd(), Source::Timer);
        Ok(state)
    }

    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(crate) fn interface(&self, key: u64) -> Option<&InterfaceState> {
        self.interfaces.get(&key)
    }

    /// Makes an interface: listens for a master, tries at once for a slave.
    pub(crate) fn open(&mut self, config: Config) -> Result<u64, Error> {
        if self.closed {
            return Err(Error::Deleted);
        }
        let key = self.next_key;
        self.next_key += 1;
        if config.role == Role::Master {
            self.listen(key, &config)?;
        }
        let slots = |count| 0..count;
        let (mode, reports) = (config.rx_mode, &self.reports);
        let interface = InterfaceState {
            rx: slots(config.rx_queues).map(|index| Slot::new(index, mode, reports, key)).collect(),
            tx: slots(config.tx_queues).map(|index| Slot::new(index, mode, reports, key)).collect(),
            connection: None,
            link: None,
            retry_at: None,
            peer_name: Name::from_field([0; 32]),
            peer_app_name: Name::from_field([0; 32]),
            connects: 0,
            faults: FaultCounts::NONE,
            warnings: RateLimit::default(),
            last_disconnect: None,
            config,
        };
        let slave = interface.config.role == Role::Slave;
        self.interfaces.insert(key, interface);
        if slave {
            self.connect(key);
        }
        Ok(key)
    }

    /// Ends an interface for good.
    pub(crate) fn delete(&mut self, key: u64) {
        if let Some(fd) = self.interfaces.get(&key).and_then(|interface| interface.connection) {
            self.hang_up(fd, Disconnect::Local("the interface was deleted"));
        }
        let Some(interface) = self.interfaces.remove(&key) else { return };
        if interface.config.role == Role::Master {
            self.stop_listening(&interface.config);
        }
    }

    /// Ends everything, once.
    pub(super) fn shut_down(&mut self, keep_waker: bool) {
        if self.closed {
            return;
        }
        self.closed = true;
        let keys: Vec<_> = self.interfaces.keys().copied().collect();
        keys.into_iter().for_each(|key| self.delete(key));
        self.close_kept_listeners();
        self.registry.unwatch(self.timer.as_fd());
        if !keep_waker {
            self.registry.unwatch(self.reports.waker.as_fd());
        }
        self.sources.clear();
    }

    /// Does what a ready descriptor asks for.
    pub(super) fn handle_fd(&mut self, fd: RawFd) {
        match self.sources.get(&fd).cloned() {
            Some(Source::Waker) => {
                let _ = self.reports.waker.drain(); // readiness is all it says
                self.take_reports();
                self.drop_damaged();
            }
            Some(Source::Timer) => {
                let _ = self.timer.drain(); // readiness is all it says
                self.armed = None;
                self.on_timer(Instant::now());
            }
            Some(Source::Listener(address)) => self.accept(&address),
            Some(Source::Connection) => self.read(fd),
            Some(Source::Interrupt { owner, queue }) => self.on_interrupt(owner, queue),
            None => {}
        }
    }

    fn take_reports(&mut self) {
        for report in self.reports.take() {
            let interface = self.interfaces.get(&report.owner);
            let connection = interface.filter(|i| i.has_epoch(report.epoch)).and_then(|i| i.connection);
            if let Some(fd) = connection {
                self.hang_up(fd, Disconnect::Fault(report.fault));
            }
        }
    }

    /// Ends links whose peer has taken pages of a region away.
    fn drop_damaged(&mut self) {
        let damaged = self.interfaces.values().filter_map(|interface| {
            Some((interface.connection?, interface.link.as_ref()?.damaged_region()?))
        });
        let damaged: Vec<_> = damaged.collect();
        for (fd, region) in damaged {
            self.hang_up(fd, Disconnect::Fault(PeerFault::RegionLost { region }));
        }
    }

    /// A client did something wrong before it got as far as an interface.
    pub(super) fn note_stranger(&mut self, fault: PeerFault) {
        self.stranger_faults.count(fault.kind());
        if let Some(suppressed) = self.stranger_warnings.pass(Instant::now()) {
            tracing::warn!(kind = fault.kind().name(), suppressed, "client refused: {fault}");
        }
    }

    fn on_interrupt(&mut self, owner: u64, queue: u16) {
        let Some(interface) = self.interfaces.get(&owner) else { return };
        let direction = rx_direction(interface.config.role);
        let ring = interface.link.as_ref().and_then(|link| link.ring(direction, queue));
        let Some(ring) = ring else { return };
        let pending = interface.config.interrupts == Interrupts::Pending;
        let polled = interface.rx_slot(queue).is_some_and(|slot| slot.mode() != RxMode::Interrupt);
        if !pending || polled {
            let _ = ring.event.drain(); // before the handler receives, so that no ring is lost
        }
        // a receiver that polls does not clear what is pending
        if !(pending && polled) {
            self.notify(owner, Event::Interrupt { queue });
        }
    }

    /// When something must happen by itself.
    fn next_deadline(&self) -> Option<Instant> {
        let handshakes = self.connections.values().filter_map(|connection| connection.deadline);
        let retries = self.interfaces.values().filter_map(|interface| interface.retry_at);
        let pauses = self.listeners.values().filter_map(|listening| listening.paused_until);
        handshakes.chain(retries).chain(pauses).min()
    }

    pub(super) fn rearm_timer(&mut self) {
        let next = self.next_deadline();
        if next == self.armed {
            return;
        }
        self.armed = next;
        let now = Instant::now();
        let after = next.map(|deadline| {
            // zero would disarm it
            deadline.saturating_duration_since(now).max(std::time::Duration::from_micros(1))
        });
        if let Err(error) = self.timer.set(after) {
            tracing::error!(%error, "cannot set the control plane's timer");
        }
    }

    fn on_timer(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let late = self.connections.iter().filter(|(_, connection)| due(connection.deadline));
        let late: Vec<_> = late.map(|(fd, connection)| (*fd, connection.timeout())).collect();
        for (fd, fault) in late {
            self.hang_up(fd, Disconnect::Fault(fault));
        }
        let waiting = self.interfaces.iter().filter(|(_, interface)| due(interface.retry_at));
        let waiting: Vec<_> = waiting.map(|(key, _)| *key).collect();
        for key in waiting {
            self.connect(key);
        }
        self.resume_listeners(now);
    }

    pub(super) fn add_connection(&mut self, connection: Connection) -> Result<RawFd, Disconnect> {
        let fd = connection.channel.as_fd().as_raw_fd();
        self.watch(connection.channel.as_fd(), Source::Connection)?;
        self.connections.insert(fd, connection);
        Ok(fd)
    }

    pub(super) fn watch_listener(&mut self, address: &SocketAddress) -> Result<(), Error> {
        let Some(listening) = self.listeners.get(address) else { return Ok(()) };
        let fd = listening.listener.as_fd();
        self.registry.watch(fd).map_err(Error::system("watching the listener"))?;
        self.sources.insert(fd.as_raw_fd(), Source::Listener(address.clone()));
        Ok(())
    }

    fn watch(&mut self, fd: std::os::fd::BorrowedFd<'_>, source: Source) -> Result<(), Disconnect> {
        self.registry
            .watch(fd)
            .map_err(|error| Disconnect::Failed(format!("watching a descriptor: {error}")))?;
        self.sources.insert(fd.as_raw_fd(), source);
        Ok(())
    }

    pub(super) fn unwatch(&mut self, fd: std::os::fd::BorrowedFd<'_>) {
        self.sources.remove(&fd.as_raw_fd());
        self.registry.unwatch(fd);
    }

    /// The link of an interface is up.
    pub(super) fn link_up(
        &mut self,
        key: u64,
        attached: Attached,
        peer_name: Name,
        peer_app_name: Name,
    ) -> Result<(), Disconnect> {
        let Some(interface) = self.interfaces.get_mut(&key) else {
            return Err(Disconnect::Local("the interface was deleted"));
        };
        let link = interface.install(attached);
        interface.link = Some(Arc::clone(&link));
        interface.peer_name = peer_name;
        interface.peer_app_name = peer_app_name;
        interface.connects += 1;
        tracing::debug!(interface = %interface.config.name, peer = %peer_name, "link up");
        for region in link.region_details().iter().filter(|region| !region.sealed) {
            if let Some(suppressed) = interface.warnings.pass(Instant::now()) {
                let (interface, region) = (&interface.config.name, region.index);
                tracing::warn!(%interface, region, suppressed, "the peer's memory is not sealed against shrinking");
            }
        }
        if interface.config.interrupts != Interrupts::Left {
            let direction = rx_direction(interface.config.role);
            for ring in link.rings.iter().filter(|ring| ring.direction == direction) {
                self.watch(ring.event.as_fd(), Source::Interrupt { owner: key, queue: ring.index })?;
            }
        }
        self.notify(key, Event::Connected);
        Ok(())
    }

    /// The connection of an interface is gone, and with it the link if it was up.
    pub(super) fn link_down(&mut self, key: u64, reason: Disconnect) {
        let Some(interface) = self.interfaces.get_mut(&key) else { return };
        interface.connection = None;
        interface.clear_queues();
        if let Disconnect::Fault(fault) = reason {
            interface.note_fault(fault);
        }
        let link = interface.link.take();
        interface.peer_name = Name::from_field([0; 32]);
        interface.peer_app_name = Name::from_field([0; 32]);
        interface.last_disconnect = Some(reason.clone());
        if interface.config.role == Role::Slave {
            interface.retry_at = interface.config.reconnect.map(|interval| Instant::now() + interval);
        }
        tracing::debug!(interface = %interface.config.name, %reason, "link down");
        let watched = interface.config.interrupts != Interrupts::Left;
        let Some(link) = link else {
            return self.notify(key, Event::ConnectFailed(reason));
        };
        for ring in &link.rings {
            if watched && self.sources.contains_key(&ring.event.as_fd().as_raw_fd()) {
                self.unwatch(ring.event.as_fd());
            }
            // a peer may have filled the counter to hold up a thread of ours that rings it
            let _ = ring.event.drain();
        }
        self.notify(key, Event::Disconnected(reason));
    }

    pub(super) fn notify(&mut self, key: u64, event: Event) {
        if let Some(interface) = self.interfaces.get(&key) {
            self.notices.push(Notice { handler: interface.config.on_event.clone(), event });
        }
    }

    /// Changes a receive queue's mode from outside its data thread. Whoever waits is woken once, to look.
    pub(crate) fn set_rx_mode(&self, key: u64, queue: u16, mode: RxMode) -> Result<(), Error> {
        let interface = self.interfaces.get(&key).ok_or(Error::Deleted)?;
        let count = interface.config.rx_queues;
        let no_queue = Error::NoSuchQueue { direction: "rx", index: queue, count };
        let direction = rx_direction(interface.config.role);
        let ring = || interface.link.as_ref().and_then(|link| link.ring(direction, queue));
        interface.rx_slot(queue).ok_or(no_queue)?.change_mode(mode, ring);
        Ok(())
    }

    /// The number of the eventfd that wakes a receive queue.
    pub(crate) fn event_fd(&self, key: u64, queue: u16) -> Result<RawFd, Error> {
        let interface = self.interfaces.get(&key).ok_or(Error::Deleted)?;
        let count = interface.config.rx_queues;
        interface.rx_slot(queue).ok_or(Error::NoSuchQueue { direction: "rx", index: queue, count })?;
        let no_link = || Error::NoLink { waited: Duration::ZERO, last: interface.last_disconnect.clone() };
        let link = interface.link.as_ref().ok_or_else(no_link)?;
        let ring = link.ring(rx_direction(interface.config.role), queue);
        let count = u16::try_from(link.rings.len()).unwrap_or(u16::MAX);
        ring.map(|ring| ring.event.as_fd().as_raw_fd()).ok_or(Error::NoSuchQueue {
            direction: "rx",
            index: queue,
            count,
        })
    }

    pub(crate) fn details(&self, key: u64) -> Result<Details, Error> {
        let interface = self.interfaces.get(&key).ok_or(Error::Deleted)?;
        let config = &interface.config;
        let ring = |direction, index| {
            interface.link.as_ref().and_then(|link| link.ring(direction, index)).map(LinkRing::details)
        };
        let rx = interface.rx.iter().map(|slot| QueueDetails {
            index: slot.index(),
            stats: slot.counters.read(),
            rx_mode: slot.mode(),
            ring: ring(rx_direction(config.role), slot.index()),
        });
        let tx = interface.tx.iter().map(|slot| QueueDetails {
            index: slot.index(),
            stats: slot.counters.read(),
            rx_mode: slot.mode(),
            ring: ring(tx_direction(config.role), slot.index()),
        });
        Ok(Details {
            name: config.name,
            app_name: config.app_name,
            peer_name: interface.peer_name,
            peer_app_name: interface.peer_app_name,
            id: config.id,
            role: config.role,
            mode: config.mode,
            socket: config.socket.to_string(),
            link_up: interface.is_up(),
            connects: interface.connects,
            last_disconnect: interface.last_disconnect.clone(),
            faults: interface.faults.clone(),
            regions: interface.link.as_ref().map(|link| link.region_details()).unwrap_or_default(),
            rx: rx.collect(),
            tx: tx.collect(),
        })
    }
}
