//! What the tests share: sockets of their own, pairs of interfaces, and packets that can be checked.
#![allow(dead_code, reason = "each test program uses its share of it")]

pub(crate) mod packet_memory;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use memif_pmd::{Burst, Error, Event, Interface, InterfaceBuilder, LineSize, Memif, RxQueue, TxQueue};

/// The layout of the rings: the programs that run the tests of another one again, with lines of 128 bytes, are named so.
pub(crate) fn line() -> LineSize {
    if env!("CARGO_CRATE_NAME").starts_with("lines_128_") { LineSize::Bytes128 } else { LineSize::Bytes64 }
}

/// How long anything may take that must happen; nothing in a sound test takes a tenth of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// An abstract socket address that no other test uses.
pub(crate) fn address() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("@memif-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until `condition` is true.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "still waiting: {what}");
        thread::yield_now();
    }
}

macro_rules! variants {
    ($($name:ident)*) => {
        /// The name of an error's variant, of those that tests meet.
        pub(crate) fn variant(error: &Error) -> &'static str {
            match error {
                $(Error::$name { .. } => stringify!($name),)*
                _ => "another one",
            }
        }
    };
}
variants! {
    Address NoDirectory AddressInUse NoHugePages NotAListener NobodyListens UnusableMemory BufferOffset Core OutOfRange RingSize
    TooMuchMemory Text Port IdInUse NoSuchQueue QueueInUse NoLink Worker System Deleted OutOfDescriptors OutOfThreads OutOfMemory
}

/// Two ends of one link, both on a control plane with a thread.
pub(crate) struct Pair {
    pub(crate) master: Interface,
    pub(crate) slave: Interface,
    pub(crate) memif: Memif,
}

impl Pair {
    /// Both ends with the same settings.
    pub(crate) fn of(setup: impl for<'m> Fn(InterfaceBuilder<'m>) -> InterfaceBuilder<'m>) -> Self {
        Self::with(&setup, &setup)
    }

    /// The ends, each with its own settings.
    pub(crate) fn with(
        master: impl for<'m> Fn(InterfaceBuilder<'m>) -> InterfaceBuilder<'m>,
        slave: impl for<'m> Fn(InterfaceBuilder<'m>) -> InterfaceBuilder<'m>,
    ) -> Self {
        let memif = Memif::start().unwrap();
        let socket = address();
        let master = master(memif.interface(&socket).master()).open().unwrap();
        let slave = slave(memif.interface(&socket).slave().reconnect(Duration::from_millis(5)));
        let slave = slave.open().unwrap();
        let pair = Self { master, slave, memif };
        pair.wait_up();
        pair
    }

    pub(crate) fn wait_up(&self) {
        self.slave.wait_up(Some(PATIENCE)).unwrap();
        self.master.wait_up(Some(PATIENCE)).unwrap();
    }

    /// Queue 0 from slave to master.
    pub(crate) fn s2m(&self) -> (TxQueue, RxQueue) {
        (self.slave.tx(0).unwrap(), self.master.rx(0).unwrap())
    }

    /// Queue 0 from master to slave.
    pub(crate) fn m2s(&self) -> (TxQueue, RxQueue) {
        (self.master.tx(0).unwrap(), self.slave.rx(0).unwrap())
    }
}

/// Numbers that look random and are the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// One of `low..=high`.
    pub(crate) fn range(&mut self, low: usize, high: usize) -> usize {
        low + usize::try_from(self.next()).unwrap() % (high - low + 1)
    }
}

/// Fills the packet with number `sequence`: the number first, then bytes that depend on it and on their place.
pub(crate) fn fill(packet: &mut [u8], sequence: u64) {
    let mut state = sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ packet.len() as u64;
    for chunk in packet.chunks_mut(8) {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let bytes = (state ^ (state >> 29)).to_le_bytes();
        chunk.copy_from_slice(&bytes[..chunk.len()]);
    }
    if let Some(head) = packet.first_chunk_mut::<8>() {
        *head = sequence.to_le_bytes();
    }
}

/// A packet of `len` bytes with number `sequence`.
pub(crate) fn packet(len: usize, sequence: u64) -> Vec<u8> {
    let mut packet = vec![0; len];
    fill(&mut packet, sequence);
    packet
}

/// Fails unless this is the packet with number `sequence`.
pub(crate) fn check(got: &[u8], sequence: u64) {
    assert!(
        got == packet(got.len(), sequence),
        "packet {sequence} of {} bytes is not what was sent",
        got.len()
    );
}

/// A number for the bursts' sizes, lengths of packets and so on, from the packet's own number.
pub(crate) fn length(sequence: u64, low: usize, high: usize) -> usize {
    Random::new(sequence + 1).range(low, high)
}

/// Sends packets with the numbers in `numbers`, whatever the ring's size, and checks that they arrive whole and in
/// order. One thread is both ends.
pub(crate) fn exchange(
    (tx, rx): (&mut TxQueue, &mut RxQueue),
    numbers: std::ops::Range<u64>,
    lengths: std::ops::RangeInclusive<usize>,
) {
    let (low, high) = (*lengths.start(), *lengths.end());
    let (mut out, mut back) = (Burst::new(32).unwrap(), Burst::new(32).unwrap());
    let (mut next, mut expected) = (numbers.start, numbers.start);
    let end = Instant::now() + PATIENCE;
    while expected < numbers.end {
        assert!(Instant::now() < end, "packet {expected} has not arrived; {:?} {:?}", tx.stats(), rx.stats());
        while next < numbers.end {
            let Ok(bytes) = out.reserve(length(next, low, high)) else { break };
            fill(bytes, next);
            next += 1;
        }
        tx.send(&mut out);
        rx.receive(&mut back);
        for got in &back {
            assert_eq!(got.len(), length(expected, low, high), "length of packet {expected}");
            check(got, expected);
            expected += 1;
        }
        back.clear();
    }
    assert!(out.is_empty());
}

/// Receives until packet `numbers.end` was there.
pub(crate) fn receive_all(rx: &mut RxQueue, numbers: std::ops::Range<u64>) {
    let mut burst = Burst::new(64).unwrap();
    let mut expected = numbers.start;
    until("all packets", || {
        rx.receive(&mut burst);
        for got in &burst {
            check(got, expected);
            expected += 1;
        }
        burst.clear();
        expected >= numbers.end
    });
    assert_eq!(expected, numbers.end);
}

/// An event handler, and where its events arrive.
pub(crate) fn events() -> (impl Fn(&Event) + Send + Sync + 'static, Receiver<Event>) {
    let (sender, receiver): (Sender<Event>, _) = channel();
    // nobody listens any more once the test is over
    let handler = move |event: &Event| drop(sender.send(event.clone()));
    (handler, receiver)
}

/// The next event.
pub(crate) fn next(events: &Receiver<Event>) -> Event {
    events.recv_timeout(PATIENCE).unwrap()
}

/// File descriptors of this process.
pub(crate) fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Most threads that map, allocate, close and unmap, of all control planes of a process together.
const BACKGROUND: usize = 44;

/// Names of this process's threads, but for those that end meanwhile.
pub(crate) fn thread_names() -> impl Iterator<Item = String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.map(|name| name.trim().to_owned())
}

/// Threads of this process: those in the background, which are few, come as there is work and end soon after it, and all
/// others.
fn threads_by_kind() -> (usize, usize) {
    let background =
        |name: &String| ["memif-closer", "memif-unmapper", "memif-builder"].contains(&name.as_str());
    let (background, others): (Vec<_>, Vec<_>) = thread_names().partition(background);
    assert!(background.len() <= BACKGROUND, "{} threads in the background", background.len());
    (background.len(), others.len())
}

/// Threads of this process but for those in the background.
pub(crate) fn threads() -> usize {
    threads_by_kind().1
}

/// Waits until everything that was to be closed or unmapped is, and the threads that did it have ended but for one a kind.
pub(crate) fn settle() {
    let memif = Memif::new().unwrap();
    until("the threads in the background", || {
        let stats = memif.stats();
        stats.reaper_queued + stats.reaper_busy == 0 && threads_by_kind().0 <= 3
    });
}

/// Mappings of shared memory in this process.
pub(crate) fn shared_mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

/// What a process holds and must give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    descriptors: usize,
    threads: usize,
    mappings: usize,
}

impl Holdings {
    /// What is held once nothing waits to be closed.
    pub(crate) fn at_rest() -> Self {
        settle();
        Self::now()
    }

    fn now() -> Self {
        Self { descriptors: open_descriptors(), threads: threads(), mappings: shared_mappings() }
    }

    /// Waits until there is no more than this. What comes and goes by itself, such as the socket of a slave that tries
    /// again or a thread that is about to end, may be there for a moment.
    pub(crate) fn until_back(&self) {
        let mut now = Self::now();
        let end = Instant::now() + PATIENCE;
        while now.descriptors > self.descriptors || now.threads > self.threads || now.mappings > self.mappings
        {
            assert!(Instant::now() < end, "{now:?} after {self:?}");
            thread::yield_now();
            now = Self::now();
        }
    }
}

/// Bytes of memory that this process uses. None under AddressSanitizer, which keeps what was freed and finds leaks itself.
pub(crate) fn resident_bytes() -> usize {
    if cfg!(asan) {
        return 0;
    }
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// For [`in_child_process`]: as many descriptors as a test with a thousand rings and more takes.
pub(crate) const MANY_DESCRIPTORS: &str = "ulimit -n 8192 2>/dev/null || ulimit -n $(ulimit -H -n)";

/// Tells a child which test it shall run.
const CHILD: &str = "MEMIF_TEST_CHILD";

/// The name of a test with that of the module that it is in, if any: `lines_128_NAME` includes the tests of another program.
pub(crate) fn full_name(test: &str) -> String {
    let path: Vec<&str> = module_path!().split("::").collect();
    [&path[1..path.len() - 1], &[test]].concat().join("::")
}

/// Runs the rest of the test called `test` in a process of its own, after the shell commands of `setup`: true in there.
/// In the test itself it waits for the child, fails as it does, and is false.
pub(crate) fn in_child_process(test: &str, setup: &str) -> bool {
    if std::env::var(CHILD).is_ok_and(|child| child == test) {
        return true;
    }
    let output = Command::new("sh")
        .args(["-c", &format!("{setup}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &full_name(test), "--nocapture"])
        .env(CHILD, test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}
