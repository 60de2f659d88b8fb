//! Shared mappings, made, filled and undone so that neither the peer's files nor other threads suffer.
//!
//! - *Made without touching a page*, even where the process locks all memory that it maps (`mlockall(MCL_FUTURE)`): the
//!   kernel would fill the file on our account. So a peer's file is mapped without any access, taken out of the lock, and
//!   only then opened for access.
//! - *Filled and undone in slices*: the lock of the address space is held for as long as one call takes, and whoever maps
//!   or unmaps meanwhile waits for it, and so does every page fault behind it.
#![allow(unsafe_code)] // mmap and its kin

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mprotect, munlock, munmap};

/// Bytes that are filled with one call: 512 normal pages, under a millisecond.
const FILL_SLICE: usize = 2 << 20;
/// Bytes that are unmapped with one call: some milliseconds where every page is mapped.
const UNMAP_SLICE: usize = 64 << 20;

/// A shared mapping of the front of a file, for reading and writing. Unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    page_size: usize,
}

// SAFETY: owns its mapping as a Box does; any thread may use or unmap it.
unsafe impl Send for Mapping {}
// SAFETY: shared access reads the pointer and the lengths, which never change, and fills pages, which changes no byte.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a file of ours. `len` is made of whole pages.
    pub(crate) fn of_own_file(file: BorrowedFd<'_>, len: usize, page_size: usize) -> io::Result<Mapping> {
        map(file, len, page_size, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps a file that a peer made, without touching it. `len` is made of whole pages.
    pub(crate) fn of_peers_file(file: BorrowedFd<'_>, len: usize, page_size: usize) -> io::Result<Mapping> {
        let mapping = map(file, len, page_size, ProtFlags::empty())?;
        let start = mapping.start.as_ptr().cast();
        // SAFETY: the range is exactly our mapping; nobody else knows it yet.
        unsafe {
            munlock(start, len)?;
            mprotect(start, len, MprotectFlags::READ | MprotectFlags::WRITE)?;
        }
        Ok(mapping)
    }

    /// First byte. Valid for [`len`](Self::len) bytes, for as long as `self` lives.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Size in bytes, whole pages.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Size of its pages in bytes.
    pub(crate) fn page_size(&self) -> usize {
        self.page_size
    }

    /// Fills the pages of a range with what is in the file, or with new pages where it has none. Returns how far it came,
    /// in bytes from the start of the range, and the error that ended it.
    pub(crate) fn fill(&self, from: usize, to: usize) -> (usize, rustix::io::Result<()>) {
        let slice = FILL_SLICE.max(self.page_size);
        let to = to.min(self.len);
        let mut at = from;
        while at < to {
            let end = to.min((at / slice + 1) * slice);
            // SAFETY: `at` and `end` lie within the mapping, and filling pages changes no byte.
            let filled =
                unsafe { madvise(self.start.as_ptr().add(at).cast(), end - at, Advice::LinuxPopulateWrite) };
            if filled.is_err() {
                return (at - from, filled);
            }
            at = end;
        }
        (to.saturating_sub(from), Ok(()))
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let slice = UNMAP_SLICE.max(self.page_size);
        let mut at = 0;
        while at < self.len {
            let len = slice.min(self.len - at);
            // SAFETY: the range lies within our mapping, and whoever had a pointer into it has let go of it.
            if unsafe { munmap(self.start.as_ptr().add(at).cast(), len) }.is_err() {
                // SAFETY: as above: the whole rest, which needs no more bookkeeping than before.
                let _ = unsafe { munmap(self.start.as_ptr().add(at).cast(), self.len - at) };
                return;
            }
            at += len;
        }
    }
}

fn map(file: BorrowedFd<'_>, len: usize, page_size: usize, access: ProtFlags) -> io::Result<Mapping> {
    // SAFETY: the kernel chooses an address where nothing is mapped.
    let start = unsafe { mmap(ptr::null_mut(), len, access, MapFlags::SHARED, file, 0) }?;
    let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
    Ok(Mapping { start, len, page_size })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    use super::*;

    const PAGE: usize = 4096;

    fn file(len: usize) -> File {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(len as u64).unwrap();
        file
    }

    #[test]
    fn large_mappings_are_undone_whole() {
        let len = 3 * UNMAP_SLICE + PAGE;
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = dir.path().join("unmapped-in-slices");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(len as u64).unwrap();
        let mapping = Mapping::of_peers_file(file.as_fd(), len, PAGE).unwrap();
        let is_mapped = || fs::read_to_string("/proc/self/maps").unwrap().contains("unmapped-in-slices");
        assert!(is_mapped());
        drop(mapping);
        assert!(!is_mapped());
    }

    #[test]
    fn filling_goes_as_far_as_the_file() {
        let len = 2 * FILL_SLICE;
        let file = file(len);
        let mapping = Mapping::of_peers_file(file.as_fd(), len, PAGE).unwrap();
        assert_eq!(mapping.fill(PAGE, 3 * PAGE), (2 * PAGE, Ok(())));
        assert_eq!(mapping.fill(PAGE, len + PAGE), (len - PAGE, Ok(())));
        file.set_len(FILL_SLICE as u64).unwrap();
        let (filled, error) = mapping.fill(0, len);
        assert_eq!(filled, FILL_SLICE);
        assert!(error.is_err());
    }
}
