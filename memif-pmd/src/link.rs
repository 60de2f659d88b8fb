//! One link: its shared memory, mapped and checked, and the sides of its rings.
//!
//! A [`Link`] is immutable and lives for as long as anyone holds it: a data thread that still uses a ring keeps its
//! memory mapped, whatever became of the peer.
#![allow(unsafe_code)] // hands mapped memory to memif-ring, which trusts its length

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use memif_os::event::{EventError, EventFd};
use memif_os::region_file::{PeerRegion, RegionError, RegionFile, ShrinkSeal};
use memif_ring::copy::Isa;
use memif_ring::fault::PeerFault;
use memif_ring::handshake::{FdToken, Negotiated};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::layout::{Desc, MAX_LOG2_RING_SIZE, RING_FLAG_MASK_INT, RING_HEADER_SIZE};
use memif_ring::message::Direction;
use memif_ring::places::Buffers;
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, RingError, RingMemory};
use memif_ring::tail_side::{TailReceiver, TailSender};

use crate::config::{Config, Role};
use crate::error::{Disconnect, Error};
use crate::packet_memory::{PACKET_REGION, PacketMemory, Places, buffer_stride, is_sealed};
use crate::stats::{RegionDetails, RingDetails};

/// The receiving end of a ring.
#[derive(Debug)]
pub(crate) enum RxSide {
    /// M2S.
    Slave(HeadReceiver<Ring, Places>),
    /// S2M.
    Master(TailReceiver<Ring>),
}

/// The sending end of a ring.
#[derive(Debug)]
pub(crate) enum TxSide {
    /// S2M.
    Slave(HeadSender<Ring, Places>),
    /// M2S.
    Master(TailSender<Ring>),
}

/// One end of one ring, with what keeps it alive.
#[derive(Debug)]
pub(crate) struct QueueLink<S> {
    pub(crate) side: S,
    pub(crate) link: Arc<Link>,
    pub(crate) event: Arc<EventFd>,
}

pub(crate) type RxLink = QueueLink<RxSide>;
pub(crate) type TxLink = QueueLink<TxSide>;

/// A link that is ready: its ends by queue, to be handed to the data threads.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) link: Arc<Link>,
    pub(crate) rx: Vec<RxLink>,
    pub(crate) tx: Vec<TxLink>,
}

#[derive(Debug)]
enum Memory {
    Own { rings: RegionFile, packets: Option<PacketMemory> },
    Peer(Vec<PeerRegion>),
}

/// A ring of the link, for those who only look, and the eventfd that wakes its receiver.
#[derive(Debug)]
pub(crate) struct LinkRing {
    pub(crate) direction: Direction,
    pub(crate) index: u16,
    region: u16,
    buffer_size: u32,
    ring: Ring,
    pub(crate) event: Arc<EventFd>,
}

impl LinkRing {
    pub(crate) fn details(&self) -> RingDetails {
        RingDetails {
            size: self.ring.size().into(),
            head: self.ring.head(),
            tail: self.ring.tail(),
            flags: if self.ring.interrupts_masked() { RING_FLAG_MASK_INT } else { 0 },
            region: self.region,
            buffer_size: self.buffer_size,
        }
    }

    pub(crate) fn mask_interrupts(&self, masked: bool) {
        self.ring.mask_interrupts(masked);
    }
}

/// The shared memory of one link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) regions: RegionMap,
    pub(crate) isa: Isa,
    pub(crate) rings: Vec<LinkRing>,
    // last, so that nothing above outlives the mappings
    memory: Memory,
}

impl Link {
    pub(crate) fn ring(&self, direction: Direction, index: u16) -> Option<&LinkRing> {
        self.rings.iter().find(|ring| ring.direction == direction && ring.index == index)
    }

    /// The region that the peer took pages of, if it did.
    pub(crate) fn damaged_region(&self) -> Option<u16> {
        match &self.memory {
            Memory::Own { rings, .. } if rings.is_damaged() => Some(0),
            Memory::Own { packets, .. } => {
                packets.as_ref().is_some_and(PacketMemory::is_damaged).then_some(PACKET_REGION)
            }
            Memory::Peer(regions) => {
                (0..).zip(regions).find_map(|(index, region)| region.is_damaged().then_some(index))
            }
        }
    }

    pub(crate) fn region_details(&self) -> Vec<RegionDetails> {
        match &self.memory {
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
                [rings].into_iter().chain(packets.as_ref().map(PacketMemory::details)).collect()
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

/// Bytes that the buffers of so many rings take.
fn buffer_bytes(rings: u64, log2_ring_size: u8, capacity: u32) -> u64 {
    (rings * u64::from(buffer_stride(capacity))) << log2_ring_size
}

/// Whether the buffers that a slave wishes for can be reached with the 32 bits of a descriptor. That a master may take
/// fewer rings is no reason to wish for what cannot be.
pub(crate) fn check_wish(config: &Config) -> Result<(), Error> {
    let rings = u64::from(config.s2m_rings()) + u64::from(config.m2s_rings());
    let bytes = buffer_bytes(rings, config.log2_ring_size, config.buffer_size);
    let own = config.role == Role::Slave && config.packet_memory.is_none();
    if !own || u32::try_from(bytes).is_ok() { Ok(()) } else { Err(Error::TooMuchMemory { bytes }) }
}

/// A slave's memory while it is offered: nobody touches the rings before CONNECTED.
#[derive(Debug)]
pub(crate) struct SlaveMemory {
    file: RegionFile,
    packets: Option<PacketMemory>,
    capacity: u32,
    explicit_posting: bool,
    s2m: Vec<OwnRing>,
    m2s: Vec<OwnRing>,
}

#[derive(Debug)]
struct OwnRing {
    ring: Ring,
    event: Arc<EventFd>,
    places: Places,
}

impl SlaveMemory {
    /// Allocates rings, and buffers behind them in the same region or from packet memory.
    /// `alarm` is rung when the peer takes pages away.
    pub(crate) fn allocate(
        config: &Config,
        agreed: &Negotiated,
        alarm: &Arc<EventFd>,
    ) -> Result<Self, Disconnect> {
        let packets = config.packet_memory.clone();
        let rings = usize::from(agreed.s2m_rings()) + usize::from(agreed.m2s_rings());
        let (bytes, places) = match &packets {
            Some(memory) => (agreed.rings_size(), memory.take(rings, 1 << agreed.log2_ring_size())?),
            None => own_places(config, agreed, rings).map_err(failed)?,
        };
        let len = usize::try_from(bytes).map_err(|_| failed(Error::TooMuchMemory { bytes }))?;
        let capacity = packets.as_ref().map_or(config.buffer_size, PacketMemory::buffer_size);
        let name = format!("memif {}", config.name);
        let mut file = RegionFile::create(&name, len, config.huge_pages).map_err(failed)?;
        file.guard(Arc::clone(alarm)).map_err(failed)?;
        let mut places = places.into_iter();
        let mut make =
            |direction, count| make_rings(&file, agreed, (direction, count), capacity, &mut places);
        let s2m = make(Direction::S2M, agreed.s2m_rings()).map_err(failed)?;
        let m2s = make(Direction::M2S, agreed.m2s_rings()).map_err(failed)?;
        Ok(Self { file, packets, capacity, explicit_posting: config.explicit_posting, s2m, m2s })
    }

    /// The descriptor that a message of the handshake carries.
    pub(crate) fn fd(&self, token: FdToken) -> Option<BorrowedFd<'_>> {
        match token {
            FdToken::Region(0) => Some(self.file.as_fd()),
            FdToken::Region(PACKET_REGION) => self.packets.as_ref().map(AsFd::as_fd),
            FdToken::Region(_) => None,
            FdToken::Ring(direction, index) => {
                let rings = if direction == Direction::S2M { &self.s2m } else { &self.m2s };
                rings.get(usize::from(index)).map(|ring| ring.event.as_fd())
            }
        }
    }

    /// Sizes of the regions, in the order of their indices.
    pub(crate) fn region_sizes(&self) -> Vec<u64> {
        let packets = self.packets.as_ref().map(|memory| memory.len() as u64);
        [self.file.len() as u64].into_iter().chain(packets).collect()
    }

    /// The link is up: builds our ends and, unless that is left to the receiver, posts all receive buffers.
    pub(crate) fn into_attached(self) -> Attached {
        let mut regions = RegionMap::new();
        // SAFETY: the mapping has this length and lives in the link, next to the map.
        unsafe { regions.push(self.file.as_ptr(), self.file.len()) };
        if let Some(memory) = &self.packets {
            // SAFETY: as above.
            unsafe { regions.push(memory.as_ptr(), memory.len()) };
        }
        let looks = |direction, rings: &[OwnRing]| -> Vec<LinkRing> {
            let looks = (0..).zip(rings).map(|(index, own)| LinkRing {
                direction,
                index,
                region: 0,
                buffer_size: self.capacity,
                ring: own.ring.observer(),
                event: Arc::clone(&own.event),
            });
            looks.collect()
        };
        let mut rings = looks(Direction::S2M, &self.s2m);
        rings.extend(looks(Direction::M2S, &self.m2s));
        let memory = Memory::Own { rings: self.file, packets: self.packets };
        let link = Arc::new(Link { regions, isa: Isa::best(), rings, memory });
        let rx = self.m2s.into_iter().map(|own| {
            let mut side = HeadReceiver::new(own.ring, Buffers::new(own.places, self.capacity));
            if self.explicit_posting {
                side = side.with_explicit_posting();
            }
            side.flush();
            QueueLink { side: RxSide::Slave(side), link: Arc::clone(&link), event: own.event }
        });
        let rx = rx.collect();
        let tx = self.s2m.into_iter().map(|own| {
            let side = TxSide::Slave(HeadSender::new(own.ring, Buffers::new(own.places, self.capacity)));
            QueueLink { side, link: Arc::clone(&link), event: own.event }
        });
        let tx = tx.collect();
        Attached { link, rx, tx }
    }
}

fn failed(error: impl std::fmt::Display) -> Disconnect {
    Disconnect::Failed(error.to_string())
}

/// Bytes of a region with rings and buffers, and where the buffers are: behind all rings, S2M first.
fn own_places(config: &Config, agreed: &Negotiated, rings: usize) -> Result<(u64, Vec<Places>), Error> {
    let (log2_size, capacity) = (agreed.log2_ring_size(), config.buffer_size);
    let first = agreed.rings_size().next_multiple_of(4096);
    let bytes = first + buffer_bytes(rings as u64, log2_size, capacity);
    let too_much = || Error::TooMuchMemory { bytes };
    u32::try_from(bytes).map_err(|_| too_much())?;
    let first = u32::try_from(first).map_err(|_| too_much())?;
    let stride = buffer_stride(capacity);
    // every place is below `bytes`
    let places = (0..)
        .take(rings)
        .map(|ring: u32| Places::of_link(first + ring * (stride << log2_size), stride, 1 << log2_size));
    Ok((bytes, places.collect()))
}

fn make_rings(
    file: &RegionFile,
    agreed: &Negotiated,
    (direction, count): (Direction, u16),
    capacity: u32,
    places: &mut impl Iterator<Item = Places>,
) -> Result<Vec<OwnRing>, Error> {
    let make = |(index, places)| {
        let too_much = || Error::TooMuchMemory { bytes: agreed.rings_size() };
        let offset = agreed.ring_offset(direction, index).ok_or_else(too_much)? as usize;
        // SAFETY: the region begins with `agreed.rings_size()` bytes of rings, within which the offset lies with
        // a whole ring behind it; the file stays mapped for as long as the ring is used, see `into_attached`.
        let ring = unsafe { Ring::create(file.as_ptr().add(offset), agreed.log2_ring_size()) };
        let ring = ring.map_err(|_| Error::RingSize { got: 1 << agreed.log2_ring_size() })?;
        // tells the master how large buffers are; where they lie is said when they are used
        ring.set_desc(0, Desc { flags: 0, region: 0, length: capacity, offset: 0, metadata: 0 });
        let event = Arc::new(EventFd::new().map_err(Error::system("eventfd"))?);
        Ok(OwnRing { ring, event, places })
    };
    (0..count).zip(places).map(make).collect()
}

/// Most bytes of all regions of one link: 256 GiB, several times the packet memory of any peer in the field. Without a
/// limit a few hostile links could use up the address space of the process.
const MAX_LINK_SIZE: u64 = 1 << 38;

/// What a slave has offered so far. Nothing of it is touched before CONNECT.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    regions: Vec<(u64, OwnedFd)>,
    rings: Vec<OfferedRing>,
}

#[derive(Debug)]
struct OfferedRing {
    direction: Direction,
    index: u16,
    region: u16,
    offset: u32,
    log2_size: u8,
    fd: OwnedFd,
}

impl Offer {
    pub(crate) fn add_region(&mut self, size: u64, fd: OwnedFd) {
        self.regions.push((size, fd));
    }

    pub(crate) fn add_ring(
        &mut self,
        (direction, index): (Direction, u16),
        (region, offset, log2_size): (u16, u32, u8),
        fd: OwnedFd,
    ) {
        self.rings.push(OfferedRing { direction, index, region, offset, log2_size, fd });
    }

    /// Maps the regions, checks every ring's cookie, and builds our ends. `alarm` is rung when the peer takes pages away.
    pub(crate) fn attach(self, config: &Config, alarm: &Arc<EventFd>) -> Result<Attached, Disconnect> {
        let seal = if config.require_seals { ShrinkSeal::Require } else { ShrinkSeal::Prefer };
        let total = self.regions.iter().fold(0u64, |sum, (size, _)| sum.saturating_add(*size));
        if total > MAX_LINK_SIZE {
            let region = u16::try_from(self.regions.len()).unwrap_or(u16::MAX).saturating_sub(1);
            return Err(PeerFault::RegionSize { region, got: total, limit: MAX_LINK_SIZE }.into());
        }
        let mut regions = RegionMap::new();
        let mut mapped = Vec::with_capacity(self.regions.len());
        for (index, (size, fd)) in (0..).zip(self.regions) {
            let mut region = PeerRegion::map(fd, size, seal).map_err(|error| region_fault(index, &error))?;
            region.guard(Arc::clone(alarm)).map_err(|error| Disconnect::Failed(error.to_string()))?;
            // SAFETY: the mapping has this length and lives in the link, next to the map.
            unsafe { regions.push(region.as_ptr(), region.len()) };
            mapped.push(region);
        }
        let mut rings = Vec::with_capacity(self.rings.len());
        for offered in &self.rings {
            let fault = PeerFault::UnknownRegion { region: offered.region, known: 0 };
            let region = mapped.get(usize::from(offered.region)).ok_or(fault)?;
            rings.push(attach_ring(region, offered)?);
        }
        let mut looks = Vec::with_capacity(rings.len());
        let mut events = Vec::with_capacity(rings.len());
        for (offered, ring) in self.rings.into_iter().zip(&rings) {
            let (direction, index) = (offered.direction, offered.index);
            let event = Arc::new(take_event(offered.fd, direction, index)?);
            events.push((offered.direction, Arc::clone(&event)));
            looks.push(LinkRing {
                direction: offered.direction,
                index: offered.index,
                region: offered.region,
                buffer_size: ring.desc(0).length,
                ring: ring.observer(),
                event,
            });
        }
        let link = Arc::new(Link { regions, isa: Isa::best(), rings: looks, memory: Memory::Peer(mapped) });
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        for (ring, (direction, event)) in rings.into_iter().zip(events) {
            let link = Arc::clone(&link);
            match direction {
                Direction::S2M => {
                    let mut side = TailReceiver::new(ring);
                    if config.explicit_posting {
                        side = side.with_explicit_return();
                    }
                    rx.push(QueueLink { side: RxSide::Master(side), link, event });
                }
                Direction::M2S => {
                    tx.push(QueueLink { side: TxSide::Master(TailSender::new(ring)), link, event });
                }
            }
        }
        Ok(Attached { link, rx, tx })
    }
}

/// The eventfd of a slave's ring. Those that we wait on must fall silent when they are read.
fn take_event(fd: OwnedFd, direction: Direction, index: u16) -> Result<EventFd, Disconnect> {
    let event = EventFd::from_peer(fd).map_err(|error| match error {
        EventError::NotAnEventFd { .. } => PeerFault::NotAnEventFd { direction, index }.into(),
        error => Disconnect::Failed(error.to_string()),
    })?;
    let failed = |error| Disconnect::Failed(format!("examining an eventfd: {error}"));
    // no slave reads the eventfds of the rings that it sends on, so trying them disturbs none
    if direction == rx_direction(Role::Master) && !event.empties_at_once().map_err(failed)? {
        return Err(PeerFault::SemaphoreEventFd { direction, index }.into());
    }
    Ok(event)
}

fn attach_ring(region: &PeerRegion, offered: &OfferedRing) -> Result<Ring, PeerFault> {
    let place = region_place(region, offered)?;
    // SAFETY: `region_place` checked that the whole ring lies in the mapping, which lives as long as the link that
    // every user of the ring holds.
    unsafe { Ring::attach(place, offered.log2_size) }.map_err(|error| match error {
        RingError::Size { log2_size } => PeerFault::RingSize { log2_size, limit: MAX_LOG2_RING_SIZE },
        RingError::Misaligned => PeerFault::RingMisaligned { offset: offered.offset },
        RingError::Cookie { got } => PeerFault::BadCookie { got },
    })
}

/// The handshake has checked the ring against the announced size; this is the door to the memory, so look again.
fn region_place(region: &PeerRegion, offered: &OfferedRing) -> Result<NonNull<u8>, PeerFault> {
    let bytes = RING_HEADER_SIZE as u64 + (16u64 << offered.log2_size.min(MAX_LOG2_RING_SIZE));
    let end = u64::from(offered.offset) + bytes;
    let size = region.len() as u64;
    if end > size {
        return Err(PeerFault::RingOutsideRegion { region: offered.region, end, size });
    }
    // SAFETY: offset < end <= the length of the mapping.
    Ok(unsafe { region.as_ptr().add(offered.offset as usize) })
}

fn region_fault(region: u16, error: &RegionError) -> PeerFault {
    match error {
        RegionError::TooSmall { announced, actual, .. } => {
            PeerFault::RegionTooSmall { region, file: *actual, announced: *announced }
        }
        RegionError::Unsealed { .. } => PeerFault::RegionNotSealed { region },
        RegionError::NotSharedMemory { error } | RegionError::Map { error, .. } => {
            PeerFault::RegionUnmappable { region, errno: error.raw_os_error().unwrap_or(0) }
        }
        _ => PeerFault::RegionUnmappable { region, errno: 0 },
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
