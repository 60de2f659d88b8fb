//! What listeners and channels make their sockets with.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::error::SocketError;

/// How often a call is repeated that was interrupted, or that reported a past reset instead of doing its work.
pub(super) const ATTEMPTS: usize = 8;

/// What every descriptor made here is.
pub(super) const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A socket of the control channel, neither bound nor connected.
pub(super) fn seqpacket() -> Result<OwnedFd, SocketError> {
    unix(SocketType::SEQPACKET)
}

/// A Unix socket.
pub(super) fn unix(kind: SocketType) -> Result<OwnedFd, SocketError> {
    socket_with(AddressFamily::UNIX, kind, FLAGS, None).map_err(|errno| SocketError::system("socket", errno))
}
