//! Listening sockets as the executor handles them: bound, watched, accepted from, and closed.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use memif_os::socket::{Channel, Listener, SocketAddress, SocketError};

use super::connection::Connection;
use super::listener::{Listening, PAUSE, Watch};
use super::plane::Plane;
use super::state::Source;
use super::turn::Turn;
use super::warning::Warning;
use crate::background::Owner;
use crate::config::Config;
use crate::error::{Disconnect, Error};
use crate::reaper::{self, Reaped};

/// Clients accepted at once, so that a flood of them leaves time for everybody else.
const ACCEPT_BATCH: usize = 32;
/// Connections the kernel keeps for us.
const BACKLOG: u16 = 128;
/// Longest wait for another thread to release a listener. `accept` does not block, but the scheduler may have stopped the thread.
const LET_GO: Duration = Duration::from_secs(1);
/// Time between two checks whether the thread has released it.
const LOOK_AGAIN: Duration = Duration::from_micros(100);
/// How long is waited at a time for another thread that binds the same socket.
const BINDING: Duration = Duration::from_millis(100);

impl Plane {
    /// Adds an interface to its listener, which is made for the first.
    pub(super) fn listen(self: &Arc<Self>, key: u64, config: &Config) -> Result<(), Error> {
        let address = &config.socket;
        if self.join_listener(key, config)? {
            return Ok(());
        }
        match Listener::bind_for(address, BACKLOG, config.socket_access) {
            Ok(listener) => self.start_listening(address, listener),
            Err(error) => {
                self.lock().listeners.remove(address);
                self.note_change();
                return Err(Error::socket(error));
            }
        }
        self.watch_listener(address).inspect_err(|_| {
            let unused = self.lock().stop_listening(config);
            self.close_listening(unused);
        })
    }

    /// Whether there is a listener already. If not, one is entered, to be bound by the caller.
    fn join_listener(&self, key: u64, config: &Config) -> Result<bool, Error> {
        let mut state = self.lock();
        loop {
            match state.listeners.get_mut(&config.socket) {
                // another thread is binding it
                Some(listening) if listening.listener.is_none() => state = self.wait_change(state, BINDING),
                Some(listening) if listening.interfaces.contains_key(&config.id) => {
                    return Err(Error::IdInUse { id: config.id, socket: config.socket.to_string() });
                }
                Some(listening) => {
                    listening.interfaces.insert(config.id, key);
                    return Ok(true);
                }
                None => {
                    let mut listening = Listening::new(None, false);
                    listening.interfaces.insert(config.id, key);
                    state.listeners.insert(config.socket.clone(), listening);
                    return Ok(false);
                }
            }
        }
    }

    fn start_listening(&self, address: &SocketAddress, listener: Listener) {
        let fd = listener.as_fd().as_raw_fd();
        let mut state = self.lock();
        if let Some(listening) = state.listeners.get_mut(address) {
            listening.listener = Some(Arc::new(listener));
            state.sources.insert(fd, Source::Listener(address.clone()));
        }
        drop(state);
        self.note_change();
    }

    /// Takes a listening socket that somebody else made, for all masters on this address.
    pub(super) fn keep_listener(self: &Arc<Self>, address: &SocketAddress, fd: OwnedFd) -> Result<(), Error> {
        let listener = Listener::from_fd(fd).map_err(Error::socket)?;
        let fd = listener.as_fd().as_raw_fd();
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Deleted);
        }
        if state.listeners.contains_key(address) {
            return Err(Error::socket(SocketError::InUse { address: address.clone() }));
        }
        state.listeners.insert(address.clone(), Listening::new(Some(listener), true));
        state.sources.insert(fd, Source::Listener(address.clone()));
        drop(state);
        self.watch_listener(address).inspect_err(|_| {
            let listening = self.lock().listeners.remove(address);
            self.close_listening(listening);
        })
    }

    /// The listening socket on an address.
    pub(super) fn listener(&self, address: &SocketAddress) -> Option<Arc<Listener>> {
        self.lock().listener(address).map(|(listener, _)| listener)
    }

    /// Has the registry watch a listener, whose entry says that this is being done. A listener that cannot be watched is
    /// tried again later.
    fn watch_listener(&self, address: &SocketAddress) -> Result<(), Error> {
        let listener = self.lock().listeners.get(address).and_then(|listening| listening.listener.clone());
        let Some(listener) = listener else { return Ok(()) };
        let result = self.registry.watch(listener.as_fd());
        let refused = result.as_ref().err().map(ToString::to_string);
        let mut state = self.lock();
        if let Some(error) = refused {
            state.cannot_watch("a listener", error);
        }
        match state.listeners.get_mut(address) {
            Some(listening) => {
                let again = || Watch::Paused(Instant::now() + PAUSE);
                listening.watch = if result.is_ok() { Watch::Watched } else { again() };
            }
            // closed meanwhile, by a thread that did not see it watched
            None if result.is_ok() => {
                drop(state);
                self.registry.unwatch(listener.as_fd());
            }
            None => {}
        }
        result.map_err(Error::system("watching the listener"))
    }

    /// Watches a listener again that has rested.
    pub(super) fn resume(&self, address: &SocketAddress) -> Result<(), Error> {
        self.watch_listener(address)
    }

    /// Takes in clients that wait on a listener.
    pub(super) fn accept(self: &Arc<Self>, address: &SocketAddress) -> Result<(), Error> {
        for accepted_before in 0..ACCEPT_BATCH {
            let Some((listener, strangers)) = self.lock().listener(address) else { return Ok(()) };
            if reaper::check_load(strangers, reaper::MOST_OF_STRANGERS).is_err() {
                self.lock().refused_by_quota += 1;
                self.pause(address);
                return Ok(());
            }
            let accepted = listener.accept();
            drop(listener); // another thread may be waiting to close it
            match accepted {
                Ok(Some(channel)) => self.take_in(address, strangers, channel)?,
                Ok(None) => return Ok(()),
                // the kernel needs a descriptor before it looks whether anybody waits: it may well be nobody
                Err(SocketError::OutOfDescriptors { .. }) if accepted_before > 0 => return Ok(()),
                Err(error) => {
                    self.cannot_accept(address, error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A client has connected: says HELLO, and waits for it to name an interface.
    fn take_in(
        self: &Arc<Self>,
        address: &SocketAddress,
        strangers: Owner,
        channel: Channel,
    ) -> Result<(), Error> {
        let mut state = self.lock();
        let (id, name) = (state.connections.enter_stranger(Instant::now()), state.app_name(address));
        drop(state);
        let mut connection = Box::new(Connection::to_slave(id, channel, (address.clone(), strangers), name));
        if connection.flush().is_err() {
            self.lock().connections.remove(id);
            return Ok(()); // gone before we could say hello
        }
        self.watch_connection(&mut connection)?;
        let mut state = self.lock();
        let listening = state.listeners.get_mut(address);
        let closed = listening.is_none();
        let evicted = listening.and_then(|listening| listening.wait(id));
        drop(state);
        let end = closed.then_some(Turn::Close(Disconnect::Local("the listener was closed")));
        self.go_on(connection, end);
        if let Some(evicted) = evicted {
            self.serve(evicted, Turn::TimedOut);
        }
        Ok(())
    }

    /// Has the registry watch a connection. One that it refuses is gone.
    pub(super) fn watch_connection(&self, connection: &mut Connection) -> Result<(), Error> {
        let (id, fd) = (connection.id, connection.as_fd().as_raw_fd());
        self.lock().sources.insert(fd, Source::Connection(id));
        connection.watched = true;
        self.registry.watch(connection.as_fd()).map_err(|error| {
            connection.watched = false;
            let text = error.to_string();
            let mut state = self.lock();
            state.sources.remove(&fd);
            let unwanted = state.connections.remove(id);
            state.cannot_watch("a connection", text);
            drop(state);
            drop(unwanted);
            Error::system("watching a connection")(error)
        })
    }

    /// Out of descriptors the listener stays readable: makes room, or looks away for a while, but does not spin.
    fn cannot_accept(self: &Arc<Self>, address: &SocketAddress, error: SocketError) {
        let mut state = self.lock();
        let Some(listening) = state.listeners.get_mut(address) else { return };
        let out_of_descriptors = matches!(error, SocketError::OutOfDescriptors { .. });
        let evicted = if out_of_descriptors { listening.evict() } else { None };
        let may_warn = listening.may_warn();
        if out_of_descriptors {
            state.accept_failed(address, &Disconnect::Failed(format!("cannot accept a slave: {error}")));
        }
        if let Some(suppressed) = may_warn {
            state.warnings.push(Warning::Accept { socket: address.clone(), error, suppressed });
        }
        drop(state);
        if let Some(evicted) = evicted {
            self.serve(evicted, Turn::TimedOut);
        }
        // the reaper closes what was evicted, so there is room a little later
        self.pause(address);
    }

    /// Stops watching a listener for a while.
    fn pause(&self, address: &SocketAddress) {
        let mut state = self.lock();
        let Some(listening) = state.listeners.get_mut(address) else { return };
        let Some(listener) = listening.listener.clone().filter(|_| listening.watch == Watch::Watched) else {
            return;
        };
        listening.watch = Watch::Changing;
        drop(state);
        self.registry.unwatch(listener.as_fd());
        if let Some(listening) = self.lock().listeners.get_mut(address) {
            listening.watch = Watch::Paused(Instant::now() + PAUSE);
        }
    }

    /// Closes a listening socket that is out of the table, and the clients that wait on it.
    pub(super) fn close_listening(self: &Arc<Self>, listening: Option<Listening>) {
        let Some(listening) = listening else { return };
        for id in listening.waiting() {
            self.serve(id, Turn::Close(Disconnect::Local("the listener was closed")));
        }
        let Some(listener) = listening.listener else { return };
        self.lock().sources.remove(&listener.as_fd().as_raw_fd());
        if listening.watch == Watch::Watched {
            self.registry.unwatch(listener.as_fd());
        }
        let Some(listener) = sole_owner(listener, listening.strangers) else { return };
        // clients that nobody has accepted may have sent descriptors
        for left in listener.close() {
            drop(Reaped::descriptor(listening.strangers, left));
        }
    }
}

/// Waits until no other thread uses the listener, so that its address is free when the caller has closed it. A thread that
/// watches or unwatches it runs code of the user. If that takes longer than [`LET_GO`], the reaper closes the listener.
fn sole_owner(mut listener: Arc<Listener>, strangers: Owner) -> Option<Listener> {
    let end = Instant::now() + LET_GO;
    loop {
        match Arc::try_unwrap(listener) {
            Ok(listener) => return Some(listener),
            Err(shared) => listener = shared,
        }
        if Instant::now() >= end {
            drop(Reaped::descriptor(strangers, listener));
            return None;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use std::process;
    use std::thread;

    use super::*;
    use crate::background::new_number;

    #[test]
    fn a_thread_that_is_slow_to_accept_is_waited_for() {
        let address = SocketAddress::new(format!("@memif-test-slow-{}", process::id())).unwrap();
        let bind = || Listener::bind(&address, BACKLOG).map(Arc::new);
        let listener = bind().unwrap();
        let held = Arc::clone(&listener);
        let slow = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        let listener = sole_owner(listener, Owner::Strangers(new_number()));
        assert!(listener.is_some_and(|listener| listener.close().is_empty()));
        bind().unwrap();
        slow.join().unwrap();
    }
}
