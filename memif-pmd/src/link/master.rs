//! A master's end of a link: collects what a slave offers, maps and checks it, and builds the ends of the rings.
#![allow(unsafe_code)] // hands mapped memory to memif-ring, which trusts its length

use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;

use memif_os::event::{EventError, EventFd};
use memif_os::region_file::{PeerRegion, RegionError, ShrinkSeal};
use memif_ring::fault::PeerFault;
use memif_ring::handshake::Places;
use memif_ring::layout::{Desc, LineSize, MAX_LOG2_RING_SIZE};
use memif_ring::message::Direction;
use memif_ring::region::RegionMap;
use memif_ring::shm::{Ring, RingError, RingMemory};
use memif_ring::tail_side::{TailReceiver, TailSender};

use super::{Attached, End, Link, LinkRing, Memory, QueueLink, rx_direction};
use crate::background::Owner;
use crate::config::{Config, Role};
use crate::error::Disconnect;
use crate::quota::Quota;
use crate::reaper::Reaped;

/// Pages of one link that are mapped before it comes up, in bytes; the rest is mapped as it is touched.
const MAX_POPULATED: u64 = 1 << 30;

/// A descriptor that a peer sent: closing it may block, so the reaper does.
pub(crate) type PeerFd = Reaped<OwnedFd>;

/// What a slave has offered so far. Nothing of it is touched before CONNECT.
#[derive(Debug, Default)]
pub(crate) struct Offer {
    quota: Quota,
    regions: Vec<(u64, PeerFd)>,
    /// Of all of them.
    bytes: u64,
    rings: Vec<OfferedRing>,
}

#[derive(Debug)]
struct OfferedRing {
    direction: Direction,
    index: u16,
    region: u16,
    offset: u32,
    log2_size: u8,
    fd: PeerFd,
}

impl Offer {
    /// Sets what may be offered. Until then that is nothing.
    pub(crate) const fn limit(&mut self, quota: Quota) {
        self.quota = quota;
    }

    /// Takes a region, within the quota of the interface: its descriptor is open until the region is mapped.
    pub(crate) fn add_region(&mut self, size: u64, fd: PeerFd) -> Result<(), PeerFault> {
        let Quota { regions, bytes } = self.quota;
        if self.regions.len() >= usize::from(regions) {
            return Err(PeerFault::TooManyRegions { got: u32::from(regions) + 1, limit: regions.into() });
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > bytes {
            let region = u16::try_from(self.regions.len()).unwrap_or(u16::MAX);
            return Err(PeerFault::RegionSize { region, got: self.bytes, limit: bytes });
        }
        self.regions.push((size, fd));
        Ok(())
    }

    pub(crate) fn add_ring(
        &mut self,
        (direction, index): (Direction, u16),
        (region, offset, log2_size): (u16, u32, u8),
        fd: PeerFd,
    ) {
        self.rings.push(OfferedRing { direction, index, region, offset, log2_size, fd });
    }

    /// Maps the regions, finds out the layout of the rings, checks every ring's cookie, and builds our ends. `alarm` is rung
    /// when the peer takes pages away.
    pub(crate) fn attach(
        self,
        config: &Config,
        places: Places,
        owner: Owner,
        alarm: &Arc<EventFd>,
    ) -> Result<Attached, Disconnect> {
        let seal = if config.require_seals { ShrinkSeal::Require } else { ShrinkSeal::Prefer };
        let mut regions = RegionMap::new();
        let mut mapped = Vec::with_capacity(self.regions.len());
        let mut budget = MAX_POPULATED;
        for (index, (size, fd)) in (0..).zip(self.regions) {
            let mut region =
                PeerRegion::map(&*fd, size, seal).map_err(|error| region_fault(index, &error))?;
            budget -= region.populate(&*fd, budget);
            region.guard(Arc::clone(alarm)).map_err(|error| Disconnect::Failed(error.to_string()))?;
            // SAFETY: the mapping has this length and lives in the link, next to the map.
            unsafe { regions.push(region.as_ptr(), region.len()) };
            mapped.push(region);
        }
        let line = places.layout(self.rings.iter().map(|offered| first_descs(&mapped, offered)))?;
        let attached = self.rings.iter().map(|offered| attach_ring(&mapped, offered, line));
        let rings = attached.collect::<Result<Vec<_>, _>>()?;
        let mut looks = Vec::with_capacity(rings.len());
        let mut events = Vec::with_capacity(rings.len());
        for (offered, ring) in self.rings.into_iter().zip(&rings) {
            let (direction, index) = (offered.direction, offered.index);
            let event = Arc::new(take_event(offered.fd, owner, direction, index)?);
            events.push((offered.direction, Arc::clone(&event)));
            looks.push(LinkRing {
                direction: offered.direction,
                index: offered.index,
                region: offered.region,
                buffer_size: ring.desc(0).length,
                ring: ring.observer(),
                event,
                packed: None,
            });
        }
        let link = Link::new(owner, regions, looks, line, Memory::Peer(mapped));
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        for (ring, (direction, event)) in rings.into_iter().zip(events) {
            match direction {
                Direction::S2M => {
                    let mut end = TailReceiver::new(ring);
                    if config.explicit_posting {
                        end = end.with_explicit_return();
                    }
                    rx.push(QueueLink::new(End::Master(end), &link, event));
                }
                Direction::M2S => {
                    tx.push(QueueLink::new(End::Master(TailSender::new(ring)), &link, event));
                }
            }
        }
        Ok(Attached { link, rx, tx })
    }
}

/// The eventfd of a slave's ring. Those that we wait on must fall silent when they are read.
fn take_event(fd: PeerFd, owner: Owner, direction: Direction, index: u16) -> Result<EventFd, Disconnect> {
    let event = EventFd::from_peer(fd.into_inner()).map_err(|(fd, error)| {
        drop(Reaped::descriptor(owner, fd));
        match error {
            EventError::NotAnEventFd { .. } => PeerFault::NotAnEventFd { direction, index }.into(),
            error => Disconnect::Failed(error.to_string()),
        }
    })?;
    let failed = |error| Disconnect::Failed(format!("examining an eventfd: {error}"));
    // no slave reads the eventfds of the rings that it sends on, so trying them disturbs none
    if direction == rx_direction(Role::Master) && !event.empties_at_once().map_err(failed)? {
        return Err(PeerFault::SemaphoreEventFd { direction, index }.into());
    }
    Ok(event)
}

/// What descriptor 0 of a ring is in each layout, for [`Places::layout`].
fn first_descs(mapped: &[PeerRegion], offered: &OfferedRing) -> Result<(u16, u32, [Desc; 2]), PeerFault> {
    let first = |line| attach_ring(mapped, offered, line).map(|ring| ring.desc(0));
    let [narrow, wide] = LineSize::ALL.map(first);
    Ok((offered.region, offered.offset, [narrow?, wide?]))
}

fn attach_ring(mapped: &[PeerRegion], offered: &OfferedRing, line: LineSize) -> Result<Ring, PeerFault> {
    let unknown = PeerFault::UnknownRegion { region: offered.region, known: 0 };
    let region = mapped.get(usize::from(offered.region)).ok_or(unknown)?;
    let place = region_place(region, offered, line)?;
    // SAFETY: `region_place` checked that the whole ring lies in the mapping, which lives as long as the link that
    // every user of the ring holds.
    unsafe { Ring::attach(place, offered.log2_size, line) }.map_err(|error| match error {
        RingError::Size { log2_size } => PeerFault::RingSize { log2_size, limit: MAX_LOG2_RING_SIZE },
        RingError::Misaligned => PeerFault::RingMisaligned { offset: offered.offset },
        RingError::Cookie { got } => PeerFault::BadCookie { got },
    })
}

/// The handshake has checked the ring against the announced size; this is the door to the memory, so look again.
fn region_place(
    region: &PeerRegion,
    offered: &OfferedRing,
    line: LineSize,
) -> Result<NonNull<u8>, PeerFault> {
    let bytes = line.ring_bytes(offered.log2_size.min(MAX_LOG2_RING_SIZE)) as u64;
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
