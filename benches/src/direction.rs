//! The direction of packets.

use std::fmt;

use clap::ValueEnum;
use memif_pmd::Role;

/// Direction of packets. The slave owns the memory: on [`Direction::S2m`] the sender chooses where a packet lies, on
/// [`Direction::M2s`] the receiver has posted the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// From slave to master.
    S2m,
    /// From master to slave.
    M2s,
}

impl Direction {
    /// Both directions.
    pub(crate) const BOTH: [Self; 2] = [Self::S2m, Self::M2s];

    /// The sender's role.
    pub(crate) const fn sender(self) -> Role {
        match self {
            Self::S2m => Role::Slave,
            Self::M2s => Role::Master,
        }
    }

    /// The receiver's role.
    pub(crate) const fn receiver(self) -> Role {
        match self {
            Self::S2m => Role::Master,
            Self::M2s => Role::Slave,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::S2m => "S2M",
            Self::M2s => "M2S",
        })
    }
}
