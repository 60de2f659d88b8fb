//! One connection of the control channel: messages with descriptors, sent and received without waiting.
//!
//! Whoever closes the last reference to a file may have to wait: a TCP socket that lingers holds up `close` for as long as
//! its maker wants, a user-space file system for ever. A peer can attach such files to its messages, and the kernel closes
//! on the receiving thread what does not fit into the receiver's buffer. So a message is looked at before it is taken:
//! while it is still queued, it holds every file open, and closing our duplicates is quick. See [`Channel::recv`].

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{MaybeUninit, align_of};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, shutdown,
};

use super::address::SocketAddress;
use super::credentials::Credentials;
use super::enter::within;
use super::error::SocketError;
use super::raw::{ATTEMPTS, seqpacket};

/// Descriptors that are taken off one message: the one that may be there, and one that shows that there are too many.
const MAX_FDS: usize = 2;

/// Exactly the room that [`MAX_FDS`] descriptors take, aligned for them; rustix counts room for aligning in.
const CONTROL_LEN: usize = cmsg_space!(ScmRights(MAX_FDS)) - align_of::<usize>();

#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; CONTROL_LEN]);

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum SendOutcome {
    /// The peer can receive it.
    Sent,
    /// The peer's queue is full: send it again once the socket is writable.
    WouldBlock,
    /// The peer has closed the connection.
    Closed,
}

/// What [`Channel::recv`] found.
#[derive(Debug)]
pub enum Incoming {
    /// A message.
    Message(Received),
    /// A message with more than two descriptors. It stays queued, and with it all of its files: hang up, and let a thread
    /// that may wait drop the channel. The two descriptors here are duplicates, which are closed without waiting.
    TooManyFds(Received),
    /// A message whose descriptors this process has no room for (`EMFILE`). It stays queued, as above.
    FdsLost,
    /// Nothing yet: try again once the socket is readable.
    WouldBlock,
    /// The peer has closed the connection and no message is left.
    Closed,
}

/// A received message.
#[derive(Debug)]
pub struct Received {
    /// Number of bytes in the caller's buffer.
    pub len: usize,
    /// True when the message was longer than the buffer.
    pub truncated: bool,
    /// The first descriptor on the message, if any; close-on-exec. May be the last reference to a file whose closing takes
    /// long.
    pub fd: Option<OwnedFd>,
    /// The second descriptor, which no message of the protocol has. As `fd`.
    pub surplus: Option<OwnedFd>,
}

/// One connection of the control channel.
///
/// Dropping it closes the files on messages that were not received, which may take long: where the peer is not trusted,
/// let a thread do so that may wait.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

impl Channel {
    pub(super) fn new(fd: OwnedFd) -> Channel {
        Channel { fd }
    }

    /// Connects to a listener, without waiting for it to accept. In another network namespace, that is done by a thread that
    /// enters it and ends.
    ///
    /// # Errors
    /// [`SocketError::NoNamespace`], [`NamespaceRight`](SocketError::NamespaceRight),
    /// [`NoListener`](SocketError::NoListener), [`Busy`](SocketError::Busy), [`Permission`](SocketError::Permission),
    /// [`NotASocket`](SocketError::NotASocket), [`WrongType`](SocketError::WrongType),
    /// [`OutOfDescriptors`](SocketError::OutOfDescriptors) and [`System`](SocketError::System).
    pub fn connect(address: &SocketAddress) -> Result<Channel, SocketError> {
        match address.namespace() {
            None => Self::connect_here(address),
            Some(namespace) => {
                let address = address.clone();
                within(namespace, move || Self::connect_here(&address))
            }
        }
    }

    fn connect_here(address: &SocketAddress) -> Result<Channel, SocketError> {
        let fd = seqpacket()?;
        let failed = |errno| SocketError::connect(address, errno);
        rustix::net::connect(&fd, &address.to_unix().map_err(failed)?).map_err(failed)?;
        Ok(Channel { fd })
    }

    /// Sends one message, with at most one descriptor on it, whole or not at all.
    ///
    /// # Errors
    /// The kernel's answer to `sendmsg`: `EMSGSIZE` for a message beyond the socket's buffer, `ETOOMANYREFS`
    /// for too many descriptors under way, `ENOMEM`.
    pub fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<SendOutcome> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let attached = fd.as_slice();
        if !attached.is_empty() && !control.push(SendAncillaryMessage::ScmRights(attached)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        for _ in 0..ATTEMPTS {
            match rustix::net::sendmsg(&self.fd, &[IoSlice::new(bytes)], &mut control, flags) {
                Ok(_) => return Ok(SendOutcome::Sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(SendOutcome::WouldBlock),
                Err(Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED | Errno::NOTCONN) => {
                    return Ok(SendOutcome::Closed);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(SendOutcome::WouldBlock)
    }

    /// Receives one message, with up to two descriptors on it. Never waits, whatever the peer attached: no last reference
    /// to a file of its is closed here, and the caller chooses where those are closed that it is handed.
    ///
    /// A message of no bytes and no descriptors looks like a closed connection, and is reported as one.
    ///
    /// Takes `&mut self`, as two receivers at once would take messages that the other one looked at.
    ///
    /// # Errors
    /// The kernel's answer to `recvmsg`, such as `ENOMEM`.
    pub fn recv(&mut self, buf: &mut [u8]) -> io::Result<Incoming> {
        let Some((received, fds_cut)) = retried(|| self.peek(buf))? else { return Ok(Incoming::WouldBlock) };
        if fds_cut {
            return Ok(match received.surplus {
                Some(_) => Incoming::TooManyFds(received),
                None => Incoming::FdsLost,
            });
        }
        if received.len == 0 && received.fd.is_none() && !received.truncated {
            return Ok(Incoming::Closed);
        }
        match retried(|| self.take())? {
            Some(()) => Ok(Incoming::Message(received)),
            None => Ok(Incoming::WouldBlock),
        }
    }

    /// Looks at the next message without taking it, and whether descriptors on it were left out.
    fn peek(&self, buf: &mut [u8]) -> rustix::io::Result<(Received, bool)> {
        let mut space = Control([MaybeUninit::uninit(); CONTROL_LEN]);
        let mut control = RecvAncillaryBuffer::new(&mut space.0);
        let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let found = rustix::net::recvmsg(&self.fd, &mut [IoSliceMut::new(buf)], &mut control, flags)?;
        let mut fds = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
            _ => Vec::new(),
        });
        let received = Received {
            len: found.bytes,
            truncated: found.flags.contains(ReturnFlags::TRUNC),
            fd: fds.next(),
            surplus: fds.next(),
        };
        Ok((received, found.flags.contains(ReturnFlags::CTRUNC)))
    }

    /// Takes the message that was looked at off the queue. Its files stay open: we hold duplicates of all of them.
    fn take(&self) -> rustix::io::Result<()> {
        rustix::net::recv(&self.fd, &mut [0; 0][..], RecvFlags::DONTWAIT).map(drop)
    }

    /// Refuses all further messages, and returns whether none is left that was not received. If so, dropping the channel
    /// closes no file of the peer's and does not wait. The peer can still receive what was sent to it.
    #[must_use = "a channel with messages left may take long to drop"]
    pub fn is_empty_for_good(&self) -> bool {
        let closed = shutdown(&self.fd, Shutdown::Read).and_then(|()| set_socket_passcred(&self.fd, true));
        closed.is_ok() && matches!(retried(|| self.has_message()), Ok(Some(false)))
    }

    /// Whether a message is queued on a socket that is shut down. Every message comes with credentials, also one of no bytes;
    /// the end of file does not.
    fn has_message(&self) -> rustix::io::Result<bool> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let found = rustix::net::recvmsg(&self.fd, &mut [IoSliceMut::new(&mut [0; 1])], &mut control, flags)?;
        let has_control = control.drain().next().is_some() || found.flags.contains(ReturnFlags::CTRUNC);
        Ok(found.bytes > 0 || has_control)
    }

    /// Who is on the other side.
    ///
    /// # Errors
    /// The kernel's answer to `getsockopt`.
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        Credentials::of_peer(self.fd.as_fd())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> OwnedFd {
        channel.fd
    }
}

/// `None` when there is nothing to be received.
fn retried<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<Option<T>> {
    for _ in 0..ATTEMPTS {
        match call() {
            Ok(result) => return Ok(Some(result)),
            Err(Errno::AGAIN) => return Ok(None),
            // A reset is reported once, ahead of the messages that the peer sent before it closed: those, and then the
            // end of file, come with the next calls.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(None)
}
