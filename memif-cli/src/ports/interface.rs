//! What the ports on network interfaces (`tap`, `packet`, `xdp`) have in common.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use memif_os::packet_socket::InterfaceWatch;
use memif_os::socket::{NetNamespace, SocketError, within};
use rustix::io::Errno;

use super::counting::{Losses, Tally};
use super::fate::Fate;
use crate::error::ToolError;

/// Longest time in which the kernel may send the last packets.
const SETTLE: Duration = Duration::from_millis(200);

/// The part of a queue that does not depend on the kind of port: its counters, and whether the interface has failed.
pub(super) struct End {
    port: String,
    pub(super) tally: Tally,
    fate: Fate,
    failed: bool,
}

impl End {
    /// The end of a queue of `port`, whose drops are added to `losses` and whose failure ends the port.
    pub(super) fn new(port: &str, losses: &Losses, fate: &Fate) -> Self {
        Self { port: port.to_owned(), tally: Tally::new(losses), fate: fate.clone(), failed: false }
    }

    /// Whether the interface has failed. No packet passes from then on.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Takes an error of the interface: ends the port, unless packets may pass again later.
    #[cold]
    pub(super) fn fail(&mut self, error: &io::Error) {
        if let Some(error) = ending(&self.port, error) {
            self.failed = true;
            self.fate.fail(error);
        }
    }
}

/// Calls `open` in a network namespace; without one, in the caller's. Sockets that it opens stay in that namespace.
///
/// # Errors
/// Those of `open`. [`ToolError::Port`]: the namespace does not exist or cannot be entered.
pub(super) fn open_in<T: Send + 'static>(
    namespace: Option<&NetNamespace>,
    port: &str,
    open: impl FnOnce() -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let Some(namespace) = namespace else { return open() };
    let opened = within(namespace, move || Ok::<_, SocketError>(open()));
    opened.map_err(|error| ToolError::Port { port: port.to_owned(), problem: error.to_string() })?
}

/// Waits until `is_done`, for 200 ms at most: a worker ends with packets that the kernel has yet to send.
pub(super) fn settle(mut is_done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_done() && began.elapsed() < SETTLE {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the first error of the queues of `port`, once, or that its interface has vanished.
pub(super) fn check(port: &str, fate: &Fate, watch: &InterfaceWatch) -> Result<(), ToolError> {
    fate.check()?;
    if watch.is_there() { Ok(()) } else { Err(vanished(port)) }
}

/// The message for an interface that cannot be opened: why, and what to do.
pub(super) fn open_problem(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            format!(
                "no permission: {error}; run as root, or give the program CAP_NET_RAW (xdp: also CAP_NET_ADMIN and CAP_BPF)"
            )
        }
        Some(Errno::NODEV | Errno::NXIO) => {
            format!("there is no such interface: {error}; ip link lists them")
        }
        Some(Errno::AFNOSUPPORT) => {
            format!("this kernel lacks the socket family: {error}; use another kernel or kind of port")
        }
        Some(Errno::BUSY) => {
            format!("another program has the queue, or its XDP program the interface: {error}; stop that one")
        }
        Some(Errno::OPNOTSUPP | Errno::INVAL) => format!(
            "the interface has no such queue or cannot do that: {error}; ethtool -l lists its queues; mode=copy works with all"
        ),
        Some(Errno::NOMEM | Errno::NOBUFS) => {
            format!("no memory for its rings: {error}; raise the limit of locked memory (ulimit -l)")
        }
        _ => format!("cannot be opened: {error}"),
    }
}

/// The error of an interface that is no longer there.
fn vanished(port: &str) -> ToolError {
    let problem = "the interface has vanished: it was deleted, or its namespace has ended".to_owned();
    ToolError::Port { port: port.to_owned(), problem }
}

/// The error that ends a port whose interface failed with `error`; `None` if packets may pass again later.
fn ending(port: &str, error: &io::Error) -> Option<ToolError> {
    match Errno::from_io_error(error) {
        // it may come up again; what is in the ring waits
        Some(Errno::NETDOWN) => None,
        Some(Errno::NXIO | Errno::NODEV | Errno::BADFD) => Some(vanished(port)),
        _ => {
            Some(ToolError::Port { port: port.to_owned(), problem: format!("the interface fails: {error}") })
        }
    }
}
