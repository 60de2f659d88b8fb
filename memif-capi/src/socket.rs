//! What a socket handle stands for: a control plane, and whoever polls it.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use memif_pmd::{Memif, Polled, Waker};

use crate::abi::SocketArgs;
use crate::callback::{CallerLoop, in_fd_callback};
use crate::code::{Code, Outcome};
use crate::conn;
use crate::external::ExternalCalls;
use crate::handle::{Id, Kind, Table, from_fd_context, is_short_of};
use crate::raw::Record;

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
    args: Option<Record<SocketArgs>>,
    polls_itself: bool,
    callback_failed: Arc<AtomicBool>,
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
    /// Makes a control plane that polls itself, or tells `caller_loop` of its descriptors.
    pub(crate) fn create(
        args: Option<Record<SocketArgs>>,
        caller_loop: impl FnOnce(Id, &Arc<AtomicBool>) -> Option<CallerLoop>,
    ) -> Result<Arc<Self>, Code> {
        let (id, place) = SOCKETS.take().ok_or(Code::NoMem)?;
        let callback_failed = Arc::new(AtomicBool::new(false));
        let caller_loop = caller_loop(id, &callback_failed);
        let polls_itself = caller_loop.is_none();
        let made = match caller_loop {
            Some(caller_loop) => Memif::with_registry(caller_loop),
            None => Memif::new(),
        };
        let memif = made.map_err(|error| {
            SOCKETS.retire(id);
            SOCKETS.give_back(id);
            callback_code(&callback_failed, error.into())
        })?;
        let waker = polls_itself.then(|| memif.waker());
        let socket =
            Arc::new(Self { id, memif, args, polls_itself, callback_failed, users: Mutex::default() });
        *lock(&place.socket) = Some(Arc::clone(&socket));
        *place.waker.write().unwrap_or_else(PoisonError::into_inner) = waker;
        Ok(socket)
    }

    /// The socket of a handle. Within an fd callback the control plane is busy with the very call that made it:
    /// [`Code::Again`].
    pub(crate) fn find(handle: *mut std::ffi::c_void) -> Result<Arc<Self>, Code> {
        let id = Id::from_handle(handle, Kind::Socket).ok_or(Code::InvalArg)?;
        Self::with_id(id)
    }

    fn with_id(id: Id) -> Result<Arc<Self>, Code> {
        if in_fd_callback() {
            return Err(Code::Again);
        }
        let place = SOCKETS.find(id).ok_or(Code::InvalArg)?;
        lock(&place.socket).clone().ok_or(Code::InvalArg)
    }

    pub(crate) fn handle(&self) -> *mut std::ffi::c_void {
        self.id.to_handle(Kind::Socket)
    }

    /// The program's arguments.
    pub(crate) fn args(&self) -> Option<&SocketArgs> {
        self.args.as_ref().map(Record::get)
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

    /// Ends the socket, unless interfaces use it.
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
            drop((waker, socket));
            SOCKETS.give_back(self.id);
        }
        Ok(())
    }

    /// How long slaves wait between attempts; zero: until they are told to.
    pub(crate) fn set_reconnect(&self, interval: Duration) {
        let interval = (!interval.is_zero()).then(|| interval.clamp(MIN_INTERVAL, MAX_INTERVAL));
        let mut users = self.users();
        users.reconnect = interval;
        let conns = users.conns.clone();
        drop(users);
        for conn in conns {
            conn::set_reconnect(conn, interval);
        }
    }

    /// Polls for up to `timeout_ms`, without limit where it is negative.
    pub(crate) fn poll(&self, timeout_ms: c_int) -> Outcome {
        if !self.polls_itself {
            return Err(Code::BadFd);
        }
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        match self.memif.poll(timeout)? {
            Polled::Cancelled => Err(Code::PollCancel),
            Polled::Handled(_) | Polled::TimedOut => Ok(()),
        }
    }

    /// A descriptor of the program's event loop is ready.
    pub(crate) fn handle_fd(&self, fd: RawFd) {
        self.memif.handle_fd(fd);
    }

    /// The listening socket on `path`: the one that was set, or our own.
    pub(crate) fn listener_fd(&self, path: &str) -> Option<RawFd> {
        let given = self.users().listener;
        given.or_else(|| self.memif.listener_fd(path))
    }

    /// Listens on a copy of the program's descriptor, which stays its own.
    pub(crate) fn set_listener_fd(&self, path: &str, fd: BorrowedFd<'_>) -> Outcome {
        let copy = fd.try_clone_to_owned().map_err(|_| Code::BadFd)?;
        self.checked(self.memif.set_listener(path, copy))?;
        self.users().listener = Some(fd.as_raw_fd());
        Ok(())
    }

    /// What a call of the control plane came to; a failure of the program's callback goes before what followed from it.
    pub(crate) fn checked<T>(&self, outcome: Result<T, memif_pmd::Error>) -> Result<T, Code> {
        outcome.map_err(|error| callback_code(&self.callback_failed, error.into()))
    }
}

/// Ends a running poll. Safe in a signal handler: it takes no lock but by trying, and makes one system call.
pub(crate) fn cancel_poll(handle: *mut std::ffi::c_void) -> Outcome {
    let id = Id::from_handle(handle, Kind::Socket).ok_or(Code::InvalArg)?;
    let place = SOCKETS.find(id).ok_or(Code::InvalArg)?;
    // taken for writing only while the socket is made or deleted
    let Ok(waker) = place.waker.try_read() else { return Err(Code::InvalArg) };
    let Some(waker) = waker.as_ref() else { return Err(Code::InvalArg) };
    waker.cancel();
    Ok(())
}

/// The socket and the descriptor that the context of an fd event names.
pub(crate) fn find_fd(context: *mut std::ffi::c_void) -> Result<(Arc<Socket>, RawFd), Code> {
    let (place, short, fd) = from_fd_context(context).ok_or(Code::InvalArg)?;
    let generation = SOCKETS.place(place).ok_or(Code::InvalArg)?.generation();
    if !is_short_of(short, generation) {
        return Err(Code::InvalArg);
    }
    Ok((Socket::with_id(Id { place, generation })?, fd))
}

fn callback_code(failed: &AtomicBool, otherwise: Code) -> Code {
    // Relaxed: set by a callback on this thread
    if failed.swap(false, Ordering::Relaxed) { Code::CbFdUpdate } else { otherwise }
}

/// Nothing that is done under these locks panics half way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
