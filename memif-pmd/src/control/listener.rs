//! A master's listening socket, shared by its interfaces, and the clients that have not yet said which one they want.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use memif_os::seqpacket::{Listener, SocketAddress, SocketError};
use memif_ring::message::Name;

use super::connection::Connection;
use super::state::State;
use crate::config::Config;
use crate::error::{Disconnect, Error};

/// Clients that may be connected without having named an interface. One more costs the oldest its place, so silent ones
/// cannot keep others out.
const MAX_WAITING: usize = 128;
/// Clients accepted at once, so that a flood of them leaves time for everybody else.
const ACCEPT_BATCH: usize = 32;
/// Connections the kernel keeps for us.
const BACKLOG: u16 = 128;
/// How long a listener rests when there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
pub(super) struct Listening {
    pub(super) listener: Listener,
    /// Interfaces by their id.
    interfaces: HashMap<u32, u64>,
    /// Clients that have not named an interface, oldest first.
    waiting: VecDeque<RawFd>,
    pub(super) paused_until: Option<Instant>,
    /// Made by somebody else: it stays when its last interface goes.
    kept: bool,
}

impl State {
    /// Adds an interface to its listener, which is made for the first.
    pub(super) fn listen(&mut self, key: u64, config: &Config) -> Result<(), Error> {
        if let Some(listening) = self.listeners.get_mut(&config.socket) {
            if listening.interfaces.contains_key(&config.id) {
                return Err(Error::IdInUse { id: config.id, socket: config.socket.to_string() });
            }
            listening.interfaces.insert(config.id, key);
            return Ok(());
        }
        let listener = Listener::bind_for(&config.socket, BACKLOG, config.socket_access)?;
        let interfaces = HashMap::from([(config.id, key)]);
        let listening =
            Listening { listener, interfaces, waiting: VecDeque::new(), paused_until: None, kept: false };
        self.add_listener(&config.socket, listening)
    }

    /// Takes a listening socket that somebody else made, for all masters on this address.
    pub(super) fn keep_listener(&mut self, address: &SocketAddress, fd: OwnedFd) -> Result<(), Error> {
        if self.closed {
            return Err(Error::Deleted);
        }
        if self.listeners.contains_key(address) {
            return Err(SocketError::InUse { address: address.clone() }.into());
        }
        let (listener, interfaces) = (Listener::from_fd(fd)?, HashMap::new());
        let listening =
            Listening { listener, interfaces, waiting: VecDeque::new(), paused_until: None, kept: true };
        self.add_listener(address, listening)
    }

    fn add_listener(&mut self, address: &SocketAddress, listening: Listening) -> Result<(), Error> {
        self.listeners.insert(address.clone(), listening);
        self.watch_listener(address).inspect_err(|_| {
            self.listeners.remove(address);
        })
    }

    /// The listening socket's descriptor.
    pub(super) fn listener_fd(&self, address: &SocketAddress) -> Option<RawFd> {
        self.listeners.get(address).map(|listening| listening.listener.as_fd().as_raw_fd())
    }

    /// Takes an interface off its listener, which goes with the last.
    pub(super) fn stop_listening(&mut self, config: &Config) {
        let Some(listening) = self.listeners.get_mut(&config.socket) else { return };
        listening.interfaces.remove(&config.id);
        if listening.interfaces.is_empty() && !listening.kept {
            self.close_listener(&config.socket);
        }
    }

    fn close_listener(&mut self, address: &SocketAddress) {
        let Some(listening) = self.listeners.get_mut(address) else { return };
        for fd in std::mem::take(&mut listening.waiting) {
            self.hang_up(fd, Disconnect::Local("the listener was closed"));
        }
        if let Some(listening) = self.listeners.remove(address)
            && listening.paused_until.is_none()
        {
            self.unwatch(listening.listener.as_fd());
        }
    }

    pub(super) fn close_kept_listeners(&mut self) {
        let addresses: Vec<_> = self.listeners.keys().cloned().collect();
        addresses.iter().for_each(|address| self.close_listener(address));
    }

    /// The interface with this id.
    pub(super) fn interface_with_id(&self, address: &SocketAddress, id: u32) -> Option<u64> {
        self.listeners.get(address)?.interfaces.get(&id).copied()
    }

    /// A client is no longer one of those that have not named an interface.
    pub(super) fn stop_waiting(&mut self, address: &SocketAddress, fd: RawFd) {
        if let Some(listening) = self.listeners.get_mut(address) {
            listening.waiting.retain(|waiting| *waiting != fd);
        }
    }

    /// Takes in clients that wait on a listener.
    pub(super) fn accept(&mut self, address: &SocketAddress) {
        for _ in 0..ACCEPT_BATCH {
            let Some(listening) = self.listeners.get(address) else { return };
            match listening.listener.accept() {
                Ok(Some(channel)) => {
                    let connection = Connection::to_slave(channel, address.clone(), self.hello(address));
                    self.admit_waiting(address, connection);
                }
                Ok(None) => return,
                Err(error) => return self.cannot_accept(address, &error),
            }
        }
    }

    fn admit_waiting(&mut self, address: &SocketAddress, mut connection: Connection) {
        if connection.flush().is_err() {
            return; // gone before we could say hello
        }
        let Ok(fd) = self.add_connection(connection) else { return };
        let Some(listening) = self.listeners.get_mut(address) else { return };
        listening.waiting.push_back(fd);
        if listening.waiting.len() > MAX_WAITING {
            self.evict(address);
        }
    }

    /// Hangs up on the client that has been silent for longest. False when there is none.
    fn evict(&mut self, address: &SocketAddress) -> bool {
        let oldest = self.listeners.get_mut(address).and_then(|listening| listening.waiting.pop_front());
        let silent = oldest.and_then(|fd| Some((fd, self.connections.get(&fd)?.timeout())));
        if let Some((fd, fault)) = silent {
            self.hang_up(fd, Disconnect::Fault(fault));
        }
        oldest.is_some()
    }

    /// Out of descriptors the listener stays readable: make room, or look away for a while, but do not spin.
    fn cannot_accept(&mut self, address: &SocketAddress, error: &SocketError) {
        tracing::warn!(%error, socket = %address, "cannot accept a client");
        if matches!(error, SocketError::OutOfDescriptors { .. }) && self.evict(address) {
            return;
        }
        let Some(mut listening) = self.listeners.remove(address) else { return };
        self.unwatch(listening.listener.as_fd());
        listening.paused_until = Some(Instant::now() + PAUSE);
        self.listeners.insert(address.clone(), listening);
    }

    /// Watches listeners again that have rested.
    pub(super) fn resume_listeners(&mut self, now: Instant) {
        let rested = self.listeners.iter().filter(|(_, l)| l.paused_until.is_some_and(|until| until <= now));
        let rested: Vec<_> = rested.map(|(address, _)| address.clone()).collect();
        for address in rested {
            let watched = self.watch_listener(&address).is_ok();
            if let Some(listening) = self.listeners.get_mut(&address) {
                listening.paused_until = if watched { None } else { Some(now + PAUSE) };
            }
        }
    }

    /// What HELLO says of a listener's interfaces, as it is sent before the client names one: the application's name of
    /// the oldest, and the most S2M and M2S rings that any of them takes.
    fn hello(&self, address: &SocketAddress) -> (Name, u16, u16) {
        let keys = self.listeners.get(address).map(|listening| listening.interfaces.values());
        let mut keys: Vec<_> = keys.into_iter().flatten().copied().collect();
        keys.sort_unstable();
        let configs =
            keys.iter().filter_map(|key| self.interfaces.get(key)).map(|interface| &interface.config);
        let name = configs.clone().next().map_or(Name::from_field([0; 32]), |config| config.app_name);
        let most = |rings: fn(&Config) -> u16| configs.clone().map(rings).max().unwrap_or(1);
        (name, most(Config::s2m_rings), most(Config::m2s_rings))
    }
}
