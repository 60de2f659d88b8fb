//! The control plane: sockets, handshakes, reconnection. Nothing here is on the path of a packet.
//!
//! [`Memif`] polls by itself on a thread of its own ([`Memif::start`]), or is polled: through one file descriptor
//! ([`Memif::new`], [`Memif::poll`]), or through each of its descriptors in an event loop of the program
//! ([`Memif::with_registry`], [`Memif::handle_fd`]). All forms drive the same state.
//!
//! | word | meaning |
//! | --- | --- |
//! | *interface* | what the user opened: role, id, queues; it outlives links |
//! | *connection* | one socket to one peer, from accept or connect to close |
//! | *link* | the shared memory that a finished handshake agreed on, mapped and checked; immutable, reference-counted |
//! | *queue* | the user's handle on one direction; a link gives it a *ring end* |
//! | *slot* | one descriptor of a ring |
//! | *buffer* | the bytes that a descriptor names |
//!
//! Who does what:
//!
//! - The **state** ([`state`], [`interface`], [`listener`], [`table`]) is behind the one lock, and decides. Under the lock
//!   there is arithmetic and look-up: no system call, no shared memory, no log, no user code.
//! - The **executor** ([`executor`], [`listen`], [`attempt`], [`waiting`], [`interfaces`]) carries out what was decided,
//!   without the lock, on the thread that polls or calls. It never waits: sockets are non-blocking.
//! - **Builder threads** map what a slave offered, allocate what a slave needs, and write the first descriptors.
//! - **Reaper threads** ([`crate::reaper`]) close and unmap whatever came from a peer.
//! - **Handlers** of events run without a lock, in the order of the events, on the thread that polls. The last events of an
//!   interface are delivered by the thread that drops it.

mod attempt;
mod connection;
mod executor;
mod folders;
mod interface;
mod interfaces;
mod listen;
mod listener;
mod plane;
mod poll;
mod queues;
mod registry;
mod retry;
mod ring_wish;
mod state;
mod table;
mod turn;
mod waiting;
mod warning;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use memif_os::event::{Epoll, EventFd};
use memif_os::socket::SocketAddress;
use memif_ring::fault::FaultKind;

pub(crate) use plane::Plane;
pub use poll::Polled;
pub(crate) use queues::Queues;
pub use registry::FdRegistry;
use registry::OwnEpoll;

use crate::error::Error;
use crate::reaper;
use crate::stats::ControlStats;
use crate::stop::Stop;

/// The control plane. Dropping it ends all links, frees everything and leaves its interfaces dead.
///
/// ```
/// use std::time::Duration;
///
/// let memif = memif_pmd::Memif::start()?;
/// let master = memif.interface("@hello").master().open()?;
/// let slave = memif.interface("@hello").slave().open()?;
/// slave.wait_up(Some(Duration::from_secs(10)))?;
///
/// let (mut tx, mut rx) = (slave.tx(0)?, master.rx(0)?);
/// let mut burst = memif_pmd::Burst::new(64)?;
/// burst.push(b"hello")?;
/// tx.send(&mut burst);
/// while rx.receive(&mut burst) == 0 {}
/// assert_eq!(burst.get(0), Some(&b"hello"[..]));
/// # Ok::<(), memif_pmd::Error>(())
/// ```
#[derive(Debug)]
pub struct Memif {
    plane: Arc<Plane>,
    thread: Option<JoinHandle<()>>,
}

impl Memif {
    /// A control plane that runs on a thread of its own, which sleeps unless something happens.
    ///
    /// # Errors
    /// The kernel refuses a thread or a descriptor.
    pub fn start() -> Result<Self, Error> {
        let mut memif = Self::new()?;
        let plane = Arc::clone(&memif.plane);
        plane.threaded.store(true, Ordering::Release);
        let thread = memif_os::thread::spawn("memif-control", None, move || run(&plane));
        memif.thread = Some(thread.map_err(Error::thread)?);
        Ok(memif)
    }

    /// A control plane that does nothing until [`Memif::poll`]. In an event loop, poll it without waiting whenever its
    /// file descriptor ([`AsFd`]) is readable.
    ///
    /// # Errors
    /// The kernel refuses a descriptor.
    pub fn new() -> Result<Self, Error> {
        let epoll = Arc::new(Epoll::new().map_err(Error::system("epoll_create"))?);
        Self::assemble(Box::new(OwnEpoll(Arc::clone(&epoll))), Some(epoll))
    }

    /// A control plane whose descriptors somebody else watches, each on its own: `registry` is told of them, and
    /// [`Memif::handle_fd`] is called when one is ready.
    ///
    /// # Errors
    /// The kernel refuses a descriptor, or the registry does.
    pub fn with_registry(registry: impl FdRegistry + 'static) -> Result<Self, Error> {
        Self::assemble(Box::new(registry), None)
    }

    fn assemble(registry: Box<dyn FdRegistry>, epoll: Option<Arc<Epoll>>) -> Result<Self, Error> {
        Ok(Self { plane: Plane::new(registry, epoll)?, thread: None })
    }

    /// Handles what is ready, waiting for up to `timeout` for something to be; `None` waits without limit. Event
    /// handlers run in here. Of no use after [`Memif::start`], whose thread does this. Ctrl-C does not end it: use
    /// [`Memif::poll_until`].
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<Polled, Error> {
        self.plane.poll(None, timeout)
    }

    /// Works like [`Memif::poll`], and returns [`Polled::Cancelled`] when `stop` is called. If `stop` was called before, it returns at
    /// once.
    ///
    /// ```no_run
    /// use memif_pmd::{Memif, Polled, ctrl_c};
    ///
    /// let stop = ctrl_c()?;
    /// let memif = Memif::new()?;
    /// let interface = memif.interface("/run/memif.sock").on_event(|event| println!("{event:?}")).open()?;
    /// while memif.poll_until(&stop, None)? != Polled::Cancelled {}
    /// # Ok::<(), memif_pmd::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Memif::poll`].
    pub fn poll_until(&self, stop: &Stop, timeout: Option<Duration>) -> Result<Polled, Error> {
        self.plane.poll(Some(stop), timeout)
    }

    /// Handles one descriptor that was ready ([`Memif::with_registry`]). One that is not ours, or no longer, is
    /// ignored.
    ///
    /// # Errors
    /// The registry refused to watch a descriptor that this one led to, a client's or the one of a new attempt: that
    /// connection is gone, the rest goes on.
    pub fn handle_fd(&self, fd: RawFd) -> Result<(), Error> {
        self.plane.handle_fd(fd)
    }

    /// How the control plane fares: how long its lock was held at most, what waits to be closed, what was refused.
    #[must_use]
    pub fn stats(&self) -> ControlStats {
        let load = reaper::load();
        ControlStats {
            longest_lock_hold: self.plane.longest_hold(),
            reaper_queued: load.queued,
            reaper_busy: load.running,
            reaper_hung: load.hung,
            refused_by_quota: self.plane.lock().refused_by_quota,
        }
    }

    /// What clients did wrong before they asked for an interface that exists, by kind; only what happened. The faults of
    /// those that did are in [`crate::Details::faults`].
    #[must_use]
    pub fn stranger_faults(&self) -> Vec<(FaultKind, u64)> {
        self.plane.lock().stranger_faults.iter().collect()
    }

    /// What ends a [`Memif::poll`] from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker { plane: Arc::clone(&self.plane) }
    }

    /// Rung when a peer takes pages of shared memory away.
    pub(crate) fn alarm(&self) -> &Arc<EventFd> {
        &self.plane.reports.waker
    }

    /// Has the masters on `socket` accept from a listening socket that somebody else made, such as systemd. It stays, also
    /// without interfaces, until [`Memif::shut_down`]; its socket file is left alone.
    ///
    /// # Errors
    /// The descriptor is no listening `SOCK_SEQPACKET` socket, or there is a listener on this address.
    pub fn set_listener(&self, socket: &str, fd: OwnedFd) -> Result<(), Error> {
        let address = SocketAddress::new(socket).map_err(Error::address)?;
        let result = self.plane.keep_listener(&address, fd);
        self.plane.settle();
        result
    }

    /// Calls `with` with the listening socket of the masters on `socket`, for example to pass it to another process.
    /// `None` if there are none.
    pub fn with_listener<T>(&self, socket: &str, with: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        let address = SocketAddress::new(socket).ok()?;
        Some(with(self.plane.listener(&address)?.as_fd()))
    }

    /// Ends all links, closes all sockets and leaves the interfaces dead, as dropping it does: for those who share it, or
    /// are in one of its event handlers. A running [`Memif::poll`] returns [`Polled::Cancelled`].
    pub fn shut_down(&self) {
        self.plane.stop.store(true, Ordering::Release);
        self.waker().cancel();
        self.plane.end();
    }

    pub(crate) fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }
}

/// The file descriptor of the control plane's own epoll, readable when [`Memif::poll`] has something to do; of a control
/// plane with a registry, the one that wakes it.
impl AsFd for Memif {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.plane.epoll {
            Some(epoll) => epoll.as_fd(),
            None => self.plane.reports.waker.as_fd(),
        }
    }
}

impl Drop for Memif {
    fn drop(&mut self) {
        self.plane.stop.store(true, Ordering::Release);
        self.plane.reports.wake();
        if let Some(thread) = self.thread.take() {
            // an event handler may own the last Memif: its thread cannot wait for itself
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join(); // it has nothing to tell
            }
        }
        self.plane.end();
    }
}

fn run(plane: &Arc<Plane>) {
    // Acquire: pairs with the Release in drop
    while !plane.stop.load(Ordering::Acquire) {
        match plane.poll(None, None) {
            Ok(_) => {}
            Err(Error::System { call: "epoll_wait", error }) => {
                tracing::error!(%error, "control plane stopped");
                break;
            }
            Err(_) => {} // what could not be watched was logged
        }
    }
    plane.threaded.store(false, Ordering::Release);
}

/// Ends a [`Memif::poll`] from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    plane: Arc<Plane>,
}

impl Waker {
    /// The running poll, or else the next one, returns [`Polled::Cancelled`].
    pub fn cancel(&self) {
        // Release: pairs with the AcqRel in `poll`
        self.plane.cancel.store(true, Ordering::Release);
        self.plane.reports.wake();
    }
}
