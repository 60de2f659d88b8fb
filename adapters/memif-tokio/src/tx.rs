//! Sending.
//!
//! memif has no notification for a ring that has room again. So a sender that finds it full lets other tasks run and looks
//! again, 64 times; then it sleeps for one tick of the runtime's timer (1 to 2 ms) between looks.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use memif_pmd::{Burst, QueueStats};
use tokio::task::coop;
use tokio::time::{Sleep, sleep};

use crate::error::Error;
use crate::shared::Shared;

/// Looks at a full ring before the first sleep: a peer that is awake makes room meanwhile.
const LOOKS: u32 = 64;
/// The runtime's timer has no shorter one.
const NAP: Duration = Duration::from_millis(1);

/// A transmit queue.
///
/// It works across links: without one it drops what it is given and counts it, as a [`memif_pmd::TxQueue`] does. Use it in
/// a tokio runtime that has time enabled; anywhere else waiting panics.
#[derive(Debug)]
pub struct TxQueue {
    queue: memif_pmd::TxQueue,
    shared: Arc<Shared>,
    patience: Patience,
}

/// How long a sender has waited for room.
#[derive(Debug, Default)]
struct Patience {
    looks: u32,
    nap: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Ready when it is time to look again.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.looks < LOOKS {
            self.looks += 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let nap = self.nap.get_or_insert_with(|| Box::pin(sleep(NAP)));
        ready!(nap.as_mut().poll(context));
        self.nap = None;
        Poll::Ready(())
    }
}

impl TxQueue {
    pub(crate) fn new(queue: memif_pmd::TxQueue, shared: &Arc<Shared>) -> Self {
        Self { queue, shared: Arc::clone(shared), patience: Patience::default() }
    }

    /// Sends all packets of `burst`, also those that are set aside, waiting while the ring is full. They leave the burst in
    /// order, as they are sent. While there is no link they are dropped and counted: wait for
    /// [`Interface::up`](crate::Interface::up) first.
    ///
    /// A peer that takes no packets makes it wait without limit: use [`tokio::time::timeout`] where that matters.
    ///
    /// Cancel safe: what was not sent yet is in `burst`, and nothing else is.
    ///
    /// # Errors
    /// [`Error::Closed`]: the interface was dropped or shut down, or its control plane was. What was not sent stays.
    pub async fn send(&mut self, burst: &mut Burst) -> Result<(), Error> {
        poll_fn(|context| self.poll_send(context, burst)).await
    }

    /// Like [`TxQueue::send`], for a [`Future`] or [`Sink`](futures_sink::Sink) of your own.
    ///
    /// # Errors
    /// Those of [`TxQueue::send`].
    pub fn poll_send(&mut self, context: &mut Context<'_>, burst: &mut Burst) -> Poll<Result<(), Error>> {
        let budget = ready!(coop::poll_proceed(context));
        loop {
            if self.shared.is_closed() {
                return Poll::Ready(Err(Error::Closed));
            }
            if self.queue.send(burst) > 0 {
                self.patience = Patience::default();
            }
            // also of packets that were set aside
            if burst.room() == burst.capacity() {
                budget.made_progress();
                return Poll::Ready(Ok(()));
            }
            ready!(self.patience.poll(context));
        }
    }

    /// Sends packets from the front of `burst` without waiting, as many as there is room for; returns how many.
    pub fn try_send(&mut self, burst: &mut Burst) -> usize {
        self.queue.send(burst)
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
