//! State and counters of interfaces, queues, rings and regions, as values.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use memif_ring::burst::Tally;
use memif_ring::fault::{DropReason, FaultKind};
use memif_ring::layout::LineSize;
use memif_ring::message::{Mode, Name};

use crate::config::{PacketLayout, Role, RxMode};
use crate::error::Disconnect;
use crate::packet_memory::{Mapped, PACKET_REGION};

const REASONS: usize = DropReason::ALL.len();
const KINDS: usize = FaultKind::ALL.len();

/// Counters of one queue: written by its data thread alone, once a burst, and read by any thread.
#[derive(Debug, Default)]
pub(crate) struct QueueCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    drops: [AtomicU64; REASONS],
    link_down: AtomicU64,
    ring_full: AtomicU64,
    refused_at_once: AtomicU64,
    interrupts: AtomicU64,
    interrupts_deferred: AtomicU64,
    wakeups: AtomicU64,
}

/// Adds without a locked instruction: each counter has one writer. Relaxed, as counters order nothing.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
}

impl QueueCounters {
    /// Publishes what the ring end has counted. Relaxed, as counters order nothing.
    #[inline(always)]
    pub(crate) fn show(&self, tally: &Tally) {
        self.packets.store(tally.packets, Ordering::Relaxed);
        self.bytes.store(tally.bytes, Ordering::Relaxed);
        if self.dropped.load(Ordering::Relaxed) != tally.dropped() {
            self.show_drops(tally);
        }
    }

    #[cold]
    fn show_drops(&self, tally: &Tally) {
        self.dropped.store(tally.dropped(), Ordering::Relaxed);
        for (shown, reason) in self.drops.iter().zip(DropReason::ALL) {
            shown.store(tally.dropped_for(*reason), Ordering::Relaxed);
        }
    }

    pub(crate) fn add_link_down(&self, packets: usize) {
        add(&self.link_down, packets as u64);
    }

    pub(crate) fn add_ring_full(&self) {
        add(&self.ring_full, 1);
    }

    /// A burst was cut short: this many packets of it found no room.
    #[cold]
    pub(crate) fn add_refused(&self, packets: usize) {
        self.add_ring_full();
        if self.refused_at_once.load(Ordering::Relaxed) < packets as u64 {
            self.refused_at_once.store(packets as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn add_interrupt(&self) {
        add(&self.interrupts, 1);
    }

    pub(crate) fn add_interrupt_deferred(&self) {
        add(&self.interrupts_deferred, 1);
    }

    pub(crate) fn add_wakeup(&self) {
        add(&self.wakeups, 1);
    }

    /// The counts so far, from which a new handle continues.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        tally.packets = self.packets.load(Ordering::Relaxed);
        tally.bytes = self.bytes.load(Ordering::Relaxed);
        for (shown, reason) in self.drops.iter().zip(DropReason::ALL) {
            tally.add_drops(*reason, shown.load(Ordering::Relaxed));
        }
        tally
    }

    pub(crate) fn read(&self) -> QueueStats {
        QueueStats {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            drops: std::array::from_fn(|i| self.drops[i].load(Ordering::Relaxed)),
            link_down: self.link_down.load(Ordering::Relaxed),
            ring_full: self.ring_full.load(Ordering::Relaxed),
            refused_at_once: self.refused_at_once.load(Ordering::Relaxed),
            interrupts: self.interrupts.load(Ordering::Relaxed),
            interrupts_deferred: self.interrupts_deferred.load(Ordering::Relaxed),
            wakeups: self.wakeups.load(Ordering::Relaxed),
        }
    }
}

/// Counters of one queue, over all links since the interface was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Packets received or sent.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    drops: [u64; REASONS],
    /// Packets dropped because they were sent while there was no link.
    pub link_down: u64,
    /// Bursts that did not fit into the ring as a whole; the packets that did not fit remained with the caller.
    pub ring_full: u64,
    /// Largest number of packets that found no room in the ring in one call of [`TxQueue::send`](crate::TxQueue::send). It
    /// shows how much larger the ring would have to be.
    pub refused_at_once: u64,
    /// Times that the peer was notified through its eventfd.
    pub interrupts: u64,
    /// Notifications that were not sent at once, because the peer makes them slow: it watches its eventfd very many times.
    pub interrupts_deferred: u64,
    /// Times that a sleeping receiver was woken.
    pub wakeups: u64,
}

impl QueueStats {
    /// Packets dropped, for any reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum::<u64>() + self.link_down
    }

    /// Packets dropped, by name of the reason; including reasons with a count of 0.
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

/// State of a queue and of its ring.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueDetails {
    /// Index of the queue in its direction.
    pub index: u16,
    /// Its counters.
    pub stats: QueueStats,
    /// How a receive queue learns of packets; meaningless for a transmit queue.
    pub rx_mode: RxMode,
    /// Where a slave's transmit queue puts packets; `None` for all other queues, and without a link. A queue whose
    /// buffers a program claims or exchanges ([`raw`](crate::raw)) changes to [`PacketLayout::Fixed`] for the rest of its link.
    pub packet_layout: Option<PacketLayout>,
    /// Its ring; `None` without a link, or if the link has fewer rings than the interface has queues.
    pub ring: Option<RingDetails>,
}

/// Snapshot of a ring in shared memory. The peer can write any part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingDetails {
    /// Number of descriptors.
    pub size: u32,
    /// Head: the slave's index.
    pub head: u16,
    /// Tail: the master's index.
    pub tail: u16,
    /// The ring's flags; bit 0 is MASK_INT: the sender need not notify the receiver.
    pub flags: u16,
    /// Index of the region that holds the ring.
    pub region: u16,
    /// Bytes of a buffer: as configured on the slave; on the master, the length in the first descriptor at connect.
    pub buffer_size: u32,
}

/// A shared memory region of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionDetails {
    /// Its index.
    pub index: u16,
    /// Its size in bytes.
    pub size: u64,
    /// Size of its pages in bytes.
    pub page_size: u64,
    /// Whether its file cannot shrink. Always true of regions that this process allocated.
    pub sealed: bool,
    /// Why it is not on huge pages, where they were preferred.
    pub fallback: Option<String>,
    /// Address at which this process maps it. Valid until the link ends.
    pub address: usize,
    /// Number of this process's descriptor of its file, for display and for C programs. Valid until the link ends; another
    /// file may have the number afterwards. A slave's region 0 can be mapped for reading
    /// only once the link is up. `None` for a region of the peer: its descriptor is closed after mapping.
    pub fd: Option<RawFd>,
}

impl RegionDetails {
    pub(crate) fn of_packets(memory: &Mapped) -> Self {
        Self {
            index: PACKET_REGION,
            size: memory.len() as u64,
            page_size: memory.page_size() as u64,
            sealed: memory.is_sealed(),
            fallback: memory.fallback(),
            address: memory.as_ptr().addr().get(),
            fd: Some(memory.as_fd().as_raw_fd()),
        }
    }
}

/// State of an interface: see [`Interface::details`](crate::Interface::details).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Details {
    /// Name of the interface.
    pub name: Name,
    /// Name of this program.
    pub app_name: Name,
    /// The peer's name of its interface; empty without a link.
    pub peer_name: Name,
    /// The peer's name of its program; empty without a link.
    pub peer_app_name: Name,
    /// The id, the same on both ends.
    pub id: u32,
    /// Master or slave.
    pub role: Role,
    /// What the packets are.
    pub mode: Mode,
    /// The socket's address.
    pub socket: String,
    /// Whether there is a link.
    pub link_up: bool,
    /// Number of links so far.
    pub connects: u64,
    /// Why the last link ended, or the last attempt failed.
    pub last_disconnect: Option<Disconnect>,
    pub(crate) faults: FaultCounts,
    /// The cache lines that the link's rings are laid out for; `None` without a link.
    pub line_size: Option<LineSize>,
    /// The link's regions.
    pub regions: Vec<RegionDetails>,
    /// The receive queues.
    pub rx: Vec<QueueDetails>,
    /// The transmit queues.
    pub tx: Vec<QueueDetails>,
}

impl Details {
    /// Number of faults of peers by kind, without kinds that did not occur.
    pub fn faults(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        self.faults.iter()
    }
}

/// Counters of the control plane: see [`Memif::stats`](crate::Memif::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlStats {
    /// Longest time for which the control plane's lock was held without a break. Peers cannot prolong it.
    pub longest_lock_hold: std::time::Duration,
    /// Number of descriptors and regions of peers that wait to be closed or unmapped, over all control planes of the
    /// process.
    pub reaper_queued: usize,
    /// Number of threads that are closing or unmapping something now.
    pub reaper_busy: usize,
    /// Number of those threads that have been at one descriptor or region for more than a second, because its owner delays
    /// the close. An interface occupies at most two of them; while too many of its descriptors and regions wait behind
    /// them, it gets no new link.
    pub reaper_hung: usize,
    /// Number of connections that were refused, and of times that accepting was put off, because one peer had reached a limit
    /// that protects the others.
    pub refused_by_quota: u64,
}

/// Number of faults of peers, by kind.
#[derive(Clone, Debug)]
pub(crate) struct FaultCounts([u64; KINDS]);

impl Default for FaultCounts {
    fn default() -> Self {
        Self::NONE
    }
}

impl FaultCounts {
    pub(crate) const NONE: Self = Self([0; KINDS]);

    pub(crate) fn count(&mut self, kind: FaultKind) {
        if let Some(count) = self.0.get_mut(kind.index()) {
            *count += 1;
        }
    }

    /// Without kinds that did not occur.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (FaultKind, u64)> {
        FaultKind::ALL.iter().copied().zip(self.0).filter(|(_, count)| *count > 0)
    }
}
