//! Regions of other processes, looked at from outside.

use std::os::fd::AsFd;

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::io::Errno;
use rustix::param::page_size;

use super::error::{RegionError, check_len};
use super::peer::huge_page_size;
use crate::guard::Guard;
use crate::mapping::ReadOnlyMapping;

/// A region that other processes share, mapped for reading alone. Nothing is written to it, sealed or locked, and
/// whatever happens to the file costs this region and not the process. Unmapped on drop.
#[derive(Debug)]
pub struct ObservedRegion {
    // first, as it must go before the mapping does
    guard: Guard,
    map: ReadOnlyMapping,
    page_size: usize,
    seals: SealFlags,
}

impl ObservedRegion {
    /// Maps the whole file, as large as it is now. The descriptor must be open for reading; the mapping does not need it
    /// afterwards.
    ///
    /// # Errors
    /// [`RegionError::NotSharedMemory`], [`RegionError::BadSize`] for a file without bytes or above the limit,
    /// [`RegionError::Map`].
    pub fn map(file: impl AsFd) -> Result<Self, RegionError> {
        let file = file.as_fd();
        // first, as the kernel answers this one by itself: see `PeerRegion`
        let seals =
            fcntl_get_seals(file).map_err(|errno| RegionError::NotSharedMemory { error: errno.into() })?;
        let failed = |len| move |errno: Errno| RegionError::Map { len, error: errno.into() };
        let len = fstat(file).map_err(failed(0))?.st_size.unsigned_abs();
        let page_size = huge_page_size(file).map_err(failed(len))?.unwrap_or_else(page_size);
        let whole = check_len(check_len(len)?.next_multiple_of(page_size) as u64)?;
        let map = ReadOnlyMapping::of_file(file, whole, page_size)
            .map_err(|error| RegionError::Map { len, error })?;
        let guard = Guard::without_alarm(map.start(), map.len())
            .map_err(|error| RegionError::Map { len, error: std::io::Error::other(error) })?;
        Ok(Self { guard, map, page_size, seals })
    }

    /// Bytes that were mapped: whole pages.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Size of the file's pages, in bytes.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Names of the seals that the file had when it was mapped: what can no longer be done to it.
    pub fn seals(&self) -> impl Iterator<Item = &'static str> {
        let names = [
            (SealFlags::SEAL, "seal"),
            (SealFlags::SHRINK, "shrink"),
            (SealFlags::GROW, "grow"),
            (SealFlags::WRITE, "write"),
            (SealFlags::FUTURE_WRITE, "future-write"),
        ];
        let seals = self.seals;
        names.into_iter().filter(move |(seal, _)| seals.contains(*seal)).map(|(_, name)| name)
    }

    /// Whether pages were taken away. What is read from then on are zeros.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.guard.is_damaged()
    }

    /// The integer of two bytes at `offset`, as one load that no later read passes. `None` if it is not within the region,
    /// or `offset` is odd.
    #[must_use]
    pub fn load_u16(&self, offset: usize) -> Option<u16> {
        self.map.load_u16(offset)
    }

    /// Copies `bytes.len()` bytes from `offset` on; no later read passes the copy. `None`, and nothing is copied, if they are
    /// not all within the region. Others may write them meanwhile: the result is then a mix of old and new bytes.
    #[must_use]
    pub fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        self.map.copy_to(offset, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file(len: u64) -> File {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn a_region_shows_what_others_write_later() {
        let file = file(8192);
        let region = ObservedRegion::map(&file).unwrap();
        assert_eq!((region.len(), region.load_u16(4096)), (8192, Some(0)));
        file.write_all_at(&[7, 7], 4096).unwrap();
        assert_eq!(region.load_u16(4096), Some(0x0707));
        assert!(!region.is_damaged());
    }

    #[test]
    fn a_file_that_is_cut_costs_the_region_and_not_the_process() {
        let file = file(1 << 20);
        let region = ObservedRegion::map(&file).unwrap();
        file.set_len(0).unwrap();
        let mut bytes = [1; 16];
        assert_eq!(region.copy_to(1 << 19, &mut bytes), Some(()));
        assert_eq!(bytes, [0; 16]);
        assert!(region.is_damaged());
    }

    #[test]
    fn what_is_no_shared_memory_is_refused() {
        let null = File::open("/dev/null").unwrap();
        assert!(matches!(ObservedRegion::map(&null), Err(RegionError::NotSharedMemory { .. })));
        assert!(matches!(ObservedRegion::map(file(0)), Err(RegionError::BadSize { len: 0 })));
    }
}
