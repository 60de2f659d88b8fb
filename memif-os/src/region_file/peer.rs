//! Regions that a peer creates: checked, mapped, and filled as far as there is something to fill.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{
    CWD, Mode, OFlags, SealFlags, SeekFrom, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat, fstatfs,
    openat, seek,
};
use rustix::io::Errno;
use rustix::param::page_size;

use super::error::{MAX_REGION_LEN, RegionError, check_len};
use crate::event::EventFd;
use crate::guard::{Guard, GuardError};
use crate::mapping::Mapping;

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

/// A region that the peer created, checked and mapped. Unmapped on drop.
#[derive(Debug)]
pub struct PeerRegion {
    // first, as it must go before the mapping does
    guard: Option<Guard>,
    map: Mapping,
    len: usize,
    seal: SealState,
}

impl PeerRegion {
    /// Maps `announced` bytes (the size in ADD_REGION) of the file that the peer sent. Does not wait, whatever the
    /// descriptor is, and touches no page. The descriptor stays with the caller, who decides where it is closed; the mapping
    /// does not need it.
    ///
    /// # Errors
    /// [`RegionError::BadSize`], [`NotReadWrite`](RegionError::NotReadWrite),
    /// [`NotSharedMemory`](RegionError::NotSharedMemory), [`Unsealed`](RegionError::Unsealed),
    /// [`TooSmall`](RegionError::TooSmall) and [`Map`](RegionError::Map).
    pub fn map(file: impl AsFd, announced: u64, seal: ShrinkSeal) -> Result<PeerRegion, RegionError> {
        let file = file.as_fd();
        let len = check_len(announced)?;
        check_access(file)?;
        let failed = |errno: Errno| RegionError::Map { len: announced, error: errno.into() };
        let (state, writable) = seal_shrink(file)?;
        if let (SealState::Missing { errno }, ShrinkSeal::Require) = (state, seal) {
            return Err(RegionError::Unsealed { error: io::Error::from_raw_os_error(errno) });
        }
        if !writable {
            return Err(failed(Errno::PERM));
        }

        // Only now does the size mean anything: a sealed file cannot become smaller than what is read here.
        let actual = fstat(file).map_err(failed)?.st_size.unsigned_abs();
        let huge = huge_page_size(file).map_err(failed)?;
        // munmap wants whole huge pages, so that is what must be mapped.
        let needed = huge.map_or(announced, |page| announced.next_multiple_of(page as u64));
        if actual < needed {
            return Err(RegionError::TooSmall { announced, needed, actual });
        }
        let page_size = huge.unwrap_or_else(page_size);
        let whole = check_len(needed)?.next_multiple_of(page_size);
        let map = Mapping::of_peers_file(file, whole, page_size)
            .map_err(|error| RegionError::Map { len: announced, error })?;
        Ok(PeerRegion { guard: None, map, len, seal: state })
    }

    /// Maps pages that the file has, so that the data path does not have to: at most `budget` bytes of them. Holes are left
    /// alone, as filling them would take memory on our account. Returns how many bytes were mapped; an error, such as that
    /// of a kernel before 5.14, ends it.
    ///
    /// `file` is the descriptor that the region was mapped from. May take long, some 0.2 ms a MiB; other threads are held up
    /// for no longer than 2 MiB take. On huge pages there are no holes to be seen: mapping has reserved them all.
    #[must_use]
    pub fn populate(&self, file: impl AsFd, budget: u64) -> u64 {
        let Ok(file) = reopened(file.as_fd()) else { return 0 };
        let (page, end) = (self.page_size() as u64, self.map.len() as u64);
        let (mut at, mut done) = (0, 0);
        while let Some((data, hole)) = next_data(&file, at) {
            let left = (budget - done) / page * page;
            let to = hole.next_multiple_of(page).min(end).min(data.saturating_add(left));
            let (Ok(from), Ok(until)) = (usize::try_from(data), usize::try_from(to)) else { break };
            if from >= until {
                break;
            }
            let (filled, result) = self.map.fill(from, until);
            done += filled as u64;
            if result.is_err() {
                break;
            }
            at = hole;
        }
        done
    }

    /// Start of the mapping. Valid for [`len`](Self::len) bytes, for as long as `self` lives.
    #[must_use]
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.map.start()
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
        self.map.page_size()
    }

    /// Like [`RegionFile::guard`](super::RegionFile::guard); a file without the seal can be cut short as well.
    ///
    /// # Errors
    /// [`GuardError`]: no handler.
    pub fn guard(&mut self, alarm: Arc<EventFd>) -> Result<(), GuardError> {
        self.guard = Some(Guard::new(self.map.start(), self.map.len(), alarm)?);
        Ok(())
    }

    /// Like [`RegionFile::is_damaged`](super::RegionFile::is_damaged).
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

fn check_access(file: BorrowedFd<'_>) -> Result<(), RegionError> {
    let flags = fcntl_getfl(file).map_err(|errno| RegionError::NotSharedMemory { error: errno.into() })?;
    if flags.contains(OFlags::PATH) || flags & OFlags::RWMODE != OFlags::RDWR {
        return Err(RegionError::NotReadWrite { flags: flags.bits().cast_signed() });
    }
    Ok(())
}

/// Refuses what is no shared memory, and makes sure, if it can be done, that the file does not shrink. Also tells whether it
/// may be mapped for writing.
///
/// The kernel answers F_GET_SEALS itself, for files on tmpfs and hugetlbfs alone. Anything else must not even
/// be asked for its size: a peer may have mounted a file system of its own whose answers never come.
fn seal_shrink(file: BorrowedFd<'_>) -> Result<(SealState, bool), RegionError> {
    let seals =
        fcntl_get_seals(file).map_err(|errno| RegionError::NotSharedMemory { error: errno.into() })?;
    let writable = !seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
    if seals.contains(SealFlags::SHRINK) {
        return Ok((SealState::Present, writable));
    }
    let state = match fcntl_add_seals(file, SealFlags::SHRINK) {
        Ok(()) => SealState::Added,
        Err(errno) => SealState::Missing { errno: errno.raw_os_error() },
    };
    Ok((state, writable))
}

/// The page size of a file on hugetlbfs, `None` for a file on normal pages.
pub(super) fn huge_page_size(file: BorrowedFd<'_>) -> rustix::io::Result<Option<usize>> {
    let stat = fstatfs(file)?;
    if i128::from(stat.f_type) != i128::from(libc::HUGETLBFS_MAGIC) {
        return Ok(None);
    }
    match usize::try_from(stat.f_bsize) {
        Ok(page) if page.is_power_of_two() && page as u64 <= MAX_REGION_LEN => Ok(Some(page)),
        _ => Err(Errno::INVAL),
    }
}

/// The same file, opened anew: the peer shares the position of the descriptor that it sent, and can hold its lock.
fn reopened(file: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    openat(CWD, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Start and end of the next bytes that a file has, from a position on.
fn next_data(file: &OwnedFd, from: u64) -> Option<(u64, u64)> {
    let data = seek(file, SeekFrom::Data(from)).ok()?;
    let hole = seek(file, SeekFrom::Hole(data)).ok()?;
    (hole > data).then_some((data, hole))
}
