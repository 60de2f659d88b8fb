//! The faults that cost a peer its link.

use super::kind::FaultKind;
use super::stage::Stage;
use crate::layout::{COOKIE, LineSize, RING_ALIGN};
use crate::message::{Direction, MessageKind, Mode, ParseError, Reason};

/// The code of a DISCONNECT that refuses a peer, or ends its link because of a fault. Peers agree on no numbers; 0 is the
/// code of an end that nobody is to blame for.
pub const REFUSED: u32 = 1;

/// What the peer did wrong: the value it sent, and the value or limit that was expected. Each variant ends the link, or
/// refuses the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// Bytes that are no control message.
    #[error(transparent)]
    Message(#[from] ParseError),
    /// A message that the handshake does not expect at this stage, or one sent before the last one was answered.
    #[error("unexpected {got} while {stage}")]
    UnexpectedMessage {
        /// The message received.
        got: MessageKind,
        /// The stage of the handshake.
        stage: Stage,
    },
    /// ADD_REGION or ADD_RING without its file descriptor.
    #[error("{on} without its file descriptor")]
    FdMissing {
        /// The message.
        on: MessageKind,
    },
    /// A file descriptor on a message that carries none.
    #[error("{on} with a file descriptor: it carries none")]
    FdUnexpected {
        /// The message.
        on: MessageKind,
    },
    /// More than one file descriptor on one message.
    #[error("{on} with {surplus} file descriptors too many: it carries one")]
    SurplusFds {
        /// The message.
        on: MessageKind,
        /// Descriptors beyond the first.
        surplus: usize,
    },
    /// The peer offers no version that this side implements.
    #[error("peer offers memif {min:#06x} to {max:#06x}: this side implements {want:#06x}")]
    VersionMismatch {
        /// Lowest version that the peer offers.
        min: u16,
        /// Highest version that the peer offers.
        max: u16,
        /// The version that this side implements.
        want: u16,
    },
    /// No interface on this socket has the id that the peer asked for.
    #[error("no interface with id {id} on this socket")]
    UnknownId {
        /// The id.
        id: u32,
    },
    /// The interface that the peer asked for is connected to another peer.
    #[error("interface {id} is connected to another peer")]
    AlreadyConnected {
        /// The interface's id.
        id: u32,
    },
    /// The peer asked for another mode than the interface has.
    #[error("peer asked for mode {got}: the interface has mode {want}")]
    ModeMismatch {
        /// The peer's mode.
        got: Mode,
        /// The interface's mode.
        want: Mode,
    },
    /// The interface has a secret, and the peer sent none.
    #[error("interface {id} requires a secret: the peer sent none")]
    SecretRequired {
        /// The interface's id.
        id: u32,
    },
    /// The peer's secret is not the interface's.
    #[error("wrong secret for interface {id}")]
    WrongSecret {
        /// The interface's id.
        id: u32,
    },
    /// A region index that is not the next one: a gap, or an index used before.
    #[error("region index {got}: expected index {want}")]
    RegionIndex {
        /// The index received.
        got: u16,
        /// The index expected.
        want: u16,
    },
    /// More regions than HELLO announced, or than the driver accepts for one interface.
    #[error("{got} regions: at most {limit} are accepted")]
    TooManyRegions {
        /// Regions, with this one.
        got: u32,
        /// Most regions accepted.
        limit: u32,
    },
    /// A region of 0 bytes, or of more than the limit.
    #[error("region {region} of {got} bytes: expected 1 to {limit}")]
    RegionSize {
        /// Index of the region.
        region: u16,
        /// The size announced, in bytes.
        got: u64,
        /// The largest size accepted, in bytes.
        limit: u64,
    },
    /// A ring index that is not the next one in its direction: a gap, or an index used before.
    #[error("{direction} ring index {got}: expected index {want}")]
    RingIndex {
        /// Direction of the ring.
        direction: Direction,
        /// The index received.
        got: u16,
        /// The index expected.
        want: u16,
    },
    /// More rings than the interface has queues.
    #[error("{got} {direction} rings: at most {limit} are accepted")]
    TooManyRings {
        /// Direction of the rings.
        direction: Direction,
        /// Rings in this direction, with this one.
        got: u32,
        /// Most rings accepted in this direction.
        limit: u32,
    },
    /// A ring in a region that was not announced.
    #[error("ring in region {region}: {known} regions were announced")]
    UnknownRegion {
        /// Index of the region.
        region: u16,
        /// Regions announced.
        known: u16,
    },
    /// A ring that ends past its region.
    #[error("ring ends at byte {end} of region {region}, which has {size} bytes")]
    RingOutsideRegion {
        /// Index of the region.
        region: u16,
        /// End of the ring, in bytes from the region's start.
        end: u64,
        /// Size of the region, in bytes.
        size: u64,
    },
    /// A ring at an offset that is no multiple of `RING_ALIGN`, 16 bytes.
    #[error("ring at offset {offset}: expected a multiple of {RING_ALIGN}")]
    RingMisaligned {
        /// Offset of the ring, in bytes from the region's start.
        offset: u32,
    },
    /// A ring of one descriptor, or of more descriptors than HELLO announced.
    #[error("ring of 2^{log2_size} descriptors: expected 2^1 to 2^{limit}")]
    RingSize {
        /// The binary logarithm received.
        log2_size: u8,
        /// The highest binary logarithm accepted.
        limit: u8,
    },
    /// A ring that overlaps an earlier one.
    #[error("{direction} ring {index} at offset {offset} of region {region} overlaps another ring")]
    RingOverlap {
        /// Direction of the ring.
        direction: Direction,
        /// Index of the ring.
        index: u16,
        /// Index of the region that holds both.
        region: u16,
        /// Offset of the ring, in bytes from the region's start.
        offset: u32,
    },
    /// Rings that are further apart than those of any known layout, and whose contents do not tell the layout either.
    #[error(
        "rings at offsets {offset} and {next} of region {region}: neither cache lines of 64 bytes nor of 128 explain the \
         distance"
    )]
    RingLayoutUnknown {
        /// Index of the region that holds both.
        region: u16,
        /// Offset of a ring, in bytes from the region's start.
        offset: u32,
        /// Offset of the next ring.
        next: u32,
    },
    /// Rings of one link that are laid out for different cache lines.
    #[error(
        "the ring at offset {offset} of region {region} is laid out for cache lines of {line} bytes, another one for {other}"
    )]
    RingLayoutMixed {
        /// Index of the ring's region.
        region: u16,
        /// Offset of the ring, in bytes from the region's start.
        offset: u32,
        /// The layout of this ring.
        line: LineSize,
        /// The layout of another ring.
        other: LineSize,
    },
    /// A private header before each packet, which no known peer supports.
    #[error("private header of {got} bytes: expected 0")]
    PrivateHeader {
        /// Size of the header, in bytes.
        got: u16,
    },
    /// CONNECT before any ring was announced.
    #[error("CONNECT without a ring")]
    NoRings,
    /// The kernel refused to map a region.
    #[error("region {region} cannot be mapped: errno {errno}")]
    RegionUnmappable {
        /// Index of the region.
        region: u16,
        /// The kernel's error number.
        errno: i32,
    },
    /// A region larger than its file.
    #[error("region {region} announced with {announced} bytes: its file has {file}")]
    RegionTooSmall {
        /// Index of the region.
        region: u16,
        /// Size of the file, in bytes.
        file: u64,
        /// The size announced, in bytes.
        announced: u64,
    },
    /// A region whose file can still shrink, and cannot be sealed by this side.
    #[error("the file of region {region} can shrink: the peer must add F_SEAL_SHRINK")]
    RegionNotSealed {
        /// Index of the region.
        region: u16,
    },
    /// The master sealed the slave's region, which can then not be protected from holes.
    #[error("the peer sealed region {region}: the seal against holes cannot be added")]
    RegionSealed {
        /// Index of the region.
        region: u16,
    },
    /// The peer shrank a region's file, or punched a hole that cannot be filled, while the link was up.
    #[error("region {region} lost pages while the link was up")]
    RegionLost {
        /// Index of the region.
        region: u16,
    },
    /// The credentials of the peer's process are not on the interface's list.
    #[error(
        "the peer runs as user {uid}, group {gid}, which the interface does not allow: run it as another user, or allow \
         this one"
    )]
    NotAllowed {
        /// The process's effective user id.
        uid: u32,
        /// The process's effective group id.
        gid: u32,
    },
    /// The interrupt descriptor of a ring is no eventfd.
    #[error("the interrupt descriptor of {direction} ring {index} is no eventfd")]
    NotAnEventFd {
        /// Direction of the ring.
        direction: Direction,
        /// Index of the ring.
        index: u16,
    },
    /// The interrupt descriptor that this side reads is a semaphore: one read does not reset it.
    #[error("the eventfd of {direction} ring {index} is a semaphore: create it without EFD_SEMAPHORE")]
    SemaphoreEventFd {
        /// Direction of the ring.
        direction: Direction,
        /// Index of the ring.
        index: u16,
    },
    /// A ring header that does not begin with the cookie.
    #[error("ring cookie {got:#010x}: expected {COOKIE:#010x}")]
    BadCookie {
        /// The value received.
        got: u32,
    },
    /// The peer did not complete the handshake in time.
    #[error("handshake timed out while {stage}{}", stage.hint())]
    HandshakeTimedOut {
        /// The stage of the handshake.
        stage: Stage,
    },
    /// The slave moved `head` back, or further ahead of `tail` than the ring has slots. On S2M a receiver can go on:
    /// see [`TailReceiver::resynchronise`](crate::tail_side::TailReceiver::resynchronise).
    #[error("ring head {head} moved back, or more than {size} slots ahead of tail {tail}")]
    HeadTooFar {
        /// The head that the peer published.
        head: u16,
        /// Our tail.
        tail: u16,
        /// Slots of the ring.
        size: u32,
    },
    /// The master moved `tail` back, or past `head`.
    #[error("ring tail {tail} moved back, or past head {head} of a ring of {size} slots")]
    TailTooFar {
        /// The tail that the peer published.
        tail: u16,
        /// Our head.
        head: u16,
        /// Slots of the ring.
        size: u32,
    },
    /// The slave overran a ring over and over, and sent next to nothing meanwhile: no traffic does that.
    #[error("{overruns} overruns of a ring and {packets} packets in a second, {seconds} seconds in a row")]
    Overruns {
        /// Overruns in the last second.
        overruns: u32,
        /// Packets received in it.
        packets: u64,
        /// Seconds in a row.
        seconds: u32,
    },
}

impl PeerFault {
    /// The kind of the fault, for counters.
    #[must_use]
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Message(error) => parse_kind(error),
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
            Self::RingLayoutUnknown { .. } => FaultKind::RingLayoutUnknown,
            Self::RingLayoutMixed { .. } => FaultKind::RingLayoutMixed,
            Self::PrivateHeader { .. } => FaultKind::PrivateHeader,
            Self::NoRings => FaultKind::NoRings,
            Self::RegionUnmappable { .. } => FaultKind::RegionUnmappable,
            Self::RegionTooSmall { .. } => FaultKind::RegionTooSmall,
            Self::RegionNotSealed { .. } => FaultKind::RegionNotSealed,
            Self::RegionSealed { .. } => FaultKind::RegionSealed,
            Self::RegionLost { .. } => FaultKind::RegionLost,
            Self::NotAllowed { .. } => FaultKind::NotAllowed,
            Self::NotAnEventFd { .. } => FaultKind::NotAnEventFd,
            Self::SemaphoreEventFd { .. } => FaultKind::SemaphoreEventFd,
            Self::BadCookie { .. } => FaultKind::BadCookie,
            Self::HandshakeTimedOut { .. } => FaultKind::HandshakeTimedOut,
            Self::HeadTooFar { .. } => FaultKind::HeadTooFar,
            Self::TailTooFar { .. } => FaultKind::TailTooFar,
            Self::Overruns { .. } => FaultKind::Overruns,
        }
    }

    /// The reason for the DISCONNECT, at most 95 bytes. Where VPP, DPDK or libmemif have a text for the same refusal,
    /// it is that text, so that a search finds it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::FdMissing { on: MessageKind::AddRegion } => "Missing region fd",
            Self::FdMissing { on: MessageKind::AddRing } => "Missing interrupt fd",
            _ => self.kind().reason(),
        }
    }

    /// [`reason`](Self::reason) as a field of the message.
    #[must_use]
    pub fn reason_text(&self) -> Reason {
        Reason::truncated(self.reason())
    }
}

const fn parse_kind(error: &ParseError) -> FaultKind {
    match error {
        ParseError::TooShort { .. } => FaultKind::ShortMessage,
        ParseError::TooLong { .. } => FaultKind::LongMessage,
        ParseError::UnknownType { .. } => FaultKind::UnknownType,
        ParseError::UnknownMode { .. } => FaultKind::UnknownMode,
    }
}
