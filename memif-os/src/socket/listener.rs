//! Listening sockets.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, Shutdown, SocketType, accept_with, listen, shutdown, sockopt};

use super::access::SocketAccess;
use super::address::SocketAddress;
use super::channel::Channel;
use super::enter::within;
use super::error::SocketError;
use super::file::SocketFile;
use super::raw::{ATTEMPTS, FLAGS, seqpacket};
use crate::thread;

/// A listening socket. On drop it removes its socket file, unless another file has taken its place.
///
/// Dropping it also closes the connections that wait to be accepted, and the files that their peers attached to messages,
/// which may take long: use [`Listener::close`] where peers are not trusted.
#[derive(Debug)]
pub struct Listener {
    /// Removed on drop, while the socket still listens and nobody takes the file for a dead one's.
    file: Option<SocketFile>,
    fd: OwnedFd,
    /// Others may use it too.
    borrowed: bool,
}

impl Listener {
    /// Listens on `address`, with up to `backlog` connections waiting (the kernel caps it at
    /// `net.core.somaxconn`).
    ///
    /// A socket file that a dead process left behind is taken over; a file of any other kind is not. Of any number of
    /// processes that listen on one path at the same time one wins, and the others are told. The mode of the file follows
    /// the umask.
    ///
    /// # Errors
    /// [`SocketError::NoDirectory`], [`Permission`](SocketError::Permission),
    /// [`NotASocket`](SocketError::NotASocket), [`InUse`](SocketError::InUse),
    /// [`OutOfDescriptors`](SocketError::OutOfDescriptors) and [`System`](SocketError::System).
    pub fn bind(address: &SocketAddress, backlog: u16) -> Result<Listener, SocketError> {
        Self::bind_for(address, backlog, SocketAccess::default())
    }

    /// Like [`Listener::bind`], with a say in who may connect. Whoever connects before the file has the owner and the mode
    /// asked for, which only our own user can, is hung up on.
    ///
    /// An abstract address has no file, and so no access but that of its network namespace. In another one, the socket is
    /// made and bound by a thread that enters it and ends.
    ///
    /// # Errors
    /// Those of [`Listener::bind`]; [`NoNamespace`](SocketError::NoNamespace) and
    /// [`NamespaceRight`](SocketError::NamespaceRight) for an address in another network namespace;
    /// [`Permission`](SocketError::Permission) when the owner may not be changed, [`Exchanged`](SocketError::Exchanged) when
    /// somebody puts another file in the place of ours.
    pub fn bind_for(
        address: &SocketAddress,
        backlog: u16,
        access: SocketAccess,
    ) -> Result<Listener, SocketError> {
        match address.namespace() {
            None => Self::bind_here(address, backlog, access),
            Some(namespace) => {
                let address = address.clone();
                within(namespace, move || Self::bind_here(&address, backlog, access))
            }
        }
    }

    fn bind_here(
        address: &SocketAddress,
        backlog: u16,
        access: SocketAccess,
    ) -> Result<Listener, SocketError> {
        let fd = seqpacket()?;
        let failed = |call| move |errno| SocketError::bind(call, address, errno);
        let file = match address.path() {
            Some(path) => {
                if access.is_asked_for() {
                    SocketAccess::keep_private(&fd).map_err(failed("fchmod"))?;
                }
                Some(SocketFile::bind(&fd, address, path)?)
            }
            None => {
                let bound = address.to_unix().and_then(|unix| rustix::net::bind(&fd, &unix));
                bound.map_err(failed("bind"))?;
                None
            }
        };
        let listener = Listener { file, fd, borrowed: false };
        listen(&listener.fd, i32::from(backlog)).map_err(|errno| SocketError::system("listen", errno))?;
        if let Some(path) = address.path().filter(|_| access.is_asked_for()) {
            access.set(address, path)?;
            listener.hang_up_on_early_ones(backlog)?;
        }
        Ok(listener)
    }

    /// Takes over a listening socket that somebody else opened, and makes it non-blocking. Its socket file
    /// stays on drop.
    ///
    /// # Errors
    /// [`SocketError::NotAListener`] for a descriptor of any other kind, [`SocketError::System`].
    pub fn from_fd(fd: OwnedFd) -> Result<Listener, SocketError> {
        let listens = sockopt::socket_domain(&fd) == Ok(AddressFamily::UNIX)
            && sockopt::socket_type(&fd) == Ok(SocketType::SEQPACKET)
            && sockopt::socket_acceptconn(&fd) == Ok(true);
        if !listens {
            return Err(SocketError::NotAListener { fd: fd.as_raw_fd() });
        }
        fcntl_getfl(&fd)
            .and_then(|flags| fcntl_setfl(&fd, flags | OFlags::NONBLOCK))
            .and_then(|()| fcntl_setfd(&fd, FdFlags::CLOEXEC))
            .map_err(|errno| SocketError::system("fcntl", errno))?;
        Ok(Listener { file: None, fd, borrowed: true })
    }

    /// The next connection, `None` when nobody waits.
    ///
    /// # Errors
    /// [`SocketError::OutOfDescriptors`]: the connection stays in the backlog and the listener stays
    /// readable, so stop polling it for a while. [`SocketError::System`] for the rest.
    pub fn accept(&self) -> Result<Option<Channel>, SocketError> {
        for _ in 0..ATTEMPTS {
            match accept_with(&self.fd, FLAGS) {
                Ok(fd) => {
                    // what the maker of the listener asked for would take up the room for descriptors
                    let _ = sockopt::set_socket_passcred(&fd, false);
                    return Ok(Some(Channel::new(fd)));
                }
                Err(Errno::AGAIN) => return Ok(None),
                // The peer has gone again, or a signal came: whoever is next in the queue is still there.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(errno) => return Err(SocketError::system("accept", errno)),
            }
        }
        Ok(None)
    }

    /// Stops listening, without closing anything that a peer may have attached files to: returns the descriptors that are
    /// left, whose closing may take long. Its address is free at once, unless a lack of descriptors left connections in the
    /// backlog; then the listening socket is one of those returned.
    ///
    /// A socket that came from [`Listener::from_fd`] is returned as it is: others may still listen on it.
    #[must_use = "dropping the descriptors may take long"]
    pub fn close(mut self) -> Vec<OwnedFd> {
        if self.borrowed {
            return vec![self.fd];
        }
        // the name first, while the socket listens
        drop(self.file.take());
        // nobody can connect any more, so that the backlog comes to an end
        let _ = shutdown(&self.fd, Shutdown::Both);
        let mut left = Vec::new();
        loop {
            match self.accept() {
                Ok(Some(channel)) => left.push(channel.into()),
                Ok(None) => return left,
                Err(_) => {
                    left.push(self.fd);
                    return left;
                }
            }
        }
    }

    /// Accepts and closes those who wait now: in a full backlog there is one more than it is long. Closing those of other
    /// processes may take long.
    fn hang_up_on_early_ones(&self, backlog: u16) -> Result<(), SocketError> {
        let mut others = Vec::new();
        for _ in 0..=u32::from(backlog) + 1 {
            let Some(channel) = self.accept()? else { break };
            let ours = channel.peer_credentials().is_ok_and(|peer| peer.pid.unsigned_abs() == process::id());
            if !ours {
                others.push(channel);
            }
        }
        if !others.is_empty() {
            let _ = thread::spawn("memif-hang-up", None, move || drop(others));
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
