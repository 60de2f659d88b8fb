//! Work in another network namespace.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::SocketError;
use super::namespace::NetNamespace;
use crate::thread;

/// What a namespace is entered with.
const ENTER: &str = "CAP_SYS_ADMIN in the user namespace that it belongs to and in that of this process";
/// What its file is opened with.
const OPEN: &str =
    "the right to read that file; for the namespace of a process, to trace the process (CAP_SYS_PTRACE)";

/// Runs `work` on a thread that is in `namespace`, and returns what it returned. The calling thread stays in its own
/// namespace, whatever happens; the other one ends.
///
/// # Errors
/// Those of `work`; [`SocketError::NoNamespace`], [`SocketError::NamespaceRight`], [`SocketError::NoThread`].
pub fn within<T: Send + 'static>(
    namespace: &NetNamespace,
    work: impl FnOnce() -> Result<T, SocketError> + Send + 'static,
) -> Result<T, SocketError> {
    let file = open(namespace)?;
    let entered = namespace.clone();
    let thread = thread::spawn("memif-netns", None, move || {
        enter(&file, &entered)?;
        work()
    });
    let thread = thread.map_err(|error| SocketError::NoThread { error })?;
    thread.join().unwrap_or_else(|_| {
        let error = std::io::Error::other("the thread in the network namespace panicked");
        Err(SocketError::System { call: "thread", error })
    })
}

fn open(namespace: &NetNamespace) -> Result<OwnedFd, SocketError> {
    // without waiting, whatever it is: a fifo would wait for a writer
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat(CWD, namespace.path(), flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => {
            SocketError::NamespaceRight { namespace: namespace.clone(), right: OPEN, error: errno.into() }
        }
        Errno::MFILE | Errno::NFILE => SocketError::system("open", errno),
        _ => SocketError::NoNamespace { namespace: namespace.clone(), error: errno.into() },
    })
}

fn enter(file: &OwnedFd, namespace: &NetNamespace) -> Result<(), SocketError> {
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| match errno {
        Errno::PERM => {
            SocketError::NamespaceRight { namespace: namespace.clone(), right: ENTER, error: errno.into() }
        }
        // not a namespace, or not one of the network
        _ => SocketError::NoNamespace { namespace: namespace.clone(), error: errno.into() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_namespace_is_named() {
        for (name, errno) in [
            ("/run/netns/memif-no-such-namespace", Errno::NOENT),
            ("memif-no-such-namespace", Errno::NOENT),
            ("4294967294", Errno::NOENT),
            ("/dev/null", Errno::INVAL),
            ("/", Errno::INVAL),
            // a namespace of another type
            ("/proc/self/ns/mnt", Errno::INVAL),
        ] {
            let namespace = NetNamespace::new(name).unwrap();
            let error = within(&namespace, || Ok(())).unwrap_err();
            let SocketError::NoNamespace { namespace: named, error: cause } = &error else {
                panic!("{error}")
            };
            assert_eq!((named, Errno::from_io_error(cause)), (&namespace, Some(errno)), "{error}");
            assert!(error.to_string().contains(&namespace.to_string()), "{error}");
        }
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let namespace = NetNamespace::new(path.to_str().unwrap()).unwrap();
        assert!(matches!(within(&namespace, || Ok(())), Err(SocketError::NoNamespace { .. })));
    }
}
