//! The eventfd of a link, watched by the runtime.
#![allow(unsafe_code)] // promises the runtime that the descriptor stays what it is

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use memif_pmd::QueueEvent;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An eventfd as the runtime wants it.
#[derive(Debug)]
pub(crate) struct Watched(QueueEvent);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Has the runtime watch for edges of the eventfd, until what is returned is dropped.
pub(crate) fn watch(event: QueueEvent) -> io::Result<AsyncFd<Watched>> {
    // SAFETY: a QueueEvent is one open eventfd for as long as it exists, and always gives that one's number. The `AsyncFd`
    // owns it, and nothing takes it out.
    unsafe { AsyncFd::register_with_interest(Watched(event), Interest::READABLE) }.map_err(io::Error::from)
}
