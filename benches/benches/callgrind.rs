//! The cases whose instructions are limited: each runs its hot loop once inside `measured`, over a ring full of packets.
//! `ci/callgrind.sh` runs this under callgrind, counts the instructions of each call, and compares them with
//! `benches/callgrind.budget`. Printed is a line a case, in order: its name and the packets (or polls) it took.
#![allow(missing_docs)] // a program

mod rings;

use std::hint::black_box;
use std::time::Duration;

use memif_pmd::{Burst, Error, Interface, Memif, RxQueue, TxQueue};

use rings::{Direction, Line};

const PACKETS: usize = 1 << rings::LOG2_SIZE;
const SIZES: [usize; 3] = [64, 256, 1514];
const BURSTS: [usize; 3] = [1, 32, 64];

/// `ci/callgrind.sh` searches for this name. Never inlined, so that callgrind sees calls of it.
#[inline(never)]
fn measured(name: &str, mut hot: impl FnMut() -> usize) {
    let packets = black_box(hot());
    assert_eq!(packets, PACKETS, "{name}: the loop did not run as it should");
}

fn case(name: &str, hot: impl FnMut() -> usize) {
    measured(name, hot);
    println!("{name} {PACKETS}");
}

/// The two ends of a ring of `memif-ring`.
fn ring(direction: Direction, size: usize, burst: usize) {
    let memory = rings::memory();
    let mut line = Line::new(&memory, direction, size, burst);
    let name = |what| format!("ring/{}/{what}/{size}/{burst}", direction.name());
    case(&name("send"), || (0..PACKETS / burst).map(|_| line.send()).sum());
    case(&name("receive"), || (0..PACKETS / burst).map(|_| line.receive()).sum());
}

/// Queues of `memif-pmd` over a real link, both ends of it on this thread.
fn queue(direction: Direction, (tx, rx): (&mut TxQueue, &mut RxQueue), size: usize, burst: usize) {
    let mut out: Vec<Burst> = (0..PACKETS / burst).map(|_| rings::filled(size, burst)).collect();
    let mut inbox = rings::empty(burst);
    let name = |what| format!("queue/{}/{what}/{size}/{burst}", direction.name());
    case(&name("send"), || out.iter_mut().map(|burst| tx.send(burst)).sum());
    case(&name("receive"), || {
        let take = |_| {
            inbox.clear();
            rx.receive(&mut inbox)
        };
        (0..PACKETS / burst).map(take).sum()
    });
    // gives back what lots hold back, for the next case
    while rx.receive(&mut inbox) > 0 {}
}

fn idle(direction: Direction, rx: &mut RxQueue) {
    let mut inbox = rings::empty(64);
    case(&format!("queue/{}/idle-poll", direction.name()), || {
        (0..PACKETS).map(|_| 1 + rx.receive(&mut inbox)).sum()
    });
}

fn link() -> Result<(Memif, Interface, Interface), Error> {
    let memif = Memif::new()?;
    let socket = format!("@memif-callgrind-{}", std::process::id());
    let master = memif.interface(&socket).master().open()?;
    let slave = memif.interface(&socket).slave().open()?;
    while !(master.is_up() && slave.is_up()) {
        memif.poll(Some(Duration::from_millis(100)))?;
    }
    Ok((memif, master, slave))
}

fn main() -> Result<(), Error> {
    let (_memif, master, slave) = link()?;
    for direction in Direction::BOTH {
        let (sender, receiver) = match direction {
            Direction::S2M => (&slave, &master),
            Direction::M2S => (&master, &slave),
        };
        let (mut tx, mut rx) = (sender.tx(0)?, receiver.rx(0)?);
        rx.receive(&mut rings::empty(1)); // takes up the link
        idle(direction, &mut rx);
        for size in SIZES {
            for burst in BURSTS {
                ring(direction, size, burst);
                queue(direction, (&mut tx, &mut rx), size, burst);
            }
        }
    }
    Ok(())
}
