//! The kinds of faults, and the reason that each gives in the DISCONNECT.

use super::counted::counted;

counted! {
    /// The faults of [`PeerFault`](super::PeerFault) without their values, for counters.
    pub enum FaultKind {
        /// See [`ParseError::TooShort`](crate::message::ParseError::TooShort).
        ShortMessage = "short_message",
        /// See [`ParseError::TooLong`](crate::message::ParseError::TooLong).
        LongMessage = "long_message",
        /// See [`ParseError::UnknownType`](crate::message::ParseError::UnknownType).
        UnknownType = "unknown_type",
        /// See [`ParseError::UnknownMode`](crate::message::ParseError::UnknownMode).
        UnknownMode = "unknown_mode",
        /// See [`PeerFault::UnexpectedMessage`](super::PeerFault::UnexpectedMessage).
        UnexpectedMessage = "unexpected_message",
        /// See [`PeerFault::FdMissing`](super::PeerFault::FdMissing).
        FdMissing = "fd_missing",
        /// See [`PeerFault::FdUnexpected`](super::PeerFault::FdUnexpected).
        FdUnexpected = "fd_unexpected",
        /// See [`PeerFault::SurplusFds`](super::PeerFault::SurplusFds).
        SurplusFds = "surplus_fds",
        /// See [`PeerFault::VersionMismatch`](super::PeerFault::VersionMismatch).
        VersionMismatch = "version_mismatch",
        /// See [`PeerFault::UnknownId`](super::PeerFault::UnknownId).
        UnknownId = "unknown_id",
        /// See [`PeerFault::AlreadyConnected`](super::PeerFault::AlreadyConnected).
        AlreadyConnected = "already_connected",
        /// See [`PeerFault::ModeMismatch`](super::PeerFault::ModeMismatch).
        ModeMismatch = "mode_mismatch",
        /// See [`PeerFault::SecretRequired`](super::PeerFault::SecretRequired).
        SecretRequired = "secret_required",
        /// See [`PeerFault::WrongSecret`](super::PeerFault::WrongSecret).
        WrongSecret = "wrong_secret",
        /// See [`PeerFault::RegionIndex`](super::PeerFault::RegionIndex).
        RegionIndex = "region_index",
        /// See [`PeerFault::TooManyRegions`](super::PeerFault::TooManyRegions).
        TooManyRegions = "too_many_regions",
        /// See [`PeerFault::RegionSize`](super::PeerFault::RegionSize).
        RegionSize = "region_size",
        /// See [`PeerFault::RingIndex`](super::PeerFault::RingIndex).
        RingIndex = "ring_index",
        /// See [`PeerFault::TooManyRings`](super::PeerFault::TooManyRings).
        TooManyRings = "too_many_rings",
        /// See [`PeerFault::UnknownRegion`](super::PeerFault::UnknownRegion).
        UnknownRegion = "unknown_region",
        /// See [`PeerFault::RingOutsideRegion`](super::PeerFault::RingOutsideRegion).
        RingOutsideRegion = "ring_outside_region",
        /// See [`PeerFault::RingMisaligned`](super::PeerFault::RingMisaligned).
        RingMisaligned = "ring_misaligned",
        /// See [`PeerFault::RingSize`](super::PeerFault::RingSize).
        RingSize = "ring_size",
        /// See [`PeerFault::RingOverlap`](super::PeerFault::RingOverlap).
        RingOverlap = "ring_overlap",
        /// See [`PeerFault::RingLayoutUnknown`](super::PeerFault::RingLayoutUnknown).
        RingLayoutUnknown = "ring_layout_unknown",
        /// See [`PeerFault::RingLayoutMixed`](super::PeerFault::RingLayoutMixed).
        RingLayoutMixed = "ring_layout_mixed",
        /// See [`PeerFault::PrivateHeader`](super::PeerFault::PrivateHeader).
        PrivateHeader = "private_header",
        /// See [`PeerFault::NoRings`](super::PeerFault::NoRings).
        NoRings = "no_rings",
        /// See [`PeerFault::RegionUnmappable`](super::PeerFault::RegionUnmappable).
        RegionUnmappable = "region_unmappable",
        /// See [`PeerFault::RegionTooSmall`](super::PeerFault::RegionTooSmall).
        RegionTooSmall = "region_too_small",
        /// See [`PeerFault::RegionNotSealed`](super::PeerFault::RegionNotSealed).
        RegionNotSealed = "region_not_sealed",
        /// See [`PeerFault::RegionSealed`](super::PeerFault::RegionSealed).
        RegionSealed = "region_sealed",
        /// See [`PeerFault::RegionLost`](super::PeerFault::RegionLost).
        RegionLost = "region_lost",
        /// See [`PeerFault::NotAllowed`](super::PeerFault::NotAllowed).
        NotAllowed = "not_allowed",
        /// See [`PeerFault::NotAnEventFd`](super::PeerFault::NotAnEventFd).
        NotAnEventFd = "not_an_eventfd",
        /// See [`PeerFault::SemaphoreEventFd`](super::PeerFault::SemaphoreEventFd).
        SemaphoreEventFd = "semaphore_eventfd",
        /// See [`PeerFault::BadCookie`](super::PeerFault::BadCookie).
        BadCookie = "bad_cookie",
        /// See [`PeerFault::HandshakeTimedOut`](super::PeerFault::HandshakeTimedOut).
        HandshakeTimedOut = "handshake_timed_out",
        /// See [`PeerFault::HeadTooFar`](super::PeerFault::HeadTooFar).
        HeadTooFar = "head_too_far",
        /// See [`PeerFault::TailTooFar`](super::PeerFault::TailTooFar).
        TailTooFar = "tail_too_far",
        /// See [`PeerFault::Overruns`](super::PeerFault::Overruns).
        Overruns = "overruns",
    }
}

impl FaultKind {
    /// The text of the DISCONNECT, at most 95 bytes.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::ShortMessage | Self::LongMessage => "Invalid message size",
            Self::UnknownType => "unknown message type",
            Self::UnexpectedMessage => "unexpected message received",
            Self::FdMissing => "Missing file descriptor",
            Self::FdUnexpected | Self::SurplusFds => "Unexpected file descriptor",
            Self::VersionMismatch => "Incompatible memif version",
            Self::UnknownId => "ID not found",
            Self::AlreadyConnected => "Already connected",
            Self::UnknownMode | Self::ModeMismatch => "mode mismatch",
            Self::SecretRequired => "Secret required",
            Self::WrongSecret => "Incorrect secret",
            Self::RegionIndex | Self::UnknownRegion => "Invalid region index",
            Self::TooManyRegions => "too many regions",
            Self::RegionSize | Self::RegionTooSmall => "Invalid region size",
            Self::RingIndex => "unexpected ring index",
            Self::TooManyRings => "Invalid ring index",
            Self::RingOutsideRegion => "Ring outside its region",
            Self::RingMisaligned => "Ring offset not a multiple of 16",
            Self::RingSize => "Invalid ring size",
            Self::RingOverlap => "Rings overlap",
            Self::RingLayoutUnknown => "Ring layout unknown: neither 64-byte nor 128-byte cache lines fit",
            Self::RingLayoutMixed => "Ring layouts differ: use one cache line size for all rings",
            Self::PrivateHeader => "private headers not supported",
            Self::NoRings => "No rings",
            Self::RegionUnmappable => "Region cannot be mapped",
            Self::RegionNotSealed => "Region file can shrink: add F_SEAL_SHRINK",
            Self::RegionSealed => "Region file sealed by its master",
            Self::RegionLost => "Region file changed under the link",
            Self::NotAllowed => "Not allowed",
            Self::NotAnEventFd => "Interrupt descriptor is no eventfd",
            Self::SemaphoreEventFd => "Interrupt descriptor is a semaphore",
            Self::BadCookie => "Wrong ring cookie",
            Self::HandshakeTimedOut => "Handshake timed out",
            Self::HeadTooFar => "Ring head out of range",
            Self::TailTooFar => "Ring tail out of range",
            Self::Overruns => "Ring overrun without end",
        }
    }
}
