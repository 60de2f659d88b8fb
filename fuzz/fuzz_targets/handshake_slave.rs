//! A slave that is told anything in any order, by its peer and by its driver: it takes what the protocol allows, refuses
//! everything else, offers each region and ring once and in order, agrees to no more than the master takes, keeps no
//! file descriptor, and stays closed once it is.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_fuzz::draft::{Damage, Draft, Due, Size, Table, secret};
use memif_fuzz::memory::line_of;
use memif_ring::fault::PeerFault;
use memif_ring::handshake::{
    FdToken, MAX_REGION_SIZE, Negotiated, OfferError, SlaveEvent, SlaveHandshake, SlaveParams, Stage,
};
use memif_ring::message::{AddRegion, Direction, Hello, Init, Message, Mode, Name, Reason, VERSION};

#[derive(Arbitrary, Debug)]
struct Input {
    rings: (u16, u16),
    log2_size: u8,
    secret: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Hear {
        draft: Draft,
        damage: Damage,
        promptly: bool,
    },
    /// The next thing that is due, done right, so many times.
    GoOn {
        times: u8,
    },
    Poll,
    Offer {
        count: u16,
        first: Size,
        others: Size,
    },
    Refuse,
    Disconnect {
        code: u32,
    },
}

struct Run {
    slave: SlaveHandshake,
    params: SlaveParams,
    table: Table,
    stage: Stage,
    /// What has to come out of `poll_transmit`.
    waiting: Option<(Message, Option<FdToken>)>,
    agreed: Option<Negotiated>,
    /// What is still to be offered, last first.
    plan: Vec<(Message, Option<FdToken>)>,
}

impl Run {
    fn new(input: &Input) -> Option<Self> {
        let params = SlaveParams {
            id: 7,
            mode: Mode::Ethernet,
            secret: secret(input.secret),
            name: Name::truncated("fuzz"),
            if_name: Name::truncated("fuzz0"),
            s2m_rings: input.rings.0,
            m2s_rings: input.rings.1,
            log2_ring_size: input.log2_size % 128,
            line: line_of(input.log2_size),
        };
        let sane = input.rings != (0, 0)
            && input.rings.0.max(input.rings.1) <= 256
            && (1..=14).contains(&params.log2_ring_size);
        let slave = SlaveHandshake::new(params);
        assert_eq!(slave.is_ok(), sane);
        let (table, stage) = (Table::default(), Stage::AwaitHello);
        Some(Self { slave: slave.ok()?, params, table, stage, waiting: None, agreed: None, plan: Vec::new() })
    }

    /// Whether the protocol lets this message through now.
    fn allowed(&self, message: &Message, fds: usize) -> bool {
        if fds > 0 {
            return false;
        }
        match (self.stage, message) {
            (_, Message::Disconnect { .. }) => true,
            _ if self.waiting.is_some() => false,
            (Stage::AwaitHello, Message::Hello(hello)) => {
                (hello.min_version..=hello.max_version).contains(&VERSION) && hello.max_log2_ring_size > 0
            }
            (Stage::AwaitAdmission | Stage::Offering, Message::Ack) => true,
            (Stage::AwaitConnected, Message::Connected { .. }) => true,
            _ => false,
        }
    }

    fn hear(&mut self, bytes: &[u8], fds: usize) {
        let message = Message::parse(bytes);
        let fd = (fds > 0).then(|| self.table.open());
        let allowed = message.as_ref().is_ok_and(|message| self.allowed(message, fds));
        let event = self.slave.handle(bytes, fd, fds.saturating_sub(1));
        match (event, message) {
            (Ok(SlaveEvent::Ignored), _) => assert_eq!(self.stage, Stage::Closed),
            (Err(fault), _) => {
                assert!(!allowed && self.stage != Stage::Closed, "{fault}");
                self.close(1, fault.reason_text());
            }
            (Ok(event), Ok(message)) => {
                assert!(allowed && self.stage != Stage::Closed, "{event:?}");
                self.took(event, &message);
            }
            (Ok(event), Err(fault)) => panic!("{event:?} in spite of {fault}"),
        }
    }

    fn took(&mut self, event: SlaveEvent, message: &Message) {
        match (event, message) {
            (SlaveEvent::Hello { name }, Message::Hello(hello)) => {
                assert_eq!(name, hello.name);
                self.agreed_on(hello);
            }
            (SlaveEvent::Offer(agreed), Message::Ack) => {
                assert_eq!(self.stage, Stage::AwaitAdmission);
                self.check_agreed(&agreed);
                self.agreed = Some(agreed);
                self.stage = Stage::Allocate;
            }
            (SlaveEvent::Progress, Message::Ack) => {
                assert_eq!(self.stage, Stage::Offering);
                self.next_step();
            }
            (SlaveEvent::Connected { if_name }, Message::Connected { if_name: said }) => {
                assert_eq!(if_name, *said);
                self.stage = Stage::Up;
            }
            (SlaveEvent::Disconnected { code, reason }, _) => {
                assert_eq!(*message, Message::Disconnect { code, reason });
                self.stage = Stage::Closed;
                self.waiting = None;
            }
            (event, message) => panic!("{event:?} for {message:?}"),
        }
    }

    /// Cuts our wishes down to what the master takes; sums in 32 bits, as a peer may send 0xFFFF.
    fn agreed_on(&mut self, hello: &Hello) {
        let SlaveParams { id, mode, secret, name, .. } = self.params;
        let at_most = |wish: u16, highest: u16| u32::from(wish).min(u32::from(highest) + 1) as u16;
        self.params.s2m_rings = at_most(self.params.s2m_rings, hello.max_s2m_ring);
        self.params.m2s_rings = at_most(self.params.m2s_rings, hello.max_m2s_ring);
        self.params.log2_ring_size = self.params.log2_ring_size.min(hello.max_log2_ring_size);
        self.plan.clear();
        let highest = usize::from(hello.max_region) + 1;
        self.plan.resize(highest.min(256), (Message::Ack, None));
        self.stage = Stage::AwaitAdmission;
        self.waiting = Some((Message::Init(Init { version: VERSION, id, mode, secret, name }), None));
    }

    fn check_agreed(&self, agreed: &Negotiated) {
        assert_eq!(agreed.line(), self.params.line);
        let header = 2 * self.params.line.bytes() as u32;
        let want = (self.params.s2m_rings, self.params.m2s_rings, self.params.log2_ring_size);
        assert_eq!((agreed.s2m_rings(), agreed.m2s_rings(), agreed.log2_ring_size()), want);
        assert_eq!(agreed.max_regions(), self.plan.len());
        // rings lie one behind the other
        let mut end = 0;
        for (direction, count) in [(Direction::S2M, want.0), (Direction::M2S, want.1)] {
            for index in 0..count {
                let offset = agreed.ring_offset(direction, index).unwrap();
                assert!(offset >= end && offset.is_multiple_of(128));
                end = offset + header + (16 << want.2);
            }
            assert_eq!(agreed.ring_offset(direction, count), None);
        }
        assert!(u64::from(end) <= agreed.rings_size());
        assert!(agreed.rings_size() < u64::from(end) + 128);
    }

    fn offer(&mut self, regions: &[u64]) {
        let result = self.slave.offer(regions);
        let Some(agreed) = self.agreed.filter(|_| self.stage == Stage::Allocate) else {
            return assert!(matches!(result, Err(OfferError::OutOfTurn(turn)) if turn.stage == self.stage));
        };
        let sane = (1..=agreed.max_regions()).contains(&regions.len())
            && regions.iter().all(|size| (1..=MAX_REGION_SIZE).contains(size))
            && regions[0] >= agreed.rings_size();
        assert_eq!(result.is_ok(), sane, "{result:?}");
        if !sane {
            return;
        }
        let rings = |direction, count| {
            (0..count).map(move |index| (Some(FdToken::Ring(direction, index)), direction, index))
        };
        let rings =
            rings(Direction::S2M, agreed.s2m_rings()).chain(rings(Direction::M2S, agreed.m2s_rings()));
        let connect = (Message::Connect { if_name: self.params.if_name }, None);
        self.plan = (0..)
            .zip(regions)
            .map(|(index, size)| (region(index, *size), Some(FdToken::Region(index))))
            .collect();
        self.plan.extend(rings.map(|(fd, direction, index)| (ring(&agreed, direction, index), fd)));
        self.plan.push(connect);
        self.plan.reverse();
        self.next_step();
    }

    fn next_step(&mut self) {
        self.waiting = self.plan.pop();
        self.stage = if self.plan.is_empty() { Stage::AwaitConnected } else { Stage::Offering };
    }

    fn close(&mut self, code: u32, reason: Reason) {
        if self.stage != Stage::Closed {
            self.stage = Stage::Closed;
            self.waiting = Some((Message::Disconnect { code, reason }, None));
        }
    }

    fn poll(&mut self) {
        let sent = self.slave.poll_transmit();
        let sent = sent.map(|transmit| (Message::parse(&transmit.bytes).unwrap(), transmit.fd));
        assert_eq!(sent, self.waiting.take());
    }

    fn go_on(&mut self) {
        self.poll();
        let message = match self.stage {
            Stage::AwaitHello => {
                let most = Draft::Hello { versions: None, regions: 255, rings: (255, 255), log2_size: 14 };
                most.message(Due::default())
            }
            Stage::Allocate => return self.offer(&[1 << 28, 4096]),
            Stage::AwaitConnected => Message::Connected { if_name: self.params.if_name },
            _ => Message::Ack,
        };
        self.hear(&message.emit(), 0);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Hear { draft, damage, promptly } => {
                if *promptly {
                    self.poll();
                }
                let message = draft.message(Due::default());
                self.hear(&damage.bytes(&message.emit()), damage.fds(0));
            }
            Step::GoOn { times } => (0..=*times).for_each(|_| {
                if !matches!(self.stage, Stage::Up | Stage::Closed) {
                    self.go_on();
                }
            }),
            Step::Poll => self.poll(),
            Step::Offer { count, first, others } => {
                let mut regions = vec![others.bytes(); usize::from(count % 260)];
                regions.iter_mut().take(1).for_each(|size| *size = first.bytes());
                self.offer(&regions);
            }
            Step::Refuse => {
                let fault = PeerFault::HandshakeTimedOut { stage: self.stage };
                self.slave.refuse(fault);
                self.close(1, fault.reason_text());
            }
            Step::Disconnect { code } => {
                let reason = Reason::truncated("enough");
                self.slave.disconnect(*code, reason);
                self.close(*code, reason);
            }
        }
        assert_eq!(self.slave.stage(), self.stage);
        assert_eq!(self.table.count(), 0, "a slave keeps no file descriptor");
    }
}

fn region(index: u16, size: u64) -> Message {
    Message::AddRegion(AddRegion { index, size })
}

fn ring(agreed: &Negotiated, direction: Direction, index: u16) -> Message {
    Message::AddRing(memif_ring::message::AddRing {
        direction,
        index,
        region: 0,
        offset: agreed.ring_offset(direction, index).unwrap(),
        log2_size: agreed.log2_ring_size(),
        private_hdr_size: 0,
    })
}

fuzz_target!(|input: Input| {
    let Some(mut run) = Run::new(&input) else { return };
    input.steps.iter().take(256).for_each(|step| run.step(step));
    run.poll();
    assert_eq!(run.slave.poll_transmit(), None);
});
