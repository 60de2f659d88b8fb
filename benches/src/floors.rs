//! `memif-bench floors`: what the machine can do, with no memif at all.

use clap::Args;

use crate::bench::{Bench, Options};
use crate::error::Error;
use crate::floor;
use crate::report::Report;
use crate::sample::{Measured, Row};

/// `memif-bench floors`
#[derive(Clone, Debug, Args)]
pub(crate) struct Floors {
    /// Bytes of a packet
    #[arg(long, value_delimiter = ',', default_value = "64,256,1514", value_parser = clap::value_parser!(u16).range(1..))]
    size: Vec<u16>,
    /// Bytes from one packet buffer to the next; those too small for a packet are left out
    #[arg(long, value_delimiter = ',', default_value = "2048,2112,2176")]
    stride: Vec<u16>,
    #[command(flatten)]
    options: Options,
}

/// Measures and reports.
///
/// # Errors
/// A floor cannot be measured, or nothing be written.
pub(crate) fn floors(args: &Floors) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let pairs = args.size.iter().flat_map(|size| args.stride.iter().map(move |stride| (*size, *stride)));
    let mut rows: Vec<_> = pairs
        .filter(|(size, stride)| size <= stride)
        .map(|(size, stride)| Row {
            cells: vec!["packets, Mpps".into(), size.to_string(), stride.to_string()],
            take: bench.floor(size.into(), stride.into()),
        })
        .collect();
    rows.push(Row {
        cells: vec!["ping-pong, ns".into(), "-".into(), "-".into()],
        take: Box::new(|| Ok(Measured { values: vec![floor::ping_pong(bench.cores)?], lost: 0.0 })),
    });
    let run = bench.take(&rows)?;
    let report = Report {
        name: "floors",
        settings: format!("{}; burst 64, 1024 buffers, a descriptor of 16 bytes a packet", bench.settings()),
        columns: &["floor", "size", "stride"],
        values: &["median"],
        rows: &rows,
        run: &run,
        ratios: Vec::new(),
        targets: Vec::new(),
    };
    report.publish(&args.options.out, &[])
}
