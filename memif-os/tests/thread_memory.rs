//! Threads where memory is short. The only test of its program, because the limit counts for the whole process.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;

use memif_os::limits::UsedUp;
use memif_os::thread::spawn;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const STACK: u64 = 128 << 10;
const PAGE: u64 = 4096;

/// Lets the address space grow by so many bytes.
fn leave_memory(bytes: u64) {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: Some(pages * PAGE + bytes), maximum }).unwrap();
}

/// The standard library ends the process where there is room for the stack of a thread, and none for that of its signals.
#[test]
fn a_thread_that_memory_does_not_suffice_for_is_refused_and_ends_nothing() {
    let mut refused = 0;
    let rooms = (0..=96).map(|pages| STACK + pages * PAGE);
    let larger = (1..=64).map(|quarters| quarters << 18);
    for room in rooms.chain(larger) {
        leave_memory(room);
        match spawn("a-name", Some(STACK.try_into().unwrap()), || 1) {
            Ok(thread) => assert_eq!(thread.join().unwrap(), 1),
            Err(error) => {
                assert!(matches!(UsedUp::of_threads(&error), Some(UsedUp::Threads(_))), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
    assert_eq!(spawn("a-name", None, || 1).unwrap().join().unwrap(), 1);
}
