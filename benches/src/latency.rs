//! `memif-bench latency`: round trips between two processes, and the cost of waking up.

use std::slice;
use std::thread;
use std::time::Duration;

use clap::Args;
use memif_os::clock::monotonic_ns;
use memif_os::cpu::pin_current;
use memif_os::event::{Epoll, Event, EventFd, Interest};
use memif_pmd::Role;

use crate::bench::{Bench, Options};
use crate::error::Error;
use crate::histogram;
use crate::iceoryx;
use crate::measured::Measured;
use crate::ping_pong::ping_pong;
use crate::presence::Watch;
use crate::report::{Limit, Report, Target};
use crate::sample::{Ratio, Row};
use crate::work::{Found, Work};

/// `memif-bench latency`
#[derive(Clone, Debug, Args)]
pub(crate) struct Latency {
    /// Number of packets under way in the rows under load
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=512))]
    in_flight: u16,
    #[command(flatten)]
    options: Options,
}

/// Time between two round trips on an idle link: longer than an adaptive receiver polls before it sleeps.
const PAUSE: Duration = Duration::from_millis(2);
/// Receive modes, as words of a port.
const MODES: [&str; 3] = ["poll", "interrupt", "adaptive"];
const COLUMNS: [&str; 3] = ["round trip", "rx", "load"];
const VALUES: [&str; 7] = ["p50 ns", "p90", "p99", "p99.9", "p99.99", "longest", "echo cpu %"];

/// Indices of the rows before those of memif.
const PING_PONG: usize = 0;
const BELL: usize = 1;
const IDLE_BELL: usize = 2;
const ICEORYX: usize = 3;
const FIRST: usize = 4;
/// Indices of memif's rows within each mode.
const ONE: usize = 0;
const IDLE: usize = 1;
const REST: usize = 3;
const EACH: usize = 4;

/// Measures and reports.
///
/// # Errors
/// A row cannot be measured, or the report cannot be written.
pub(crate) fn latency(args: &Latency) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let rows = rows(&bench, args.in_flight.into());
    let run = bench.take(&rows)?;
    let to = |base| (0..rows.len()).map(|row| run.ratio(row, base)).collect::<Vec<_>>();
    let report = Report {
        name: "latency",
        settings: format!(
            "{}; packets of 64 bytes, {} at once under load; idle: {} ms apart; a look at the clock is part of each",
            bench.settings(),
            args.in_flight,
            PAUSE.as_millis()
        ),
        columns: &COLUMNS,
        values: &VALUES,
        rows: &rows,
        run: &run,
        ratios: vec![
            ("x ping-pong", to(PING_PONG)),
            ("x eventfd", to(BELL)),
            ("x idle eventfd", to(IDLE_BELL)),
            ("x iceoryx2", to(ICEORYX)),
        ],
        targets: Vec::new(),
    };
    let targets = targets(&report);
    Report { targets, ..report }.publish(&args.options.out, &[])
}

fn rows(bench: &Bench, in_flight: usize) -> Vec<Row<'_>> {
    let cells = |what: &str, rx: &str, load: &str| vec![what.to_owned(), rx.to_owned(), load.to_owned()];
    let bell = |pause| move || ring_round(bench, pause);
    let mut rows = vec![
        Row {
            cells: cells("one cache line", "poll", "1"),
            take: Box::new(|| {
                let rest = [f64::NAN; VALUES.len() - 1];
                Ok(Measured::new([&[ping_pong(bench.cores)?][..], &rest].concat(), 0.0))
            }),
        },
        Row { cells: cells("eventfd, epoll", "-", "1"), take: Box::new(bell(Duration::ZERO)) },
        Row { cells: cells("eventfd, epoll", "-", "1, idle"), take: Box::new(bell(PAUSE)) },
        Row {
            cells: cells("iceoryx2", "poll", "1"),
            take: Box::new(|| iceoryx::round_trips(bench.cores, bench.timing.window())),
        },
    ];
    for mode in MODES {
        let pause_us = u64::try_from(PAUSE.as_micros()).unwrap_or(u64::MAX);
        let loads = [
            ("1".to_owned(), Work::Ping { packets: 1, pause_us: 0 }),
            ("1, idle".into(), Work::Ping { packets: 1, pause_us }),
            (in_flight.to_string(), Work::Ping { packets: in_flight, pause_us: 0 }),
            ("at rest".into(), Work::Rest),
        ];
        rows.extend(loads.map(|(load, work)| Row {
            cells: cells("memif", mode, &load),
            take: Box::new(move || {
                let keys = format!(",rx={mode}");
                let (ping, echo) = bench.link(Role::Slave, &keys, work.clone(), Work::Echo { burst: 64 })?;
                Ok(measured(&ping, &echo))
            }),
        }));
    }
    rows
}

fn measured(ping: &Found, echo: &Found) -> Measured {
    let round_trips = ping.latencies.clone().unwrap_or_else(|| vec![f64::NAN; histogram::ROUND_TRIP.len()]);
    Measured::new([&round_trips[..], &[echo.ran * 100.0]].concat(), ping.lost.max(echo.lost))
}

fn targets(report: &Report<'_>) -> Vec<Target> {
    let row = |mode: usize, load: usize| FIRST + mode * EACH + load;
    let value = |row, at: usize| {
        let summary = report.run.summary(row)?;
        let value = summary.medians.get(at).copied()?;
        Some(Ratio { value, disturbed: summary.disturbed > 0 })
    };
    let [p50, p99, cpu] = [0, 2, 6];
    let polling = row(0, ONE);
    let tail = value(polling, p99).zip(value(polling, p50));
    let tail = tail.map(|(p99, p50)| Ratio { value: p99.value / p50.value, ..p99 });
    let [to_line, to_iceoryx, awake, asleep] =
        [(polling, PING_PONG), (polling, ICEORYX), (row(1, ONE), BELL), (row(1, IDLE), IDLE_BELL)]
            .map(|(row, base)| report.run.ratio(row, base));
    let target = |what: &str, got, limit| Target { what: what.to_owned(), got, limit: Limit::AtMost(limit) };
    vec![
        target("polling, p50 / ping-pong", to_line, 2.0),
        target("polling, p50 / iceoryx2", to_iceoryx, 0.75),
        target("polling, p99 / p50", tail, 2.0),
        target("interrupt, p50 / eventfd and epoll", awake, 2.0),
        target("interrupt on an idle link, p50 / eventfd and epoll", asleep, 2.0),
        target("interrupt at rest, % of a core", value(row(1, REST), cpu), 0.1),
    ]
}

/// Round trips over two eventfds, with both ends asleep in epoll in between: the kernel's cost of waking up.
fn ring_round(bench: &Bench, pause: Duration) -> Result<Measured, Error> {
    let eventfd = || EventFd::new().map_err(Error::io("cannot make an eventfd"));
    let (there, back) = (eventfd()?, eventfd()?);
    let (cores, window) = (bench.cores, bench.timing.window());
    thread::scope(|scope| {
        let echo = scope.spawn(|| {
            pin_current(cores.rx)?;
            let (bell, watch) = (Bell::new(&there, &back)?, Watch::start(cores.rx)?);
            // the other is done a little after the window: the last ring comes in vain
            while monotonic_ns() < window.end {
                bell.wait()?;
                bell.ring()?;
            }
            watch.end()
        });
        let ping = scope.spawn(|| {
            pin_current(cores.tx)?;
            let (bell, watch) = (Bell::new(&back, &there)?, Watch::start(cores.tx)?);
            let round_trips =
                histogram::round_trips(window, pause, || bell.ring().and_then(|()| bell.wait()))?;
            Ok::<_, Error>((round_trips, watch.end()?))
        });
        let died = Error::End("thread of an eventfd");
        let (Ok(ping), Ok(echo)) = (ping.join(), echo.join()) else { return Err(died) };
        let ((round_trips, ours), theirs) = (ping?, echo?);
        let values = [&round_trips[..], &[theirs.ran * 100.0]].concat();
        Ok(Measured::new(values, ours.lost.max(theirs.lost)))
    })
}

/// One end of a pair of eventfds.
struct Bell<'e> {
    ours: &'e EventFd,
    theirs: &'e EventFd,
    epoll: Epoll,
}

impl<'e> Bell<'e> {
    fn new(ours: &'e EventFd, theirs: &'e EventFd) -> Result<Self, Error> {
        let epoll = Epoll::new().map_err(Error::io("cannot make an epoll"))?;
        epoll.add(ours, 0, Interest::READ).map_err(Error::io("cannot watch an eventfd"))?;
        Ok(Self { ours, theirs, epoll })
    }

    /// Sleeps until the eventfd is signalled, for up to a tenth of a second.
    fn wait(&self) -> Result<(), Error> {
        let mut event = Event::NONE;
        let waited = self.epoll.wait(slice::from_mut(&mut event), Some(Duration::from_millis(100)));
        waited.and_then(|_| self.ours.drain()).map(drop).map_err(Error::io("cannot wait for an eventfd"))
    }

    fn ring(&self) -> Result<(), Error> {
        self.theirs.signal().map_err(Error::io("cannot ring an eventfd"))
    }
}
