//! `memif-bench peers`: ours against DPDK's net_memif, and each with itself, in turn in one run.

use std::path::PathBuf;

use clap::Args;
use memif_interop::Reserved;
use memif_pmd::Role;

use crate::bench::{Bench, Options, strides};
use crate::dpdk::{Dpdk, Task, sleep_until};
use crate::ends::Work;
use crate::error::Error;
use crate::pair::{End, Process};
use crate::report::{Limit, Report, Target};
use crate::sample::{Measured, Ratio, Row};

/// Huge pages of 2 MiB, for a zero-copy testpmd's `-m 128` and what its memif driver takes beside.
const HUGE_PAGES: u64 = 72;
/// Ours lies on normal pages, as DPDK does where it copies.
const PAGES: &str = ",huge=off";
const COLUMNS: [&str; 5] = ["size", "burst", "dir", "sender", "receiver"];

/// `memif-bench peers`
#[derive(Clone, Debug, Args)]
pub(crate) struct Peers {
    /// Bytes of a packet
    #[arg(long, value_delimiter = ',', default_value = "64,256,1514", value_parser = clap::value_parser!(u16).range(64..=2048))]
    size: Vec<u16>,
    /// Packets in a burst
    #[arg(long, value_delimiter = ',', default_value = "64,32", value_parser = clap::value_parser!(u16).range(1..=512))]
    burst: Vec<u16>,
    /// Folder of DPDK's testpmd; it is fetched from Debian's packages if it is not there
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/dpdk"))]
    dpdk: PathBuf,
    #[command(flatten)]
    options: Options,
}

/// What an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    Dpdk,
    /// DPDK with its packet memory shared.
    ZeroCopy,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Dpdk => "DPDK",
            Self::ZeroCopy => "DPDK zero-copy",
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Case {
    size: u16,
    burst: u16,
    /// The sender's role: S2M for a slave.
    sender: Role,
    kinds: (Kind, Kind),
}

/// Who sends to whom: the first of each direction is what all others are held against.
const S2M: [(Kind, Kind); 6] = [
    (Kind::Dpdk, Kind::Dpdk),
    (Kind::ZeroCopy, Kind::Dpdk),
    (Kind::Ours, Kind::Ours),
    (Kind::Ours, Kind::Dpdk),
    (Kind::Dpdk, Kind::Ours),
    (Kind::ZeroCopy, Kind::Ours),
];
/// As [`S2M`], from master to slave.
const M2S: [(Kind, Kind); 6] = [
    (Kind::Dpdk, Kind::Dpdk),
    (Kind::Dpdk, Kind::ZeroCopy),
    (Kind::Ours, Kind::Ours),
    (Kind::Ours, Kind::Dpdk),
    (Kind::Dpdk, Kind::Ours),
    (Kind::Ours, Kind::ZeroCopy),
];

/// Measures and reports.
///
/// # Errors
/// A row cannot be measured, DPDK not be fetched, or nothing be written.
pub(crate) fn peers(args: &Peers) -> Result<(), Error> {
    let bench = Bench::new(&args.options)?;
    let dpdk = Dpdk::new(&args.dpdk, bench.stop.clone())?;
    let _reserved = Reserved::new(HUGE_PAGES)?;
    let cases = cases(args);
    let mut rows: Vec<_> = cases.iter().map(|case| case.row(&bench, &dpdk)).collect();
    for size in &args.size {
        let floors = strides(usize::from(*size)).map(|stride| Row {
            cells: [&size.to_string(), "64", "-", "floor", &stride.to_string()].map(str::to_owned).into(),
            take: bench.floor(usize::from(*size), stride),
        });
        rows.extend(floors);
    }
    let run = bench.take(&rows)?;
    let find = |wanted: &Case| cases.iter().position(|case| case == wanted);
    let to_dpdk = |(row, case): (usize, &Case)| {
        run.ratio(row, find(&Case { kinds: (Kind::Dpdk, Kind::Dpdk), ..*case })?)
    };
    let to_floor = |(row, case): (usize, &Case)| {
        let floor = cases.len() + 2 * args.size.iter().position(|size| *size == case.size)?;
        // the better of the two strides
        Some(run.ratio(row, floor)?.min(run.ratio(row, floor + 1)?))
    };
    let to_dpdk: Vec<_> = cases.iter().enumerate().map(to_dpdk).collect();
    let to_floor: Vec<_> = cases.iter().enumerate().map(to_floor).collect();
    let targets = cases.iter().zip(to_dpdk.iter().zip(&to_floor));
    let targets = targets.flat_map(|(case, (dpdk, floor))| case.targets(*dpdk, *floor)).collect();
    let report = Report {
        name: "peers",
        settings: format!(
            "{}; DPDK 22.11 testpmd, txonly and rxonly, one forwarding core; normal pages but for zero-copy; x DPDK: by DPDK with itself, copying, in \
             the same direction; validation on",
            bench.settings()
        ),
        columns: &COLUMNS,
        values: &["Mpps"],
        rows: &rows,
        run: &run,
        ratios: vec![("x DPDK", to_dpdk), ("x floor", to_floor)],
        targets,
    };
    report.publish(&args.options.out, &[])
}

fn cases(args: &Peers) -> Vec<Case> {
    let mut cases = Vec::new();
    for size in &args.size {
        for burst in &args.burst {
            let case = |sender| move |kinds| Case { size: *size, burst: *burst, sender, kinds };
            cases.extend(S2M.map(case(Role::Slave)));
            cases.extend(M2S.map(case(Role::Master)));
        }
    }
    cases
}

impl Case {
    fn row<'a>(&self, bench: &'a Bench, dpdk: &'a Dpdk) -> Row<'a> {
        let direction = if self.sender == Role::Slave { "S2M" } else { "M2S" };
        let (size, burst) = (self.size.to_string(), self.burst.to_string());
        let (from, to) = (self.kinds.0.name(), self.kinds.1.name());
        let case = *self;
        let take = move || match case.kinds {
            (Kind::Ours, Kind::Ours) => bench.one_way(case.sender, PAGES, case.generate(), case.sink()),
            (Kind::Ours, _) => case.we_send(bench, dpdk),
            (_, Kind::Ours) => case.we_receive(bench, dpdk),
            _ => case.they_alone(bench, dpdk),
        };
        Row {
            cells: [&size, &burst, direction, from, to].map(ToString::to_string).into(),
            take: Box::new(take),
        }
    }

    fn generate(&self) -> Work {
        Work::Generate { size: self.size.into(), burst: self.burst.into(), in_place: false }
    }

    fn sink(&self) -> Work {
        Work::Sink { burst: self.burst.into(), in_place: false }
    }

    fn task(&self, sends: bool) -> Task {
        let kind = if sends { self.kinds.0 } else { self.kinds.1 };
        Task { size: self.size, burst: self.burst, sends, zero_copy: kind == Kind::ZeroCopy }
    }

    fn receiver(&self) -> Role {
        if self.sender == Role::Slave { Role::Master } else { Role::Slave }
    }

    fn they_alone(&self, bench: &Bench, dpdk: &Dpdk) -> Result<Measured, Error> {
        let socket = bench.sockets.next();
        let start_tx = || dpdk.start(self.sender, &socket, bench.cores.tx, self.task(true));
        let start_rx = || dpdk.start(self.receiver(), &socket, bench.cores.rx, self.task(false));
        // the master first: a testpmd that finds none never tries again
        let (mut tx, mut rx) = if self.sender == Role::Master {
            let tx = start_tx()?;
            (tx, start_rx()?)
        } else {
            let rx = start_rx()?;
            (start_tx()?, rx)
        };
        rx.forward()?;
        tx.forward()?;
        let window = bench.timing.window();
        let watch = tx.watch_at(window.begin)?;
        let received = rx.receives(window)?;
        let lost = watch.end()?.lost.max(received.lost);
        tx.stop()?;
        rx.stop()?;
        tx.quit()?;
        rx.quit()?;
        Ok(Measured { lost, ..received })
    }

    fn we_send(&self, bench: &Bench, dpdk: &Dpdk) -> Result<Measured, Error> {
        let socket = bench.sockets.next();
        let ours = ours(&socket, self.sender, bench.cores.tx, self.generate());
        let start = || dpdk.start(self.receiver(), &socket, bench.cores.rx, self.task(false));
        let (mut ours, mut rx) = both(self.sender, &ours, start)?;
        ours.up()?;
        rx.forward()?;
        let window = bench.timing.window();
        ours.begin(window)?;
        let received = rx.receives(window)?;
        let sent = ours.found()?;
        rx.stop()?;
        rx.quit()?;
        Ok(Measured { lost: sent.lost.max(received.lost), ..received })
    }

    fn we_receive(&self, bench: &Bench, dpdk: &Dpdk) -> Result<Measured, Error> {
        let socket = bench.sockets.next();
        let ours = ours(&socket, self.receiver(), bench.cores.rx, self.sink());
        let start = || dpdk.start(self.sender, &socket, bench.cores.tx, self.task(true));
        let (mut ours, mut tx) = both(self.receiver(), &ours, start)?;
        ours.up()?;
        tx.forward()?;
        let window = bench.timing.window();
        ours.begin(window)?;
        let watch = tx.watch_at(window.begin)?;
        sleep_until(window.end);
        let lost = watch.end()?.lost;
        let received = ours.found()?;
        tx.stop()?;
        tx.quit()?;
        Ok(Measured { values: vec![received.mpps()], lost: lost.max(received.lost) })
    }

    /// What performance asks of this row.
    fn targets(&self, to_dpdk: Option<Ratio>, to_floor: Option<Ratio>) -> Vec<Target> {
        let (from, to) = (self.kinds.0.name(), self.kinds.1.name());
        let direction = if self.sender == Role::Slave { "S2M" } else { "M2S" };
        let name = format!("{} B, burst {}, {direction}, {from} to {to}", self.size, self.burst);
        let target = |by: &str, got, least| Target {
            what: format!("{name}, by {by}"),
            got,
            limit: Limit::AtLeast(least),
        };
        let (dpdk, floor) = match (self.kinds, self.size, self.burst) {
            ((Kind::Ours, Kind::Ours), 64, 64) => (Some(2.5), Some(0.8)),
            ((Kind::Ours, Kind::Ours), 64, 32) => (Some(2.2), None),
            ((Kind::Ours, Kind::Ours), 256, 64) => (Some(1.35), Some(0.95)),
            ((Kind::Ours, Kind::Ours), 1514, 64) => (Some(1.15), Some(0.95)),
            ((Kind::Ours, Kind::Dpdk) | (Kind::Dpdk, Kind::Ours), 64, 64) => (Some(1.1), None),
            _ => (None, None),
        };
        let dpdk = dpdk.map(|least| target("DPDK to DPDK", to_dpdk, least));
        let floor = floor.map(|least| target("the floor", to_floor, least));
        dpdk.into_iter().chain(floor).collect()
    }
}

fn ours(socket: &str, role: Role, core: usize, work: Work) -> End {
    End { ports: vec![format!("{socket},role={role}{PAGES}")], core, work }
}

/// Starts our end and another, the master first.
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
        let case = Case { size: 64, burst: 64, sender: Role::Slave, kinds };
        let targets = case.targets(None, None);
        assert_eq!(targets.len(), 2);
        assert!(targets[0].to_string().contains("64 B, burst 64, S2M, ours to ours, by DPDK to DPDK"));
        assert_eq!(targets[1].limit, Limit::AtLeast(0.8));
        let mixed = Case { kinds: (Kind::Dpdk, Kind::Ours), ..case };
        assert_eq!(mixed.targets(None, None).len(), 1);
        assert!(Case { burst: 32, ..mixed }.targets(None, None).is_empty());
    }
}
