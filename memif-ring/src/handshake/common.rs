//! What both roles share: limits, the message to send, and the checks of every message.

use crate::fault::{PeerFault, Stage};
use crate::message::{Direction, MESSAGE_SIZE, Message, MessageKind, Reason};

/// Most rings in each direction (docs/protocol.md, section 1.3).
pub const MAX_RINGS: usize = 256;

/// Largest region in bytes: 64 GiB. A descriptor reaches 4 GiB plus its length; the rest is for peers that share their
/// whole packet memory. Without a limit a few announcements would exhaust the address space.
pub const MAX_REGION_SIZE: u64 = 1 << 36;

/// One message to send, with at most one file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The message, in one piece.
    pub bytes: [u8; MESSAGE_SIZE],
    /// Which file descriptor to attach, if any.
    pub fd: Option<FdToken>,
}

/// Names a file descriptor that the driver attaches. Only a slave sends any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdToken {
    /// The memfd of the region of this index.
    Region(u16),
    /// The eventfd of the ring of this direction and index.
    Ring(Direction, u16),
}

/// A call that the handshake does not expect at this stage. Nothing has changed. An error in the driver, unless a fault
/// or a DISCONNECT of the peer has closed the handshake in the meantime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected handshake call while {stage}")]
pub struct OutOfTurn {
    /// The stage of the handshake.
    pub stage: Stage,
}

/// The one message to send. A DISCONNECT replaces any other.
#[derive(Debug, Default)]
pub(super) struct Outbox(Option<Transmit>);

impl Outbox {
    pub(super) fn put(&mut self, message: &Message, fd: Option<FdToken>) {
        self.0 = Some(Transmit { bytes: message.emit(), fd });
    }

    pub(super) fn put_disconnect(&mut self, code: u32, reason: Reason) {
        self.put(&Message::Disconnect { code, reason }, None);
    }

    pub(super) fn take(&mut self) -> Option<Transmit> {
        self.0.take()
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Parses a message and checks that it came with the file descriptors that it needs, if `takes_fds`, or with none.
pub(super) fn receive(
    bytes: &[u8],
    has_fd: bool,
    surplus: usize,
    takes_fds: bool,
) -> Result<Message, PeerFault> {
    let message = Message::parse(bytes)?;
    let on = message.kind();
    let wants_fd = takes_fds && on.carries_fd();
    match (wants_fd, has_fd) {
        (false, true) => Err(PeerFault::FdUnexpected { on }),
        _ if surplus > 0 => Err(PeerFault::SurplusFds { on, surplus }),
        (true, false) => Err(PeerFault::FdMissing { on }),
        _ => Ok(message),
    }
}

pub(super) const fn unexpected(got: MessageKind, stage: Stage) -> PeerFault {
    PeerFault::UnexpectedMessage { got, stage }
}
