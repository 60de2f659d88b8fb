//! Why a scenario failed.

use std::io;
use std::time::Duration;

/// Why a scenario failed, or could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library returned an error.
    #[error(transparent)]
    Memif(#[from] memif_pmd::Error),
    /// A core could not be used.
    #[error(transparent)]
    Core(#[from] memif_os::cpu::CpuError),
    /// A file or process could not be used.
    #[error("{what}: {error}")]
    Io {
        /// The operation.
        what: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// testpmd did not do what it was asked for.
    #[error("testpmd {problem}; its last output:\n{said}")]
    Testpmd {
        /// What happened.
        problem: String,
        /// The end of its output.
        said: String,
    },
    /// testpmd ended by SIGSEGV.
    #[error("testpmd crashed (SIGSEGV), and {problem}; its last output:\n{said}")]
    Crashed {
        /// What was asked of it.
        problem: String,
        /// The end of its output.
        said: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {waited:?}")]
    Late {
        /// What the runner waited for.
        what: String,
        /// How long it waited.
        waited: Duration,
    },
    /// testpmd could not be fetched from Debian's packages.
    #[error("{script} failed with {status}: see its output above")]
    Fetch {
        /// The script.
        script: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A count or a packet is wrong.
    #[error("{0}")]
    Wrong(String),
    /// There are not enough huge pages.
    #[error("{needed} huge pages needed, {free} free: {remedy}")]
    HugePages {
        /// How many are needed.
        needed: u64,
        /// How many were free.
        free: u64,
        /// How to get them.
        remedy: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The kernel's answer to an operation.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
