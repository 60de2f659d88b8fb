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
use std::sync::atomic::{AtomicU16, Ordering, compiler_fence, fence};

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

/// A shared mapping of the front of a file, for reading alone: the kernel refuses every store. Unmapped on drop.
///
/// Others write these bytes at any time. They are copied out, and never referred to.
#[derive(Debug)]
pub(crate) struct ReadOnlyMapping(Mapping);

impl ReadOnlyMapping {
    /// Maps a file. `len` is made of whole pages.
    pub(crate) fn of_file(file: BorrowedFd<'_>, len: usize, page_size: usize) -> io::Result<Self> {
        Ok(Self(map(file, len, page_size, ProtFlags::READ)?))
    }

    /// First byte. Valid for reads of [`len`](Self::len) bytes, for as long as `self` lives.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.0.start
    }

    /// Size in bytes, whole pages.
    pub(crate) fn len(&self) -> usize {
        self.0.len
    }

    /// The integer at `offset`, loaded at once. No later read of this thread is done before it. `None` if it is not within
    /// the mapping, or if `offset` is odd.
    pub(crate) fn load_u16(&self, offset: usize) -> Option<u16> {
        let fits = offset.is_multiple_of(2) && offset.checked_add(2)? <= self.len();
        if !fits {
            return None;
        }
        // SAFETY: two bytes within the mapping, aligned as the mapping begins on a page. A relaxed load of this size is an
        // ordinary one, which memory that cannot be written allows.
        let value =
            unsafe { AtomicU16::from_ptr(self.start().as_ptr().add(offset).cast()) }.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        Some(value)
    }

    /// Copies `bytes.len()` bytes from `offset` on. No later read of this thread is done before it, and none of these bytes
    /// is read again. `None`, and nothing is copied, if they are not all within the mapping.
    pub(crate) fn copy_to(&self, offset: usize, bytes: &mut [u8]) -> Option<()> {
        if offset.checked_add(bytes.len())? > self.len() {
            return None;
        }
        // SAFETY: the range lies within the mapping, and the destination is private memory. Others may write the bytes
        // meanwhile: any value is valid, and the result is a mix of old and new ones.
        unsafe {
            ptr::copy_nonoverlapping(self.start().as_ptr().add(offset), bytes.as_mut_ptr(), bytes.len());
        };
        compiler_fence(Ordering::SeqCst);
        fence(Ordering::Acquire);
        Some(())
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
    fn reads_stay_within_a_read_only_mapping() {
        let file = file(PAGE);
        std::os::unix::fs::FileExt::write_all_at(&file, &[1, 2, 3, 4], PAGE as u64 - 4).unwrap();
        let mapping = ReadOnlyMapping::of_file(file.as_fd(), PAGE, PAGE).unwrap();
        assert_eq!(mapping.load_u16(PAGE - 4), Some(u16::from_ne_bytes([1, 2])));
        for outside in [PAGE - 1, PAGE, PAGE + 2, usize::MAX, 1] {
            assert_eq!(mapping.load_u16(outside), None, "{outside}");
        }
        let mut bytes = [0; 3];
        assert_eq!(mapping.copy_to(PAGE - 3, &mut bytes), Some(()));
        assert_eq!(bytes, [2, 3, 4]);
        for outside in [PAGE - 2, PAGE, usize::MAX] {
            assert_eq!(mapping.copy_to(outside, &mut bytes), None, "{outside}");
        }
        assert_eq!(mapping.copy_to(PAGE, &mut []), Some(()), "nothing, at the end");
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
