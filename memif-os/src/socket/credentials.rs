//! Who is at the other end of a socket.

// rustix reads the process id as a number that is never 0, which the kernel's answer may be.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Who is on the other side, as the kernel noted when the connection was made; on the side that connected: who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process id; 0 when the process is in a PID namespace that cannot be seen from here.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Credentials {
    /// Of the peer of a connected socket.
    pub(super) fn of_peer(fd: BorrowedFd<'_>) -> io::Result<Credentials> {
        const LEN: libc::socklen_t = 12;
        const _: () = assert!(LEN as usize == mem::size_of::<libc::ucred>());
        let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut len = LEN;
        // SAFETY: both pointers lead to locals that outlive the call; the kernel writes at most `len` bytes to the first,
        // which is its size, and any bytes are three integers.
        let result = unsafe {
            let to = (&raw mut peer).cast();
            libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut len)
        };
        match result {
            0 => Ok(Credentials { pid: peer.pid, uid: peer.uid, gid: peer.gid }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
