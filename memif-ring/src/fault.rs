//! What a peer can do wrong, as values: typed, countable by kind, and with a reason to tell the peer.
//!
//! A [`PeerFault`] costs the peer its link: refuse the handshake or drop the link, and send
//! [`PeerFault::reason`] in the DISCONNECT. A [`DropReason`] costs one packet, and the link stays up.

use crate::handshake::Stage;
use crate::layout::{COOKIE, RING_ALIGN};
use crate::message::{Direction, MessageKind, Mode, Reason};
use core::fmt;

/// A fieldless enum whose variants number the slots of an array of counters.
macro_rules! counted {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of [`index`](Self::index).
            pub const ALL: [Self; [$(Self::$variant),+].len()] = [$(Self::$variant),+];

            /// The place in an array of `ALL.len()` counters.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// A short name for counters and logs: lower case, words joined by `_`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

/// What the peer did, with what it sent and what was wanted. Each of them costs it the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerFault {
    /// A control message of fewer bytes than a message has.
    ShortMessage {
        /// Bytes received.
        got: usize,
        /// Bytes wanted.
        want: usize,
    },
    /// A control message of more bytes than a message has.
    LongMessage {
        /// Bytes received.
        got: usize,
        /// The most there can be.
        limit: usize,
    },
    /// A message type that the protocol does not have.
    UnknownType {
        /// The number received.
        got: u16,
        /// The highest there is; the lowest is 1.
        highest: u16,
    },
    /// A mode that the protocol does not have.
    UnknownMode {
        /// The number received.
        got: u8,
        /// The highest there is.
        highest: u8,
    },
    /// A message that the handshake does not take at this point, or one sent before the last one was answered.
    UnexpectedMessage {
        /// What came.
        got: MessageKind,
        /// Where the handshake stood.
        stage: Stage,
    },
    /// No file descriptor on a message that needs one.
    FdMissing {
        /// The message.
        on: MessageKind,
    },
    /// A file descriptor on a message that takes none.
    FdUnexpected {
        /// The message.
        on: MessageKind,
    },
    /// More file descriptors than the one that a message may carry.
    SurplusFds {
        /// The message.
        on: MessageKind,
        /// How many came beyond the first.
        surplus: usize,
    },
    /// The peer speaks no version that we do.
    VersionMismatch {
        /// The lowest version it offers.
        min: u16,
        /// The highest version it offers.
        max: u16,
        /// The version that we speak.
        want: u16,
    },
    /// It asked for an interface that is not there.
    UnknownId {
        /// The id that it asked for.
        id: u32,
    },
    /// It asked for an interface that another peer holds.
    AlreadyConnected {
        /// The id that it asked for.
        id: u32,
    },
    /// It takes the interface's packets for something else.
    ModeMismatch {
        /// Its mode.
        got: Mode,
        /// The interface's mode.
        want: Mode,
    },
    /// The interface has a secret, and it sent none.
    SecretRequired {
        /// The id that it asked for.
        id: u32,
    },
    /// It sent another secret than the interface's.
    WrongSecret {
        /// The id that it asked for.
        id: u32,
    },
    /// A region out of turn: a gap, or an index used before.
    RegionIndex {
        /// The index received.
        got: u16,
        /// The index whose turn it was.
        want: u16,
    },
    /// One region more than we take.
    TooManyRegions {
        /// How many there would be.
        got: u32,
        /// How many there may be.
        limit: u32,
    },
    /// A region of no bytes, or of absurdly many.
    RegionSize {
        /// The region's index.
        region: u16,
        /// The size announced, in bytes.
        got: u64,
        /// The largest size taken; the smallest is 1.
        limit: u64,
    },
    /// A ring out of turn: a gap, or an index used before.
    RingIndex {
        /// Which way the ring goes.
        direction: Direction,
        /// The index received.
        got: u16,
        /// The index whose turn it was.
        want: u16,
    },
    /// One ring more than the interface has queues.
    TooManyRings {
        /// Which way the ring goes.
        direction: Direction,
        /// How many there would be.
        got: u32,
        /// How many there may be.
        limit: u32,
    },
    /// A ring in a region that was not announced.
    UnknownRegion {
        /// The region's index.
        region: u16,
        /// How many regions were announced.
        known: u16,
    },
    /// A ring that does not end within its region.
    RingOutsideRegion {
        /// The region's index.
        region: u16,
        /// Where the ring would end, in bytes from the region's start.
        end: u64,
        /// The region's size in bytes.
        size: u64,
    },
    /// A ring whose descriptors would not be aligned.
    RingMisaligned {
        /// The ring's offset in its region, not a multiple of [`RING_ALIGN`].
        offset: u32,
    },
    /// A ring of a single descriptor, or of more than a ring may have.
    RingSize {
        /// The binary logarithm received.
        log2_size: u8,
        /// The highest logarithm taken; the lowest is 1.
        limit: u8,
    },
    /// A ring over the bytes of an earlier one.
    RingOverlap {
        /// Which way the ring goes.
        direction: Direction,
        /// The ring's index.
        index: u16,
        /// The region that holds both.
        region: u16,
        /// The ring's offset in the region.
        offset: u32,
    },
    /// A private header before each packet, which nobody supports.
    PrivateHeader {
        /// Its size in bytes; 0 is the only one taken.
        got: u16,
    },
    /// CONNECT without a single ring.
    NoRings,
    /// A region that the kernel does not map.
    RegionUnmappable {
        /// The region's index.
        region: u16,
        /// The kernel's error number.
        errno: i32,
    },
    /// A region that is larger than its file.
    RegionTooSmall {
        /// The region's index.
        region: u16,
        /// The file's size in bytes.
        file: u64,
        /// The size announced, in bytes.
        announced: u64,
    },
    /// A region whose file the peer could shrink under us, and which we cannot seal.
    RegionNotSealed {
        /// The region's index.
        region: u16,
    },
    /// It cut a region short, or punched a hole that nothing can fill, while the link was up.
    RegionLost {
        /// The region's index.
        region: u16,
    },
    /// A process that may not have this interface.
    NotAllowed {
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
    /// A ring whose interrupt descriptor is no eventfd.
    NotAnEventFd {
        /// Which way the ring goes.
        direction: Direction,
        /// The ring's index.
        index: u16,
    },
    /// A ring whose interrupt descriptor, which we read, is an eventfd that cannot be emptied at once: a semaphore.
    SemaphoreEventFd {
        /// Which way the ring goes.
        direction: Direction,
        /// The ring's index.
        index: u16,
    },
    /// A ring header without the cookie.
    BadCookie {
        /// What stands in place of [`COOKIE`].
        got: u32,
    },
    /// It let the handshake's time pass.
    HandshakeTimedOut {
        /// Where the handshake stood.
        stage: Stage,
    },
    /// A head further from its tail than the ring has slots.
    HeadTooFar {
        /// The head that the peer published.
        head: u16,
        /// Our tail.
        tail: u16,
        /// Slots in the ring.
        size: u32,
    },
    /// A tail past its head, or moved back.
    TailTooFar {
        /// The tail that the peer published.
        tail: u16,
        /// Our head.
        head: u16,
        /// Slots in the ring.
        size: u32,
    },
}

counted! {
    /// The kinds of [`PeerFault`], for an array of counters.
    pub enum FaultKind {
        /// See [`PeerFault::ShortMessage`].
        ShortMessage = "short_message",
        /// See [`PeerFault::LongMessage`].
        LongMessage = "long_message",
        /// See [`PeerFault::UnknownType`].
        UnknownType = "unknown_type",
        /// See [`PeerFault::UnknownMode`].
        UnknownMode = "unknown_mode",
        /// See [`PeerFault::UnexpectedMessage`].
        UnexpectedMessage = "unexpected_message",
        /// See [`PeerFault::FdMissing`].
        FdMissing = "fd_missing",
        /// See [`PeerFault::FdUnexpected`].
        FdUnexpected = "fd_unexpected",
        /// See [`PeerFault::SurplusFds`].
        SurplusFds = "surplus_fds",
        /// See [`PeerFault::VersionMismatch`].
        VersionMismatch = "version_mismatch",
        /// See [`PeerFault::UnknownId`].
        UnknownId = "unknown_id",
        /// See [`PeerFault::AlreadyConnected`].
        AlreadyConnected = "already_connected",
        /// See [`PeerFault::ModeMismatch`].
        ModeMismatch = "mode_mismatch",
        /// See [`PeerFault::SecretRequired`].
        SecretRequired = "secret_required",
        /// See [`PeerFault::WrongSecret`].
        WrongSecret = "wrong_secret",
        /// See [`PeerFault::RegionIndex`].
        RegionIndex = "region_index",
        /// See [`PeerFault::TooManyRegions`].
        TooManyRegions = "too_many_regions",
        /// See [`PeerFault::RegionSize`].
        RegionSize = "region_size",
        /// See [`PeerFault::RingIndex`].
        RingIndex = "ring_index",
        /// See [`PeerFault::TooManyRings`].
        TooManyRings = "too_many_rings",
        /// See [`PeerFault::UnknownRegion`].
        UnknownRegion = "unknown_region",
        /// See [`PeerFault::RingOutsideRegion`].
        RingOutsideRegion = "ring_outside_region",
        /// See [`PeerFault::RingMisaligned`].
        RingMisaligned = "ring_misaligned",
        /// See [`PeerFault::RingSize`].
        RingSize = "ring_size",
        /// See [`PeerFault::RingOverlap`].
        RingOverlap = "ring_overlap",
        /// See [`PeerFault::PrivateHeader`].
        PrivateHeader = "private_header",
        /// See [`PeerFault::NoRings`].
        NoRings = "no_rings",
        /// See [`PeerFault::RegionUnmappable`].
        RegionUnmappable = "region_unmappable",
        /// See [`PeerFault::RegionTooSmall`].
        RegionTooSmall = "region_too_small",
        /// See [`PeerFault::RegionNotSealed`].
        RegionNotSealed = "region_not_sealed",
        /// See [`PeerFault::RegionLost`].
        RegionLost = "region_lost",
        /// See [`PeerFault::NotAllowed`].
        NotAllowed = "not_allowed",
        /// See [`PeerFault::NotAnEventFd`].
        NotAnEventFd = "not_an_eventfd",
        /// See [`PeerFault::SemaphoreEventFd`].
        SemaphoreEventFd = "semaphore_eventfd",
        /// See [`PeerFault::BadCookie`].
        BadCookie = "bad_cookie",
        /// See [`PeerFault::HandshakeTimedOut`].
        HandshakeTimedOut = "handshake_timed_out",
        /// See [`PeerFault::HeadTooFar`].
        HeadTooFar = "head_too_far",
        /// See [`PeerFault::TailTooFar`].
        TailTooFar = "tail_too_far",
    }
}

counted! {
    /// Why one packet was dropped while its link stays up. The packet is counted, the descriptors go back to whoever
    /// owns them, and the burst goes on with the next packet.
    pub enum DropReason {
        /// A descriptor names a region that the link does not have. On receive the whole packet is dropped; on send
        /// the posted buffer is passed by.
        UnknownRegion = "unknown_region",
        /// A descriptor's bytes do not lie within its region. As for `UnknownRegion`.
        OutOfRegion = "out_of_region",
        /// NEXT on the last descriptor that is published: the packet's rest is missing. What is there is consumed.
        ChainBroken = "chain_broken",
        /// A packet of more than 1024 descriptors. All of them are consumed.
        ChainTooLong = "chain_too_long",
        /// The master altered the region or offset of a buffer that the slave had posted. The slave's own record of
        /// the buffer is kept, the packet is dropped.
        BufferChanged = "buffer_changed",
        /// A packet of no bytes at all.
        Empty = "empty",
        /// A packet of more bytes than [`MAX_PACKET_SIZE`](crate::layout::MAX_PACKET_SIZE). On receive all of its
        /// descriptors are consumed.
        Oversized = "oversized",
        /// A packet to send is larger than the peer's buffers can ever hold. It is not sent, and the caller gets its
        /// buffer back.
        TooLarge = "too_large",
    }
}

impl PeerFault {
    /// The kind, for a counter.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::ShortMessage { .. } => FaultKind::ShortMessage,
            Self::LongMessage { .. } => FaultKind::LongMessage,
            Self::UnknownType { .. } => FaultKind::UnknownType,
            Self::UnknownMode { .. } => FaultKind::UnknownMode,
            Self::UnexpectedMessage { .. } => FaultKind::UnexpectedMessage,
            Self::FdMissing { .. } => FaultKind::FdMissing,
            Self::FdUnexpected { .. } => FaultKind::FdUnexpected,
            Self::SurplusFds { .. } => FaultKind::SurplusFds,
            Self::VersionMismatch { .. } => FaultKind::VersionMismatch,
            Self::UnknownId { .. } => FaultKind::UnknownId,
            Self::AlreadyConnected { .. } => FaultKind::AlreadyConnected,
            Self::ModeMismatch { .. } => FaultKind::ModeMismatch,
            Self::SecretRequired { .. } => FaultKind::SecretRequired,
            Self::WrongSecret { .. } => FaultKind::WrongSecret,
            Self::RegionIndex { .. } => FaultKind::RegionIndex,
            Self::TooManyRegions { .. } => FaultKind::TooManyRegions,
            Self::RegionSize { .. } => FaultKind::RegionSize,
            Self::RingIndex { .. } => FaultKind::RingIndex,
            Self::TooManyRings { .. } => FaultKind::TooManyRings,
            Self::UnknownRegion { .. } => FaultKind::UnknownRegion,
            Self::RingOutsideRegion { .. } => FaultKind::RingOutsideRegion,
            Self::RingMisaligned { .. } => FaultKind::RingMisaligned,
            Self::RingSize { .. } => FaultKind::RingSize,
            Self::RingOverlap { .. } => FaultKind::RingOverlap,
            Self::PrivateHeader { .. } => FaultKind::PrivateHeader,
            Self::NoRings => FaultKind::NoRings,
            Self::RegionUnmappable { .. } => FaultKind::RegionUnmappable,
            Self::RegionTooSmall { .. } => FaultKind::RegionTooSmall,
            Self::RegionNotSealed { .. } => FaultKind::RegionNotSealed,
            Self::RegionLost { .. } => FaultKind::RegionLost,
            Self::NotAllowed { .. } => FaultKind::NotAllowed,
            Self::NotAnEventFd { .. } => FaultKind::NotAnEventFd,
            Self::SemaphoreEventFd { .. } => FaultKind::SemaphoreEventFd,
            Self::BadCookie { .. } => FaultKind::BadCookie,
            Self::HandshakeTimedOut { .. } => FaultKind::HandshakeTimedOut,
            Self::HeadTooFar { .. } => FaultKind::HeadTooFar,
            Self::TailTooFar { .. } => FaultKind::TailTooFar,
        }
    }

    /// What the DISCONNECT tells the peer, at most 95 bytes. Where the peers in the field have words of their own for
    /// a refusal, those are used, because people look for them.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.kind().reason()
    }

    /// [`reason`](Self::reason) as it goes into the message.
    #[must_use]
    pub fn reason_text(&self) -> Reason {
        Reason::truncated(self.reason())
    }
}

impl FaultKind {
    fn reason(self) -> &'static str {
        match self {
            Self::ShortMessage | Self::LongMessage => "Invalid message size",
            Self::UnknownType => "Unknown message type",
            Self::UnexpectedMessage => "Unexpected message",
            Self::FdMissing => "Missing file descriptor",
            Self::FdUnexpected | Self::SurplusFds => "Unexpected file descriptor",
            Self::VersionMismatch => "Incompatible memif version",
            Self::UnknownId => "ID not found",
            Self::AlreadyConnected => "Already connected",
            Self::UnknownMode | Self::ModeMismatch => "Mode mismatch",
            Self::SecretRequired => "Secret required",
            Self::WrongSecret => "Incorrect secret",
            Self::RegionIndex | Self::UnknownRegion => "Invalid region index",
            Self::TooManyRegions => "Too many regions",
            Self::RegionSize | Self::RegionTooSmall => "Invalid region size",
            Self::RingIndex => "Invalid ring index",
            Self::TooManyRings => "Invalid ring index: more rings than queues",
            Self::RingOutsideRegion => "Ring outside its region",
            Self::RingMisaligned => "Ring offset not a multiple of 16",
            Self::RingSize => "Invalid ring size",
            Self::RingOverlap => "Rings overlap",
            Self::PrivateHeader => "Private headers not supported",
            Self::NoRings => "No rings",
            Self::RegionUnmappable => "Region cannot be mapped",
            Self::RegionNotSealed => "Region file can shrink: add F_SEAL_SHRINK",
            Self::RegionLost => "Region file changed under the link",
            Self::NotAllowed => "Not allowed",
            Self::NotAnEventFd => "Interrupt descriptor is no eventfd",
            Self::SemaphoreEventFd => "Interrupt descriptor is a semaphore",
            Self::BadCookie => "Wrong ring cookie",
            Self::HandshakeTimedOut => "Handshake timed out",
            Self::HeadTooFar => "Ring head out of range",
            Self::TailTooFar => "Ring tail out of range",
        }
    }
}

impl core::error::Error for PeerFault {}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ShortMessage { got, want } => write!(f, "control message of {got} bytes, not {want}"),
            Self::LongMessage { got, limit } => write!(f, "control message of {got} bytes, not {limit}"),
            Self::UnknownType { got, highest } => write!(f, "message type {got}, there are 1 to {highest}"),
            Self::UnknownMode { got, highest } => write!(f, "mode {got}, there are 0 to {highest}"),
            Self::UnexpectedMessage { got, stage } => write!(f, "unexpected {got} while {stage}"),
            Self::FdMissing { on } => write!(f, "{on} without its file descriptor"),
            Self::FdUnexpected { on } => write!(f, "{on} with a file descriptor, takes none"),
            Self::SurplusFds { on, surplus } => {
                write!(f, "{on} with {surplus} file descriptors more than the one it may carry")
            }
            Self::VersionMismatch { min, max, want } => {
                write!(f, "peer speaks memif {min:#06x} to {max:#06x}, this side {want:#06x}")
            }
            Self::UnknownId { id } => write!(f, "no interface with id {id} on this socket"),
            Self::AlreadyConnected { id } => write!(f, "interface {id} has a peer already"),
            Self::ModeMismatch { got, want } => write!(f, "peer wants mode {got}, the interface has {want}"),
            Self::SecretRequired { id } => write!(f, "no secret for interface {id}, which has one"),
            Self::WrongSecret { id } => write!(f, "wrong secret for interface {id}"),
            Self::NoRings => f.write_str("CONNECT without a ring"),
            Self::HandshakeTimedOut { stage } => write!(f, "handshake timed out while {stage}"),
            Self::HeadTooFar { head, tail, size } => {
                write!(f, "ring head {head} is more than {size} slots ahead of tail {tail}")
            }
            Self::TailTooFar { tail, head, size } => {
                write!(f, "ring tail {tail} is not within what head {head} of {size} slots has in flight")
            }
            Self::RegionIndex { got, want } => write!(f, "region index {got}, it was the turn of {want}"),
            Self::TooManyRegions { got, limit } => write!(f, "{got} regions, {limit} are taken"),
            Self::RegionSize { region, got, limit } => {
                write!(f, "region {region} of {got} bytes, 1 to {limit} are taken")
            }
            Self::RingIndex { direction, got, want } => {
                write!(f, "{direction} ring index {got}, it was the turn of {want}")
            }
            Self::TooManyRings { direction, got, limit } => {
                write!(f, "{got} {direction} rings, the interface takes {limit}")
            }
            Self::UnknownRegion { region, known } => {
                write!(f, "ring in region {region}, there are {known} regions")
            }
            Self::RingOutsideRegion { region, end, size } => {
                write!(f, "ring up to byte {end} of region {region}, which has {size}")
            }
            Self::RingMisaligned { offset } => {
                write!(f, "ring at offset {offset}, not a multiple of {RING_ALIGN}")
            }
            Self::RingSize { log2_size, limit } => {
                write!(f, "ring of 2^{log2_size} descriptors, 2^1 to 2^{limit} are taken")
            }
            Self::RingOverlap { direction, index, region, offset } => {
                write!(
                    f,
                    "{direction} ring {index} at offset {offset} of region {region} overlaps another ring"
                )
            }
            Self::PrivateHeader { got } => write!(f, "private header of {got} bytes, only 0 is taken"),
            Self::RegionUnmappable { region, errno } => {
                write!(f, "region {region} cannot be mapped: errno {errno}")
            }
            Self::RegionTooSmall { region, file, announced } => {
                write!(f, "region {region} announced with {announced} bytes, its file has {file}")
            }
            Self::RegionNotSealed { region } => {
                write!(f, "the file of region {region} can shrink: the peer must add F_SEAL_SHRINK")
            }
            Self::RegionLost { region } => write!(f, "region {region} lost pages while the link was up"),
            Self::NotAllowed { uid, gid } => write!(f, "a process of user {uid}, group {gid} is not allowed"),
            Self::NotAnEventFd { direction, index } => {
                write!(f, "the interrupt descriptor of {direction} ring {index} is no eventfd")
            }
            Self::SemaphoreEventFd { direction, index } => {
                write!(
                    f,
                    "the eventfd of {direction} ring {index} is a semaphore: make it without EFD_SEMAPHORE"
                )
            }
            Self::BadCookie { got } => write!(f, "cookie {got:#010x} in a ring, not {COOKIE:#010x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::collections::BTreeSet;
    use std::string::ToString;

    #[test]
    fn indices_are_dense_and_names_are_distinct() {
        assert!(FaultKind::ALL.iter().enumerate().all(|(at, kind)| kind.index() == at));
        assert!(DropReason::ALL.iter().enumerate().all(|(at, reason)| reason.index() == at));
        let names: BTreeSet<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), FaultKind::ALL.len());
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
    }

    #[test]
    fn reasons_fit_the_message_with_its_nul() {
        for kind in FaultKind::ALL {
            let reason = kind.reason();
            assert!(!reason.is_empty() && reason.len() <= 95, "{kind}");
            assert_eq!(Reason::truncated(reason).as_bytes(), reason.as_bytes());
        }
    }

    #[test]
    fn display_names_both_numbers() {
        for (fault, text) in [
            (PeerFault::ShortMessage { got: 7, want: 128 }, "control message of 7 bytes, not 128"),
            (PeerFault::RegionIndex { got: 2, want: 1 }, "region index 2, it was the turn of 1"),
            (
                PeerFault::RegionTooSmall { region: 0, file: 4096, announced: 8192 },
                "region 0 announced with 8192 bytes, its file has 4096",
            ),
            (PeerFault::BadCookie { got: 0 }, "cookie 0x00000000 in a ring, not 0x03e31f20"),
            (
                PeerFault::HeadTooFar { head: 9, tail: 0, size: 8 },
                "ring head 9 is more than 8 slots ahead of tail 0",
            ),
        ] {
            assert_eq!(fault.to_string(), text);
        }
    }
}
