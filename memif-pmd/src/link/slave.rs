//! A slave's end of a link: allocates the memory of the rings and of the buffers, offers it, and builds the ends of the
//! rings once the master has agreed.
#![allow(unsafe_code)] // hands mapped memory to memif-ring, which trusts its length

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use memif_os::event::EventFd;
use memif_os::region_file::RegionFile;
use memif_os::socket::Credentials;
use memif_ring::buffers::Buffers;
use memif_ring::end::Receiver as _;
use memif_ring::fault::PeerFault;
use memif_ring::handshake::{FdToken, Negotiated};
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::message::Direction;
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, RingMemory};

use super::{Attached, End, Link, LinkRing, Memory, QueueLink};
use crate::background::Owner;
use crate::config::{Config, PacketLayout, PacketSource, Role};
use crate::error::{Disconnect, Error};
use crate::packet_memory::{BufferTable, PACKET_REGION, PacketMemory, buffer_stride};
use crate::reaper::Reaped;

/// Bytes that the buffers of so many rings take.
fn buffer_bytes(rings: u64, log2_ring_size: u8, capacity: u32) -> u64 {
    (rings * u64::from(buffer_stride(capacity))) << log2_ring_size
}

/// Whether the buffers that a slave wishes for can be reached with the 32 bits of a descriptor. That a master may take
/// fewer rings is no reason to wish for what cannot be.
pub(crate) fn check_wish(config: &Config) -> Result<(), Error> {
    let rings = u64::from(config.s2m_rings()) + u64::from(config.m2s_rings());
    let bytes = buffer_bytes(rings, config.log2_ring_size, config.buffer_size);
    let own = config.role == Role::Slave && matches!(config.packet_memory, PacketSource::Link);
    if !own || u32::try_from(bytes).is_ok() { Ok(()) } else { Err(Error::TooMuchMemory { bytes }) }
}

/// Memory that was allocated for an attempt that failed, and whom it was offered to.
///
/// A peer that fails again and again would otherwise cost an allocation each time. It is offered to the same process
/// alone: another one could read what the first one sends.
#[derive(Debug)]
pub(crate) struct Spare {
    file: Reaped<RegionFile>,
    agreed: Negotiated,
    offered_to: Credentials,
}

/// A slave's memory while it is offered: nobody touches the rings before CONNECTED.
#[derive(Debug)]
pub(crate) struct SlaveMemory {
    file: Reaped<RegionFile>,
    packets: Option<PacketMemory>,
    agreed: Negotiated,
    capacity: u32,
    explicit_posting: bool,
    s2m: Vec<OwnRing>,
    m2s: Vec<OwnRing>,
}

#[derive(Debug)]
struct OwnRing {
    ring: Ring,
    event: Arc<EventFd>,
    places: BufferTable,
    /// Packets that are sent are laid one behind the other.
    packed: Arc<AtomicBool>,
}

/// What an allocation depends on besides what was agreed with the peer.
pub(crate) struct Allocation<'a> {
    pub(crate) config: &'a Config,
    pub(crate) owner: Owner,
    /// Signalled when the peer takes pages away.
    pub(crate) alarm: &'a Arc<EventFd>,
    /// The peer that the memory will be offered to.
    pub(crate) peer: Credentials,
    /// Memory of an earlier attempt, used if it fits.
    pub(crate) spare: Option<Spare>,
    /// Where the buffers are, if not in the link's own memory.
    pub(crate) packets: Option<PacketMemory>,
}

impl SlaveMemory {
    /// Allocates rings, and buffers behind them in the same region or from packet memory.
    pub(crate) fn allocate(allocation: Allocation<'_>, agreed: &Negotiated) -> Result<Self, Disconnect> {
        let Allocation { config, owner, alarm, peer, spare, packets } = allocation;
        let rings = usize::from(agreed.s2m_rings()) + usize::from(agreed.m2s_rings());
        let (bytes, places) = match &packets {
            Some(memory) => (agreed.rings_size(), memory.take(rings, 1 << agreed.log2_ring_size())?),
            None => own_places(config, agreed, rings).map_err(failed)?,
        };
        let spare = spare.filter(|spare| spare.fits(agreed, peer)).map(|spare| spare.file);
        let file = match spare {
            Some(file) => file,
            None => Reaped::memory(owner, create_file(config, bytes, alarm)?),
        };
        let capacity = packets.as_ref().map_or(config.buffer_size, PacketMemory::buffer_size);
        let mut places = places.into_iter();
        let mut make =
            |direction, count| make_rings(&file, agreed, (direction, count), capacity, &mut places);
        let s2m = make(Direction::S2M, agreed.s2m_rings()).map_err(failed)?;
        let m2s = make(Direction::M2S, agreed.m2s_rings()).map_err(failed)?;
        let (agreed, explicit_posting) = (*agreed, config.explicit_posting);
        Ok(Self { file, packets, agreed, capacity, explicit_posting, s2m, m2s })
    }

    /// The attempt failed: keeps what the next one with the same peer can use. Packet memory goes back to its pool, and
    /// rings alone are quickly allocated.
    pub(crate) fn into_spare(self, offered_to: Credentials) -> Option<Spare> {
        let Self { file, packets, agreed, .. } = self;
        packets.is_none().then_some(Spare { file, agreed, offered_to })
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

    /// The master has mapped the memory: keeps it from punching holes into the link's own region, into which every call that
    /// touches a page would have to wait. Packet memory stays as it is: its next peers have to map it too.
    fn seal(&self) -> Result<(), Disconnect> {
        const EPERM: i32 = 1;
        const EINVAL: i32 = 22;
        match self.file.seal_future_write() {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(EPERM) => {
                Err(PeerFault::RegionSealed { region: 0 }.into())
            }
            // a kernel before 5.1
            Err(error) if error.raw_os_error() == Some(EINVAL) => Ok(()),
            Err(error) => Err(Disconnect::Failed(format!("sealing the region: {error}"))),
        }
    }

    /// The link is up: seals the region, builds our ends and, unless that is left to the receiver, posts all receive buffers.
    pub(crate) fn into_attached(self, owner: Owner) -> Result<Attached, Disconnect> {
        self.seal()?;
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
                packed: (direction == Direction::S2M).then(|| Arc::clone(&own.packed)),
            });
            looks.collect()
        };
        let mut rings = looks(Direction::S2M, &self.s2m);
        rings.extend(looks(Direction::M2S, &self.m2s));
        let memory =
            Memory::Own { rings: self.file, packets: self.packets.as_ref().map(PacketMemory::mapped) };
        let link = Link::new(owner, regions, rings, self.agreed.line(), memory);
        let rx = self.m2s.into_iter().map(|own| {
            // SAFETY: each of these places was handed out once: by `own_places`, a stride apart, or by the pool of the
            // packet memory, whose links all know it by one region index.
            let buffers = unsafe { Buffers::new(own.places, self.capacity) };
            let mut end = HeadReceiver::new(own.ring, buffers);
            if self.explicit_posting {
                end = end.with_explicit_posting();
            }
            end.flush();
            QueueLink::new(End::Slave(end), &link, own.event)
        });
        let rx = rx.collect();
        let tx = self.s2m.into_iter().map(|own| {
            let buffers = match own.places.area() {
                // SAFETY: `own_places` gave this area to one ring.
                Some(area) => unsafe { Buffers::in_area(own.places, area, self.capacity) },
                // SAFETY: as above.
                None => unsafe { Buffers::new(own.places, self.capacity) },
            };
            let end = End::Slave(HeadSender::new(own.ring, buffers));
            QueueLink { packed: Some(own.packed), ..QueueLink::new(end, &link, own.event) }
        });
        let tx = tx.collect();
        Ok(Attached { link, rx, tx })
    }
}

impl Spare {
    fn fits(&self, agreed: &Negotiated, peer: Credentials) -> bool {
        let same = self.agreed == *agreed && self.offered_to == peer;
        same && !self.file.is_damaged() && self.file.can_be_given_away()
    }
}

fn create_file(config: &Config, bytes: u64, alarm: &Arc<EventFd>) -> Result<RegionFile, Disconnect> {
    let len = usize::try_from(bytes).map_err(|_| failed(Error::TooMuchMemory { bytes }))?;
    let name = format!("memif {}", config.name);
    let mut file = RegionFile::create_sealable(&name, len, config.huge_pages).map_err(failed)?;
    file.guard(Arc::clone(alarm)).map_err(failed)?;
    Ok(file)
}

fn failed(error: impl std::fmt::Display) -> Disconnect {
    Disconnect::Failed(error.to_string())
}

/// Bytes of a region with rings and buffers, and where the buffers are: behind all rings, S2M first.
fn own_places(config: &Config, agreed: &Negotiated, rings: usize) -> Result<(u64, Vec<BufferTable>), Error> {
    let (log2_size, capacity) = (agreed.log2_ring_size(), config.buffer_size);
    let first = agreed.rings_size().next_multiple_of(4096);
    let bytes = first + buffer_bytes(rings as u64, log2_size, capacity);
    let too_much = || Error::TooMuchMemory { bytes };
    u32::try_from(bytes).map_err(|_| too_much())?;
    let first = u32::try_from(first).map_err(|_| too_much())?;
    let stride = buffer_stride(capacity);
    // every place is below `bytes`
    let places = (0..).take(rings).map(|ring: u32| {
        let table = BufferTable::of_link(first + ring * (stride << log2_size), stride, 1 << log2_size);
        match config.packet_layout {
            PacketLayout::Packed => table,
            PacketLayout::Fixed => table.without_area(),
        }
    });
    Ok((bytes, places.collect()))
}

fn make_rings(
    file: &RegionFile,
    agreed: &Negotiated,
    (direction, count): (Direction, u16),
    capacity: u32,
    places: &mut impl Iterator<Item = BufferTable>,
) -> Result<Vec<OwnRing>, Error> {
    let make = |(index, places): (u16, BufferTable)| {
        let too_much = || Error::TooMuchMemory { bytes: agreed.rings_size() };
        let offset = agreed.ring_offset(direction, index).ok_or_else(too_much)? as usize;
        // SAFETY: the region begins with `agreed.rings_size()` bytes of rings, within which the offset lies with
        // a whole ring behind it; the file stays mapped for as long as the ring is used, see `into_attached`.
        let ring = unsafe { Ring::create(file.as_ptr().add(offset), agreed.log2_ring_size(), agreed.line()) };
        let ring = ring.map_err(|_| Error::RingSize { got: 1 << agreed.log2_ring_size() })?;
        // tells the master how large buffers are; where they lie is said when they are used
        ring.set_desc(
            0,
            Desc { flags: DescFlags::empty(), region: 0, length: capacity, offset: 0, metadata: 0 },
        );
        let event = Arc::new(EventFd::new().map_err(Error::system("eventfd"))?);
        let packed = Arc::new(AtomicBool::new(places.area().is_some()));
        Ok(OwnRing { ring, event, places, packed })
    };
    (0..count).zip(places).map(make).collect()
}
