//! Why a call failed, and why a link ended.

use std::fmt;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::time::Duration;

use memif_os::cpu::CpuError;
use memif_os::guard::GuardError;
use memif_os::limits::UsedUp;
use memif_os::page_pool::PoolError;
use memif_os::region_file::RegionError;
use memif_os::socket::{AddressError, NamespaceError, SocketError};
use memif_ring::fault::PeerFault;
use memif_ring::layout::MAX_PACKET_SIZE;
use memif_ring::message::{Reason, TextError};

/// Why a call failed. The text names the thing and says what to do.
///
/// Where the kernel refused something, [`source`](std::error::Error::source) is its answer, a [`std::io::Error`]. Debug prints
/// the text too, for programs whose `main` returns it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket's address is empty, too long or has a NUL byte: use another one.
    #[error(transparent)]
    Address(Cause),
    /// The directory of the socket file does not exist: create it.
    #[error(transparent)]
    NoDirectory(Cause),
    /// This process may not create, replace or connect to the socket file: change owner or mode of the file or its
    /// directory.
    #[error(transparent)]
    Permission(Cause),
    /// The path of the socket is taken by a file, or by a socket of another type: remove it or use another address.
    #[error(transparent)]
    NotAMemifSocket(Cause),
    /// Another process, or another [`Memif`](crate::Memif), listens on the socket: use another address, or stop it.
    #[error(transparent)]
    AddressInUse(Cause),
    /// No master listens on the socket: start one.
    #[error(transparent)]
    NobodyListens(Cause),
    /// The master's queue of connections is full: try again later.
    #[error(transparent)]
    ListenerBusy(Cause),
    /// The descriptor is not a listening `AF_UNIX` `SOCK_SEQPACKET` socket: pass one that is.
    #[error(transparent)]
    NotAListener(Cause),
    /// The limit of open files is reached: close some, or raise the limit.
    #[error(transparent)]
    OutOfDescriptors(Cause),
    /// A limit of threads is reached: run fewer, or raise it.
    #[error(transparent)]
    OutOfThreads(Cause),
    /// Not enough memory: use fewer or smaller queues, rings, buffers or bursts.
    #[error(transparent)]
    OutOfMemory(Cause),
    /// Huge pages are required, and too few are free: reserve some, or use [`HugePages::Prefer`](crate::HugePages::Prefer).
    #[error(transparent)]
    NoHugePages(Cause),
    /// The network namespace does not exist, or its name is invalid: create it, or name another one.
    #[error(transparent)]
    NoNamespace(Cause),
    /// This process lacks a right to enter the network namespace, which the text names.
    #[error(transparent)]
    NamespaceRight(Cause),
    /// The file is not shared memory, not open for reading and writing, or smaller than announced: pass another one.
    #[error(transparent)]
    UnusableMemory(Cause),
    /// The process has as many shared regions as can be guarded against peers that shrink them: use fewer interfaces.
    #[error(transparent)]
    TooManyRegions(Cause),
    /// The core does not exist, is offline, or this process may not use it: use another one.
    #[error(transparent)]
    Core(Cause),
    /// A number is out of range.
    #[error("{what} is {got}: it must be {min} to {max}")]
    OutOfRange {
        /// What the number is.
        what: &'static str,
        /// The number.
        got: u64,
        /// Its minimum.
        min: u64,
        /// Its maximum.
        max: u64,
    },
    /// The ring size is not a power of two.
    #[error("ring size {got} is not a power of two: use one of 2, 4, 8 … 16384")]
    RingSize {
        /// The ring size.
        got: u32,
    },
    /// A name or secret does not fit into its field of the control messages.
    #[error("unusable {what}: {error}")]
    Text {
        /// What the text is.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        error: TextError,
    },
    /// Rings and buffers do not fit into one region: a descriptor's offset has 32 bits.
    #[error(
        "rings and buffers take {bytes} bytes, a region holds 4 GiB: use fewer or smaller queues, rings or buffers"
    )]
    TooMuchMemory {
        /// Bytes that rings and buffers need together.
        bytes: u64,
    },
    /// A buffer of packet memory extends beyond the end of the memory, or overlaps the next buffer.
    #[error(
        "the buffer of {buffer_size} bytes at offset {offset} must end at {end}, where the next one begins or the memory ends"
    )]
    BufferOffset {
        /// Where it begins, in bytes from the start of the memory.
        offset: u32,
        /// Bytes of a buffer.
        buffer_size: u32,
        /// Where it must end, in bytes from the start of the memory.
        end: u64,
    },
    /// A buffer of packet memory overlaps one of other packet memory of this process: give each memory its own buffers in the
    /// file, or drop the other one first, and the interfaces and queues that use it.
    #[error(
        "the buffer of {buffer_size} bytes at offset {offset} overlaps one of other packet memory of this process in the \
         same file: give each its own buffers, or drop the other memory and the queues that use it first"
    )]
    BufferInUse {
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
        /// Bytes of a buffer.
        buffer_size: u32,
    },
    /// Packet memory was given to a master, which uses the memory of its slave.
    #[error("a master uses the memory of its slave: give packet memory to slaves only")]
    PacketMemoryOfMaster,
    /// The packet memory belongs to another control plane.
    #[error(
        "the packet memory belongs to another control plane: allocate it with the one that opens the interface"
    )]
    ForeignPacketMemory,
    /// A port's text is not of the form that [`Port`](crate::Port) describes.
    #[error("port {socket:?}: {problem}")]
    Port {
        /// The socket's address; `…` if the text does not begin with one.
        socket: String,
        /// What is wrong with the text, and what would be right; without any value from it, which may be a secret.
        problem: String,
    },
    /// The file with the secret cannot be read, or is empty.
    #[error("cannot read the secret from {}: {error}", .path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: io::Error,
    },
    /// Another interface has this id on this listener.
    #[error("interface id {id} is in use on {socket}: choose another id")]
    IdInUse {
        /// The id.
        id: u32,
        /// The listener's address.
        socket: String,
    },
    /// The interface or its link has fewer queues.
    #[error("no {direction} queue {index}: there are {count}")]
    NoSuchQueue {
        /// `rx` or `tx`.
        direction: &'static str,
        /// Index of the queue.
        index: u16,
        /// Number of queues.
        count: u16,
    },
    /// The queue's handle exists already.
    #[error("{direction} queue {index} is in use: drop its handle first")]
    QueueInUse {
        /// `rx` or `tx`.
        direction: &'static str,
        /// Index of the queue.
        index: u16,
    },
    /// The interface has been deleted, or the control plane has ended.
    #[error("the interface has been deleted")]
    Deleted,
    /// A master does not connect: its slave does.
    #[error("a master does not connect: its slave does")]
    NotASlave,
    /// There is a link already, or a connection that is not finished.
    #[error("the interface is connected already, or connecting")]
    AlreadyConnected,
    /// The connection could not be begun.
    #[error(transparent)]
    Attempt(Disconnect),
    /// [`Waker::cancel`](crate::Waker::cancel) was called while this call drove the control plane, or the
    /// [`Stop`](crate::Stop) that the call was given.
    #[error("the wait was cancelled")]
    Cancelled,
    /// The link did not come up in time.
    #[error("no link after {waited:.1?}: {}", .last.as_ref().map_or("no attempt has failed: is the peer running, and has it \
        descriptors and threads left?".into(), ToString::to_string))]
    NoLink {
        /// How long the call waited.
        waited: Duration,
        /// Why the last attempt failed, if there was one.
        last: Option<Disconnect>,
    },
    /// A worker thread did not start, or panicked.
    #[error("worker on {place} {problem}")]
    Worker {
        /// Its core, or `no core`.
        place: String,
        /// What happened.
        problem: String,
    },
    /// A packet was not added to a burst.
    #[error(transparent)]
    Push(#[from] PushError),
    /// No memory for a burst.
    #[error("no memory for a burst: use a smaller one")]
    NoBurstMemory,
    /// A system call failed.
    #[error("{call} failed: {error}")]
    System {
        /// The system call, or what it was for.
        call: &'static str,
        /// The kernel's answer.
        #[source]
        error: io::Error,
    },
}

/// The text, followed by the text of each source that it does not contain yet.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.to_string();
        for source in iter::successors(std::error::Error::source(self), |error| error.source()) {
            let source = source.to_string();
            if !text.contains(&source) {
                text = format!("{text}: {source}");
            }
        }
        f.write_str(&text)
    }
}

/// Details of an [`Error`]: a text, and the kernel's answer if there was one.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Cause {
    text: String,
    #[source]
    error: Option<io::Error>,
}

impl Cause {
    fn new(error: &impl std::error::Error) -> Self {
        Self { text: error.to_string(), error: None }
    }

    fn because(mut self, error: io::Error) -> Self {
        self.error = Some(error);
        self
    }
}

impl Error {
    /// The error of a system call.
    pub(crate) fn system(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| match UsedUp::of_descriptors(&error) {
            Some(what) => {
                let text = format!("{call} failed: {error}; {what}");
                Self::OutOfDescriptors(Cause { text, error: Some(error) })
            }
            None => Self::System { call, error },
        }
    }

    /// No thread was started.
    pub(crate) fn thread(error: io::Error) -> Self {
        match UsedUp::of_threads(&error) {
            Some(what) => {
                let text = format!("cannot start a thread: {error}; {what}");
                Self::OutOfThreads(Cause { text, error: Some(error) })
            }
            None => Self::System { call: "thread", error },
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
    pub(crate) fn address(error: AddressError) -> Self {
        Self::Address(Cause::new(&error))
    }

    #[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
    pub(crate) fn namespace(error: NamespaceError) -> Self {
        Self::NoNamespace(Cause::new(&error))
    }

    pub(crate) fn socket(error: SocketError) -> Self {
        use SocketError as E;
        let cause = Cause::new(&error);
        match error {
            E::NoDirectory { .. } => Self::NoDirectory(cause),
            E::Permission { error, .. } => Self::Permission(cause.because(error)),
            E::NotASocket { .. } | E::WrongType { .. } => Self::NotAMemifSocket(cause),
            E::InUse { .. } => Self::AddressInUse(cause),
            E::NoListener { error, .. } => Self::NobodyListens(cause.because(error)),
            E::Busy { .. } => Self::ListenerBusy(cause),
            E::NotAListener { .. } => Self::NotAListener(cause),
            E::NoNamespace { error, .. } => Self::NoNamespace(cause.because(error)),
            E::NamespaceRight { error, .. } => Self::NamespaceRight(cause.because(error)),
            E::OutOfDescriptors { error } => Self::OutOfDescriptors(cause.because(error)),
            E::NoThread { error } => Self::thread(error),
            E::System { call, error } => Self::System { call, error },
            error => Self::System { call: "socket", error: io::Error::other(error) },
        }
    }

    pub(crate) fn region(error: RegionError) -> Self {
        use RegionError as E;
        let cause = Cause::new(&error);
        match error {
            E::NoHugePages { .. } => Self::NoHugePages(cause),
            E::NotEnoughMemory { .. } => Self::OutOfMemory(cause),
            E::Allocate { error, .. } => Self::no_memory(cause, error),
            E::NotSharedMemory { error } | E::Unsealed { error } | E::Map { error, .. } => {
                Self::UnusableMemory(cause.because(error))
            }
            _ => Self::UnusableMemory(cause),
        }
    }

    pub(crate) fn guard(error: GuardError) -> Self {
        match error {
            GuardError::Handler(error) => Self::System { call: "handling SIGBUS", error },
            error => Self::TooManyRegions(Cause::new(&error)),
        }
    }

    pub(crate) fn pool(error: PoolError) -> Self {
        let cause = Cause::new(&error);
        match error {
            PoolError::NoHugePages(_) => Self::NoHugePages(cause),
            PoolError::Allocate { error, .. } => Self::no_memory(cause, error),
            _ => Self::OutOfMemory(cause),
        }
    }

    pub(crate) fn core(error: CpuError) -> Self {
        let cause = Cause::new(&error);
        match error {
            CpuError::NotAllowed { error, .. } => Self::Core(cause.because(error)),
            _ => Self::Core(cause),
        }
    }

    fn no_memory(cause: Cause, error: io::Error) -> Self {
        let files = UsedUp::of_descriptors(&error).is_some();
        let cause = cause.because(error);
        if files { Self::OutOfDescriptors(cause) } else { Self::OutOfMemory(cause) }
    }
}

/// Why [`Burst::push`](crate::Burst::push) or [`Burst::reserve`](crate::Burst::reserve) did not add a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The length is not 1 to 65535 bytes: such a packet fits into no burst.
    #[error("a packet of {len} bytes: it must have 1 to {MAX_PACKET_SIZE}")]
    Length {
        /// Bytes of the packet.
        len: usize,
    },
    /// The burst has as many packets as it may hold, or no memory left for one of this length.
    #[error("the burst is full with {packets} packets: send or clear them first, or make it larger")]
    Full {
        /// Packets in the burst.
        packets: usize,
    },
}

/// Packets cannot be forwarded in place: the two queues do not have their buffers in one packet memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queues share no packet memory: give both slave interfaces the same, or copy the packets")]
pub struct NotShared;

/// Why a link ended, or an attempt at one failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The peer ended the link and sent a reason.
    #[error("the peer disconnected: {reason} (code {code})")]
    Peer {
        /// The peer's number for it; the protocol defines none.
        code: u32,
        /// The peer's text, made printable.
        reason: Reason,
    },
    /// The peer refused the connection and sent a reason.
    #[error("the peer refused: {reason} (code {code})")]
    Refused {
        /// The peer's number for it; the protocol defines none.
        code: u32,
        /// The peer's text, made printable.
        reason: Reason,
    },
    /// The peer closed its socket, or its process ended.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer broke the protocol.
    #[error("peer fault: {0}")]
    Fault(#[from] PeerFault),
    /// This process ended it.
    #[error("ended by this side: {0}")]
    Local(&'static str),
    /// The packet memory has fewer free buffers than the link needs. The slave tries again.
    #[error(
        "the link needs {needed} buffers, {free} of the packet memory's {total} are free: make it larger, or use \
         smaller rings"
    )]
    TooFewBuffers {
        /// Buffers that the link's rings need.
        needed: usize,
        /// Buffers that no link uses.
        free: usize,
        /// Buffers of the packet memory.
        total: usize,
    },
    /// A limit is reached that protects other interfaces.
    #[error("refused: at most {limit} {what} at a time")]
    Quota {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A peer has taken pages of the packet memory away. It stays unusable.
    #[error("a peer has taken pages of the packet memory away: allocate a new one")]
    PacketMemoryDamaged,
    /// This process lacked memory, descriptors or another resource.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn texts_name_the_thing_and_sources_are_the_kernels_answers() {
        let error = Error::OutOfRange { what: "buffer size", got: 70000, min: 64, max: 65535 };
        assert_eq!(error.to_string(), "buffer size is 70000: it must be 64 to 65535");
        assert!(error.source().is_none());

        let refused = |errno| io::Error::from_raw_os_error(errno);
        let address = memif_os::socket::SocketAddress::new("/run/x.sock").unwrap();
        type Is = fn(&Error) -> bool;
        let cases: [(Error, Is, i32); 7] = [
            (Error::system("eventfd")(refused(24)), |error| matches!(error, Error::OutOfDescriptors(_)), 24),
            (Error::system("eventfd")(refused(12)), |error| matches!(error, Error::System { .. }), 12),
            (Error::thread(refused(11)), |error| matches!(error, Error::OutOfThreads(_)), 11),
            (Error::thread(refused(22)), |error| matches!(error, Error::System { .. }), 22),
            (
                Error::socket(SocketError::Permission { address, error: refused(13) }),
                |error| matches!(error, Error::Permission(_)),
                13,
            ),
            (
                Error::region(RegionError::Allocate { name: "r".into(), len: 1, error: refused(23) }),
                |error| matches!(error, Error::OutOfDescriptors(_)),
                23,
            ),
            (
                Error::pool(PoolError::Allocate { len: 1, error: refused(12) }),
                |error| matches!(error, Error::OutOfMemory(_)),
                12,
            ),
        ];
        for (error, is_right, errno) in cases {
            assert!(is_right(&error), "{error}");
            let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
            assert_eq!(source.and_then(io::Error::raw_os_error), Some(errno), "{error:?}");
            assert!(error.to_string().contains(&refused(errno).to_string()), "{error}");
            // what `main` prints that returns it
            assert_eq!(format!("{error:?}"), error.to_string());
        }
    }

    #[test]
    fn debug_adds_what_the_text_does_not_say() {
        let inner = io::Error::other("the disk is on fire");
        let error = Error::System { call: "open", error: io::Error::other(Outer(inner)) };
        assert_eq!(format!("{error:?}"), "open failed: outer: the disk is on fire");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);
}
