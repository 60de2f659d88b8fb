//! The slave's side: agrees on sizes with the master, then offers its memory, one message at a time.

use super::common::{FdToken, MAX_REGION_SIZE, MAX_RINGS, OutOfTurn, Outbox, Transmit, receive, unexpected};
use super::places::PLACE_ALIGN;
use crate::fault::{PeerFault, REFUSED, Stage};
use crate::layout::{LineSize, MAX_LOG2_RING_SIZE};
use crate::message::{
    AddRegion, AddRing, Direction, Hello, Init, Message, Mode, Name, Reason, Secret, VERSION,
};
use crate::region::MAX_REGIONS;
use heapless::Vec;

/// What a slave requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlaveParams {
    /// The interface's id on the master's socket.
    pub id: u32,
    /// Mode of the interface.
    pub mode: Mode,
    /// Secret of the interface, empty for none.
    pub secret: Secret,
    /// The application's name.
    pub name: Name,
    /// Our name for the interface.
    pub if_name: Name,
    /// S2M rings requested, 0 to 256; not 0 in both directions.
    pub s2m_rings: u16,
    /// M2S rings requested, 0 to 256; not 0 in both directions.
    pub m2s_rings: u16,
    /// Binary logarithm of the descriptors requested in each ring, 1 to 14.
    pub log2_ring_size: u8,
    /// The layout of the rings. The master has to find out.
    pub line: LineSize,
}

/// Why [`SlaveHandshake::new`] rejected its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlaveParamsError {
    /// No ring in either direction.
    #[error("no rings in either direction: request at least one")]
    NoRings,
    /// More than [`MAX_RINGS`] rings in one direction.
    #[error("{got} {direction} rings: request at most {MAX_RINGS}")]
    TooManyRings {
        /// The direction.
        direction: Direction,
        /// Rings requested.
        got: u16,
    },
    /// A ring size outside 2^1 to 2^14.
    #[error("rings of 2^{log2_size} descriptors: request 2^1 to 2^{MAX_LOG2_RING_SIZE}")]
    RingSize {
        /// The binary logarithm requested.
        log2_size: u8,
    },
}

/// What both sides agreed on, and the slave has to allocate: the lesser of its request and the master's limits.
///
/// Rings are at the start of region 0, S2M first, then M2S, each at a multiple of 128 bytes:
/// [`ring_offset`](Self::ring_offset). The bytes after [`rings_size`](Self::rings_size) are free for buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    s2m_rings: u16,
    m2s_rings: u16,
    log2_ring_size: u8,
    line: LineSize,
    max_regions: usize,
}

impl Negotiated {
    /// S2M rings, 0 to 256.
    #[must_use]
    pub const fn s2m_rings(&self) -> u16 {
        self.s2m_rings
    }

    /// M2S rings, 0 to 256.
    #[must_use]
    pub const fn m2s_rings(&self) -> u16 {
        self.m2s_rings
    }

    /// Binary logarithm of the descriptors in each ring, 1 to 14.
    #[must_use]
    pub const fn log2_ring_size(&self) -> u8 {
        self.log2_ring_size
    }

    /// The layout of the rings.
    #[must_use]
    pub const fn line(&self) -> LineSize {
        self.line
    }

    /// Most regions that the master accepts, 1 to 256.
    #[must_use]
    pub const fn max_regions(&self) -> usize {
        self.max_regions
    }

    /// Offset of a ring in bytes from the start of region 0; `None` if there is no such ring.
    #[must_use]
    pub fn ring_offset(&self, direction: Direction, index: u16) -> Option<u32> {
        let (before, count) = match direction {
            Direction::S2M => (0, self.s2m_rings),
            Direction::M2S => (u32::from(self.s2m_rings), self.m2s_rings),
        };
        let place = (index < count).then(|| before + u32::from(index))?;
        place.checked_mul(self.ring_stride())
    }

    /// Bytes of region 0 that the rings take, at most 128 MiB + 128 KiB.
    #[must_use]
    pub fn rings_size(&self) -> u64 {
        (u64::from(self.s2m_rings) + u64::from(self.m2s_rings)) * u64::from(self.ring_stride())
    }

    /// At most 2^18 + 256.
    fn ring_stride(&self) -> u32 {
        let stride = self.line.ring_bytes(self.log2_ring_size).next_multiple_of(PLACE_ALIGN);
        u32::try_from(stride).unwrap_or(u32::MAX)
    }
}

/// Why [`SlaveHandshake::offer`] failed. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The handshake does not wait for an offer.
    #[error(transparent)]
    OutOfTurn(OutOfTurn),
    /// No region, or more than the master accepts.
    #[error("{got} regions: offer 1 to {limit}")]
    Regions {
        /// Regions offered.
        got: usize,
        /// Most regions that the master accepts.
        limit: usize,
    },
    /// A region of 0 bytes, or of more than [`MAX_REGION_SIZE`].
    #[error("region {region} of {got} bytes: offer 1 to {MAX_REGION_SIZE}")]
    RegionSize {
        /// Index of the region.
        region: usize,
        /// Its size, in bytes.
        got: u64,
    },
    /// Region 0 is smaller than the rings.
    #[error("region 0 of {size} bytes: the rings take {rings}, make it larger")]
    RingsOutside {
        /// Bytes that the rings take.
        rings: u64,
        /// Size of region 0, in bytes.
        size: u64,
    },
}

/// What the driver has to do after a message from the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlaveEvent {
    /// The master sent HELLO. The next message to send is INIT.
    Hello {
        /// The master's application name.
        name: Name,
    },
    /// Allocate memory for this, create the rings in it, and call [`SlaveHandshake::offer`].
    Offer(Negotiated),
    /// The master accepted a region or ring. There is a next message to send.
    Progress,
    /// The link is up. Before this, nobody may touch the rings (docs/protocol.md, section 4.8).
    Connected {
        /// The master's name for its interface.
        if_name: Name,
    },
    /// The master sent DISCONNECT: it refuses the slave, or ends the link.
    Disconnected {
        /// Code, without a meaning that peers agree on.
        code: u32,
        /// Reason, as text.
        reason: Reason,
    },
    /// The handshake is closed. The message was ignored.
    Ignored,
}

#[derive(Debug, Clone, Copy)]
enum State {
    AwaitHello,
    AwaitAdmission(Negotiated),
    Allocate(Negotiated),
    /// `step` counts acknowledged messages: regions, then S2M rings, then M2S rings.
    Offering {
        agreed: Negotiated,
        step: u16,
    },
    AwaitConnected,
    Up,
    Closed,
}

/// The slave's side of one connection. About 2 KiB: keep it behind a pointer.
#[derive(Debug)]
pub struct SlaveHandshake {
    state: State,
    outbox: Outbox,
    params: SlaveParams,
    regions: Vec<u64, MAX_REGIONS>,
    refused_ring: Option<(Direction, u16)>,
}

impl SlaveHandshake {
    /// For a connection that was just made. The master sends the first message.
    ///
    /// # Errors
    /// [`SlaveParamsError::NoRings`], [`SlaveParamsError::TooManyRings`], [`SlaveParamsError::RingSize`].
    pub fn new(params: SlaveParams) -> Result<Self, SlaveParamsError> {
        for (direction, got) in [(Direction::S2M, params.s2m_rings), (Direction::M2S, params.m2s_rings)] {
            if usize::from(got) > MAX_RINGS {
                return Err(SlaveParamsError::TooManyRings { direction, got });
            }
        }
        if params.s2m_rings == 0 && params.m2s_rings == 0 {
            return Err(SlaveParamsError::NoRings);
        }
        let log2_size = params.log2_ring_size;
        if log2_size == 0 || log2_size > MAX_LOG2_RING_SIZE {
            return Err(SlaveParamsError::RingSize { log2_size });
        }
        Ok(Self {
            state: State::AwaitHello,
            outbox: Outbox::default(),
            params,
            regions: Vec::new(),
            refused_ring: None,
        })
    }

    /// The stage of the handshake.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self.state {
            State::AwaitHello => Stage::AwaitHello,
            State::AwaitAdmission(_) => Stage::AwaitAdmission,
            State::Allocate(_) => Stage::Allocate,
            State::Offering { .. } => Stage::Offering,
            State::AwaitConnected => Stage::AwaitConnected,
            State::Up => Stage::Up,
            State::Closed => Stage::Closed,
        }
    }

    /// The ring that the master answered with DISCONNECT, after it had accepted others of this direction: it takes as many
    /// as the index says. Masters announce more rings in HELLO than their interface has, and refuse those that it has not.
    #[must_use]
    pub const fn refused_ring(&self) -> Option<(Direction, u16)> {
        self.refused_ring
    }

    /// The next message to send, and the file descriptor to attach.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.take()
    }

    /// Handles one message from the master. `fd` is a file descriptor on it, `surplus` the number of further
    /// descriptors. A master sends none: `fd` is dropped, and the master is refused.
    ///
    /// # Errors
    /// What the peer did wrong. The handshake is closed, and the next message to send is DISCONNECT.
    pub fn handle<F>(
        &mut self,
        bytes: &[u8],
        fd: Option<F>,
        surplus: usize,
    ) -> Result<SlaveEvent, PeerFault> {
        let has_fd = fd.is_some();
        drop(fd);
        if self.stage() == Stage::Closed {
            return Ok(SlaveEvent::Ignored);
        }
        self.take(bytes, has_fd, surplus).inspect_err(|fault| self.refuse(*fault))
    }

    /// Offers the memory for [`SlaveEvent::Offer`]: `regions` are the sizes in bytes, and the rings are in region 0 at
    /// [`Negotiated::ring_offset`]. `poll_transmit` then names the file descriptors by [`FdToken`].
    ///
    /// # Errors
    /// [`OfferError::OutOfTurn`]: the handshake does not wait for an offer. The others: the master would refuse it.
    pub fn offer(&mut self, regions: &[u64]) -> Result<(), OfferError> {
        let State::Allocate(agreed) = self.state else {
            return Err(OfferError::OutOfTurn(OutOfTurn { stage: self.stage() }));
        };
        self.regions = check_offer(&agreed, regions)?;
        self.send_step(agreed, 0);
        Ok(())
    }

    /// Closes the handshake, or the link, because of a fault. The next message to send is DISCONNECT with the fault's
    /// reason and the code [`REFUSED`]. Does nothing if it is closed.
    pub fn refuse(&mut self, fault: PeerFault) {
        self.disconnect(REFUSED, fault.reason_text());
    }

    /// Closes the handshake, or the link. The next message to send is DISCONNECT. Does nothing if it is closed.
    pub fn disconnect(&mut self, code: u32, reason: Reason) {
        if self.stage() != Stage::Closed {
            self.state = State::Closed;
            self.outbox.put_disconnect(code, reason);
        }
    }

    fn take(&mut self, bytes: &[u8], has_fd: bool, surplus: usize) -> Result<SlaveEvent, PeerFault> {
        let message = receive(bytes, has_fd, surplus, false)?;
        if let Message::Disconnect { code, reason } = message {
            self.refused_ring = self.ring_on_offer();
            self.state = State::Closed;
            self.outbox.clear();
            return Ok(SlaveEvent::Disconnected { code, reason });
        }
        if !self.outbox.is_empty() {
            return Err(unexpected(message.kind(), self.stage()));
        }
        match (self.state, message) {
            (State::AwaitHello, Message::Hello(hello)) => self.hello(&hello),
            (State::AwaitAdmission(agreed), Message::Ack) => {
                self.state = State::Allocate(agreed);
                Ok(SlaveEvent::Offer(agreed))
            }
            (State::Offering { agreed, step }, Message::Ack) => {
                self.send_step(agreed, step.saturating_add(1));
                Ok(SlaveEvent::Progress)
            }
            (State::AwaitConnected, Message::Connected { if_name }) => {
                self.state = State::Up;
                Ok(SlaveEvent::Connected { if_name })
            }
            _ => Err(unexpected(message.kind(), self.stage())),
        }
    }

    fn hello(&mut self, hello: &Hello) -> Result<SlaveEvent, PeerFault> {
        let agreed = negotiate(&self.params, hello)?;
        let SlaveParams { id, mode, secret, name, .. } = self.params;
        self.state = State::AwaitAdmission(agreed);
        self.outbox.put(&Message::Init(Init { version: VERSION, id, mode, secret, name }), None);
        Ok(SlaveEvent::Hello { name: hello.name })
    }

    /// Puts the message after `step` acknowledged ones into the outbox: a region, a ring, or CONNECT.
    fn send_step(&mut self, agreed: Negotiated, step: u16) {
        if let Some((message, fd)) = self.region_step(step).or_else(|| self.ring_step(&agreed, step)) {
            self.state = State::Offering { agreed, step };
            self.outbox.put(&message, Some(fd));
        } else {
            self.state = State::AwaitConnected;
            self.outbox.put(&Message::Connect { if_name: self.params.if_name }, None);
        }
    }

    fn region_step(&self, index: u16) -> Option<(Message, FdToken)> {
        let size = *self.regions.get(usize::from(index))?;
        Some((Message::AddRegion(AddRegion { index, size }), FdToken::Region(index)))
    }

    /// The ring that is offered after `step` acknowledged messages.
    fn ring_at(&self, agreed: &Negotiated, step: u16) -> Option<(Direction, u16)> {
        let place = step.checked_sub(u16::try_from(self.regions.len()).ok()?)?;
        Some(match place.checked_sub(agreed.s2m_rings) {
            None => (Direction::S2M, place),
            Some(index) => (Direction::M2S, index),
        })
    }

    /// The ring that the master has to answer, unless it is the first of its direction.
    fn ring_on_offer(&self) -> Option<(Direction, u16)> {
        let State::Offering { agreed, step } = self.state else { return None };
        self.ring_at(&agreed, step).filter(|&(_, index)| index > 0)
    }

    fn ring_step(&self, agreed: &Negotiated, step: u16) -> Option<(Message, FdToken)> {
        let (direction, index) = self.ring_at(agreed, step)?;
        let offset = agreed.ring_offset(direction, index)?;
        let log2_size = agreed.log2_ring_size;
        let ring = AddRing { direction, index, region: 0, offset, log2_size, private_hdr_size: 0 };
        Some((Message::AddRing(ring), FdToken::Ring(direction, index)))
    }
}

/// The lesser of the request and the master's limits.
fn negotiate(params: &SlaveParams, hello: &Hello) -> Result<Negotiated, PeerFault> {
    let (min, max) = (hello.min_version, hello.max_version);
    if !(min..=max).contains(&VERSION) {
        return Err(PeerFault::VersionMismatch { min, max, want: VERSION });
    }
    if hello.max_log2_ring_size == 0 {
        return Err(PeerFault::RingSize { log2_size: 0, limit: MAX_LOG2_RING_SIZE });
    }
    Ok(Negotiated {
        s2m_rings: at_most(params.s2m_rings, hello.max_s2m_ring),
        m2s_rings: at_most(params.m2s_rings, hello.max_m2s_ring),
        log2_ring_size: params.log2_ring_size.min(hello.max_log2_ring_size),
        line: params.line,
        max_regions: MAX_REGIONS.min(usize::from(hello.max_region) + 1),
    })
}

/// `count`, or the number of indices up to `highest` if that is less. `highest` may be 65535.
fn at_most(count: u16, highest: u16) -> u16 {
    count.min(highest.saturating_add(1))
}

fn check_offer(agreed: &Negotiated, regions: &[u64]) -> Result<Vec<u64, MAX_REGIONS>, OfferError> {
    let (got, limit) = (regions.len(), agreed.max_regions);
    let wrong_count = OfferError::Regions { got, limit };
    let Some(&first) = regions.first() else {
        return Err(wrong_count);
    };
    if got > limit {
        return Err(wrong_count);
    }
    if let Some((region, &got)) =
        regions.iter().enumerate().find(|&(_, &size)| size == 0 || size > MAX_REGION_SIZE)
    {
        return Err(OfferError::RegionSize { region, got });
    }
    if first < agreed.rings_size() {
        return Err(OfferError::RingsOutside { rings: agreed.rings_size(), size: first });
    }
    Vec::from_slice(regions).map_err(|_| wrong_count)
}
