//! Why the tool ends with an error, and its exit status.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitStatus;

use memif_observe::ObserveError;
use memif_os::cpu::CpuError;
use memif_os::limits::UsedUp;
use memif_pmd::Error as MemifError;

/// Exit status for a wrong command line.
pub(crate) const USAGE: u8 = 2;
/// Exit status for other errors.
pub(crate) const FAILURE: u8 = 1;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The library failed, for example to open an interface or to start a worker.
    #[error(transparent)]
    Memif(#[from] MemifError),
    /// A core of the command line cannot be used.
    #[error(transparent)]
    Core(#[from] CpuError),
    /// Links of other programs cannot be searched for.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// No link was found; the text names the processes that could not be read.
    #[error("no memif link found{0}")]
    NoLinks(String),
    /// The terminal cannot be drawn on.
    #[error("cannot use the terminal: {0}; pipe the output through cat to do without one")]
    Terminal(#[source] io::Error),
    /// No ring with the wanted name can be read; the text lists those that can.
    #[error("there is no such ring, or its size or direction is unknown; the rings are: {0}")]
    NoRing(String),
    /// A capture cannot be written.
    #[error("cannot write the capture {path}: {error}")]
    Capture {
        /// The file; `-` for standard output.
        path: String,
        /// The error of the system call.
        error: io::Error,
    },
    /// A port cannot be opened, or has ended.
    #[error("port {port}: {problem}")]
    Port {
        /// The port.
        port: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A capture cannot be replayed.
    #[error("cannot replay the capture {path}: {problem}")]
    Replay {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Metrics cannot be served at an address.
    #[error("cannot serve metrics at {address}: {error}{hint}", hint = listen_hint(.error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system call.
        error: io::Error,
    },
    /// The link did not come up within `--wait`.
    #[error("no link on {port} after {seconds} s: {reason}")]
    NoLink {
        /// The port's socket and id.
        port: String,
        /// How long the tool waited.
        seconds: f64,
        /// Why the last attempt failed.
        reason: String,
    },
    /// The TCP/IP stack of `ping` and `respond` failed.
    #[error(transparent)]
    Stack(#[from] memif_smoltcp::Error),
    /// None of the requests of `ping` was answered.
    #[error("{0} did not answer: it must be in the network of an address of --ip, and answer pings")]
    NoAnswer(IpAddr),
    /// None of a generator's packets came back.
    #[error("no packet came back from {0}: --rtt needs a peer that sends them back, such as memif echo")]
    NothingBack(String),
    /// The command line is wrong in a way that clap does not check.
    #[error("{0}")]
    Usage(String),
    /// Packets were corrupt, out of order or missing.
    #[error("verification failed: {0}")]
    Verification(String),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// Manual pages cannot be written.
    #[error("cannot write manual pages to {}: {error}", .folder.display())]
    Pages {
        /// The folder.
        folder: PathBuf,
        /// The error of the system call.
        error: io::Error,
    },
    /// The directory of the demo's socket could not be created.
    #[error("cannot create a directory for the demo's socket: {0}; set TMPDIR to a writable one")]
    Folder(#[source] io::Error),
    /// The demo's forwarder could not be started.
    #[error("cannot start the forwarder {program}: {error}{hint}", hint = hint_of_process(.error))]
    Spawn {
        /// Our own executable.
        program: String,
        /// The error of the system call.
        error: io::Error,
    },
    /// The kernel could not start a thread.
    #[error("cannot start a thread: {0}{hint}", hint = UsedUp::hint(UsedUp::of_threads(.0)))]
    Thread(#[source] io::Error),
    /// The demo's forwarder ended too early.
    #[error("the forwarder ended early ({status}): {reason}")]
    ForwarderEnded {
        /// Its exit status.
        status: ExitStatus,
        /// The last line of its standard error.
        reason: String,
    },
    /// The process may not use any core.
    #[error("this process is not allowed to use any core: check its cpuset")]
    NoCore,
    /// The histogram library refused its bounds.
    #[error("latencies cannot be recorded: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// What is used up when a process is not started: a process takes descriptors for its pipes, and counts as a thread.
fn hint_of_process(error: &io::Error) -> String {
    UsedUp::hint(UsedUp::of_descriptors(error).or_else(|| UsedUp::of_threads(error)))
}

impl ToolError {
    /// Whether the reader of standard output has closed it, which ends a run without an error.
    pub(crate) fn is_closed_output(&self) -> bool {
        let error = match self {
            Self::Output(error) => error,
            Self::Capture { path, error } if path == "-" => error,
            _ => return false,
        };
        error.kind() == io::ErrorKind::BrokenPipe
    }

    /// The exit status: [`USAGE`] when another command line would help, else [`FAILURE`].
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Core(_) => USAGE,
            Self::Memif(error) if is_usage(error) => USAGE,
            _ => FAILURE,
        }
    }
}

/// Advice for an address that cannot be listened on.
fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => "; choose another port",
        io::ErrorKind::AddrNotAvailable => "; choose an address of this host",
        _ => "",
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
