//! `memif-bench line`: packets from one process to another over one ring, each process on a core of its own.

use clap::{Args, ValueEnum};
use memif_interop::Reserved;

use crate::bench::{Bench, Options};
use crate::direction::Direction;
use crate::error::Error;
use crate::floor_search::{Floor, Layout};
use crate::plot::{Line as Curve, Plot, Scale};
use crate::report::{Limit, Report, Target};
use crate::sample::{Ratio, Row};
use crate::work::Work;

/// Huge pages for the regions of one link, with any of the ring sizes.
const HUGE_PAGES: u64 = 48;
const COLUMNS: [&str; 8] = ["size", "burst", "ring", "dir", "access", "pages", "rx", "knobs"];

/// How the ends access packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Access {
    /// Both copy whole packets, from and to private memory.
    Copy,
    /// The receiver reads headers in the ring's buffers.
    Peek,
    /// The sender writes headers into the ring's buffers.
    Reserve,
    /// Both ends use the ring's buffers.
    InPlace,
}

/// Pages of shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pages {
    /// Pages of 4 KiB.
    Normal,
    /// Huge pages.
    Huge,
}

/// How the receiver learns of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rx {
    /// It polls.
    Poll,
    /// It sleeps whenever there are none.
    Interrupt,
    /// It sleeps after polling without packets for a while.
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
    /// Direction of packets
    #[arg(long, value_delimiter = ',')]
    direction: Vec<Direction>,
    /// How the ends access packets
    #[arg(long, value_delimiter = ',')]
    access: Vec<Access>,
    /// Pages of shared memory
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

/// The case from which all others differ in one axis.
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
/// A row cannot be measured, or the report cannot be written.
pub(crate) fn line(args: &Line) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let cases = args.cases();
    let wants_huge = cases.iter().any(|case| case.pages == Pages::Huge);
    let _reserved = wants_huge.then(|| Reserved::new(HUGE_PAGES)).transpose()?;
    let mut rows: Vec<_> = cases.iter().map(|case| case.row(&bench)).collect();
    let floors = floors(&bench, &cases)?;
    rows.extend(floors.iter().map(|(case, floor)| floor_row(&bench, case, *floor)));
    let run = bench.take(&rows)?;
    let to_floor: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(row, case)| {
            run.ratio(row, cases.len() + floors.iter().position(|(floor, _)| floor.has_floor_of(case))?)
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

    /// All combinations of the lists, with the base's value for an axis without a list.
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

/// Replaces each case by one for each value; no values, no change.
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
        let tx = Work::Generate {
            sizes: vec![size],
            burst,
            in_place: in_place([Access::Reserve, Access::InPlace]),
        };
        let rx = Work::Sink { burst, in_place: in_place([Access::Peek, Access::InPlace]) };
        let direction = self.direction;
        let huge = if self.pages == Pages::Huge { "require" } else { "off" };
        let keys = format!(",ring={},huge={huge},rx={}", self.ring, name(self.rx));
        let take = move || bench.one_way(direction, &keys, tx.clone(), rx.clone());
        Row { cells: self.cells(), take: Box::new(take) }
    }

    fn cells(&self) -> Vec<String> {
        let direction = self.direction.to_string();
        let numbers = [self.size, self.burst, self.ring].map(|number| number.to_string());
        let words = [direction, name(self.access), name(self.pages), name(self.rx)];
        numbers.into_iter().chain(words).chain([String::new()]).collect()
    }

    /// Whether the floor of both is the same: it depends on size and direction alone.
    fn has_floor_of(&self, other: &Self) -> bool {
        (self.size, self.direction) == (other.size, other.direction)
    }
}

/// Targets of both directions, as shares of the floor.
fn targets(cases: &[Case], to_floor: &[Option<Ratio>]) -> Vec<Target> {
    let wanted = [(64, 0.9), (256, 0.9)];
    let all = cases.iter().zip(to_floor).filter_map(|(case, got)| {
        let plain = Case { size: BASE.size, direction: BASE.direction, ..*case } == BASE;
        let (_, limit) = wanted.iter().find(|(size, _)| plain && *size == case.size)?;
        let what = format!("{} B {}, of the floor", case.size, case.direction);
        Some(Target { what, got: *got, limit: Limit::AtLeast(*limit) })
    });
    all.collect()
}

/// The floor of each size and direction, with a case that has it.
fn floors(bench: &Bench, cases: &[Case]) -> Result<Vec<(Case, Floor)>, Error> {
    let mut floors: Vec<(Case, Floor)> = Vec::new();
    for case in cases {
        if !floors.iter().any(|(other, _)| other.has_floor_of(case)) {
            floors.push((*case, bench.floor(case.size.into(), case.direction, Layout::Any)?));
        }
    }
    Ok(floors)
}

fn floor_row<'a>(bench: &'a Bench, case: &Case, floor: Floor) -> Row<'a> {
    let cells =
        [&case.size.to_string(), "64", "1024", &case.direction.to_string(), "floor", "normal", "poll"];
    let cells = cells.map(str::to_owned).into_iter().chain([floor.knobs.to_string()]).collect();
    Row { cells, take: bench.take_floor(floor) }
}

/// The name of a choice, as on the command line.
fn name(choice: impl ValueEnum + Copy) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// A plot over one axis, if there is more than one point on it: a line for each set of the other axes.
/// `place` gives the position of a case on the axis, and the case without it.
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
    let lines: Vec<_> = named.map(|(name, points)| Curve { name, points, spread: Vec::new() }).collect();
    (!lines.is_empty()).then(|| Plot {
        name: file.into(),
        title: "Packets between two cores, one direction".into(),
        axis: axis.into(),
        figure: "Mpps".into(),
        scale: Scale::Sizes,
        lines,
    })
}

/// The values in which a case differs from the base.
fn differs(case: &Case) -> String {
    let cells = case.cells().into_iter().zip(BASE.cells()).zip(COLUMNS);
    let words: Vec<_> =
        cells.filter(|((a, b), _)| a != b).map(|((a, _), name)| format!("{name} {a}")).collect();
    if words.is_empty() { "S2M, copy".into() } else { words.join(", ") }
}
