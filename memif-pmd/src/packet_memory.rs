//! Packet memory that several slave interfaces share, so that packets go from one to another without being copied.
//!
//! Such a link has its rings alone in region 0, and the whole memory as region 1. Its buffers come from the memory's pool
//! when the link is built, and go back when the ends of its rings are dropped, by whomever. In between they move from
//! ring to ring, and which ring a buffer came from no longer matters: each is in one table of [`Places`], or in the pool.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memif_os::event::EventFd;
use memif_os::huge_pages::HugePages;
use memif_os::region_file::{PeerRegion, RegionFile, SealState, ShrinkSeal};
use memif_ring::places::Place;

use crate::config::{MAX_BUFFER_SIZE, MIN_BUFFER_SIZE, in_range};
use crate::control::Memif;
use crate::error::{Disconnect, Error};
use crate::stats::RegionDetails;

/// Index of the region that is packet memory; rings are in region 0.
pub(crate) const PACKET_REGION: u16 = 1;

/// Bytes from one packet buffer to the next: an odd number of 128-byte units.
///
/// With a power of two the first lines of all buffers fall on a few cache sets and evict one another; an odd multiple
/// spreads them over all. 128 rather than 64, as processors fetch lines in pairs: no two packets share a pair.
pub(crate) const fn buffer_stride(capacity: u32) -> u32 {
    let units = capacity.div_ceil(128);
    128 * (units | 1)
}

/// The places of one ring's buffers. Those of packet memory go back to its pool on drop, whichever they are by then.
#[derive(Debug)]
pub(crate) struct Places {
    places: Box<[Place]>,
    home: Option<PacketMemory>,
}

impl Places {
    /// Places in the link's own region: every `stride` bytes from `first` on.
    pub(crate) fn of_link(first: u32, stride: u32, slots: usize) -> Self {
        Self { places: Place::row(0, first, stride).take(slots).collect(), home: None }
    }

    /// Whether both are of one packet memory.
    #[inline(always)]
    pub(crate) fn shares_with(&self, other: &Self) -> bool {
        match (&self.home, &other.home) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one.0, &other.0) || one.0.file == other.0.file,
            _ => false,
        }
    }

    /// Whether the places are of packet memory.
    #[inline(always)]
    pub(crate) fn is_shared(&self) -> bool {
        self.home.is_some()
    }
}

impl AsRef<[Place]> for Places {
    #[inline(always)]
    fn as_ref(&self) -> &[Place] {
        &self.places
    }
}

impl AsMut<[Place]> for Places {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut [Place] {
        &mut self.places
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            // behind all others: a peer that has not noticed the end of its link may write to them for a while yet
            home.pool().extend(self.places.iter().map(Place::offset));
        }
    }
}

#[derive(Debug)]
enum Region {
    Own(RegionFile),
    Brought { region: PeerRegion, fd: OwnedFd },
}

#[derive(Debug)]
struct Inner {
    /// Offsets of the buffers that no link has, the longest free first.
    free: Mutex<VecDeque<u32>>,
    buffer_size: u32,
    buffers: usize,
    /// Device and inode of the file, where two memories may be of one.
    file: (u64, u64),
    /// The control plane that ends links when a peer takes pages away.
    alarm: Arc<EventFd>,
    region: Region,
}

/// Packet buffers that slave interfaces of one control plane share ([`crate::InterfaceBuilder::packet_memory`]), so that
/// packets can be forwarded between them without being copied ([`crate::RxQueue::forward_to`]). Clones are the same one.
///
/// **How many buffers.** Each link takes a buffer for each descriptor: the sum over its interfaces of
/// `(rx queues + tx queues) × ring size`. A thread that has not looked at its queues since a link went down still has
/// that link's buffers, so give every interface twice its share, or its reconnection may wait for the thread. Where
/// there are too few, the attempt fails with [`Disconnect::TooFewBuffers`], and is made again.
///
/// **Whom it is shared with.** Every peer maps all of the memory: the master of one interface can read and change packets
/// of the others at any time, and buffers of a link that is gone are used for others while its peer may still have them
/// mapped. Memory safety does not depend on any of it, the packets' content does: share packet memory only between
/// peers that may see each other's traffic.
///
/// ```no_run
/// use memif_pmd::{HugePages, Memif, PacketMemory, Workers, ctrl_c, forward_in_place};
///
/// let memif = Memif::start()?;
/// let memory = PacketMemory::new(&memif, 2 * 2 * 2 * 1024, 2048, HugePages::Prefer)?;
/// let left = memif.interface("/run/a.sock").packet_memory(&memory).open()?;
/// let right = memif.interface("/run/b.sock").packet_memory(&memory).open()?;
/// Workers::new()
///     .on_core(0, (left.rx(0)?, right.tx(0)?), forward_in_place)
///     .on_core(1, (right.rx(0)?, left.tx(0)?), forward_in_place)
///     .run_until(&ctrl_c()?)?;
/// # Ok::<(), memif_pmd::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PacketMemory(Arc<Inner>);

impl PacketMemory {
    /// Allocates `buffers` buffers of `buffer_size` bytes each (64 to 65535), zeroed, present, and sealed against
    /// shrinking. They lie an odd multiple of 128 bytes apart, which spreads them over the cache; all of them must fit
    /// into 4 GiB.
    ///
    /// # Errors
    /// A number out of range, [`Error::TooMuchMemory`], no memory, no huge pages where they are required.
    pub fn new(memif: &Memif, buffers: u32, buffer_size: u32, huge_pages: HugePages) -> Result<Self, Error> {
        in_range("buffer size", buffer_size.into(), MIN_BUFFER_SIZE.into(), MAX_BUFFER_SIZE.into())?;
        in_range("number of buffers", buffers.into(), 1, u32::MAX.into())?;
        let stride = buffer_stride(buffer_size);
        let bytes = u64::from(buffers) * u64::from(stride);
        let len = u32::try_from(bytes).map_err(|_| Error::TooMuchMemory { bytes })?;
        let mut file = RegionFile::create("memif packets", len as usize, huge_pages)?;
        file.guard(Arc::clone(memif.alarm()))?;
        let offsets = (0..buffers).map(|number| number * stride).collect();
        Self::over(memif, Region::Own(file), buffer_size, offsets)
    }

    /// Uses memory that the caller brings, once or for several control planes, each with buffers of its own in it: `size` bytes of shared memory (a memfd, or a file on tmpfs or hugetlbfs, open
    /// for reading and writing), in which `offsets` says where buffers of `buffer_size` bytes begin. The file is sealed
    /// against shrinking where it can be.
    ///
    /// # Errors
    /// A number out of range, a buffer that leaves the memory or lies over another ([`Error::BufferPlace`]), a file that
    /// is no shared memory or smaller than `size`.
    pub fn from_fd(
        memif: &Memif,
        fd: OwnedFd,
        size: u64,
        buffer_size: u32,
        offsets: &[u32],
    ) -> Result<Self, Error> {
        in_range("buffer size", buffer_size.into(), MIN_BUFFER_SIZE.into(), MAX_BUFFER_SIZE.into())?;
        in_range("number of buffers", offsets.len() as u64, 1, u32::MAX.into())?;
        check_places(offsets, buffer_size, size)?;
        // mapping takes the descriptor, and peers must be given one
        let mapped = fd.try_clone().map_err(Error::system("dup"))?;
        let mut region = PeerRegion::map(mapped, size, ShrinkSeal::Prefer)?;
        region.guard(Arc::clone(memif.alarm()))?;
        Self::over(memif, Region::Brought { region, fd }, buffer_size, offsets.iter().copied().collect())
    }

    fn over(memif: &Memif, region: Region, buffer_size: u32, free: VecDeque<u32>) -> Result<Self, Error> {
        let fd = match &region {
            Region::Own(file) => file.as_fd().try_clone_to_owned(),
            Region::Brought { fd, .. } => fd.try_clone(),
        };
        let file = fd.and_then(|fd| File::from(fd).metadata()).map_err(Error::system("fstat"))?;
        let file = (file.dev(), file.ino());
        let (buffers, alarm) = (free.len(), Arc::clone(memif.alarm()));
        Ok(Self(Arc::new(Inner { free: Mutex::new(free), buffer_size, buffers, file, alarm, region })))
    }

    /// Buffers, taken or not.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.0.buffers
    }

    /// Buffers that no link has.
    #[must_use]
    pub fn free_buffers(&self) -> usize {
        self.pool().len()
    }

    /// Bytes that each buffer holds.
    #[must_use]
    pub fn buffer_size(&self) -> u32 {
        self.0.buffer_size
    }

    /// Bytes of the memory, as peers map it.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "memory is never empty")]
    pub fn len(&self) -> usize {
        match &self.0.region {
            Region::Own(file) => file.len(),
            Region::Brought { region, .. } => region.len(),
        }
    }

    /// Where the memory is mapped. Valid for [`PacketMemory::len`] bytes for as long as a clone lives; peers may change
    /// them at any time.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        match &self.0.region {
            Region::Own(file) => file.as_ptr(),
            Region::Brought { region, .. } => region.as_ptr(),
        }
    }

    /// Whether a peer has taken pages away: links on it end, and no new ones come up. Make another one.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        match &self.0.region {
            Region::Own(file) => file.is_damaged(),
            Region::Brought { region, .. } => region.is_damaged(),
        }
    }

    /// Whether links of this control plane may use it.
    pub(crate) fn belongs_to(&self, memif: &Memif) -> bool {
        Arc::ptr_eq(&self.0.alarm, memif.alarm())
    }

    /// A table for each of `rings` rings of `slots` slots, all or none.
    pub(crate) fn take(&self, rings: usize, slots: usize) -> Result<Vec<Places>, Disconnect> {
        if self.is_damaged() {
            return Err(Disconnect::PacketMemoryDamaged);
        }
        let mut pool = self.pool();
        let (needed, free) = (rings * slots, pool.len());
        if free < needed {
            return Err(Disconnect::TooFewBuffers { needed, free, total: self.0.buffers });
        }
        let mut offsets = pool.drain(..needed).map(|offset| Place::new(PACKET_REGION, offset));
        let table = |_| Places { places: offsets.by_ref().take(slots).collect(), home: Some(self.clone()) };
        Ok((0..rings).map(table).collect())
    }

    pub(crate) fn details(&self) -> RegionDetails {
        let (page_size, sealed, fallback) = match &self.0.region {
            Region::Own(file) => (file.page_size(), true, file.fallback().map(ToString::to_string)),
            Region::Brought { region, .. } => (region.page_size(), is_sealed(region), None),
        };
        RegionDetails {
            index: PACKET_REGION,
            size: self.len() as u64,
            page_size: page_size as u64,
            sealed,
            fallback,
            address: self.as_ptr().addr().get(),
            fd: Some(self.as_fd().as_raw_fd()),
        }
    }

    fn pool(&self) -> MutexGuard<'_, VecDeque<u32>> {
        // nothing panics between two states of the pool
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for PacketMemory {
    /// The file that peers map.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0.region {
            Region::Own(file) => file.as_fd(),
            Region::Brought { fd, .. } => fd.as_fd(),
        }
    }
}

/// Whether the file is safe from being cut short.
pub(crate) fn is_sealed(region: &PeerRegion) -> bool {
    !matches!(region.shrink_seal(), SealState::Missing { .. })
}

/// Whether all buffers lie within `size` bytes, and apart.
fn check_places(offsets: &[u32], buffer_size: u32, size: u64) -> Result<(), Error> {
    let mut sorted = offsets.to_vec();
    sorted.sort_unstable();
    let ends = sorted.iter().skip(1).map(|next| u64::from(*next)).chain([size]);
    match sorted.iter().zip(ends).find(|(offset, end)| u64::from(**offset) + u64::from(buffer_size) > *end) {
        Some((offset, end)) => Err(Error::BufferPlace { offset: *offset, buffer_size, end }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_hold_a_buffer_and_are_odd_multiples_of_128() {
        for capacity in 64..=65535 {
            let stride = buffer_stride(capacity);
            assert!(stride >= capacity && stride < capacity + 256);
            assert_eq!(stride / 128 % 2, 1);
            assert_eq!(stride % 128, 0);
        }
        assert_eq!(buffer_stride(2048), 2176);
    }

    #[test]
    fn places_that_leave_the_memory_or_overlap_are_refused() {
        assert!(check_places(&[4096, 0, 2048], 2048, 6144).is_ok());
        for (offsets, size, culprit) in [
            (&[0, 4096][..], 6143, 4096),
            (&[100, 2147], 8192, 100),
            (&[7, 7], 8192, 7),
            (&[u32::MAX], 8192, u32::MAX),
        ] {
            let error = check_places(offsets, 2048, size).unwrap_err();
            assert!(matches!(error, Error::BufferPlace { offset, .. } if offset == culprit), "{error}");
        }
    }

    #[test]
    fn tables_come_whole_or_not_at_all_and_go_back() {
        let memif = Memif::new().unwrap();
        let memory = PacketMemory::new(&memif, 100, 2048, HugePages::Off).unwrap();
        let tables = memory.take(3, 32).unwrap();
        assert_eq!((tables.len(), memory.free_buffers()), (3, 4));
        let refused = memory.take(1, 8).unwrap_err();
        assert_eq!(refused, Disconnect::TooFewBuffers { needed: 8, free: 4, total: 100 });
        let mut all: Vec<_> = tables.iter().flat_map(AsRef::as_ref).map(Place::offset).collect();
        drop(tables);
        assert_eq!(memory.free_buffers(), 100);
        // those that were free all the time go out first
        let next = memory.take(1, 4).unwrap();
        assert!(next[0].as_ref().iter().all(|place| !all.contains(&place.offset())));
        all.extend(next[0].as_ref().iter().map(Place::offset));
        all.sort_unstable();
        assert_eq!(all, (0..100).map(|number| number * 2176).collect::<Vec<_>>());
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        let memif = Memif::new().unwrap();
        for (buffers, size) in [(0, 2048), (1, 63), (1, 65536)] {
            let error = PacketMemory::new(&memif, buffers, size, HugePages::Off).unwrap_err();
            assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
        }
        let error = PacketMemory::new(&memif, 1 << 21, 2048, HugePages::Off).unwrap_err();
        assert!(matches!(error, Error::TooMuchMemory { .. }), "{error}");
    }
}
