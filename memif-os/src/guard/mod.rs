//! Surviving a peer that takes memory away under us.
//!
//! A page of a shared file can vanish: the file is cut short where no seal forbids it, or a hole is punched into one on huge
//! pages when none are left to fill it again. The next access is SIGBUS, and by default the end of the process. So a handler
//! stands in for such regions: where the fault lies in a guarded one it puts private zeros in place of the whole region,
//! marks it as damaged and signals an eventfd, its alarm; the access goes on and finds zeros. Faults elsewhere go to whoever
//! handled SIGBUS before.
//!
//! The handler is installed once, with the first guard, and stays. A program that installs its own afterwards should pass
//! on what it does not know, as this one does with faults. A SIGBUS that somebody sends with `kill` is dropped, and the guard
//! stays.
//!
//! **A thread that blocks SIGBUS ends the process when it meets such a fault**, whatever handler there is. Programs that
//! block all signals, as those do that use `signalfd`, call [`unblock_faults`](crate::thread::unblock_faults) on each
//! thread that receives or sends.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::event::EventFd;

mod handler;
mod table;

/// Why a region cannot be guarded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The kernel refuses the handler.
    #[error("cannot handle SIGBUS: {0}")]
    Handler(io::Error),
}

/// Number of regions that are guarded at the moment, in the whole process.
#[must_use]
pub fn count() -> usize {
    table::count()
}

/// No descriptor: the handler's write to it fails and does nothing.
const NO_ALARM: RawFd = -1;

/// Guards one mapping for as long as it lives. Owned by the region, and dropped before it is unmapped.
pub(crate) struct Guard {
    entry: &'static table::Entry,
    /// Keeps the descriptor open that the handler writes to.
    _alarm: Option<Arc<EventFd>>,
}

impl Guard {
    /// Guards `len` bytes, whole pages, from `start`; `alarm` is signalled when one is lost.
    pub(crate) fn new(start: NonNull<u8>, len: usize, alarm: Arc<EventFd>) -> Result<Self, GuardError> {
        let entry = enter(start, len, alarm.as_fd().as_raw_fd())?;
        Ok(Self { entry, _alarm: Some(alarm) })
    }

    /// Like [`Guard::new`], for those who ask [`Guard::is_damaged`] and need no alarm.
    pub(crate) fn without_alarm(start: NonNull<u8>, len: usize) -> Result<Self, GuardError> {
        Ok(Self { entry: enter(start, len, NO_ALARM)?, _alarm: None })
    }

    /// Whether a page was lost.
    pub(crate) fn is_damaged(&self) -> bool {
        // Acquire: pairs with the Release of the handler
        self.entry.state.load(Ordering::Acquire) != table::WHOLE
    }
}

fn enter(start: NonNull<u8>, len: usize, alarm: RawFd) -> Result<&'static table::Entry, GuardError> {
    handler::install().map_err(GuardError::Handler)?;
    Ok(table::enter(start.expose_provenance().get(), len, alarm))
}

impl Drop for Guard {
    fn drop(&mut self) {
        table::leave(self.entry);
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("damaged", &self.is_damaged()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
