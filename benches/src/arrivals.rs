//! When the packets of an open-loop load are due.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Packets that are due together with [`Arrivals::Bursts`].
pub(crate) const TOGETHER: usize = 32;
/// Length of the timetable in packets; then it begins again.
pub(crate) const GAPS: usize = 1 << 16;
/// The same timetable for every sample.
const SEED: u64 = 0x6d65_6d69;

/// When packets are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub(crate) enum Arrivals {
    /// All gaps alike.
    Constant,
    /// Independent of each other.
    Poisson,
    /// 32 at a time.
    Bursts,
}

impl Arrivals {
    /// Gaps between packets in picoseconds, on average one packet each `1 / mpps` microseconds.
    pub(crate) fn gaps(self, mpps: f64) -> Vec<u64> {
        let mean = 1e6 / mpps;
        let mut random = fastrand::Rng::with_seed(SEED);
        let gap = |at: usize| match self {
            Self::Constant => mean,
            // 1 - f64() is above 0
            Self::Poisson => -(1.0 - random.f64()).ln() * mean,
            Self::Bursts if at.is_multiple_of(TOGETHER) => mean * TOGETHER as f64,
            Self::Bursts => 0.0,
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and below a second"
        )]
        (0..GAPS).map(gap).map(|ps| ps as u64).collect()
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constant => "constant",
            Self::Poisson => "poisson",
            Self::Bursts => "bursts",
        })
    }
}
