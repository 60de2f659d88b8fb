//! Peers that take huge pages away: files cut short, and holes punched into regions while the kernel has no huge page left
//! to fill them again. A slave's region is sealed against holes once its link is up; a master can do nothing about those of its
//! slave.
//!
//! The kernel's pool belongs to the whole machine, so a run may find it empty: then memory on huge pages is refused, and
//! that is what is checked. With `MEMIF_HUGE_PAGES=1`, as in `ci/huge-pages.sh`, there must be some.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::env;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{packet, until};
use hostile_peer::master::{Step as MasterStep, connected};
use hostile_peer::memory::memfd;
use hostile_peer::slave::{ScriptedSlave, Step, connect};
use hostile_peer::{Arena, How, VICTIM, meanwhile};
use memif_os::huge_pages::HugePages;
use memif_pmd::{Disconnect, FaultKind, PeerFault};
use memif_ring::layout::Desc;
use memif_ring::message::{AddRegion, Direction, Message};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate};
use rustix::io::Errno;

const LOST: &str = "Region file changed under the link";
const HUGE: u64 = 2 << 20;

/// One test at a time: what one leaves in the pool is what the next one finds.
fn pool() -> MutexGuard<'static, ()> {
    static POOL: Mutex<()> = Mutex::new(());
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn must_have_huge_pages() -> bool {
    env::var_os("MEMIF_HUGE_PAGES").is_some()
}

fn huge_file(sealing: MemfdFlags, pages: u64) -> File {
    let huge = File::from(memfd(MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB | sealing));
    huge.set_len(pages * HUGE).unwrap();
    huge
}

/// Takes every huge page that is free, and keeps it.
struct Hog {
    file: File,
    taken: AtomicU64,
}

impl Hog {
    /// More than any pool of a machine that runs tests: 64 GiB.
    const MOST: u64 = 1 << 15;

    fn new() -> Self {
        Self { file: huge_file(MemfdFlags::empty(), Self::MOST), taken: AtomicU64::new(0) }
    }

    fn take_all(&self) {
        loop {
            let page = self.taken.load(Ordering::Relaxed);
            assert!(page < Self::MOST, "this pool has no end");
            match fallocate(&self.file, FallocateFlags::empty(), page * HUGE, HUGE) {
                Ok(()) => self.taken.store(page + 1, Ordering::Relaxed),
                Err(Errno::NOSPC | Errno::NOMEM) => return,
                Err(Errno::INTR) => {}
                Err(error) => panic!("fallocate: {error}"),
            }
        }
    }
}

/// Gives pages back to the kernel, which leaves the file's size and its mappings as they are.
const HOLE: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

/// All pages of a file.
fn punch(file: &File) {
    fallocate(file, HOLE, 0, file.metadata().unwrap().len()).unwrap();
}

/// Offers region 0 on normal pages, for the rings, and region 1 on huge ones. None when there are no huge pages, which is
/// refused.
fn offer_huge(arena: &Arena, huge: &File) -> Option<ScriptedSlave> {
    const ENOMEM: i32 = 12;
    until("the last link's end", || !arena.victim.is_up());
    let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Region);
    let region = Message::AddRegion(AddRegion { index: 1, size: huge.metadata().unwrap().len() });
    slave.tell(&region, Some(huge.as_fd()));
    slave.run(Step::Region, Step::Rings);
    slave.wire.send(&connect(), &[]);
    match slave.wire.hear() {
        Some((Message::Connected { .. }, _)) => Some(slave),
        Some((Message::Disconnect { reason, .. }, _)) => {
            assert!(!must_have_huge_pages(), "{reason}");
            assert_eq!(reason.to_string(), "Region cannot be mapped");
            arena.ended_with(&PeerFault::RegionUnmappable { region: 1, errno: ENOMEM }.into());
            None
        }
        other => panic!("{other:?}"),
    }
}

/// A packet of zeros that lies on a huge page.
fn far(slave: &ScriptedSlave) -> Desc {
    Desc { region: 1, length: 1000, ..slave.memory.slot(Direction::S2M, 0) }
}

/// With a huge page to be had it goes as on normal pages; without, the region is refused.
#[test]
fn huge_pages_cut_off() {
    let _pool = pool();
    let arena = Arena::master();
    for sealing in [MemfdFlags::empty(), MemfdFlags::ALLOW_SEALING] {
        let huge = huge_file(sealing, 1);
        let Some(slave) = offer_huge(&arena, &huge) else { continue };
        let mut rx = arena.victim.rx(0).unwrap();
        let far = far(&slave);
        slave.s2m().publish([far]);
        assert_eq!(How::Copy.all(&mut rx), [[0; 1000]]);
        let cut = huge.set_len(0);
        slave.s2m().publish([far]);
        let got = How::Copy.all(&mut rx);
        if sealing.is_empty() {
            cut.unwrap();
            assert_eq!(slave.wire.last_words().as_deref(), Some(LOST));
            arena.blames(PeerFault::RegionLost { region: 1 }, 1);
        } else {
            assert!(cut.is_err(), "the master has sealed it");
            assert_eq!(got.len(), 1);
            assert!(arena.victim.is_up());
        }
    }
    assert_eq!(arena.faults(FaultKind::BadCookie), 0);
    assert!(
        arena
            .details()
            .last_disconnect
            .is_none_or(|last| matches!(last, Disconnect::Fault(_) | Disconnect::Closed))
    );
    arena.unharmed_master();
}

/// What the victim does with huge pages that come and go.
const BUSINESS: [fn(&Arena, &ScriptedSlave); 4] = [
    |arena, slave| receive(arena, slave, How::Copy),
    |arena, slave| receive(arena, slave, How::InPlace),
    |arena, slave| send(arena, slave, How::Copy),
    |arena, slave| send(arena, slave, How::InPlace),
];

fn receive(arena: &Arena, slave: &ScriptedSlave, how: How) {
    slave.s2m().publish([far(slave)]);
    for packet in how.all(&mut arena.victim.rx(0).unwrap()) {
        assert_eq!(packet, [0; 1000], "a hole is full of zeros");
    }
}

fn send(arena: &Arena, slave: &ScriptedSlave, how: How) {
    slave.m2s().publish([Desc { length: 2048, ..far(slave) }]);
    how.send(&mut arena.victim.tx(0).unwrap(), &packet(900, 1));
}

#[test]
fn a_slave_punches_holes_that_nothing_can_fill() {
    let _pool = pool();
    let mut arena = Arena::master();
    for (times, business) in (1..).zip(BUSINESS) {
        let huge = huge_file(MemfdFlags::ALLOW_SEALING, 1);
        let Some(slave) = offer_huge(&arena, &huge) else { break };
        assert!(arena.details().regions[1].sealed);
        business(&arena, &slave);
        assert!(arena.victim.is_up());
        let hog = Hog::new();
        punch(&huge);
        hog.take_all();
        business(&arena, &slave);
        assert_eq!(slave.wire.last_words().as_deref(), Some(LOST));
        arena.blames(PeerFault::RegionLost { region: 1 }, times);
        arena.bystander.moves_on();
    }
    arena.unharmed_master();
}

#[test]
fn a_slave_punches_holes_while_packets_flow() {
    let _pool = pool();
    let mut arena = Arena::master();
    for (times, business) in (1..).zip(BUSINESS) {
        let huge = huge_file(MemfdFlags::ALLOW_SEALING, 1);
        let Some(slave) = offer_huge(&arena, &huge) else { break };
        let hog = Hog::new();
        let holes = |_: &mut _| {
            punch(&huge);
            hog.take_all();
        };
        meanwhile(holes, 0, || {
            until("the link's end", || {
                business(&arena, &slave);
                !arena.victim.is_up()
            });
        });
        arena.blames(PeerFault::RegionLost { region: 1 }, times);
        arena.bystander.moves_on();
    }
    arena.unharmed_master();
}

/// Rings and buffers of our own, on huge pages: a master can take them away before it has taken up the link, and not after.
#[test]
fn a_master_punches_holes_into_the_slaves_memory() {
    let _pool = pool();
    let (mut arena, listener) = Arena::slave_with(|builder| builder.huge_pages(HugePages::Prefer));
    for how in How::ALL {
        let early = listener.until(MasterStep::Connect);
        punch(early.file());
        let hog = Hog::new();
        hog.take_all();
        early.wire.send(&connected(), &[]);
        if must_have_huge_pages() {
            assert!(early.wire.last_words().is_some(), "a hole that cannot be filled");
            assert!(matches!(arena.details().last_disconnect, Some(Disconnect::Failed(_))));
        }
        drop((early, hog));
        let master = listener.until(MasterStep::Up);
        until("the victim's link", || arena.victim.is_up());
        let region = &arena.details().regions[0];
        if let Some(fallback) = &region.fallback {
            assert!(!must_have_huge_pages(), "{fallback}");
            break;
        }
        assert_eq!(region.page_size, HUGE);
        let (mut tx, mut rx) = (arena.victim.tx(0).unwrap(), arena.victim.rx(0).unwrap());
        assert!(how.send(&mut tx, &packet(900, 1)));
        assert_eq!(fallocate(master.file(), HOLE, 0, HUGE), Err(Errno::PERM));
        let hog = Hog::new();
        hog.take_all();
        assert!(how.send(&mut tx, &packet(900, 2)));
        how.once(&mut rx);
        drop(hog);
        arena.bystander.moves_on();
        assert!(arena.victim.is_up());
    }
    arena.unharmed_slave(listener);
}
