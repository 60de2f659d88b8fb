//! Why a measurement failed.

use std::io;

/// Why a measurement failed, or could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The library returned an error.
    #[error(transparent)]
    Memif(#[from] memif_pmd::Error),
    /// A core could not be used.
    #[error(transparent)]
    Core(#[from] memif_os::cpu::CpuError),
    /// Shared memory for a floor could not be allocated.
    #[error(transparent)]
    Memory(#[from] memif_os::region_file::RegionError),
    /// DPDK's testpmd failed, or there are not enough huge pages for it.
    #[error(transparent)]
    Peer(#[from] memif_interop::Error),
    /// A file or process could not be used.
    #[error("{what}: {error}")]
    Io {
        /// The operation.
        what: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The output of the other process cannot be parsed.
    #[error("unexpected output of the other process: {0}")]
    Message(#[from] serde_json::Error),
    /// A child process ended early. Its error is on standard error.
    #[error("the {0} ended too early: see its message above")]
    End(&'static str),
    /// The samples could not be written.
    #[error("cannot write the samples: {0}")]
    Csv(#[from] csv::Error),
    /// A plot could not be drawn.
    #[error("cannot draw {file}: {problem}")]
    Plot {
        /// Its file.
        file: String,
        /// Error of the drawing library.
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
    /// The kernel's answer to an operation.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
