//! Why a scenario failed.

use std::io;
use std::time::Duration;

/// Why a scenario failed, or could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our side refused or failed.
    #[error(transparent)]
    Memif(#[from] memif_pmd::Error),
    /// A core could not be used.
    #[error(transparent)]
    Core(#[from] memif_os::cpu::CpuError),
    /// A file or process could not be used.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// testpmd did something else than asked.
    #[error("testpmd {problem}; it said last:\n{said}")]
    Testpmd {
        /// What happened.
        problem: String,
        /// The end of its output.
        said: String,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {waited:?}")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
    },
    /// The peer could not be fetched from Debian's packages.
    #[error("{script} failed with {status}: see its output above")]
    Fetch {
        /// The script.
        script: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A count or content that is not as it must be.
    #[error("{0}")]
    Wrong(String),
    /// Huge pages are needed and not to be had.
    #[error("{needed} huge pages needed, {free} free: {remedy}")]
    HugePages {
        /// How many are needed.
        needed: u64,
        /// How many were free.
        free: u64,
        /// What to do.
        remedy: String,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The kernel's answer to what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
