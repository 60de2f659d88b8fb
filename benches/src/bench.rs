//! Shared by all commands: options, cores and sockets.

use std::time::Duration;

use clap::Args;
use memif_os::cpu::{CoreList, allowed_cores};
use memif_pmd::{Role, Stop, ctrl_c};

use crate::direction::Direction;
use crate::distance::{self, Usual};
use crate::error::Error;
use crate::floor;
use crate::floor_search::{self, Floor, Layout};
use crate::measured::Measured;
use crate::pair::{self, Cores, End, Sockets, Timing};
use crate::ping_pong::ping_pong;
use crate::report::Out;
use crate::sample::{Row, Run, Take};
use crate::work::{Found, Work};

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Rounds; each takes one sample of every row
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Warm-up of a sample in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    warm_up: u16,
    /// Measurement time of a sample in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 150, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    time: u16,
    /// The cores of sender and receiver; by default the first two
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreList>,
    #[command(flatten)]
    pub(crate) out: Out,
}

/// Cores, times and sockets of a measurement.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Cores of the two ends.
    pub(crate) cores: Cores,
    /// Times of a sample.
    pub(crate) timing: Timing,
    /// Sockets of the links.
    pub(crate) sockets: Sockets,
    /// How far apart the cores were before it began.
    looks: Vec<f64>,
    /// Raised by Ctrl-C.
    pub(crate) stop: Stop,
    /// Number of rounds.
    rounds: usize,
}

impl Bench {
    /// According to the options.
    ///
    /// # Errors
    /// There are no two cores, or no temporary directory.
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let allowed = allowed_cores();
        let cores = match options.cores.as_ref().map_or(&allowed[..], CoreList::cores) {
            [tx, rx] => Cores { tx: *tx, rx: *rx },
            [tx, rx, ..] if options.cores.is_none() => Cores { tx: *tx, rx: *rx },
            other => {
                return Err(Error::Unfit(format!("two cores are needed, there are {other:?}: see --cores")));
            }
        };
        let ms = |span: u16| Duration::from_millis(span.into());
        Ok(Self {
            cores,
            timing: Timing { warm_up: ms(options.warm_up), time: ms(options.time) },
            sockets: Sockets::new()?,
            looks: distance::looks(cores)?,
            stop: ctrl_c()?,
            rounds: options.rounds.into(),
        })
    }

    /// Measures all rows, round by round.
    ///
    /// # Errors
    /// See [`Run::take`].
    pub(crate) fn take(&self, rows: &[Row<'_>]) -> Result<Run, Error> {
        Run::take(rows, self.rounds, (self.looks.clone(), &|| ping_pong(self.cores)), &self.stop)
    }

    /// The settings, for the report.
    pub(crate) fn settings(&self) -> String {
        let Timing { warm_up, time } = self.timing;
        let Cores { tx, rx } = self.cores;
        format!(
            "sender on core {tx}, receiver on core {rx}; {} ms warm-up, {} ms measured; {} rounds, rows in turn",
            warm_up.as_millis(),
            time.as_millis(),
            self.rounds
        )
    }

    /// Mpps from one process to another. Both ports have the options `keys`.
    ///
    /// # Errors
    /// An end fails.
    pub(crate) fn one_way(
        &self,
        direction: Direction,
        keys: &str,
        tx: Work,
        rx: Work,
    ) -> Result<Measured, Error> {
        let (sent, received) = self.link(direction.sender(), keys, tx, rx)?;
        Ok(Measured::new(vec![received.mpps()], sent.lost.max(received.lost)))
    }

    /// Results of both ends, the sender first.
    ///
    /// # Errors
    /// An end fails.
    pub(crate) fn link(&self, sender: Role, keys: &str, tx: Work, rx: Work) -> Result<(Found, Found), Error> {
        let socket = self.sockets.next();
        let end = |role, core, work| End { ports: vec![format!("{socket},role={role}{keys}")], core, work };
        match sender {
            Role::Slave => {
                let (master, slave) =
                    (end(Role::Master, self.cores.rx, rx), end(Role::Slave, self.cores.tx, tx));
                let (received, sent) = pair::run(&master, &slave, self.timing)?;
                Ok((sent, received))
            }
            Role::Master => {
                let (master, slave) =
                    (end(Role::Master, self.cores.tx, tx), end(Role::Slave, self.cores.rx, rx));
                pair::run(&master, &slave, self.timing)
            }
        }
    }

    /// Searches the floor for packets of `size` bytes: burst 64, ring 1024.
    ///
    /// # Errors
    /// See [`floor_search::search`].
    pub(crate) fn floor(&self, size: usize, direction: Direction, layout: Layout) -> Result<Floor, Error> {
        if self.stop.is_stopped() {
            return Err(Error::Interrupted);
        }
        floor_search::search(size, direction, layout, (self.cores, Usual::of(&self.looks), self.timing))
    }

    /// Measures a floor.
    pub(crate) fn take_floor(&self, Floor { shape, knobs }: Floor) -> Take<'_> {
        Box::new(move || floor::packets(shape, knobs, self.cores, self.timing))
    }
}
