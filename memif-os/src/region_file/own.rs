//! Regions that we create.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals, fstat};
use rustix::io::Errno;
use rustix::param::page_size;

use super::error::{RegionError, check_len};
use super::memfd::{self, memfd};
use crate::event::EventFd;
use crate::guard::{Guard, GuardError};
use crate::huge_pages::{self, GIB, HugeFallback, HugePages};
use crate::mapping::Mapping;

pub(super) const HUGE_2M: usize = 2 << 20;

/// What every region of ours is sealed with: its size stays.
const SIZE: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);

/// A region that we created: sealed, zeroed, allocated and mapped. Unmapped and closed on drop.
#[derive(Debug)]
pub struct RegionFile {
    // first, as it must go before the mapping does
    guard: Option<Guard>,
    map: Mapping,
    file: OwnedFd,
    fallback: Option<HugeFallback>,
}

impl RegionFile {
    /// Creates a region of at least `len` bytes, rounded up to whole pages (see [`RegionFile::len`]). No seal can be added to
    /// it any more.
    ///
    /// `name` shows up in `/proc/PID/maps` alone. From 1 GiB on, pages of 1 GiB are tried first if the machine
    /// has any, then pages of 2 MiB.
    ///
    /// # Errors
    /// [`RegionError::BadSize`], [`BadName`](RegionError::BadName), [`NoHugePages`](RegionError::NoHugePages),
    /// [`NotEnoughMemory`](RegionError::NotEnoughMemory) and [`Allocate`](RegionError::Allocate).
    pub fn create(name: &str, len: usize, huge: HugePages) -> Result<RegionFile, RegionError> {
        Self::create_with(name, len, huge, SIZE | SealFlags::SEAL)
    }

    /// Like [`RegionFile::create`], for memory that one peer alone is given: more seals can be added, by us
    /// ([`RegionFile::seal_future_write`]) and by that peer, who could keep others from mapping it.
    ///
    /// # Errors
    /// Those of [`RegionFile::create`].
    pub fn create_sealable(name: &str, len: usize, huge: HugePages) -> Result<RegionFile, RegionError> {
        Self::create_with(name, len, huge, SIZE)
    }

    fn create_with(
        name: &str,
        len: usize,
        huge: HugePages,
        seals: SealFlags,
    ) -> Result<RegionFile, RegionError> {
        check_len(len as u64)?;
        let bad_name = || RegionError::BadName { name: name.to_owned() };
        if name.len() > 249 {
            return Err(bad_name());
        }
        let c_name = CString::new(name).map_err(|_| bad_name())?;

        let fallback = match (create_huge(&c_name, len, huge, seals), huge) {
            (Ok(region), _) => return Ok(region),
            (Err(Some(reason)), HugePages::Require) => {
                return Err(RegionError::NoHugePages { name: name.to_owned(), reason });
            }
            (Err(reason), _) => reason,
        };
        check_available(name, len)?;
        let mut region = allocate(&c_name, len, None, seals).map_err(|error| RegionError::Allocate {
            name: name.to_owned(),
            len,
            error,
        })?;
        region.fallback = fallback;
        Ok(region)
    }

    /// Start of the mapping. Valid for [`len`](Self::len) bytes, for as long as `self` lives.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.map.start()
    }

    /// Size in bytes, a multiple of the page size. This is what ADD_REGION announces (docs/protocol.md, section 3.2).
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Size of the pages in use, in bytes.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.map.page_size()
    }

    /// Forbids everybody to punch holes into the file, to write to it by `write`, and to map it for writing. Mappings that
    /// are there stay as they are: to be called when the peer has mapped it. Nobody else can be given the region then; see
    /// [`RegionFile::can_be_given_away`]. Holes that are there are filled, so that from now on every page is present.
    ///
    /// # Errors
    /// The kernel's answer to `fcntl`: `EPERM` for a region of [`RegionFile::create`], and when the peer has forbidden more
    /// seals itself; `EINVAL` by kernels before 5.1, which do not know the seal. Or to `fallocate`: `ENOSPC` where a hole
    /// cannot be filled.
    pub fn seal_future_write(&self) -> io::Result<()> {
        fcntl_add_seals(&self.file, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        let present = fstat(&self.file)?.st_blocks.unsigned_abs() * 512;
        if present < self.len() as u64 { memfd::allocate(&self.file, self.len()) } else { Ok(()) }
    }

    /// Whether another process can map it for reading and writing, and it can be sealed afterwards: not if it was sealed
    /// against that, by us or by a peer that was given it.
    #[must_use]
    pub fn can_be_given_away(&self) -> bool {
        let denied = SealFlags::WRITE | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        fcntl_get_seals(&self.file).is_ok_and(|seals| !seals.intersects(denied))
    }

    /// Keeps access to pages that the peer takes away from ending the process (see [`crate::guard`]): it can punch
    /// holes into any file it may write to. `alarm` is signalled when that happens.
    ///
    /// # Errors
    /// [`GuardError`]: no handler.
    pub fn guard(&mut self, alarm: Arc<EventFd>) -> Result<(), GuardError> {
        self.guard = Some(Guard::new(self.map.start(), self.map.len(), alarm)?);
        Ok(())
    }

    /// Whether the peer has taken a page of it away, so that some of its bytes are no longer shared.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::is_damaged)
    }

    /// Why this region lies on normal pages although huge pages were preferred.
    #[must_use]
    pub fn fallback(&self) -> Option<&HugeFallback> {
        self.fallback.as_ref()
    }
}

impl AsFd for RegionFile {
    /// The memfd, to be sent to the peer.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Without this the kernel would take the memory from other processes, by force, before it says no.
pub(super) fn check_available(name: &str, len: usize) -> Result<(), RegionError> {
    match huge_pages::available_memory() {
        Some(available) if available < len => {
            Err(RegionError::NotEnoughMemory { name: name.to_owned(), len, available })
        }
        _ => Ok(()),
    }
}

/// `Err(None)` when huge pages were not asked for, `Err(reason)` when there are none.
fn create_huge(
    name: &CStr,
    len: usize,
    huge: HugePages,
    seals: SealFlags,
) -> Result<RegionFile, Option<HugeFallback>> {
    if huge == HugePages::Off {
        return Err(None);
    }
    if len >= GIB
        && huge_pages::has_any(GIB)
        && let Ok(region) = allocate(name, len, Some(GIB), seals)
    {
        return Ok(region);
    }
    allocate(name, len, Some(HUGE_2M), seals).map_err(|error| Some(HugeFallback::new(HUGE_2M, len, &error)))
}

/// A sealed, allocated and mapped memfd on pages of size `huge`, or on normal ones.
fn allocate(name: &CStr, len: usize, huge: Option<usize>, seals: SealFlags) -> io::Result<RegionFile> {
    let page_size = huge.unwrap_or_else(page_size);
    let len = len.checked_next_multiple_of(page_size).ok_or(io::ErrorKind::OutOfMemory)?;
    let file = memfd(name, huge)?;
    memfd::allocate(&file, len)?;
    let map = Mapping::of_own_file(file.as_fd(), len, page_size)?;
    match map.fill(0, len).1 {
        // Kernels before 5.14 cannot; the pages are there, and mapped as they are touched.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    fcntl_add_seals(&file, seals)?;
    Ok(RegionFile { guard: None, map, file, fallback: None })
}
