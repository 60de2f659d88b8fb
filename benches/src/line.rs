//! `memif-bench line`: packets from one process to another, both on a core of their own, over one ring.

use clap::{Args, ValueEnum};
use memif_interop::Reserved;
use memif_pmd::Role;

use crate::bench::{Bench, Options, strides};
use crate::ends::Work;
use crate::error::Error;
use crate::plot::Plot;
use crate::report::{Limit, Report, Target};
use crate::sample::{Ratio, Row};

/// Huge pages for the regions of one link, with its rings of any size here.
const HUGE_PAGES: u64 = 48;
const COLUMNS: [&str; 7] = ["size", "burst", "ring", "dir", "access", "pages", "rx"];

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// From slave to master.
    S2m,
    /// From master to slave.
    M2s,
}

/// How the ends get at packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Access {
    /// Both copy whole packets, from and to private memory.
    Copy,
    /// The receiver reads headers in the ring's buffers.
    Peek,
    /// The sender writes headers into the ring's buffers.
    Reserve,
    /// Both of these.
    InPlace,
}

/// Where shared memory lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pages {
    /// On pages of 4 KiB.
    Normal,
    /// On huge pages.
    Huge,
}

/// How the receiver learns of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rx {
    /// It looks.
    Poll,
    /// It sleeps whenever there is none.
    Interrupt,
    /// It sleeps when there was none for a while.
    Adaptive,
}

/// `memif-bench line`
///
/// Without a list, each axis is varied alone from 64 bytes, burst 64, ring 1024, S2M, copy, normal pages, polling. With
/// lists, all their combinations are measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct Line {
    /// Bytes of a packet, such as 64,256,1514
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(64..))]
    size: Vec<u16>,
    /// Packets in a burst, such as 1,32,64
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    burst: Vec<u16>,
    /// Descriptors in a ring, such as 256,1024
    #[arg(long, value_delimiter = ',')]
    ring: Vec<u16>,
    /// Which way packets go
    #[arg(long, value_delimiter = ',')]
    direction: Vec<Direction>,
    /// How the ends get at packets
    #[arg(long, value_delimiter = ',')]
    access: Vec<Access>,
    /// Where shared memory lies
    #[arg(long, value_delimiter = ',')]
    pages: Vec<Pages>,
    /// How the receiver learns of packets
    #[arg(long, value_delimiter = ',')]
    rx: Vec<Rx>,
    #[command(flatten)]
    options: Options,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    size: u16,
    burst: u16,
    ring: u16,
    direction: Direction,
    access: Access,
    pages: Pages,
    rx: Rx,
}

/// What all others differ from in one axis.
const BASE: Case = Case {
    size: 64,
    burst: 64,
    ring: 1024,
    direction: Direction::S2m,
    access: Access::Copy,
    pages: Pages::Normal,
    rx: Rx::Poll,
};

/// Measures and reports.
///
/// # Errors
/// A row cannot be measured, or nothing be written.
pub(crate) fn line(args: &Line) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let cases = args.cases();
    let wants_huge = cases.iter().any(|case| case.pages == Pages::Huge);
    let _reserved = wants_huge.then(|| Reserved::new(HUGE_PAGES)).transpose()?;
    let mut rows: Vec<_> = cases.iter().map(|case| case.row(&bench)).collect();
    let mut sizes: Vec<_> = cases.iter().map(|case| case.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    rows.extend(
        sizes
            .iter()
            .flat_map(|size| strides(usize::from(*size)).map(|stride| floor_row(&bench, *size, stride))),
    );
    let run = bench.take(&rows)?;
    let to_floor: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(row, case)| {
            let floor = cases.len() + 2 * sizes.iter().position(|size| *size == case.size)?;
            // the better of the two strides
            Some(run.ratio(row, floor)?.min(run.ratio(row, floor + 1)?))
        })
        .collect();
    let targets = targets(&cases, &to_floor);
    let report = Report {
        name: "line",
        settings: format!(
            "{}; validation on, default buffers of 2048 bytes, larger packets in chains",
            bench.settings()
        ),
        columns: &COLUMNS,
        values: &["Mpps"],
        rows: &rows,
        run: &run,
        ratios: vec![("x floor", to_floor)],
        targets,
    };
    let plots = [
        plot(&report, &cases, "size", "bytes of a packet", |case| {
            (case.size, Case { size: BASE.size, ..*case })
        }),
        plot(&report, &cases, "burst", "packets in a burst", |case| {
            (case.burst, Case { burst: BASE.burst, ..*case })
        }),
    ];
    report.publish(&args.options.out, &plots.into_iter().flatten().collect::<Vec<_>>())
}

impl Line {
    fn cases(&self) -> Vec<Case> {
        let chosen = self.product();
        if chosen == [BASE] && self.is_open() { Self::star() } else { chosen }
    }

    /// Whether no list was given.
    fn is_open(&self) -> bool {
        let numbers = self.size.is_empty() && self.burst.is_empty() && self.ring.is_empty();
        let kinds = self.direction.is_empty() && self.access.is_empty();
        numbers && kinds && self.pages.is_empty() && self.rx.is_empty()
    }

    /// All combinations of the lists; of an axis without one, the base.
    fn product(&self) -> Vec<Case> {
        let mut cases = vec![BASE];
        vary(&mut cases, &self.size, |case, size| case.size = size);
        vary(&mut cases, &self.burst, |case, burst| case.burst = burst);
        vary(&mut cases, &self.ring, |case, ring| case.ring = ring);
        vary(&mut cases, &self.direction, |case, direction| case.direction = direction);
        vary(&mut cases, &self.access, |case, access| case.access = access);
        vary(&mut cases, &self.pages, |case, pages| case.pages = pages);
        vary(&mut cases, &self.rx, |case, rx| case.rx = rx);
        cases
    }

    /// The base, and each axis varied alone.
    fn star() -> Vec<Case> {
        let mut cases = vec![BASE];
        cases.extend([128, 256, 512, 1514, 9000].map(|size| Case { size, ..BASE }));
        cases.extend([1, 8, 32, 256].map(|burst| Case { burst, ..BASE }));
        cases.extend([256, 4096].map(|ring| Case { ring, ..BASE }));
        cases.push(Case { direction: Direction::M2s, ..BASE });
        cases.extend([Access::Peek, Access::Reserve, Access::InPlace].map(|access| Case { access, ..BASE }));
        cases.push(Case { pages: Pages::Huge, ..BASE });
        cases.extend([Rx::Interrupt, Rx::Adaptive].map(|rx| Case { rx, ..BASE }));
        cases
    }
}

/// Replaces each case by one for each value; without values they stay.
fn vary<T: Copy>(cases: &mut Vec<Case>, values: &[T], set: impl Fn(&mut Case, T)) {
    if values.is_empty() {
        return;
    }
    let with = |case: &Case, value| {
        let mut case = *case;
        set(&mut case, value);
        case
    };
    *cases = cases
        .iter()
        .flat_map(|case| values.iter().map(|value| with(case, *value)).collect::<Vec<_>>())
        .collect();
}

impl Case {
    fn row<'a>(&self, bench: &'a Bench) -> Row<'a> {
        let (size, burst) = (usize::from(self.size), usize::from(self.burst));
        let in_place = |ways: [Access; 2]| ways.contains(&self.access);
        let tx = Work::Generate { size, burst, in_place: in_place([Access::Reserve, Access::InPlace]) };
        let rx = Work::Sink { burst, in_place: in_place([Access::Peek, Access::InPlace]) };
        let sender = if self.direction == Direction::S2m { Role::Slave } else { Role::Master };
        let huge = if self.pages == Pages::Huge { "require" } else { "off" };
        let keys = format!(",ring={},huge={huge},rx={}", self.ring, name(self.rx));
        let take = move || bench.one_way(sender, &keys, tx.clone(), rx.clone());
        Row { cells: self.cells(), take: Box::new(take) }
    }

    fn cells(&self) -> Vec<String> {
        let direction = name(self.direction).to_uppercase();
        let numbers = [self.size, self.burst, self.ring].map(|number| number.to_string());
        let words = [direction, name(self.access), name(self.pages), name(self.rx)];
        numbers.into_iter().chain(words).collect()
    }
}

/// What is wanted of both directions, as shares of the floor.
fn targets(cases: &[Case], to_floor: &[Option<Ratio>]) -> Vec<Target> {
    let wanted = [(64, 0.8), (256, 0.95), (1514, 0.95)];
    let all = cases.iter().zip(to_floor).filter_map(|(case, got)| {
        let plain = Case { size: BASE.size, direction: BASE.direction, ..*case } == BASE;
        let (_, limit) = wanted.iter().find(|(size, _)| plain && *size == case.size)?;
        let what = format!(
            "{} B {}, of the floor at the better stride",
            case.size,
            name(case.direction).to_uppercase()
        );
        Some(Target { what, got: *got, limit: Limit::AtLeast(*limit) })
    });
    all.collect()
}

fn floor_row(bench: &Bench, size: u16, stride: usize) -> Row<'_> {
    let what = format!("floor {stride}");
    let cells =
        [size.to_string(), "64".into(), "1024".into(), "-".into(), what, "normal".into(), "poll".into()];
    Row { cells: cells.into(), take: bench.floor(usize::from(size), stride) }
}

/// The name of a choice, as on the command line.
fn name(choice: impl ValueEnum + Copy) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A plot over one axis, if there is more than one point on it: a line for each set of the other axes.
/// `place` gives a case's place on the axis, and the case without it.
fn plot(
    report: &Report<'_>,
    cases: &[Case],
    file: &'static str,
    axis: &'static str,
    place: impl Fn(&Case) -> (u16, Case),
) -> Option<Plot> {
    let mut lines: Vec<(Case, Vec<(f64, f64)>)> = Vec::new();
    for (row, case) in cases.iter().enumerate() {
        let (at, rest) = place(case);
        let Some(mpps) = report.run.summary(row).and_then(|summary| summary.medians.first().copied()) else {
            continue;
        };
        let point = (f64::from(at), mpps);
        match lines.iter_mut().find(|(line, _)| *line == rest) {
            Some((_, points)) => points.push(point),
            None => lines.push((rest, vec![point])),
        }
    }
    lines.retain(|(_, points)| points.len() > 1);
    let named = lines.into_iter().map(|(case, mut points)| {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (differs(&case), points)
    });
    let lines: Vec<_> = named.collect();
    let title = "Packets between two cores, one direction".to_owned();
    (!lines.is_empty()).then_some(Plot { name: file, title, axis, figure: "Mpps", lines })
}

/// What of a case is not the base.
fn differs(case: &Case) -> String {
    let cells = case.cells().into_iter().zip(BASE.cells()).zip(COLUMNS);
    let words: Vec<_> =
        cells.filter(|((a, b), _)| a != b).map(|((a, _), name)| format!("{name} {a}")).collect();
    if words.is_empty() { "S2M, copy".into() } else { words.join(", ") }
}
