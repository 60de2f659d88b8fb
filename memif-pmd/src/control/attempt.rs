//! How a slave reaches its master: when it tries, and what comes of it.

use std::time::{Duration, Instant};

use memif_os::seqpacket::Channel;

use super::Event;
use super::connection::Connection;
use super::state::State;
use crate::config::Role;
use crate::error::{Disconnect, Error};
use std::os::fd::RawFd;

impl State {
    /// A slave tries to reach its master, and again later if it cannot.
    pub(super) fn connect(&mut self, key: u64) {
        let outcome = self.attempt(key);
        let Some(interface) = self.interfaces.get_mut(&key) else { return };
        interface.retry_at = None;
        if let Err(error) = outcome {
            let reason = Disconnect::Failed(error.to_string());
            interface.retry_at = interface.config.reconnect.map(|interval| Instant::now() + interval);
            let repeated = interface.last_disconnect.as_ref() == Some(&reason);
            interface.last_disconnect = Some(reason.clone());
            if !repeated {
                self.notify(key, Event::ConnectFailed(reason));
            }
        }
    }

    /// Opens a connection to the master: the handshake has begun.
    fn attempt(&mut self, key: u64) -> Result<RawFd, Error> {
        let interface = self.interfaces.get(&key).ok_or(Error::Deleted)?;
        let channel = Channel::connect(&interface.config.socket)?;
        let connection = Connection::to_master(channel, key, &interface.config).map_err(Error::Attempt)?;
        let fd = self.add_connection(connection).map_err(Error::Attempt)?;
        if let Some(interface) = self.interfaces.get_mut(&key) {
            interface.connection = Some(fd);
        }
        Ok(fd)
    }

    /// The owner of a slave wants an attempt now.
    pub(crate) fn request_connection(&mut self, key: u64) -> Result<(), Error> {
        let interface = self.interfaces.get_mut(&key).ok_or(Error::Deleted)?;
        if interface.config.role == Role::Master {
            return Err(Error::NotASlave);
        }
        if interface.connection.is_some() {
            return Err(Error::AlreadyConnected);
        }
        self.attempt(key)?;
        if let Some(interface) = self.interfaces.get_mut(&key) {
            interface.retry_at = None;
        }
        Ok(())
    }

    /// Changes how long a slave waits between attempts, also for the one that it is waiting for.
    pub(crate) fn set_reconnect(&mut self, key: u64, interval: Option<Duration>) -> Result<(), Error> {
        let interface = self.interfaces.get_mut(&key).ok_or(Error::Deleted)?;
        interface.config.reconnect = interval;
        if interface.config.role == Role::Slave && interface.connection.is_none() {
            interface.retry_at = interval.map(|interval| Instant::now() + interval);
        }
        Ok(())
    }
}
