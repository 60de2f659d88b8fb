//! The control channel's sockets: `AF_UNIX`, `SOCK_SEQPACKET`, non-blocking, one message a call with at most
//! one descriptor on it (protocol section 2).
//!
//! The peer may send anything. A [`Channel`] never blocks, never leaks a descriptor that a peer attached, and
//! tells a closed connection from a failing system call.

// std has stream and datagram sockets only, and no stable way to pass descriptors.
#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString, c_int, c_void};
use std::fmt;
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::ptr;

/// Longest socket path or abstract name (with its `@`), in bytes: `sun_path` less one NUL.
pub const MAX_ADDRESS_LEN: usize = 107;

/// Most descriptors that the kernel lets ride on one message (`SCM_MAX_FD`).
const MAX_FDS: u32 = 253;

/// Room for [`MAX_FDS`] descriptors and for credentials, if somebody switched them on, in words of 8 bytes.
/// With less, the kernel would cut the message short and a peer's mischief could not be counted.
const CONTROL_WORDS: usize = 160;

/// How often a call is repeated that was interrupted, or that reported a past reset instead of doing its work.
const ATTEMPTS: usize = 8;

/// Why an address is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing given, or nothing after the `@`.
    #[error(
        "empty socket address: give a path such as /run/vpp/memif.sock or an abstract name such as @memif"
    )]
    Empty,
    /// More than [`MAX_ADDRESS_LEN`] bytes.
    #[error("socket address {address:?} has {len} bytes, at most {MAX_ADDRESS_LEN} fit: use a shorter one")]
    TooLong {
        /// The address given.
        address: OsString,
        /// Its length in bytes.
        len: usize,
    },
    /// A NUL byte inside.
    #[error("socket address {address:?} has a NUL byte inside: remove it")]
    Nul {
        /// The address given.
        address: OsString,
    },
}

/// Where a master listens: a path in the file system or, with a leading `@`, a name in the abstract namespace.
///
/// Abstract names have no file permissions: every process in the network namespace can connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SocketAddress(OsString);

impl SocketAddress {
    /// Checks an address: 1 to [`MAX_ADDRESS_LEN`] bytes without NUL.
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong with it.
    pub fn new(address: impl AsRef<OsStr>) -> Result<SocketAddress, AddressError> {
        let address = address.as_ref().to_owned();
        let bytes = address.as_bytes();
        match bytes.len() {
            0 => Err(AddressError::Empty),
            1 if bytes == b"@" => Err(AddressError::Empty),
            _ if bytes.contains(&0) => Err(AddressError::Nul { address }),
            len if len > MAX_ADDRESS_LEN => Err(AddressError::TooLong { address, len }),
            _ => Ok(SocketAddress(address)),
        }
    }

    /// The path, or `None` for an abstract name.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (!self.is_abstract()).then(|| Path::new(&self.0))
    }

    /// True for a name in the abstract namespace.
    #[must_use]
    pub fn is_abstract(&self) -> bool {
        self.0.as_bytes().starts_with(b"@")
    }

    fn to_raw(&self) -> (libc::sockaddr_un, libc::socklen_t) {
        let mut raw = libc::sockaddr_un { sun_family: AF_UNIX, sun_path: [0; 108] };
        for (to, &from) in raw.sun_path.iter_mut().zip(self.0.as_bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        let mut len = mem::offset_of!(libc::sockaddr_un, sun_path) + self.0.len();
        if self.is_abstract() {
            raw.sun_path[0] = 0;
        } else {
            // A path counts its terminating NUL, an abstract name has none.
            len += 1;
        }
        (raw, socklen(len))
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.display(), f)
    }
}

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
    #[error("cannot listen on {address}: another process does already")]
    InUse {
        /// Where to listen.
        address: SocketAddress,
    },
    /// Nobody listens there: no such socket, or its owner is gone.
    #[error("nobody listens on {address}: {error}")]
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
    #[error("out of file descriptors: {error}; close some or raise the limit (ulimit -n)")]
    OutOfDescriptors {
        /// The kernel's answer: `EMFILE` for this process, `ENFILE` for the machine.
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
    fn system(call: &'static str, error: io::Error) -> SocketError {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => SocketError::OutOfDescriptors { error },
            _ => SocketError::System { call, error },
        }
    }

    fn bind(address: &SocketAddress, error: io::Error) -> SocketError {
        let address = address.clone();
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => SocketError::InUse { address },
            Some(libc::ENOENT | libc::ENOTDIR) => SocketError::NoDirectory { address },
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => SocketError::Permission { address, error },
            _ => SocketError::System { call: "bind", error },
        }
    }

    fn connect(address: &SocketAddress, error: io::Error) -> SocketError {
        let address = address.clone();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ECONNREFUSED) => {
                SocketError::NoListener { address, error }
            }
            Some(libc::EACCES | libc::EPERM) => SocketError::Permission { address, error },
            Some(libc::EAGAIN) => SocketError::Busy { address },
            Some(libc::EPROTOTYPE | libc::ENOTSOCK) => SocketError::WrongType { address },
            _ => SocketError::System { call: "connect", error },
        }
    }
}

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

/// Owner first: to change it clears mode bits.
fn set_access(path: &Path, access: SocketAccess) -> io::Result<()> {
    if access.uid.is_some() || access.gid.is_some() {
        lchown(path, access.uid, access.gid)?;
    }
    match access.mode {
        Some(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        None => Ok(()),
    }
}

/// A listening socket. On drop it removes its socket file, unless another file has taken its place.
#[derive(Debug)]
pub struct Listener {
    /// Removed on drop, while the socket still listens and nobody takes the file for a stale one.
    _file: Option<SocketFile>,
    fd: OwnedFd,
}

/// A socket file that we created, known by more than its name.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Listener {
    /// Listens on `address`, with up to `backlog` connections waiting (the kernel caps it at
    /// `net.core.somaxconn`).
    ///
    /// A socket file that a dead process left behind is taken over; a file of any other kind is not. The mode
    /// of the file follows the umask. Of two processes that take over the same file at the same instant, one
    /// may win silently.
    ///
    /// # Errors
    /// [`SocketError::NoDirectory`], [`Permission`](SocketError::Permission),
    /// [`NotASocket`](SocketError::NotASocket), [`InUse`](SocketError::InUse),
    /// [`OutOfDescriptors`](SocketError::OutOfDescriptors) and [`System`](SocketError::System).
    pub fn bind(address: &SocketAddress, backlog: u16) -> Result<Listener, SocketError> {
        Self::bind_for(address, backlog, SocketAccess::default())
    }

    /// As [`Listener::bind`], with a say in who may connect. A socket that is bound refuses everybody until it listens,
    /// and it listens only once its file has the owner and the mode asked for: there is no moment at which others may.
    ///
    /// An abstract address has no file, and so no access but that of its network namespace.
    ///
    /// # Errors
    /// As [`Listener::bind`]; [`Permission`](SocketError::Permission) when the owner may not be changed.
    pub fn bind_for(
        address: &SocketAddress,
        backlog: u16,
        access: SocketAccess,
    ) -> Result<Listener, SocketError> {
        let fd = socket()?;
        match (bind(&fd, address), address.path()) {
            (Err(error), Some(path)) if error.raw_os_error() == Some(libc::EADDRINUSE) => {
                remove_stale(address, path)?;
                bind(&fd, address).map_err(|error| SocketError::bind(address, error))?;
            }
            (result, _) => result.map_err(|error| SocketError::bind(address, error))?,
        }
        let file = address
            .path()
            .and_then(|path| Some(SocketFile { path: path.to_owned(), id: file_id(path).ok()? }));
        let listener = Listener { _file: file, fd };
        if let Some(path) = address.path() {
            set_access(path, access).map_err(|error| SocketError::bind(address, error))?;
        }
        // SAFETY: listen takes no pointer.
        check(unsafe { libc::listen(listener.fd.as_raw_fd(), c_int::from(backlog)) })
            .map_err(|error| SocketError::system("listen", error))?;
        Ok(listener)
    }

    /// Takes over a listening socket that somebody else opened, and makes it non-blocking. Its socket file
    /// stays on drop.
    ///
    /// # Errors
    /// [`SocketError::NotAListener`] for a descriptor of any other kind, [`SocketError::System`].
    pub fn from_fd(fd: OwnedFd) -> Result<Listener, SocketError> {
        let is = |option, wanted| socket_option::<c_int>(&fd, option).is_ok_and(|value| value == wanted);
        if !(is(libc::SO_DOMAIN, libc::AF_UNIX)
            && is(libc::SO_TYPE, libc::SOCK_SEQPACKET)
            && is(libc::SO_ACCEPTCONN, 1))
        {
            return Err(SocketError::NotAListener { fd: fd.as_raw_fd() });
        }
        set_flags(&fd).map_err(|error| SocketError::system("fcntl", error))?;
        Ok(Listener { _file: None, fd })
    }

    /// The next connection, `None` when nobody waits.
    ///
    /// # Errors
    /// [`SocketError::OutOfDescriptors`]: the connection stays in the backlog and the listener stays
    /// readable, so stop polling it for a while. [`SocketError::System`] for the rest.
    pub fn accept(&self) -> Result<Option<Channel>, SocketError> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        for _ in 0..ATTEMPTS {
            // SAFETY: null pointers say that the peer's address is not wanted.
            let fd = unsafe { libc::accept4(self.fd.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags) };
            let error = match check(fd) {
                // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
                Ok(fd) => return Ok(Some(Channel { fd: unsafe { OwnedFd::from_raw_fd(fd) } })),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(None),
                // The peer has gone again, or a signal came: whoever is next in the queue is still there.
                Some(libc::ECONNABORTED | libc::EINTR) => {}
                _ => return Err(SocketError::system("accept", error)),
            }
        }
        Ok(None)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What tells a file from another one of the same name: device and inode.
fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            // There is nobody to tell, and a stale file does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket file whose owner is gone; anything else in the way is an error.
fn remove_stale(address: &SocketAddress, path: &Path) -> Result<(), SocketError> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| SocketError::bind(address, error))?,
    };
    if !meta.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    match Channel::connect(address) {
        // Only a socket that nobody has open refuses; a live one accepts, is busy or of another type.
        Err(SocketError::NoListener { .. }) => {}
        Err(error @ (SocketError::Permission { .. } | SocketError::OutOfDescriptors { .. })) => {
            return Err(error);
        }
        _ => return Err(SocketError::InUse { address: address.clone() }),
    }
    // Not if somebody has put another file there meanwhile: that one was not examined.
    if file_id(path).is_ok_and(|id| id == (meta.dev(), meta.ino())) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(SocketError::bind(address, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Who is on the other side, as the kernel noted when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// Process id; 0 when the process is in a PID namespace that cannot be seen from here.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

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
    /// True when the message was longer than the buffer, or when descriptors were lost because this process has
    /// too many open (`EMFILE`). Either way the message is not what the peer sent.
    pub truncated: bool,
    /// The first descriptor on the message, if any; close-on-exec.
    pub fd: Option<OwnedFd>,
    /// Number of further descriptors; they are closed already.
    pub surplus: usize,
}

/// One connection of the control channel.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

impl Channel {
    /// Connects to a listener, without waiting for it to accept.
    ///
    /// # Errors
    /// [`SocketError::NoListener`], [`Busy`](SocketError::Busy), [`Permission`](SocketError::Permission),
    /// [`WrongType`](SocketError::WrongType), [`OutOfDescriptors`](SocketError::OutOfDescriptors) and
    /// [`System`](SocketError::System).
    pub fn connect(address: &SocketAddress) -> Result<Channel, SocketError> {
        let fd = socket()?;
        let (raw, len) = address.to_raw();
        // SAFETY: `raw` is a sockaddr_un that outlives the call, and `len` is at most its size.
        check(unsafe { libc::connect(fd.as_raw_fd(), (&raw const raw).cast(), len) })
            .map_err(|error| SocketError::connect(address, error))?;
        Ok(Channel { fd })
    }

    /// Sends one message, with at most one descriptor on it, whole or not at all.
    ///
    /// # Errors
    /// The kernel's answer to `sendmsg`: `EMSGSIZE` for a message beyond the socket's buffer, `ETOOMANYREFS`
    /// for too many descriptors under way, `ENOMEM`.
    pub fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<SendOutcome> {
        let mut control = [0u64; CONTROL_WORDS];
        let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut header = message_header(&mut iov, &mut control);
        match fd {
            // SAFETY: `control` is an array of CONTROL_WORDS words.
            Some(fd) => unsafe { attach(&mut header, fd) },
            None => header.msg_controllen = 0,
        }
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        for _ in 0..ATTEMPTS {
            // SAFETY: `header` points to `iov` and `control`, and `iov` to `bytes`; all outlive the call, which
            // reads them only.
            if unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const header, flags) } >= 0 {
                return Ok(SendOutcome::Sent);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(SendOutcome::WouldBlock),
                Some(libc::EPIPE | libc::ECONNRESET | libc::ECONNREFUSED | libc::ENOTCONN) => {
                    return Ok(SendOutcome::Closed);
                }
                _ => return Err(error),
            }
        }
        Ok(SendOutcome::WouldBlock)
    }

    /// Receives one message. Of several descriptors on it the first is kept; the others are closed and counted.
    ///
    /// A message of no bytes and no descriptors looks like a closed connection, and is reported as one.
    ///
    /// # Errors
    /// The kernel's answer to `recvmsg`, such as `ENOMEM`.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Incoming> {
        let mut control = [0u64; CONTROL_WORDS];
        let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        let mut header = message_header(&mut iov, &mut control);
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        for _ in 0..ATTEMPTS {
            // SAFETY: `header` points to `iov` and `control`, and `iov` to `buf`; all outlive the call, and
            // the kernel writes no more than the lengths in them.
            let result = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, flags) };
            if let Ok(len) = usize::try_from(result) {
                // SAFETY: recvmsg has just filled this header and its control buffer.
                let fds = unsafe { take_fds(&header) };
                return Ok(sort_out(len, header.msg_flags, fds));
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(Incoming::WouldBlock),
                // A reset is reported once, ahead of the messages that the peer sent before it closed: those,
                // and then the end of file, come with the next calls.
                Some(libc::EINTR | libc::ECONNRESET) => {}
                _ => return Err(error),
            }
        }
        Ok(Incoming::WouldBlock)
    }

    /// Who is on the other side.
    ///
    /// # Errors
    /// The kernel's answer to `getsockopt`.
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        let libc::ucred { pid, uid, gid } = socket_option(&self.fd, libc::SO_PEERCRED)?;
        Ok(Credentials { pid, uid, gid })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What one successful `recvmsg` means. Surplus descriptors are closed here.
fn sort_out(len: usize, flags: c_int, fds: Vec<OwnedFd>) -> Incoming {
    let surplus = fds.len().saturating_sub(1);
    let fd = fds.into_iter().next();
    let truncated = flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    if len == 0 && fd.is_none() && !truncated {
        return Incoming::Closed;
    }
    Incoming::Message(Received { len, truncated, fd, surplus })
}

/// Takes ownership of every descriptor that the kernel has just installed for a message.
///
/// # Safety
/// `recvmsg` has just succeeded with this header, whose buffers are still there, and it is the only call for
/// it.
unsafe fn take_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled the control buffer and set msg_controllen to what it wrote.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a header inside the control buffer, which is aligned
    // for it and not written meanwhile.
    while let Some(cmsg) = unsafe { next.as_ref() } {
        if (cmsg.cmsg_level, cmsg.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            #[allow(clippy::unnecessary_cast, reason = "the type differs between C libraries")]
            let len = cmsg.cmsg_len as usize;
            // SAFETY: CMSG_LEN only computes.
            let payload = len.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
            // SAFETY: the payload of a header inside the buffer follows it.
            let data = unsafe { libc::CMSG_DATA(next) };
            for i in 0..payload / size_of::<RawFd>() {
                // SAFETY: the kernel wrote `payload` bytes of descriptors there; each is new, open and ours
                // alone.
                fds.push(unsafe { OwnedFd::from_raw_fd(data.cast::<RawFd>().add(i).read_unaligned()) });
            }
        }
        // SAFETY: `next` is a header inside the control buffer of `header`.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    fds
}

/// A header with one buffer and the whole control buffer.
fn message_header(iov: &mut libc::iovec, control: &mut [u64; CONTROL_WORDS]) -> libc::msghdr {
    // SAFETY: all zeroes are a valid msghdr: null pointers and zero lengths.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = iov;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(control) as _;
    header
}

/// Puts one descriptor on a message.
///
/// # Safety
/// The header has an aligned control buffer of at least [`CONTROL_WORDS`] words.
unsafe fn attach(header: &mut libc::msghdr, fd: BorrowedFd<'_>) {
    // SAFETY: CMSG_SPACE only computes; it is far below the buffer's size.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(FD_LEN) } as _;
    // SAFETY: the control buffer is aligned for, and larger than, a header with one descriptor, so that
    // CMSG_FIRSTHDR returns its start and CMSG_DATA stays inside.
    unsafe {
        let cmsg = libc::CMSG_FIRSTHDR(header);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(FD_LEN) as _;
        libc::CMSG_DATA(cmsg).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
    }
}

/// Size of one descriptor on a message.
const FD_LEN: u32 = 4;
/// Size of the credentials on a message.
const CREDENTIALS_LEN: u32 = 12;

const _: () = {
    assert!(FD_LEN as usize == size_of::<RawFd>() && CREDENTIALS_LEN as usize == size_of::<libc::ucred>());
    // SAFETY: CMSG_SPACE only computes.
    let needed = unsafe { libc::CMSG_SPACE(MAX_FDS * FD_LEN) + libc::CMSG_SPACE(CREDENTIALS_LEN) };
    assert!(needed as usize <= CONTROL_WORDS * size_of::<u64>());
};

fn socket() -> Result<OwnedFd, SocketError> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes no pointer.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })
        .map_err(|error| SocketError::system("socket", error))?;
    // SAFETY: the kernel has just returned this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(fd: &OwnedFd, address: &SocketAddress) -> io::Result<()> {
    let (raw, len) = address.to_raw();
    // SAFETY: `raw` is a sockaddr_un that outlives the call, and `len` is at most its size.
    check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), len) }).map(drop)
}

/// A `SOL_SOCKET` option whose value is a `T` of integers.
fn socket_option<T: PlainOption>(fd: &OwnedFd, option: c_int) -> io::Result<T> {
    // SAFETY: PlainOption says that all zeroes are a T.
    let mut value: T = unsafe { mem::zeroed() };
    let mut len = socklen(size_of::<T>());
    let to = (&raw mut value).cast::<c_void>();
    // SAFETY: the kernel writes at most `len` bytes, the size of T, and any bytes are a T.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, to, &raw mut len) })?;
    Ok(value)
}

/// Types made of integers alone.
///
/// # Safety
/// Any bytes, zeroes included, must be a valid value.
unsafe trait PlainOption {}
// SAFETY: an integer.
unsafe impl PlainOption for c_int {}
// SAFETY: three integers.
unsafe impl PlainOption for libc::ucred {}

fn set_flags(fd: &OwnedFd) -> io::Result<()> {
    let raw = fd.as_raw_fd();
    // SAFETY: F_GETFL takes no pointer.
    let flags = check(unsafe { libc::fcntl(raw, libc::F_GETFL) })?;
    // SAFETY: F_SETFL takes an integer, no pointer.
    check(unsafe { libc::fcntl(raw, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    // SAFETY: F_SETFD takes an integer, no pointer.
    check(unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// `AF_UNIX` in the type of an address's family.
const AF_UNIX: libc::sa_family_t = 1;
const _: () = assert!(AF_UNIX as c_int == libc::AF_UNIX);

/// Lengths here are at most a few hundred bytes.
fn socklen(len: usize) -> libc::socklen_t {
    libc::socklen_t::try_from(len).unwrap_or(libc::socklen_t::MAX)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests;
