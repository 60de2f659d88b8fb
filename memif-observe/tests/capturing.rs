//! Packets that are copied while they pass: whole, in order, and none that was not sent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memif_observe::capture::{Looked, Packet, Tap};
use memif_observe::{Observer, Scope};
use memif_os::region_file::{PeerRegion, ShrinkSeal};
use memif_pmd::{Burst, Interface, Memif, RxQueue, TxQueue};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);
/// Packets that a test wants to see.
const ENOUGH: u64 = 500;

struct Pair {
    _memif: Memif,
    master: Interface,
    slave: Interface,
    _dir: TempDir,
}

fn pair(ring: u32, buffer: u32) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("m.sock").to_str().unwrap().to_owned();
    let memif = Memif::start().unwrap();
    let master = memif.interface(&socket).master().open().unwrap();
    let slave = memif.interface(&socket).slave().ring_size(ring).buffer_size(buffer).open().unwrap();
    master.wait_up(Some(PATIENCE)).unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    Pair { _memif: memif, master, slave, _dir: dir }
}

fn length(number: u64, most: u64) -> usize {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    usize::try_from(8 + mixed % (most - 7)).unwrap()
}

fn byte(number: u64, at: usize) -> u8 {
    (number.wrapping_mul(31) ^ at as u64).to_le_bytes()[0] ^ number.to_le_bytes()[1]
}

fn content(number: u64, most: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length(number, most)).map(|at| byte(number, at)).collect();
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Sends numbered packets until it is over, `burst` at a time with a pause behind each.
fn send(mut tx: TxQueue, over: &AtomicBool, (most, burst, pause): (u64, u16, Duration)) {
    let mut packets = Burst::new(burst.into()).unwrap();
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        while packets.push(&content(number, most)).is_ok() {
            number += 1;
        }
        while !packets.is_empty() && !over.load(Ordering::Relaxed) {
            tx.send(&mut packets);
        }
        packets.clear();
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
}

fn receive(mut rx: RxQueue, over: &AtomicBool) {
    let mut packets = Burst::new(64).unwrap();
    while !over.load(Ordering::Relaxed) {
        rx.receive(&mut packets);
        packets.clear();
    }
}

/// Checks packets: those that were sent, each once, in order.
struct Check {
    last: Option<u64>,
    most: u64,
}

impl Check {
    fn packet(&mut self, packet: &Packet<'_>, snap: usize) {
        let number = u64::from_le_bytes(packet.bytes[..8].try_into().unwrap());
        assert!(self.last.is_none_or(|last| last < number), "{number} after {:?}", self.last);
        self.last = Some(number);
        let sent = content(number, self.most);
        assert_eq!(packet.length as usize, sent.len(), "length of {number}");
        assert!(packet.bytes == &sent[..sent.len().min(snap)], "bytes of {number}");
    }
}

/// Copies packets of one direction while it is in use.
fn capture(ring: &str, geometry: (u32, u32), traffic: (u64, u16, Duration), snap: usize) {
    let pair = pair(geometry.0, geometry.1);
    let (tx, rx) = match ring {
        "s2m/0" => (pair.slave.tx(0).unwrap(), pair.master.rx(0).unwrap()),
        _ => (pair.master.tx(0).unwrap(), pair.slave.rx(0).unwrap()),
    };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| send(tx, &over, traffic));
        scope.spawn(|| receive(rx, &over));
        let mut observer = Observer::new(Scope { pid: Some(std::process::id()), socket: None });
        observer.scan().unwrap();
        let file = |link: &&memif_observe::Link| {
            link.shape().is_some_and(|shape| u32::from(shape.size()) == geometry.0)
        };
        let link = observer.links().iter().find(file).unwrap();
        let number = (0..2).find(|number| link.ring_name(*number) == ring).unwrap();
        let mut tap = Tap::new(link, number, snap).unwrap();
        let mut check = Check { last: None, most: traffic.0 };
        let began = Instant::now();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while tap.tally().packets < ENOUGH {
                let looked = tap.look(|packet| check.packet(&packet, snap));
                assert_ne!(looked, Looked::Over);
                assert!(began.elapsed() < PATIENCE, "too few: {:?}", tap.tally());
            }
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = caught {
            std::panic::resume_unwind(panic);
        }
    });
}

const PAUSE: Duration = Duration::from_micros(200);

#[test]
fn packets_to_the_master_are_those_that_were_sent() {
    capture("s2m/0", (1024, 2048), (1500, 32, PAUSE), 2000);
}

#[test]
fn packets_from_the_master_are_those_that_were_sent() {
    capture("m2s/0", (512, 2048), (1500, 32, PAUSE), 2000);
}

#[test]
fn packets_of_several_buffers_are_put_together() {
    capture("s2m/0", (256, 512), (3000, 16, PAUSE), 4000);
    capture("m2s/0", (256, 512), (3000, 16, PAUSE), 4000);
}

#[test]
fn pieces_of_packets_are_not_taken_for_packets() {
    capture("s2m/0", (4096, 512), (3000, 1, Duration::from_millis(1)), 4000);
    capture("m2s/0", (4096, 512), (3000, 1, Duration::from_millis(1)), 4000);
}

#[test]
fn at_full_speed_none_is_invented() {
    capture("s2m/0", (64, 2048), (600, 64, Duration::ZERO), 100);
    capture("m2s/0", (128, 2048), (600, 64, Duration::ZERO), 100);
}

#[test]
fn the_last_packets_before_a_pause_are_shown_too() {
    capture("s2m/0", (2048, 2048), (1500, 1, Duration::from_millis(1)), 2000);
}

#[test]
fn garbage_and_a_file_that_is_cut_cost_the_tap_and_not_the_process() {
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    file.set_len(1 << 20).unwrap();
    let cookie = |ring: u64| {
        file.write_all_at(&0x03E3_1F20u32.to_ne_bytes(), ring * (128 + 16 * 8192)).unwrap();
    };
    (0..2).for_each(cookie);
    let _mapped = PeerRegion::map(&file, 1 << 20, ShrinkSeal::Prefer).unwrap();
    let mut observer = Observer::new(Scope { pid: Some(std::process::id()), socket: None });
    observer.scan().unwrap();
    let is_it = |link: &&memif_observe::Link| link.shape().is_some_and(|shape| shape.size() == 8192);
    let link = observer.links().iter().find(is_it).unwrap();
    let mut taps: Vec<Tap> = (0..2).map(|ring| Tap::new(link, ring, 1 << 16).unwrap()).collect();
    let mut seed = 1u64;
    for turn in 0..200 {
        let garbage: Vec<u8> = (0..1 << 20)
            .map(|_| {
                seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                // small numbers as well, which pass for lengths and offsets
                if turn % 2 == 0 { seed.to_be_bytes()[0] } else { seed.to_be_bytes()[0] & 1 }
            })
            .collect();
        file.write_all_at(&garbage, 0).unwrap();
        (0..2).for_each(cookie);
        for tap in &mut taps {
            assert_ne!(tap.look(|packet| assert!(packet.length <= 65535)), Looked::Over);
            let _ = tap.look(|_| {});
        }
    }
    file.set_len(0).unwrap();
    for tap in &mut taps {
        assert_eq!(tap.look(|_| {}), Looked::Over);
    }
}
