//! Receiving.
//!
//! The queue is in interrupt mode for the whole of each link: the peer notifies it of each burst, through an eventfd. The
//! runtime watches that for edges, of which each notification is one. The order in which a wake-up is handled keeps any from
//! being lost:
//!
//! 1. the queue was empty, and the runtime has noted an edge;
//! 2. empty the eventfd;
//! 3. clear the runtime's note, unless another edge was noted since step 1;
//! 4. look at the queue again: packets announced before step 3 are there, and later ones are another edge.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use memif_pmd::{Burst, QueueStats};
use tokio::io::unix::AsyncFd;
use tokio::task::coop;

use crate::error::Error;
use crate::shared::{Change, Shared};
use crate::watched::{Watched, watch};

/// A receive queue.
///
/// It works across links: without one it waits, and goes on with the next one. Use it in a tokio runtime that has I/O
/// enabled; anywhere else waiting panics.
#[derive(Debug)]
pub struct RxQueue {
    queue: memif_pmd::RxQueue,
    interface: Weak<memif_pmd::Interface>,
    shared: Arc<Shared>,
    /// Changes of the link that `event` takes into account.
    seen: Option<u64>,
    /// The eventfd of the link.
    event: Option<AsyncFd<Watched>>,
}

impl RxQueue {
    pub(crate) fn new(
        queue: memif_pmd::RxQueue,
        interface: &Arc<memif_pmd::Interface>,
        shared: &Arc<Shared>,
    ) -> Self {
        let (interface, shared) = (Arc::downgrade(interface), Arc::clone(shared));
        Self { queue, interface, shared, seen: None, event: None }
    }

    /// Waits for packets and appends them to `burst`, as many as are there and fit; returns how many.
    ///
    /// It waits only while `burst` is empty, so that it always has room for what comes. If there are packets in it already, also
    /// such as a send had no room for, it does not wait: the number may be 0.
    ///
    /// Cancel safe: packets are taken from the queue only by the poll that returns. If another branch of `select!` completes
    /// first, they are there for the next call.
    ///
    /// # Errors
    /// - [`Error::Closed`]: the interface was dropped or shut down, or its control plane was.
    /// - [`Error::Watch`]: the runtime cannot watch the eventfd of a new link.
    pub async fn recv(&mut self, burst: &mut Burst) -> Result<usize, Error> {
        poll_fn(|context| self.poll_recv(context, burst)).await
    }

    /// Like [`RxQueue::recv`], for a [`Future`] or [`Stream`](futures_core::Stream) of your own.
    ///
    /// # Errors
    /// Those of [`RxQueue::recv`].
    pub fn poll_recv(&mut self, context: &mut Context<'_>, burst: &mut Burst) -> Poll<Result<usize, Error>> {
        // a peer that never stops sending must not keep other tasks from running
        let budget = ready!(coop::poll_proceed(context));
        loop {
            let received = self.queue.receive(burst);
            if burst.room() < burst.capacity() {
                budget.made_progress();
                return Poll::Ready(Ok(received));
            }
            match self.shared.watch_link(self.queue.index(), self.seen, context) {
                Change::Closed => return Poll::Ready(Err(Error::Closed)),
                Change::Link(changes) => {
                    self.watch()?;
                    self.seen = Some(changes);
                    continue;
                }
                Change::None => {}
            }
            let Some(event) = &self.event else { return Poll::Pending };
            let queue = self.queue.index();
            let ready = ready!(event.poll_read_ready(context));
            let mut ready = ready.map_err(|error| Error::Watch { queue, error })?;
            self.queue.clear_event();
            ready.clear_ready();
        }
    }

    /// Watches the eventfd of the link, if there is one.
    fn watch(&mut self) -> Result<(), Error> {
        self.event = None;
        let queue = self.queue.index();
        let event = self.interface.upgrade().and_then(|interface| interface.event_fd(queue).ok());
        if let Some(event) = event {
            self.event = Some(watch(event).map_err(|error| Error::Watch { queue, error })?);
        }
        Ok(())
    }

    /// Appends the packets that are there and fit to `burst`, without waiting; returns how many.
    pub fn try_recv(&mut self, burst: &mut Burst) -> usize {
        self.queue.receive(burst)
    }

    /// Index of the queue in its interface.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.queue.index()
    }

    /// What the queue has counted, over all links.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        self.queue.stats()
    }
}
