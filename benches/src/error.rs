//! Why a measurement failed.

use std::io;

/// Why a measurement failed, or could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// memif refused or failed.
    #[error(transparent)]
    Memif(#[from] memif_pmd::Error),
    /// A core could not be used.
    #[error(transparent)]
    Core(#[from] memif_os::cpu::CpuError),
    /// Shared memory for a floor could not be had.
    #[error(transparent)]
    Memory(#[from] memif_os::region_file::RegionError),
    /// DPDK's testpmd, or huge pages for it.
    #[error(transparent)]
    Peer(#[from] memif_interop::Error),
    /// A file or process could not be used.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// What one process said to the other.
    #[error("what the other process said is no answer: {0}")]
    Message(#[from] serde_json::Error),
    /// A process of ours ended early; it has said why on standard error.
    #[error("the {0} ended before its time: see its message above")]
    End(&'static str),
    /// The samples could not be written.
    #[error("cannot write the samples: {0}")]
    Csv(#[from] csv::Error),
    /// A plot could not be drawn.
    #[error("cannot draw {file}: {problem}")]
    Plot {
        /// Where it should have gone.
        file: String,
        /// What the drawing library says.
        problem: String,
    },
    /// The machine or the command line does not allow it.
    #[error("{0}")]
    Unfit(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The kernel's answer to what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
