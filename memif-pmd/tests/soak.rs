//! Everything at once, for as long as you like: links that come and go, modes that change, packets and rings and buffers
//! and queues of every size, and next to all of them a slave and a master that misbehave. Every packet between honest ends
//! is checked: none changes, and none is lost that no counter tells of.
//!
//! `MEMIF_SOAK_SECONDS` sets how long, 5 by default; `MEMIF_SOAK_SEED` repeats a run's choices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod hostile_peer;

use std::env;
use std::os::fd::{AsFd, BorrowedFd};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, Random, check, fill, length, until};
use hostile_peer::master::{ScriptedListener, Step as MasterStep};
use hostile_peer::memory::{RingFile, next};
use hostile_peer::mischief::ATTACKS;
use hostile_peer::slave::{ScriptedSlave, Step};
use hostile_peer::wire::Wire;
use hostile_peer::{Arena, Ends, How, VICTIM};
use memif_os::huge_pages::HugePages;
use memif_pmd::{Burst, DropReason, Interface, Memif, QueueStats, RxMode, RxQueue, TxQueue};
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::message::Direction;

const PAIRS: u32 = 3;

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn soak() {
    let seconds = setting("MEMIF_SOAK_SECONDS", 5);
    let seed = setting("MEMIF_SOAK_SEED", u64::from(process::id()));
    println!("MEMIF_SOAK_SEED={seed} MEMIF_SOAK_SECONDS={seconds}");
    let arena = Arena::master();
    let (lured, listener) = Arena::slave();
    let (over, total) = (AtomicBool::new(false), Total::default());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..PAIRS)
            .map(|id| {
                let (arena, over, total) = (&arena, &over, &total);
                scope.spawn(move || Honest::new(&arena.memif, &arena.socket, id, seed).run(over, total))
            })
            .collect();
        let hostile = [
            scope.spawn(|| as_slave(&arena, &over, &mut Random::new(seed))),
            scope.spawn(|| as_master(&lured, &listener, &over, &mut Random::new(!seed))),
        ];
        let _ends = Ends(&over);
        let end = Instant::now() + Duration::from_secs(seconds);
        let all_run = || {
            hostile.iter().all(|attacker| !attacker.is_finished())
                && workers.iter().all(|worker| !worker.is_finished())
        };
        while Instant::now() < end && all_run() {
            thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Release);
        let attacks = hostile.map(|attacker| attacker.join().unwrap());
        println!("attacks by a slave, by a master: {attacks:?}");
        assert!(attacks.iter().all(|count| *count > 0));
    });
    println!("{total:?}");
    assert!(total.packets.load(Ordering::Relaxed) > 0 && total.links.load(Ordering::Relaxed) > 0);
    println!("faults of slaves: {:?}", arena.details().faults().collect::<Vec<_>>());
    println!("faults of masters: {:?}", lured.details().faults().collect::<Vec<_>>());
    arena.unharmed_master();
    lured.unharmed_slave(listener);
}

/// What all honest pairs have seen.
#[derive(Debug, Default)]
struct Total {
    links: AtomicU64,
    packets: AtomicU64,
    /// In a ring when its link went: sent by one side's counter, not received by the other's.
    cut_off: AtomicU64,
    link_down: AtomicU64,
}

/// One queue in one direction, for the time of one link.
struct Lane {
    tx: TxQueue,
    rx: RxQueue,
    out: Burst,
    back: Burst,
    begin: (QueueStats, QueueStats),
    pushed: u64,
    expected: u64,
    largest: usize,
}

impl Lane {
    fn new(tx: TxQueue, rx: RxQueue, largest: usize) -> Self {
        let begin = (tx.stats(), rx.stats());
        let (out, back) = (Burst::new(32).unwrap(), Burst::new(32).unwrap());
        Self { tx, rx, out, back, begin, pushed: 0, expected: 0, largest }
    }

    fn len(&self, sequence: u64) -> usize {
        length(sequence, 8, self.largest)
    }

    fn turn(&mut self, more: bool) {
        self.send(more);
        self.receive();
    }

    fn send(&mut self, more: bool) {
        while more && let Ok(packet) = self.out.reserve(length(self.pushed, 8, self.largest)) {
            fill(packet, self.pushed);
            self.pushed += 1;
        }
        self.tx.send(&mut self.out);
    }

    fn receive(&mut self) {
        self.rx.receive(&mut self.back);
        for packet in &self.back {
            assert_eq!(packet.len(), self.len(self.expected), "a packet was lost while the link was up");
            check(packet, self.expected);
            self.expected += 1;
        }
        self.back.clear();
    }

    /// The link is over: every packet must be accounted for.
    fn settle(self, ring: u64, drained: bool, total: &Total) {
        let (sent, received) = (self.tx.stats(), self.rx.stats());
        let went = sent.packets - self.begin.0.packets;
        let came = received.packets - self.begin.1.packets;
        let link_down = sent.link_down - self.begin.0.link_down;
        assert_eq!(came, self.expected);
        assert_eq!(self.pushed, went + link_down + self.out.len() as u64, "all that was given is counted");
        let cut_off = went - came;
        assert!(cut_off <= if drained { 0 } else { ring }, "{cut_off} of {went} packets, ring of {ring}");
        for reason in DropReason::ALL.iter().copied() {
            assert_eq!(sent.drops_for(reason) + received.drops_for(reason), 0, "{reason}");
        }
        total.packets.fetch_add(came, Ordering::Relaxed);
        total.cut_off.fetch_add(cut_off, Ordering::Relaxed);
        total.link_down.fetch_add(link_down, Ordering::Relaxed);
    }
}

/// Two honest ends.
struct Honest<'a> {
    memif: &'a Memif,
    own: Memif,
    socket: &'a str,
    id: u32,
    random: Random,
}

impl<'a> Honest<'a> {
    fn new(memif: &'a Memif, socket: &'a str, id: u32, seed: u64) -> Self {
        let random = Random::new(seed.wrapping_add(u64::from(id) + 1));
        Self { memif, own: Memif::start().unwrap(), socket, id, random }
    }

    fn number(&mut self, low: u32, high: u32) -> u32 {
        u32::try_from(self.random.range(low as usize, high as usize)).unwrap()
    }

    fn mode(&mut self) -> RxMode {
        [RxMode::Polling, RxMode::Interrupt, RxMode::Adaptive][self.random.range(0, 2)]
    }

    fn master(&mut self) -> Interface {
        let mode = self.mode();
        // as many as any slave wants: HELLO tells the most of all interfaces of the listener, not of one
        let builder = self.memif.interface(self.socket).master().id(self.id).queues(4);
        builder.rx_mode(mode).open().unwrap()
    }

    /// A slave, its ring size and the largest packet that fits into a ring.
    fn slave(&mut self) -> (Interface, u64, usize) {
        let ring = 1 << self.number(1, 9);
        let buffer = self.number(64, 3000);
        let (rx, tx, mode) = (self.number(1, 4), self.number(1, 4), self.mode());
        let builder = self.own.interface(self.socket).slave().id(self.id).huge_pages(HugePages::Off);
        let builder = builder.rx_queues(u16::try_from(rx).unwrap()).tx_queues(u16::try_from(tx).unwrap());
        let builder = builder.ring_size(ring).buffer_size(buffer).reconnect(Duration::from_millis(2));
        let slave = builder.rx_mode(mode).open().unwrap();
        (slave, ring.into(), (ring as usize * buffer as usize).min(9000))
    }

    fn run(mut self, over: &AtomicBool, total: &Total) {
        let mut master = self.master();
        let (mut slave, mut ring, mut largest) = self.slave();
        while !over.load(Ordering::Acquire) {
            slave.wait_up(Some(PATIENCE)).unwrap();
            master.wait_up(Some(PATIENCE)).unwrap();
            total.links.fetch_add(1, Ordering::Relaxed);
            let mut lanes = lanes(&master, &slave, largest);
            self.traffic(&mut lanes, [&master, &slave], over);
            let drained = self.random.range(0, 1) == 0;
            if drained {
                until("what is under way", || {
                    lanes.iter_mut().for_each(|lane| lane.turn(false));
                    lanes.iter().all(|lane| lane.expected == lane.pushed)
                });
            } else {
                lanes.iter_mut().for_each(|lane| lane.send(true));
            }
            // the other end stays, and must take up the next link by itself
            if self.random.range(0, 1) == 0 {
                drop(slave);
                until("the master's notice", || !master.is_up());
                self.send_more(&mut lanes);
                settle(lanes, ring, drained, total);
                (slave, ring, largest) = self.slave();
            } else {
                drop(master);
                until("the slave's notice", || !slave.is_up());
                self.send_more(&mut lanes);
                settle(lanes, ring, drained, total);
                master = self.master();
            }
        }
    }

    fn traffic(&mut self, lanes: &mut [Lane], ends: [&Interface; 2], over: &AtomicBool) {
        for _ in 0..self.random.range(1, 100) {
            if over.load(Ordering::Acquire) {
                return;
            }
            lanes.iter_mut().for_each(|lane| lane.turn(true));
            match self.random.range(0, 30) {
                0 => {
                    let end = ends[self.random.range(0, 1)];
                    let queue = u16::try_from(self.random.range(0, usize::from(end.rx_count()) - 1)).unwrap();
                    end.set_rx_mode(queue, self.mode()).unwrap();
                }
                1 => {
                    let lane = self.random.range(0, lanes.len() - 1);
                    lanes[lane].rx.set_mode(self.mode());
                }
                2 => {
                    let lane = self.random.range(0, lanes.len() - 1);
                    lanes[lane].rx.wait(Some(Duration::from_micros(100))).unwrap();
                }
                _ => thread::yield_now(),
            }
        }
    }

    /// Sends a little more, although nobody is there: it is dropped, and counted.
    fn send_more(&mut self, lanes: &mut [Lane]) {
        for _ in 0..self.random.range(0, 3) {
            lanes.iter_mut().for_each(|lane| lane.turn(true));
        }
    }
}

fn settle(lanes: Vec<Lane>, ring: u64, drained: bool, total: &Total) {
    for lane in lanes {
        lane.settle(ring, drained, total);
    }
}

/// The queues that both ends have.
fn lanes(master: &Interface, slave: &Interface, largest: usize) -> Vec<Lane> {
    let s2m = 0..slave.tx_count().min(master.rx_count());
    let m2s = 0..master.tx_count().min(slave.rx_count());
    let s2m = s2m.map(|queue| Lane::new(slave.tx(queue).unwrap(), master.rx(queue).unwrap(), largest));
    let m2s = m2s.map(|queue| Lane::new(master.tx(queue).unwrap(), slave.rx(queue).unwrap(), largest));
    s2m.chain(m2s).collect()
}

/// A slave that attacks the victim until it is over; how often.
fn as_slave(arena: &Arena, over: &AtomicBool, random: &mut Random) -> u64 {
    let mut attacks = 0;
    // those of the list are made in turn, so that a short run makes each of them
    let mut listed = ATTACKS.iter().cycle();
    while !over.load(Ordering::Acquire) {
        // with too much still to be closed, the victim takes nobody
        until("the last attack's end", || !arena.victim.is_up() && arena.memif.stats().reaper_queued < 8);
        attacks += 1;
        if random.range(0, 2) == 0
            && let Some((_, attack)) = listed.next()
        {
            attack(arena, random);
            continue;
        }
        let slave = ScriptedSlave::until(&arena.socket, VICTIM, Step::ALL[random.range(0, 4)]);
        match random.range(0, 3) {
            0 => {} // just leaves
            1 => send_garbage(&slave.wire, slave.memory.fd(), random),
            _ => {
                let rings = [slave.s2m(), slave.m2s()];
                abuse_rings(&arena.victim, rings, |index| slave.memory.slot(Direction::S2M, index), random);
            }
        }
        drop(slave);
        thread::yield_now();
    }
    attacks
}

/// The same by a master, whose victim is a slave.
fn as_master(arena: &Arena, listener: &ScriptedListener, over: &AtomicBool, random: &mut Random) -> u64 {
    let mut attacks = 0;
    while !over.load(Ordering::Acquire) {
        until("the last attack's end", || !arena.victim.is_up());
        let step = MasterStep::ALL[random.range(0, 4)];
        let master = listener.until(step);
        match random.range(0, 3) {
            0 => {} // just leaves
            1 => send_garbage(&master.wire, listener.as_fd(), random),
            _ if step >= MasterStep::Connect => {
                if step == MasterStep::Up {
                    until("the victim's link", || arena.victim.is_up());
                }
                let rings = [Direction::S2M, Direction::M2S].map(|direction| master.ring(direction));
                abuse_rings(&arena.victim, rings, |index| rings[1].desc(index), random);
            }
            _ => {} // has no rings yet
        }
        drop(master);
        attacks += 1;
        thread::yield_now();
    }
    attacks
}

/// One message of anything with any number of descriptors, and what it brings.
fn send_garbage(wire: &Wire, fd: BorrowedFd<'_>, random: &mut Random) {
    let mut bytes = vec![0; random.range(1, 300)];
    bytes.fill_with(|| random.next().to_le_bytes()[0]);
    wire.send_bytes(&bytes, &vec![fd; random.range(0, 253)]);
    wire.last_words();
}

/// Writes to the rings what comes to mind, while the victim uses them. `good` is a descriptor that means something.
fn abuse_rings(
    victim: &Interface,
    rings: [RingFile<'_>; 2],
    good: impl Fn(u16) -> Desc,
    random: &mut Random,
) {
    let (mut rx, mut tx) = (victim.rx(0).unwrap(), victim.tx(0).unwrap());
    for _ in 0..random.range(1, 200) {
        let mut half = || u16::try_from(random.next() & 0xFFFF).unwrap();
        let ring = rings[usize::from(half() % 2)];
        let index = half();
        let wild = Desc {
            flags: DescFlags::from_bits_retain(half()),
            region: half() % 2,
            length: u32::from(half()) << (half() % 17),
            offset: u32::from(half()) << (half() % 17),
            metadata: 0,
        };
        match half() % 20 {
            0..3 => ring.set_desc(index, wild),
            3..6 => ring.set_desc(index, next(good(index))),
            6..9 => ring.set_desc(index, good(index)),
            9..11 => ring.set_flags(index),
            // a ring of 16: mostly, but not always, within it
            11..15 => ring.set_head(ring.tail().wrapping_add(index % 18)),
            15..19 => ring.set_tail(ring.head().wrapping_sub(index % 18)),
            _ if index % 2 == 0 => ring.set_head(half()),
            _ => ring.set_tail(half()),
        }
        let how = How::ALL[usize::from(half() % 2)];
        how.once(&mut rx);
        how.send(&mut tx, &[1; 1000]);
    }
}
