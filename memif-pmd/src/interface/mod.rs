//! Interfaces: the handle, the builder, and ports as text.

mod builder;
mod port;

pub use builder::{DEFAULT_SOCKET, InterfaceBuilder};
pub use port::Port;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use memif_os::event::EventFd;

use crate::config::{Config, RxMode};
use crate::control::{Memif, Plane, Queues};
use crate::error::Error;
use crate::limits::check_reconnect;
use crate::mirror::{Mirror, MirrorDirection};
use crate::queue::{RxQueue, TxQueue};
use crate::stats::Details;
use crate::stop::Stop;

/// An interface. It outlives its links: without one, a slave keeps trying to connect to its master, and a master accepts the
/// next slave. Queue handles stay valid over all links.
///
/// Dropping it ends the link and deletes the interface; queue handles that still exist then have no link for good.
///
/// ```no_run
/// use std::time::Duration;
/// use memif_pmd::{Burst, Memif};
///
/// let memif = Memif::start()?;
/// let interface = memif.interface("/run/vpp/memif.sock").id(3).open()?;
/// interface.wait_up(Some(Duration::from_secs(10)))?;
/// let (mut rx, mut burst) = (interface.rx(0)?, Burst::new(64)?);
/// while interface.is_up() {
///     if rx.receive(&mut burst) > 0 {
///         println!("{} packets", burst.len());
///         burst.clear();
///     }
/// }
/// # Ok::<(), memif_pmd::Error>(())
/// ```
pub struct Interface {
    plane: Arc<Plane>,
    queues: Arc<Queues>,
    key: u64,
    rx_count: u16,
    tx_count: u16,
}

impl Interface {
    pub(crate) fn open(memif: &Memif, config: Config) -> Result<Self, Error> {
        let plane = Arc::clone(memif.plane());
        let (rx_count, tx_count) = (config.rx_queues, config.tx_queues);
        let (key, queues) = plane.open(config)?;
        Ok(Self { plane, queues, key, rx_count, tx_count })
    }

    /// Number of receive queues. A link may have fewer rings: see [`Interface::details`].
    #[must_use]
    pub fn rx_count(&self) -> u16 {
        self.rx_count
    }

    /// Number of transmit queues. A link may have fewer rings: see [`Interface::details`].
    #[must_use]
    pub fn tx_count(&self) -> u16 {
        self.tx_count
    }

    /// The handle of a receive queue. There is one at a time; it can be moved to another thread.
    ///
    /// # Errors
    /// - [`Error::NoSuchQueue`]: `index` is not below [`Interface::rx_count`].
    /// - [`Error::QueueInUse`]: its handle exists already.
    /// - [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    pub fn rx(&self, index: u16) -> Result<RxQueue, Error> {
        let (direction, count) = ("rx", self.rx_count);
        if !self.plane.has(self.key) {
            return Err(Error::Deleted);
        }
        let mailbox = self.queues.rx().get(usize::from(index));
        let mailbox = mailbox.ok_or(Error::NoSuchQueue { direction, index, count })?;
        if !mailbox.take() {
            return Err(Error::QueueInUse { direction, index });
        }
        Ok(RxQueue::new(Arc::clone(mailbox)))
    }

    /// The handle of a transmit queue. There is one at a time; it can be moved to another thread.
    ///
    /// # Errors
    /// - [`Error::NoSuchQueue`]: `index` is not below [`Interface::tx_count`].
    /// - [`Error::QueueInUse`]: its handle exists already.
    /// - [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    pub fn tx(&self, index: u16) -> Result<TxQueue, Error> {
        let (direction, count) = ("tx", self.tx_count);
        if !self.plane.has(self.key) {
            return Err(Error::Deleted);
        }
        let mailbox = self.queues.tx().get(usize::from(index));
        let mailbox = mailbox.ok_or(Error::NoSuchQueue { direction, index, count })?;
        if !mailbox.take() {
            return Err(Error::QueueInUse { direction, index });
        }
        Ok(TxQueue::new(Arc::clone(mailbox)))
    }

    /// Whether there is a link.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.queues.is_up()
    }

    /// Waits until there is a link; `None` waits without limit. Polls the control plane if it has no thread.
    ///
    /// # Errors
    /// - [`Error::NoLink`]: the time is over. Says why the last attempt failed.
    /// - [`Error::Cancelled`]: [`Waker::cancel`](crate::Waker::cancel) was called.
    /// - [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    /// - [`Error::System`]: the control plane cannot be polled.
    pub fn wait_up(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.plane.wait_up(self.key, None, timeout)
    }

    /// Waits like [`Interface::wait_up`], and returns at most 50 ms after `stop` is called.
    ///
    /// # Errors
    /// Those of [`Interface::wait_up`]; [`Error::Cancelled`] also when `stop` was called before there was a link.
    pub fn wait_up_until(&self, stop: &Stop, timeout: Option<Duration>) -> Result<(), Error> {
        self.plane.wait_up(self.key, Some(stop), timeout)
    }

    /// Waits until there is no link; `None` waits without limit. Returns whether it is down.
    ///
    /// # Errors
    /// - [`Error::Cancelled`]: [`Waker::cancel`](crate::Waker::cancel) was called.
    /// - [`Error::System`]: the control plane cannot be polled.
    pub fn wait_down(&self, timeout: Option<Duration>) -> Result<bool, Error> {
        self.plane.wait_down(self.key, timeout)
    }

    /// Changes how a receive queue learns of packets. Its handle may be in use by another thread; no wake-up is lost. A
    /// thread that waits on the eventfd of [`Interface::event_fd`](crate::Interface::event_fd) without the handle is woken too,
    /// unless the process may not use asynchronous I/O (`io_setup`).
    ///
    /// # Errors
    /// - [`Error::NoSuchQueue`]: `queue` is not below [`Interface::rx_count`].
    /// - [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    pub fn set_rx_mode(&self, queue: u16, mode: RxMode) -> Result<(), Error> {
        self.plane.set_rx_mode(self.key, &self.queues, queue, mode)
    }

    /// Makes a slave connect to its master now. Returns when the connection is begun; [`Event`](crate::Event) or
    /// [`Interface::wait_up`] tell whether the link comes up.
    ///
    /// # Errors
    /// - [`Error::NotASlave`]: the interface is a master.
    /// - [`Error::AlreadyConnected`]: it has a link, or a connection that is not finished.
    /// - [`Error::NobodyListens`], [`Error::Permission`], [`Error::NotAMemifSocket`], [`Error::ListenerBusy`]: the master
    ///   cannot be reached.
    /// - [`Error::Attempt`], [`Error::OutOfDescriptors`]: a limit is reached.
    /// - [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    pub fn request_connection(&self) -> Result<(), Error> {
        self.plane.request_connection(self.key)
    }

    /// Changes how long a slave waits between attempts, 1 ms to 1 day. With `None` it connects only on
    /// [`Interface::request_connection`].
    ///
    /// # Errors
    /// - [`Error::OutOfRange`]: the interval.
    /// - [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    pub fn set_reconnect(&self, interval: Option<Duration>) -> Result<(), Error> {
        check_reconnect(interval)?;
        self.plane.set_reconnect(self.key, interval)
    }

    /// The eventfd that the peer signals for a receive queue, for an event loop; see [`RxQueue::event_fd`]. The queue's
    /// handle may be in use by another thread. Each link has its own eventfd.
    ///
    /// # Errors
    /// - [`Error::NoSuchQueue`]: neither the interface nor the link has that many queues.
    /// - [`Error::NoLink`]: there is no link.
    /// - [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    pub fn event_fd(&self, queue: u16) -> Result<QueueEvent, Error> {
        Ok(QueueEvent(self.plane.event_fd(self.key, queue)?))
    }

    /// Copies the packets that the queues receive and send to `mirror` from now on, instead of to the mirror set before. `None`
    /// ends copying. Queue handles may be in use by other threads: the change takes effect with their next burst.
    ///
    /// # Errors
    /// [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    pub fn set_mirror(&self, mirror: Option<&Mirror>) -> Result<(), Error> {
        let details = self.details()?;
        let tap = |direction, queue| mirror.map(|mirror| mirror.tap(&details, direction, queue));
        for mailbox in self.queues.rx() {
            mailbox.set_mirror(tap(MirrorDirection::Received, mailbox.index()));
        }
        for mailbox in self.queues.tx() {
            mailbox.set_mirror(tap(MirrorDirection::Sent, mailbox.index()));
        }
        Ok(())
    }

    /// Ends the link and deletes the interface, as dropping it does. Use it where the interface cannot be dropped: when it is
    /// shared, or in its own event handler. When this returns, the handler has been called with the end of the link and is
    /// not called again, unless this is called from within it.
    pub fn shut_down(&self) {
        self.plane.delete(self.key, &self.queues);
    }

    /// State and counters of the interface, its queues, and the rings and regions of its link.
    ///
    /// # Errors
    /// [`Error::Deleted`]: the interface was shut down, or the control plane has ended.
    pub fn details(&self) -> Result<Details, Error> {
        self.plane.details(self.key)
    }
}

/// The eventfd of a receive queue of one link: see [`Interface::event_fd`]. It stays open while this handle exists; the
/// next link has another one.
#[derive(Clone, Debug)]
pub struct QueueEvent(Arc<EventFd>);

impl AsFd for QueueEvent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interface").field("key", &self.key).finish_non_exhaustive()
    }
}
