//! Who may connect to a socket file.
//!
//! The owner of the directory can exchange the file at any moment, for one whose mode we should rather not change. So the
//! file is held open while owner and mode are set, and before that a connection is made through what is held: if it ends in
//! this process, at a socket bound to our address, the file is ours.
//!
//! The socket has to listen for that. Until its file has its owner and mode, only processes of our own user can connect, who
//! are hung up on.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix, connect, getpeername};

use super::address::SocketAddress;
use super::credentials::Credentials;
use super::error::SocketError;
use super::file::{hold, path_of};
use super::raw::seqpacket;

/// Who may connect to a socket file; what is `None` stays as the kernel makes it (our own ids, mode 0777 less the umask).
/// Connecting takes the right to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketAccess {
    /// Mode bits, such as 0o660.
    pub mode: Option<u32>,
    /// User id of the owner.
    pub uid: Option<u32>,
    /// Group id of the owner.
    pub gid: Option<u32>,
}

impl SocketAccess {
    /// Whether the kernel's choice is to be changed.
    pub(super) fn is_asked_for(self) -> bool {
        self != SocketAccess::default()
    }

    /// Before the socket is bound: keeps its file to ourselves until it has the owner and the mode asked for. The kernel gives
    /// a file the mode of its socket, less the umask.
    pub(super) fn keep_private(socket: &OwnedFd) -> rustix::io::Result<()> {
        rustix::fs::fchmod(socket, Mode::RUSR | Mode::WUSR)
    }

    /// Gives the file of a listening socket the owner and the mode asked for. Leaves a connection in the backlog.
    pub(super) fn set(self, address: &SocketAddress, path: &Path) -> Result<(), SocketError> {
        let failed = |call| move |errno| SocketError::bind(call, address, errno);
        let exchanged = || SocketError::Exchanged { address: address.clone() };
        let file = hold(path).map_err(failed("open"))?.ok_or_else(exchanged)?;
        if !is_ours(&file, address)? {
            return Err(exchanged());
        }
        let (held, errno) =
            (path_of(&file), |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::PERM));
        // the owner first: to change it clears mode bits
        if self.uid.is_some() || self.gid.is_some() {
            chown(&held, self.uid, self.gid).map_err(errno).map_err(failed("chown"))?;
        }
        let mode = fs::Permissions::from_mode(self.mode.unwrap_or_else(mode_of_new_sockets));
        fs::set_permissions(&held, mode).map_err(errno).map_err(failed("chmod"))
    }
}

/// Whether the socket bound to a file listens in this process, and on this address.
fn is_ours(file: &OwnedFd, address: &SocketAddress) -> Result<bool, SocketError> {
    let system = |call| move |errno| SocketError::system(call, errno);
    let probe = seqpacket()?;
    let there = SocketAddrUnix::new(path_of(file)).map_err(system("connect"))?;
    match connect(&probe, &there) {
        Ok(()) => {}
        // no /proc
        Err(errno @ Errno::NOENT) => return Err(system("connect")(errno)),
        Err(_) => return Ok(false),
    }
    let ours: SocketAddrAny = address.to_unix().map_err(system("connect"))?.into();
    let bound = getpeername(&probe).map_err(system("getpeername"))?;
    let owner = Credentials::of_peer(probe.as_fd())
        .map_err(|error| SocketError::System { call: "getsockopt", error })?;
    Ok(bound == Some(ours) && owner.pid.unsigned_abs() == std::process::id())
}

/// The mode that the kernel gives to a socket file: all of it, less the umask. That can only be read without changing it, for
/// all threads, where `/proc` tells.
fn mode_of_new_sockets() -> u32 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = umask.and_then(|umask| u32::from_str_radix(umask.trim(), 8).ok());
    0o777 & !umask.unwrap_or(0o077)
}
