//! Both roles' handshakes, without I/O: messages in, messages and file descriptor tokens out.
//!
//! [`MasterHandshake`] and [`SlaveHandshake`] decide what may be said when, and check every number that a peer sends
//! before anyone acts on it. A driver owns the socket, the clock and the memory, and keeps to one contract:
//!
//! 1. Send what `poll_transmit` gives, until it gives nothing, before the next `handle`. When the socket is full, wait.
//!    The protocol answers each message before the next is sent, so a peer that runs ahead is at fault.
//! 2. Hand each received message to `handle`, together with its file descriptor. Close any surplus descriptors, and
//!    say how many there were.
//! 3. After a fault, or at [`Stage::Closed`], send what is left to send, and close the socket.
//! 4. End a handshake that takes too long with `refuse(PeerFault::HandshakeTimedOut)`.
//!
//! Each call does bounded work and leaves at most one message to send.

mod master;
mod slave;

#[cfg(test)]
mod tests;

pub use master::{Admission, AdmitError, HelloParams, MasterEvent, MasterHandshake};
pub use slave::{Negotiated, OfferError, SlaveEvent, SlaveHandshake, SlaveParams, SlaveParamsError};

use crate::fault::PeerFault;
use crate::message::{Direction, MESSAGE_SIZE, Message, MessageKind, Reason};
use core::fmt;

/// Most rings in each direction (protocol section 1).
pub const MAX_RINGS: usize = 256;

/// Most bytes that one region may have: 64 GiB. A descriptor reaches 4 GiB plus its length; the rest leaves room for
/// peers that share their whole packet memory. Beyond it a few announcements would exhaust our address space.
pub const MAX_REGION_SIZE: u64 = 1 << 36;

/// One message to send, with at most one file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The message, in one piece.
    pub bytes: [u8; MESSAGE_SIZE],
    /// Which file descriptor to attach, if any.
    pub fd: Option<FdToken>,
}

/// A file descriptor of the driver's, by what it belongs to. Only a slave sends any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdToken {
    /// The memfd of the region of this index.
    Region(u16),
    /// The eventfd of the ring of this direction and index.
    Ring(Direction, u16),
}

/// Where a handshake stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Master: the peer has to send INIT.
    AwaitInit,
    /// Master: the driver has to look up the interface and call [`MasterHandshake::admit`].
    Admission,
    /// Master: the peer sends its regions and rings.
    Setup,
    /// Master: the driver has to map regions, check rings and call [`MasterHandshake::connected`].
    Attach,
    /// Slave: the peer has to send HELLO.
    AwaitHello,
    /// Slave: the peer has to acknowledge INIT.
    AwaitAdmission,
    /// Slave: the driver has to allocate memory and call [`SlaveHandshake::offer`].
    Allocate,
    /// Slave: the peer has to acknowledge a region or a ring.
    Offering,
    /// Slave: the peer has to send CONNECTED.
    AwaitConnected,
    /// The link is up.
    Up,
    /// The link is over. Nothing that comes in is looked at.
    Closed,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwaitInit => "waiting for INIT",
            Self::Admission => "looking up the interface",
            Self::Setup => "taking regions and rings",
            Self::Attach => "attaching regions and rings",
            Self::AwaitHello => "waiting for HELLO",
            Self::AwaitAdmission => "waiting for admission",
            Self::Allocate => "allocating regions and rings",
            Self::Offering => "offering regions and rings",
            Self::AwaitConnected => "waiting for CONNECTED",
            Self::Up => "the link is up",
            Self::Closed => "the link is closed",
        })
    }
}

/// The driver made a call that the handshake was not waiting for; nothing has changed. That is a mistake of the
/// driver's, unless a peer's fault or DISCONNECT has closed the handshake in the meantime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfTurn {
    /// Where the handshake stands.
    pub stage: Stage,
}

impl fmt::Display for OutOfTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handshake call out of turn while {}", self.stage)
    }
}

impl core::error::Error for OutOfTurn {}

/// The one message that waits to be sent. A DISCONNECT takes the place of any other: nothing before it matters then.
#[derive(Debug, Default)]
struct Outbox(Option<Transmit>);

impl Outbox {
    fn put(&mut self, message: &Message, fd: Option<FdToken>) {
        self.0 = Some(Transmit { bytes: message.emit(), fd });
    }

    fn put_disconnect(&mut self, code: u32, reason: Reason) {
        self.put(&Message::Disconnect { code, reason }, None);
    }

    fn take(&mut self) -> Option<Transmit> {
        self.0.take()
    }

    fn clear(&mut self) {
        self.0 = None;
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Parses a message and checks that it came with the file descriptors that it needs, if `takes_fds`, or with none.
fn receive(bytes: &[u8], has_fd: bool, surplus: usize, takes_fds: bool) -> Result<Message, PeerFault> {
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

const fn unexpected(got: MessageKind, stage: Stage) -> PeerFault {
    PeerFault::UnexpectedMessage { got, stage }
}
