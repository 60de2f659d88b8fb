//! `memif_err_t`, in the numbering of 4.0 and in that of 1.0.

use std::ffi::{CStr, c_int};
use std::io;

use memif_pmd::{Disconnect, Error, FaultKind, MessageKind, PeerFault};

use crate::callback::FdUpdateFailed;

macro_rules! codes {
    ($($name:ident = $text:literal;)+) => {
        /// What a function of libmemif returns.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        pub enum Code {
            $(#[doc = stringify!($name)] $name,)+
        }

        /// Texts in the order of the codes of 4.0.
        const TEXTS: &[&CStr] = &[$($text),+];
        /// All of them, in the order of 4.0.
        pub const ALL: &[Code] = &[$(Code::$name),+];
    };
}

// the order of `memif_err_t` in libmemif.h, version 4.0
codes! {
    Success = c"success";
    Syscall = c"a system call failed";
    ConnRefused = c"connection refused: nobody listens on the socket";
    Acces = c"permission denied";
    NoFile = c"file does not exist";
    FileLimit = c"the system's open file limit is reached";
    ProcFileLimit = c"the process's open file limit is reached";
    Already = c"already in use or requested";
    Again = c"the operation would block: try again";
    BadFd = c"invalid file descriptor";
    NoMem = c"out of memory";
    InvalArg = c"invalid argument";
    NoConn = c"the handle points to no interface";
    Conn = c"the handle points to an existing interface";
    CbFdUpdate = c"the file descriptor callback failed";
    FileNotSock = c"the file is not a memif socket";
    NoShmFd = c"a shared memory region is missing or unusable";
    Cookie = c"wrong cookie in a ring";
    NobufRing = c"the ring is full";
    Nobuf = c"not enough buffers";
    NobufDet = c"the details need a larger buffer";
    IntWrite = c"sending an interrupt failed";
    MfMsg = c"malformed control message";
    Qid = c"invalid queue id";
    Proto = c"incompatible protocol version";
    Id = c"no interface with this id";
    AccSlave = c"a slave does not accept connections";
    AlrConn = c"already connected";
    Mode = c"mode mismatch";
    Secret = c"incorrect secret";
    NoSecret = c"secret required";
    MaxReg = c"too many regions";
    MaxRing = c"too many rings";
    NoIntFd = c"missing interrupt descriptor";
    Disconnect = c"the peer sent a disconnect";
    Disconnected = c"the interface is disconnected";
    UnknownMsg = c"unknown control message";
    PollCancel = c"the poll was cancelled";
    MaxRingSize = c"ring size out of range";
    PrivHdr = c"private headers are not supported";
}

/// How a call ended that gives nothing but its outcome.
pub type Outcome = Result<(), Code>;

/// How many packets or buffers a call moved, and why not more.
pub(crate) type Moved = (u16, Outcome);

impl Code {
    /// The number in 4.0.
    #[must_use]
    pub const fn v4(self) -> c_int {
        self as c_int
    }

    /// The number in 1.0, which knows no [`Code::ConnRefused`] and no [`Code::PrivHdr`]: the nearest it has.
    #[must_use]
    pub const fn v1(self) -> c_int {
        match self {
            Self::Success | Self::Syscall => self as c_int,
            Self::ConnRefused => Self::NoFile as c_int - 1,
            Self::PrivHdr => Self::MfMsg as c_int - 1,
            _ => self as c_int - 1,
        }
    }
}

/// What a code of 4.0 means; codes that do not exist have a text too.
#[must_use]
pub fn text_v4(code: c_int) -> &'static CStr {
    let known = usize::try_from(code).ok().and_then(|code| TEXTS.get(code));
    known.copied().unwrap_or(c"undefined error")
}

/// Like [`text_v4`], for a code of 1.0.
#[must_use]
pub fn text_v1(code: c_int) -> &'static CStr {
    let known =
        ALL.iter().find(|known| known.v1() == code && !matches!(known, Code::ConnRefused | Code::PrivHdr));
    known.map_or(c"undefined error", |known| text_v4(known.v4()))
}

impl From<Error> for Code {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

impl Code {
    /// The code for an error of `memif-pmd`.
    fn of(error: &Error) -> Self {
        use Error as E;
        match error {
            E::NoDirectory(_) | E::NobodyListens(_) => Self::NoFile,
            E::Permission(_) => Self::Acces,
            E::NotAMemifSocket(_) => Self::FileNotSock,
            E::AddressInUse(_) => Self::Already,
            E::ListenerBusy(_) => Self::Again,
            E::NotAListener(_) => Self::BadFd,
            E::OutOfMemory(_) | E::NoHugePages(_) | E::TooManyRegions(_) | E::NoBurstMemory => Self::NoMem,
            E::UnusableMemory(_) => Self::NoShmFd,
            E::AlreadyConnected => Self::AlrConn,
            E::Attempt(reason) => Self::of_end(reason),
            E::NoSuchQueue { .. } | E::QueueInUse { .. } => Self::Qid,
            E::Deleted => Self::NoConn,
            E::Cancelled => Self::PollCancel,
            E::NoLink { last, .. } => last.as_ref().map_or(Self::Disconnected, Self::of_end),
            E::OutOfDescriptors(_) | E::OutOfThreads(_) | E::System { .. } => Self::of_kernel(error),
            E::Worker { .. } => Self::Syscall,
            _ => Self::InvalArg,
        }
    }

    /// The code for the kernel's answer behind an error.
    fn of_kernel(error: &Error) -> Self {
        use std::error::Error as _;
        let Some(error) = error.source().and_then(|source| source.downcast_ref::<io::Error>()) else {
            return Self::Syscall;
        };
        if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<FdUpdateFailed>) {
            return Self::CbFdUpdate;
        }
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::EMFILE), _) => Self::ProcFileLimit,
            (Some(libc::ENFILE), _) => Self::FileLimit,
            (_, io::ErrorKind::PermissionDenied) => Self::Acces,
            (_, io::ErrorKind::NotFound) => Self::NoFile,
            (_, io::ErrorKind::WouldBlock) => Self::Again,
            (_, io::ErrorKind::OutOfMemory) => Self::NoMem,
            _ => Self::Syscall,
        }
    }

    /// The code for why a link ended, or an attempt at one failed.
    fn of_end(reason: &Disconnect) -> Self {
        match reason {
            Disconnect::Peer { .. } | Disconnect::Refused { .. } => Self::Disconnect,
            Disconnect::Closed | Disconnect::Local(_) => Self::Disconnected,
            Disconnect::Fault(PeerFault::FdMissing { on: MessageKind::AddRegion }) => Self::NoShmFd,
            Disconnect::Fault(fault) => Self::of_fault(fault.kind()),
            Disconnect::TooFewBuffers { .. } => Self::Nobuf,
            Disconnect::Quota { .. } => Self::NoMem,
            Disconnect::PacketMemoryDamaged => Self::NoShmFd,
            _ => Self::Syscall,
        }
    }

    fn of_fault(kind: FaultKind) -> Self {
        use FaultKind as K;
        match kind {
            K::UnknownType => Self::UnknownMsg,
            K::VersionMismatch => Self::Proto,
            K::UnknownId => Self::Id,
            K::AlreadyConnected => Self::AlrConn,
            K::ModeMismatch | K::UnknownMode => Self::Mode,
            K::SecretRequired => Self::NoSecret,
            K::WrongSecret => Self::Secret,
            K::TooManyRegions => Self::MaxReg,
            K::TooManyRings => Self::MaxRing,
            K::RingSize => Self::MaxRingSize,
            K::BadCookie => Self::Cookie,
            K::RegionUnmappable
            | K::RegionTooSmall
            | K::RegionNotSealed
            | K::RegionSealed
            | K::RegionLost => Self::NoShmFd,
            K::NotAllowed => Self::Acces,
            K::FdMissing | K::NotAnEventFd | K::SemaphoreEventFd => Self::NoIntFd,
            _ => Self::MfMsg,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::time::Duration;

    use memif_pmd::{FdRegistry, HugePages, Memif, Port, Reason, RxMode, Workers};

    #[test]
    fn numbers_follow_both_headers() {
        for (number, code) in ALL.iter().enumerate() {
            assert_eq!(usize::try_from(code.v4()), Ok(number), "{code:?}");
        }
        assert_eq!((Code::ConnRefused.v4(), Code::Acces.v4(), Code::Acces.v1()), (2, 3, 2));
        assert_eq!((Code::MaxRingSize.v4(), Code::MaxRingSize.v1(), Code::PrivHdr.v4()), (38, 37, 39));
    }

    #[test]
    fn every_number_has_a_text() {
        for code in [c_int::MIN, -1, 40, c_int::MAX] {
            assert_eq!(text_v4(code), c"undefined error");
            assert_eq!(text_v1(code), c"undefined error");
        }
        assert_eq!(text_v4(23), text_v1(22));
        assert_eq!(text_v1(38), c"undefined error");
    }

    /// An event loop that takes no descriptor.
    struct Refusing;

    impl FdRegistry for Refusing {
        fn watch(&self, _: BorrowedFd<'_>) -> io::Result<()> {
            Err(io::ErrorKind::PermissionDenied.into())
        }

        fn unwatch(&self, _: BorrowedFd<'_>) {}
    }

    /// The error of a slave that gets no link.
    fn no_link(memif: &Memif, socket: &str, secret: &str) -> Error {
        let interval = Duration::from_millis(5);
        let slave = memif.interface(socket).secret(secret).reconnect(interval).open().unwrap();
        // until it was told something
        loop {
            match slave.wait_up(Some(10 * interval)).unwrap_err() {
                Error::NoLink { last: None, .. } => {}
                error => return error,
            }
        }
    }

    #[test]
    fn errors_have_the_numbers_of_the_header() {
        let (memif, other) = (Memif::start().unwrap(), Memif::start().unwrap());
        let address = |name: &str| format!("@memif-capi-code-{name}-{}", std::process::id());
        let socket = address("a");
        let master = memif.interface(&socket).master().secret("right").open().unwrap();
        let dead = memif.interface(address("b")).master().open().unwrap();
        let _rx = master.rx(0).unwrap();
        let many = (0..4096).fold(Workers::new(), |workers, _| workers.anywhere((), |(), _| ()));
        let panics = Workers::new().anywhere((), |(), _| panic!("on purpose")).start().unwrap();
        let file = || OwnedFd::from(File::open("/dev/null").unwrap());

        let mut errors = vec![
            (memif.interface("").open().unwrap_err(), 10),
            (memif.interface("/does/not/exist").master().open().unwrap_err(), 3),
            (other.interface(&socket).master().open().unwrap_err(), 6),
            (other.set_listener("@x", file()).unwrap_err(), 8),
            (
                memif
                    .interface(address("c"))
                    .reconnect_on_request()
                    .open()
                    .unwrap()
                    .request_connection()
                    .unwrap_err(),
                3,
            ),
            (memif.packet_memory().over(file(), 4096, &[0]).unwrap_err(), 15),
            (many.burst(1 << 20).huge_pages(HugePages::Require).start().unwrap_err(), 9),
            (Workers::new().on_core(5000, (), |(), _| ()).start().unwrap_err(), 10),
            (memif.interface(&socket).buffer_size(1).open().unwrap_err(), 10),
            (memif.interface(&socket).ring_size(5).open().unwrap_err(), 10),
            (memif.interface(&socket).ring_size(16384).queues(64).open().unwrap_err(), 10),
            (memif.interface(&socket).secret([b's'; 25]).open().unwrap_err(), 10),
            ("x,y".parse::<Port>().unwrap_err(), 10),
            (memif.interface(&socket).master().open().unwrap_err(), 10),
            (master.rx(1).unwrap_err(), 22),
            (master.set_rx_mode(1, RxMode::Polling).unwrap_err(), 22),
            (master.rx(0).unwrap_err(), 22),
            (no_link(&memif, &socket, "wrong"), 33),
            (no_link(&memif, &address("d"), ""), 1),
            (master.wait_up(Some(Duration::ZERO)).unwrap_err(), 28),
            (panics.wait().unwrap_err(), 1),
            (Memif::with_registry(Refusing).unwrap_err(), 2),
        ];
        drop(memif);
        errors.push((dead.details().unwrap_err(), 11));
        for (error, number) in errors {
            assert_eq!(Code::of(&error).v1(), number, "{error:?}");
        }
    }

    #[test]
    fn ends_of_links_have_the_numbers_of_the_header() {
        let missing = |on| Disconnect::Fault(PeerFault::FdMissing { on });
        for (reason, number) in [
            (Disconnect::Peer { code: 0, reason: Reason::truncated("bye") }, 33),
            (Disconnect::Refused { code: 0, reason: Reason::truncated("no") }, 33),
            (Disconnect::Closed, 34),
            (Disconnect::Local("deleted"), 34),
            (missing(MessageKind::AddRegion), 15),
            (missing(MessageKind::AddRing), 32),
            (Disconnect::TooFewBuffers { needed: 2, free: 1, total: 1 }, 18),
            (Disconnect::Quota { what: "regions", limit: 1 }, 9),
            (Disconnect::PacketMemoryDamaged, 15),
            (Disconnect::Failed("no memory".into()), 1),
        ] {
            assert_eq!(Code::of_end(&reason).v1(), number, "{reason:?}");
        }
        for (kind, number) in [
            (FaultKind::UnknownType, 35),
            (FaultKind::ShortMessage, 21),
            (FaultKind::LongMessage, 21),
            (FaultKind::UnexpectedMessage, 21),
            (FaultKind::NoRings, 21),
            (FaultKind::RegionIndex, 21),
            (FaultKind::FdUnexpected, 21),
            (FaultKind::UnknownRegion, 21),
            (FaultKind::RingOutsideRegion, 21),
            (FaultKind::RingSize, 37),
            (FaultKind::TooManyRings, 31),
            (FaultKind::TooManyRegions, 30),
            (FaultKind::BadCookie, 16),
            (FaultKind::RegionUnmappable, 15),
            (FaultKind::RegionTooSmall, 15),
            (FaultKind::VersionMismatch, 23),
            (FaultKind::UnknownId, 24),
            (FaultKind::AlreadyConnected, 26),
            (FaultKind::ModeMismatch, 27),
            (FaultKind::WrongSecret, 28),
            (FaultKind::SecretRequired, 29),
            (FaultKind::NotAllowed, 2),
            (FaultKind::NotAnEventFd, 32),
        ] {
            assert_eq!(Code::of_fault(kind).v1(), number, "{kind:?}");
        }
    }
}
