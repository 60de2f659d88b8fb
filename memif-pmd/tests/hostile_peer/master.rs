//! A master by script.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

use memif_os::event::poll_fds;
use memif_os::region_file::{PeerRegion, ShrinkSeal};
use memif_os::socket::{Listener, SocketAddress};
use memif_ring::message::{
    AddRegion, AddRing, Direction, Hello, Message, MessageKind, Name, Reason, VERSION,
};

use super::VICTIM;
use super::memory::RingFile;
use super::slave::init;
use super::wire::Wire;
use crate::common::{PATIENCE, line};

/// How far the handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Connected, and nothing said.
    Accepted,
    /// HELLO sent, INIT there.
    Init,
    /// INIT answered, the region there.
    Region,
    /// All answered, CONNECT there.
    Connect,
    Up,
}

impl Step {
    pub(crate) const ALL: [Self; 5] = [Self::Accepted, Self::Init, Self::Region, Self::Connect, Self::Up];
}

pub(crate) struct ScriptedListener(Listener);

impl ScriptedListener {
    pub(crate) fn new(socket: &str) -> Self {
        Self(Listener::bind(&SocketAddress::new(socket).unwrap(), 16).unwrap())
    }

    pub(crate) fn accept(&self) -> Wire {
        assert!(poll_fds(&[self.0.as_fd()], Some(PATIENCE)).unwrap() > 0, "no slave comes");
        Wire::new(self.0.accept().unwrap().unwrap())
    }

    /// The next slave, up to a step.
    pub(crate) fn until(&self, step: Step) -> ScriptedMaster {
        let mut master = ScriptedMaster::on(self.accept());
        master.run(step);
        master
    }
}

impl AsFd for ScriptedListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) struct ScriptedMaster {
    pub(crate) wire: Wire,
    region: Option<Mapped>,
    /// The file of the packet memory, if the slave has any.
    packets: Option<File>,
    pub(crate) rings: Vec<(AddRing, OwnedFd)>,
    /// Before each message of its own.
    pub(crate) pause: Duration,
}

/// The slave's region, mapped as any master maps it. Once the link is up its file takes no writes, and the mapping does: it
/// is written to as the memory of this process that it is.
pub(crate) struct Mapped {
    pub(crate) file: File,
    _map: PeerRegion,
    /// The memory of this process.
    pub(crate) memory: File,
    /// Where in it the region begins.
    pub(crate) start: u64,
}

impl Mapped {
    pub(crate) fn new(file: OwnedFd, bytes: u64) -> Self {
        let map = PeerRegion::map(&file, bytes, ShrinkSeal::Require).unwrap();
        let memory = File::options().read(true).write(true).open("/proc/self/mem").unwrap();
        let start = map.as_ptr().addr().get() as u64;
        Self { file: file.into(), _map: map, memory, start }
    }
}

impl ScriptedMaster {
    /// A slave has connected, and nothing was said.
    pub(crate) fn on(wire: Wire) -> Self {
        Self { wire, region: None, packets: None, rings: Vec::new(), pause: Duration::ZERO }
    }

    /// Goes from the beginning up to a step.
    pub(crate) fn run(&mut self, step: Step) {
        for next in Step::ALL.into_iter().filter(|next| *next <= step) {
            self.take(next);
        }
    }

    fn say(&self, message: &Message) {
        thread::sleep(self.pause);
        self.wire.send(message, &[]);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Accepted => {}
            Step::Init => {
                self.say(&Message::Hello(hello()));
                self.wire.expect(MessageKind::Init);
            }
            Step::Region => {
                self.say(&Message::Ack);
                let (Message::AddRegion(AddRegion { size, .. }), Some(fd)) =
                    self.wire.expect(MessageKind::AddRegion)
                else {
                    panic!("a region without its file");
                };
                self.region = Some(Mapped::new(fd, size));
            }
            Step::Connect => self.take_rings(),
            Step::Up => self.say(&connected()),
        }
    }

    fn take_rings(&mut self) {
        loop {
            self.say(&Message::Ack);
            match self.wire.hear() {
                // packet memory, behind the rings' own region
                Some((Message::AddRegion(_), Some(fd))) => self.packets = Some(fd.into()),
                Some((Message::AddRing(ring), Some(fd))) => self.rings.push((ring, fd)),
                Some((Message::Connect { .. }, None)) => return,
                other => panic!("neither ADD_RING nor CONNECT: {other:?}"),
            }
        }
    }

    /// The first ring of a direction.
    pub(crate) fn ring(&self, direction: Direction) -> RingFile<'_> {
        let (ring, _) = self.rings.iter().find(|(ring, _)| ring.direction == direction).unwrap();
        let Mapped { memory, start, .. } = self.region.as_ref().unwrap();
        RingFile { file: memory, line: line(), at: start + u64::from(ring.offset), size: 1 << ring.log2_size }
    }

    pub(crate) fn event(&self, direction: Direction) -> &OwnedFd {
        &self.rings.iter().find(|(ring, _)| ring.direction == direction).unwrap().1
    }

    /// The file of the slave's region.
    pub(crate) fn file(&self) -> &File {
        &self.region.as_ref().unwrap().file
    }

    /// The file of its packet memory.
    pub(crate) fn packets(&self) -> &File {
        self.packets.as_ref().unwrap()
    }

    /// Writes to the slave's region.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) {
        let Mapped { memory, start, .. } = self.region.as_ref().unwrap();
        memory.write_all_at(bytes, start + offset).unwrap();
    }

    /// Reads from the slave's region.
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) {
        let Mapped { memory, start, .. } = self.region.as_ref().unwrap();
        memory.read_exact_at(bytes, start + offset).unwrap();
    }
}

pub(crate) fn hello() -> Hello {
    Hello {
        name: Name::new("scripted").unwrap(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 255,
        max_m2s_ring: 255,
        max_s2m_ring: 255,
        max_log2_ring_size: 14,
    }
}

pub(crate) fn connected() -> Message {
    Message::Connected { if_name: Name::new("scripted0").unwrap() }
}

/// A message of each kind, as a master might send it.
pub(crate) fn one_of_each() -> [Message; 8] {
    let if_name = Name::new("any").unwrap();
    let ring = AddRing {
        direction: Direction::S2M,
        index: 0,
        region: 0,
        offset: 0,
        log2_size: 4,
        private_hdr_size: 0,
    };
    [
        Message::Ack,
        Message::Hello(hello()),
        Message::Init(init(VICTIM)),
        Message::AddRegion(AddRegion { index: 0, size: 4096 }),
        Message::AddRing(ring),
        Message::Connect { if_name },
        Message::Connected { if_name },
        Message::Disconnect { code: 3, reason: Reason::truncated("enough") },
    ]
}
