//! The master's side: acknowledges each message, or refuses the peer.

use super::common::{MAX_REGION_SIZE, MAX_RINGS, OutOfTurn, Outbox, Transmit, receive, unexpected};
use super::places::{Places, RingSpan};
use crate::fault::{PeerFault, REFUSED, Stage};
use crate::layout::{MAX_LOG2_RING_SIZE, RING_ALIGN};
use crate::message::{
    AddRegion, AddRing, Direction, Hello, Init, Message, Mode, Name, Reason, Secret, VERSION,
};
use crate::region::MAX_REGIONS;
use heapless::Vec;

/// The contents of the master's HELLO. A peer that exceeds a limit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloParams {
    /// The application's name.
    pub name: Name,
    /// Highest region index accepted. At most [`MAX_REGIONS`] regions are accepted in any case.
    pub max_region: u16,
    /// Highest index of an M2S ring accepted. The interface may accept fewer rings.
    pub max_m2s_ring: u16,
    /// Highest index of an S2M ring accepted. The interface may accept fewer rings.
    pub max_s2m_ring: u16,
    /// Binary logarithm of the largest ring accepted, in descriptors. Clamped to 14.
    pub max_log2_ring_size: u8,
}

impl HelloParams {
    /// The limits of the protocol as every peer in the field announces them: 256 rings in each direction, 256 regions,
    /// rings of 16384 descriptors. HELLO is sent before the client names its interface; what that one does not have is
    /// refused later.
    #[must_use]
    pub const fn most(name: Name) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "255")]
        let (rings, regions) = ((MAX_RINGS - 1) as u16, (MAX_REGIONS - 1) as u16);
        Self {
            name,
            max_region: regions,
            max_m2s_ring: rings,
            max_s2m_ring: rings,
            max_log2_ring_size: MAX_LOG2_RING_SIZE,
        }
    }
}

/// What the driver found for the id of an INIT.
#[derive(Debug, Clone, Copy)]
pub enum Admission<'a> {
    /// No interface has this id.
    Unknown,
    /// The interface is connected to another peer.
    Busy,
    /// The interface is free.
    Interface {
        /// Mode of the interface.
        mode: Mode,
        /// Secret of the interface. If it is empty, any secret is accepted, as DPDK does.
        secret: &'a Secret,
        /// S2M rings accepted, 0 to 256. The peer may offer fewer.
        s2m_rings: u16,
        /// M2S rings accepted, 0 to 256. The peer may offer fewer.
        m2s_rings: u16,
    },
}

/// Why [`MasterHandshake::admit`] did not admit a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// The peer is refused. The handshake is closed.
    #[error(transparent)]
    Refused(PeerFault),
    /// There is no INIT to answer. Nothing has changed.
    #[error(transparent)]
    OutOfTurn(OutOfTurn),
}

/// What the driver has to do after a message from the slave. `F` is the driver's file descriptor type.
#[derive(Debug, PartialEq, Eq)]
pub enum MasterEvent<F> {
    /// Look up the interface, and call [`MasterHandshake::admit`].
    Init(Init),
    /// Keep this region for CONNECT. Its index is the number of regions before it.
    Region {
        /// Index, 0 to 255.
        index: u16,
        /// Size in bytes, 1 to [`MAX_REGION_SIZE`]. The file may be smaller: check it before mapping.
        size: u64,
        /// The memfd.
        fd: F,
    },
    /// Keep this ring for CONNECT. Its geometry is checked: size, alignment, within its region, no overlap with another
    /// ring, all for the shorter layout. Its contents are not.
    Ring {
        /// Direction of its packets.
        direction: Direction,
        /// Index, 0 to 255.
        index: u16,
        /// Index of its region.
        region: u16,
        /// Offset in bytes from the region's start.
        offset: u32,
        /// Binary logarithm of the number of descriptors, 1 to 14.
        log2_size: u8,
        /// The eventfd.
        fd: F,
    },
    /// Map the regions, check the rings' cookies, and call [`MasterHandshake::connected`], or
    /// [`MasterHandshake::refuse`].
    Connect {
        /// The slave's name for its interface.
        if_name: Name,
        /// What the places of the rings tell of their layout. Each layout that it leaves open fits all of them.
        places: Places,
    },
    /// The slave sent DISCONNECT.
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
    AwaitInit,
    Admission(Init),
    Setup,
    Attach,
    Up,
    Closed,
}

/// The master's side of one connection. About 6 KiB: keep it behind a pointer.
///
/// Two regions may be one file, so rings that do not overlap by their numbers may still share bytes. That is harmless:
/// the peer can write those bytes at any time anyway.
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
    /// For a connection that was just accepted. The first message to send is HELLO.
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

    /// The stage of the handshake.
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

    /// Handles one message from the slave. `fd` is the file descriptor on it, `surplus` the number of further
    /// descriptors, which the driver closes.
    ///
    /// # Errors
    /// What the peer did wrong. The handshake is closed, the next message to send is DISCONNECT, and `fd` is dropped.
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
    /// [`AdmitError::OutOfTurn`]: there is no INIT to answer. [`AdmitError::Refused`] with [`PeerFault::UnknownId`],
    /// [`PeerFault::AlreadyConnected`], [`PeerFault::ModeMismatch`], [`PeerFault::SecretRequired`] or
    /// [`PeerFault::WrongSecret`].
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
    /// [`OutOfTurn`]: there is no CONNECT to answer.
    pub fn connected(&mut self, if_name: Name) -> Result<(), OutOfTurn> {
        let State::Attach = self.state else {
            return Err(OutOfTurn { stage: self.stage() });
        };
        self.state = State::Up;
        self.outbox.put(&Message::Connected { if_name }, None);
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
                let places = self.connect()?;
                Ok(MasterEvent::Connect { if_name, places })
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
        let too_many = self.check_ring_index(ring)?;
        self.check_ring_geometry(ring)?;
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

    /// Checks the index of a ring against the rings before it, and against the limits. Returns the fault to report if
    /// there is no room for it.
    fn check_ring_index(&self, ring: &AddRing) -> Result<PeerFault, PeerFault> {
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

    /// Checks the size, alignment and position of a ring.
    fn check_ring_geometry(&self, ring: &AddRing) -> Result<(), PeerFault> {
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

    fn connect(&mut self) -> Result<Places, PeerFault> {
        if self.s2m_rings.is_empty() && self.m2s_rings.is_empty() {
            return Err(PeerFault::NoRings);
        }
        let places = Places::of(self.s2m_rings.iter().chain(&self.m2s_rings).copied(), &self.regions)?;
        self.state = State::Attach;
        Ok(places)
    }

    fn known_regions(&self) -> u16 {
        u16::try_from(self.regions.len()).unwrap_or(u16::MAX)
    }
}

/// The number of S2M and M2S rings that the peer may offer, if it is admitted.
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
