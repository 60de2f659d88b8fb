//! `memif-bench floors`: what the machine can do without memif.

use clap::Args;

use crate::bench::{Bench, Options};
use crate::direction::Direction;
use crate::error::Error;
use crate::floor_search::{BATCH, Layout, SLOTS};
use crate::measured::Measured;
use crate::ping_pong::ping_pong;
use crate::report::Report;
use crate::sample::Row;

/// `memif-bench floors`
#[derive(Clone, Debug, Args)]
pub(crate) struct Floors {
    /// Bytes of a packet
    #[arg(long, value_delimiter = ',', default_value = "64,256,1514", value_parser = clap::value_parser!(u16).range(1..))]
    size: Vec<u16>,
    /// Direction of packets
    #[arg(long, value_delimiter = ',', default_value = "s2m,m2s")]
    direction: Vec<Direction>,
    #[command(flatten)]
    options: Options,
}

/// Measures and reports.
///
/// # Errors
/// A floor cannot be measured, or the report cannot be written.
pub(crate) fn floors(args: &Floors) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let mut rows = vec![Row {
        cells: ["ping-pong, ns", "-", "-", "-", "-"].map(str::to_owned).into(),
        take: Box::new(|| Ok(Measured::new(vec![ping_pong(bench.cores)?], 0.0))),
    }];
    for size in &args.size {
        for direction in &args.direction {
            for (layout, name) in [(Layout::Packed, "packed"), (Layout::Fixed, "fixed")] {
                let floor = bench.floor((*size).into(), *direction, layout)?;
                let cells = ["packets, Mpps".into(), size.to_string(), direction.to_string(), name.into()];
                rows.push(Row {
                    cells: cells.into_iter().chain([floor.knobs.to_string()]).collect(),
                    take: bench.take_floor(floor),
                });
            }
        }
    }
    let run = bench.take(&rows)?;
    let report = Report {
        name: "floors",
        settings: format!(
            "{}; burst {BATCH}, ring {SLOTS}, a descriptor of 16 bytes a packet, nothing validated; knobs: the best setting, \
             searched before the rounds",
            bench.settings()
        ),
        columns: &["floor", "size", "dir", "layout", "knobs"],
        values: &["median"],
        rows: &rows,
        run: &run,
        ratios: Vec::new(),
        targets: Vec::new(),
    };
    report.publish(&args.options.out, &[])
}
