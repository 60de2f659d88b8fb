//! Links of this process, seen as those of any other.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use memif_observe::direction::{Certainty, Direction};
use memif_observe::{Link, ObserveError, Observer, Scope};
use memif_os::region_file::{PeerRegion, ShrinkSeal};
use memif_pmd::{Burst, Interface, LineSize, Memif};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

struct Pair {
    _memif: Memif,
    master: Interface,
    slave: Interface,
    _dir: TempDir,
}

/// A link with two queues in each direction.
fn pair(line: LineSize, ring: u16) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("m.sock").to_str().unwrap().to_owned();
    let memif = Memif::start().unwrap();
    let master = memif.interface(&socket).master().queues(2).open().unwrap();
    let slave =
        memif.interface(&socket).slave().queues(2).ring_size(ring.into()).line_size(line).open().unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    Pair { _memif: memif, master, slave, _dir: dir }
}

/// Inodes of the memory that the interfaces of this process have: tests run side by side, in processes and in threads.
fn scan_for(name: &str) -> Observer {
    let mut observer = Observer::new(Scope { pid: Some(std::process::id()), socket: None });
    observer.scan().unwrap();
    assert!(observer.links().iter().any(|link| link.name().contains(name)), "{:?}", observer.links());
    observer
}

fn only(observer: &Observer, size: u16) -> &Link {
    let has_size = |link: &&Link| link.shape().is_some_and(|shape| shape.size() == size);
    observer.links().iter().find(has_size).unwrap()
}

#[test]
fn a_link_is_found_with_its_ends_and_rings() {
    for (line, ring) in [(LineSize::Bytes64, 1024), (LineSize::Bytes128, 512)] {
        let pair = pair(line, ring);
        let (mut tx, mut rx) = (pair.slave.tx(1).unwrap(), pair.master.rx(1).unwrap());
        // posts its buffers
        let mut back = (pair.slave.rx(0).unwrap(), pair.slave.rx(1).unwrap());
        let mut burst = Burst::new(32).unwrap();
        assert_eq!(back.0.receive(&mut burst) + back.1.receive(&mut burst), 0);

        let mut observer = scan_for("memif");
        let link = only(&observer, ring);
        assert_eq!(link.shape().unwrap().line, line);
        assert_eq!(link.ends().len(), 2, "both ends are in this process");
        assert!(link.ends().iter().all(|end| end.pid == std::process::id()));
        let names: Vec<_> = (0..link.rings().len()).map(|ring| link.ring_name(ring)).collect();
        assert_eq!(names, ["s2m/0", "s2m/1", "m2s/0", "m2s/1"]);
        let queues: Vec<_> = link.rings().iter().filter_map(memif_observe::RingMeter::queue).collect();
        assert!(queues.iter().all(|queue| queue.certainty == Certainty::Seen), "{queues:?}");
        assert_eq!(queues.iter().filter(|queue| queue.direction == Direction::S2m).count(), 2);

        let count = |observer: &mut Observer| {
            observer.poll();
            let link = only(observer, ring);
            assert_eq!(link.problems(), Vec::<String>::new());
            link.rings().iter().map(memif_observe::RingMeter::descriptors).collect::<Vec<_>>()
        };
        assert_eq!(count(&mut observer), [0, 0, 0, 0]);
        for _ in 0..20 {
            burst.push(&[7; 100]).unwrap();
        }
        assert_eq!(tx.send(&mut burst), 20);
        assert_eq!(count(&mut observer), [0, 20, 0, 0]);
        assert_eq!(only(&observer, ring).rings()[1].used(), Some(20));
        let began = Instant::now();
        let mut received = Burst::new(32).unwrap();
        let mut packets = 0;
        while packets < 20 {
            packets += rx.receive(&mut received);
            assert!(began.elapsed() < PATIENCE);
        }
        assert_eq!(count(&mut observer), [0, 20, 0, 0]);
    }
}

#[test]
fn a_link_that_ends_is_over_and_then_gone() {
    let pair = pair(LineSize::Bytes64, 128);
    let mut observer = scan_for("memif");
    let id = only(&observer, 128).id();
    drop(pair);
    let began = Instant::now();
    let state = |observer: &Observer| {
        observer.links().iter().find(|link| link.id() == id).map(|link| (link.is_over(), link.problems()))
    };
    loop {
        observer.scan().unwrap();
        observer.poll();
        match state(&observer) {
            Some((false, _)) => assert!(began.elapsed() < PATIENCE, "unmapped by other threads"),
            over => {
                let (over, problems) = over.unwrap();
                assert!(over);
                assert!(problems[0].contains("no process has it any more"), "{problems:?}");
                break;
            }
        }
    }
    observer.scan().unwrap();
    assert!(state(&observer).is_none());
}

/// A file that begins like the rings of a link, mapped by nobody but this test.
fn impostor() -> (File, PeerRegion) {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(1 << 20).unwrap();
    for ring in 0..2u64 {
        file.write_all_at(&0x03E3_1F20u32.to_ne_bytes(), ring * (128 + 16 * 256)).unwrap();
    }
    let mapped = PeerRegion::map(&file, 1 << 20, ShrinkSeal::Prefer).unwrap();
    (file, mapped)
}

#[test]
fn memory_that_is_overwritten_or_cut_costs_a_row() {
    let cut = impostor();
    let mut observer = scan_for("/dev/shm");
    let broken = |observer: &mut Observer| {
        observer.poll();
        only(observer, 256).broken().map(str::to_owned)
    };
    assert_eq!(broken(&mut observer), None);
    assert!(only(&observer, 256).problems()[0].contains("no process holds the other end"));
    cut.0.set_len(0).unwrap();
    assert_eq!(broken(&mut observer).as_deref(), Some("its memory was cut off"));

    drop(cut);
    let overwritten = impostor();
    let mut observer = scan_for("/dev/shm");
    let garbage: Vec<u8> = (0..1u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    overwritten.0.write_all_at(&garbage, 0).unwrap();
    observer.poll();
    let link = observer.links().iter().find(|link| link.broken().is_some()).unwrap();
    assert!(link.broken().unwrap().contains("cookie is gone"), "{:?}", link.broken());
    observer.scan().unwrap();
}

#[test]
fn a_process_that_is_not_there_is_an_error() {
    let mut observer = Observer::new(Scope { pid: Some(u32::MAX), socket: None });
    assert!(matches!(observer.scan(), Err(ObserveError::NoProcess { pid: u32::MAX })));
}
