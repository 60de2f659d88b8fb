//! The queues of an interface, shared by its handle, its connection and the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memif_ring::shm::wake_fence;

use crate::config::{Config, RxMode};
use crate::link::{Attached, RxLink, TxLink, rx_direction};
use crate::queue::{Mailbox, Reports};

/// One mailbox a queue, and whether there is a link. They outlive links, and the interface while handles are out.
#[derive(Debug)]
pub(crate) struct Queues {
    rx: Vec<Arc<Mailbox<RxLink>>>,
    tx: Vec<Arc<Mailbox<TxLink>>>,
    up: AtomicBool,
}

/// The ends of a link whose rings say how their receivers learn of packets.
#[derive(Debug)]
pub(crate) struct Prepared {
    attached: Attached,
    /// The mode that was written to each receive ring.
    modes: Vec<RxMode>,
}

impl Prepared {
    pub(crate) fn attached(&self) -> &Attached {
        &self.attached
    }
}

impl Queues {
    pub(super) fn new(config: &Config, reports: &Arc<Reports>, key: u64) -> Arc<Self> {
        let (mode, index) = (config.rx_mode, |count| 0..count);
        Arc::new(Self {
            rx: index(config.rx_queues).map(|index| Mailbox::new(index, mode, reports, key)).collect(),
            tx: index(config.tx_queues).map(|index| Mailbox::new(index, mode, reports, key)).collect(),
            up: AtomicBool::new(false),
        })
    }

    pub(crate) fn rx(&self) -> &[Arc<Mailbox<RxLink>>] {
        &self.rx
    }

    pub(crate) fn tx(&self) -> &[Arc<Mailbox<TxLink>>] {
        &self.tx
    }

    /// Whether there is a link.
    pub(crate) fn is_up(&self) -> bool {
        // Acquire: pairs with the Release in `set_up`
        self.up.load(Ordering::Acquire)
    }

    pub(super) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Release);
    }

    /// Whether the link with this epoch is the present one.
    pub(super) fn has_epoch(&self, epoch: u64) -> bool {
        self.rx.first().is_some_and(|mailbox| mailbox.epoch() == epoch)
    }

    /// Writes the interrupt flags of the receive rings, whatever they were before. This touches memory that a peer can
    /// take away, so it may take long: not for the control thread.
    pub(super) fn prepare(&self, attached: Attached) -> Prepared {
        let modes = self.rx.iter().zip(&attached.rx).map(|(mailbox, queue)| mailbox.apply_mode(queue));
        let modes = modes.collect();
        Prepared { attached, modes }
    }

    /// Hands the link to the data threads. The epoch of every queue advances, also of those that have no ring.
    pub(super) fn install(&self, prepared: Prepared, config: &Config) {
        let Prepared { attached: Attached { link, rx, tx }, modes } = prepared;
        let (mut rx, mut tx) = (rx.into_iter().zip(modes), tx.into_iter());
        for mailbox in &self.rx {
            let Some((queue, applied)) = rx.next() else {
                mailbox.clear();
                continue;
            };
            mailbox.install(queue);
            // pairs with the one in `change_mode`: it finds the ring, or we see the mode that it has set
            wake_fence();
            if mailbox.mode() != applied
                && let Some(ring) = link.ring(rx_direction(config.role), mailbox.index())
            {
                mailbox.notice_mode(ring);
            }
        }
        for mailbox in &self.tx {
            match tx.next() {
                Some(queue) => mailbox.install(queue),
                None => mailbox.clear(),
            }
        }
    }

    /// The link is gone. `is_up` says so last: whoever has seen that sends nothing into the old rings any more.
    pub(super) fn clear(&self) {
        self.rx.iter().for_each(|mailbox| mailbox.clear());
        self.tx.iter().for_each(|mailbox| mailbox.clear());
        self.set_up(false);
    }

    /// The interface is gone: its handles never see a link again.
    pub(super) fn close(&self) {
        self.rx.iter().for_each(|mailbox| mailbox.close());
        self.tx.iter().for_each(|mailbox| mailbox.close());
        self.set_up(false);
    }
}
