//! `memif-bench peers`: this implementation and DPDK's net_memif, each with itself and with the other, in one run.

use clap::Args;
use memif_interop::Reserved;
use memif_pmd::Role;

use crate::bench::{Bench, Options};
use crate::direction::Direction;
use crate::distance::between_looks;
use crate::dpdk::{Dpdk, Job, Task, sleep_until};
use crate::error::Error;
use crate::floor_search::{Floor, Layout};
use crate::measured::Measured;
use crate::pair::{End, Process};
use crate::report::{Limit, Report, Target};
use crate::sample::{Ratio, Row, Run};
use crate::sizes::Sizes;
use crate::work::Work;

/// Huge pages of 2 MiB for `-m 128` of a zero-copy testpmd, and for its memif driver.
const HUGE_PAGES: u64 = 72;
/// This implementation uses normal pages, as DPDK does when it copies.
const PAGES: &str = ",huge=off";
const COLUMNS: [&str; 6] = ["size", "burst", "dir", "sender", "receiver", "knobs"];

/// `memif-bench peers`
#[derive(Clone, Debug, Args)]
pub(crate) struct Peers {
    /// Bytes of a packet, or `imix` for 64, 570 and 1514 bytes 7:4:1
    #[arg(long, value_delimiter = ',', default_value = "64,256,1514")]
    size: Vec<Sizes>,
    /// Packets in a burst
    #[arg(long, value_delimiter = ',', default_value = "64", value_parser = clap::value_parser!(u16).range(1..=512))]
    burst: Vec<u16>,
    /// Direction of packets
    #[arg(long, value_delimiter = ',', default_value = "s2m,m2s")]
    direction: Vec<Direction>,
    /// Suites of Debian whose testpmd is measured; fetched from Debian's packages if it is not there
    #[arg(long, value_delimiter = ',', default_value = "bookworm,sid")]
    suite: Vec<String>,
    /// Only what copies: no zero-copy client, and no sender that builds packets
    #[arg(long)]
    brief: bool,
    #[command(flatten)]
    options: Options,
}

/// An end: this implementation, or a DPDK of those that are measured, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    /// Copies; a sender has its packets ready.
    Dpdk(usize),
    /// A sender that builds its packets.
    Builder(usize),
    /// Shares its own packet memory, on huge pages.
    ZeroCopy(usize),
}

impl Kind {
    fn name(self, dpdks: &[Dpdk]) -> String {
        let version = |index: usize| dpdks.get(index).map(Dpdk::version).unwrap_or_default();
        match self {
            Self::Ours => "ours".into(),
            Self::Dpdk(index) => format!("DPDK {}", version(index)),
            Self::Builder(index) => format!("DPDK {} txonly", version(index)),
            Self::ZeroCopy(index) => format!("DPDK {} zero-copy", version(index)),
        }
    }

    const fn dpdk(self) -> Option<usize> {
        match self {
            Self::Ours => None,
            Self::Dpdk(index) | Self::Builder(index) | Self::ZeroCopy(index) => Some(index),
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    sizes: Sizes,
    burst: u16,
    direction: Direction,
    kinds: (Kind, Kind),
}

/// Measures and reports.
///
/// # Errors
/// A row cannot be measured, DPDK cannot be fetched, or the report cannot be written.
pub(crate) fn peers(args: &Peers) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let dpdk = |suite: &String| Dpdk::new(suite, bench.sockets.folder(), bench.stop.clone());
    let dpdks = args.suite.iter().map(dpdk).collect::<Result<Vec<_>, _>>()?;
    let _reserved = (!args.brief).then(|| Reserved::new(HUGE_PAGES)).transpose()?;
    let cases = args.cases();
    let floors = floors(&bench, &cases)?;
    let mut rows: Vec<_> = cases.iter().map(|case| case.row(&bench, &dpdks)).collect();
    rows.extend(floors.iter().map(|(case, floor)| {
        Row {
            cells: [
                &case.sizes.to_string(),
                "64",
                &case.direction.to_string(),
                "floor",
                "floor",
                &floor.knobs.to_string(),
            ]
            .map(str::to_owned)
            .into(),
            take: bench.take_floor(*floor),
        }
    }));
    let run = bench.take(&rows)?;
    let compared = Compared { run: &run, cases: &cases, floors: &floors };
    let ratios = compared.ratios();
    let report = Report {
        name: "peers",
        settings: settings(&bench, &dpdks),
        columns: &COLUMNS,
        values: &["Mpps"],
        rows: &rows,
        run: &run,
        targets: compared.targets(&ratios, &dpdks),
        ratios,
    };
    report.publish(&args.options.out, &[])
}

fn settings(bench: &Bench, dpdks: &[Dpdk]) -> String {
    let versions: Vec<_> = dpdks.iter().map(Dpdk::full_version).collect();
    format!(
        "{}; testpmd of DPDK {} on one core: rxonly; sending from a port that has packets ready (null, for a mix pcap), or \
         txonly, which builds each; 4 KiB pages but for zero-copy; x fastest DPDK: by the fastest DPDK with itself that \
         copies, in the same direction; x its DPDK: by that of the same version; knobs: of the floor, searched before the \
         rounds; validation on",
        bench.settings(),
        versions.join(" and ")
    )
}

/// The floor of each size and direction, with a case that has it. A mix has none.
fn floors(bench: &Bench, cases: &[Case]) -> Result<Vec<(Case, Floor)>, Error> {
    let mut floors: Vec<(Case, Floor)> = Vec::new();
    for case in cases {
        if let Sizes::One(size) = case.sizes
            && !floors.iter().any(|(other, _)| other.has_floor_of(case))
        {
            floors.push((*case, bench.floor(size.into(), case.direction, Layout::Any)?));
        }
    }
    Ok(floors)
}

impl Peers {
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for sizes in &self.size {
            for burst in &self.burst {
                for direction in &self.direction {
                    let case = |kinds| Case { sizes: *sizes, burst: *burst, direction: *direction, kinds };
                    cases.push(case((Kind::Ours, Kind::Ours)));
                    for index in 0..self.suite.len() {
                        cases.extend(self.pairs(*sizes, *direction, index).into_iter().map(case));
                    }
                }
            }
        }
        cases
    }

    /// Pairs of sender and receiver with a DPDK. Only the slave shares its packet memory.
    fn pairs(&self, sizes: Sizes, direction: Direction, index: usize) -> Vec<(Kind, Kind)> {
        let (copies, builds, shares) = (Kind::Dpdk(index), Kind::Builder(index), Kind::ZeroCopy(index));
        let mut pairs = vec![(copies, copies), (Kind::Ours, copies)];
        // with chains DPDK overruns the ring, which costs packets on S2M and ends the link on M2S: docs/protocol.md, 4.4
        if !sizes.are_chains() {
            pairs.push((copies, Kind::Ours));
        }
        if !self.brief {
            if sizes != Sizes::Imix {
                pairs.push((builds, copies));
            }
            pairs.extend(match direction {
                Direction::S2m => [(shares, copies), (shares, Kind::Ours)],
                Direction::M2s => [(copies, shares), (Kind::Ours, shares)],
            });
        }
        pairs
    }
}

/// A run and what it is compared with.
struct Compared<'c> {
    run: &'c Run,
    cases: &'c [Case],
    floors: &'c [(Case, Floor)],
}

impl Compared<'_> {
    fn ratios(&self) -> Vec<(&'static str, Vec<Option<Ratio>>)> {
        let all = |of: &dyn Fn(usize, &Case) -> Option<Ratio>| {
            self.cases.iter().enumerate().map(|(row, case)| of(row, case)).collect::<Vec<_>>()
        };
        let to_fastest = |row, case: &Case| self.run.ratio(row, self.fastest(case, None)?);
        let to_same = |row, case: &Case| {
            let version = case.kinds.0.dpdk().or(case.kinds.1.dpdk())?;
            self.run.ratio(row, self.fastest(case, Some(version))?)
        };
        let to_floor = |row, case: &Case| {
            let floor = self.floors.iter().position(|(floor, _)| floor.has_floor_of(case))?;
            self.run.ratio(row, self.cases.len() + floor)
        };
        vec![("x fastest DPDK", all(&to_fastest)), ("x its DPDK", all(&to_same)), ("x floor", all(&to_floor))]
    }

    /// The row of the fastest DPDK with itself that copies, of one version or of all.
    fn fastest(&self, case: &Case, version: Option<usize>) -> Option<usize> {
        let is_it = |other: &Case| {
            let same = Case { kinds: case.kinds, ..*other } == *case;
            let wanted = |index| version.is_none_or(|version| version == index);
            same && matches!(other.kinds, (Kind::Dpdk(a) | Kind::Builder(a), Kind::Dpdk(b)) if a == b && wanted(a))
        };
        let rows = self.cases.iter().enumerate().filter(|(_, other)| is_it(other));
        let speed = |row| self.run.summary(row).and_then(|summary| summary.medians.first().copied());
        let speeds = rows.filter_map(|(row, _)| Some((row, speed(row)?)));
        speeds.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(row, _)| row)
    }

    fn targets(&self, ratios: &[(&str, Vec<Option<Ratio>>)], dpdks: &[Dpdk]) -> Vec<Target> {
        let wanted = self.cases.iter().enumerate().flat_map(|(row, case)| {
            case.limits().into_iter().map(move |(column, limit)| (row, case, column, limit))
        });
        let targets = wanted.map(|(row, case, column, least)| {
            let (name, got) = ratios
                .iter()
                .find(|(name, _)| *name == column)
                .map_or((column, None), |(name, all)| (*name, all.get(row).copied().flatten()));
            let [from, to] = [case.kinds.0, case.kinds.1].map(|kind| kind.name(dpdks));
            let Case { sizes, burst, direction, .. } = case;
            let what = format!("{sizes} B, burst {burst}, {direction}, {from} to {to}, {name}");
            Target { what, got, limit: Limit::AtLeast(least) }
        });
        targets.collect()
    }
}

impl Case {
    fn has_floor_of(&self, other: &Self) -> bool {
        (self.sizes, self.direction) == (other.sizes, other.direction)
    }

    fn row<'a>(&self, bench: &'a Bench, dpdks: &'a [Dpdk]) -> Row<'a> {
        let case = *self;
        let of = |kind: Kind| kind.dpdk().and_then(|index| dpdks.get(index));
        let (from, to) = (of(self.kinds.0), of(self.kinds.1));
        let take = move || match (from, to) {
            (None, None) => bench.one_way(case.direction, PAGES, case.generate(), case.sink()),
            (None, Some(to)) => case.we_send(bench, to),
            (Some(from), None) => case.we_receive(bench, from),
            (Some(from), Some(to)) => case.they_alone(bench, from, to),
        };
        let [from, to] = [self.kinds.0, self.kinds.1].map(|kind| kind.name(dpdks));
        let cells = [self.sizes.to_string(), self.burst.to_string(), self.direction.to_string(), from, to];
        Row { cells: cells.into_iter().chain([String::new()]).collect(), take: Box::new(take) }
    }

    fn generate(&self) -> Work {
        Work::Generate { sizes: self.sizes.pattern(), burst: self.burst.into(), in_place: false }
    }

    fn sink(&self) -> Work {
        Work::Sink { burst: self.burst.into(), in_place: false }
    }

    fn task(&self, sends: bool) -> Task {
        let kind = if sends { self.kinds.0 } else { self.kinds.1 };
        let job = match (sends, kind) {
            (false, _) => Job::Receive,
            (true, Kind::Builder(_)) => Job::Build,
            (true, _) => Job::Send,
        };
        let zero_copy = matches!(kind, Kind::ZeroCopy(_));
        Task { sizes: self.sizes, burst: self.burst, job, zero_copy }
    }

    /// The targets of this row: heading of the ratio, and the least value.
    fn limits(&self) -> Vec<(&'static str, f64)> {
        const FASTEST: &str = "x fastest DPDK";
        match (self.kinds, self.sizes, self.direction) {
            _ if self.burst != 64 => Vec::new(),
            ((Kind::Ours, Kind::Ours), Sizes::One(64), _) => vec![(FASTEST, 3.0), ("x floor", 0.9)],
            ((Kind::Ours, Kind::Ours), Sizes::One(256), Direction::S2m) => {
                vec![(FASTEST, 3.0), ("x floor", 0.9)]
            }
            ((Kind::Ours, Kind::Ours), Sizes::One(256), Direction::M2s) => vec![(FASTEST, 1.7)],
            ((Kind::Ours, Kind::Ours), Sizes::One(1514), Direction::S2m) => vec![(FASTEST, 1.3)],
            ((Kind::Ours, Kind::Ours), Sizes::One(1514), Direction::M2s) => vec![(FASTEST, 1.1)],
            ((Kind::Ours, Kind::Ours), Sizes::Imix, Direction::S2m) => vec![(FASTEST, 2.0)],
            ((Kind::Ours, Kind::Dpdk(_)), Sizes::One(256), Direction::S2m) => vec![("x its DPDK", 1.4)],
            ((Kind::Ours, Kind::Dpdk(_)), Sizes::One(1514), Direction::S2m) => vec![("x its DPDK", 1.15)],
            ((Kind::Ours, Kind::Dpdk(_)), ..) => vec![("x its DPDK", 1.0)],
            ((Kind::Dpdk(_), Kind::Ours), Sizes::One(256 | 1514), Direction::M2s) => {
                vec![("x its DPDK", 1.2)]
            }
            _ => Vec::new(),
        }
    }

    fn they_alone(&self, bench: &Bench, from: &Dpdk, to: &Dpdk) -> Result<Measured, Error> {
        let socket = bench.sockets.next();
        let start_tx = || from.start(self.direction.sender(), &socket, bench.cores.tx, self.task(true));
        let start_rx = || to.start(self.direction.receiver(), &socket, bench.cores.rx, self.task(false));
        // the master first: a testpmd that finds none never tries again
        let (mut tx, mut rx) = if self.direction == Direction::M2s {
            let tx = start_tx()?;
            (tx, start_rx()?)
        } else {
            let rx = start_rx()?;
            (start_tx()?, rx)
        };
        rx.forward()?;
        tx.forward()?;
        let measured = between_looks(bench.cores, || {
            let window = bench.timing.window();
            let watch = tx.watch_at(window.begin)?;
            let received = rx.receives(window)?;
            Ok(Measured { lost: watch.end()?.lost.max(received.lost), ..received })
        })?;
        tx.stop()?;
        rx.stop()?;
        tx.quit()?;
        rx.quit()?;
        Ok(measured)
    }

    fn we_send(&self, bench: &Bench, dpdk: &Dpdk) -> Result<Measured, Error> {
        let socket = bench.sockets.next();
        let ours = ours(&socket, self.direction.sender(), bench.cores.tx, self.generate());
        let start = || dpdk.start(self.direction.receiver(), &socket, bench.cores.rx, self.task(false));
        let (mut ours, mut rx) = both(self.direction.sender(), &ours, start)?;
        ours.up()?;
        rx.forward()?;
        let measured = between_looks(bench.cores, || {
            let window = bench.timing.window();
            ours.begin(window)?;
            let received = rx.receives(window)?;
            Ok(Measured { lost: ours.found()?.lost.max(received.lost), ..received })
        })?;
        rx.stop()?;
        rx.quit()?;
        Ok(measured)
    }

    fn we_receive(&self, bench: &Bench, dpdk: &Dpdk) -> Result<Measured, Error> {
        let socket = bench.sockets.next();
        let ours = ours(&socket, self.direction.receiver(), bench.cores.rx, self.sink());
        let start = || dpdk.start(self.direction.sender(), &socket, bench.cores.tx, self.task(true));
        let (mut ours, mut tx) = both(self.direction.receiver(), &ours, start)?;
        ours.up()?;
        tx.forward()?;
        let measured = between_looks(bench.cores, || {
            let window = bench.timing.window();
            ours.begin(window)?;
            let watch = tx.watch_at(window.begin)?;
            sleep_until(window.end);
            let lost = watch.end()?.lost;
            let received = ours.found()?;
            Ok(Measured::new(vec![received.mpps()], lost.max(received.lost)))
        })?;
        tx.stop()?;
        tx.quit()?;
        Ok(measured)
    }
}

fn ours(socket: &str, role: Role, core: usize, work: Work) -> End {
    End { ports: vec![format!("{socket},role={role}{PAGES}")], core, work }
}

/// Starts both ends, the master first.
fn both<T>(role: Role, ours: &End, start: impl FnOnce() -> Result<T, Error>) -> Result<(Process, T), Error> {
    if role == Role::Master {
        let ours = Process::start(role, ours)?;
        Ok((ours, start()?))
    } else {
        let theirs = start()?;
        Ok((Process::start(role, ours)?, theirs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_those_of_the_row() {
        let kinds = (Kind::Ours, Kind::Ours);
        let case = Case { sizes: Sizes::One(64), burst: 64, direction: Direction::S2m, kinds };
        assert_eq!(case.limits(), [("x fastest DPDK", 3.0), ("x floor", 0.9)]);
        let towards = Case { kinds: (Kind::Ours, Kind::Dpdk(1)), ..case };
        assert_eq!(towards.limits(), [("x its DPDK", 1.0)]);
        assert!(Case { burst: 32, ..towards }.limits().is_empty());
    }

    /// A run of one round, with this rate for each row.
    fn run_of(rates: &[f64]) -> Run {
        let rows: Vec<_> = rates
            .iter()
            .map(|rate| Row { cells: Vec::new(), take: Box::new(|| Ok(Measured::new(vec![*rate], 0.0))) })
            .collect();
        Run::take(&rows, 1, (vec![100.0], &|| Ok(100.0)), &memif_pmd::Stop::new().unwrap()).unwrap()
    }

    #[test]
    fn ratios_are_to_the_fastest_dpdk_with_itself_that_copies() {
        let case = |kinds| Case { sizes: Sizes::One(64), burst: 64, direction: Direction::S2m, kinds };
        let cases = [
            (Kind::Ours, Kind::Ours),
            (Kind::Dpdk(0), Kind::Dpdk(0)),
            (Kind::Builder(0), Kind::Dpdk(0)),
            (Kind::Dpdk(1), Kind::Dpdk(1)),
            (Kind::ZeroCopy(1), Kind::Dpdk(1)),
            (Kind::Ours, Kind::Dpdk(0)),
        ]
        .map(case);
        let run = run_of(&[80.0, 10.0, 20.0, 40.0, 100.0, 30.0]);
        let ratios = Compared { run: &run, cases: &cases, floors: &[] }.ratios();
        let values = |column: usize| ratios[column].1.iter().map(|ratio| ratio.map(|ratio| ratio.value));
        assert!(values(0).eq([2.0, 0.25, 0.5, 1.0, 2.5, 0.75].map(Some)));
        assert!(values(1).eq([None, Some(0.5), Some(1.0), Some(1.0), Some(2.5), Some(1.5)]));
        assert!(values(2).all(|ratio| ratio.is_none()));
    }
}
