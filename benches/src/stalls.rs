//! `memif-bench stalls`: how long others have to wait while a peer holds up whoever waits for it.
//!
//! The attacks are those of memif-pmd's hostile tests, next to the same bystander. Each figure is the longest of calls that
//! are made once a millisecond for as long as the attack takes.

#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "helpers of memif-pmd's tests"
)]
#[path = "../../memif-pmd/tests/hostile_peer/mod.rs"]
pub(crate) mod hostile_peer;

use std::thread;
use std::time::Duration;

use clap::Args;

use crate::common::until;
use crate::error::Error;
use crate::machine::Machine;
use hostile_peer::lingering::Lingering;
use hostile_peer::master::Step as MasterStep;
use hostile_peer::probe::{CALLS, Stalls as Longest, during, page_tables};
use hostile_peer::{Arena, VICTIM, stalling};

/// `memif-bench stalls`
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Stalls {
    /// How often each attack is made
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Seconds that closing a descriptor of the peer takes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    linger: u64,
    /// MiB of the region that a peer offers
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=1024))]
    region: u64,
    /// Times that a peer makes its attack in a round, where one takes less than a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    times: u16,
}

/// Slack for page tables, in KiB.
const SLACK: u64 = 4 << 10;

/// What the table tells besides [`CALLS`].
const MORE: [&str; 4] = [
    "receive or send of another interface",
    "gap between packets of another interface",
    "hold of the lock",
    "page tables, MiB",
];

/// One attack: what it is, and what it did to others.
type Attack = (String, fn(&Stalls) -> Vec<f64>);

/// Measures and reports.
///
/// # Errors
/// Never, but as the other commands: what cannot be done ends the program.
#[allow(clippy::unnecessary_wraps, reason = "one signature for all commands")]
pub(crate) fn stalls(args: &Stalls) -> Result<(), Error> {
    println!("{}", Machine::read());
    println!(
        "settings  {} rounds, each call once a millisecond; in ms, the longest of a round: median (least-most)\n",
        args.rounds
    );
    let attacks: [Attack; 6] = [
        (format!("a stranger's descriptor takes {} s to be closed by a master", args.linger), to_a_master),
        (format!("a master's descriptor takes {} s to be closed by a slave", args.linger), to_a_slave),
        (
            format!("as many regions of {} MiB as are taken are mapped, and the peer goes", args.region),
            mapping,
        ),
        (format!("a slave of 16 rings of 16384 allocates in vain, {} times", args.times), allocating),
        (format!("a slave takes its {} MiB away, {} times", args.region, args.times), punching_slave),
        (
            format!("a master takes {} MiB of packet memory away, {} times", args.region, args.times),
            punching_master,
        ),
    ];
    for (what, attack) in attacks {
        println!("{what}");
        let rounds: Vec<_> = (0..args.rounds).map(|_| attack(args)).collect();
        for (index, name) in CALLS.iter().chain(&MORE).enumerate() {
            let figures = rounds.iter().filter_map(|round| round.get(index).copied());
            println!("  {name:<42} {}", spread(figures.collect()));
        }
    }
    Ok(())
}

/// Median, least and most.
pub(crate) fn spread(mut figures: Vec<f64>) -> String {
    figures.sort_by(f64::total_cmp);
    let at = |index: usize| figures.get(index).copied().unwrap_or_default();
    format!("{:>10.2} ({:.2}-{:.2})", at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}

fn figures(arena: &Arena, longest: &Longest) -> Vec<f64> {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let hold = arena.memif.stats().longest_lock_hold;
    let more = [longest.other_queue, longest.other_gap, hold];
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let page_tables = longest.page_tables as f64 / 1024.0;
    let calls = longest.calls.iter().map(|call| call.longest).chain(more).map(ms);
    calls.chain([page_tables]).collect()
}

/// For as long as the descriptor takes to be closed.
fn wait_closed(lingering: &Lingering) {
    lingering.wait_closing();
    while lingering.is_closing() {
        thread::sleep(Duration::from_millis(20));
    }
}

fn to_a_master(args: &Stalls) -> Vec<f64> {
    let arena = Arena::master();
    let linger = Duration::from_secs(args.linger);
    let ((), longest) = during(&arena, |_| wait_closed(&stalling::linger_before_init(&arena, linger)));
    let figures = figures(&arena, &longest);
    arena.unharmed_master();
    figures
}

fn to_a_slave(args: &Stalls) -> Vec<f64> {
    let (arena, listener) = Arena::slave();
    let linger = Duration::from_secs(args.linger);
    let ((), longest) = during(&arena, |_| wait_closed(&stalling::linger_behind_hello(&listener, linger)));
    let figures = figures(&arena, &longest);
    arena.unharmed_slave(listener);
    figures
}

fn mapping(args: &Stalls) -> Vec<f64> {
    let arena = Arena::master();
    let file = stalling::full(args.region << 20);
    let slave = stalling::many_regions(&arena.socket, VICTIM, &file);
    let before = page_tables();
    let ((), longest) = during(&arena, |_| {
        stalling::connects(&slave);
        drop(slave);
        until("the link's end", || !arena.victim.is_up());
        until("the page tables to go", || page_tables() <= before + SLACK);
    });
    let figures = figures(&arena, &longest);
    arena.unharmed_master();
    figures
}

fn allocating(args: &Stalls) -> Vec<f64> {
    let (arena, listener) = Arena::slave_with(stalling::much_memory);
    let times = args.times.into();
    let ((), longest) = during(&arena, |window| stalling::allocate_for_nothing(&listener, window, times));
    let figures = figures(&arena, &longest);
    arena.unharmed_slave(listener);
    figures
}

fn punching_slave(args: &Stalls) -> Vec<f64> {
    let arena = Arena::master();
    let slave = stalling::large_slave(&arena, args.region << 20);
    let times = args.times.into();
    let ((), longest) = during(&arena, |window| stalling::punch(slave.memory.file(), window, times));
    let figures = figures(&arena, &longest);
    drop(slave);
    arena.unharmed_master();
    figures
}

fn punching_master(args: &Stalls) -> Vec<f64> {
    // its region for the rings is sealed against that; packet memory cannot be
    let buffers = u32::try_from((args.region << 20) / 2176).unwrap_or(u32::MAX);
    let (arena, listener, _packets) = Arena::slave_with_packets(buffers, 128);
    let master = listener.until(MasterStep::Up);
    until("the victim's link", || arena.victim.is_up());
    let times = args.times.into();
    let ((), longest) = during(&arena, |window| stalling::punch(master.packets(), window, times));
    let figures = figures(&arena, &longest);
    drop(master);
    arena.unharmed_slave(listener);
    figures
}
