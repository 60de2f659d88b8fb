//! What can go wrong on our side of the API, and libmemif's number for it.

use std::io;
use std::time::Duration;

use memif_os::cpu::CpuError;
use memif_os::guard::GuardError;
use memif_os::page_pool::PoolError;
use memif_os::region_file::RegionError;
use memif_os::seqpacket::{AddressError, SocketError};
use memif_ring::fault::{FaultKind, PeerFault};
use memif_ring::message::{MessageKind, Reason, TextError};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The socket's address is no path or abstract name.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The socket could not be listened on or connected to.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Shared memory could not be made.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Shared memory could not be guarded against a peer that takes it away.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// Private packet memory could not be made.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A core could not be used.
    #[error(transparent)]
    Core(#[from] CpuError),
    /// A number of the configuration is out of range.
    #[error("{what} is {got}: it must be {min} to {max}")]
    OutOfRange {
        /// Which one.
        what: &'static str,
        /// What was asked for.
        got: u64,
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
    },
    /// A ring size that is no power of two.
    #[error("ring size {got} is no power of two: use one of 2, 4, 8 … 16384")]
    RingSize {
        /// What was asked for.
        got: u32,
    },
    /// A name or secret that does not fit into its field of the control messages.
    #[error("the {what} is unusable: {error}")]
    Text {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        error: TextError,
    },
    /// The rings and buffers of one interface do not fit into a region, which descriptors reach with 32 bits.
    #[error(
        "rings and buffers take {bytes} bytes, a region holds 4 GiB: use fewer or smaller queues, rings or buffers"
    )]
    TooMuchMemory {
        /// Bytes they would take.
        bytes: u64,
    },
    /// A buffer of packet memory leaves the memory, or lies over the next one.
    #[error(
        "a buffer of {buffer_size} bytes at offset {offset} ends behind {end}, where the next one begins or the memory ends"
    )]
    BufferPlace {
        /// Where it begins, in bytes from the memory's start.
        offset: u32,
        /// Bytes of a buffer.
        buffer_size: u32,
        /// Where it must end at the latest.
        end: u64,
    },
    /// A master was given packet memory: its slave brings all memory.
    #[error("a master uses its slave's memory: give packet memory to slaves only")]
    PacketMemoryOfMaster,
    /// The packet memory was made for another control plane.
    #[error(
        "the packet memory belongs to another control plane: make it with the one that opens the interface"
    )]
    ForeignPacketMemory,
    /// A port's text could not be understood.
    #[error("port {port:?}: {problem}")]
    Port {
        /// The text.
        port: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// Another interface has this id on this listener.
    #[error("interface id {id} is in use on {socket}: choose another id")]
    IdInUse {
        /// The id.
        id: u32,
        /// The listener's address.
        socket: String,
    },
    /// There is no such queue.
    #[error("no {direction} queue {index}: the interface has {count}")]
    NoSuchQueue {
        /// `rx` or `tx`.
        direction: &'static str,
        /// The queue asked for.
        index: u16,
        /// How many there are.
        count: u16,
    },
    /// The queue's handle has been given out, and it belongs to one thread at a time.
    #[error("{direction} queue {index} is in use: drop its handle first")]
    QueueInUse {
        /// `rx` or `tx`.
        direction: &'static str,
        /// The queue asked for.
        index: u16,
    },
    /// The interface has been deleted, or the control plane has ended.
    #[error("the interface has been deleted")]
    Deleted,
    /// Only a slave asks for connections.
    #[error("a master does not ask for connections: its slave does")]
    NotASlave,
    /// There is a link, or one is on its way.
    #[error("the interface is connected already, or connecting")]
    AlreadyConnected,
    /// A connection could not be begun.
    #[error(transparent)]
    Attempt(Disconnect),
    /// The link did not come up in time.
    #[error("no link after {waited:?}{}", .last.as_ref().map(|last| format!(": {last}")).unwrap_or_default())]
    NoLink {
        /// How long was waited.
        waited: Duration,
        /// Why the last attempt failed, if there was one.
        last: Option<Disconnect>,
    },
    /// A worker thread could not be started, or ended in a panic.
    #[error("worker on {place} {problem}")]
    Worker {
        /// Its core, or `no core`.
        place: String,
        /// What happened.
        problem: String,
    },
    /// No memory for a burst.
    #[error("no memory for a burst: use a smaller one")]
    NoBurstMemory,
    /// A system call of the control plane failed.
    #[error("{call} failed: {error}")]
    System {
        /// What was tried.
        call: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
}

impl Error {
    pub(crate) fn system(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { call, error }
    }

    /// libmemif's number for this error (`memif_err_t` of `libmemif.h`, version 1.0).
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Address(_) | Self::OutOfRange { .. } | Self::RingSize { .. } | Self::Text { .. } => {
                ErrorCode::InvalArg
            }
            Self::BufferPlace { .. } | Self::PacketMemoryOfMaster | Self::ForeignPacketMemory => {
                ErrorCode::InvalArg
            }
            Self::Port { .. } | Self::TooMuchMemory { .. } | Self::Core(_) | Self::IdInUse { .. } => {
                ErrorCode::InvalArg
            }
            Self::Socket(error) => socket_code(error),
            Self::Region(_) | Self::Guard(_) | Self::Pool(_) | Self::NoBurstMemory => ErrorCode::NoMem,
            Self::NotASlave => ErrorCode::InvalArg,
            Self::AlreadyConnected => ErrorCode::AlrConn,
            Self::Attempt(reason) => reason.code(),
            Self::NoSuchQueue { .. } | Self::QueueInUse { .. } => ErrorCode::Qid,
            Self::Deleted => ErrorCode::NoConn,
            Self::NoLink { last, .. } => last.as_ref().map_or(ErrorCode::Disconnected, Disconnect::code),
            Self::Worker { .. } => ErrorCode::Syscall,
            Self::System { error, .. } => io_code(error),
        }
    }
}

fn socket_code(error: &SocketError) -> ErrorCode {
    match error {
        SocketError::NoDirectory { .. } | SocketError::NoListener { .. } => ErrorCode::NoFile,
        SocketError::Permission { .. } => ErrorCode::Acces,
        SocketError::NotASocket { .. } | SocketError::WrongType { .. } => ErrorCode::FileNotSock,
        SocketError::InUse { .. } => ErrorCode::Already,
        SocketError::Busy { .. } => ErrorCode::Again,
        SocketError::NotAListener { .. } => ErrorCode::BadFd,
        SocketError::OutOfDescriptors { error } | SocketError::System { error, .. } => io_code(error),
        _ => ErrorCode::Syscall,
    }
}

fn io_code(error: &io::Error) -> ErrorCode {
    // EMFILE and ENFILE have no kind of their own
    match (error.raw_os_error(), error.kind()) {
        (Some(24), _) => ErrorCode::ProcFileLimit,
        (Some(23), _) => ErrorCode::FileLimit,
        (_, io::ErrorKind::PermissionDenied) => ErrorCode::Acces,
        (_, io::ErrorKind::NotFound) => ErrorCode::NoFile,
        (_, io::ErrorKind::WouldBlock) => ErrorCode::Again,
        (_, io::ErrorKind::OutOfMemory) => ErrorCode::NoMem,
        _ => ErrorCode::Syscall,
    }
}

/// Packets cannot be forwarded in place: the two queues do not have their buffers in one packet memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queues share no packet memory: give both slave interfaces the same, or copy the packets")]
pub struct NotShared;

/// Why a link ended, or an attempt at one failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disconnect {
    /// The peer said so, with its own code and words.
    #[error("the peer disconnected: {reason} (code {code})")]
    Peer {
        /// A number without agreed meaning.
        code: u32,
        /// The peer's words, printable.
        reason: Reason,
    },
    /// The peer refused us before the link was up.
    #[error("the peer refused: {reason} (code {code})")]
    Refused {
        /// A number without agreed meaning.
        code: u32,
        /// The peer's words, printable.
        reason: Reason,
    },
    /// The peer closed its socket or died.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer broke the protocol.
    #[error("peer fault: {0}")]
    Fault(#[from] PeerFault),
    /// We ended it.
    #[error("ended by this side: {0}")]
    Local(&'static str),
    /// The packet memory has fewer free buffers than the link needs. The attempt is made again.
    #[error(
        "the link needs {needed} buffers, {free} of the packet memory's {total} are free: make it larger, or use \
         smaller rings"
    )]
    TooFewBuffers {
        /// Buffers that the link's rings need.
        needed: usize,
        /// Buffers that no link has.
        free: usize,
        /// Buffers of the packet memory.
        total: usize,
    },
    /// A peer has taken pages of the packet memory away, for good.
    #[error("a peer has taken pages of the packet memory away: make another one")]
    PacketMemoryDamaged,
    /// We could not go on: memory, descriptors, sockets.
    #[error("{0}")]
    Failed(String),
}

impl Disconnect {
    /// libmemif's number for this reason.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Peer { .. } | Self::Refused { .. } => ErrorCode::Disconnect,
            Self::Closed | Self::Local(_) => ErrorCode::Disconnected,
            Self::Fault(PeerFault::FdMissing { on: MessageKind::AddRegion }) => ErrorCode::NoShmFd,
            Self::Fault(fault) => fault_code(fault.kind()),
            Self::TooFewBuffers { .. } => ErrorCode::Nobuf,
            Self::PacketMemoryDamaged => ErrorCode::NoShmFd,
            Self::Failed(_) => ErrorCode::Syscall,
        }
    }
}

fn fault_code(kind: FaultKind) -> ErrorCode {
    match kind {
        FaultKind::UnknownType => ErrorCode::UnknownMsg,
        FaultKind::VersionMismatch => ErrorCode::Proto,
        FaultKind::UnknownId => ErrorCode::Id,
        FaultKind::AlreadyConnected => ErrorCode::AlrConn,
        FaultKind::ModeMismatch | FaultKind::UnknownMode => ErrorCode::Mode,
        FaultKind::SecretRequired => ErrorCode::NoSecret,
        FaultKind::WrongSecret => ErrorCode::Secret,
        FaultKind::TooManyRegions => ErrorCode::MaxReg,
        FaultKind::TooManyRings => ErrorCode::MaxRing,
        FaultKind::RingSize => ErrorCode::MaxRingSize,
        FaultKind::BadCookie => ErrorCode::Cookie,
        FaultKind::RegionUnmappable
        | FaultKind::RegionTooSmall
        | FaultKind::RegionNotSealed
        | FaultKind::RegionLost => ErrorCode::NoShmFd,
        FaultKind::NotAllowed => ErrorCode::Acces,
        FaultKind::FdMissing | FaultKind::NotAnEventFd | FaultKind::SemaphoreEventFd => ErrorCode::NoIntFd,
        _ => ErrorCode::MfMsg,
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal, $text:literal;)+) => {
        /// `memif_err_t` of `libmemif.h`, version 1.0: the same numbers.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum ErrorCode {
            $(#[doc = $text] $name = $number,)+
        }

        impl ErrorCode {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What it means, as `memif_strerror` says it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

codes! {
    Success = 0, "success";
    Syscall = 1, "a system call failed";
    Acces = 2, "permission denied";
    NoFile = 3, "file does not exist";
    FileLimit = 4, "the system's open file limit is reached";
    ProcFileLimit = 5, "the process's open file limit is reached";
    Already = 6, "already in use or requested";
    Again = 7, "the operation would block: try again";
    BadFd = 8, "invalid file descriptor";
    NoMem = 9, "out of memory";
    InvalArg = 10, "invalid argument";
    NoConn = 11, "the handle points to no interface";
    Conn = 12, "the handle points to an existing interface";
    CbFdUpdate = 13, "the file descriptor callback failed";
    FileNotSock = 14, "the file is not a memif socket";
    NoShmFd = 15, "a shared memory region is missing or unusable";
    Cookie = 16, "wrong cookie in a ring";
    NobufRing = 17, "the ring is full";
    Nobuf = 18, "not enough buffers";
    NobufDet = 19, "the details need a larger buffer";
    IntWrite = 20, "sending an interrupt failed";
    MfMsg = 21, "malformed control message";
    Qid = 22, "invalid queue id";
    Proto = 23, "incompatible protocol version";
    Id = 24, "no interface with this id";
    AccSlave = 25, "a slave does not accept connections";
    AlrConn = 26, "already connected";
    Mode = 27, "mode mismatch";
    Secret = 28, "incorrect secret";
    NoSecret = 29, "secret required";
    MaxReg = 30, "too many regions";
    MaxRing = 31, "too many rings";
    NoIntFd = 32, "missing interrupt descriptor";
    Disconnect = 33, "the peer sent a disconnect";
    Disconnected = 34, "the interface is disconnected";
    UnknownMsg = 35, "unknown control message";
    PollCancel = 36, "the poll was cancelled";
    MaxRingSize = 37, "ring size out of range";
}

impl ErrorCode {
    /// The number of `memif_err_t`.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_header() {
        for (expected, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(usize::try_from(code.number()), Ok(expected), "{code:?}");
            assert!(!code.text().is_empty());
        }
        assert_eq!(ErrorCode::NobufRing.number(), 17);
        assert_eq!(ErrorCode::MaxRingSize.number(), 37);
    }

    #[test]
    fn errors_name_the_thing() {
        let error = Error::OutOfRange { what: "buffer size", got: 70000, min: 64, max: 65535 };
        assert_eq!(error.to_string(), "buffer size is 70000: it must be 64 to 65535");
        assert_eq!(error.code(), ErrorCode::InvalArg);
        let last = Some(Disconnect::Fault(PeerFault::WrongSecret { id: 3 }));
        assert_eq!(Error::NoLink { waited: Duration::ZERO, last }.code(), ErrorCode::Secret);
    }
}
