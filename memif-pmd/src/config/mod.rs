//! How an interface is asked for: the builder, its defaults and limits.

mod port;

pub use port::Port;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use memif_os::huge_pages::HugePages;
use memif_os::seqpacket::{SocketAccess, SocketAddress};
use memif_ring::layout::MAX_LOG2_RING_SIZE;
use memif_ring::message::{Mode, Name, Secret, TextError};

use crate::control::{Event, Memif};
use crate::error::Error;
use crate::interface::Interface;
use crate::link::check_wish;
use crate::packet_memory::PacketMemory;

/// Where peers meet when nothing else is said: `/run/vpp/memif.sock` (libmemif.h).
pub const DEFAULT_SOCKET: &str = "/run/vpp/memif.sock";
/// Most queues in one direction; the protocol counts indices from 0 to 255.
pub const MAX_QUEUES: u16 = 256;
/// Least bytes of a packet buffer: one cache line.
pub const MIN_BUFFER_SIZE: u32 = 64;
/// Most bytes of a packet buffer.
pub const MAX_BUFFER_SIZE: u32 = 65535;

/// Which end of the link an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Listens, and maps what the slave brings.
    #[doc(alias = "server")]
    Master,
    /// Connects, and allocates all shared memory.
    #[doc(alias = "client")]
    Slave,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Slave => "slave",
        })
    }
}

/// How a receive queue learns of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RxMode {
    /// By looking: the peer never rings. The fastest, at the price of a core.
    #[default]
    Polling,
    /// By the queue's eventfd: the peer rings for every burst.
    Interrupt,
    /// By looking under load, and by the eventfd while asleep ([`crate::RxQueue::wait`], [`crate::Idle::Sleep`]).
    Adaptive,
}

impl RxMode {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Polling => 0,
            Self::Interrupt => 1,
            Self::Adaptive => 2,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Interrupt,
            2 => Self::Adaptive,
            _ => Self::Polling,
        }
    }
}

impl fmt::Display for RxMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Polling => "polling",
            Self::Interrupt => "interrupt",
            Self::Adaptive => "adaptive",
        })
    }
}

/// What is called with the events of an interface, on the thread that polls the control plane.
pub(crate) type EventHandler = Arc<dyn Fn(&Event) + Send + Sync>;

/// What the control plane does with the eventfds of receive queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupts {
    /// Nothing: they are the data threads'.
    Left,
    /// Reports them, and empties them first.
    Taken,
    /// Reports them for as long as they are readable.
    Pending,
}

/// A checked configuration.
pub(crate) struct Config {
    pub(crate) socket: SocketAddress,
    pub(crate) role: Role,
    pub(crate) id: u32,
    pub(crate) mode: Mode,
    pub(crate) secret: Secret,
    pub(crate) app_name: Name,
    pub(crate) name: Name,
    pub(crate) rx_queues: u16,
    pub(crate) tx_queues: u16,
    pub(crate) log2_ring_size: u8,
    pub(crate) buffer_size: u32,
    pub(crate) huge_pages: HugePages,
    pub(crate) packet_memory: Option<PacketMemory>,
    pub(crate) explicit_posting: bool,
    pub(crate) rx_mode: RxMode,
    /// How long a slave waits between attempts; `None`: until it is asked to.
    pub(crate) reconnect: Option<Duration>,
    pub(crate) interrupts: Interrupts,
    pub(crate) require_seals: bool,
    pub(crate) socket_access: SocketAccess,
    pub(crate) allowed: Allowed,
    pub(crate) on_event: Option<EventHandler>,
}

/// Whose processes a master takes: all, or those of listed users and groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Allowed {
    pub(crate) fn takes_all(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    pub(crate) fn takes(&self, uid: u32, gid: u32) -> bool {
        self.takes_all() || self.uids.contains(&uid) || self.gids.contains(&gid)
    }
}

impl Config {
    /// Rings from slave to master.
    pub(crate) const fn s2m_rings(&self) -> u16 {
        match self.role {
            Role::Master => self.rx_queues,
            Role::Slave => self.tx_queues,
        }
    }

    /// Rings from master to slave.
    pub(crate) const fn m2s_rings(&self) -> u16 {
        match self.role {
            Role::Master => self.tx_queues,
            Role::Slave => self.rx_queues,
        }
    }
}

/// Says what an interface shall be; [`InterfaceBuilder::open`] makes it.
///
/// The defaults are libmemif's: slave, id 0, Ethernet, one queue each way, rings of 1024, buffers of 2048 bytes.
#[derive(Clone)]
#[must_use = "nothing happens until `open`"]
pub struct InterfaceBuilder<'m> {
    memif: &'m Memif,
    socket: String,
    role: Role,
    id: u32,
    mode: Mode,
    secret: Vec<u8>,
    app_name: String,
    name: Option<String>,
    rx_queues: u16,
    tx_queues: u16,
    ring_size: u32,
    buffer_size: u32,
    huge_pages: HugePages,
    packet_memory: Option<PacketMemory>,
    explicit_posting: bool,
    rx_mode: RxMode,
    reconnect: Option<Duration>,
    interrupts: Interrupts,
    require_seals: bool,
    socket_access: SocketAccess,
    allowed: Allowed,
    on_event: Option<EventHandler>,
}

impl<'m> InterfaceBuilder<'m> {
    pub(crate) fn new(memif: &'m Memif, socket: impl Into<String>) -> Self {
        Self {
            memif,
            socket: socket.into(),
            role: Role::Slave,
            id: 0,
            mode: Mode::Ethernet,
            secret: Vec::new(),
            app_name: format!("memif-rs {}", env!("CARGO_PKG_VERSION")),
            name: None,
            rx_queues: 1,
            tx_queues: 1,
            ring_size: 1024,
            buffer_size: 2048,
            huge_pages: HugePages::Prefer,
            packet_memory: None,
            explicit_posting: false,
            rx_mode: RxMode::Polling,
            reconnect: Some(Duration::from_secs(2)),
            interrupts: Interrupts::Left,
            require_seals: false,
            socket_access: SocketAccess::default(),
            allowed: Allowed::default(),
            on_event: None,
        }
    }

    /// Listens on the socket.
    pub fn master(self) -> Self {
        self.role(Role::Master)
    }

    /// Connects to the socket, and tries again for as long as there is no link. The default.
    pub fn slave(self) -> Self {
        self.role(Role::Slave)
    }

    /// Master or slave.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Tells the interfaces of one socket apart; both ends use the same.
    pub fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// What the packets are; both ends use the same. Ethernet by default.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Up to 24 bytes that both ends must know. A master without one takes any slave.
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = secret.as_ref().to_vec();
        self
    }

    /// The program's name for the peer to see, up to 31 bytes; `memif-rs` and its version by default. A listener has one:
    /// that of its oldest interface.
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app_name = name.into();
        self
    }

    /// The interface's name for the peer to see, up to 31 bytes; `memif` and its id by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Queues each way, 1 to 256.
    ///
    /// Masters on one socket should have the same count, as a master tells its limits before a slave says which
    /// interface it wants (protocol section 2): it can only tell the largest of the socket's, and a slave that then offers
    /// more rings than its own interface has queues is refused each time it comes.
    pub fn queues(self, count: u16) -> Self {
        self.rx_queues(count).tx_queues(count)
    }

    /// Queues that we receive on, 1 to 256. A slave gets at most as many as its master has for sending.
    pub fn rx_queues(mut self, count: u16) -> Self {
        self.rx_queues = count;
        self
    }

    /// Queues that we send on, 1 to 256. A slave gets at most as many as its master has for receiving.
    pub fn tx_queues(mut self, count: u16) -> Self {
        self.tx_queues = count;
        self
    }

    /// Descriptors in each ring, a power of two from 2 to 16384. The slave's counts; a master takes any.
    pub fn ring_size(mut self, descriptors: u32) -> Self {
        self.ring_size = descriptors;
        self
    }

    /// Bytes of each packet buffer, 64 to 65535. The slave's counts; a master takes any.
    pub fn buffer_size(mut self, bytes: u32) -> Self {
        self.buffer_size = bytes;
        self
    }

    /// Whether shared memory lies on huge pages; preferred by default. The slave's counts.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Has a slave take its buffers from `memory`, which other interfaces use as well, so that packets can be forwarded
    /// between them in place. Its buffer size counts then, and [`InterfaceBuilder::huge_pages`] for the rings alone.
    pub fn packet_memory(mut self, memory: &PacketMemory) -> Self {
        self.packet_memory = Some(memory.clone());
        self
    }

    /// Leaves the slots of received packets to us until [`crate::RxQueue::post`], rather than giving them back to the
    /// peer by themselves; a slave's peer cannot send anything before the first call.
    pub fn explicit_posting(mut self) -> Self {
        self.explicit_posting = true;
        self
    }

    /// How the receive queues learn of packets at first; polling by default.
    pub fn rx_mode(mut self, mode: RxMode) -> Self {
        self.rx_mode = mode;
        self
    }

    /// How long a slave waits between attempts, 1 ms to 1 day; 2 s by default, as libmemif does.
    pub fn reconnect(mut self, interval: Duration) -> Self {
        self.reconnect = Some(interval);
        self
    }

    /// Has a slave try once when it is opened, and again only when it is told to ([`Interface::request_connection`]).
    pub fn reconnect_on_request(mut self) -> Self {
        self.reconnect = None;
        self
    }

    /// Calls `handler` with each event of the interface, on the thread that polls the control plane and with no lock
    /// held: it may use and drop interfaces, and should not block.
    pub fn on_event(mut self, handler: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(handler));
        self
    }

    /// Has the control plane watch the queues' eventfds and report [`Event::Interrupt`], for programs that receive on
    /// its thread. Without it the eventfds are left to the data threads.
    pub fn notify_interrupts(mut self) -> Self {
        self.interrupts = Interrupts::Taken;
        self
    }

    /// As [`InterfaceBuilder::notify_interrupts`], but leaves the eventfd readable, and so reports it again with every
    /// turn of the control plane, until the receiver calls [`crate::RxQueue::clear_event`] or
    /// [`crate::RxQueue::settle_event`]. Reports nothing of queues whose mode is not [`RxMode::Interrupt`].
    pub fn notify_interrupts_until_cleared(mut self) -> Self {
        self.interrupts = Interrupts::Pending;
        self
    }

    /// Refuses slaves whose shared memory can be cut short under us: it must be sealed with `F_SEAL_SHRINK`, or let
    /// itself be sealed. Without this, memory that cannot be sealed (a zero-copy peer's on huge pages) is taken with a
    /// warning; a peer that then cuts it short loses its link, and the process goes on.
    pub fn require_seals(mut self) -> Self {
        self.require_seals = true;
        self
    }

    /// Mode bits of a master's socket file, such as 0o660; to connect takes the right to write. In force before anyone
    /// can connect. Counts for the interface that makes the listener, the first on its socket. Abstract sockets have
    /// no file: every process of the network namespace can connect to them.
    pub fn socket_mode(mut self, mode: u32) -> Self {
        self.socket_access.mode = Some(mode);
        self
    }

    /// Owner of a master's socket file, as [`InterfaceBuilder::socket_mode`]; `None` leaves it as it is.
    pub fn socket_owner(mut self, uid: Option<u32>, gid: Option<u32>) -> Self {
        self.socket_access.uid = uid;
        self.socket_access.gid = gid;
        self
    }

    /// Has a master take only slaves whose process runs as one of the users so allowed (or groups, see
    /// [`InterfaceBuilder::allow_gid`]), by the credentials that the kernel keeps for the connection.
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.allowed.uids.push(uid);
        self
    }

    /// As [`InterfaceBuilder::allow_uid`], for the process's effective group.
    pub fn allow_gid(mut self, gid: u32) -> Self {
        self.allowed.gids.push(gid);
        self
    }

    /// Checks everything and makes the interface. A slave tries to connect at once; that nobody listens yet is no error.
    ///
    /// # Errors
    /// A number out of range, a name or secret too long, a socket that cannot be used: each names the culprit.
    pub fn open(self) -> Result<Interface, Error> {
        let memif = self.memif;
        Interface::open(memif, self.check()?)
    }

    fn check(self) -> Result<Config, Error> {
        in_range("number of rx queues", self.rx_queues.into(), 1, MAX_QUEUES.into())?;
        in_range("number of tx queues", self.tx_queues.into(), 1, MAX_QUEUES.into())?;
        in_range("ring size", self.ring_size.into(), 2, 1 << MAX_LOG2_RING_SIZE)?;
        in_range("buffer size", self.buffer_size.into(), MIN_BUFFER_SIZE.into(), MAX_BUFFER_SIZE.into())?;
        check_reconnect(self.reconnect)?;
        if !self.ring_size.is_power_of_two() {
            return Err(Error::RingSize { got: self.ring_size });
        }
        if let Some(memory) = &self.packet_memory {
            if self.role == Role::Master {
                return Err(Error::PacketMemoryOfMaster);
            }
            if !memory.belongs_to(self.memif) {
                return Err(Error::ForeignPacketMemory);
            }
        }
        let name = self.name.unwrap_or_else(|| format!("memif{}", self.id));
        let config = Config {
            socket: SocketAddress::new(&self.socket)?,
            role: self.role,
            id: self.id,
            mode: self.mode,
            secret: Secret::new(&self.secret).map_err(text("secret"))?,
            app_name: Name::new(&self.app_name).map_err(text("application name"))?,
            name: Name::new(&name).map_err(text("interface name"))?,
            rx_queues: self.rx_queues,
            tx_queues: self.tx_queues,
            #[expect(clippy::cast_possible_truncation, reason = "below 32")]
            log2_ring_size: self.ring_size.ilog2() as u8,
            buffer_size: self.buffer_size,
            huge_pages: self.huge_pages,
            packet_memory: self.packet_memory,
            explicit_posting: self.explicit_posting,
            rx_mode: self.rx_mode,
            reconnect: self.reconnect,
            interrupts: self.interrupts,
            require_seals: self.require_seals,
            socket_access: self.socket_access,
            allowed: self.allowed,
            on_event: self.on_event,
        };
        check_wish(&config)?;
        Ok(config)
    }
}

pub(crate) fn check_reconnect(interval: Option<Duration>) -> Result<(), Error> {
    let Some(interval) = interval else { return Ok(()) };
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    in_range("reconnect interval in ms", interval, 1, 86_400_000)
}

pub(crate) fn in_range(what: &'static str, got: u64, min: u64, max: u64) -> Result<(), Error> {
    if (min..=max).contains(&got) { Ok(()) } else { Err(Error::OutOfRange { what, got, min, max }) }
}

fn text(what: &'static str) -> impl FnOnce(TextError) -> Error {
    move |error| Error::Text { what, error }
}

impl fmt::Debug for InterfaceBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterfaceBuilder")
            .field("socket", &self.socket)
            .field("role", &self.role)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
