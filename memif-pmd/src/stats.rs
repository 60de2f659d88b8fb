//! What an interface and its queues are and have done, as values to read.

use std::sync::atomic::{AtomicU64, Ordering};

use memif_ring::burst::Tally;
use memif_ring::fault::{DropReason, FaultKind};
use memif_ring::message::{Mode, Name};

use crate::config::{Role, RxMode};
use crate::error::Disconnect;

const REASONS: usize = DropReason::ALL.len();
const KINDS: usize = FaultKind::ALL.len();

/// Counters of one queue: written by its data thread alone, once a burst, and read by anyone.
#[derive(Debug, Default)]
pub(crate) struct QueueCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    drops: [AtomicU64; REASONS],
    link_down: AtomicU64,
    ring_full: AtomicU64,
    interrupts: AtomicU64,
    wakeups: AtomicU64,
}

/// Adds without a locked instruction: each counter has one writer. Relaxed, as counters order nothing.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

impl QueueCounters {
    /// Shows what the side has counted. Relaxed, as counters order nothing.
    #[inline(always)]
    pub(crate) fn show(&self, tally: &Tally) {
        self.packets.store(tally.packets, Ordering::Relaxed);
        self.bytes.store(tally.bytes, Ordering::Relaxed);
        if self.dropped.load(Ordering::Relaxed) != tally.dropped {
            self.show_drops(tally);
        }
    }

    #[cold]
    fn show_drops(&self, tally: &Tally) {
        self.dropped.store(tally.dropped, Ordering::Relaxed);
        for (shown, count) in self.drops.iter().zip(tally.drops) {
            shown.store(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_link_down(&self, packets: usize) {
        add(&self.link_down, packets as u64);
    }

    pub(crate) fn add_ring_full(&self) {
        add(&self.ring_full, 1);
    }

    pub(crate) fn add_interrupt(&self) {
        add(&self.interrupts, 1);
    }

    pub(crate) fn add_wakeup(&self) {
        add(&self.wakeups, 1);
    }

    /// Where a new handle goes on counting.
    pub(crate) fn tally(&self) -> Tally {
        Tally {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            drops: std::array::from_fn(|i| self.drops[i].load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn read(&self) -> QueueStats {
        let Tally { packets, bytes, drops, .. } = self.tally();
        QueueStats {
            packets,
            bytes,
            drops,
            link_down: self.link_down.load(Ordering::Relaxed),
            ring_full: self.ring_full.load(Ordering::Relaxed),
            interrupts: self.interrupts.load(Ordering::Relaxed),
            wakeups: self.wakeups.load(Ordering::Relaxed),
        }
    }
}

/// Counters of one queue, over all links since the interface was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Packets received or sent.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    drops: [u64; REASONS],
    /// Packets that were to be sent while there was no link, and were dropped.
    pub link_down: u64,
    /// Bursts that did not fit into the ring whole; what did not fit stayed with the caller.
    pub ring_full: u64,
    /// Interrupts sent to the peer.
    pub interrupts: u64,
    /// Times that a sleeping receiver was woken.
    pub wakeups: u64,
}

impl QueueStats {
    /// Packets dropped, for any reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum::<u64>() + self.link_down
    }

    /// Packets dropped by reason, with the reason's name; those that never happened too.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = DropReason::ALL.iter().zip(self.drops).map(|(reason, count)| (reason.name(), count));
        reasons.chain([("link_down", self.link_down)])
    }

    /// Packets dropped for one reason.
    #[must_use]
    pub fn drops_for(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).copied().unwrap_or_default()
    }
}

/// A queue and the ring under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDetails {
    /// Index of the queue in its direction.
    pub index: u16,
    /// What it has counted.
    pub stats: QueueStats,
    /// How it learns of packets; of no meaning for a queue that sends.
    pub rx_mode: RxMode,
    /// The ring, while there is a link that has one for this queue.
    pub ring: Option<RingDetails>,
}

/// A ring as it stands in shared memory: a snapshot, of which the peer may have written any part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingDetails {
    /// Descriptors.
    pub size: u32,
    /// The slave's index.
    pub head: u16,
    /// The master's index.
    pub tail: u16,
    /// The ring's flags; bit 0: the receiver wants no interrupts.
    pub flags: u16,
    /// Index of the region that holds the ring.
    pub region: u16,
    /// Bytes of a buffer: what this side's slave chose, or what the peer's descriptors showed at connect.
    pub buffer_size: u32,
}

/// A region of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionDetails {
    /// Its index.
    pub index: u16,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of its pages.
    pub page_size: u64,
    /// Whether it is safe from being cut short; ours always are.
    pub sealed: bool,
    /// Why it is not on huge pages, where that was preferred.
    pub fallback: Option<String>,
    /// Where it is mapped in this process, for as long as the link is.
    pub address: usize,
    /// Our descriptor for it, for as long as the link is; `None` for a peer's, which is closed once it is mapped.
    pub fd: Option<std::os::fd::RawFd>,
}

/// An interface as it stands.
#[derive(Clone, Debug)]
pub struct Details {
    /// Our name for it.
    pub name: Name,
    /// Our program's name.
    pub app_name: Name,
    /// The peer's name for its end; empty without a link.
    pub peer_name: Name,
    /// The peer's program's name; empty without a link.
    pub peer_app_name: Name,
    /// The id that both ends share.
    pub id: u32,
    /// Master or slave.
    pub role: Role,
    /// What the packets are.
    pub mode: Mode,
    /// The socket's address as given.
    pub socket: String,
    /// Whether there is a link.
    pub link_up: bool,
    /// Links there have been.
    pub connects: u64,
    /// Why the last link ended or the last attempt failed.
    pub last_disconnect: Option<Disconnect>,
    pub(crate) faults: FaultCounts,
    /// The link's regions.
    pub regions: Vec<RegionDetails>,
    /// The queues that we receive on.
    pub rx: Vec<QueueDetails>,
    /// The queues that we send on.
    pub tx: Vec<QueueDetails>,
}

impl Details {
    /// How often peers did something wrong, by kind; only what happened.
    pub fn faults(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        self.faults.iter()
    }
}

/// How often peers did something wrong, by kind.
#[derive(Clone, Debug)]
pub(crate) struct FaultCounts([u64; KINDS]);

impl FaultCounts {
    pub(crate) const NONE: Self = Self([0; KINDS]);

    pub(crate) fn count(&mut self, kind: FaultKind) {
        if let Some(count) = self.0.get_mut(kind.index()) {
            *count += 1;
        }
    }

    /// Only what happened.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        FaultKind::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}
