//! Interfaces.

use std::sync::Arc;

use memif_pmd::{InterfaceBuilder, RxMode};

use crate::error::Error;
use crate::events::Events;
use crate::rx::RxQueue;
use crate::shared::{Shared, Teller};
use crate::tx::TxQueue;

/// A memif interface whose queues are awaited.
///
/// It outlives its links, as a [`memif_pmd::Interface`] does, and so do its queues. Dropping it ends the link and deletes the
/// interface: tasks that wait on its queues get [`Error::Closed`], and [`Events`] ends.
#[derive(Debug)]
pub struct Interface {
    inner: Arc<memif_pmd::Interface>,
    shared: Arc<Shared>,
}

impl Interface {
    /// Opens the interface that the builder describes, and gives its events. The receive mode becomes
    /// [`RxMode::Interrupt`], and the handler of events is replaced: take [`Events`] instead.
    ///
    /// The builder's [`Memif`](memif_pmd::Memif) must poll by itself ([`Memif::start`](memif_pmd::Memif::start)), or be polled
    /// by the program.
    ///
    /// # Errors
    /// [`Error::Memif`]: as [`InterfaceBuilder::open`].
    pub fn open(builder: InterfaceBuilder<'_>) -> Result<(Self, Events), Error> {
        let shared = Arc::new(Shared::default());
        let teller = Teller(Arc::clone(&shared));
        let builder = builder.rx_mode(RxMode::Interrupt).on_event(move |event| teller.0.tell(event));
        let inner = Arc::new(builder.open()?);
        Ok((Self { inner, shared: Arc::clone(&shared) }, Events::new(shared)))
    }

    /// The receive queue with this index. There is one handle at a time.
    ///
    /// # Errors
    /// [`Error::Memif`]: as [`memif_pmd::Interface::rx`].
    pub fn rx(&self, index: u16) -> Result<RxQueue, Error> {
        Ok(RxQueue::new(self.inner.rx(index)?, &self.inner, &self.shared))
    }

    /// The transmit queue with this index. There is one handle at a time.
    ///
    /// # Errors
    /// [`Error::Memif`]: as [`memif_pmd::Interface::tx`].
    pub fn tx(&self, index: u16) -> Result<TxQueue, Error> {
        Ok(TxQueue::new(self.inner.tx(index)?, &self.shared))
    }

    /// Waits until there is a link. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Closed`]: the interface was shut down, or its control plane has ended.
    pub async fn up(&self) -> Result<(), Error> {
        self.until(true).await
    }

    /// Waits until there is no link. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Closed`]: the interface was shut down, or its control plane has ended.
    pub async fn down(&self) -> Result<(), Error> {
        self.until(false).await
    }

    async fn until(&self, up: bool) -> Result<(), Error> {
        loop {
            // made before the look: notifications that come after it are not lost
            let changed = self.shared.link.notified();
            if self.shared.is_closed() {
                return Err(Error::Closed);
            }
            if self.inner.is_up() == up {
                return Ok(());
            }
            changed.await;
        }
    }

    /// The interface itself, for its details and metrics. Leave its receive mode alone: a queue in another one is not woken.
    #[must_use]
    pub fn inner(&self) -> &Arc<memif_pmd::Interface> {
        &self.inner
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        // a clone of `inner` does not keep it
        self.inner.shut_down();
        self.shared.close();
    }
}
