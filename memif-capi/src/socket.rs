//! What a socket handle stands for: a control plane, and whoever polls it.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use memif_pmd::{Memif, Polled, Waker};

use crate::abi::SocketArgs;
use crate::callback::{CallerLoop, returned_in};
use crate::code::{Code, Outcome};
use crate::external::ExternalCalls;
use crate::handle::{Id, Kind, Table, from_fd_context, is_short_of};
use crate::log;
use crate::memory::Record;
use crate::sync::{Mutex, MutexGuard, lock};

static SOCKETS: Table<Place> = Table::new();

/// Longest interval between attempts: what does not fit into a day is a day.
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);
/// Shortest interval between attempts.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Place {
    socket: Mutex<Option<Arc<Socket>>>,
    /// Apart from the socket, for signal handlers: they only ever try this lock.
    waker: RwLock<Option<Waker>>,
}

/// A control plane with its interfaces.
pub(crate) struct Socket {
    pub(crate) id: Id,
    pub(crate) memif: Memif,
    /// The program's arguments, in memory of its own allocator; 1.0 has none.
    args: Mutex<Option<Record<SocketArgs>>>,
    polls_itself: bool,
    users: Mutex<Users>,
}

/// What of a socket changes.
#[derive(Default)]
struct Users {
    conns: Vec<Id>,
    closed: bool,
    reconnect: Option<Duration>,
    /// Where slaves made from now on get their packet memory; `None`: it is our own.
    external: Option<ExternalCalls>,
    /// The listener that the program brought, under the program's number.
    listener: Option<RawFd>,
}

impl Socket {
    /// Makes a control plane that polls itself, or tells a loop of the program's of its descriptors.
    pub(crate) fn create(
        args: Option<Record<SocketArgs>>,
        caller_loop: impl FnOnce(Id) -> Option<CallerLoop>,
    ) -> Result<Arc<Self>, Code> {
        log::begin();
        let (id, place) = SOCKETS.take().ok_or(Code::NoMem)?;
        let caller_loop = caller_loop(id);
        let polls_itself = caller_loop.is_none();
        let made = match caller_loop {
            Some(caller_loop) => Memif::with_registry(caller_loop),
            None => Memif::new(),
        };
        let memif = made.inspect_err(|_| {
            SOCKETS.retire(id);
            SOCKETS.give_back(id);
        })?;
        let waker = polls_itself.then(|| memif.waker());
        let socket =
            Arc::new(Self { id, memif, args: Mutex::new(args), polls_itself, users: Mutex::default() });
        *lock(&place.socket) = Some(Arc::clone(&socket));
        *place.waker.write().unwrap_or_else(PoisonError::into_inner) = waker;
        Ok(socket)
    }

    /// The socket of a handle.
    ///
    /// # Errors
    /// [`Code::InvalArg`]: the handle is of no socket.
    pub(crate) fn find(handle: *mut c_void) -> Result<Arc<Self>, Code> {
        Self::with_id(Id::from_handle(handle, Kind::Socket).ok_or(Code::InvalArg)?)
    }

    fn with_id(id: Id) -> Result<Arc<Self>, Code> {
        let place = SOCKETS.find(id).ok_or(Code::InvalArg)?;
        lock(&place.socket).clone().ok_or(Code::InvalArg)
    }

    pub(crate) fn handle(&self) -> *mut c_void {
        self.id.to_handle(Kind::Socket)
    }

    /// The program's arguments.
    ///
    /// # Errors
    /// [`Code::InvalArg`]: there are none, or the socket is being deleted.
    pub(crate) fn args(&self) -> Result<SocketArgs, Code> {
        lock(&self.args).as_ref().map(|args| *args.get()).ok_or(Code::InvalArg)
    }

    /// The path, in memory that stays until the socket is deleted.
    ///
    /// # Errors
    /// Those of [`Socket::args`].
    pub(crate) fn path(&self) -> Result<*const c_char, Code> {
        lock(&self.args).as_ref().map(|args| args.get().path.as_ptr()).ok_or(Code::InvalArg)
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        lock(&self.users)
    }

    /// An interface begins to use the socket; returns how long its slaves wait between attempts.
    pub(crate) fn add(&self, conn: Id) -> Result<Option<Duration>, Code> {
        let mut users = self.users();
        if users.closed {
            return Err(Code::InvalArg);
        }
        users.conns.push(conn);
        Ok(users.reconnect)
    }

    /// Where slaves made from now on get their packet memory.
    pub(crate) fn set_external(&self, calls: Option<ExternalCalls>) {
        self.users().external = calls;
    }

    pub(crate) fn external(&self) -> Option<ExternalCalls> {
        self.users().external
    }

    /// An interface is gone.
    pub(crate) fn remove(&self, conn: Id) {
        self.users().conns.retain(|known| *known != conn);
    }

    /// The interfaces that use the socket.
    pub(crate) fn conns(&self) -> Vec<Id> {
        self.users().conns.clone()
    }

    /// Ends the socket.
    ///
    /// # Errors
    /// [`Code::InvalArg`]: interfaces use it, or another thread ends it.
    pub(crate) fn delete(&self) -> Outcome {
        let mut users = self.users();
        if users.closed || !users.conns.is_empty() {
            return Err(Code::InvalArg);
        }
        users.closed = true;
        drop(users);
        if let Some(place) = SOCKETS.find(self.id) {
            SOCKETS.retire(self.id);
            let waker = place.waker.write().unwrap_or_else(PoisonError::into_inner).take();
            let socket = lock(&place.socket).take();
            self.memif.shut_down();
            // here rather than when the last reference goes, which another thread may have: the memory is the program's
            drop((waker, socket, lock(&self.args).take()));
            SOCKETS.give_back(self.id);
        }
        Ok(())
    }

    /// How long slaves made from now on wait between attempts; zero: until they are told to. Returns what that comes to,
    /// for those that are there.
    pub(crate) fn set_reconnect(&self, interval: Duration) -> Option<Duration> {
        let interval = (!interval.is_zero()).then(|| interval.clamp(MIN_INTERVAL, MAX_INTERVAL));
        self.users().reconnect = interval;
        interval
    }

    /// Polls for up to `timeout_ms`, without limit where it is negative. Returns what the first interrupt function returned
    /// that did not return 0.
    ///
    /// # Errors
    /// [`Code::BadFd`]: the program watches the descriptors. [`Code::PollCancel`]. What the kernel says.
    pub(crate) fn poll(&self, timeout_ms: c_int) -> Result<c_int, Code> {
        if !self.polls_itself {
            return Err(Code::BadFd);
        }
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let (polled, returned) = returned_in(|| self.memif.poll(timeout));
        match polled? {
            Polled::Cancelled => Err(Code::PollCancel),
            _ => Ok(returned),
        }
    }

    /// Handles a descriptor of the program's event loop that is ready. Returns as [`Socket::poll`].
    ///
    /// # Errors
    /// [`Code::CbFdUpdate`]: the program does not watch a descriptor that this one led to.
    pub(crate) fn handle_fd(&self, fd: RawFd) -> Result<c_int, Code> {
        let (handled, returned) = returned_in(|| self.memif.handle_fd(fd));
        handled?;
        Ok(returned)
    }

    /// The listening socket on `path`: the one that was set, or our own.
    pub(crate) fn listener_fd(&self, path: &str) -> Option<RawFd> {
        let given = self.users().listener;
        given.or_else(|| self.memif.with_listener(path, |fd| fd.as_raw_fd()))
    }

    /// Listens on a copy of the program's descriptor, which stays its own.
    ///
    /// # Errors
    /// [`Code::BadFd`]: it does not listen. [`Code::Already`]: another one does.
    pub(crate) fn set_listener_fd(&self, path: &str, fd: BorrowedFd<'_>) -> Outcome {
        let copy = fd.try_clone_to_owned().map_err(|_| Code::BadFd)?;
        self.memif.set_listener(path, copy)?;
        self.users().listener = Some(fd.as_raw_fd());
        Ok(())
    }
}

/// Ends a running poll. Safe in a signal handler: it takes no lock but by trying, and makes one system call.
///
/// # Errors
/// [`Code::InvalArg`]: the handle is of no socket, or of one that the program polls.
pub(crate) fn cancel_poll(handle: *mut c_void) -> Outcome {
    let id = Id::from_handle(handle, Kind::Socket).ok_or(Code::InvalArg)?;
    let place = SOCKETS.find(id).ok_or(Code::InvalArg)?;
    // taken for writing only while the socket is made or deleted
    let Ok(waker) = place.waker.try_read() else { return Err(Code::InvalArg) };
    let Some(waker) = waker.as_ref() else { return Err(Code::InvalArg) };
    waker.cancel();
    Ok(())
}

/// The socket and the descriptor that the context of an fd event names.
///
/// # Errors
/// [`Code::InvalArg`]: it names none.
pub(crate) fn find_fd(context: *mut c_void) -> Result<(Arc<Socket>, RawFd), Code> {
    let (place, short, fd) = from_fd_context(context).ok_or(Code::InvalArg)?;
    let generation = SOCKETS.place(place).ok_or(Code::InvalArg)?.generation();
    if !is_short_of(short, generation) {
        return Err(Code::InvalArg);
    }
    Ok((Socket::with_id(Id { place, generation })?, fd))
}
