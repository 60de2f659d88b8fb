//! Packet memory that several slave interfaces share, so that packets go from one to another without being copied.
//!
//! Region 0 of such a link holds its rings, region 1 is the packet memory. The link takes its buffers from the pool when it
//! is built; they return when its ring ends are dropped. In between, forwarding moves buffers from one ring's
//! [`BufferTable`] to another's: each buffer is in exactly one table, or in the pool.

mod claims;
mod mapped;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};

use memif_os::event::EventFd;
use memif_os::huge_pages::HugePages;
use memif_os::region_file::{PeerRegion, RegionFile, ShrinkSeal};
use memif_ring::buffers::BufferAddr;
use memif_ring::packing::Area;

use claims::Claim;
use mapped::Region;
pub(crate) use mapped::{Mapped, is_sealed};

use crate::error::{Disconnect, Error};
use crate::limits::{MAX_BUFFER_SIZE, MIN_BUFFER_SIZE, in_range};

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

/// Addresses of one ring's buffers. Buffers of packet memory return to its pool on drop.
#[derive(Debug)]
pub(crate) struct BufferTable {
    buffers: Box<[BufferAddr]>,
    /// The packet memory that the buffers belong to; `None` if they are in the link's own region.
    memory: Option<PacketMemory>,
    /// The bytes of all buffers, if they are in the link's own region and packets may lie anywhere in them.
    area: Option<Area>,
}

impl BufferTable {
    /// Buffers in the link's own region: one every `stride` bytes from `first` on.
    pub(crate) fn of_link(first: u32, stride: u32, slots: usize) -> Self {
        let buffers: Box<_> = BufferAddr::row(0, first, stride).take(slots).collect();
        let bytes = u32::try_from(slots).ok().and_then(|slots| slots.checked_mul(stride));
        let area = bytes.and_then(|bytes| Area::new(0, first, bytes));
        Self { buffers, memory: None, area }
    }

    /// The same buffers, each for one packet at a time.
    pub(crate) fn without_area(mut self) -> Self {
        self.area = None;
        self
    }

    /// The bytes of all buffers, if they are this table's alone and packets may lie anywhere in them.
    pub(crate) const fn area(&self) -> Option<Area> {
        self.area
    }

    /// Whether both tables have their buffers in one packet memory: a buffer of one is a buffer of the other, and the peers
    /// of both see it at the same place.
    #[inline(always)]
    pub(crate) fn shares_with(&self, other: &Self) -> bool {
        match (&self.memory, &other.memory) {
            (Some(one), Some(other)) => {
                Arc::ptr_eq(&one.0, &other.0) || one.0.mapped.layout == other.0.mapped.layout
            }
            _ => false,
        }
    }

    /// Bytes of the packet memory that the buffers are in; `None` if they are in the link's own region.
    pub(crate) fn memory_len(&self) -> Option<usize> {
        self.memory.as_ref().map(PacketMemory::len)
    }

    /// Whether the buffers are in packet memory.
    #[inline(always)]
    pub(crate) fn is_shared(&self) -> bool {
        self.memory.is_some()
    }
}

impl AsRef<[BufferAddr]> for BufferTable {
    #[inline(always)]
    fn as_ref(&self) -> &[BufferAddr] {
        &self.buffers
    }
}

impl AsMut<[BufferAddr]> for BufferTable {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut [BufferAddr] {
        &mut self.buffers
    }
}

impl Drop for BufferTable {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            // last in the pool: a peer that has not noticed the end of its link may still write to them
            memory.pool().extend(self.buffers.iter().map(BufferAddr::offset));
        }
    }
}

#[derive(Debug)]
struct Inner {
    /// Offsets of the buffers that no link uses, in the order of their return.
    free: Mutex<VecDeque<u32>>,
    buffers: usize,
    /// `None` where the caller vouches for the buffers.
    claim: Option<Claim>,
    mapped: Arc<Mapped>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let free = self.free.get_mut().unwrap_or_else(PoisonError::into_inner);
        // all buffers are back: each table of them keeps the memory
        if let Some(claim) = self.claim.take() {
            claim.give_back(free.iter().map(|offset| (*offset).into()));
        }
    }
}

/// Packet buffers that several slave interfaces of one control plane share, so that packets can be forwarded between them
/// without being copied ([`crate::RxQueue::forward_to`]). Made by [`crate::Memif::packet_memory`], given to interfaces by
/// [`crate::InterfaceBuilder::packet_memory`]. Clones are handles on the same memory.
///
/// **How many buffers.** Each link takes one buffer for each descriptor: the sum over its interfaces of
/// `(rx queues + tx queues) × ring size`. A thread that has not used its queues since a link went down still holds
/// that link's buffers, so allow twice this number, or reconnection has to wait for that thread. When
/// there are too few, the attempt fails with [`Disconnect::TooFewBuffers`] and is repeated.
///
/// **Who can see it.** Every peer maps the whole memory: the master of one interface can read and change packets
/// of the others at any time, and buffers of a link that has ended are reused while its peer may still have them
/// mapped. Memory safety does not depend on the peers; the content of packets does. Share packet memory only between
/// peers that may see each other's traffic.
///
/// ```no_run
/// use memif_pmd::{HugePages, Memif, Workers, ctrl_c, forward_in_place};
///
/// let memif = Memif::start()?;
/// let memory = memif.packet_memory().buffers(8192).huge_pages(HugePages::Prefer).allocate()?;
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

/// Describes packet memory: [`PacketMemoryBuilder::allocate`] makes it, [`PacketMemoryBuilder::over`] uses memory that
/// exists.
///
/// Defaults: 8192 buffers (two interfaces with default queues and rings, twice), 2048 bytes each, huge pages preferred.
#[derive(Clone, Debug)]
#[must_use = "nothing is allocated before `allocate` or `over`"]
pub struct PacketMemoryBuilder {
    /// Signalled when a peer takes pages away.
    alarm: Arc<EventFd>,
    buffers: u32,
    buffer_size: u32,
    huge_pages: HugePages,
}

/// Who sees to it that each byte is in one buffer at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Places {
    /// This process claims the buffers' places, and refuses them to other packet memory.
    Claimed,
    /// The caller does.
    Vouched,
}

impl PacketMemoryBuilder {
    pub(crate) fn new(alarm: &Arc<EventFd>) -> Self {
        Self { alarm: Arc::clone(alarm), buffers: 8192, buffer_size: 2048, huge_pages: HugePages::Prefer }
    }

    /// Number of buffers to allocate, at least 1; [`PacketMemory`] says how many links need.
    pub fn buffers(mut self, count: u32) -> Self {
        self.buffers = count;
        self
    }

    /// Bytes of each buffer, 64 to 65535.
    pub fn buffer_size(mut self, bytes: u32) -> Self {
        self.buffer_size = bytes;
        self
    }

    /// Whether to allocate huge pages.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Allocates the memory: zeroed, populated, and sealed against shrinking. Buffers lie an odd multiple of 128 bytes
    /// apart, which spreads them over the cache; all of them must fit into 4 GiB.
    ///
    /// # Errors
    /// - [`Error::OutOfRange`]: number or size of the buffers.
    /// - [`Error::TooMuchMemory`]: more than 4 GiB.
    /// - [`Error::OutOfMemory`], [`Error::NoHugePages`]: not enough memory or huge pages.
    /// - [`Error::OutOfDescriptors`], [`Error::TooManyRegions`]: a limit of the process.
    pub fn allocate(self) -> Result<PacketMemory, Error> {
        self.check(self.buffers.into())?;
        let stride = buffer_stride(self.buffer_size);
        let bytes = u64::from(self.buffers) * u64::from(stride);
        let len = u32::try_from(bytes).map_err(|_| Error::TooMuchMemory { bytes })?;
        let mut file =
            RegionFile::create("memif packets", len as usize, self.huge_pages).map_err(Error::region)?;
        file.guard(Arc::clone(&self.alarm)).map_err(Error::guard)?;
        let offsets = (0..self.buffers).map(|number| number * stride).collect();
        self.finish(Region::Own(file), offsets, Places::Claimed)
    }

    /// Uses `size` bytes of shared memory that the caller provides (a memfd, or a file on tmpfs or hugetlbfs, open for
    /// reading and writing). A buffer begins at each of `offsets`, in bytes; their number replaces
    /// [`PacketMemoryBuilder::buffers`]. The file is sealed against shrinking if it allows seals.
    ///
    /// One file can be used by several control planes, each with its own buffers in it. A buffer is free for other memory
    /// when its memory is dropped, the interfaces with it, and all links and queues that have had buffers of it: a thread
    /// that has not used its queues since a link went down still holds that link's buffers, and the control plane may hold
    /// them for a moment more.
    ///
    /// # Errors
    /// - [`Error::OutOfRange`]: number or size of the buffers.
    /// - [`Error::BufferOffset`]: a buffer ends behind `size`, or overlaps another one.
    /// - [`Error::BufferInUse`]: a buffer overlaps one of other packet memory of this process over the same file.
    /// - [`Error::UnusableMemory`]: the file is not shared memory, or smaller than `size`.
    /// - [`Error::OutOfDescriptors`], [`Error::TooManyRegions`]: a limit of the process.
    pub fn over(self, fd: OwnedFd, size: u64, offsets: &[u32]) -> Result<PacketMemory, Error> {
        self.over_file(fd, size, offsets, Places::Claimed)
    }

    /// [`PacketMemoryBuilder::over`], or what [`PacketMemoryBuilder::over_placed`] asks its caller to vouch for.
    pub(crate) fn over_file(
        self,
        fd: OwnedFd,
        size: u64,
        offsets: &[u32],
        places: Places,
    ) -> Result<PacketMemory, Error> {
        self.check(offsets.len() as u64)?;
        check_buffers(offsets, self.buffer_size, size)?;
        let mut region = PeerRegion::map(&fd, size, ShrinkSeal::Prefer).map_err(Error::region)?;
        let _ = region.populate(&fd, u64::MAX); // what is not mapped now is when it is touched
        region.guard(Arc::clone(&self.alarm)).map_err(Error::guard)?;
        self.finish(Region::Provided { region, fd }, offsets.iter().copied().collect(), places)
    }

    fn check(&self, buffers: u64) -> Result<(), Error> {
        in_range("buffer size", self.buffer_size.into(), MIN_BUFFER_SIZE.into(), MAX_BUFFER_SIZE.into())?;
        in_range("number of buffers", buffers, 1, u32::MAX.into())
    }

    fn finish(self, region: Region, free: VecDeque<u32>, places: Places) -> Result<PacketMemory, Error> {
        let buffer_size = self.buffer_size;
        let mapped = Mapped::new(region, buffer_size, self.alarm)?;
        let ranges =
            free.iter().map(|offset| u64::from(*offset)..u64::from(*offset) + u64::from(buffer_size));
        let claim = match places {
            Places::Claimed => Some(Claim::new(mapped.layout.file, ranges)),
            Places::Vouched => None,
        };
        let claim = claim.transpose().map_err(|offset| Error::BufferInUse { offset, buffer_size })?;
        Ok(PacketMemory(Arc::new(Inner {
            buffers: free.len(),
            free: Mutex::new(free),
            claim,
            mapped: Arc::new(mapped),
        })))
    }
}

impl PacketMemory {
    /// Number of buffers, free or in use.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.0.buffers
    }

    /// Number of buffers that no link uses.
    #[must_use]
    pub fn free_buffers(&self) -> usize {
        self.pool().len()
    }

    /// Bytes of each buffer.
    #[must_use]
    pub fn buffer_size(&self) -> u32 {
        self.0.mapped.layout.buffer_size
    }

    /// Bytes of the whole memory, as peers map it.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "memory is never empty")]
    pub fn len(&self) -> usize {
        self.0.mapped.len()
    }

    /// Where the memory is mapped in this process: [`PacketMemory::len`] bytes, which stay mapped while a clone exists.
    /// Peers can change them at any time.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.0.mapped.as_ptr()
    }

    /// Whether a peer has taken pages of the memory away. Its links then end and no new ones come up: make new memory.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.0.mapped.is_damaged()
    }

    /// Whether it belongs to the control plane with this alarm.
    pub(crate) fn reports_to(&self, alarm: &Arc<EventFd>) -> bool {
        Arc::ptr_eq(&self.0.mapped.alarm, alarm)
    }

    /// A table of `slots` buffers for each of `rings` rings, or none if there are too few buffers.
    pub(crate) fn take(&self, rings: usize, slots: usize) -> Result<Vec<BufferTable>, Disconnect> {
        if self.is_damaged() {
            return Err(Disconnect::PacketMemoryDamaged);
        }
        let mut pool = self.pool();
        let (needed, free) = (rings * slots, pool.len());
        if free < needed {
            return Err(Disconnect::TooFewBuffers { needed, free, total: self.0.buffers });
        }
        let mut offsets = pool.drain(..needed).map(|offset| BufferAddr::new(PACKET_REGION, offset));
        let table = |_| BufferTable {
            buffers: offsets.by_ref().take(slots).collect(),
            memory: Some(self.clone()),
            area: None,
        };
        Ok((0..rings).map(table).collect())
    }

    /// What a link keeps of it.
    pub(crate) fn mapped(&self) -> Arc<Mapped> {
        Arc::clone(&self.0.mapped)
    }

    /// Returns a buffer that a table still has: a defect that the models must detect.
    #[cfg(all(test, loom))]
    pub(crate) fn return_early(&self, offset: u32) {
        self.pool().push_back(offset);
    }

    fn pool(&self) -> MutexGuard<'_, VecDeque<u32>> {
        // no panic leaves the pool half changed
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for PacketMemory {
    /// The file that peers map.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.mapped.as_fd()
    }
}

/// Whether all buffers lie within `size` bytes and do not overlap.
fn check_buffers(offsets: &[u32], buffer_size: u32, size: u64) -> Result<(), Error> {
    let mut sorted = offsets.to_vec();
    sorted.sort_unstable();
    let ends = sorted.iter().skip(1).map(|next| u64::from(*next)).chain([size]);
    match sorted.iter().zip(ends).find(|(offset, end)| u64::from(**offset) + u64::from(buffer_size) > *end) {
        Some((offset, end)) => Err(Error::BufferOffset { offset: *offset, buffer_size, end }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> PacketMemoryBuilder {
        PacketMemoryBuilder::new(&Arc::new(EventFd::new().unwrap())).huge_pages(HugePages::Off)
    }

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
    fn buffers_beyond_the_end_or_overlapping_are_rejected() {
        assert!(check_buffers(&[4096, 0, 2048], 2048, 6144).is_ok());
        for (offsets, size, culprit) in [
            (&[0, 4096][..], 6143, 4096),
            (&[100, 2147], 8192, 100),
            (&[7, 7], 8192, 7),
            (&[u32::MAX], 8192, u32::MAX),
        ] {
            let error = check_buffers(offsets, 2048, size).unwrap_err();
            assert!(matches!(error, Error::BufferOffset { offset, .. } if offset == culprit), "{error}");
        }
    }

    #[test]
    fn tables_take_all_their_buffers_or_none_and_return_them() {
        let memory = builder().buffers(100).allocate().unwrap();
        let tables = memory.take(3, 32).unwrap();
        assert_eq!((tables.len(), memory.free_buffers()), (3, 4));
        let refused = memory.take(1, 8).unwrap_err();
        assert_eq!(refused, Disconnect::TooFewBuffers { needed: 8, free: 4, total: 100 });
        let mut all: Vec<_> = tables.iter().flat_map(AsRef::as_ref).map(BufferAddr::offset).collect();
        drop(tables);
        assert_eq!(memory.free_buffers(), 100);
        // buffers that were never in use are taken first
        let next = memory.take(1, 4).unwrap();
        assert!(next[0].as_ref().iter().all(|buffer| !all.contains(&buffer.offset())));
        all.extend(next[0].as_ref().iter().map(BufferAddr::offset));
        all.sort_unstable();
        assert_eq!(all, (0..100).map(|number| number * 2176).collect::<Vec<_>>());
    }

    #[test]
    fn sizes_out_of_range_are_rejected() {
        for (buffers, size) in [(0, 2048), (1, 63), (1, 65536)] {
            let error = builder().buffers(buffers).buffer_size(size).allocate().unwrap_err();
            assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
        }
        let error = builder().buffers(1 << 21).allocate().unwrap_err();
        assert!(matches!(error, Error::TooMuchMemory { .. }), "{error}");
    }
}
