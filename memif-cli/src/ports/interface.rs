//! What ports on network interfaces say when they fail.

use std::io;

use rustix::io::Errno;

use crate::error::ToolError;

/// Why an interface cannot be opened, and what to do.
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
pub(super) fn vanished(port: &str) -> ToolError {
    let problem = "the interface has vanished: it was deleted, or its namespace has ended".to_owned();
    ToolError::Port { port: port.to_owned(), problem }
}

/// The error of an interface that packets can no longer be sent by; `None` where it may take them later.
pub(super) fn ending(port: &str, error: &io::Error) -> Option<ToolError> {
    match Errno::from_io_error(error) {
        // it may come up again; what is in the ring waits
        Some(Errno::NETDOWN) => None,
        Some(Errno::NXIO | Errno::NODEV | Errno::BADFD) => Some(vanished(port)),
        _ => {
            Some(ToolError::Port { port: port.to_owned(), problem: format!("the interface fails: {error}") })
        }
    }
}
