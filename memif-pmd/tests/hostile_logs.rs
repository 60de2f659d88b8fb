//! Peers that repeat whatever is logged: each kind of event is a line a second at most, and the rest are counted in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use common::{address, in_child_process, packet, thread_names, until};
use hostile_peer::bystander::Bystander;
use hostile_peer::lingering::LINGER;
use hostile_peer::memory::Memory;
use hostile_peer::slave::{ScriptedSlave, Step, event};
use hostile_peer::stalling::linger_before_init;
use hostile_peer::wire::Wire;
use hostile_peer::{Arena, Ends, How, VICTIM};
use memif_os::event::{Epoll, Event as Ready, Interest};
use memif_pmd::{Error, FdRegistry, Interface, Memif};
use memif_ring::message::{Direction, MessageKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What was logged, by all tests of this process.
#[derive(Clone, Copy)]
struct Log;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines of one kind, from now on.
struct Counted {
    words: Vec<String>,
    since: Instant,
}

impl Counted {
    /// Those with all of these words.
    fn new(words: &[&str]) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
        Self { words: words.iter().map(|word| (*word).to_owned()).collect(), since: Instant::now() }
    }

    fn lines(&self) -> Vec<String> {
        let lines = LINES.lock().unwrap();
        lines.iter().filter(|line| self.words.iter().all(|word| line.contains(word))).cloned().collect()
    }

    /// Of `times` events the first was logged at once, and then one a second at most.
    fn are_few(&self, times: u64) {
        let lines = self.lines();
        let (count, most) = (lines.len() as u64, 1 + self.since.elapsed().as_secs());
        assert!((1..=most).contains(&count) && count < times, "{times} events: {lines:#?}");
    }
}

#[test]
fn faults_of_peers_and_of_strangers() {
    let arena = Arena::master_with(|builder| builder.name("noisy"));
    let (peers, strangers) = (Counted::new(&["peer fault", "noisy"]), Counted::new(&["client refused"]));
    for _ in 0..100 {
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::Admitted);
        slave.wire.send_bytes(&[0], &[]);
        slave.wire.last_words();
        let stranger = ScriptedSlave::until(&arena.socket, VICTIM, Step::Hello);
        stranger.wire.send_bytes(&[0], &[]);
        stranger.wire.last_words();
    }
    peers.are_few(100);
    strangers.are_few(100);
    arena.unharmed_master();
}

/// An event loop that takes nothing more, as where `fs.epoll.max_user_watches` is used up: by a peer of the same user, for
/// example.
#[derive(Clone)]
struct Full {
    epoll: Arc<Epoll>,
    is_full: Arc<AtomicBool>,
}

impl Full {
    fn new() -> Self {
        Self { epoll: Arc::new(Epoll::new().unwrap()), is_full: Arc::default() }
    }

    fn fill(&self, full: bool) {
        self.is_full.store(full, Ordering::SeqCst);
    }

    /// One turn: the number of errors.
    fn turn(&self, memif: &Memif) -> u64 {
        let mut ready = [Ready::NONE; 8];
        let count = self.epoll.wait(&mut ready, Some(Duration::from_millis(1))).unwrap();
        let handle = |event: &Ready| memif.handle_fd(RawFd::try_from(event.token()).unwrap());
        let errors = ready[..count].iter().map(handle).filter_map(Result::err);
        errors.inspect(|error| assert!(matches!(error, Error::System { .. }), "{error}")).count() as u64
    }

    /// Turns for as long as `business` takes.
    fn during(&self, memif: &Memif, business: impl FnOnce()) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    self.turn(memif);
                }
            });
            let _ends = Ends(&over);
            business();
        });
    }
}

impl FdRegistry for Full {
    fn watch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(28));
        }
        self.epoll.add(fd, u64::from(fd.as_raw_fd().unsigned_abs()), Interest::READ)
    }

    fn unwatch(&self, fd: BorrowedFd<'_>) {
        self.epoll.delete(fd).unwrap();
    }
}

/// An honest slave finds the master, and a bystander has traffic meanwhile.
fn works(watch: &Full, memif: &Memif, socket: &str, master: &Interface, bystander: Bystander) {
    watch.during(memif, || {
        let own = Memif::start().unwrap();
        let slave = own.interface(socket).id(VICTIM).reconnect(Duration::from_millis(5)).open().unwrap();
        until("the link", || slave.is_up() && master.is_up());
        bystander.finish();
    });
}

/// A control plane in an event loop, a master, and a bystander.
fn in_an_event_loop() -> (Full, Memif, String, Interface, Bystander) {
    let (watch, socket) = (Full::new(), address());
    let memif = Memif::with_registry(watch.clone()).unwrap();
    let master = memif.interface(&socket).master().id(VICTIM).open().unwrap();
    let mut bystander = None;
    watch.during(&memif, || bystander = Some(Bystander::new(&memif, &socket)));
    (watch, memif, socket, master, bystander.unwrap())
}

#[test]
fn clients_that_nothing_can_watch() {
    const TEST: &str = "clients_that_nothing_can_watch";
    if !in_child_process(TEST, ":") {
        return;
    }
    let (watch, memif, socket, master, mut bystander) = in_an_event_loop();
    let log = Counted::new(&["cannot watch", "connection"]);
    watch.fill(true);
    let mut errors = 0;
    while errors < 200 {
        let _client = Wire::connect(&socket);
        errors += watch.turn(&memif);
    }
    log.are_few(errors);
    bystander.moves_on();
    watch.fill(false);
    works(&watch, &memif, &socket, &master, bystander);
}

/// Without descriptors a listener rests, and wakes up ten times a second.
#[test]
fn a_listener_that_nothing_can_watch_again() {
    const TEST: &str = "a_listener_that_nothing_can_watch_again";
    if !in_child_process(TEST, "ulimit -n 200") {
        return;
    }
    let (watch, memif, socket, master, mut bystander) = in_an_event_loop();
    let (resting, watching) = (Counted::new(&["cannot accept"]), Counted::new(&["cannot watch", "listener"]));
    let client = Wire::connect(&socket);
    let files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    watch.turn(&memif);
    drop(files);
    watch.fill(true);
    let mut errors = 0;
    while errors < 15 {
        errors += watch.turn(&memif);
    }
    assert_eq!(resting.lines().len(), 1);
    watching.are_few(errors);
    bystander.moves_on();
    watch.fill(false);
    watch.during(&memif, || drop(client.expect(MessageKind::Hello)));
    drop(client);
    works(&watch, &memif, &socket, &master, bystander);
}

fn limit_address_space(bytes: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::As);
    setrlimit(Resource::As, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

/// Threads that close what peers left.
fn closers() -> usize {
    thread_names().filter(|name| name == "memif-closer").count()
}

/// Each client leaves a descriptor behind that must be closed, and no thread can be started for it: the one that there is
/// waits for a socket that lingers.
#[test]
fn threads_that_cannot_be_started() {
    const TEST: &str = "threads_that_cannot_be_started";
    if !in_child_process(TEST, ":") {
        return;
    }
    let mut arena = Arena::master();
    let log = Counted::new(&["cannot start a thread", "memif-closer"]);
    let lingering = linger_before_init(&arena, LINGER);
    lingering.wait_closing();
    let memory = Memory::new(4, 2048);
    let clients: Vec<_> =
        (0..100).map(|_| ScriptedSlave::until(&arena.socket, VICTIM, Step::Hello)).collect();
    arena.bystander.moves_on();
    until("idle threads to end", || closers() == 1);
    limit_address_space(Some(address_space() + (64 << 10)));
    for client in &clients {
        client.wire.send(&client.region(), &[memory.fd()]);
        client.wire.last_words();
    }
    until("the queue", || arena.memif.stats().reaper_queued >= 99);
    limit_address_space(None);
    log.are_few(100);
    arena.bystander.moves_on();
    drop((lingering, clients));
    until("everything to be closed", || arena.memif.stats().reaper_queued == 0);
    arena.unharmed_master();
}

/// The kernel runs the callbacks of all watches on the thread that notifies. The peer comes back with the same eventfd again
/// and again.
#[test]
fn notifications_that_each_link_makes_slow() {
    const LINKS: u64 = 20;
    if !in_child_process("notifications_that_each_link_makes_slow", common::MANY_DESCRIPTORS) {
        return;
    }
    let arena = Arena::master();
    let log = Counted::new(&["notifying the peer takes very long"]);
    let doorbell = event();
    // many enough that a notification is slow on a processor several times as fast as those of today
    let copies: Vec<_> = (0..500).map(|_| doorbell.try_clone().unwrap()).collect();
    let watches: Vec<_> = (0..200).map(|_| Epoll::new().unwrap()).collect();
    for (epoll, copy) in watches.iter().flat_map(|epoll| copies.iter().map(move |copy| (epoll, copy))) {
        epoll.add(copy, 0, Interest::READ | Interest::EDGE).unwrap();
    }
    let mut tx = arena.victim.tx(0).unwrap();
    for _ in 0..LINKS {
        until("the last link's end", || !arena.victim.is_up());
        let events: [OwnedFd; 2] = [event(), doorbell.try_clone().unwrap()];
        let slave = ScriptedSlave::unconnected(Wire::connect(&arena.socket), VICTIM, Memory::new(4, 2048));
        let slave = ScriptedSlave { events, ..slave };
        slave.wire.expect(MessageKind::Hello);
        slave.run(Step::Hello, Step::Up);
        slave.post();
        let before = tx.stats().interrupts_deferred;
        // one notification after the other, until the sender has seen enough slow ones in a row
        let mut sequence = 0;
        while tx.stats().interrupts_deferred == before {
            sequence += 1;
            assert!(sequence <= 1000, "never deferred: {:?}", tx.stats());
            assert!(How::Copy.send(&mut tx, &packet(64, sequence.into())));
            slave.m2s().publish([slave.memory.slot(Direction::M2S, sequence)]);
        }
    }
    until("a line", || !log.lines().is_empty());
    log.are_few(LINKS);
    drop((watches, tx));
    arena.unharmed_master();
}
