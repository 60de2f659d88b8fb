//! How long calls take while a peer does its worst, and which are answered meanwhile: for figures, and for tests of who
//! may have to wait for it.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memif_pmd::Burst;

use super::longest::{Longest, nanos};
use super::{Arena, Ends};
use crate::common::address;

/// How long a call may take that nobody can hold up. Far more than it needs, and far less than attacks hold up others.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(3);

/// Makes a call that must not wait for a peer.
pub(crate) fn at_once<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let took = start.elapsed();
    assert!(took < AT_ONCE, "{what} took {took:?}");
    result
}

/// One kind of call, made over and over.
#[derive(Debug)]
struct Call {
    name: &'static str,
    longest: Longest,
    /// Calls that began and ended within one window.
    inside: AtomicU64,
}

/// How long it may take until whoever waits for the peer does so: the first calls of a window say nothing.
const SETTLED: Duration = Duration::from_millis(30);

/// Times at which calls of others must be answered: while the peer holds up whoever waits for it.
#[derive(Debug)]
pub(crate) struct Window {
    created: Instant,
    /// Odd inside.
    edges: AtomicU64,
    /// When the calls of this window begin to count, in nanoseconds after `created`.
    settled: AtomicU64,
    /// Sum over all windows, without their beginnings.
    nanos: AtomicU64,
}

impl Window {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self { created: Instant::now(), edges: zero(), settled: zero(), nanos: zero() }
    }

    /// What `hold_up` does is done inside.
    pub(crate) fn run<T>(&self, hold_up: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        self.settled.store(nanos(self.created.elapsed() + SETTLED), Ordering::SeqCst);
        self.edges.fetch_add(1, Ordering::SeqCst);
        let result = hold_up();
        self.edges.fetch_add(1, Ordering::SeqCst);
        self.nanos.fetch_add(nanos(start.elapsed().saturating_sub(SETTLED)), Ordering::Relaxed);
        result
    }

    /// The present one, if calls count now.
    fn inside(&self) -> Option<u64> {
        let window = self.edges.load(Ordering::SeqCst);
        let settled = Duration::from_nanos(self.settled.load(Ordering::SeqCst));
        (window % 2 == 1 && self.created.elapsed() >= settled).then_some(window)
    }
}

impl Call {
    fn new(name: &'static str) -> Self {
        Self { name, longest: Longest::default(), inside: AtomicU64::new(0) }
    }

    fn once<T>(&self, window: &Window, call: impl FnOnce() -> T) -> T {
        let before = window.inside();
        let result = self.longest.time(call);
        if before.is_some() && window.inside() == before {
            self.inside.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

/// What became of one kind of call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) name: &'static str,
    pub(crate) longest: Duration,
    pub(crate) inside: u64,
}

/// What became of all calls during an attack.
#[derive(Clone, Debug)]
pub(crate) struct Stalls {
    /// In the order of [`CALLS`].
    pub(crate) calls: Vec<Stall>,
    /// The longest call of `receive` or `send` of the bystander.
    pub(crate) other_queue: Duration,
    /// The longest time between two of its packets.
    pub(crate) other_gap: Duration,
    /// Time inside of windows.
    pub(crate) window: Duration,
    /// Most page tables of this process, in KiB.
    pub(crate) page_tables: u64,
}

/// The calls that are made.
pub(crate) const CALLS: [&str; 6] = [
    "is_up of the victim",
    "details of the victim",
    "details of another interface",
    "open of a third one",
    "drop of it",
    "receive of the victim",
];

impl Stalls {
    /// Calls of this name went on inside of the windows. Each is made once a millisecond; whoever has to wait for the
    /// end of a window comes to none in all of it.
    pub(crate) fn went_on(&self, name: &str) {
        let call = self.calls.iter().find(|call| call.name == name).unwrap();
        let expected = self.window.as_millis() / 20;
        assert!(u128::from(call.inside) >= expected, "{name}: held up, {self:#?}");
    }

    /// All of them but these.
    pub(crate) fn all_went_on_but(&self, excepted: &[&str]) {
        CALLS.iter().filter(|name| !excepted.contains(name)).for_each(|name| self.went_on(name));
    }
}

/// Page tables of this process, in KiB.
pub(crate) fn page_tables() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPTE:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn again<T>(over: &AtomicBool, mut call: impl FnMut() -> T) {
    while !over.load(Ordering::Acquire) {
        call();
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes each call over and over while `attack` runs, and until the calls under way have ended.
pub(crate) fn during<T>(arena: &Arena, attack: impl FnOnce(&Window) -> T) -> (T, Stalls) {
    let (over, window) = (&AtomicBool::new(false), &Window::new());
    let calls = CALLS.map(Call::new);
    let [is_up, details, other_details, open, drop_it, receive] = &calls;
    let pte = &AtomicU64::new(page_tables());
    let (other_queue, other_gap) = arena.bystander.longest();
    other_queue.take();
    other_gap.take();
    let result = thread::scope(|scope| {
        scope.spawn(|| again(over, || is_up.once(window, || arena.victim.is_up())));
        scope.spawn(|| again(over, || details.once(window, || arena.details())));
        scope.spawn(|| again(over, || other_details.once(window, || arena.bystander.details())));
        scope.spawn(|| {
            again(over, || {
                let socket = address();
                let third = open.once(window, || arena.memif.interface(&socket).master().open().unwrap());
                drop_it.once(window, || drop(third));
            });
        });
        scope.spawn(|| {
            let (mut rx, mut burst) = (arena.victim.rx(0).unwrap(), Burst::new(64).unwrap());
            again(over, || {
                receive.once(window, || rx.receive(&mut burst));
                burst.clear();
            });
        });
        scope.spawn(|| again(over, || pte.fetch_max(page_tables(), Ordering::Relaxed)));
        let _ends = Ends(over);
        attack(window)
    });
    let stall = |call: &Call| Stall {
        name: call.name,
        longest: call.longest.take(),
        inside: call.inside.load(Ordering::Relaxed),
    };
    let stalls = Stalls {
        calls: calls.iter().map(stall).collect(),
        other_queue: other_queue.take(),
        other_gap: other_gap.take(),
        window: Duration::from_nanos(window.nanos.load(Ordering::Relaxed)),
        page_tables: pte.load(Ordering::Relaxed),
    };
    (result, stalls)
}
