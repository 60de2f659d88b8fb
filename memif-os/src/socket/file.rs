//! The file of a listening socket: made, taken over from a dead process, found again and removed.
//!
//! Of any number of processes that bind one path at the same time, one wins and the others are told. What that takes:
//!
//! - *Whether the file's maker lives* is asked with a socket of another type, which the kernel refuses differently when a
//!   socket is bound to the file and when none is. So a socket that is bound and does not listen yet counts as alive.
//! - *A file without a socket stays without one*: the kernel makes a new file for each bind. The file is held open while it
//!   is judged, so that its inode is not reused for a new one.
//! - *The kernel makes the file before it binds the socket to it*, both under the lock of the directory. Our own attempt to
//!   bind takes that lock too: a file that was seen before the attempt has its socket after it.
//! - *Removing a name only if it still names the file that was judged* is no single call. Those who do so exclude each other
//!   by a lock file beside it, which exists for as long as that takes.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, lstat, openat, unlink};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, SocketType};

use super::address::SocketAddress;
use super::error::SocketError;
use super::raw::{ATTEMPTS, unix};

/// A socket file that we made, known by more than its name. Removed on drop, unless another file has taken its place; to be
/// dropped while the socket is open, so that nobody takes it for a dead one's.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    id: FileId,
}

/// What tells a file from another one of the same name: device and inode.
type FileId = (u64, u64);

impl SocketFile {
    /// Binds `socket` to a path, of which the address is made. Takes over the file of a socket that is gone.
    pub(super) fn bind(
        socket: &OwnedFd,
        address: &SocketAddress,
        path: &Path,
    ) -> Result<SocketFile, SocketError> {
        let failed = |call| move |errno| SocketError::bind(call, address, errno);
        let unix = address.to_unix().map_err(failed("bind"))?;
        for _ in 0..ATTEMPTS {
            // before the attempt, see above
            let standing = hold(path).map_err(failed("open"))?;
            match rustix::net::bind(socket, &unix) {
                Ok(()) => {
                    let id = lstat(path).map(|stat| id(&stat)).map_err(failed("stat"))?;
                    return Ok(SocketFile { path: path.to_owned(), id });
                }
                Err(Errno::ADDRINUSE) => {}
                Err(errno) => return Err(failed("bind")(errno)),
            }
            if let Some(standing) = standing {
                remove_dead(&standing, address, path)?;
            }
        }
        Err(SocketError::InUse { address: address.clone() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if lstat(&self.path).is_ok_and(|stat| id(&stat) == self.id) {
            // There is nobody to tell, and a file that stays does no harm.
            let _ = unlink(&self.path);
        }
    }
}

/// A handle on what stands at a path, be it a symbolic link; `None` when nothing does.
pub(super) fn hold(path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    match openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A path to a file that is held, whatever has become of its name.
pub(super) fn path_of(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/thread-self/fd/{}", file.as_raw_fd()))
}

/// Removes a socket file whose socket is gone; anything else in the way is an error.
fn remove_dead(file: &OwnedFd, address: &SocketAddress, path: &Path) -> Result<(), SocketError> {
    let failed = |call| move |errno| SocketError::bind(call, address, errno);
    let judged = fstat(file).map_err(failed("stat"))?;
    if FileType::from_raw_mode(judged.st_mode) != FileType::Socket {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    let in_use = || SocketError::InUse { address: address.clone() };
    if is_alive(file, address)? {
        return Err(in_use());
    }
    // whoever holds it is about to bind
    let _lock = Lock::take(path).map_err(failed("lock"))?.ok_or_else(in_use)?;
    if lstat(path).is_ok_and(|stat| id(&stat) == id(&judged)) {
        match unlink(path) {
            Err(errno) if errno != Errno::NOENT => return Err(failed("unlink")(errno)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a socket is bound to the file, listening or not.
fn is_alive(file: &OwnedFd, address: &SocketAddress) -> Result<bool, SocketError> {
    let failed = |errno| SocketError::connect(address, errno);
    let probe = unix(SocketType::DGRAM)?;
    let there = SocketAddrUnix::new(path_of(file)).map_err(failed)?;
    match rustix::net::connect(&probe, &there) {
        Err(Errno::CONNREFUSED) => Ok(false),
        Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::NOENT)) => Err(failed(errno)),
        // of another type, or busy
        _ => Ok(true),
    }
}

/// Who removes the file of a dead socket. The lock file goes with it.
struct Lock {
    path: PathBuf,
    _file: OwnedFd,
}

impl Lock {
    /// `None` when somebody else has it.
    fn take(path: &Path) -> rustix::io::Result<Option<Lock>> {
        let mut name = OsString::from(path);
        name.push(".lock");
        let path = PathBuf::from(name);
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(CWD, &path, flags, Mode::from_raw_mode(0o644))?;
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            result => result?,
        }
        // its last holder may have removed it between the two calls
        let locked = id(&fstat(&file)?);
        let same = lstat(&path).is_ok_and(|stat| id(&stat) == locked);
        Ok(same.then(|| Lock { path, _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = unlink(&self.path);
    }
}

#[allow(clippy::unnecessary_cast, reason = "the types differ between architectures")]
fn id(stat: &Stat) -> FileId {
    (stat.st_dev as u64, stat.st_ino as u64)
}
