//! What data threads tell the control plane.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use memif_os::event::EventFd;
use memif_ring::fault::PeerFault;

/// What data threads met, on its way to the control plane.
#[derive(Debug)]
pub(crate) struct Reports {
    /// Also rung when a peer takes pages of a region away.
    pub(crate) waker: Arc<EventFd>,
    waiting: Mutex<Vec<Report>>,
}

/// What a data thread met, and the key of the interface.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Report {
    /// A peer broke a ring of the link with this epoch.
    Fault { owner: u64, epoch: u64, fault: PeerFault },
    /// Notifying the peer of a transmit queue takes so long that it is done rarely. Once for each queue and link.
    SlowPeer { owner: u64, queue: u16 },
    /// The slave overran the ring of a receive queue, which has lost so many descriptors by that so far. At most once a
    /// second for each queue.
    Overrun { owner: u64, queue: u16, lost: u64 },
}

impl Reports {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { waker: Arc::new(EventFd::new()?), waiting: Mutex::default() })
    }

    pub(crate) fn tell(&self, report: Report) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        self.wake();
    }

    pub(crate) fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn wake(&self) {
        let _ = self.waker.signal(); // a full counter wakes as well
    }
}
