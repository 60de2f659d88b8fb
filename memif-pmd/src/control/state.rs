//! What the control plane knows, behind its lock: interfaces, listeners, connections, and what each descriptor is for.
//!
//! Everything here is look-up and arithmetic. No function makes a system call, touches shared memory, logs, calls user
//! code or drops what came from a peer: what there is to do is returned to the [executor](super::executor), which does it
//! without the lock.

use std::collections::{HashMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use memif_os::socket::{Credentials, Listener, SocketAddress};
use memif_ring::fault::PeerFault;
use memif_ring::handshake::Admission;
use memif_ring::message::{Init, Name};

use super::connection::{Admitted, Connection};
use super::folders::Folders;
use super::interface::InterfaceState;
use super::listener::{Listeners, Listening};
use super::queues::Queues;
use super::table::Connections;
use super::turn::{ConnectionId, Turn};
use super::warning::Warning;
use crate::background::Owner;
use crate::config::{Config, EventHandler, Interrupts, Role};
use crate::error::{Disconnect, Error};
use crate::event::Event;
use crate::link::slave::Spare;
use crate::link::{Link, rx_direction};
use crate::quota::Quota;
use crate::rate_limit::RateLimit;
use crate::stats::FaultCounts;

/// What a watched descriptor is for.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Waker,
    Timer,
    /// Folders of slaves that wait for their master.
    Folders,
    Listener(SocketAddress),
    Connection(ConnectionId),
    Interrupt {
        owner: u64,
        queue: u16,
    },
}

/// An event on its way to its handler.
pub(super) struct Notice {
    pub(super) owner: u64,
    pub(super) handler: EventHandler,
    pub(super) event: Event,
}

/// A handler that is running, of whose interface, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Calling {
    pub(super) owner: u64,
    pub(super) thread: ThreadId,
}

/// Events in the order in which they happened, and the one that is being delivered.
#[derive(Default)]
pub(super) struct Events {
    pub(super) queue: VecDeque<Notice>,
    pub(super) calling: Option<Calling>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) sources: HashMap<RawFd, Source>,
    pub(super) listeners: Listeners,
    pub(super) interfaces: HashMap<u64, InterfaceState>,
    pub(super) connections: Connections,
    pub(super) folders: Folders,
    /// Of clients that never got as far as an interface.
    pub(super) stranger_faults: FaultCounts,
    stranger_warnings: RateLimit,
    /// Of descriptors that the registry refuses: a peer of the same user can use up what it needs.
    watch_warnings: RateLimit,
    pub(super) events: Events,
    pub(super) warnings: Vec<Warning>,
    pub(super) refused_by_quota: u64,
    pub(super) closed: bool,
}

/// What is left of a connection that has ended, or of an interface that was deleted.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) link: Option<Arc<Link>>,
    /// What has happened to the connection meanwhile, and does not matter any more.
    pub(super) unwanted: Vec<Turn>,
}

/// What happens by itself now.
pub(super) struct Due {
    pub(super) late: Vec<ConnectionId>,
    pub(super) retries: Vec<u64>,
    pub(super) rested: Vec<SocketAddress>,
}

impl State {
    /// Enters an interface.
    pub(super) fn add_interface(
        &mut self,
        key: u64,
        config: &Arc<Config>,
        queues: &Arc<Queues>,
    ) -> Result<Admitted, Error> {
        if self.closed {
            return Err(Error::Deleted);
        }
        let interface = InterfaceState::new(Arc::clone(config), Arc::clone(queues));
        let admitted = interface.admitted(key);
        self.interfaces.insert(key, interface);
        Ok(admitted)
    }

    /// A slave's interface begins an attempt: its connection is entered, and in the hands of the caller.
    /// Returns how many S2M and M2S rings it asks for.
    pub(super) fn begin_attempt(&mut self, key: u64) -> Result<(ConnectionId, Admitted, (u16, u16)), Error> {
        let closed = self.closed;
        let interface = self.interfaces.get_mut(&key).filter(|_| !closed).ok_or(Error::Deleted)?;
        if interface.config.role == Role::Master {
            return Err(Error::NotASlave);
        }
        if interface.connection.is_some() {
            return Err(Error::AlreadyConnected);
        }
        let id = self.connections.enter(Instant::now(), interface.config.timeouts);
        interface.connection = Some(id);
        interface.retry.clear();
        Ok((id, interface.admitted(key), interface.rings.wish()))
    }

    /// An attempt failed before there was a connection.
    pub(super) fn abort_attempt(&mut self, id: ConnectionId, key: u64) {
        self.connections.remove(id);
        if let Some(interface) = self.interfaces.get_mut(&key)
            && interface.connection == Some(id)
        {
            interface.connection = None;
        }
    }

    /// Why an attempt failed: kept, told unless it is the same as before, and another is made later.
    pub(super) fn attempt_failed(&mut self, key: u64, reason: Disconnect) {
        let Some(interface) = self.interfaces.get_mut(&key) else { return };
        interface.retry.failed(Instant::now());
        if interface.wants_folder() {
            self.folders.await_for(key);
        }
        self.note_failure(key, reason);
    }

    /// No client of a listener can be accepted: told to its interfaces without a link, as any of them may be the one that the
    /// client wants.
    pub(super) fn accept_failed(&mut self, address: &SocketAddress, reason: &Disconnect) {
        let Some(listening) = self.listeners.get(address) else { return };
        let keys: Vec<u64> = listening.interfaces.values().copied().collect();
        for key in keys {
            if self.interfaces.get(&key).is_some_and(|interface| interface.connection.is_none()) {
                self.note_failure(key, reason.clone());
            }
        }
    }

    /// An event, unless the last failure was the same.
    fn note_failure(&mut self, key: u64, reason: Disconnect) {
        let Some(interface) = self.interfaces.get_mut(&key) else { return };
        let repeated = interface.last_disconnect.as_ref() == Some(&reason);
        interface.last_disconnect = Some(reason.clone());
        if !repeated {
            self.notify(key, Event::ConnectFailed(reason));
        }
    }

    /// Changes how long a slave waits between attempts, also for the one that it is waiting for.
    pub(super) fn set_reconnect(&mut self, key: u64, interval: Option<Duration>) -> Result<(), Error> {
        let interface = self.interfaces.get_mut(&key).ok_or(Error::Deleted)?;
        interface.retry.set_interval(interval);
        if interface.connection.is_none() && interface.config.role == Role::Slave {
            interface.retry.later(Instant::now());
        }
        Ok(())
    }

    /// A client has named its interface.
    pub(super) fn admit(
        &mut self,
        connection: &mut Connection,
        init: &Init,
        credentials: Option<Credentials>,
        quota: Quota,
    ) -> Result<(), Disconnect> {
        let Some(listener) = connection.listener().cloned() else { return Ok(()) };
        let listening = self.listeners.get_mut(&listener);
        let key = listening.as_ref().and_then(|listening| listening.interfaces.get(&init.id).copied());
        connection.asked_for = key;
        let Some((key, interface)) = key.and_then(|key| Some((key, self.interfaces.get_mut(&key)?))) else {
            return connection.admit(Admission::Unknown);
        };
        check_credentials(&interface.config, credentials)?;
        if interface.connection.is_some() {
            return connection.admit(Admission::Busy);
        }
        let config = &interface.config;
        connection.admit(Admission::Interface {
            mode: config.mode,
            secret: &config.secret,
            s2m_rings: config.s2m_rings(),
            m2s_rings: config.m2s_rings(),
        })?;
        connection.belong_to(interface.admitted(key), init.name, quota);
        interface.connection = Some(connection.id);
        self.connections.set_timeouts(connection.id, interface.config.timeouts);
        if let Some(listening) = listening {
            listening.stop_waiting(connection.id);
        }
        Ok(())
    }

    /// The interface that a client names, if there is one.
    pub(super) fn asked_for(&self, connection: &Connection, init: &Init) -> Option<Admitted> {
        let key = *self.listeners.get(connection.listener()?)?.interfaces.get(&init.id)?;
        Some(self.interfaces.get(&key)?.admitted(key))
    }

    /// The link of an interface is up.
    pub(super) fn link_up(&mut self, connection: &mut Connection, link: Arc<Link>) -> Result<(), Disconnect> {
        let key = connection.asked_for;
        let interface = key.and_then(|key| self.interfaces.get_mut(&key));
        let interface = interface.ok_or(Disconnect::Local("the interface was deleted"))?;
        let warning = interface.link_up(link, connection.names);
        self.folders.await_no_more();
        self.connections.finish_handshake(connection.id);
        connection.is_up = true;
        self.warnings.extend(warning);
        if let Some(key) = key {
            self.notify(key, Event::Connected);
        }
        Ok(())
    }

    /// A connection has ended. Its interface, if it has one, has no link any more, and keeps `spare`, which is then what
    /// it kept before.
    pub(super) fn forget(
        &mut self,
        connection: &Connection,
        spare: &mut Option<Spare>,
        fd: RawFd,
        reason: Disconnect,
    ) -> Ended {
        let unwanted = self.connections.remove(connection.id);
        if connection.watched {
            self.sources.remove(&fd);
        }
        if let Some(listening) = connection.listener().and_then(|listener| self.listeners.get_mut(listener)) {
            listening.stop_waiting(connection.id);
        }
        if let Disconnect::Quota { .. } | Disconnect::Fault(PeerFault::TooManyRegions { .. }) = reason {
            self.refused_by_quota += 1;
        }
        let link = match &connection.admitted {
            Some(admitted) => self.link_down(admitted.key, connection, spare, reason),
            None => {
                self.note_refusal(connection.asked_for, &reason);
                None
            }
        };
        Ended { link, unwanted }
    }

    fn link_down(
        &mut self,
        key: u64,
        connection: &Connection,
        spare: &mut Option<Spare>,
        reason: Disconnect,
    ) -> Option<Arc<Link>> {
        let id = Some(connection.id);
        let interface = self.interfaces.get_mut(&key).filter(|interface| interface.connection == id)?;
        if let Disconnect::Fault(fault) = reason {
            self.warnings.extend(interface.note_fault(fault));
        }
        if spare.is_some() {
            std::mem::swap(&mut interface.spare, spare);
        }
        if interface.rings.learn(connection.ring_limit()) {
            interface.ask_for_fewer_rings();
            self.return_memory(key);
            return None;
        }
        let link = interface.link_down(reason.clone());
        if interface.wants_folder() {
            self.folders.await_for(key);
        }
        let event = match &link {
            Some(link) => {
                self.remove_interrupts(link);
                Event::Disconnected(reason)
            }
            None => Event::ConnectFailed(reason),
        };
        self.notify(key, event);
        self.return_memory(key);
        link
    }

    /// The program has provided packet memory for a connection. False if the connection has ended.
    pub(super) fn lend(&mut self, key: u64, id: ConnectionId) -> bool {
        let interface = self.interfaces.get_mut(&key).filter(|interface| interface.connection == Some(id));
        interface.map(|interface| interface.lent = true).is_some()
    }

    /// The connection has ended that packet memory was provided for.
    fn return_memory(&mut self, key: u64) {
        let interface = self.interfaces.get_mut(&key);
        if interface.is_some_and(|interface| std::mem::take(&mut interface.lent)) {
            self.notify(key, Event::PacketMemoryReturned);
        }
    }

    /// The interrupts of a link are not reported any more.
    pub(super) fn remove_interrupts(&mut self, link: &Link) {
        for ring in link.rings() {
            use std::os::fd::{AsFd, AsRawFd};
            let fd = ring.event.as_fd().as_raw_fd();
            if let Some(Source::Interrupt { .. }) = self.sources.get(&fd) {
                self.sources.remove(&fd);
            }
        }
    }

    /// A client did something wrong before it was admitted to an interface.
    fn note_refusal(&mut self, asked_for: Option<u64>, reason: &Disconnect) {
        let Disconnect::Fault(fault) = *reason else { return };
        let warning = match asked_for.and_then(|key| self.interfaces.get_mut(&key)) {
            Some(interface) => interface.note_refusal(fault),
            None => self.note_stranger(fault),
        };
        self.warnings.extend(warning);
    }

    /// The peer of a transmit queue makes notifications slow.
    pub(super) fn note_slow_peer(&mut self, owner: u64, queue: u16) {
        let warning = self.interfaces.get_mut(&owner).and_then(|interface| interface.note_slow_peer(queue));
        self.warnings.extend(warning);
    }

    /// The slave of an interface has overrun the ring of a receive queue.
    pub(super) fn note_overrun(&mut self, owner: u64, queue: u16, lost: u64) {
        let interface = self.interfaces.get_mut(&owner);
        self.warnings.extend(interface.and_then(|interface| interface.note_overrun(queue, lost)));
    }

    /// The registry refused to watch a descriptor.
    pub(super) fn cannot_watch(&mut self, what: &'static str, error: String) {
        if let Some(suppressed) = self.watch_warnings.pass(Instant::now()) {
            self.warnings.push(Warning::Watch { what, error, suppressed });
        }
    }

    fn note_stranger(&mut self, fault: PeerFault) -> Option<Warning> {
        self.stranger_faults.count(fault.kind());
        let suppressed = self.stranger_warnings.pass(Instant::now())?;
        Some(Warning::Stranger { fault, suppressed })
    }

    /// Takes an interface out for good, with an event if it had a connection.
    pub(super) fn remove_interface(&mut self, key: u64) -> Option<(InterfaceState, Ended)> {
        let reason = Disconnect::Local("the interface was deleted");
        let interface = self.interfaces.get_mut(&key)?;
        let had_connection = interface.connection.is_some();
        let link = interface.link.take();
        if let Some(link) = &link {
            self.remove_interrupts(link);
        }
        if had_connection {
            let end = if link.is_some() { Event::Disconnected } else { Event::ConnectFailed };
            self.notify(key, end(reason));
        }
        self.return_memory(key);
        let interface = self.interfaces.remove(&key)?;
        self.folders.await_no_more();
        Some((interface, Ended { link, unwanted: Vec::new() }))
    }

    /// The listening socket on an address, and whose work it is to close what its clients leave.
    pub(super) fn listener(&self, address: &SocketAddress) -> Option<(Arc<Listener>, Owner)> {
        let listening = self.listeners.get(address)?;
        Some((listening.listener.clone()?, listening.strangers))
    }

    /// Takes an interface off its listener, which is returned if it was the last.
    pub(super) fn stop_listening(&mut self, config: &Config) -> Option<Listening> {
        let listening = self.listeners.get_mut(&config.socket)?;
        listening.interfaces.remove(&config.id);
        if listening.is_unused() { self.listeners.remove(&config.socket) } else { None }
    }

    /// The name in a listener's HELLO, which is sent before the client names an interface: the application's of the oldest.
    pub(super) fn app_name(&self, address: &SocketAddress) -> Name {
        let oldest = self.listeners.get(address).and_then(|listening| listening.interfaces.values().min());
        let oldest = oldest.and_then(|key| self.interfaces.get(key));
        oldest.map_or(Name::from_field([0; 32]), |interface| interface.config.app_name)
    }

    /// Queues an event for the handler of its interface.
    pub(super) fn notify(&mut self, key: u64, event: Event) {
        let handler = self.interfaces.get(&key).and_then(|interface| interface.config.on_event.clone());
        if let Some(handler) = handler {
            self.events.queue.push_back(Notice { owner: key, handler, event });
        }
    }

    /// When something must happen by itself.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let retries = self.interfaces.values().filter_map(|interface| interface.retry.at());
        let pauses = self.listeners.values().filter_map(Listening::paused_until);
        self.connections.next_deadline().into_iter().chain(retries).chain(pauses).min()
    }

    /// What must happen by now. Nothing of it is due again.
    pub(super) fn take_due(&mut self, now: Instant) -> Due {
        let late = self.connections.take_late(now);
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let waiting = self.interfaces.iter_mut().filter(|(_, interface)| due(interface.retry.at()));
        let retries = waiting.map(|(key, interface)| {
            interface.retry.clear();
            *key
        });
        let retries = retries.collect();
        let paused = self.listeners.iter_mut().filter(|(_, listening)| due(listening.paused_until()));
        let rested = paused.map(|(address, listening)| {
            listening.watch = super::listener::Watch::Changing;
            address.clone()
        });
        Due { late, retries, rested: rested.collect() }
    }

    /// Connections whose peer has taken pages of a region away, and of which.
    pub(super) fn damaged(&self) -> Vec<(ConnectionId, u16)> {
        let damaged = self.interfaces.values().filter_map(|interface| {
            Some((interface.connection?, interface.link.as_ref()?.damaged_region()?))
        });
        damaged.collect()
    }

    /// The connection of the link in which a data thread met a fault.
    pub(super) fn connection_of(&self, owner: u64, epoch: u64) -> Option<ConnectionId> {
        let interface = self.interfaces.get(&owner)?;
        interface.connection.filter(|_| interface.queues.has_epoch(epoch))
    }

    /// The eventfd that a descriptor's number stands for, and how its interface wants to be told.
    pub(super) fn interrupt(
        &self,
        owner: u64,
        queue: u16,
    ) -> Option<(Arc<memif_os::event::EventFd>, Interrupts, bool)> {
        let interface = self.interfaces.get(&owner)?;
        let direction = rx_direction(interface.config.role);
        let ring = interface.link.as_ref()?.ring(direction, queue)?;
        let mailbox = interface.queues.rx().get(usize::from(queue));
        let polled = mailbox.is_some_and(|mailbox| mailbox.mode() != crate::config::RxMode::Interrupt);
        Some((Arc::clone(&ring.event), interface.config.interrupts, polled))
    }
}

/// Whether a client's process may have the interface at all. Comes before the secret, of which it learns nothing then.
fn check_credentials(config: &Config, credentials: Option<Credentials>) -> Result<(), Disconnect> {
    match credentials {
        _ if config.allowed.takes_all() => Ok(()),
        Some(process) => Ok(config.allowed.check(process)?),
        // the interface was replaced between two looks
        None => Err(Disconnect::Closed),
    }
}
