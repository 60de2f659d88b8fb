//! The master's side: it refuses, or it acknowledges.

use super::{MAX_REGION_SIZE, MAX_RINGS, OutOfTurn, Outbox, Stage, Transmit, receive, unexpected};
use crate::fault::PeerFault;
use crate::layout::{MAX_LOG2_RING_SIZE, RING_ALIGN, ring_bytes};
use crate::message::{
    AddRegion, AddRing, Direction, Hello, Init, Message, Mode, Name, Reason, Secret, VERSION,
};
use crate::region::MAX_REGIONS;
use core::fmt;
use heapless::Vec;

/// What a master says in its HELLO. A peer that goes beyond it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloParams {
    /// The application's name.
    pub name: Name,
    /// Highest region index taken; no more than [`MAX_REGIONS`] regions are taken in any case.
    pub max_region: u16,
    /// Highest index of an M2S ring taken; the interface sets the limit in the end.
    pub max_m2s_ring: u16,
    /// Highest index of an S2M ring taken; the interface sets the limit in the end.
    pub max_s2m_ring: u16,
    /// Highest binary logarithm of a ring's descriptor count taken; above 14 means 14.
    pub max_log2_ring_size: u8,
}

/// What the driver found under the id of an INIT.
#[derive(Debug, Clone, Copy)]
pub enum Admission<'a> {
    /// No interface has this id.
    Unknown,
    /// The interface has a peer already.
    Busy,
    /// The interface is free.
    Interface {
        /// What its packets are.
        mode: Mode,
        /// Its secret. Without one, a peer's secret is not looked at, as with DPDK.
        secret: &'a Secret,
        /// How many S2M rings it takes, 0 to 256; the peer may send fewer.
        s2m_rings: u16,
        /// How many M2S rings it takes, 0 to 256; the peer may send fewer.
        m2s_rings: u16,
    },
}

/// Why [`MasterHandshake::admit`] did not admit a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmitError {
    /// The peer is refused; the handshake is closed.
    Refused(PeerFault),
    /// There is no INIT to answer; nothing has changed.
    OutOfTurn(OutOfTurn),
}

impl fmt::Display for AdmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(fault) => fmt::Display::fmt(fault, f),
            Self::OutOfTurn(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl core::error::Error for AdmitError {}

/// What a message from the slave asks of the driver. `F` is the driver's file descriptor.
#[derive(Debug, PartialEq, Eq)]
pub enum MasterEvent<F> {
    /// Look up the interface, and call [`MasterHandshake::admit`].
    Init(Init),
    /// Keep this region for CONNECT. Its index is the number of regions before it.
    Region {
        /// Its index, 0 to 255.
        index: u16,
        /// Its size in bytes, 1 to [`MAX_REGION_SIZE`]. The file may be smaller: check it before mapping.
        size: u64,
        /// Its memfd.
        fd: F,
    },
    /// Keep this ring for CONNECT. Its geometry is checked: size, alignment, within its region, apart from all other
    /// rings of the region. What lies in the ring is not.
    Ring {
        /// Which way its packets go.
        direction: Direction,
        /// Its index, 0 to 255.
        index: u16,
        /// The index of the region that holds it.
        region: u16,
        /// Bytes from the region's start.
        offset: u32,
        /// Binary logarithm of its descriptor count, 1 to 14.
        log2_size: u8,
        /// Its eventfd.
        fd: F,
    },
    /// Map the regions, check the rings' cookies, and call [`MasterHandshake::connected`], or
    /// [`MasterHandshake::refuse`].
    Connect {
        /// The slave's name for its interface.
        if_name: Name,
    },
    /// The slave is gone: it sent DISCONNECT.
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
    AwaitInit,
    Admission(Init),
    Setup,
    Attach,
    Up,
    Closed,
}

/// Where an accepted ring lies.
#[derive(Debug, Clone, Copy)]
struct RingSpan {
    region: u16,
    log2_size: u8,
    offset: u32,
}

impl RingSpan {
    fn end(self) -> u64 {
        u64::from(self.offset) + ring_bytes(self.log2_size) as u64
    }

    fn overlaps(self, other: Self) -> bool {
        self.region == other.region
            && u64::from(self.offset) < other.end()
            && u64::from(other.offset) < self.end()
    }
}

/// One connection, seen by the master. About 6 KiB: keep it behind a pointer.
///
/// Two regions may be one file, so rings that do not overlap here may share bytes all the same. That is safe, as
/// memory that a peer can write at any time already is.
#[derive(Debug)]
pub struct MasterHandshake {
    state: State,
    outbox: Outbox,
    hello: HelloParams,
    regions: Vec<u64, MAX_REGIONS>,
    s2m_limit: u16,
    m2s_limit: u16,
    s2m_rings: Vec<RingSpan, MAX_RINGS>,
    m2s_rings: Vec<RingSpan, MAX_RINGS>,
}

impl MasterHandshake {
    /// For a connection that was just accepted; HELLO waits to be sent.
    #[must_use]
    pub fn new(params: HelloParams) -> Self {
        let hello =
            HelloParams { max_log2_ring_size: params.max_log2_ring_size.min(MAX_LOG2_RING_SIZE), ..params };
        let mut outbox = Outbox::default();
        outbox.put(
            &Message::Hello(Hello {
                name: hello.name,
                min_version: VERSION,
                max_version: VERSION,
                max_region: hello.max_region,
                max_m2s_ring: hello.max_m2s_ring,
                max_s2m_ring: hello.max_s2m_ring,
                max_log2_ring_size: hello.max_log2_ring_size,
            }),
            None,
        );
        Self {
            state: State::AwaitInit,
            outbox,
            hello,
            regions: Vec::new(),
            s2m_limit: 0,
            m2s_limit: 0,
            s2m_rings: Vec::new(),
            m2s_rings: Vec::new(),
        }
    }

    /// Where the handshake stands.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self.state {
            State::AwaitInit => Stage::AwaitInit,
            State::Admission(_) => Stage::Admission,
            State::Setup => Stage::Setup,
            State::Attach => Stage::Attach,
            State::Up => Stage::Up,
            State::Closed => Stage::Closed,
        }
    }

    /// The next message to send. Its `fd` is always `None`.
    #[must_use]
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.take()
    }

    /// Takes one message from the slave. `fd` is the file descriptor that came with it, and `surplus` counts any more
    /// that came; the driver closes those.
    ///
    /// # Errors
    /// What the peer did wrong. The handshake is closed, a DISCONNECT waits to be sent, and `fd` is dropped.
    pub fn handle<F>(
        &mut self,
        bytes: &[u8],
        fd: Option<F>,
        surplus: usize,
    ) -> Result<MasterEvent<F>, PeerFault> {
        if self.stage() == Stage::Closed {
            return Ok(MasterEvent::Ignored);
        }
        self.take(bytes, fd, surplus).inspect_err(|fault| self.refuse(*fault))
    }

    /// Answers an INIT with ACK, or with DISCONNECT.
    ///
    /// # Errors
    /// [`AdmitError::Refused`] with [`PeerFault::UnknownId`], [`PeerFault::AlreadyConnected`],
    /// [`PeerFault::ModeMismatch`], [`PeerFault::SecretRequired`] or [`PeerFault::WrongSecret`].
    pub fn admit(&mut self, admission: Admission<'_>) -> Result<(), AdmitError> {
        let State::Admission(init) = self.state else {
            return Err(AdmitError::OutOfTurn(OutOfTurn { stage: self.stage() }));
        };
        let (s2m_rings, m2s_rings) = check_admission(&init, admission).map_err(|fault| {
            self.refuse(fault);
            AdmitError::Refused(fault)
        })?;
        self.s2m_limit = s2m_rings;
        self.m2s_limit = m2s_rings;
        self.state = State::Setup;
        self.outbox.put(&Message::Ack, None);
        Ok(())
    }

    /// Answers a CONNECT with CONNECTED: the link is up. `if_name` is our name for the interface.
    ///
    /// # Errors
    /// [`OutOfTurn`] when there is no CONNECT to answer.
    pub fn connected(&mut self, if_name: Name) -> Result<(), OutOfTurn> {
        let State::Attach = self.state else {
            return Err(OutOfTurn { stage: self.stage() });
        };
        self.state = State::Up;
        self.outbox.put(&Message::Connected { if_name }, None);
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

    fn take<F>(&mut self, bytes: &[u8], fd: Option<F>, surplus: usize) -> Result<MasterEvent<F>, PeerFault> {
        let message = receive(bytes, fd.is_some(), surplus, true)?;
        if let Message::Disconnect { code, reason } = message {
            self.state = State::Closed;
            self.outbox.clear();
            return Ok(MasterEvent::Disconnected { code, reason });
        }
        if !self.outbox.is_empty() {
            return Err(unexpected(message.kind(), self.stage()));
        }
        match (self.state, message, fd) {
            (State::AwaitInit, Message::Init(init), _) => self.init(init).map(MasterEvent::Init),
            (State::Setup, Message::AddRegion(region), Some(fd)) => {
                self.add_region(region)?;
                Ok(MasterEvent::Region { index: region.index, size: region.size, fd })
            }
            (State::Setup, Message::AddRing(ring), Some(fd)) => {
                self.add_ring(&ring)?;
                let AddRing { direction, index, region, offset, log2_size, .. } = ring;
                Ok(MasterEvent::Ring { direction, index, region, offset, log2_size, fd })
            }
            (State::Setup, Message::Connect { if_name }, _) => {
                self.connect()?;
                Ok(MasterEvent::Connect { if_name })
            }
            _ => Err(unexpected(message.kind(), self.stage())),
        }
    }

    fn init(&mut self, init: Init) -> Result<Init, PeerFault> {
        if init.version != VERSION {
            let (min, max) = (init.version, init.version);
            return Err(PeerFault::VersionMismatch { min, max, want: VERSION });
        }
        self.state = State::Admission(init);
        Ok(init)
    }

    fn add_region(&mut self, region: AddRegion) -> Result<(), PeerFault> {
        let known = self.known_regions();
        if region.index != known {
            return Err(PeerFault::RegionIndex { got: region.index, want: known });
        }
        let limit = MAX_REGIONS.min(usize::from(self.hello.max_region) + 1);
        let too_many = PeerFault::TooManyRegions { got: u32::from(known) + 1, limit: saturate(limit) };
        if usize::from(known) >= limit {
            return Err(too_many);
        }
        if region.size == 0 || region.size > MAX_REGION_SIZE {
            return Err(PeerFault::RegionSize {
                region: region.index,
                got: region.size,
                limit: MAX_REGION_SIZE,
            });
        }
        self.regions.push(region.size).map_err(|_| too_many)?;
        self.outbox.put(&Message::Ack, None);
        Ok(())
    }

    fn add_ring(&mut self, ring: &AddRing) -> Result<(), PeerFault> {
        let too_many = self.check_ring_turn(ring)?;
        self.check_ring_place(ring)?;
        let span = RingSpan { region: ring.region, log2_size: ring.log2_size, offset: ring.offset };
        if self.s2m_rings.iter().chain(&self.m2s_rings).any(|other| other.overlaps(span)) {
            let AddRing { direction, index, region, offset, .. } = *ring;
            return Err(PeerFault::RingOverlap { direction, index, region, offset });
        }
        let rings = match ring.direction {
            Direction::S2M => &mut self.s2m_rings,
            Direction::M2S => &mut self.m2s_rings,
        };
        rings.push(span).map_err(|_| too_many)?;
        self.outbox.put(&Message::Ack, None);
        Ok(())
    }

    /// Checks that it is this ring's turn, and that there is room; gives the fault to report when there is none.
    fn check_ring_turn(&self, ring: &AddRing) -> Result<PeerFault, PeerFault> {
        let direction = ring.direction;
        let (known, highest, interface) = match direction {
            Direction::S2M => (self.s2m_rings.len(), self.hello.max_s2m_ring, self.s2m_limit),
            Direction::M2S => (self.m2s_rings.len(), self.hello.max_m2s_ring, self.m2s_limit),
        };
        if usize::from(ring.index) != known {
            let want = u16::try_from(known).unwrap_or(u16::MAX);
            return Err(PeerFault::RingIndex { direction, got: ring.index, want });
        }
        let limit = MAX_RINGS.min(usize::from(highest) + 1).min(usize::from(interface));
        let too_many =
            PeerFault::TooManyRings { direction, got: u32::from(ring.index) + 1, limit: saturate(limit) };
        if known < limit { Ok(too_many) } else { Err(too_many) }
    }

    /// Checks that a ring can be where the peer says it is.
    fn check_ring_place(&self, ring: &AddRing) -> Result<(), PeerFault> {
        let AddRing { region, offset, log2_size, .. } = *ring;
        if ring.private_hdr_size != 0 {
            return Err(PeerFault::PrivateHeader { got: ring.private_hdr_size });
        }
        let limit = self.hello.max_log2_ring_size;
        if log2_size == 0 || log2_size > limit {
            return Err(PeerFault::RingSize { log2_size, limit });
        }
        let unknown = PeerFault::UnknownRegion { region, known: self.known_regions() };
        let size = *self.regions.get(usize::from(region)).ok_or(unknown)?;
        if u64::from(offset) % RING_ALIGN as u64 != 0 {
            return Err(PeerFault::RingMisaligned { offset });
        }
        let end = RingSpan { region, log2_size, offset }.end();
        if end > size { Err(PeerFault::RingOutsideRegion { region, end, size }) } else { Ok(()) }
    }

    fn connect(&mut self) -> Result<(), PeerFault> {
        if self.s2m_rings.is_empty() && self.m2s_rings.is_empty() {
            return Err(PeerFault::NoRings);
        }
        self.state = State::Attach;
        Ok(())
    }

    fn known_regions(&self) -> u16 {
        u16::try_from(self.regions.len()).unwrap_or(u16::MAX)
    }
}

/// How many S2M and M2S rings the peer may send, if it may come in.
fn check_admission(init: &Init, admission: Admission<'_>) -> Result<(u16, u16), PeerFault> {
    let id = init.id;
    match admission {
        Admission::Unknown => Err(PeerFault::UnknownId { id }),
        Admission::Busy => Err(PeerFault::AlreadyConnected { id }),
        Admission::Interface { mode, .. } if mode != init.mode => {
            Err(PeerFault::ModeMismatch { got: init.mode, want: mode })
        }
        Admission::Interface { secret, s2m_rings, m2s_rings, .. } => {
            if secret.is_empty() || *secret == init.secret {
                Ok((s2m_rings, m2s_rings))
            } else if init.secret.is_empty() {
                Err(PeerFault::SecretRequired { id })
            } else {
                Err(PeerFault::WrongSecret { id })
            }
        }
    }
}

fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
