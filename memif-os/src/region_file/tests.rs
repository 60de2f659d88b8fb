#![allow(unsafe_code)] // accesses to the mapped bytes

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;

use rustix::fs::{FallocateFlags, SealFlags, fallocate, fcntl_add_seals};
use rustix::io::{Errno, FdFlags, fcntl_getfd};
use rustix::param::page_size;

use super::memfd::memfd;
use super::own::{HUGE_2M, check_available};
use super::*;
use crate::huge_pages::HugePages;

const LEN: usize = 256 << 10;

fn ours(len: usize) -> RegionFile {
    RegionFile::create("memif-test", len, HugePages::Off).unwrap()
}

fn dup(region: &RegionFile) -> OwnedFd {
    region.as_fd().try_clone_to_owned().unwrap()
}

/// A memfd as a peer would make it: not sealed, not allocated.
fn sparse(len: u64) -> File {
    let file = File::from(memfd(c"memif-test", None).unwrap());
    file.set_len(len).unwrap();
    file
}

fn map(fd: impl AsFd, announced: u64) -> Result<PeerRegion, RegionError> {
    PeerRegion::map(fd, announced, ShrinkSeal::Require)
}

fn store(at: NonNull<u8>, offset: usize, value: u8) {
    // SAFETY: the tests stay inside the mapping that they just made.
    unsafe { at.add(offset).write_volatile(value) }
}

fn load(at: NonNull<u8>, offset: usize) -> u8 {
    // SAFETY: the tests stay inside the mapping that they just made.
    unsafe { at.add(offset).read_volatile() }
}

#[test]
fn both_sides_see_the_same_bytes() {
    let a = ours(LEN);
    let b = map(dup(&a), LEN as u64).unwrap();
    assert_eq!((b.len(), b.page_size(), b.shrink_seal()), (LEN, a.page_size(), SealState::Present));
    assert_ne!(a.as_ptr(), b.as_ptr());
    for offset in [0, 1, LEN / 2, LEN - 1] {
        assert_eq!(load(b.as_ptr(), offset), 0);
        store(a.as_ptr(), offset, 7);
        assert_eq!(load(b.as_ptr(), offset), 7);
        store(b.as_ptr(), offset, 9);
        assert_eq!(load(a.as_ptr(), offset), 9);
    }
}

#[test]
fn the_size_is_rounded_up_and_allocated() {
    let region = ours(1);
    assert_eq!(region.len(), region.page_size());
    assert_eq!(region.len(), page_size());
    let stat = File::from(dup(&region)).metadata().unwrap();
    assert_eq!(stat.len(), region.len() as u64);
    assert!(stat.blocks() * 512 >= region.len() as u64);
}

#[test]
fn our_file_can_neither_shrink_nor_grow_nor_be_sealed_further() {
    let region = ours(LEN);
    let file = File::from(dup(&region));
    for len in [0, LEN as u64 - 1, LEN as u64 * 2] {
        assert_eq!(file.set_len(len).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
    assert_eq!(fcntl_add_seals(&file, SealFlags::WRITE), Err(Errno::PERM));
}

#[test]
fn our_file_is_closed_on_exec() {
    let region = ours(LEN);
    assert_eq!(fcntl_getfd(&region).unwrap(), FdFlags::CLOEXEC);
}

#[test]
fn the_mapping_outlives_the_creator() {
    let a = ours(LEN);
    let b = map(dup(&a), LEN as u64).unwrap();
    store(a.as_ptr(), 5, 55);
    drop(a);
    assert_eq!(load(b.as_ptr(), 5), 55);
}

#[test]
fn absurd_sizes_and_names_are_refused() {
    let create = |name: &str, len| RegionFile::create(name, len, HugePages::Off);
    for len in [0, usize::MAX, isize::MAX as usize, (1 << 40) + 1] {
        assert!(matches!(create("x", len), Err(RegionError::BadSize { .. })), "{len}");
    }
    assert!(matches!(create("a\0b", LEN), Err(RegionError::BadName { .. })));
    assert!(matches!(create(&"n".repeat(250), LEN), Err(RegionError::BadName { .. })));
    assert!(create(&"n".repeat(249), LEN).is_ok());
}

#[test]
fn more_memory_than_there_is_is_an_error() {
    match check_available("big", usize::MAX).unwrap_err() {
        RegionError::NotEnoughMemory { len, available, .. } => assert!(available < len),
        other => panic!("{other}"),
    }
    assert!(check_available("small", 1).is_ok());
}

#[test]
fn announced_sizes_that_make_no_sense_are_refused() {
    let region = ours(LEN);
    for announced in [0, MAX_REGION_LEN + 1, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        assert!(
            matches!(map(dup(&region), announced), Err(RegionError::BadSize { len }) if len == announced)
        );
    }
}

#[test]
fn a_file_smaller_than_announced_is_refused() {
    let region = ours(LEN);
    for announced in [LEN as u64 + 1, LEN as u64 * 2, MAX_REGION_LEN] {
        match map(dup(&region), announced).unwrap_err() {
            RegionError::TooSmall { actual, .. } => assert_eq!(actual, LEN as u64),
            other => panic!("{other}"),
        }
    }
    assert!(matches!(map(sparse(0), 1), Err(RegionError::TooSmall { actual: 0, .. })));
}

#[test]
fn less_than_the_whole_file_may_be_announced() {
    let region = ours(LEN);
    assert_eq!(map(dup(&region), 100).unwrap().len(), 100);
}

#[test]
fn an_unsealed_memfd_gets_sealed() {
    let file = sparse(LEN as u64);
    let region = map(file.try_clone().unwrap(), LEN as u64).unwrap();
    assert_eq!(region.shrink_seal(), SealState::Added);
    assert_eq!(file.set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
}

#[test]
fn a_sparse_file_is_mapped_without_being_allocated() {
    let file = sparse(64 << 30);
    let region = map(file.try_clone().unwrap(), 64 << 30).unwrap();
    assert_eq!(file.metadata().unwrap().blocks(), 0);
    store(region.as_ptr(), region.len() - 1, 3);
    assert_eq!(load(region.as_ptr(), region.len() - 1), 3);
}

#[test]
fn a_file_that_cannot_be_sealed_is_refused_or_told() {
    let file = sparse(LEN as u64);
    fcntl_add_seals(&file, SealFlags::SEAL).unwrap();
    let again = || OwnedFd::from(file.try_clone().unwrap());
    assert!(matches!(map(again(), LEN as u64), Err(RegionError::Unsealed { .. })));
    let region = PeerRegion::map(again(), LEN as u64, ShrinkSeal::Prefer).unwrap();
    assert_eq!(region.shrink_seal(), SealState::Missing { errno: libc::EPERM });
}

#[test]
fn a_file_sealed_against_writing_is_refused() {
    let file = sparse(LEN as u64);
    fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
    match map(file, LEN as u64).unwrap_err() {
        RegionError::Map { error, .. } => assert_eq!(error.raw_os_error(), Some(libc::EPERM)),
        other => panic!("{other}"),
    }
}

#[test]
fn a_descriptor_open_for_reading_only_is_refused() {
    let file = sparse(LEN as u64);
    let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    assert!(matches!(map(read_only, LEN as u64), Err(RegionError::NotReadWrite { .. })));
}

#[test]
fn a_path_only_descriptor_is_refused() {
    let file = sparse(LEN as u64);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let fd = File::options().read(true).custom_flags(libc::O_PATH).open(path).unwrap();
    assert!(matches!(map(fd, LEN as u64), Err(RegionError::NotReadWrite { .. })));
}

#[test]
fn what_is_no_shared_memory_is_refused() {
    let (reader, writer) = io::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let event = crate::event::EventFd::new().unwrap();
    let device = File::options().read(true).write(true).open("/dev/zero").unwrap();
    let hostile: [OwnedFd; 6] = [
        reader.into(),
        writer.into(),
        socket.into(),
        event.as_fd().try_clone_to_owned().unwrap(),
        device.into(),
        File::open("/").unwrap().into(),
    ];
    for (i, fd) in hostile.into_iter().enumerate() {
        let error = map(fd, 4096).unwrap_err();
        let told = matches!(error, RegionError::NotSharedMemory { .. } | RegionError::NotReadWrite { .. });
        assert!(told, "{i}: {error}");
    }
}

#[test]
fn files_with_a_name_are_refused() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0; 4096]).unwrap();
    // The directory for temporary files may lie on a disk or on tmpfs.
    let error = map(file, 4096).unwrap_err();
    let told = matches!(error, RegionError::NotSharedMemory { .. } | RegionError::Unsealed { .. });
    assert!(told, "{error}");

    // Files on tmpfs cannot be sealed.
    let mut file = tempfile::tempfile_in(Path::new("/dev/shm")).unwrap();
    file.write_all(&[0; 4096]).unwrap();
    assert!(matches!(map(file, 4096), Err(RegionError::Unsealed { .. })));
}

#[test]
fn huge_pages_are_used_or_their_lack_is_explained() {
    let needed = 2;
    let len = HUGE_2M + 1;
    // Other processes take and return huge pages meanwhile, so each outcome is judged by what it claims.
    let preferred = RegionFile::create("huge", len, HugePages::Prefer).unwrap();
    match preferred.fallback() {
        None => assert_eq!((preferred.page_size(), preferred.len()), (HUGE_2M, needed * HUGE_2M)),
        Some(why) => {
            assert_eq!(preferred.page_size(), page_size());
            assert_eq!((why.page_size(), why.needed()), (HUGE_2M, needed));
        }
    }
    assert_eq!(load(preferred.as_ptr(), len - 1), 0);
    match RegionFile::create("huge", len, HugePages::Require) {
        Ok(region) => {
            assert_eq!((region.page_size(), region.fallback()), (HUGE_2M, None));
            let peer = map(dup(&region), len as u64).unwrap();
            assert_eq!((peer.len(), peer.page_size()), (len, HUGE_2M));
            let error = map(dup(&region), region.len() as u64 + 1).unwrap_err();
            assert!(matches!(error, RegionError::TooSmall { .. }), "{error}");
        }
        Err(RegionError::NoHugePages { reason, .. }) => {
            assert_eq!((reason.page_size(), reason.needed()), (HUGE_2M, needed));
            assert!(!reason.to_string().is_empty());
        }
        Err(other) => panic!("{other}"),
    }
    assert!(ours(LEN).fallback().is_none());
}

#[test]
fn a_sparse_file_on_huge_pages_is_mapped_when_there_are_enough_and_refused_otherwise() {
    let file = File::from(memfd(c"memif-test", Some(HUGE_2M)).unwrap());
    file.set_len(HUGE_2M as u64).unwrap();
    match map(file, 4096) {
        Ok(region) => assert_eq!((region.len(), region.page_size()), (4096, HUGE_2M)),
        Err(RegionError::Map { error, .. }) => assert_eq!(error.raw_os_error(), Some(libc::ENOMEM)),
        Err(other) => panic!("{other}"),
    }
}

/// The file's pages that are there, in bytes.
fn allocated(file: &File) -> u64 {
    file.metadata().unwrap().blocks() * 512
}

#[test]
fn populating_maps_what_is_there_and_nothing_else() {
    let mib = 1 << 20;
    let file = sparse(64 * mib);
    // not at a slice's border, and one range that spans three slices
    for (at, len) in [(4096, 4096), (5 * mib, 3 * mib), (63 * mib, mib)] {
        io::copy(&mut io::repeat(1).take(len), &mut io::BufWriter::new(At(&file, at))).unwrap();
    }
    let there = allocated(&file);
    assert_eq!(there, 4096 + 4 * mib);
    let region = map(&file, 64 * mib).unwrap();
    assert_eq!(region.populate(&file, u64::MAX), there);
    assert_eq!(allocated(&file), there, "no hole was filled");
}

#[test]
fn populating_stops_at_the_budget() {
    let file = sparse(8 << 20);
    io::copy(&mut io::repeat(1).take(8 << 20), &mut io::BufWriter::new(At(&file, 0))).unwrap();
    let region = map(&file, 8 << 20).unwrap();
    for (budget, populated) in [(0, 0), (4095, 0), (4096, 4096), (3 << 20, 3 << 20), (5000, 4096)] {
        assert_eq!(region.populate(&file, budget), populated);
    }
}

#[test]
fn what_lies_beyond_the_end_of_the_file_does_not_make_it_populated() {
    let file = sparse(16 << 20);
    fallocate(&file, FallocateFlags::KEEP_SIZE, 16 << 20, 16 << 20).unwrap();
    let before = allocated(&file);
    assert_eq!(before, 16 << 20);
    let region = map(&file, 16 << 20).unwrap();
    assert_eq!(region.populate(&file, u64::MAX), 0);
    assert_eq!(allocated(&file), before);
}

#[test]
fn a_sealed_region_takes_no_holes_and_goes_on() {
    let ours = RegionFile::create_sealable("memif-test", LEN, HugePages::Off).unwrap();
    let theirs = map(&ours, LEN as u64).unwrap();
    let punch = || fallocate(&ours, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, LEN as u64);
    store(ours.as_ptr(), 7, 1);
    punch().unwrap();
    assert_eq!(load(theirs.as_ptr(), 7), 0, "a hole");
    assert!(ours.can_be_given_away());
    assert!(allocated(&File::from(dup(&ours))) < LEN as u64);

    ours.seal_future_write().unwrap();
    assert_eq!(allocated(&File::from(dup(&ours))), LEN as u64);
    assert_eq!(punch(), Err(Errno::PERM));
    for (at, value) in [(0, 3), (LEN - 1, 4)] {
        store(ours.as_ptr(), at, value);
        assert_eq!(load(theirs.as_ptr(), at), value);
        store(theirs.as_ptr(), at, value + 1);
        assert_eq!(load(ours.as_ptr(), at), value + 1);
    }
    assert!(!ours.can_be_given_away());
    assert!(matches!(map(&ours, LEN as u64), Err(RegionError::Map { .. })));
    assert_eq!(fcntl_add_seals(&ours, SealFlags::WRITE), Err(Errno::PERM));
}

#[test]
fn a_region_that_is_not_sealable_cannot_be_kept_from_others() {
    let region = ours(LEN);
    assert_eq!(region.seal_future_write().unwrap_err().raw_os_error(), Some(libc::EPERM));
    map(&region, LEN as u64).unwrap();
}

/// Writes to a place in a file.
struct At<'a>(&'a File, u64);

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write_at(bytes, self.1)?;
        self.1 += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
