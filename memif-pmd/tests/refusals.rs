//! What a refused peer is told, and the number that the reason has, in both roles.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::{PATIENCE, address, events, exchange, next};
use memif_os::event::{EventFd, poll_fds};
use memif_os::huge_pages::HugePages;
use memif_os::region_file::RegionFile;
use memif_os::socket::{Channel, Incoming, Listener, SendOutcome, SocketAddress};
use memif_pmd::{Disconnect, Event, FaultKind, Interface, Memif, Mode};
use memif_ring::message::{
    AddRegion, AddRing, Direction, Hello, Init, MESSAGE_SIZE, Message, Name, Reason, Secret, VERSION,
};

const SHORT: Duration = Duration::from_millis(5);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn init(id: u32) -> Message {
    let secret = Secret::default();
    Message::Init(Init { version: VERSION, id, mode: Mode::Ethernet, secret, name: name("mischief") })
}

fn region(index: u16, size: u64) -> Message {
    Message::AddRegion(AddRegion { index, size })
}

fn ring(index: u16, region: u16, offset: u32, log2_size: u8) -> Message {
    Message::AddRing(AddRing {
        direction: Direction::S2M,
        index,
        region,
        offset,
        log2_size,
        private_hdr_size: 0,
    })
}

/// A message and the descriptor on it.
type Said<'a> = (Message, Option<BorrowedFd<'a>>);

/// What a client says first, the bytes that it is refused for and their descriptor, and the refusal by kind.
type Case<'a> = (&'a [Said<'a>], &'a [u8], Option<BorrowedFd<'a>>, FaultKind);

/// The other end of a control channel, by hand.
struct Wire(Channel);

impl Wire {
    fn connect(socket: &str) -> Self {
        Self(Channel::connect(&SocketAddress::new(socket).unwrap()).unwrap())
    }

    fn send(&self, bytes: &[u8], fd: Option<BorrowedFd<'_>>) {
        assert_eq!(self.0.send(bytes, fd).unwrap(), SendOutcome::Sent);
    }

    /// The next message; none at the end.
    fn receive(&mut self) -> Option<Message> {
        let mut buffer = [0; 2 * MESSAGE_SIZE];
        assert_eq!(poll_fds(&[self.0.as_fd()], Some(PATIENCE)).unwrap(), 1, "nothing came");
        match self.0.recv(&mut buffer).unwrap() {
            Incoming::Message(received) => Some(Message::parse(&buffer[..received.len]).unwrap()),
            Incoming::Closed => None,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a message that is answered with ACK.
    fn say(&mut self, message: &Message, fd: Option<BorrowedFd<'_>>) {
        self.send(&message.emit(), fd);
        assert_eq!(self.receive(), Some(Message::Ack));
    }

    /// The reason of the DISCONNECT that comes, and then the end.
    fn refusal(&mut self) -> String {
        let Some(Message::Disconnect { reason, .. }) = self.receive() else { panic!("no refusal") };
        assert_eq!(self.receive(), None);
        reason.to_string()
    }
}

/// A master, and what happens to it.
struct Master {
    memif: Memif,
    interface: Interface,
    socket: String,
    seen: Receiver<Event>,
}

impl Master {
    fn new() -> Self {
        let memif = Memif::start().unwrap();
        let (socket, (handler, seen)) = (address(), events());
        let interface = memif.interface(&socket).master().secret("").on_event(handler).open().unwrap();
        Self { memif, interface, socket, seen }
    }

    /// A client that has said `before`, each with its descriptor, and was answered.
    fn client(&self, before: &[Said<'_>]) -> Wire {
        let mut wire = Wire::connect(&self.socket);
        assert!(matches!(wire.receive(), Some(Message::Hello(_))));
        for (message, fd) in before {
            wire.say(message, *fd);
        }
        wire
    }

    /// The kind of fault that ended the attempt.
    fn fault(&self) -> FaultKind {
        let Event::ConnectFailed(reason) = next(&self.seen) else { panic!() };
        let Disconnect::Fault(fault) = &reason else { panic!("{reason}") };
        assert_eq!(self.interface.details().unwrap().last_disconnect, Some(reason.clone()));
        fault.kind()
    }
}

#[test]
fn offers_that_cannot_be_are_refused_each_with_its_reason() {
    let master = Master::new();
    let file = RegionFile::create("mischief", 1 << 16, HugePages::Off).unwrap();
    let event = EventFd::new().unwrap();
    let devnull = File::open("/dev/null").unwrap();
    let (memory, event) = (Some(file.as_fd()), Some(event.as_fd()));
    let admitted = (init(0), None);
    let offered = (region(0, 1 << 16), memory);
    let connect = Message::Connect { if_name: name("mischief") };
    let unknown = [99; MESSAGE_SIZE];

    let cases: [Case<'_>; 14] = [
        (&[admitted], &unknown, None, FaultKind::UnknownType),
        (&[admitted], &connect.emit()[..100], None, FaultKind::ShortMessage),
        (&[admitted], &[0; 200], None, FaultKind::LongMessage),
        (&[admitted], &Message::Ack.emit(), None, FaultKind::UnexpectedMessage),
        (&[admitted], &connect.emit(), None, FaultKind::NoRings),
        (&[admitted], &region(0, 4096).emit(), None, FaultKind::FdMissing),
        (&[admitted, offered], &ring(0, 0, 0, 4).emit(), None, FaultKind::FdMissing),
        (&[admitted], &region(3, 4096).emit(), memory, FaultKind::RegionIndex),
        (&[admitted], &connect.emit(), memory, FaultKind::FdUnexpected),
        (&[admitted, offered], &ring(0, 0, 0, 15).emit(), event, FaultKind::RingSize),
        (&[admitted, offered], &ring(0, 1, 0, 4).emit(), event, FaultKind::UnknownRegion),
        (&[admitted, offered], &ring(0, 0, 65504, 4).emit(), event, FaultKind::RingOutsideRegion),
        (
            &[admitted, offered, (ring(0, 0, 0, 4), event)],
            &ring(1, 0, 8192, 4).emit(),
            event,
            FaultKind::TooManyRings,
        ),
        (&[admitted, offered, (ring(0, 0, 0, 4), event)], &connect.emit(), None, FaultKind::BadCookie),
    ];
    for (before, bytes, fd, kind) in cases {
        let mut wire = master.client(before);
        wire.send(bytes, fd);
        let reason = wire.refusal();
        assert!(!reason.is_empty());
        assert_eq!(master.fault(), kind, "{reason}");
    }
    for (size, fd, kind) in [
        (1 << 17, memory, FaultKind::RegionTooSmall),
        (4096, Some(devnull.as_fd()), FaultKind::RegionUnmappable),
    ] {
        let mut wire = master.client(&[admitted, (region(0, size), fd), (ring(0, 0, 0, 4), event)]);
        wire.send(&connect.emit(), None);
        wire.refusal();
        assert_eq!(master.fault(), kind);
    }
    let counted: u64 = master.interface.details().unwrap().faults().map(|(_, count)| count).sum();
    assert_eq!(counted, 16);
    // and the interface is as good as ever
    let slave = master.memif.interface(&master.socket).reconnect(SHORT).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    exchange((&mut slave.tx(0).unwrap(), &mut master.interface.rx(0).unwrap()), 0..100, 60..=60);
}

#[test]
fn a_link_ends_with_the_words_of_the_peer() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let listener = Listener::bind(&SocketAddress::new(&socket).unwrap(), 8).unwrap();
    let (handler, seen) = events();
    let _slave = memif.interface(&socket).reconnect(SHORT).on_event(handler).open().unwrap();
    for (reason, printed) in [("no more, thanks", "no more, thanks"), ("bell \x07", "bell \\x07")] {
        assert_eq!(poll_fds(&[listener.as_fd()], Some(PATIENCE)).unwrap(), 1);
        let wire = Wire(listener.accept().unwrap().unwrap());
        let reason = Reason::truncated(reason);
        wire.send(&Message::Disconnect { code: 42, reason }.emit(), None);
        let Event::ConnectFailed(refusal) = next(&seen) else { panic!() };
        assert_eq!(refusal, Disconnect::Refused { code: 42, reason });
        assert_eq!(refusal.to_string(), format!("the peer refused: {printed} (code 42)"));
    }
    // and one that only hangs up
    assert_eq!(poll_fds(&[listener.as_fd()], Some(PATIENCE)).unwrap(), 1);
    drop(listener.accept().unwrap());
    assert_eq!(next(&seen), Event::ConnectFailed(Disconnect::Closed));
}

#[test]
fn a_master_that_talks_nonsense_is_refused() {
    let memif = Memif::start().unwrap();
    let socket = address();
    let listener = Listener::bind(&SocketAddress::new(&socket).unwrap(), 8).unwrap();
    let (handler, seen) = events();
    let _slave = memif.interface(&socket).reconnect(SHORT).on_event(handler).open().unwrap();
    let hello = Hello {
        name: name("nonsense"),
        min_version: VERSION,
        max_version: VERSION,
        max_region: u16::MAX,
        max_m2s_ring: u16::MAX,
        max_s2m_ring: u16::MAX,
        max_log2_ring_size: u8::MAX,
    };
    let newer = Message::Hello(Hello { min_version: 0x0300, max_version: 0x0400, ..hello });
    for (bytes, kind) in [
        (newer.emit(), FaultKind::VersionMismatch),
        (Message::Ack.emit(), FaultKind::UnexpectedMessage),
        ([7; MESSAGE_SIZE], FaultKind::UnknownType),
    ] {
        assert_eq!(poll_fds(&[listener.as_fd()], Some(PATIENCE)).unwrap(), 1);
        let mut wire = Wire(listener.accept().unwrap().unwrap());
        wire.send(&bytes, None);
        let Event::ConnectFailed(reason) = next(&seen) else { panic!() };
        assert!(matches!(&reason, Disconnect::Fault(fault) if fault.kind() == kind), "{reason}");
        assert!(matches!(wire.receive(), Some(Message::Disconnect { .. })));
    }
    // limits that are absurd, and harmless: the slave takes what it wants of them
    assert_eq!(poll_fds(&[listener.as_fd()], Some(PATIENCE)).unwrap(), 1);
    let mut wire = Wire(listener.accept().unwrap().unwrap());
    wire.send(&Message::Hello(hello).emit(), None);
    assert!(matches!(wire.receive(), Some(Message::Init(_))));
    wire.send(&Message::Ack.emit(), None);
    assert!(matches!(wire.receive(), Some(Message::AddRegion(AddRegion { index: 0, .. }))));
}
