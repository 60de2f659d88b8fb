//! The slave's side: it takes what is left of its wishes, and offers memory, one message at a time.

use super::{FdToken, MAX_REGION_SIZE, MAX_RINGS, OutOfTurn, Outbox, Stage, Transmit, receive, unexpected};
use crate::fault::PeerFault;
use crate::layout::{MAX_LOG2_RING_SIZE, RING_HEADER_SIZE, ring_bytes};
use crate::message::{
    AddRegion, AddRing, Direction, Hello, Init, Message, Mode, Name, Reason, Secret, VERSION,
};
use crate::region::MAX_REGIONS;
use core::fmt;
use heapless::Vec;

/// What a slave wants of its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlaveParams {
    /// The interface's id on the master's socket.
    pub id: u32,
    /// What the packets are.
    pub mode: Mode,
    /// The interface's secret, empty for none.
    pub secret: Secret,
    /// The application's name.
    pub name: Name,
    /// Our name for the interface.
    pub if_name: Name,
    /// S2M rings wanted, 0 to 256; not 0 in both directions.
    pub s2m_rings: u16,
    /// M2S rings wanted, 0 to 256; not 0 in both directions.
    pub m2s_rings: u16,
    /// Binary logarithm of the descriptors wanted in each ring, 1 to 14.
    pub log2_ring_size: u8,
}

/// Why a slave cannot want what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlaveParamsError {
    /// No ring in either direction.
    NoRings,
    /// Too many rings in one direction.
    TooManyRings {
        /// The direction.
        direction: Direction,
        /// How many were wanted.
        got: u16,
    },
    /// A ring size that does not exist.
    RingSize {
        /// The binary logarithm wanted.
        log2_size: u8,
    },
}

impl fmt::Display for SlaveParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRings => f.write_str("no rings in either direction: ask for one at least"),
            Self::TooManyRings { direction, got } => {
                write!(f, "{got} {direction} rings: ask for {MAX_RINGS} at most")
            }
            Self::RingSize { log2_size } => {
                write!(f, "rings of 2^{log2_size} descriptors: ask for 2^1 to 2^{MAX_LOG2_RING_SIZE}")
            }
        }
    }
}

impl core::error::Error for SlaveParamsError {}

/// What both sides agree to, and so what the slave has to allocate: the lesser of its wishes and the master's limits.
///
/// Rings lie in region 0 from its start, S2M first, then M2S, each at a multiple of 128 bytes:
/// [`ring_offset`](Self::ring_offset). What follows [`rings_size`](Self::rings_size) is the driver's, for buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    s2m_rings: u16,
    m2s_rings: u16,
    log2_ring_size: u8,
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

    /// Regions that the master takes at most, 1 to 256.
    #[must_use]
    pub const fn max_regions(&self) -> usize {
        self.max_regions
    }

    /// Where a ring lies, in bytes from the start of region 0; `None` when there is no such ring.
    #[must_use]
    pub fn ring_offset(&self, direction: Direction, index: u16) -> Option<u32> {
        let (before, count) = match direction {
            Direction::S2M => (0, self.s2m_rings),
            Direction::M2S => (u32::from(self.s2m_rings), self.m2s_rings),
        };
        let place = (index < count).then(|| before + u32::from(index))?;
        place.checked_mul(self.ring_stride())
    }

    /// Bytes of region 0 that the rings take, at most 128 MiB and a little.
    #[must_use]
    pub fn rings_size(&self) -> u64 {
        (u64::from(self.s2m_rings) + u64::from(self.m2s_rings)) * u64::from(self.ring_stride())
    }

    /// At most 2^18 + 128.
    fn ring_stride(&self) -> u32 {
        let stride = ring_bytes(self.log2_ring_size).next_multiple_of(RING_HEADER_SIZE);
        u32::try_from(stride).unwrap_or(u32::MAX)
    }
}

/// Why an offer cannot be made; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferError {
    /// The handshake does not wait for an offer.
    OutOfTurn(OutOfTurn),
    /// No region, or more than the master takes.
    Regions {
        /// How many there are.
        got: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A region of no bytes, or of more than [`MAX_REGION_SIZE`].
    RegionSize {
        /// The region's index.
        region: usize,
        /// Its size in bytes.
        got: u64,
    },
    /// Region 0 does not hold the rings.
    RingsOutside {
        /// Bytes that the rings take.
        rings: u64,
        /// Bytes in region 0.
        size: u64,
    },
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfTurn(error) => fmt::Display::fmt(error, f),
            Self::Regions { got, limit } => {
                write!(f, "{got} regions, the master takes 1 to {limit}: offer fewer")
            }
            Self::RegionSize { region, got } => {
                write!(f, "region {region} of {got} bytes: offer 1 to {MAX_REGION_SIZE}")
            }
            Self::RingsOutside { rings, size } => {
                write!(f, "region 0 has {size} bytes, the rings take {rings}: make it larger")
            }
        }
    }
}

impl core::error::Error for OfferError {}

/// What a message from the master asks of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlaveEvent {
    /// The master said HELLO, and INIT waits to be sent.
    Hello {
        /// The master's application name.
        name: Name,
    },
    /// Allocate this much, make fresh rings in it, and call [`SlaveHandshake::offer`].
    Offer(Negotiated),
    /// A region or ring was taken, and the next message waits to be sent.
    Progress,
    /// The link is up. Before this, nobody may touch the rings (protocol section 4).
    Connected {
        /// The master's name for its interface.
        if_name: Name,
    },
    /// The master refuses, or is gone: it sent DISCONNECT.
    Disconnected {
        /// A number without agreed meaning.
        code: u32,
        /// Why, for people to read.
        reason: Reason,
    },
    /// The handshake was closed before; the message was not looked at.
    Ignored,
}

#[derive(Debug, Clone, Copy)]
enum State {
    AwaitHello,
    AwaitAdmission(Negotiated),
    Allocate(Negotiated),
    /// `step` counts what was acknowledged of regions, S2M rings and M2S rings, in this order.
    Offering {
        agreed: Negotiated,
        step: u16,
    },
    AwaitConnected,
    Up,
    Closed,
}

/// One connection, seen by the slave. About 2 KiB: keep it behind a pointer.
#[derive(Debug)]
pub struct SlaveHandshake {
    state: State,
    outbox: Outbox,
    params: SlaveParams,
    regions: Vec<u64, MAX_REGIONS>,
}

impl SlaveHandshake {
    /// For a connection that was just made; the master speaks first.
    ///
    /// # Errors
    /// [`SlaveParamsError`] when a number is out of range.
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
        Ok(Self { state: State::AwaitHello, outbox: Outbox::default(), params, regions: Vec::new() })
    }

    /// Where the handshake stands.
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

    /// The next message to send, and which file descriptor goes with it.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.take()
    }

    /// Takes one message from the master. `fd` is a file descriptor that came with it, and `surplus` counts any more
    /// that came; a master has none to send, and `fd` is dropped.
    ///
    /// # Errors
    /// What the peer did wrong. The handshake is closed, and a DISCONNECT waits to be sent.
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

    /// Offers the memory that [`SlaveEvent::Offer`] asked for: the regions' sizes in bytes, the rings in region 0 where
    /// [`Negotiated::ring_offset`] puts them. `poll_transmit` then names the file descriptors by [`FdToken`].
    ///
    /// # Errors
    /// [`OfferError`] when the master would refuse it, or the handshake does not wait for it.
    pub fn offer(&mut self, regions: &[u64]) -> Result<(), OfferError> {
        let State::Allocate(agreed) = self.state else {
            return Err(OfferError::OutOfTurn(OutOfTurn { stage: self.stage() }));
        };
        self.regions = check_offer(&agreed, regions)?;
        self.send_step(agreed, 0);
        Ok(())
    }

    /// Closes the handshake, or the link, because of the peer; DISCONNECT with the fault's reason waits to be sent.
    /// Does nothing when it is closed.
    pub fn refuse(&mut self, fault: PeerFault) {
        self.disconnect(0, fault.reason_text());
    }

    /// Closes the handshake, or the link; DISCONNECT waits to be sent. Does nothing when it is closed.
    pub fn disconnect(&mut self, code: u32, reason: Reason) {
        if self.stage() != Stage::Closed {
            self.state = State::Closed;
            self.outbox.put_disconnect(code, reason);
        }
    }

    fn take(&mut self, bytes: &[u8], has_fd: bool, surplus: usize) -> Result<SlaveEvent, PeerFault> {
        let message = receive(bytes, has_fd, surplus, false)?;
        if let Message::Disconnect { code, reason } = message {
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

    /// Sends what comes after `step` acknowledged messages: a region, a ring, or CONNECT.
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

    fn ring_step(&self, agreed: &Negotiated, step: u16) -> Option<(Message, FdToken)> {
        let place = step.checked_sub(u16::try_from(self.regions.len()).ok()?)?;
        let (direction, index) = match place.checked_sub(agreed.s2m_rings) {
            None => (Direction::S2M, place),
            Some(index) => (Direction::M2S, index),
        };
        let offset = agreed.ring_offset(direction, index)?;
        let log2_size = agreed.log2_ring_size;
        let ring = AddRing { direction, index, region: 0, offset, log2_size, private_hdr_size: 0 };
        Some((Message::AddRing(ring), FdToken::Ring(direction, index)))
    }
}

/// The lesser of our wishes and the master's limits.
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
        max_regions: MAX_REGIONS.min(usize::from(hello.max_region) + 1),
    })
}

/// `count`, or as many as there are indices up to `highest`, which may be 65535.
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
