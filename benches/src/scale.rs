//! `memif-bench scale`: several queues between the same two cores, and the cost of polling an empty queue.

use std::thread;

use clap::Args;
use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, Idle, Memif, Role, RxQueue, Workers};

use crate::bench::{Bench, Options};
use crate::direction::Direction;
use crate::ends::LINK;
use crate::error::Error;
use crate::measured::Measured;
use crate::presence::Watch;
use crate::report::Report;
use crate::sample::Row;
use crate::work::Work;

/// `memif-bench scale`
#[derive(Clone, Debug, Args)]
pub(crate) struct Scale {
    /// Queue pairs in use at the same time
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u16).range(1..=64))]
    queues: Vec<u16>,
    /// Empty queues that one worker polls
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64", value_parser = clap::value_parser!(u16).range(1..=64))]
    polled: Vec<u16>,
    #[command(flatten)]
    options: Options,
}

const COLUMNS: [&str; 4] = ["figure", "interfaces", "queues", "dir"];
/// Small rings, so that many of them take little memory; an idle poll reads only their headers.
const IDLE_RING: u32 = 256;

/// Measures and reports.
///
/// # Errors
/// A row cannot be measured, or the report cannot be written.
pub(crate) fn scale(args: &Scale) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let ways = Direction::BOTH;
    let traffic = ways.iter().flat_map(|way| args.queues.iter().map(move |queues| (*way, *queues)));
    let mut rows: Vec<_> = traffic.map(|(way, queues)| traffic_row(&bench, way, queues)).collect();
    for count in &args.polled {
        rows.push(idle_row(&bench, *count, 1));
        if *count > 1 {
            rows.push(idle_row(&bench, 1, *count));
        }
    }
    let run = bench.take(&rows)?;
    let base = |row: usize| if row < args.queues.len() { 0 } else { args.queues.len() };
    let to_first = (0..rows.len())
        .map(|row| (row < ways.len() * args.queues.len()).then(|| run.ratio(row, base(row))).flatten());
    let report = Report {
        name: "scale",
        settings: format!(
            "{}; traffic: 64 B, burst 64, ring 1024, both copy, all queues together; idle polls: a worker's round, \
             rings of {IDLE_RING}",
            bench.settings()
        ),
        columns: &COLUMNS,
        values: &["median"],
        rows: &rows,
        run: &run,
        ratios: vec![("x first", to_first.collect())],
        targets: Vec::new(),
    };
    report.publish(&args.options.out, &[])
}

fn traffic_row(bench: &Bench, direction: Direction, queues: u16) -> Row<'_> {
    let keys = format!(",queues={queues},huge=off");
    let tx = Work::Generate { sizes: vec![64], burst: 64, in_place: false };
    let rx = Work::Sink { burst: 64, in_place: false };
    Row {
        cells: ["Mpps", "1", &queues.to_string(), &direction.to_string()].map(str::to_owned).into(),
        take: Box::new(move || bench.one_way(direction, &keys, tx.clone(), rx.clone())),
    }
}

fn idle_row(bench: &Bench, interfaces: u16, queues: u16) -> Row<'_> {
    let cells = ["ns an idle poll", &interfaces.to_string(), &queues.to_string(), "S2M"];
    Row {
        cells: cells.map(str::to_owned).into(),
        take: Box::new(move || idle_polls(bench, interfaces, queues)),
    }
}

/// Nanoseconds that a worker takes for each of its queues, which are tasks of their own, have links and are empty.
fn idle_polls(bench: &Bench, interfaces: u16, queues: u16) -> Result<Measured, Error> {
    let memif = Memif::start()?;
    let socket = bench.sockets.next();
    let open = |role, id: u16| {
        let interface = memif.interface(&socket).role(role).id(id.into()).queues(queues);
        interface.ring_size(IDLE_RING).open()
    };
    let all = |role| (0..interfaces).map(|id| open(role, id)).collect::<Result<Vec<_>, _>>();
    let (masters, slaves) = (all(Role::Master)?, all(Role::Slave)?);
    masters.iter().chain(&slaves).try_for_each(|interface| interface.wait_up(Some(LINK)))?;
    let queues = masters.iter().flat_map(|master| (0..queues).map(|index| master.rx(index)));
    poll(bench, queues.collect::<Result<Vec<_>, _>>()?)
}

fn poll(bench: &Bench, queues: Vec<RxQueue>) -> Result<Measured, Error> {
    let count = queues.len() as f64;
    let look = |rx: &mut RxQueue, burst: &mut Burst| {
        rx.receive(burst);
    };
    let core = bench.cores.rx;
    let workers =
        queues.into_iter().fold(Workers::new().idle(Idle::Spin), |all, rx| all.on_core(core, rx, look));
    let (start, running) = (monotonic_ns(), workers.start()?);
    // all of the worker's life is measured: its first rounds are like its last
    let watch = Watch::named(std::process::id(), &[&format!("memif-worker-{core}")], core)?;
    thread::sleep(bench.timing.time);
    let presence = watch.end()?;
    running.stop().stop();
    let rounds: u64 = running.wait()?.iter().map(|stats| stats.rounds).sum();
    let ns = (monotonic_ns() - start) as f64;
    Ok(Measured::new(vec![ns / (rounds.max(1) as f64 * count)], presence.lost))
}
