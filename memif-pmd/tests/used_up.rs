//! Limits that are reached: typed errors that name the limit, and no panic. Limits count for a whole process, so each test runs
//! in one of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs::{self, File};
use std::time::Duration;

use common::{PATIENCE, address, events, exchange, in_child_process, next, variant};
use memif_os::socket::{Channel, SocketAddress};
use memif_pmd::{Burst, Disconnect, Error, Event, Memif, Workers, ctrl_c};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn a_master_without_descriptors_says_so_in_place_of_a_link() {
    if !in_child_process("a_master_without_descriptors_says_so_in_place_of_a_link", "ulimit -n 40") {
        return;
    }
    let (memif, socket) = (Memif::start().unwrap(), address());
    let (handler, heard) = events();
    let master = memif.interface(&socket).master().on_event(handler).open().unwrap();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    files.pop(); // for the client's end
    let client = Channel::connect(&SocketAddress::new(&socket).unwrap()).unwrap();
    let Event::ConnectFailed(reason) = next(&heard) else { panic!("no such event") };
    let text = "cannot accept a slave: out of file descriptors: Too many open files (os error 24); this process may have 40 \
                open files: close some or raise the limit (ulimit -n)";
    assert_eq!(reason, Disconnect::Failed(text.into()));
    let error = master.wait_up(Some(Duration::ZERO)).unwrap_err();
    assert!(error.to_string().contains(text), "{error}");
    // said once, however often it happens
    std::thread::sleep(Duration::from_millis(300)); // several of the listener's pauses
    assert!(heard.try_recv().is_err());
    drop((client, files));
    let slave = memif.interface(&socket).reconnect(SHORT).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    assert_eq!(next(&heard), Event::Connected);
}

/// Has the kernel refuse threads to this one, as where the user has as many as are allowed: root has no such limit.
fn refuse_threads() {
    let refuse = |call, errno: i32| {
        let refused = [(call, Vec::new())].into_iter().collect();
        let action = SeccompAction::Errno(errno.unsigned_abs());
        let architecture = std::env::consts::ARCH.try_into().unwrap();
        let filter = SeccompFilter::new(refused, SeccompAction::Allow, action, architecture).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
    };
    refuse(libc::SYS_clone3, libc::ENOSYS); // then `clone` is used
    refuse(libc::SYS_clone, libc::EAGAIN);
}

#[test]
fn refused_threads_are_errors_that_name_the_limit() {
    if !in_child_process("refused_threads_are_errors_that_name_the_limit", ":") {
        return;
    }
    let memif = Memif::start().unwrap();
    let socket = address();
    let (master, slave) = (memif.interface(&socket).master().open().unwrap(), memif.interface(&socket));
    refuse_threads();
    for error in [
        Memif::start().unwrap_err(),
        Workers::new().anywhere((), |(), _| ()).start().unwrap_err(),
        Workers::new().anywhere((), |(), _| ()).run_until(&memif_pmd::Stop::new().unwrap()).unwrap_err(),
        ctrl_c().unwrap_err(),
        memif.interface(address()).master().netns("/proc/self/ns/net").open().unwrap_err(),
    ] {
        assert_eq!(variant(&error), "OutOfThreads", "{error}");
        let text = error.to_string();
        assert!(text.contains("cannot start a thread") && text.contains("pids.max"), "{text}");
    }
    // what has its threads goes on
    let slave = slave.open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..100, 60..=60);
}

/// Lets the address space grow by so many bytes.
fn leave_memory(bytes: u64) {
    let pages: u64 =
        fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    let current = Some(pages * 4096 + bytes);
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
}

#[test]
fn refused_memory_is_an_error_and_passes() {
    // the allocator would reserve 64 MiB for each thread
    if !in_child_process("refused_memory_is_an_error_and_passes", "export MALLOC_ARENA_MAX=1") {
        return;
    }
    let (memif, socket) = (Memif::start().unwrap(), address());
    let master = memif.interface(&socket).master().open().unwrap();
    leave_memory(256 << 20);
    let huge = 1 << 18; // packets or buffers of 2 KiB: 512 MiB
    for error in [
        Burst::new(huge).unwrap_err(),
        Workers::new().burst(huge).anywhere((), |(), _| ()).start().unwrap_err(),
        memif.packet_memory().buffers(1 << 18).buffer_size(2048).allocate().unwrap_err(),
    ] {
        assert_eq!(variant(&error), "OutOfMemory", "{error}");
    }
    // two rings of 256 MiB
    let slave = memif.interface(&socket).ring_size(4096).buffer_size(65535).reconnect(SHORT).open().unwrap();
    let error = loop {
        match slave.wait_up(Some(20 * SHORT)).unwrap_err() {
            Error::NoLink { last: Some(last), .. } => break last,
            Error::NoLink { .. } => {}
            error => panic!("{error}"),
        }
    };
    assert!(
        error.to_string().contains("cannot allocate") || error.to_string().contains("are available"),
        "{error}"
    );
    drop(slave);
    // a small one has room
    let slave = memif.interface(&socket).reconnect(SHORT).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..100, 60..=60);
}
