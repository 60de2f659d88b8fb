//! Why the tool ends with an error, and its exit status.

use std::io;
use std::process::ExitStatus;

use memif_pmd::Error as MemifError;

/// Exit status when the command line is at fault.
pub(crate) const USAGE: u8 = 2;
/// Exit status for everything else.
pub(crate) const FAILURE: u8 = 1;

/// Why the tool could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// An interface could not be opened, or a worker not be started.
    #[error(transparent)]
    Memif(#[from] MemifError),
    /// The link did not come up within `--wait`.
    #[error("no link on {port} after {seconds} s: {reason}")]
    NoLink {
        /// The port's socket and id.
        port: String,
        /// How long was waited.
        seconds: f64,
        /// Why the last attempt failed.
        reason: String,
    },
    /// The command line asks for what cannot be, which only shows once it was read.
    #[error("{0}")]
    Usage(String),
    /// Packets were wrong, out of order or missing.
    #[error("verification failed: {0}")]
    Verification(String),
    /// Standard output went away.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// The demo's socket folder could not be made.
    #[error("cannot make a folder for the demo's socket: {0}; set TMPDIR to one that can be written")]
    Folder(#[source] io::Error),
    /// The demo's forwarder could not be started.
    #[error("cannot start the forwarder {program}: {error}")]
    Spawn {
        /// Our own executable.
        program: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The demo's forwarder ended before the demo did.
    #[error("the forwarder ended early ({0}): see its message above")]
    ForwarderEnded(ExitStatus),
    /// No core may be used, which the kernel does not do.
    #[error("this process may use no core: look at its cpuset")]
    NoCore,
    /// The histogram library refused its bounds.
    #[error("latencies cannot be recorded: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

impl ToolError {
    /// The exit status: [`USAGE`] when another command line would help, else [`FAILURE`].
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Memif(error) if is_usage(error) => USAGE,
            _ => FAILURE,
        }
    }
}

fn is_usage(error: &MemifError) -> bool {
    use MemifError as E;
    matches!(
        error,
        E::Address(_)
            | E::OutOfRange { .. }
            | E::RingSize { .. }
            | E::Text { .. }
            | E::TooMuchMemory { .. }
            | E::Port { .. }
            | E::IdInUse { .. }
            | E::Core(_)
    )
}
