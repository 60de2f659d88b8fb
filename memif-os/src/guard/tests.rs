#![allow(unsafe_code)] // accesses to the mapped bytes

use super::*;
use crate::huge_pages::HugePages;
use crate::region_file::{PeerRegion, RegionFile, SealState, ShrinkSeal};
use std::fs::File;

/// A file on tmpfs, which has no seals: what a hostile peer would send.
fn shrinkable(len: u64) -> File {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(len).unwrap();
    file
}

fn touch(region: &PeerRegion, at: usize) -> u8 {
    assert!(at < region.len());
    // SAFETY: within the mapping, by raw pointers only.
    unsafe {
        let byte = region.as_ptr().add(at);
        byte.write_volatile(7);
        byte.read_volatile()
    }
}

#[test]
fn a_file_cut_short_costs_the_region_and_not_the_process() {
    let file = shrinkable(1 << 20);
    let mut region = PeerRegion::map(&file, 1 << 20, ShrinkSeal::Prefer).unwrap();
    assert!(matches!(region.shrink_seal(), SealState::Missing { .. }));
    let alarm = Arc::new(EventFd::new().unwrap());
    region.guard(Arc::clone(&alarm)).unwrap();
    touch(&region, 12345);
    assert!(!region.is_damaged());

    file.set_len(4096).unwrap();
    assert_eq!(touch(&region, 100), 7, "what is left is still shared");
    assert!(!region.is_damaged());
    for at in [4096, 5000, (1 << 20) - 1] {
        assert_eq!(touch(&region, at), 7);
    }
    assert!(region.is_damaged());
    assert_eq!(alarm.drain().unwrap(), Some(1), "signalled once");
}

#[test]
fn guards_come_and_go_and_are_told_apart() {
    let alarm = Arc::new(EventFd::new().unwrap());
    for _ in 0..3 {
        let (lost, kept) = (shrinkable(8192), shrinkable(8192));
        let map = |file: &File| {
            let mut region = PeerRegion::map(file, 8192, ShrinkSeal::Prefer).unwrap();
            region.guard(Arc::clone(&alarm)).unwrap();
            region
        };
        let (lost_region, kept_region) = (map(&lost), map(&kept));
        lost.set_len(0).unwrap();
        touch(&lost_region, 0);
        touch(&kept_region, 0);
        assert!(lost_region.is_damaged());
        assert!(!kept_region.is_damaged());
    }
}

#[test]
fn our_own_regions_can_be_guarded_too() {
    let mut region = RegionFile::create("guarded", 4096, HugePages::Off).unwrap();
    region.guard(Arc::new(EventFd::new().unwrap())).unwrap();
    assert!(!region.is_damaged());
}

fn read(region: &PeerRegion, at: usize) -> u8 {
    assert!(at < region.len());
    // SAFETY: within the mapping, by raw pointers only.
    unsafe { region.as_ptr().add(at).read_volatile() }
}

fn guarded(file: &File, len: u64) -> (PeerRegion, Arc<EventFd>) {
    let mut region = PeerRegion::map(file, len, ShrinkSeal::Prefer).unwrap();
    let alarm = Arc::new(EventFd::new().unwrap());
    region.guard(Arc::clone(&alarm)).unwrap();
    (region, alarm)
}

#[test]
fn every_second_page_lost_costs_one_mapping() {
    const PAGES: usize = 150_000; // more than twice as many as a process may have mappings, by default
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let len = PAGES * 4096;
    let file = shrinkable(len as u64);
    let (region, alarm) = guarded(&file, len as u64);
    let before = mappings();
    file.set_len(0).unwrap();
    for page in (0..PAGES).step_by(2) {
        assert_eq!(read(&region, page * 4096), 0);
    }
    // other tests map something meanwhile
    assert!(mappings() < before + 1000);
    assert_eq!(alarm.drain().unwrap(), Some(1));
}

#[test]
fn many_threads_that_fault_at_once_all_go_on() {
    for _ in 0..50 {
        let file = shrinkable(64 << 12);
        let (region, alarm) = guarded(&file, 64 << 12);
        let start = std::sync::Barrier::new(8);
        file.set_len(0).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (region, start) = (&region, &start);
                scope.spawn(move || {
                    start.wait();
                    for page in 0..64 {
                        let at = (page << 12) + thread;
                        assert_eq!(touch(region, at), 7, "written after it was replaced, and kept");
                    }
                });
            }
        });
        assert_eq!(alarm.drain().unwrap(), Some(1));
    }
}

#[test]
fn guards_are_counted() {
    let files: Vec<_> = (0..20).map(|_| shrinkable(4096)).collect();
    let regions: Vec<_> = files.iter().map(|file| guarded(file, 4096)).collect();
    assert!(count() >= regions.len());
}
