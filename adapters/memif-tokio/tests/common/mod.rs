//! What the tests share: a link with an awaited and a plain end, and packets with numbers.
#![allow(dead_code, reason = "each test program uses its share of it")]

use std::future::Future;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use memif_pmd::{Burst, InterfaceBuilder, Memif, Role};
use memif_tokio::{Events, Interface};

/// How long anything may take that must happen; nothing in a sound test takes a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An abstract socket address that no other test uses.
pub(crate) fn address() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("@memif-tokio-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Fails where this takes too long, also if it is ready when it is polled after that: the time wakes a task that nothing else
/// has woken.
pub(crate) async fn patient<F: Future>(future: F) -> F::Output {
    tokio::select! {
        biased;
        () = tokio::time::sleep(PATIENCE) => panic!("still waiting"),
        output = future => output,
    }
}

/// Waits on a thread until `condition` is true.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "still waiting: {what}");
        std::thread::yield_now();
    }
}

/// Appends packets with these numbers.
pub(crate) fn push(burst: &mut Burst, numbers: Range<u64>) {
    for number in numbers {
        burst.push(&number.to_be_bytes().repeat(8)).unwrap();
    }
}

/// Fills the burst up.
pub(crate) fn fill(burst: &mut Burst) {
    let room = burst.room() as u64;
    push(burst, 0..room);
}

/// Takes the packets of a burst, which must have the numbers from `expected` on.
pub(crate) fn take(burst: &mut Burst, expected: &mut u64) {
    for packet in burst.iter() {
        assert_eq!(packet, expected.to_be_bytes().repeat(8));
        *expected += 1;
    }
    burst.clear();
}

/// Two ends of one link: one that is awaited, and a plain one of memif-pmd.
pub(crate) struct Pair {
    pub(crate) awaited: Interface,
    pub(crate) events: Events,
    pub(crate) plain: memif_pmd::Interface,
    pub(crate) socket: String,
    pub(crate) memif: Memif,
}

impl Pair {
    /// The awaited end has this role; rings have `ring_size` slots.
    pub(crate) async fn new(role: Role, ring_size: u32) -> Self {
        let memif = Memif::start().unwrap();
        let socket = address();
        let other = if role == Role::Master { Role::Slave } else { Role::Master };
        let (awaited, events) = Interface::open(describe(&memif, &socket, role, ring_size)).unwrap();
        let plain = describe(&memif, &socket, other, ring_size).open().unwrap();
        let pair = Self { awaited, events, plain, socket, memif };
        pair.up().await;
        pair
    }

    /// Waits for the link, at both ends.
    pub(crate) async fn up(&self) {
        patient(self.awaited.up()).await.unwrap();
        self.plain.wait_up(Some(PATIENCE)).unwrap();
    }

    /// Replaces the plain end by a new interface, once the awaited one has seen the end of the link.
    pub(crate) async fn reconnect(&mut self, ring_size: u32) {
        let role = self.plain.details().unwrap().role;
        self.plain.shut_down();
        patient(self.awaited.down()).await.unwrap();
        self.plain = describe(&self.memif, &self.socket, role, ring_size).open().unwrap();
        self.up().await;
    }
}

fn describe<'m>(memif: &'m Memif, socket: &str, role: Role, ring_size: u32) -> InterfaceBuilder<'m> {
    memif.interface(socket).role(role).ring_size(ring_size).reconnect(Duration::from_millis(5))
}
