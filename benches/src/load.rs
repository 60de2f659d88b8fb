//! `memif-bench load`: one-way latency of packets that come at a set rate, as a curve of percentiles.

use clap::Args;

use crate::arrivals::Arrivals;
use crate::bench::{Bench, Options};
use crate::direction::Direction;
use crate::error::Error;
use crate::histogram;
use crate::measured::Measured;
use crate::ping_pong::ping_pong;
use crate::report::Report;
use crate::sample::Row;
use crate::work::Work;

/// `memif-bench load`
#[derive(Clone, Debug, Args)]
pub(crate) struct Load {
    /// Rates in millions of packets per second
    #[arg(long, value_delimiter = ',', default_value = "1,5,10", value_parser = rate)]
    mpps: Vec<f64>,
    /// When packets are due
    #[arg(long, value_delimiter = ',', default_value = "constant,poisson,bursts")]
    arrivals: Vec<Arrivals>,
    /// Receive modes
    #[arg(long, value_delimiter = ',', default_value = "poll,adaptive", value_parser = ["poll", "adaptive", "interrupt"])]
    rx: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// Headings of the cells of each row.
const COLUMNS: [&str; 3] = ["arrivals", "Mpps due", "rx"];
/// The figures: those of [`histogram::CURVE`], and the rate that was received.
const VALUES: [&str; 11] =
    ["p50 ns", "p10", "p25", "p75", "p90", "p99", "p99.9", "p99.95", "p99.99", "longest", "Mpps"];
/// Packets that the receiver takes at once at most.
const BURST: usize = 64;

/// A rate that a timetable can have.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=100.0).contains(rate));
    rate.ok_or_else(|| "not a number from 0.001 to 100".to_owned())
}

/// Measures and reports.
///
/// # Errors
/// A row cannot be measured, or the report cannot be written.
pub(crate) fn load(args: &Load) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let mut rows = vec![half_ping_pong(&bench)];
    for arrivals in &args.arrivals {
        for mpps in &args.mpps {
            rows.extend(args.rx.iter().map(|rx| row(&bench, *arrivals, *mpps, rx)));
        }
    }
    let run = bench.take(&rows)?;
    let to_line = (0..rows.len()).map(|row| run.ratio(row, 0)).collect();
    let report = Report {
        name: "load",
        settings: format!(
            "{}; one way, S2M, 64 B; from the time at which a packet was due, whenever it was sent, to the time at which the \
             receiver had it; a look at the clock is part of each, and one a turn at both ends; bursts: 32 due together",
            bench.settings()
        ),
        columns: &COLUMNS,
        values: &VALUES,
        rows: &rows,
        run: &run,
        ratios: vec![("x line", to_line)],
        targets: Vec::new(),
    };
    report.publish(&args.options.out, &[])
}

/// One cache line, one way: half a ping-pong.
fn half_ping_pong(bench: &Bench) -> Row<'_> {
    Row {
        cells: ["one cache line", "-", "poll"].map(str::to_owned).into(),
        take: Box::new(|| {
            let rest = [f64::NAN; VALUES.len() - 1];
            Ok(Measured::new([&[ping_pong(bench.cores)? / 2.0][..], &rest].concat(), 0.0))
        }),
    }
}

fn row<'a>(bench: &'a Bench, arrivals: Arrivals, mpps: f64, rx: &str) -> Row<'a> {
    let keys = format!(",rx={rx},huge=off");
    Row {
        cells: vec![arrivals.to_string(), mpps.to_string(), rx.to_owned()],
        take: Box::new(move || {
            let (tx, clock) = (Work::OpenLoop { mpps, arrivals }, Work::Clock { burst: BURST });
            let (sent, received) = bench.link(Direction::S2m.sender(), &keys, tx, clock)?;
            let latencies =
                received.latencies.clone().unwrap_or_else(|| vec![f64::NAN; histogram::CURVE.len()]);
            let values = [&latencies[..], &[received.mpps()]].concat();
            Ok(Measured::new(values, sent.lost.max(received.lost)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_positive_numbers() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "nan", "inf", "101", "x"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn there_is_a_heading_for_each_figure() {
        assert_eq!(VALUES.len(), histogram::CURVE.len() + 1);
    }
}
