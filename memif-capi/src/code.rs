//! `memif_err_t`, in the numbering of 4.0 and in that of 1.0.

use std::ffi::{CStr, c_int};

use memif_pmd::{Error, ErrorCode};

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

/// As [`text_v4`], for a code of 1.0.
#[must_use]
pub fn text_v1(code: c_int) -> &'static CStr {
    let known =
        ALL.iter().find(|known| known.v1() == code && !matches!(known, Code::ConnRefused | Code::PrivHdr));
    known.map_or(c"undefined error", |known| text_v4(known.v4()))
}

impl From<ErrorCode> for Code {
    /// `memif-pmd` counts as 1.0 does.
    fn from(code: ErrorCode) -> Self {
        let known = ALL.iter().copied().filter(|known| !matches!(known, Self::ConnRefused | Self::PrivHdr));
        known.clone().find(|known| known.v1() == code.number()).unwrap_or(Self::Syscall)
    }
}

impl From<Error> for Code {
    fn from(error: Error) -> Self {
        error.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_both_headers() {
        for (number, code) in ALL.iter().enumerate() {
            assert_eq!(usize::try_from(code.v4()), Ok(number), "{code:?}");
        }
        assert_eq!((Code::ConnRefused.v4(), Code::Acces.v4(), Code::Acces.v1()), (2, 3, 2));
        assert_eq!((Code::MaxRingSize.v4(), Code::MaxRingSize.v1(), Code::PrivHdr.v4()), (38, 37, 39));
        for code in ErrorCode::ALL {
            assert_eq!(Code::from(*code).v1(), code.number(), "{code:?}");
        }
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
}
