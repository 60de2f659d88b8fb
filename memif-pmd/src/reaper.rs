//! Returns what came from a peer to the kernel, on threads of its own.
//!
//! `close` of a descriptor that a peer sent can take as long as the peer likes (a socket that lingers, a file of a
//! user-space file system), and `munmap` of a large region takes as long as it has pages. Neither may hold up the control
//! plane or a data thread. So each such thing is kept in a [`Reaped`], whose drop hands it to the reaper's threads.
//!
//! Threads that close are others than those that unmap, as only `close` can hang. The number of threads is bounded, and so
//! is what one interface, or the strangers of one listener, may occupy of them and have waiting. Whoever has too much
//! waiting gets no new connection ([`check_load`]), so the queue is bounded by what was connected by then; links that
//! are up go on. When all threads that close hang, nothing is closed until one returns.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use crate::background::{Held, Load, Owner, Pool, Threads};
use crate::error::Disconnect;

/// Descriptors of one listener's strangers that wait to be closed from which on it accepts nobody: twice as many as there
/// may be clients that wait to name an interface.
pub(crate) const MOST_OF_STRANGERS: usize = 256;

/// More threads than hostile peers of a few interfaces can occupy.
static CLOSERS: Pool = Pool::new("memif-closer", Threads { all: 32, one_owner: 2, strangers: 8 });
static UNMAPPERS: Pool = Pool::new("memif-unmapper", Threads { all: 8, one_owner: 2, strangers: 2 });

/// Refuses a new connection of an owner of whom `limit` things or more wait to be closed or unmapped.
pub(crate) fn check_load(owner: Owner, limit: usize) -> Result<(), Disconnect> {
    if CLOSERS.queued(owner) + UNMAPPERS.queued(owner) < limit {
        return Ok(());
    }
    Err(Disconnect::Quota { what: "descriptors and regions that wait to be closed", limit: limit as u64 })
}

/// Keeps threads for what is to be closed and unmapped.
pub(crate) fn hold() -> io::Result<[Held; 2]> {
    Ok([CLOSERS.hold()?, UNMAPPERS.hold()?])
}

/// What waits, and what is being closed or unmapped.
pub(crate) fn load() -> Load {
    let (closing, unmapping) = (CLOSERS.load(), UNMAPPERS.load());
    Load {
        queued: closing.queued + unmapping.queued,
        running: closing.running + unmapping.running,
        hung: closing.hung + unmapping.hung,
    }
}

/// Something whose drop may block. Dropping this hands it to the reaper.
pub(crate) struct Reaped<T: Send + 'static> {
    owner: Owner,
    threads: &'static Pool,
    /// None only once it is taken out.
    value: Option<T>,
}

impl<T: Send + 'static> Reaped<T> {
    /// Something whose `close` may hang.
    pub(crate) const fn descriptor(owner: Owner, value: T) -> Self {
        Self { owner, threads: &CLOSERS, value: Some(value) }
    }

    /// Something that takes long to unmap, but comes to an end.
    pub(crate) const fn memory(owner: Owner, value: T) -> Self {
        Self { owner, threads: &UNMAPPERS, value: Some(value) }
    }

    /// Takes it out: its drop is the caller's again.
    pub(crate) fn into_inner(mut self) -> T {
        match self.value.take() {
            Some(value) => value,
            None => unreachable!("taken out by value alone"),
        }
    }

    /// Has it count as another owner's.
    pub(crate) fn set_owner(&mut self, owner: Owner) {
        self.owner = owner;
    }
}

impl<T: Send + 'static> Deref for Reaped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value {
            Some(value) => value,
            None => unreachable!("taken out by value alone"),
        }
    }
}

impl<T: Send + 'static> DerefMut for Reaped<T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.value {
            Some(value) => value,
            None => unreachable!("taken out by value alone"),
        }
    }
}

impl<T: Send + 'static> Drop for Reaped<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.threads.submit(self.owner, move || drop(value));
        }
    }
}

impl<T: Send + fmt::Debug + 'static> fmt::Debug for Reaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use super::*;

    struct Tells(Sender<ThreadId>);

    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }

    #[test]
    fn what_is_reaped_is_dropped_on_another_thread() {
        let (tell, told) = channel();
        drop(Reaped::descriptor(Owner::Interface(7), Tells(tell)));
        let thread = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_ne!(thread, thread::current().id());
    }
}
