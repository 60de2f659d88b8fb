//! Who watches the control plane's descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use memif_os::event::{Epoll, Interest};

/// An event loop of the program, told which file descriptors to watch for reading.
///
/// Called without any lock of the control plane, from whichever thread has something to watch, so from several at a time
/// where several use the control plane: it may take locks of its own and call back into the control plane.
pub trait FdRegistry: Send + Sync {
    /// Watch `fd` for reading from now on, and call [`Memif::handle_fd`](crate::Memif::handle_fd) whenever it is ready.
    ///
    /// # Errors
    /// Whatever keeps it from being watched. The call that needed it fails: opening an interface, or else
    /// [`Memif::handle_fd`](crate::Memif::handle_fd).
    fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Stop watching `fd`, which is closed afterwards.
    fn unwatch(&self, fd: BorrowedFd<'_>);
}

/// The registry of a control plane that polls by itself.
pub(super) struct OwnEpoll(pub(super) Arc<Epoll>);

impl FdRegistry for OwnEpoll {
    fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.0.add(fd, token(fd.as_raw_fd()), Interest::READ)
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        let _ = self.0.delete(fd); // it is going away in any case
    }
}

fn token(fd: RawFd) -> u64 {
    u64::from(fd.unsigned_abs())
}
