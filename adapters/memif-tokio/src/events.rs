//! The events of an interface as a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use memif_pmd::Event;

use crate::shared::Shared;

/// The events of an interface, in the order in which they happened; [`Interface::open`](crate::Interface::open) gives it. It
/// ends after the last event of an interface that was dropped or shut down.
///
/// Drop it if you do not want events. The last 1024 are kept for a program that does not take them, and older ones are
/// dropped: see [`Events::missed`].
#[derive(Debug)]
pub struct Events {
    shared: Arc<Shared>,
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits for the next event; `None` at the end.
    ///
    /// Cancel safe: an event is taken only by the poll that returns it.
    pub async fn recv(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.shared.next_event(context)).await
    }

    /// Events that were dropped, as more than 1024 waited.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.shared.missed()
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.shared.next_event(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.shared.stop_listening();
    }
}
