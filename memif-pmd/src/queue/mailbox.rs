//! How a link reaches the data thread of a queue.
//!
//! A queue handle owns one end of a ring, and each link brings a new ring. The control plane
//! puts the end of a new link into the queue's [`Mailbox`] and advances its epoch; the handle compares one number a burst
//! and opens the mailbox only when it differs. No lock is taken in the steady state, and nothing is unmapped under a
//! reader: the handle keeps its link's memory mapped.

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
use memif_ring::fault::{DropReason, PeerFault};

use crate::config::RxMode;
use crate::mirror::MirrorTap;
use crate::stats::QueueCounters;

use super::report::{Report, Reports};

/// One queue of an interface, shared by the control plane and the queue's handle. `L` is its end of a link.
#[derive(Debug)]
pub(crate) struct Mailbox<L> {
    changes: CachePadded<Changes>,
    pub(crate) counters: CachePadded<QueueCounters>,
    contents: Mutex<Contents<L>>,
    taken: AtomicBool,
    rx_mode: AtomicU8,
    index: u16,
    reports: Arc<Reports>,
    owner: u64,
}

/// What handles compare. Written by the control plane, under the mailbox's lock.
#[derive(Debug, Default)]
struct Changes {
    /// Advances when a link comes up or ends.
    epoch: AtomicU64,
    /// Advances after the epoch, and when a mirror is attached or detached.
    all: AtomicU64,
}

#[derive(Debug)]
struct Contents<L> {
    link: Option<L>,
    /// Gets copies of the packets that are received or sent.
    mirror: Option<MirrorTap>,
    /// The interface is deleted: the queue accepts no link.
    closed: bool,
    /// Rung when the epoch moves, to wake a handle that sleeps.
    doorbell: Option<Arc<EventFd>>,
}

impl<L> Mailbox<L> {
    pub(crate) fn new(index: u16, mode: RxMode, reports: &Arc<Reports>, owner: u64) -> Arc<Self> {
        Arc::new(Self {
            changes: CachePadded::default(),
            counters: CachePadded::default(),
            contents: Mutex::new(Contents { link: None, mirror: None, closed: false, doorbell: None }),
            taken: AtomicBool::new(false),
            rx_mode: AtomicU8::new(mode.number()),
            index,
            reports: Arc::clone(reports),
            owner,
        })
    }

    /// Called by the control plane when a link is up.
    pub(crate) fn install(&self, link: L) {
        self.replace(Some(link));
    }

    /// Called by the control plane when the link has ended.
    pub(crate) fn clear(&self) {
        self.replace(None);
    }

    /// Called by the control plane when the interface is deleted. The queue gets no link after that.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.replace(None);
    }

    fn replace(&self, link: Option<L>) {
        let mut contents = self.lock();
        let link = link.filter(|_| !contents.closed);
        let old = std::mem::replace(&mut contents.link, link);
        // Release: pairs with the Acquire in `changed`; the lock already orders what is in the mailbox.
        self.changes.epoch.fetch_add(1, Ordering::Release);
        self.changes.all.fetch_add(1, Ordering::Release);
        if let Some(doorbell) = &contents.doorbell {
            let _ = doorbell.signal(); // a full counter is rung already
        }
        drop(contents);
        drop(old); // may unmap: not under the lock
    }

    /// Called by the control plane: attaches a mirror to the queue, or detaches it with `None`. The handle notices that with its
    /// next burst.
    pub(crate) fn set_mirror(&self, mirror: Option<MirrorTap>) {
        let mut contents = self.lock();
        let old = std::mem::replace(&mut contents.mirror, mirror);
        self.changes.all.fetch_add(1, Ordering::Release); // as in `replace`
        drop(contents);
        drop(old); // may be the last of its mirror
    }

    /// Wakes a handle that sleeps.
    pub(super) fn ring_doorbell(&self) {
        if let Some(doorbell) = &self.lock().doorbell {
            let _ = doorbell.signal(); // a full counter is rung already
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.changes.epoch.load(Ordering::Acquire)
    }

    /// Whether the link has changed since `seen`. Acquire: pairs with the Release in `replace`.
    #[inline(always)]
    fn changed(&self, seen: u64) -> bool {
        self.changes.epoch.load(Ordering::Acquire) != seen
    }

    pub(crate) fn mode(&self) -> RxMode {
        RxMode::from_number(self.rx_mode.load(Ordering::Relaxed))
    }

    /// The number alone: see [`Mailbox::change_mode`].
    pub(super) fn set_mode(&self, mode: RxMode) {
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

    /// The peer of this queue makes notifications slow.
    #[cold]
    pub(super) fn report_slow_peer(&self) {
        self.reports.tell(Report::SlowPeer { owner: self.owner, queue: self.index });
    }

    fn lock(&self) -> MutexGuard<'_, Contents<L>> {
        // nothing panics between two states of a mailbox
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Installs a link like `install`, but moves the epoch first: a defect that the models must detect.
    #[cfg(all(test, loom))]
    pub(super) fn install_epoch_first(&self, link: impl FnOnce() -> L) {
        self.changes.epoch.fetch_add(1, Ordering::Release);
        let link = link();
        self.lock().link = Some(link);
    }
}

/// The epoch of a handle that has not looked into its slot yet: no slot ever has it.
const NEVER: u64 = u64::MAX;

/// What a burst works with.
pub(super) struct Parts<'h, L> {
    pub(super) link: &'h mut L,
    pub(super) tally: &'h mut Tally,
    pub(super) counters: &'h QueueCounters,
}

/// A handle's half of a queue.
#[derive(Debug)]
pub(super) struct Handle<L> {
    pub(super) mailbox: Arc<Mailbox<L>>,
    pub(super) link: Option<L>,
    pub(super) epoch: u64,
    pub(super) tally: Tally,
    /// The number of changes up to which a burst need not open the mailbox: [`NEVER`] while there is a mirror.
    noticed: u64,
    mirror: Mirroring,
}

/// The mirror of a queue, as its handle knows it.
#[derive(Debug)]
struct Mirroring {
    tap: Option<MirrorTap>,
    /// The changes up to which it is known.
    seen: u64,
}

impl<L> Handle<L> {
    pub(super) fn new(mailbox: Arc<Mailbox<L>>) -> Self {
        let tally = mailbox.counters.tally();
        let mirror = Mirroring { tap: None, seen: NEVER };
        Self { mailbox, link: None, epoch: NEVER, tally, noticed: NEVER, mirror }
    }

    /// The link, for bursts that a mirror may copy. `None` if there is no link, if the queue has a mirror, or if either has
    /// changed: call [`Handle::notice`] then. So a queue without a mirror pays nothing for the check.
    #[inline(always)]
    pub(super) fn plain_link(&mut self) -> Option<&mut L> {
        // Acquire: pairs with the Release in `replace` and `set_mirror`
        if self.mailbox.changes.all.load(Ordering::Acquire) != self.noticed {
            return None;
        }
        self.link.as_mut()
    }

    /// Takes up a new link or mirror, and drops old ones. Returns whether there is a link.
    #[cold]
    pub(super) fn notice(&mut self) -> bool {
        if self.mailbox.changes.all.load(Ordering::Acquire) != self.mirror.seen {
            let contents = self.mailbox.lock();
            let seen = self.mailbox.changes.all.load(Ordering::Acquire);
            self.mirror = Mirroring { tap: contents.mirror.clone(), seen };
        }
        self.noticed = if self.mirror.tap.is_some() { NEVER } else { self.mirror.seen };
        self.link().is_some()
    }

    /// The mirror, as of the last call of [`Handle::notice`].
    pub(super) fn mirror(&self) -> Option<MirrorTap> {
        self.mirror.tap.clone()
    }

    /// The link, taking up a new one or letting go of one that is gone. The steady state is one comparison.
    #[inline(always)]
    pub(super) fn link(&mut self) -> Option<&mut L> {
        if self.mailbox.changed(self.epoch) {
            self.sync();
        }
        self.link.as_mut()
    }

    /// The link, like [`Handle::link`], together with the counters of a burst.
    #[inline(always)]
    pub(super) fn parts(&mut self) -> Option<Parts<'_, L>> {
        if self.mailbox.changed(self.epoch) {
            self.sync();
        }
        let link = self.link.as_mut()?;
        Some(Parts { link, tally: &mut self.tally, counters: &self.mailbox.counters })
    }

    #[cold]
    fn sync(&mut self) {
        let mut contents = self.mailbox.lock();
        self.epoch = self.mailbox.epoch();
        let old = std::mem::replace(&mut self.link, contents.link.take());
        drop(contents);
        drop(old); // may unmap: not under the lock
    }

    /// The peer broke the ring: nothing more is done with this link, and the control plane ends it.
    #[cold]
    pub(super) fn fail(&mut self, fault: PeerFault) {
        self.link = None;
        let Self { mailbox, epoch, .. } = self;
        mailbox.reports.tell(Report::Fault { owner: mailbox.owner, epoch: *epoch, fault });
    }

    /// The slave has overrun the ring, and the link goes on.
    #[cold]
    pub(super) fn report_overrun(&self) {
        let (mailbox, lost) = (&self.mailbox, self.tally.dropped_for(DropReason::Overrun));
        mailbox.reports.tell(Report::Overrun { owner: mailbox.owner, queue: mailbox.index, lost });
    }

    pub(super) fn ring_on_change(&mut self, doorbell: &Arc<EventFd>) {
        let mut contents = self.mailbox.lock();
        contents.doorbell = Some(Arc::clone(doorbell));
        // a change since the last look, which came before there was a doorbell to ring
        if self.epoch != NEVER && self.mailbox.changed(self.epoch) {
            let _ = doorbell.signal(); // a full counter is rung already
        }
    }
}

impl<L> Drop for Handle<L> {
    fn drop(&mut self) {
        let mut contents = self.mailbox.lock();
        contents.doorbell = None;
        // the ring's indices live in the side: the next handle goes on with it
        if !self.mailbox.changed(self.epoch) && contents.link.is_none() {
            contents.link = self.link.take();
        }
        drop(contents);
        self.mailbox.taken.store(false, Ordering::Release);
    }
}
