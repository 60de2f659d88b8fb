//! Faults in a guarded region, in processes of their own: what they do to the whole process would disturb other tests.

// accesses to the mapped bytes, signal masks
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::env;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use memif_os::event::EventFd;
use memif_os::region_file::{PeerRegion, ShrinkSeal};
use memif_os::thread;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Signal, getpid, getrlimit, kill_process};

/// Size of a region: 1 GiB, or a quarter of what a process without rights may lock.
fn region_len() -> u64 {
    getrlimit(Resource::Memlock).current.map_or(1 << 30, |most| (1 << 30).min(most / 4096 * 1024))
}

/// Runs one of the tests below, which are ignored otherwise, in a process of its own.
fn in_child(test: &str) -> ExitStatus {
    let arguments = ["--exact", test, "--ignored", "--nocapture", "--test-threads=1"];
    Command::new(env::current_exe().unwrap()).args(arguments).status().unwrap()
}

/// A guarded region of a file that nothing is left of.
fn lost() -> PeerRegion {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(region_len()).unwrap();
    let mut region = PeerRegion::map(&file, region_len(), ShrinkSeal::Prefer).unwrap();
    region.guard(Arc::new(EventFd::new().unwrap())).unwrap();
    File::set_len(&file, 0).unwrap();
    region
}

fn touch(region: &PeerRegion) {
    // SAFETY: within the mapping, by raw pointers only.
    unsafe { region.as_ptr().write_volatile(1) };
    assert!(region.is_damaged());
}

fn block_all_signals() {
    // SAFETY: a set that sigfillset makes of zeroes, and no old one is asked for.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_that_blocks_all_signals() {
    block_all_signals();
    touch(&lost());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_that_unblocks_faults() {
    block_all_signals();
    thread::unblock_faults().unwrap();
    touch(&lost());
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_with_a_library_thread() {
    block_all_signals();
    thread::spawn("library", None, || touch(&lost())).unwrap().join().unwrap();
}

/// Bytes of memory behind the mapping that an address lies in.
fn resident_at(address: usize) -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let holds = |line: &&str| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let range =
            range.map(|(start, end)| (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)));
        matches!(range, Some((Ok(start), Ok(end))) if (start..end).contains(&address))
    };
    let mut lines = maps.lines().skip_while(|line| !holds(line));
    let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
    1024 * rss.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap()
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_that_locks_its_memory() {
    mlockall(MlockAllFlags::FUTURE).unwrap();
    let region = lost();
    touch(&region);
    let resident = resident_at(region.as_ptr().addr().get());
    assert!(resident < region_len() / 4, "{resident} bytes of the region are filled");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_that_faults_elsewhere() {
    let guarded = lost();
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(region_len()).unwrap();
    let unguarded = PeerRegion::map(&file, region_len(), ShrinkSeal::Prefer).unwrap();
    file.set_len(0).unwrap();
    touch(&guarded);
    touch(&unguarded);
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_that_is_sent_the_signal() {
    let (region, other) = (lost(), lost());
    for _ in 0..3 {
        kill_process(getpid(), Signal::BUS).unwrap();
        // SAFETY: sends a signal to the calling thread.
        unsafe { libc::raise(libc::SIGBUS) };
    }
    assert!(!region.is_damaged());
    touch(&region);
    // SAFETY: as above.
    unsafe { libc::raise(libc::SIGBUS) };
    touch(&other);
}

#[test]
fn a_signal_that_somebody_sends_does_not_disarm_the_guard() {
    assert!(in_child("child_that_is_sent_the_signal").success());
}

#[test]
fn a_thread_that_blocks_all_signals_dies_unless_it_unblocks_faults() {
    assert_eq!(in_child("child_that_blocks_all_signals").signal(), Some(libc::SIGBUS));
    assert!(in_child("child_that_unblocks_faults").success());
    assert!(in_child("child_with_a_library_thread").success());
}

#[test]
fn a_lost_region_is_not_filled_in_a_process_that_locks_its_memory() {
    assert!(in_child("child_that_locks_its_memory").success());
}

#[test]
fn a_fault_outside_the_guarded_regions_ends_the_process() {
    assert_eq!(in_child("child_that_faults_elsewhere").signal(), Some(libc::SIGBUS));
}
