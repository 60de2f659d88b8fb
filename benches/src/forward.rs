//! `memif-bench forward`: the cost of forwarding a packet between two interfaces, with and without a copy.
//!
//! The forwarder has a core of its own. Generator and receiver share the other one, so that two cores suffice; the figure is
//! the time that the forwarder takes for a packet, not the throughput.

use clap::Args;

use crate::bench::{Bench, Options};
use crate::error::Error;
use crate::measured::Measured;
use crate::pair::{self, End};
use crate::report::{Limit, Report, Target};
use crate::sample::Row;
use crate::work::Work;

/// `memif-bench forward`
#[derive(Clone, Debug, Args)]
pub(crate) struct Forward {
    /// Bytes of a packet
    #[arg(long, value_delimiter = ',', default_value = "64,128,256,512,1024,1514", value_parser = clap::value_parser!(u16).range(64..=2048))]
    size: Vec<u16>,
    #[command(flatten)]
    options: Options,
}

const BURST: usize = 64;
const COLUMNS: [&str; 2] = ["forward", "size"];
const VALUES: [&str; 2] = ["ns a packet", "Mpps"];

/// Measures and reports.
///
/// # Errors
/// A row cannot be measured, or the report cannot be written.
pub(crate) fn forward(args: &Forward) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let ways = [false, true].iter().flat_map(|in_place| args.size.iter().map(move |size| (*in_place, *size)));
    let rows: Vec<_> = ways.map(|(in_place, size)| row(&bench, size, in_place)).collect();
    let run = bench.take(&rows)?;
    let count = args.size.len();
    let to_copy = (0..rows.len()).map(|row| run.ratio(row, row % count)).collect();
    let to_first = (0..rows.len()).map(|row| run.ratio(row, row / count * count)).collect();
    let place = |size| Some(count + args.size.iter().position(|each| *each == size)?);
    let target = Target {
        what: "in place, 1514 B / 64 B".into(),
        got: place(1514).zip(place(64)).and_then(|(large, small)| run.ratio(large, small)),
        limit: Limit::AtMost(1.1),
    };
    let report = Report {
        name: "forward",
        settings: format!(
            "{}; that is: generator and sink on one core, the forwarder on the other; burst {BURST}; ns a packet: of \
             the forwarder's turns that moved any; normal pages",
            bench.settings()
        ),
        columns: &COLUMNS,
        values: &VALUES,
        rows: &rows,
        run: &run,
        ratios: vec![("x copy", to_copy), ("x first size", to_first)],
        targets: vec![target],
    };
    report.publish(&args.options.out, &[])
}

fn row(bench: &Bench, size: u16, in_place: bool) -> Row<'_> {
    let name = if in_place { "in place" } else { "copy" };
    Row {
        cells: vec![name.into(), size.to_string()],
        take: Box::new(move || {
            let socket = bench.sockets.next();
            let ports = |role| [0, 1].map(|id| format!("{socket},role={role},id={id},huge=off")).into();
            let circulate = Work::Circulate { size: size.into(), burst: BURST };
            let master = End { ports: ports("master"), core: bench.cores.tx, work: circulate };
            let work = Work::Forward { burst: BURST, in_place };
            let slave = End { ports: ports("slave"), core: bench.cores.rx, work };
            let (circulated, forwarded) = pair::run(&master, &slave, bench.timing)?;
            let each = forwarded.busy_ns as f64 / forwarded.packets.max(1) as f64;
            let lost = circulated.lost.max(forwarded.lost);
            Ok(Measured::new(vec![each, circulated.mpps()], lost))
        }),
    }
}
