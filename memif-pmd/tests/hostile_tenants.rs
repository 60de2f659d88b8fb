//! Many tenants on one listener, each with an interface of its own, who all take as much as they are given: the next one
//! finds what it needs. What they take counts for a whole process, so each test runs in one of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::thread;

use common::{PATIENCE, address, exchange, until};
use hostile_peer::child::in_a_process_of_its_own;
use hostile_peer::memory::memfd;
use hostile_peer::slave::{ScriptedSlave, Step, connect};
use memif_os::huge_pages::HugePages;
use memif_pmd::{Interface, Memif};
use memif_ring::message::{AddRegion, Message};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process open so many descriptors, if it may raise the limit that far.
fn limit_descriptors(current: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(maximum.map_or(current, |maximum| maximum.min(current)));
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// Interfaces 1 to `count` of one listener, and the one of an honest tenant, 0.
struct House {
    memif: Memif,
    socket: String,
    honest: Interface,
    _hostile: Vec<Interface>,
}

impl House {
    fn new(count: u32) -> Self {
        let (memif, socket) = (Memif::start().unwrap(), address());
        let open = |id| memif.interface(&socket).master().id(id).open().unwrap();
        let (honest, hostile) = (open(0), (1..=count).map(open).collect());
        Self { memif, socket, honest, _hostile: hostile }
    }

    /// The honest tenant's slave connects, and packets flow.
    fn serves_the_honest_one(&self) {
        let other = Memif::start().unwrap();
        let slave = other.interface(&self.socket).slave().id(0).huge_pages(HugePages::Off).open().unwrap();
        slave.wait_up(Some(PATIENCE)).unwrap();
        self.honest.wait_up(Some(PATIENCE)).unwrap();
        exchange((&mut slave.tx(0).unwrap(), &mut self.honest.rx(0).unwrap()), 0..200, 60..=1500);
        exchange((&mut self.honest.tx(0).unwrap(), &mut slave.rx(0).unwrap()), 0..200, 60..=1500);
    }
}

/// A region that all of them offer.
fn region() -> File {
    let file = File::from(memfd(MemfdFlags::ALLOW_SEALING));
    ftruncate(&file, 4096).unwrap();
    fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    file
}

/// Offers `count` regions; none if that is refused, or if what an attempt before has left is still being closed.
fn offer(socket: &str, id: u32, file: &File, count: u16) -> Option<ScriptedSlave> {
    let slave = ScriptedSlave::until(socket, id, Step::Hello);
    let regions = (1..count).map(|index| Message::AddRegion(AddRegion { index, size: 4096 }));
    let own = [(slave.init(), None), (slave.region(), Some(slave.memory.fd()))];
    for (message, fd) in own.into_iter().chain(regions.map(|region| (region, Some(file.as_fd())))) {
        slave.wire.send(&message, fd.as_slice());
        if !matches!(slave.wire.hear(), Some((Message::Ack, _))) {
            return None;
        }
    }
    Some(slave)
}

/// Offers as many regions as are taken, at most 256.
fn offer_most(socket: &str, id: u32, file: &File) -> ScriptedSlave {
    let mut slave = None;
    until("some regions to be taken", || {
        slave = [256, 64, 32, 16, 8].into_iter().find_map(|count| offer(socket, id, file, count));
        slave.is_some()
    });
    slave.unwrap()
}

#[test]
fn regions_offered_by_32_tenants_leave_descriptors_to_another() {
    if in_a_process_of_its_own("regions_offered_by_32_tenants_leave_descriptors_to_another") {
        return;
    }
    limit_descriptors(1024);
    let (house, file) = (House::new(32), region());
    let slaves: Vec<_> = (1..=32).map(|id| offer_most(&house.socket, id, &file)).collect();
    house.serves_the_honest_one();
    assert!(house.memif.stats().refused_by_quota > 0, "nobody met a quota");
    drop(slaves);
}

#[test]
fn regions_mapped_for_257_tenants_leave_mappings_to_another() {
    if in_a_process_of_its_own("regions_mapped_for_257_tenants_leave_mappings_to_another") {
        return;
    }
    limit_descriptors(16 << 10);
    let (house, file) = (House::new(257), region());
    let slaves: Vec<_> = (1..=257)
        .map(|id| {
            let slave = offer_most(&house.socket, id, &file);
            slave.run(Step::Region, Step::Rings);
            slave.wire.send(&connect(), &[]);
            slave
        })
        .collect();
    house.serves_the_honest_one();
    let mapped = fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    assert!(mapped < 32_000, "{mapped} mappings");
    thread::spawn(|| ()).join().unwrap(); // its stack is a mapping
    drop(slaves);
}
