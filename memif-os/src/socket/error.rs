//! Why a socket could not be had.

use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, stat};
use rustix::io::Errno;

use super::address::SocketAddress;
use super::namespace::NetNamespace;
use crate::limits::UsedUp;

/// Why a socket could not be opened, bound, connected or accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The directory of the socket file is missing.
    #[error("cannot listen on {address}: its directory does not exist, create it")]
    NoDirectory {
        /// Where to listen.
        address: SocketAddress,
    },
    /// No right to create, replace or connect to the socket file.
    #[error(
        "no permission for socket {address}: {error}; look at the owner and mode of the file and its directory"
    )]
    Permission {
        /// The address in question.
        address: SocketAddress,
        /// The kernel's answer: `EACCES`, `EPERM` or `EROFS`.
        error: io::Error,
    },
    /// A file that is no socket stands where the socket belongs. It is left alone.
    #[error("{path} is in the way: it is no socket; remove it or choose another path", path = .path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// Another process listens there.
    #[error(
        "cannot listen on {address}: this or another process does already; stop it, use another address, or let one of \
         the two sides be the slave"
    )]
    InUse {
        /// Where to listen.
        address: SocketAddress,
    },
    /// Nobody listens there: no such socket, or its owner is gone.
    #[error("nobody listens at {address} ({error}): is the other side role=master and running?")]
    NoListener {
        /// Where to connect.
        address: SocketAddress,
        /// The kernel's answer: `ENOENT` or `ECONNREFUSED`.
        error: io::Error,
    },
    /// The listener has too many connections waiting to be accepted; try later.
    #[error("the listener on {address} is busy: its backlog is full, try again later")]
    Busy {
        /// Where to connect.
        address: SocketAddress,
    },
    /// A socket of another type listens there, so it is no memif master.
    #[error("{address} is no memif socket: the socket there is not of type SOCK_SEQPACKET")]
    WrongType {
        /// Where to connect.
        address: SocketAddress,
    },
    /// The descriptor is not a listening `AF_UNIX`, `SOCK_SEQPACKET` socket.
    #[error("descriptor {fd} is not a listening AF_UNIX SOCK_SEQPACKET socket")]
    NotAListener {
        /// The descriptor's number.
        fd: RawFd,
    },
    /// No descriptor is left for one more connection, which stays in the backlog.
    #[error("out of file descriptors: {error}{}", UsedUp::hint(UsedUp::of_descriptors(error)))]
    OutOfDescriptors {
        /// The kernel's answer: `EMFILE` for this process, `ENFILE` for the machine.
        error: io::Error,
    },
    /// No thread can be started, which another network namespace takes.
    #[error("cannot start a thread: {error}{}", UsedUp::hint(UsedUp::of_threads(error)))]
    NoThread {
        /// The kernel's answer: `EAGAIN` for a limit.
        error: io::Error,
    },
    /// The socket file is not the one just made: somebody exchanged it while its owner and mode were being set.
    #[error("{address} was exchanged while it was set up: let nobody else write to its directory")]
    Exchanged {
        /// Where to listen.
        address: SocketAddress,
    },
    /// The network namespace of an address does not exist, or its file is that of something else.
    #[error("{namespace} is no network namespace: {error}; create it, or name another one")]
    NoNamespace {
        /// The namespace.
        namespace: NetNamespace,
        /// The kernel's answer: `ENOENT`, or `EINVAL` for a file that stands for something else.
        error: io::Error,
    },
    /// This process may not enter the network namespace of an address.
    #[error("no permission to enter network namespace {namespace}: {error}; it takes {right}")]
    NamespaceRight {
        /// The namespace.
        namespace: NetNamespace,
        /// The right that is missing.
        right: &'static str,
        /// The kernel's answer: `EACCES` or `EPERM`.
        error: io::Error,
    },
    /// Any other refusal by the kernel.
    #[error("{call} failed: {error}")]
    System {
        /// The system call.
        call: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
}

impl SocketError {
    /// The error of a call that concerns no address.
    pub(super) fn system(call: &'static str, errno: Errno) -> SocketError {
        let error = errno.into();
        match errno {
            Errno::MFILE | Errno::NFILE => SocketError::OutOfDescriptors { error },
            _ => SocketError::System { call, error },
        }
    }

    /// The error of a call that concerns the file of a listener.
    pub(super) fn bind(call: &'static str, address: &SocketAddress, errno: Errno) -> SocketError {
        let (address, error) = (address.clone(), errno.into());
        match errno {
            Errno::ADDRINUSE => SocketError::InUse { address },
            Errno::NOENT | Errno::NOTDIR => SocketError::NoDirectory { address },
            Errno::ACCESS | Errno::PERM | Errno::ROFS => SocketError::Permission { address, error },
            _ => SocketError::system(call, errno),
        }
    }

    /// The error of a call that connects to an address.
    pub(super) fn connect(address: &SocketAddress, errno: Errno) -> SocketError {
        let (address, error) = (address.clone(), errno.into());
        match errno {
            // what the kernel says of a socket that nobody listens on, and of files of other kinds
            Errno::CONNREFUSED => match address.path().filter(|path| is_other_file(path)) {
                Some(path) => SocketError::NotASocket { path: path.to_owned() },
                None => SocketError::NoListener { address, error },
            },
            Errno::NOENT | Errno::NOTDIR => SocketError::NoListener { address, error },
            Errno::ACCESS | Errno::PERM => SocketError::Permission { address, error },
            Errno::AGAIN => SocketError::Busy { address },
            Errno::PROTOTYPE | Errno::NOTSOCK => SocketError::WrongType { address },
            _ => SocketError::system("connect", errno),
        }
    }
}

/// Whether there is a file that is no socket.
fn is_other_file(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Socket)
}
