//! A master that is told anything in any order, by its peer and by its driver: it takes what the protocol allows and
//! refuses everything else, and never loses a file descriptor, exceeds a limit, has two messages to send, or comes back
//! from being closed.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_fuzz::draft::{Damage, Draft, Due, Fd, Table, secret};
use memif_ring::fault::PeerFault;
use memif_ring::handshake::{
    Admission, AdmitError, HelloParams, MAX_REGION_SIZE, MasterEvent, MasterHandshake, Places, Stage,
};
use memif_ring::layout::LineSize;
use memif_ring::message::{AddRing, Direction, Init, Message, Mode, Name, Reason, VERSION};

#[derive(Arbitrary, Debug)]
struct Input {
    max_region: u16,
    max_rings: (u16, u16),
    max_log2: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Hear {
        draft: Draft,
        damage: Damage,
        promptly: bool,
    },
    /// The next thing that is due, done right.
    GoOn {
        ring: bool,
    },
    Poll,
    Admit {
        answer: u8,
        mode: u8,
        secret: u8,
        rings: (u16, u16),
    },
    Connected,
    Refuse,
    Disconnect {
        code: u32,
    },
}

/// What the driver is left with: everything that the handshake let through.
struct Run {
    master: MasterHandshake,
    params: HelloParams,
    table: Table,
    stage: Stage,
    /// What has to come out of `poll_transmit`.
    waiting: Option<Message>,
    asked: Option<Init>,
    limits: (u16, u16),
    regions: Vec<u64>,
    rings: Vec<AddRing>,
    fds: Vec<Fd>,
}

impl Run {
    fn new(input: &Input) -> Self {
        let params = HelloParams {
            name: Name::truncated("fuzz"),
            max_region: input.max_region,
            max_m2s_ring: input.max_rings.0,
            max_s2m_ring: input.max_rings.1,
            max_log2_ring_size: input.max_log2,
        };
        let mut master = MasterHandshake::new(params);
        let hello = master.poll_transmit().and_then(|transmit| Message::parse(&transmit.bytes).ok());
        let Some(Message::Hello(hello)) = hello else { panic!("{hello:?} in place of HELLO") };
        assert_eq!((hello.min_version, hello.max_version), (VERSION, VERSION));
        assert_eq!((hello.max_m2s_ring, hello.max_s2m_ring), input.max_rings);
        assert!(hello.max_log2_ring_size <= 14);
        Self {
            master,
            params,
            table: Table::default(),
            stage: Stage::AwaitInit,
            waiting: None,
            asked: None,
            limits: (0, 0),
            regions: Vec::new(),
            rings: Vec::new(),
            fds: Vec::new(),
        }
    }

    fn rings_of(&self, direction: Direction) -> usize {
        self.rings.iter().filter(|ring| ring.direction == direction).count()
    }

    fn due(&self) -> Due {
        let end = |ring: &AddRing| ring.offset.wrapping_add(128 + (16 << ring.log2_size));
        let in_first = self.rings.iter().filter(|ring| ring.region == 0);
        Due {
            region: self.regions.len() as u16,
            s2m: self.rings_of(Direction::S2M) as u16,
            m2s: self.rings_of(Direction::M2S) as u16,
            offset: in_first.map(end).max().unwrap_or(0),
        }
    }

    /// Whether the protocol lets this message through now.
    fn allowed(&self, message: &Message, fds: usize) -> bool {
        if fds != usize::from(message.kind().carries_fd()) {
            return false;
        }
        if let Message::Disconnect { .. } = message {
            return true;
        }
        self.waiting.is_none()
            && match (self.stage, message) {
                (Stage::AwaitInit, Message::Init(init)) => init.version == VERSION,
                (Stage::Setup, Message::AddRegion(region)) => {
                    let known = self.regions.len();
                    usize::from(region.index) == known
                        && known < 256
                        && region.index <= self.params.max_region
                        && (1..=MAX_REGION_SIZE).contains(&region.size)
                }
                (Stage::Setup, Message::AddRing(ring)) => self.ring_allowed(ring),
                (Stage::Setup, Message::Connect { .. }) => !self.rings.is_empty() && self.places().is_some(),
                _ => false,
            }
    }

    fn ring_allowed(&self, ring: &AddRing) -> bool {
        let (limit, highest) = match ring.direction {
            Direction::S2M => (self.limits.0, self.params.max_s2m_ring),
            Direction::M2S => (self.limits.1, self.params.max_m2s_ring),
        };
        let bytes = |ring: &AddRing| {
            let start = u128::from(ring.offset);
            start..start + 128 + (16u128 << ring.log2_size)
        };
        let Some(size) = self.regions.get(usize::from(ring.region)) else { return false };
        usize::from(ring.index) == self.rings_of(ring.direction)
            && ring.index < limit.min(256)
            && ring.index <= highest
            && ring.private_hdr_size == 0
            && (1..=self.params.max_log2_ring_size.min(14)).contains(&ring.log2_size)
            && ring.offset.is_multiple_of(16)
            && bytes(ring).end <= u128::from(*size)
            && self.rings.iter().filter(|other| other.region == ring.region).all(|other| {
                let (a, b) = (bytes(ring), bytes(other));
                a.end <= b.start || b.end <= a.start
            })
    }

    /// What the places of the rings tell of their layout; `None` if that is a contradiction.
    fn places(&self) -> Option<Places> {
        let (mut narrow, mut wide, mut fills, mut strange) = (false, false, false, None);
        for ring in &self.rings {
            let behind =
                self.rings.iter().filter(|other| other.region == ring.region && other.offset > ring.offset);
            let next = behind.map(|other| other.offset).min();
            let room =
                next.map_or(self.regions[usize::from(ring.region)], u64::from) - u64::from(ring.offset);
            let bytes = 256 + (16u64 << ring.log2_size);
            match next {
                _ if room < bytes => narrow = true,
                Some(_) if room == bytes || room == bytes.next_multiple_of(128) => wide = true,
                Some(next) => {
                    let AddRing { region, offset, .. } = *ring;
                    strange = Some(PeerFault::RingLayoutUnknown { region, offset, next });
                }
                None => fills |= room == bytes,
            }
        }
        Some(match (narrow, wide, strange) {
            (true, true, _) => return None,
            (true, false, _) => Places::Tell(LineSize::Bytes64),
            (false, true, _) => Places::Tell(LineSize::Bytes128),
            (false, false, Some(fault)) => Places::LeaveOpen { otherwise: Err(fault) },
            (false, false, None) if fills => Places::LeaveOpen { otherwise: Ok(LineSize::Bytes128) },
            (false, false, None) => Places::LeaveOpen { otherwise: Ok(LineSize::Bytes64) },
        })
    }

    fn hear(&mut self, bytes: &[u8], fds: usize) {
        let message = Message::parse(bytes);
        let fd = (fds > 0).then(|| self.table.open());
        let allowed = message.as_ref().is_ok_and(|message| self.allowed(message, fds));
        let event = self.master.handle(bytes, fd, fds.saturating_sub(1));
        match (event, message) {
            (Ok(MasterEvent::Ignored), _) => assert_eq!(self.stage, Stage::Closed),
            (Err(fault), _) => {
                assert!(!allowed && self.stage != Stage::Closed, "{fault}");
                self.refused(fault);
            }
            (Ok(event), Ok(message)) => {
                assert!(allowed && self.stage != Stage::Closed, "{event:?}");
                self.took(event, &message);
            }
            (Ok(event), Err(fault)) => panic!("{event:?} in spite of {fault}"),
        }
    }

    fn refused(&mut self, fault: PeerFault) {
        self.stage = Stage::Closed;
        self.waiting = Some(Message::Disconnect { code: 1, reason: fault.reason_text() });
    }

    fn took(&mut self, event: MasterEvent<Fd>, message: &Message) {
        match (event, *message) {
            (MasterEvent::Init(event), Message::Init(init)) => {
                assert_eq!(event, init);
                self.asked = Some(init);
                self.stage = Stage::Admission;
            }
            (MasterEvent::Region { index, size, fd }, Message::AddRegion(region)) => {
                assert_eq!((index, size), (region.index, region.size));
                self.regions.push(size);
                self.fds.push(fd);
                self.waiting = Some(Message::Ack);
            }
            (
                MasterEvent::Ring { direction, index, region, offset, log2_size, fd },
                Message::AddRing(ring),
            ) => {
                assert_eq!(
                    ring,
                    AddRing { direction, index, region, offset, log2_size, private_hdr_size: 0 }
                );
                self.rings.push(ring);
                self.fds.push(fd);
                self.waiting = Some(Message::Ack);
            }
            (MasterEvent::Connect { if_name, places }, Message::Connect { if_name: said }) => {
                assert_eq!(if_name, said);
                match (places, self.places().unwrap()) {
                    (Places::LeaveOpen { otherwise: Err(_) }, Places::LeaveOpen { otherwise: Err(_) }) => {}
                    (places, expected) => assert_eq!(places, expected),
                }
                self.stage = Stage::Attach;
            }
            (MasterEvent::Disconnected { code, reason }, Message::Disconnect { .. }) => {
                assert_eq!(*message, Message::Disconnect { code, reason });
                self.stage = Stage::Closed;
                self.waiting = None;
            }
            (event, message) => panic!("{event:?} for {message:?}"),
        }
    }

    fn poll(&mut self) {
        let sent = self.master.poll_transmit().map(|transmit| {
            assert_eq!(transmit.fd, None);
            Message::parse(&transmit.bytes).unwrap()
        });
        assert_eq!(sent, self.waiting.take());
    }

    fn admit(&mut self, answer: u8, mode: Mode, own: u8, rings: (u16, u16)) {
        let own = secret(own);
        let interface = Admission::Interface { mode, secret: &own, s2m_rings: rings.0, m2s_rings: rings.1 };
        let admission = match answer % 8 {
            0 => Admission::Unknown,
            1 => Admission::Busy,
            _ => interface,
        };
        let result = self.master.admit(admission);
        let Some(init) = self.asked.filter(|_| self.stage == Stage::Admission) else {
            return assert!(matches!(result, Err(AdmitError::OutOfTurn(turn)) if turn.stage == self.stage));
        };
        let welcome = answer % 8 > 1 && init.mode == mode && (own.is_empty() || own == init.secret);
        match result {
            Ok(()) => {
                assert!(welcome);
                self.stage = Stage::Setup;
                self.limits = rings;
                self.waiting = Some(Message::Ack);
            }
            Err(AdmitError::Refused(fault)) => {
                assert!(!welcome, "{fault}");
                self.refused(fault);
            }
            Err(AdmitError::OutOfTurn(turn)) => panic!("{turn}"),
        }
    }

    fn connected(&mut self) {
        let if_name = Name::truncated("fuzz0");
        let result = self.master.connected(if_name);
        if self.stage == Stage::Attach {
            assert_eq!(result, Ok(()));
            self.stage = Stage::Up;
            self.waiting = Some(Message::Connected { if_name });
        } else {
            assert_eq!(result.map_err(|turn| turn.stage), Err(self.stage));
        }
    }

    fn go_on(&mut self, ring: bool) {
        self.poll();
        let draft = match self.stage {
            Stage::AwaitInit => Message::Init(Init {
                version: VERSION,
                id: 0,
                mode: Mode::Ethernet,
                secret: secret(0),
                name: Name::truncated("fuzz"),
            }),
            Stage::Admission => return self.admit(2, Mode::Ethernet, 0, (300, 2)),
            Stage::Setup if self.regions.is_empty() => {
                Message::AddRegion(memif_ring::message::AddRegion { index: 0, size: MAX_REGION_SIZE })
            }
            Stage::Setup if ring || self.rings.is_empty() => Message::AddRing(AddRing {
                direction: Direction::S2M,
                index: self.due().s2m,
                region: 0,
                offset: self.due().offset,
                log2_size: 1,
                private_hdr_size: 0,
            }),
            Stage::Setup => Message::Connect { if_name: Name::truncated("fuzz0") },
            _ => return self.connected(),
        };
        let fds = usize::from(draft.kind().carries_fd());
        self.hear(&draft.emit(), fds);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Hear { draft, damage, promptly } => {
                if *promptly {
                    self.poll();
                }
                let message = draft.message(self.due());
                let fds = damage.fds(usize::from(message.kind().carries_fd()));
                self.hear(&damage.bytes(&message.emit()), fds);
            }
            Step::GoOn { ring } => self.go_on(*ring),
            Step::Poll => self.poll(),
            Step::Admit { answer, mode, secret, rings } => {
                self.admit(*answer, Mode::ALL[usize::from(mode % 4) % 3], *secret, *rings);
            }
            Step::Connected => self.connected(),
            Step::Refuse => {
                let fault = PeerFault::HandshakeTimedOut { stage: self.stage };
                self.master.refuse(fault);
                if self.stage != Stage::Closed {
                    self.refused(fault);
                }
            }
            Step::Disconnect { code } => {
                let reason = Reason::truncated("enough");
                self.master.disconnect(*code, reason);
                if self.stage != Stage::Closed {
                    self.stage = Stage::Closed;
                    self.waiting = Some(Message::Disconnect { code: *code, reason });
                }
            }
        }
        assert_eq!(self.master.stage(), self.stage);
        assert_eq!(self.table.count(), self.fds.len(), "a file descriptor was lost, or kept");
    }
}

fuzz_target!(|input: Input| {
    let mut run = Run::new(&input);
    for step in input.steps.iter().take(1024) {
        run.step(step);
    }
    run.poll();
    assert_eq!(run.master.poll_transmit(), None);
});
