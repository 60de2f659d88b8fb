//! The control plane: sockets, handshakes, reconnection. Nothing here is on the path of a packet.
//!
//! [`Memif`] polls by itself on a thread of its own ([`Memif::start`]), or is polled: through one file descriptor
//! ([`Memif::new`], [`Memif::poll`]), or through each of its descriptors in somebody's event loop
//! ([`Memif::with_registry`], [`Memif::handle_fd`]). All forms drive the same state, one event at a time under one lock
//! that data threads never take; events are reported after it is released.

mod attempt;
mod connection;
mod listener;
mod rate_limit;
mod state;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use memif_os::event::{Epoll, Event as Ready, EventFd, Interest};
use memif_os::seqpacket::SocketAddress;
use memif_ring::fault::{FaultKind, PeerFault};

use crate::config::InterfaceBuilder;
use crate::error::{Disconnect, Error};
pub(crate) use state::InterfaceState;
use state::{Notice, State};

/// What happens to an interface; see [`InterfaceBuilder::on_event`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The link is up: packets may flow.
    Connected,
    /// The link is down, and why.
    Disconnected(Disconnect),
    /// An attempt at a link failed before it was up, and why. A slave tries again.
    ConnectFailed(Disconnect),
    /// The peer rang: this receive queue may have packets ([`InterfaceBuilder::notify_interrupts`]).
    Interrupt {
        /// Index of the queue.
        queue: u16,
    },
}

/// What [`Memif::poll`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Handled this many file descriptors that were ready.
    Handled(usize),
    /// Nothing happened in the time given.
    TimedOut,
    /// [`Waker::cancel`] was called.
    Cancelled,
}

/// Somebody's event loop, told which file descriptors to watch for reading.
///
/// Called with the control plane's lock held: it must not call back into the interfaces of the same [`Memif`].
pub trait FdRegistry: Send {
    /// Watch `fd` for reading from now on, and call [`Memif::handle_fd`] whenever it is ready.
    ///
    /// # Errors
    /// Whatever keeps it from being watched; the call that needed it fails.
    fn watch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Stop watching `fd`, which is about to be closed.
    fn unwatch(&mut self, fd: BorrowedFd<'_>);
}

/// The registry of a control plane that polls by itself.
struct OwnEpoll(Arc<Epoll>);

impl FdRegistry for OwnEpoll {
    fn watch(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.add(fd, token(fd.as_raw_fd()), Interest::READ)
    }

    fn unwatch(&mut self, fd: BorrowedFd<'_>) {
        let _ = self.0.delete(fd); // it is going away in any case
    }
}

fn token(fd: RawFd) -> u64 {
    u64::from(fd.unsigned_abs())
}

/// Ring faults that data threads met, on their way to the control plane.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Also rung when a peer takes pages of a region away.
    waker: Arc<EventFd>,
    faults: Mutex<Vec<RingFault>>,
}

/// A peer broke the ring of an interface while its slots had this epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingFault {
    pub(crate) owner: u64,
    pub(crate) epoch: u64,
    pub(crate) fault: PeerFault,
}

impl Reports {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { waker: Arc::new(EventFd::new()?), faults: Mutex::default() })
    }

    pub(crate) fn fault(&self, owner: u64, epoch: u64, fault: PeerFault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(RingFault { owner, epoch, fault });
        self.wake();
    }

    pub(crate) fn take(&self) -> Vec<RingFault> {
        std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn wake(&self) {
        let _ = self.waker.signal(); // a full counter wakes as well
    }
}

pub(crate) struct Shared {
    state: Mutex<State>,
    reports: Arc<Reports>,
    epoll: Option<Arc<Epoll>>,
    /// Notified when a link comes or goes or an attempt fails.
    changed: Condvar,
    threaded: AtomicBool,
    stop: AtomicBool,
    cancel: AtomicBool,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // State is changed in small steps that do not panic; handlers run without the lock
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` under the lock, then reports what came of it.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        state.rearm_timer();
        let notices = state.take_notices();
        drop(state);
        if !notices.is_empty() {
            self.changed.notify_all();
        }
        for Notice { handler, event } in notices {
            if let Some(handler) = handler {
                handler(&event);
            }
        }
        result
    }

    fn poll(&self, timeout: Option<Duration>) -> Result<Polled, Error> {
        let Some(epoll) = &self.epoll else { return Ok(Polled::TimedOut) };
        // Acquire: pairs with the Release in `shut_down`
        if self.stop.load(Ordering::Acquire) {
            return Ok(Polled::Cancelled);
        }
        if self.cancel.swap(false, Ordering::AcqRel) {
            return Ok(Polled::Cancelled);
        }
        let mut ready = [Ready::NONE; 64];
        let count = epoll.wait(&mut ready, timeout).map_err(Error::system("epoll_wait"))?;
        for event in ready.iter().take(count) {
            self.handle_fd(RawFd::try_from(event.token()).unwrap_or(-1));
        }
        // AcqRel: pairs with the Release in `cancel`
        if self.cancel.swap(false, Ordering::AcqRel) {
            return Ok(Polled::Cancelled);
        }
        Ok(if count == 0 { Polled::TimedOut } else { Polled::Handled(count) })
    }

    fn shut_down(&self) {
        // the waker of our own epoll stays in it: it is what ends a poll that still runs
        let keep_waker = self.epoll.is_some();
        self.with(|state| state.shut_down(keep_waker));
    }

    fn handle_fd(&self, fd: RawFd) {
        self.with(|state| state.handle_fd(fd));
    }

    /// Waits until `done` gives something or the time is over; drives the control plane if nobody else does.
    pub(crate) fn wait_for<T>(
        &self,
        timeout: Option<Duration>,
        mut done: impl FnMut(&State) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let mut state = self.lock();
            if let Some(found) = done(&state) {
                return Ok(Some(found));
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            // bounded, so that a control plane whose thread ended is noticed
            let step = left.unwrap_or(Duration::MAX).min(Duration::from_millis(500));
            if self.epoll.is_none() || self.threaded.load(Ordering::Acquire) {
                state = self.changed.wait_timeout(state, step).unwrap_or_else(PoisonError::into_inner).0;
                drop(state);
            } else {
                drop(state);
                self.poll(Some(step))?;
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

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
/// burst.push(b"hello");
/// tx.send(&mut burst);
/// while rx.receive(&mut burst) == 0 {}
/// assert_eq!(burst.get(0), Some(&b"hello"[..]));
/// # Ok::<(), memif_pmd::Error>(())
/// ```
#[derive(Debug)]
pub struct Memif {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Memif {
    /// A control plane that runs on a thread of its own, which sleeps unless something happens.
    ///
    /// # Errors
    /// The kernel refuses a thread or a descriptor.
    pub fn start() -> Result<Self, Error> {
        let mut memif = Self::new()?;
        let shared = Arc::clone(&memif.shared);
        shared.threaded.store(true, Ordering::Release);
        let thread = thread::Builder::new().name("memif-control".into());
        memif.thread = Some(thread.spawn(move || run(&shared)).map_err(Error::system("thread"))?);
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
        let reports = Arc::new(Reports::new().map_err(Error::system("eventfd"))?);
        let state = State::new(registry, &reports)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            reports,
            epoll,
            changed: Condvar::new(),
            threaded: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            cancel: AtomicBool::new(false),
        });
        Ok(Self { shared, thread: None })
    }

    /// Begins an interface on a socket: a path of up to 107 bytes, or `@` and a name in the abstract namespace, which
    /// is open to every process of the network namespace.
    pub fn interface(&self, socket: impl Into<String>) -> InterfaceBuilder<'_> {
        InterfaceBuilder::new(self, socket)
    }

    /// Handles what is ready, waiting for up to `timeout` for something to be; `None` waits without limit. Event
    /// handlers run in here. Of no use after [`Memif::start`], whose thread does this.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<Polled, Error> {
        self.shared.poll(timeout)
    }

    /// Handles one descriptor that was ready ([`Memif::with_registry`]). One that is not ours, or no longer, is
    /// ignored.
    pub fn handle_fd(&self, fd: RawFd) {
        self.shared.handle_fd(fd);
    }

    /// What clients did wrong before they asked for an interface that exists, by kind; only what happened. The faults of
    /// those that did are in [`crate::Details::faults`].
    #[must_use]
    pub fn stranger_faults(&self) -> Vec<(FaultKind, u64)> {
        self.shared.lock().stranger_faults.iter().collect()
    }

    /// What ends a [`Memif::poll`] from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared) }
    }

    /// Rung when a peer takes pages of shared memory away.
    pub(crate) fn alarm(&self) -> &Arc<EventFd> {
        &self.shared.reports.waker
    }

    /// Has the masters on `socket` accept from a listening socket that somebody else made, such as systemd. It stays, also
    /// without interfaces, until [`Memif::shut_down`]; its socket file is left alone.
    ///
    /// # Errors
    /// The descriptor is no listening `SOCK_SEQPACKET` socket, or there is a listener on this address.
    pub fn set_listener(&self, socket: &str, fd: OwnedFd) -> Result<(), Error> {
        let address = SocketAddress::new(socket)?;
        self.shared.with(|state| state.keep_listener(&address, fd))
    }

    /// The listening socket of the masters on `socket`; it stays open for as long as there are any.
    #[must_use]
    pub fn listener_fd(&self, socket: &str) -> Option<RawFd> {
        let address = SocketAddress::new(socket).ok()?;
        self.shared.lock().listener_fd(&address)
    }

    /// Ends all links, closes all sockets and leaves the interfaces dead, as dropping it does: for those who share it, or
    /// are in one of its event handlers. A running [`Memif::poll`] returns [`Polled::Cancelled`].
    pub fn shut_down(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.waker().cancel();
        self.shared.shut_down();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// The file descriptor of the control plane's own epoll, readable when [`Memif::poll`] has something to do; of a control
/// plane with a registry, the one that wakes it.
impl AsFd for Memif {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.shared.epoll {
            Some(epoll) => epoll.as_fd(),
            None => self.shared.reports.waker.as_fd(),
        }
    }
}

impl Drop for Memif {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.reports.wake();
        if let Some(thread) = self.thread.take() {
            // an event handler may own the last Memif: its thread cannot wait for itself
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join(); // it has nothing to tell
            }
        }
        self.shared.shut_down();
    }
}

fn run(shared: &Shared) {
    // Acquire: pairs with the Release in drop
    while !shared.stop.load(Ordering::Acquire) {
        if let Err(error) = shared.poll(None) {
            tracing::error!(%error, "control plane stopped");
            break;
        }
    }
    shared.threaded.store(false, Ordering::Release);
}

/// Ends a [`Memif::poll`] from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

impl Waker {
    /// The running poll, or else the next one, returns [`Polled::Cancelled`].
    pub fn cancel(&self) {
        // Release: pairs with the AcqRel in `poll`
        self.shared.cancel.store(true, Ordering::Release);
        self.shared.reports.wake();
    }
}
