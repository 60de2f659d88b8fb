//! A process that locks all of its memory maps a peer's sparse file without filling it. The only test of its process, as it
//! locks the memory of all of it.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};

use memif_os::huge_pages::HugePages;
use memif_os::region_file::{PeerRegion, RegionFile, ShrinkSeal};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};

/// Memory that is there, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap()
}

#[test]
fn a_sparse_file_stays_sparse_in_a_process_that_locks_its_memory() {
    // without rights only a few MiB may be locked, and the kernel counts the mapping as long as it is not taken out
    let len = getrlimit(Resource::Memlock).current.map_or(1 << 30, |most| (1 << 30).min(most / 4096 * 1024));
    let file = File::from(memfd_create(c"sparse", MemfdFlags::ALLOW_SEALING).unwrap());
    file.set_len(len).unwrap();
    file.write_all_at(&[1; 8192], 4096).unwrap();
    mlockall(MlockAllFlags::FUTURE).unwrap();
    let before = resident();
    let region = PeerRegion::map(&file, len, ShrinkSeal::Require).unwrap();
    assert_eq!(region.populate(&file, u64::MAX), 8192);
    assert_eq!(file.metadata().unwrap().blocks() * 512, 8192);
    assert!(resident() - before < len / 4 / 1024);
    // and what is ours is there, and works as ever
    let ours = RegionFile::create("ours", 1 << 18, HugePages::Off).unwrap();
    assert_eq!(ours.len(), 1 << 18);
}
