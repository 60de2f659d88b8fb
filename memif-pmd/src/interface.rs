//! One memif interface, as its owner holds it.

use std::fmt;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Config, RxMode, check_reconnect};
use crate::control::{InterfaceState, Memif, Shared};
use crate::error::Error;
use crate::queue::{RxQueue, TxQueue};
use crate::stats::Details;

/// An interface. Its link comes and goes: a slave tries to reach its master for as long as there is none, a master takes
/// the next client. Dropping it ends the link; queue handles that are still out see no link any more.
pub struct Interface {
    shared: Arc<Shared>,
    key: u64,
    rx_count: u16,
    tx_count: u16,
}

impl Interface {
    pub(crate) fn open(memif: &Memif, config: Config) -> Result<Self, Error> {
        let shared = Arc::clone(memif.shared());
        let (rx_count, tx_count) = (config.rx_queues, config.tx_queues);
        let key = shared.with(|state| state.open(config))?;
        Ok(Self { shared, key, rx_count, tx_count })
    }

    /// Queues that we receive on. A link may have fewer rings.
    #[must_use]
    pub fn rx_count(&self) -> u16 {
        self.rx_count
    }

    /// Queues that we send on. A link may have fewer rings.
    #[must_use]
    pub fn tx_count(&self) -> u16 {
        self.tx_count
    }

    /// The handle of a receive queue, which belongs to one thread at a time.
    ///
    /// # Errors
    /// There is no such queue, its handle is out, or the interface is dead.
    pub fn rx(&self, index: u16) -> Result<RxQueue, Error> {
        let (direction, count) = ("rx", self.rx_count);
        let state = self.shared.lock();
        let interface = state.interface(self.key).ok_or(Error::Deleted)?;
        let slot = interface.rx_slot(index).ok_or(Error::NoSuchQueue { direction, index, count })?;
        if !slot.take() {
            return Err(Error::QueueInUse { direction, index });
        }
        Ok(RxQueue::new(Arc::clone(slot)))
    }

    /// The handle of a transmit queue, which belongs to one thread at a time.
    ///
    /// # Errors
    /// There is no such queue, its handle is out, or the interface is dead.
    pub fn tx(&self, index: u16) -> Result<TxQueue, Error> {
        let (direction, count) = ("tx", self.tx_count);
        let state = self.shared.lock();
        let interface = state.interface(self.key).ok_or(Error::Deleted)?;
        let slot = interface.tx_slot(index).ok_or(Error::NoSuchQueue { direction, index, count })?;
        if !slot.take() {
            return Err(Error::QueueInUse { direction, index });
        }
        Ok(TxQueue::new(Arc::clone(slot)))
    }

    /// Whether there is a link.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.shared.lock().interface(self.key).is_some_and(InterfaceState::is_up)
    }

    /// Waits until there is a link; `None` waits without limit. Polls the control plane if it has no thread.
    ///
    /// # Errors
    /// [`Error::NoLink`] when the time is over, with why the last attempt failed.
    pub fn wait_up(&self, timeout: Option<Duration>) -> Result<(), Error> {
        let began = Instant::now();
        let up = self.shared.wait_for(timeout, |state| match state.interface(self.key) {
            None => Some(Err(Error::Deleted)),
            Some(interface) => interface.is_up().then_some(Ok(())),
        })?;
        up.unwrap_or_else(|| {
            let state = self.shared.lock();
            let last = state.interface(self.key).and_then(|interface| interface.last_disconnect.clone());
            Err(Error::NoLink { waited: began.elapsed(), last })
        })
    }

    /// Waits until there is no link; `None` waits without limit. Returns whether it is down.
    ///
    /// # Errors
    /// The control plane cannot be polled.
    pub fn wait_down(&self, timeout: Option<Duration>) -> Result<bool, Error> {
        let down = self.shared.wait_for(timeout, |state| {
            state.interface(self.key).is_none_or(|interface| !interface.is_up()).then_some(())
        })?;
        Ok(down.is_some())
    }

    /// Changes how a receive queue learns of packets, whoever holds its handle. No wake-up is lost.
    ///
    /// # Errors
    /// There is no such queue, or the interface is dead.
    pub fn set_rx_mode(&self, queue: u16, mode: RxMode) -> Result<(), Error> {
        self.shared.lock().set_rx_mode(self.key, queue, mode)
    }

    /// Has a slave try to reach its master now. The link is up later, or the attempt fails later, if this succeeds.
    ///
    /// # Errors
    /// The interface is a master or dead, has a link or is on its way to one, or nobody listens.
    pub fn request_connection(&self) -> Result<(), Error> {
        self.shared.with(|state| state.request_connection(self.key))
    }

    /// Changes how long a slave waits between attempts, 1 ms to 1 day; `None`: it tries only when it is told to.
    ///
    /// # Errors
    /// The interval is out of range, or the interface is dead.
    pub fn set_reconnect(&self, interval: Option<Duration>) -> Result<(), Error> {
        check_reconnect(interval)?;
        self.shared.with(|state| state.set_reconnect(self.key, interval))
    }

    /// The number of the eventfd that the peer rings for a receive queue, whoever holds the queue's handle: see
    /// [`RxQueue::event_fd`]. It is valid for as long as the link is.
    ///
    /// # Errors
    /// There is no such queue, no link, or the interface is dead.
    pub fn event_fd(&self, queue: u16) -> Result<RawFd, Error> {
        self.shared.lock().event_fd(self.key, queue)
    }

    /// Everything there is to know.
    ///
    /// # Errors
    /// The interface is dead, as its control plane has been dropped.
    pub fn details(&self) -> Result<Details, Error> {
        self.shared.lock().details(self.key)
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        self.shared.with(|state| state.delete(self.key));
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface").field("key", &self.key).finish_non_exhaustive()
    }
}
