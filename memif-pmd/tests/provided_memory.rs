//! Packet memory that a program provides for each link.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{address, until};
use memif_pmd::{Disconnect, Error, Event, HugePages, Interface, Memif, MemoryRequest, PacketMemory, Role};

/// What a provider was asked for, and what its interface was told.
#[derive(Default)]
struct Log {
    provided: AtomicU32,
    refuses: AtomicBool,
    told: Mutex<Vec<&'static str>>,
}

impl Log {
    fn told(&self) -> Vec<&'static str> {
        self.told.lock().unwrap().clone()
    }

    fn tell(&self, event: &Event) {
        self.told.lock().unwrap().push(match event {
            Event::Connected => "up",
            Event::Disconnected(_) => "down",
            Event::ConnectFailed(_) => "failed",
            Event::PacketMemoryReturned => "returned",
            _ => "other",
        });
    }
}

type Provided = Result<PacketMemory, Box<dyn std::error::Error + Send + Sync>>;

/// A slave whose memory comes from `make`.
fn slave(
    memif: &Memif,
    socket: &str,
    log: &Arc<Log>,
    make: impl Fn(MemoryRequest) -> Provided + Send + Sync + 'static,
) -> Interface {
    let (told, asked) = (Arc::clone(log), Arc::clone(log));
    memif
        .interface(socket)
        .ring_size(64)
        .rx_queues(2)
        .reconnect(Duration::from_millis(5))
        .on_event(move |event| told.tell(event))
        .packet_memory_by(move |request| {
            if asked.refuses.load(Ordering::SeqCst) {
                return Err("out of buffers".into());
            }
            asked.provided.fetch_add(1, Ordering::SeqCst);
            make(request)
        })
        .open()
        .unwrap()
}

fn allocating(memif: &Memif) -> impl Fn(MemoryRequest) -> Provided + Send + Sync + 'static {
    let memory = memif.packet_memory().huge_pages(HugePages::Off);
    move |request| {
        assert_eq!((request.buffers, request.buffer_size), (3 * 64, 2048));
        Ok(memory.clone().buffers(request.buffers).buffer_size(request.buffer_size).allocate()?)
    }
}

#[test]
fn each_link_has_memory_of_its_own_which_is_returned_after_it() {
    let memif = Memif::start().unwrap();
    let (socket, log) = (address(), Arc::new(Log::default()));
    let slave = slave(&memif, &socket, &log, allocating(&memif));
    let mut expected = Vec::new();
    for link in 1..4 {
        let master = memif.interface(&socket).master().tx_queues(2).open().unwrap();
        expected.extend(["up", "down", "returned"]);
        until("link", || slave.is_up());
        assert_eq!(log.provided.load(Ordering::SeqCst), link);
        assert_eq!(slave.details().unwrap().regions.len(), 2);
        drop(master);
        // attempts that reach nobody need no memory
        let seen = || log.told().into_iter().filter(|told| *told != "failed").collect::<Vec<_>>();
        until("end", || seen() == expected);
    }
}

#[test]
fn deletion_returns_the_memory_of_a_link_that_is_up() {
    let memif = Memif::start().unwrap();
    let (socket, log) = (address(), Arc::new(Log::default()));
    let _master = memif.interface(&socket).master().tx_queues(2).open().unwrap();
    let slave = slave(&memif, &socket, &log, allocating(&memif));
    until("link", || log.told() == ["up"]);
    drop(slave);
    assert_eq!(log.told(), ["up", "down", "returned"]);
}

#[test]
fn without_memory_an_attempt_fails_and_is_repeated() {
    let memif = Memif::start().unwrap();
    let (socket, log) = (address(), Arc::new(Log::default()));
    log.refuses.store(true, Ordering::SeqCst);
    let _master = memif.interface(&socket).master().tx_queues(2).open().unwrap();
    let slave = slave(&memif, &socket, &log, allocating(&memif));
    let refused = Some(Disconnect::Failed("out of buffers".into()));
    until("refusal", || slave.details().unwrap().last_disconnect == refused);
    assert!(!log.told().contains(&"returned"));
    log.refuses.store(false, Ordering::SeqCst);
    until("link", || slave.is_up());
    assert_eq!(log.provided.load(Ordering::SeqCst), 1);
}

#[test]
fn memory_that_is_too_small_or_of_another_control_plane_fails_the_attempt() {
    let (memif, other) = (Memif::start().unwrap(), Memif::start().unwrap());
    let too_small = memif.packet_memory().huge_pages(HugePages::Off).buffers(64);
    let foreign = other.packet_memory().huge_pages(HugePages::Off).buffers(3 * 64);
    for (memory, reason) in [
        (too_small, Disconnect::TooFewBuffers { needed: 3 * 64, free: 64, total: 64 }),
        (foreign, Disconnect::Failed(Error::ForeignPacketMemory.to_string())),
    ] {
        let (socket, log) = (address(), Arc::new(Log::default()));
        let _master = memif.interface(&socket).master().tx_queues(2).open().unwrap();
        let slave = slave(&memif, &socket, &log, move |_| Ok(memory.clone().allocate()?));
        until("refusal", || slave.details().unwrap().last_disconnect.as_ref() == Some(&reason));
        until("return", || log.told().starts_with(&["failed", "returned"]));
    }
}

#[test]
fn a_master_cannot_provide_memory() {
    let memif = Memif::new().unwrap();
    let builder = memif.interface(address()).role(Role::Master);
    let error = builder.packet_memory_by(|_| Err("never asked".into())).open().unwrap_err();
    assert!(matches!(error, Error::PacketMemoryOfMaster), "{error}");
}
