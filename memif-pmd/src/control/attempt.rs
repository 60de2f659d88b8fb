//! How a slave reaches its master: when it tries, and what follows when it cannot.

use std::sync::Arc;
use std::time::Duration;

use memif_os::socket::Channel;

use super::connection::{Admitted, Connection};
use super::plane::Plane;
use super::turn::{ConnectionId, Turn};
use crate::background::Owner;
use crate::error::{Disconnect, Error};
use crate::quota::Quota;
use crate::reaper;

impl Plane {
    /// A slave tries to reach its master, and again later if it cannot. An error is the registry's.
    pub(super) fn connect(self: &Arc<Self>, key: u64) -> Result<(), Error> {
        let Err(error) = self.attempt(key) else { return Ok(()) };
        if matches!(error, Error::Deleted | Error::NotASlave | Error::AlreadyConnected) {
            return Ok(()); // another thread was faster
        }
        let reason = Disconnect::Failed(error.to_string());
        self.lock().attempt_failed(key, reason);
        self.note_change();
        if matches!(error, Error::System { .. }) { Err(error) } else { Ok(()) }
    }

    /// Opens a connection to the master: the handshake has begun.
    fn attempt(self: &Arc<Self>, key: u64) -> Result<(), Error> {
        let (id, admitted, rings) = self.lock().begin_attempt(key)?;
        let opened = self.open_channel(id, admitted, rings).and_then(|mut connection| {
            // before anything of the listener's is read: HELLO is answered with the secret
            match connection.check_master() {
                Ok(()) => self.watch_connection(&mut connection).map(|()| (connection, None)),
                Err(fault) => Ok((connection, Some(Turn::Close(fault.into())))),
            }
        });
        match opened {
            Ok((connection, end)) => self.go_on(connection, end),
            Err(error) => {
                self.lock().abort_attempt(id, key);
                return Err(error);
            }
        }
        Ok(())
    }

    fn open_channel(
        &self,
        id: ConnectionId,
        admitted: Admitted,
        rings: (u16, u16),
    ) -> Result<Box<Connection>, Error> {
        let most = Quota::now().waiting(admitted.config.rings());
        reaper::check_load(Owner::Interface(admitted.key), most).map_err(|reason| {
            self.lock().refused_by_quota += 1;
            Error::Attempt(reason)
        })?;
        let channel = Channel::connect(&admitted.config.socket).map_err(Error::socket)?;
        Ok(Box::new(Connection::to_master(id, channel, admitted, rings).map_err(Error::Attempt)?))
    }

    /// The owner of a slave wants an attempt now.
    pub(crate) fn request_connection(self: &Arc<Self>, key: u64) -> Result<(), Error> {
        let result = self.attempt(key);
        self.settle();
        result
    }

    /// Changes how long a slave waits between attempts, also for the one that it is waiting for.
    pub(crate) fn set_reconnect(&self, key: u64, interval: Option<Duration>) -> Result<(), Error> {
        let result = self.lock().set_reconnect(key, interval);
        self.settle();
        result
    }
}
