//! What all commands share: the options, the cores and the sockets.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use memif_os::cpu::{CoreList, allowed_cores};
use memif_pmd::{Role, Stop, ctrl_c};

use crate::ends::{Found, Work};
use crate::error::Error;
use crate::floor::{self, Shape};
use crate::pair::{self, Cores, End, Sockets, Timing};
use crate::sample::{Measured, Row, Run, Take};

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Rounds that count; each takes one sample of every row
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Milliseconds of a sample before packets count
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    warm_up: u16,
    /// Milliseconds of a sample in which they do
    #[arg(long, value_name = "MS", default_value_t = 700, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    time: u16,
    /// Two cores: of the sender and of the receiver; the first two by default
    #[arg(long, value_name = "LIST")]
    cores: Option<CoreList>,
    /// Where samples and plots go
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    pub(crate) out: PathBuf,
}

/// A place to measure.
#[derive(Debug)]
pub(crate) struct Bench {
    /// Where the two ends run.
    pub(crate) cores: Cores,
    /// How long a sample takes.
    pub(crate) timing: Timing,
    /// For the links.
    pub(crate) sockets: Sockets,
    /// Stopped by Ctrl-C.
    pub(crate) stop: Stop,
    /// Rounds that count.
    rounds: usize,
}

impl Bench {
    /// As the options say.
    ///
    /// # Errors
    /// There are no two cores, or no temporary folder.
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
            stop: ctrl_c()?,
            rounds: options.rounds.into(),
        })
    }

    /// Measures all rows, round by round.
    ///
    /// # Errors
    /// See [`Run::take`].
    pub(crate) fn take(&self, rows: &[Row<'_>]) -> Result<Run, Error> {
        Run::take(rows, self.rounds, || floor::ping_pong(self.cores), &self.stop)
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

    /// Mpps from one process to another. `keys` are those of both ports; the sender's role is `sender`.
    ///
    /// # Errors
    /// An end fails.
    pub(crate) fn one_way(&self, sender: Role, keys: &str, tx: Work, rx: Work) -> Result<Measured, Error> {
        let (sent, received) = self.link(sender, keys, tx, rx)?;
        Ok(Measured { values: vec![received.mpps()], lost: sent.lost.max(received.lost) })
    }

    /// What both ends found, the sender first.
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

    /// The floor for packets of `size` with buffers at `stride`, burst 64 and ring 1024.
    pub(crate) fn floor(&self, size: usize, stride: usize) -> Take<'_> {
        let shape = Shape { size, batch: 64, slots: 1024, stride };
        Box::new(move || floor::packets(shape, self.cores, self.timing))
    }
}

/// Two strides for packets of `size`: a multiple of 2048, as most peers lay out their buffers, and the least odd multiple
/// of 128 from 2048 on, which spreads them over all cache sets.
pub(crate) fn strides(size: usize) -> [usize; 2] {
    let least = size.max(2048);
    [least.next_multiple_of(2048), 128 * (least.div_ceil(128) | 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_hold_their_packets() {
        assert_eq!(strides(64), [2048, 2176]);
        assert_eq!(strides(9000), [10240, 9088]);
    }
}
