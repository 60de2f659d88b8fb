//! The counterpart in Rust of `tests/c/bench.c`: packets a second from a slave to a master in one process, on two
//! threads, with one copy at either end. `ci/capi-rate.sh` runs both in turn.
//!
//! `rate SECONDS [BYTES [BURST]]` prints one number: packets per second.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memif_pmd::{Burst, Memif, RxQueue, TxQueue};

static STOP: AtomicBool = AtomicBool::new(false);

fn send_all(mut tx: TxQueue, bytes: usize, burst: usize) {
    let packet = vec![0; bytes];
    while !STOP.load(Ordering::Relaxed) {
        let mut room = tx.reserve(burst, bytes);
        let count = room.len();
        for index in 0..count {
            room.fill(index, &packet);
        }
        room.commit(count);
    }
}

fn receive_all(mut rx: RxQueue, span: Duration, burst: usize) -> Result<f64, memif_pmd::Error> {
    let mut packets = Burst::new(burst)?;
    let began = Instant::now();
    let (mut received, mut turns) = (0u64, 0u32);
    loop {
        received += rx.receive(&mut packets) as u64;
        packets.clear();
        turns = turns.wrapping_add(1);
        if turns % 1024 == 0 && began.elapsed() >= span {
            STOP.store(true, Ordering::Relaxed);
            return Ok(received as f64 / began.elapsed().as_secs_f64());
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let span =
        Duration::from_secs_f64(arguments.next().ok_or("usage: rate SECONDS [BYTES [BURST]]")?.parse()?);
    let bytes = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let burst = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let memif = Memif::start()?;
    let socket = format!("@memif-rate-{}", std::process::id());
    let master = memif.interface(&socket).master().open()?;
    let slave = memif.interface(&socket).slave().open()?;
    slave.wait_up(Some(Duration::from_secs(10)))?;
    master.wait_up(Some(Duration::from_secs(10)))?;
    let (rx, tx) = (master.rx(0)?, slave.tx(0)?);
    let sender = thread::spawn(move || {
        let _ = memif_os::cpu::pin_current(1); // fewer cores than that: as it comes
        send_all(tx, bytes, burst);
    });
    let _ = memif_os::cpu::pin_current(0);
    let rate = receive_all(rx, span, burst)?;
    sender.join().map_err(|_| "the sender panicked")?;
    println!("{rate:.0}");
    Ok(())
}
