//! Shared memory regions: the memfds that a slave creates, and the descriptors that a peer hands over.
//!
//! [`RegionFile`] is ours: allocated up front, so that no later access can run out of memory, and sealed, so
//! that nobody can shrink it under its users. [`PeerRegion`] is the peer's and hostile until proven
//! otherwise: what is no shared memory, is smaller than announced, or can still shrink is refused before
//! anything is mapped.
//!
//! What checks cannot rule out, and users with untrusted peers should know:
//!
//! - **Sparse files.** libmemif sends files that nobody has touched yet, so a sparse file must be accepted.
//!   Its pages are allocated when either side touches them first, and count against whoever does so. They are
//!   therefore not touched here; a control group's memory limit bounds them.
//! - **Holes.** No seal that memif peers accept forbids punching holes into the file. On normal pages a hole
//!   reads as zeroes and is filled on the next access. On huge pages the next access needs a free huge page
//!   again, and without one it raises SIGBUS. Against a peer that would do so, use normal pages.
//!
//! The mapped bytes belong to two processes, so they are handed out as pointers only, never as slices.

// Sealing, allocating and creating memfds have no wrapper in std.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int, c_uint};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{MmapOptions, MmapRaw};

use crate::event::EventFd;
use crate::guard::{Guard, GuardError};
use crate::huge_pages::{self, GIB, HugeFallback, HugePages};

/// Largest region, in bytes, that is created or accepted: 1 TiB, far above what any peer in the field
/// announces.
pub const MAX_REGION_LEN: u64 = 1 << 40;

/// A peer's file on normal pages is mapped page by page up to this size; a larger one would hold up the caller.
const MAX_POPULATE_LEN: u64 = 1 << 30;

const HUGE_2M: usize = 2 << 20;

/// Why a region could not be created or mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The region's size is 0 or above [`MAX_REGION_LEN`].
    #[error("region of {len} bytes: the size must be 1 to {MAX_REGION_LEN} bytes")]
    BadSize {
        /// The size asked for or announced, in bytes.
        len: u64,
    },
    /// The name holds a NUL or has more than 249 bytes, the kernel's limit.
    #[error("region name {name:?}: use at most 249 bytes and no NUL")]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// [`HugePages::Require`] could not be satisfied.
    #[error("region {name:?}: {reason}")]
    NoHugePages {
        /// The region's name.
        name: String,
        /// What is missing and how to provide it.
        reason: HugeFallback,
    },
    /// The machine has less memory free than the region needs.
    #[error(
        "region {name:?} needs {len} bytes and {available} are available: use fewer or smaller rings and buffers"
    )]
    NotEnoughMemory {
        /// The region's name.
        name: String,
        /// Size asked for, in bytes.
        len: usize,
        /// Memory available, in bytes (`MemAvailable` of `/proc/meminfo`).
        available: usize,
    },
    /// The kernel refused to create, fill, map or seal our memfd.
    #[error("cannot allocate region {name:?} of {len} bytes: {error}")]
    Allocate {
        /// The region's name.
        name: String,
        /// Size asked for, in bytes.
        len: usize,
        /// The kernel's answer: `ENOSPC` and `ENOMEM` mean a limit of memory, `EMFILE` one of descriptors.
        error: io::Error,
    },
    /// The peer's descriptor is no memfd and no file on tmpfs or hugetlbfs.
    #[error("the peer's region is no shared memory file (memfd or hugetlbfs): {error}")]
    NotSharedMemory {
        /// The kernel's answer to the question for its seals.
        error: io::Error,
    },
    /// The peer's descriptor is not open for reading and writing.
    #[error("the peer's region is not open for reading and writing (open flags {flags:#o})")]
    NotReadWrite {
        /// Open flags as of `fcntl(F_GETFL)`.
        flags: c_int,
    },
    /// The peer's file can still shrink, and [`ShrinkSeal::Require`] was asked for.
    #[error(
        "the peer's region is not sealed against shrinking and cannot be sealed ({error}): \
         let the peer seal it with F_SEAL_SHRINK, or allow unsealed regions"
    )]
    Unsealed {
        /// Why the seal could not be added.
        error: io::Error,
    },
    /// The peer's file is smaller than it said (on huge pages: rounded up to whole pages).
    #[error(
        "the peer announced a region of {announced} bytes, of which {needed} must be mapped; its file has {actual}"
    )]
    TooSmall {
        /// Size in ADD_REGION, in bytes.
        announced: u64,
        /// Bytes that must be mapped for it.
        needed: u64,
        /// Size of the file, in bytes.
        actual: u64,
    },
    /// The kernel refused to examine or to map the peer's file.
    #[error("cannot map the peer's region of {len} bytes: {error}")]
    Map {
        /// Size to be mapped, in bytes.
        len: u64,
        /// The kernel's answer: `EPERM` means a seal against writing, `ENOMEM` a lack of huge pages or
        /// address space.
        error: io::Error,
    },
}

/// What to do with a peer's file that can still shrink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShrinkSeal {
    /// Refuse it: whoever can shrink the file can kill us with SIGBUS.
    #[default]
    Require,
    /// Take it; [`PeerRegion::shrink_seal`] tells. For trusted peers, such as zero-copy ones on hugetlbfs.
    Prefer,
}

/// Whether a peer's file can shrink under us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealState {
    /// The peer had sealed it.
    Present,
    /// We sealed it.
    Added,
    /// It can shrink.
    Missing {
        /// Why the seal could not be added, an `errno` value.
        errno: i32,
    },
}

/// A region that we created: sealed, zeroed, allocated and mapped. Unmapped and closed on drop.
#[derive(Debug)]
pub struct RegionFile {
    // first, as it must go before the mapping does
    guard: Option<Guard>,
    map: MmapRaw,
    file: File,
    page_size: usize,
    fallback: Option<HugeFallback>,
}

impl RegionFile {
    /// Creates a region of at least `len` bytes, rounded up to whole pages (see [`RegionFile::len`]).
    ///
    /// `name` shows up in `/proc/PID/maps` alone. From 1 GiB on, pages of 1 GiB are tried first if the machine
    /// has any, then pages of 2 MiB.
    ///
    /// # Errors
    /// [`RegionError::BadSize`], [`BadName`](RegionError::BadName), [`NoHugePages`](RegionError::NoHugePages),
    /// [`NotEnoughMemory`](RegionError::NotEnoughMemory) and [`Allocate`](RegionError::Allocate).
    pub fn create(name: &str, len: usize, huge: HugePages) -> Result<RegionFile, RegionError> {
        check_len(len as u64)?;
        let bad_name = || RegionError::BadName { name: name.to_owned() };
        if name.len() > 249 {
            return Err(bad_name());
        }
        let c_name = CString::new(name).map_err(|_| bad_name())?;

        let fallback = match (create_huge(&c_name, len, huge), huge) {
            (Ok(region), _) => return Ok(region),
            (Err(Some(reason)), HugePages::Require) => {
                return Err(RegionError::NoHugePages { name: name.to_owned(), reason });
            }
            (Err(reason), _) => reason,
        };
        check_available(name, len)?;
        let mut region = allocate(&c_name, len, None).map_err(|error| RegionError::Allocate {
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
        start(&self.map)
    }

    /// Size in bytes, a multiple of the page size. This is what ADD_REGION announces (protocol section 3).
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Size of the pages in use, in bytes.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Keeps access to pages that the peer takes away from ending the process (see [`crate::guard`]): it can punch
    /// holes into any file it may write to. `alarm` is rung when it happens.
    ///
    /// # Errors
    /// [`GuardError`]: too many regions, or no handler.
    pub fn guard(&mut self, alarm: Arc<EventFd>) -> Result<(), GuardError> {
        self.guard = Some(guard_mapping(&self.map, self.page_size, alarm)?);
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

/// A region that the peer created, checked and mapped. Unmapped on drop; the descriptor is closed as soon as
/// the mapping stands.
#[derive(Debug)]
pub struct PeerRegion {
    // first, as it must go before the mapping does
    guard: Option<Guard>,
    map: MmapRaw,
    len: usize,
    page_size: usize,
    seal: SealState,
}

impl PeerRegion {
    /// Maps `announced` bytes (the size in ADD_REGION) of the file that the peer sent.
    ///
    /// Pages are mapped at once, off the data path, when the file is allocated already; a sparse file is
    /// left alone (see the module documentation).
    ///
    /// # Errors
    /// [`RegionError::BadSize`], [`NotReadWrite`](RegionError::NotReadWrite),
    /// [`NotSharedMemory`](RegionError::NotSharedMemory), [`Unsealed`](RegionError::Unsealed),
    /// [`TooSmall`](RegionError::TooSmall) and [`Map`](RegionError::Map).
    pub fn map(fd: OwnedFd, announced: u64, seal: ShrinkSeal) -> Result<PeerRegion, RegionError> {
        let file = File::from(fd);
        let len = check_len(announced)?;
        check_access(&file)?;
        let state = seal_shrink(&file)?;
        if let (SealState::Missing { errno }, ShrinkSeal::Require) = (state, seal) {
            return Err(RegionError::Unsealed { error: io::Error::from_raw_os_error(errno) });
        }

        // Only now does the size mean anything: a sealed file cannot become smaller than what is read here.
        let failed = |error| RegionError::Map { len: announced, error };
        let (actual, allocated) =
            file.metadata().map(|m| (m.len(), m.blocks().saturating_mul(512))).map_err(failed)?;
        let huge = huge_page_size(&file).map_err(failed)?;
        // munmap wants whole huge pages, so that is what must be mapped.
        let needed = huge.map_or(announced, |page| announced.next_multiple_of(page as u64));
        if actual < needed {
            return Err(RegionError::TooSmall { announced, needed, actual });
        }
        let populate = allocated >= needed && (huge.is_some() || needed <= MAX_POPULATE_LEN);
        let map = map_shared(&file, check_len(needed)?, populate).map_err(failed)?;
        Ok(PeerRegion {
            guard: None,
            map,
            len,
            page_size: huge.unwrap_or_else(normal_page_size),
            seal: state,
        })
    }

    /// Start of the mapping. Valid for [`len`](Self::len) bytes, for as long as `self` lives.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        start(&self.map)
    }

    /// Size in bytes, exactly as announced: 1 to [`MAX_REGION_LEN`].
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Size of the file's pages, in bytes.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// As [`RegionFile::guard`]; a file without the seal can be cut short as well.
    ///
    /// # Errors
    /// [`GuardError`]: too many regions, or no handler.
    pub fn guard(&mut self, alarm: Arc<EventFd>) -> Result<(), GuardError> {
        self.guard = Some(guard_mapping(&self.map, self.page_size, alarm)?);
        Ok(())
    }

    /// As [`RegionFile::is_damaged`].
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::is_damaged)
    }

    /// Whether the file can shrink under us.
    #[must_use]
    pub fn shrink_seal(&self) -> SealState {
        self.seal
    }
}

// Both kinds are only pointers and lengths that never change; what lies behind is shared with another process
// anyway, so threads add nothing that users of the pointer do not face already. MmapRaw is Send + Sync for
// this reason.
const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<RegionFile>();
    is_send_and_sync::<PeerRegion>();
};

/// The whole mapping, which may be longer than what was announced: it is made of whole pages.
fn guard_mapping(map: &MmapRaw, page_size: usize, alarm: Arc<EventFd>) -> Result<Guard, GuardError> {
    Guard::new(start(map), map.len(), page_size, alarm)
}

fn check_len(len: u64) -> Result<usize, RegionError> {
    match usize::try_from(len) {
        Ok(n) if len != 0 && len <= MAX_REGION_LEN => Ok(n),
        _ => Err(RegionError::BadSize { len }),
    }
}

/// Without this the kernel would take the memory from other processes, by force, before it says no.
fn check_available(name: &str, len: usize) -> Result<(), RegionError> {
    match huge_pages::available_memory() {
        Some(available) if available < len => {
            Err(RegionError::NotEnoughMemory { name: name.to_owned(), len, available })
        }
        _ => Ok(()),
    }
}

/// `Err(None)` when huge pages were not asked for, `Err(reason)` when there are none.
fn create_huge(name: &CString, len: usize, huge: HugePages) -> Result<RegionFile, Option<HugeFallback>> {
    if huge == HugePages::Off {
        return Err(None);
    }
    if len >= GIB
        && huge_pages::has_any(GIB)
        && let Ok(region) = allocate(name, len, Some(GIB))
    {
        return Ok(region);
    }
    allocate(name, len, Some(HUGE_2M)).map_err(|error| Some(HugeFallback::new(HUGE_2M, len, &error)))
}

/// A sealed, allocated and mapped memfd on pages of size `huge`, or on normal ones.
fn allocate(name: &CString, len: usize, huge: Option<usize>) -> io::Result<RegionFile> {
    let page_size = huge.unwrap_or_else(normal_page_size);
    let len = len.checked_next_multiple_of(page_size).ok_or(io::ErrorKind::OutOfMemory)?;
    let file = memfd(name, huge)?;
    fill(&file, len)?;
    let map = map_shared(&file, len, true)?;
    add_seals(&file, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL)?;
    Ok(RegionFile { guard: None, map, file, page_size, fallback: None })
}

fn map_shared(file: &File, len: usize, populate: bool) -> io::Result<MmapRaw> {
    let mut options = MmapOptions::new();
    options.len(len);
    if populate {
        options.populate();
    }
    options.map_raw(file)
}

fn start(map: &MmapRaw) -> NonNull<u8> {
    // mmap never returns null; a dangling pointer would be a defect of memmap2.
    NonNull::new(map.as_mut_ptr()).unwrap_or(NonNull::dangling())
}

fn memfd(name: &CString, huge: Option<usize>) -> io::Result<File> {
    // The page size travels as its binary logarithm in the upper bits of the flags.
    let size = huge.map_or(0, |page| libc::MFD_HUGETLB | (page.trailing_zeros() << libc::MFD_HUGE_SHIFT));
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | size;
    // Kernels from 6.3 on may insist on an executable bit being ruled out; older ones do not know the flag.
    match memfd_create(name, flags | libc::MFD_NOEXEC_SEAL) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => memfd_create(name, flags),
        other => other,
    }
}

fn memfd_create(name: &CString, flags: c_uint) -> io::Result<File> {
    // SAFETY: the name is a NUL-terminated string that outlives the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Allocates every page now, so that a lack of memory is an error here and not a signal later.
fn fill(file: &File, len: usize) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // A signal interrupts a long allocation, and the kernel then starts over: a steady stream of them must
    // not hold us.
    for _ in 0..16 {
        // SAFETY: works on a descriptor that we own; no memory is passed.
        match check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

fn check_access(file: &File) -> Result<(), RegionError> {
    // SAFETY: F_GETFL takes no pointer.
    let flags = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) })
        .map_err(|error| RegionError::NotSharedMemory { error })?;
    if flags & libc::O_PATH != 0 || flags & libc::O_ACCMODE != libc::O_RDWR {
        return Err(RegionError::NotReadWrite { flags });
    }
    Ok(())
}

/// Refuses what is no shared memory, and makes sure, if it can be done, that the file does not shrink.
///
/// The kernel answers F_GET_SEALS itself, for files on tmpfs and hugetlbfs alone. Anything else must not even
/// be asked for its size: a peer may have mounted a file system of its own whose answers never come.
fn seal_shrink(file: &File) -> Result<SealState, RegionError> {
    // SAFETY: F_GET_SEALS takes no pointer.
    let seals = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) })
        .map_err(|error| RegionError::NotSharedMemory { error })?;
    if seals & libc::F_SEAL_SHRINK != 0 {
        return Ok(SealState::Present);
    }
    Ok(match add_seals(file, libc::F_SEAL_SHRINK) {
        Ok(()) => SealState::Added,
        Err(error) => SealState::Missing { errno: error.raw_os_error().unwrap_or(libc::EPERM) },
    })
}

fn add_seals(file: &File, seals: c_int) -> io::Result<()> {
    // SAFETY: F_ADD_SEALS takes an integer, no pointer.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// The page size of a file on hugetlbfs, `None` for a file on normal pages.
fn huge_page_size(file: &File) -> io::Result<Option<usize>> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the kernel writes one statfs structure to where the pointer says, and there is room for one.
    check(unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: fstatfs succeeded, so the kernel has filled the structure.
    let stat = unsafe { stat.assume_init() };
    if stat.f_type != libc::HUGETLBFS_MAGIC {
        return Ok(None);
    }
    match usize::try_from(stat.f_bsize) {
        Ok(page) if page.is_power_of_two() && page as u64 <= MAX_REGION_LEN => Ok(Some(page)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The machine's page size in bytes.
fn normal_page_size() -> usize {
    // SAFETY: sysconf takes no pointer and changes nothing.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests;
