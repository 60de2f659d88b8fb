//! One link: its shared memory, mapped and checked, and the ends of its rings.
//!
//! A [`Link`] is immutable and reference-counted: a data thread that still uses a ring keeps its memory mapped, whatever
//! became of the peer. [`slave`] allocates a link's memory, [`master`] maps what its slave offers.

pub(crate) mod master;
pub(crate) mod slave;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memif_os::event::EventFd;
use memif_os::region_file::{PeerRegion, RegionFile};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::isa::Isa;
use memif_ring::layout::{LineSize, RingFlags};
use memif_ring::message::Direction;
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, RingObserver};
use memif_ring::tail_side::{TailReceiver, TailSender};

use crate::background::Owner;
use crate::config::{PacketLayout, Role};
use crate::packet_memory::{BufferTable, Mapped, PACKET_REGION, is_sealed};
use crate::reaper::Reaped;
use crate::stats::{RegionDetails, RingDetails};

/// One end of a ring, of either role.
#[derive(Debug)]
pub(crate) enum End<S, M> {
    /// The slave's.
    Slave(S),
    /// The master's.
    Master(M),
}

/// The receiving end of a ring: of M2S or of S2M.
pub(crate) type RxEnd = End<HeadReceiver<Ring, BufferTable>, TailReceiver<Ring>>;
/// The sending end of a ring: of S2M or of M2S.
pub(crate) type TxEnd = End<HeadSender<Ring, BufferTable>, TailSender<Ring>>;

/// One end of one ring, with what keeps it alive.
#[derive(Debug)]
pub(crate) struct QueueLink<E> {
    pub(crate) end: E,
    pub(crate) link: Arc<Link>,
    pub(crate) event: Arc<EventFd>,
    /// Of a sender that began by laying packets one behind the other: see [`LinkRing`].
    packed: Option<Arc<AtomicBool>>,
}

pub(crate) type RxLink = QueueLink<RxEnd>;
pub(crate) type TxLink = QueueLink<TxEnd>;

impl<E> QueueLink<E> {
    fn new(end: E, link: &Arc<Link>, event: Arc<EventFd>) -> Self {
        Self { end, link: Arc::clone(link), event, packed: None }
    }
}

impl TxLink {
    /// For all who claim or exchange buffers, as that can change the layout: says so to the link's details. Relaxed, as nothing
    /// else depends on it.
    #[inline(always)]
    pub(crate) fn show_layout(&self) {
        if let (End::Slave(end), Some(packed)) = (&self.end, &self.packed)
            && !end.is_packed()
            && packed.load(Ordering::Relaxed)
        {
            packed.store(false, Ordering::Relaxed);
        }
    }
}

/// A link that is ready: the ends of its rings by queue, to be handed to the data threads.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) link: Arc<Link>,
    pub(crate) rx: Vec<RxLink>,
    pub(crate) tx: Vec<TxLink>,
}

#[derive(Debug)]
enum Memory {
    Own { rings: Reaped<RegionFile>, packets: Option<Arc<Mapped>> },
    Peer(Vec<PeerRegion>),
}

/// A ring of the link, for those who only look, and the eventfd that wakes its receiver.
#[derive(Debug)]
pub(crate) struct LinkRing {
    pub(crate) direction: Direction,
    pub(crate) index: u16,
    region: u16,
    buffer_size: u32,
    ring: RingObserver,
    pub(crate) event: Arc<EventFd>,
    /// Whether packets are laid one behind the other. Only of a ring on which a slave sends; written by the sender.
    packed: Option<Arc<AtomicBool>>,
}

impl LinkRing {
    pub(crate) fn details(&self) -> RingDetails {
        RingDetails {
            size: self.ring.size().into(),
            head: self.ring.head(),
            tail: self.ring.tail(),
            flags: if self.ring.interrupts_masked() { RingFlags::MASK_INT.bits() } else { 0 },
            region: self.region,
            buffer_size: self.buffer_size,
        }
    }

    /// Where packets are put, if it is this side that does so and a slave.
    pub(crate) fn packet_layout(&self) -> Option<PacketLayout> {
        let packed = self.packed.as_ref()?.load(Ordering::Relaxed);
        Some(if packed { PacketLayout::Packed } else { PacketLayout::Fixed })
    }

    pub(crate) fn mask_interrupts(&self, masked: bool) {
        self.ring.mask_interrupts(masked);
    }
}

/// The shared memory of one link. Whoever drops the last reference does not unmap it: the reaper does.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) regions: RegionMap,
    pub(crate) isa: Isa,
    /// The layout of all its rings.
    pub(crate) line: LineSize,
    // last, so that nothing above outlives the mappings
    parts: Reaped<Parts>,
}

#[derive(Debug)]
struct Parts {
    rings: Vec<LinkRing>,
    // last, as above
    memory: Memory,
}

impl Link {
    fn new(
        owner: Owner,
        regions: RegionMap,
        rings: Vec<LinkRing>,
        line: LineSize,
        memory: Memory,
    ) -> Arc<Self> {
        let parts = Reaped::memory(owner, Parts { rings, memory });
        Arc::new(Self { regions, isa: Isa::best(), line, parts })
    }

    pub(crate) fn rings(&self) -> &[LinkRing] {
        &self.parts.rings
    }

    pub(crate) fn ring(&self, direction: Direction, index: u16) -> Option<&LinkRing> {
        self.rings().iter().find(|ring| ring.direction == direction && ring.index == index)
    }

    /// The region that the peer took pages of, if it did.
    pub(crate) fn damaged_region(&self) -> Option<u16> {
        match &self.parts.memory {
            Memory::Own { rings, .. } if rings.is_damaged() => Some(0),
            Memory::Own { packets, .. } => {
                packets.as_ref().is_some_and(|packets| packets.is_damaged()).then_some(PACKET_REGION)
            }
            Memory::Peer(regions) => {
                (0..).zip(regions).find_map(|(index, region)| region.is_damaged().then_some(index))
            }
        }
    }

    /// The packet memory of a slave's link, if it has any.
    pub(crate) fn packet_memory(&self) -> Option<&Mapped> {
        match &self.parts.memory {
            Memory::Own { packets, .. } => packets.as_deref(),
            Memory::Peer(_) => None,
        }
    }

    /// The first region that its peer can cut short, if there is one.
    pub(crate) fn unsealed_region(&self) -> Option<u16> {
        match &self.parts.memory {
            Memory::Own { packets, .. } => {
                packets.as_ref().is_some_and(|packets| !packets.is_sealed()).then_some(PACKET_REGION)
            }
            Memory::Peer(regions) => {
                (0..).zip(regions).find_map(|(index, region)| (!is_sealed(region)).then_some(index))
            }
        }
    }

    pub(crate) fn region_details(&self) -> Vec<RegionDetails> {
        match &self.parts.memory {
            Memory::Own { rings, packets } => {
                let rings = RegionDetails {
                    index: 0,
                    size: rings.len() as u64,
                    page_size: rings.page_size() as u64,
                    sealed: true,
                    fallback: rings.fallback().map(ToString::to_string),
                    address: rings.as_ptr().addr().get(),
                    fd: Some(rings.as_fd().as_raw_fd()),
                };
                [rings].into_iter().chain(packets.as_deref().map(RegionDetails::of_packets)).collect()
            }
            Memory::Peer(regions) => {
                (0..).zip(regions).map(|(index, region)| peer_details(index, region)).collect()
            }
        }
    }
}

fn peer_details(index: u16, region: &PeerRegion) -> RegionDetails {
    RegionDetails {
        index,
        size: region.len() as u64,
        page_size: region.page_size() as u64,
        sealed: is_sealed(region),
        fallback: None,
        address: region.as_ptr().addr().get(),
        fd: None,
    }
}

/// Which way the packets of our receive queues go.
pub(crate) const fn rx_direction(role: Role) -> Direction {
    match role {
        Role::Master => Direction::S2M,
        Role::Slave => Direction::M2S,
    }
}

/// Which way the packets of our transmit queues go.
pub(crate) const fn tx_direction(role: Role) -> Direction {
    match role {
        Role::Master => Direction::M2S,
        Role::Slave => Direction::S2M,
    }
}
