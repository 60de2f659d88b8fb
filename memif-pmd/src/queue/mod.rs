//! Queue handles: what a data thread holds.
//!
//! A handle owns one end of a ring, and its rings change under it: each link brings fresh ones. The control plane puts
//! them into the queue's [`Slot`] and moves the slot's epoch; the handle compares one number per burst and goes to the
//! slot only when it differs. No lock is taken in the steady state, and the old link's memory goes when the handle lets
//! go of it: nothing is unmapped under a reader.

mod forward;
#[cfg(all(test, loom))]
mod loom_tests;
mod mode;
mod rx;
mod slot_loops;
mod slots;
mod tx;

pub use rx::{Peeked, Pieces, RxQueue};
pub use slots::{Filled, SlotBuffer, Taken};
pub use tx::{Reservation, TxQueue};

#[cfg(loom)]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};
use std::sync::{Arc, PoisonError};
#[cfg(not(loom))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use crossbeam_utils::CachePadded;
use memif_os::event::EventFd;
use memif_ring::burst::Tally;
use memif_ring::fault::PeerFault;

use crate::config::RxMode;
use crate::control::Reports;
use crate::stats::QueueCounters;

/// One queue of an interface, shared by the control plane and the queue's handle. `L` is its end of a link.
#[derive(Debug)]
pub(crate) struct Slot<L> {
    /// Moves when the link comes or goes. Written by the control plane, under the mailbox's lock.
    epoch: CachePadded<AtomicU64>,
    pub(crate) counters: CachePadded<QueueCounters>,
    mailbox: Mutex<Mailbox<L>>,
    taken: AtomicBool,
    rx_mode: AtomicU8,
    index: u16,
    reports: Arc<Reports>,
    owner: u64,
}

#[derive(Debug)]
struct Mailbox<L> {
    link: Option<L>,
    /// Rung when the epoch moves, to wake a handle that sleeps.
    doorbell: Option<Arc<EventFd>>,
}

impl<L> Slot<L> {
    pub(crate) fn new(index: u16, mode: RxMode, reports: &Arc<Reports>, owner: u64) -> Arc<Self> {
        Arc::new(Self {
            epoch: CachePadded::default(),
            counters: CachePadded::default(),
            mailbox: Mutex::new(Mailbox { link: None, doorbell: None }),
            taken: AtomicBool::new(false),
            rx_mode: AtomicU8::new(mode.number()),
            index,
            reports: Arc::clone(reports),
            owner,
        })
    }

    /// Control plane: a link is there.
    pub(crate) fn install(&self, link: L) {
        self.replace(Some(link));
    }

    /// Control plane: the link is gone.
    pub(crate) fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, link: Option<L>) {
        let mut mailbox = self.lock();
        let old = std::mem::replace(&mut mailbox.link, link);
        // Release: pairs with the Acquire in `changed`; the lock already orders what is in the mailbox.
        self.epoch.fetch_add(1, Ordering::Release);
        if let Some(doorbell) = &mailbox.doorbell {
            let _ = doorbell.signal(); // a full counter is rung already
        }
        drop(mailbox);
        drop(old); // may unmap: not under the lock
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether the link has changed since `seen`. Acquire: pairs with the Release in `replace`.
    #[inline(always)]
    fn changed(&self, seen: u64) -> bool {
        self.epoch.load(Ordering::Acquire) != seen
    }

    pub(crate) fn mode(&self) -> RxMode {
        RxMode::from_number(self.rx_mode.load(Ordering::Relaxed))
    }

    /// The number alone: see [`Slot::change_mode`].
    fn set_mode(&self, mode: RxMode) {
        self.rx_mode.store(mode.number(), Ordering::Relaxed);
    }

    pub(crate) const fn index(&self) -> u16 {
        self.index
    }

    /// One handle at a time. Acquire: pairs with the Release of a handle's drop, so that the next handle sees what the
    /// last one left.
    pub(crate) fn take(&self) -> bool {
        self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Mailbox<L>> {
        // nothing panics between two states of a mailbox
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The epoch of a handle that has not looked into its slot yet: no slot ever has it.
const NEVER: u64 = u64::MAX;

/// A handle's half of a queue.
#[derive(Debug)]
struct Handle<L> {
    slot: Arc<Slot<L>>,
    link: Option<L>,
    epoch: u64,
    tally: Tally,
}

impl<L> Handle<L> {
    fn new(slot: Arc<Slot<L>>) -> Self {
        let tally = slot.counters.tally();
        Self { slot, link: None, epoch: NEVER, tally }
    }

    /// The link, taking up a new one or letting go of one that is gone. The steady state is one comparison.
    #[inline(always)]
    fn link(&mut self) -> Option<&mut L> {
        if self.slot.changed(self.epoch) {
            self.sync();
        }
        self.link.as_mut()
    }

    #[cold]
    fn sync(&mut self) {
        let mut mailbox = self.slot.lock();
        self.epoch = self.slot.epoch();
        let old = std::mem::replace(&mut self.link, mailbox.link.take());
        drop(mailbox);
        drop(old); // may unmap: not under the lock
    }

    /// The peer broke the ring: nothing more is done with this link, and the control plane ends it.
    #[cold]
    fn fail(&mut self, fault: PeerFault) {
        self.link = None;
        self.slot.reports.fault(self.slot.owner, self.epoch, fault);
    }

    fn ring_on_change(&mut self, doorbell: &Arc<EventFd>) {
        let mut mailbox = self.slot.lock();
        mailbox.doorbell = Some(Arc::clone(doorbell));
        // a change since the last look, which came before there was a doorbell to ring
        if self.epoch != NEVER && self.slot.changed(self.epoch) {
            let _ = doorbell.signal(); // a full counter is rung already
        }
    }
}

impl<L> Drop for Handle<L> {
    fn drop(&mut self) {
        let mut mailbox = self.slot.lock();
        mailbox.doorbell = None;
        // the ring's indices live in the side: the next handle goes on with it
        if !self.slot.changed(self.epoch) && mailbox.link.is_none() {
            mailbox.link = self.link.take();
        }
        drop(mailbox);
        self.slot.taken.store(false, Ordering::Release);
    }
}
