//! `memif-bench reconnect`: how long a slave has no traffic after its master has come back.
//!
//! The slave sends all the time, with the default interval of 2 s. The time ends with the first packet that arrives at the
//! new master, and begins when it may be reached: when it listens, or when it has cut the old link.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use memif_pmd::{Burst, Interface, Memif, TxQueue};
use memif_ring::message::Direction;

use crate::common::{PATIENCE, until};
use crate::error::Error;
use crate::machine::Machine;
use crate::stalls::hostile_peer::master::{ScriptedListener, ScriptedMaster, Step};
use crate::stalls::hostile_peer::{Ends, VICTIM};
use crate::stalls::spread;

/// `memif-bench reconnect`
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Reconnect {
    /// How often the master comes back
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
}

/// Between two rounds, as a slave tries at once only so often.
const REST: Duration = Duration::from_millis(2500);

/// Between two looks, so that those who wait leave the cores to the control planes.
const LOOK: Duration = Duration::from_micros(100);

fn nothing_yet() -> bool {
    thread::sleep(LOOK);
    false
}

/// Measures and reports.
///
/// # Errors
/// An interface cannot be opened, or no folder for its socket can be had.
pub(crate) fn reconnect(args: &Reconnect) -> Result<(), Error> {
    println!("{}", Machine::read());
    println!("settings  {} rounds; in ms: median (least-most)\n", args.rounds);
    let folder = tempfile::tempdir().map_err(Error::io("a folder for the socket"))?;
    type Case = fn(&Path, u16) -> Result<Vec<f64>, Error>;
    let cases: [(&str, Case); 2] = [
        ("the master's process is gone, and listens again", listens_again),
        ("the master cuts the link, and goes on to listen", cuts_the_link),
    ];
    for (what, case) in cases {
        println!("  {what:<52} {}", spread(case(folder.path(), args.rounds)?));
    }
    Ok(())
}

/// A slave that sends until the end.
fn with_sender<T>(socket: &str, rounds: impl FnOnce(&Interface) -> Result<T, Error>) -> Result<T, Error> {
    let memif = Memif::start()?;
    let slave = memif.interface(socket).id(VICTIM).open()?;
    let (mut tx, mut burst, over) = (slave.tx(0)?, Burst::new(32)?, AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| send_until(&over, &mut tx, &mut burst));
        let _ends = Ends(&over);
        rounds(&slave)
    })
}

fn send_until(over: &AtomicBool, tx: &mut TxQueue, burst: &mut Burst) {
    while !over.load(Ordering::Acquire) {
        let _ = burst.push(&[0; 64]); // full: the last ones have not been sent
        if tx.send(burst) == 0 {
            thread::sleep(LOOK);
        }
    }
}

fn address(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

fn ms_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

fn listens_again(folder: &Path, rounds: u16) -> Result<Vec<f64>, Error> {
    let socket = address(folder, "again.sock");
    with_sender(&socket, |slave| {
        (0..rounds)
            .map(|_| {
                let other = Memif::start()?;
                let master = other.interface(&socket).master().id(VICTIM).open()?;
                let (began, mut rx, mut burst) = (Instant::now(), master.rx(0)?, Burst::new(32)?);
                until("a packet", || rx.receive(&mut burst) > 0 || nothing_yet());
                let figure = ms_since(began);
                drop((rx, master, other));
                slave.wait_down(Some(PATIENCE))?;
                thread::sleep(REST);
                Ok(figure)
            })
            .collect()
    })
}

fn cuts_the_link(folder: &Path, rounds: u16) -> Result<Vec<f64>, Error> {
    let socket = address(folder, "cut.sock");
    let listener = ScriptedListener::new(&socket);
    with_sender(&socket, |_| {
        let sent = |master: &ScriptedMaster| master.ring(Direction::S2M).head() > 0;
        let mut master = listener.until(Step::Up);
        let mut figures = Vec::new();
        for _ in 0..rounds {
            until("a packet", || sent(&master) || nothing_yet());
            thread::sleep(REST);
            let began = Instant::now();
            drop(master);
            master = listener.until(Step::Up);
            until("a packet", || sent(&master) || nothing_yet());
            figures.push(ms_since(began));
        }
        Ok(figures)
    })
}
