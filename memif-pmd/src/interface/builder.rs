//! The builder of interfaces: its defaults, and the checks before an interface is opened.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use memif_os::huge_pages::HugePages;
use memif_os::socket::{NetNamespace, SocketAccess, SocketAddress};
use memif_ring::layout::{LineSize, MAX_LOG2_RING_SIZE};
use memif_ring::message::{Mode, Name, Secret, TextError};

use super::Interface;
use crate::config::{
    Allowed, Config, EventHandler, Interrupts, MemoryRequest, PacketLayout, PacketSource, Role, RxMode,
    Timeouts,
};
use crate::control::Memif;
use crate::error::Error;
use crate::event::Event;
use crate::limits::{MAX_BUFFER_SIZE, MAX_QUEUES, MIN_BUFFER_SIZE, check_reconnect, check_timeout, in_range};
use crate::link::slave::check_wish;
use crate::packet_memory::{PacketMemory, PacketMemoryBuilder};

/// The default socket of VPP and libmemif.
pub const DEFAULT_SOCKET: &str = "/run/vpp/memif.sock";

impl Memif {
    /// Starts the description of an interface on a socket. The address is a path of up to 107 bytes, or `@` and a name in
    /// the abstract namespace, to which every process of the network namespace can connect.
    pub fn interface(&self, socket: impl Into<String>) -> InterfaceBuilder<'_> {
        InterfaceBuilder::new(self, socket)
    }

    /// Starts the description of packet memory that slave interfaces of this control plane share: see [`PacketMemory`].
    pub fn packet_memory(&self) -> PacketMemoryBuilder {
        PacketMemoryBuilder::new(self.alarm())
    }
}

/// Describes an interface; [`InterfaceBuilder::open`] creates it.
///
/// Defaults are those of libmemif: slave, id 0, Ethernet, no secret, one queue each way, rings of 1024 descriptors, buffers
/// of 2048 bytes, reconnection after 2 s. Both ends must agree in id, mode and secret. Ring size, buffer size and huge
/// pages are the slave's choice: a master ignores its own.
#[derive(Clone)]
#[must_use = "nothing happens until `open`"]
pub struct InterfaceBuilder<'m> {
    memif: &'m Memif,
    socket: String,
    netns: Option<String>,
    role: Role,
    id: u32,
    mode: Mode,
    secret: SecretSource,
    app_name: String,
    name: Option<String>,
    rx_queues: u16,
    tx_queues: u16,
    ring_size: u32,
    line_size: LineSize,
    packet_layout: PacketLayout,
    buffer_size: u32,
    huge_pages: HugePages,
    packet_memory: PacketSource,
    explicit_posting: bool,
    rx_mode: RxMode,
    reconnect: Option<Duration>,
    timeouts: Timeouts,
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
            netns: None,
            role: Role::Slave,
            id: 0,
            mode: Mode::Ethernet,
            secret: SecretSource::Bytes(Vec::new()),
            app_name: format!("memif-rs {}", env!("CARGO_PKG_VERSION")),
            name: None,
            rx_queues: 1,
            tx_queues: 1,
            ring_size: 1024,
            line_size: LineSize::NATIVE,
            packet_layout: PacketLayout::Packed,
            buffer_size: 2048,
            huge_pages: HugePages::Prefer,
            packet_memory: PacketSource::Link,
            explicit_posting: false,
            rx_mode: RxMode::Polling,
            reconnect: Some(Duration::from_secs(2)),
            timeouts: Timeouts::DEFAULT,
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

    /// Connects to the socket, and repeats that while there is no link. The default.
    pub fn slave(self) -> Self {
        self.role(Role::Slave)
    }

    /// Master or slave.
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// The network namespace in which the socket is bound or connected, and abstract names are looked up: the path of its
    /// file, a name of `ip netns`, or the id of a process in it (digits). By default that of the calling thread, or of the
    /// control thread for later attempts of a slave.
    ///
    /// A short-lived thread enters the namespace; all other threads stay in theirs. That takes `CAP_SYS_ADMIN` in the user
    /// namespace that the network namespace belongs to and in that of this process. The namespace of a process also takes the
    /// right to trace that process. A slave whose namespace is missing, or may not be entered, tries again like one whose
    /// master is missing.
    pub fn netns(mut self, namespace: impl Into<String>) -> Self {
        self.netns = Some(namespace.into());
        self
    }

    /// Identifies the interface among those on one socket; the same on both ends. 0 by default.
    pub fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// What the packets are; the same on both ends. Ethernet by default.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The secret, up to 24 bytes, the same on both ends. Empty means none: such a master accepts any slave.
    pub fn secret(mut self, secret: impl AsRef<[u8]>) -> Self {
        self.secret = SecretSource::Bytes(secret.as_ref().to_vec());
        self
    }

    /// A file with the secret, read by [`InterfaceBuilder::open`]: 1 to 24 bytes, without the newline that may follow them.
    pub fn secret_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.secret = SecretSource::File(path.into());
        self
    }

    /// Name of this program as the peer sees it, up to 31 bytes; `memif-rs` and its version by default. A listener
    /// announces the name of its oldest interface.
    pub fn app_name(mut self, name: impl Into<String>) -> Self {
        self.app_name = name.into();
        self
    }

    /// Name of the interface as the peer sees it, up to 31 bytes; `memif` and its id by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Number of queues each way, 1 to 256. A link has the smaller number of both ends.
    ///
    /// A master learns of the slave's number when the slave offers its rings, and refuses those that it has no queue for. Our
    /// slave then connects again with fewer; VPP, DPDK and libmemif do not, and need at most as many queues as their master
    /// (docs/protocol.md, section 2.4).
    pub fn queues(self, count: u16) -> Self {
        self.rx_queues(count).tx_queues(count)
    }

    /// Number of receive queues, 1 to 256. The link of a slave has at most as many as its master has transmit queues.
    pub fn rx_queues(mut self, count: u16) -> Self {
        self.rx_queues = count;
        self
    }

    /// Number of transmit queues, 1 to 256. The link of a slave has at most as many as its master has receive queues.
    pub fn tx_queues(mut self, count: u16) -> Self {
        self.tx_queues = count;
        self
    }

    /// Number of descriptors of each ring, a power of two from 2 to 16384. Ignored by a master.
    pub fn ring_size(mut self, descriptors: u32) -> Self {
        self.ring_size = descriptors;
        self
    }

    /// The cache lines that a slave lays its rings out for: 64 or 128 bytes, by default what libmemif is built with for this
    /// architecture (128 on aarch64, otherwise 64). A memif-pmd master detects the size by
    /// itself; for every other known master it must be the size that the master was built with. Ignored by a master.
    pub fn line_size(mut self, line: LineSize) -> Self {
        self.line_size = line;
        self
    }

    /// Where a slave puts the packets that it sends: by default one behind the other, which is faster with every peer known.
    /// Queues whose buffers a program claims or exchanges ([`raw`](crate::raw)), and slaves with packet memory, have
    /// [`PacketLayout::Fixed`] in any case; [`QueueDetails::packet_layout`](crate::QueueDetails::packet_layout) says which is
    /// in force. Ignored by a master.
    pub fn packet_layout(mut self, layout: PacketLayout) -> Self {
        self.packet_layout = layout;
        self
    }

    /// Bytes of each packet buffer, 64 to 65535. Larger packets use several buffers. Ignored by a master.
    pub fn buffer_size(mut self, bytes: u32) -> Self {
        self.buffer_size = bytes;
        self
    }

    /// Whether shared memory is allocated on huge pages; preferred by default. Ignored by a master.
    pub fn huge_pages(mut self, huge_pages: HugePages) -> Self {
        self.huge_pages = huge_pages;
        self
    }

    /// Takes the buffers of a slave from `memory`, which other interfaces use as well, so that packets can be forwarded
    /// between them without a copy. The buffer size is then that of `memory`, and [`InterfaceBuilder::huge_pages`] applies
    /// to the rings alone.
    pub fn packet_memory(mut self, memory: &PacketMemory) -> Self {
        self.packet_memory = PacketSource::Shared(memory.clone());
        self
    }

    /// Asks `provide` for the packet memory of each link of a slave, when the master's limits are known. It runs without a
    /// lock on the thread that polls, and must not block. The link has the memory until [`Event::PacketMemoryReturned`];
    /// if `provide` fails, the attempt fails and is repeated. Use it for memory that exists only while its link does.
    pub fn packet_memory_by(
        mut self,
        provide: impl Fn(MemoryRequest) -> Result<PacketMemory, Box<dyn std::error::Error + Send + Sync>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.packet_memory = PacketSource::Provided(Arc::new(provide));
        self
    }

    /// Keeps the slots of received packets until they are posted with [`RawRx::post`](crate::raw::RawRx::post), for use with
    /// [`raw`](crate::raw); without this, they return to the peer when their packets are released. The peer of a slave cannot
    /// send before the first `post`.
    pub fn explicit_posting(mut self) -> Self {
        self.explicit_posting = true;
        self
    }

    /// How the receive queues learn of packets until [`Interface::set_rx_mode`]; polling by default.
    pub fn rx_mode(mut self, mode: RxMode) -> Self {
        self.rx_mode = mode;
        self
    }

    /// How long a slave waits at most between attempts to connect, 1 ms to 1 day; 2 s by default. It also tries when its
    /// peer has ended a link and when the master's socket file appears (docs/protocol.md, section 2.6).
    pub fn reconnect(mut self, interval: Duration) -> Self {
        self.reconnect = Some(interval);
        self
    }

    /// Makes a slave connect once when it is opened, and then only on [`Interface::request_connection`].
    pub fn reconnect_on_request(mut self) -> Self {
        self.reconnect = None;
        self
    }

    /// How long a peer may be silent during the handshake, 1 ms to 1 hour; 10 s by default. Then the connection is closed
    /// with [`PeerFault::HandshakeTimedOut`](crate::PeerFault::HandshakeTimedOut). A client that has not named an interface
    /// has 5 s for that, whatever the interfaces say.
    pub fn silence_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.silence = timeout;
        self
    }

    /// How long a whole handshake may take, 1 ms to 1 hour; 60 s by default. Then the connection is closed with
    /// [`PeerFault::HandshakeTimedOut`](crate::PeerFault::HandshakeTimedOut), even if the peer has answered each message in time.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.handshake = timeout;
        self
    }

    /// Calls `handler` with each event of the interface, on the thread that polls the control plane and with no lock
    /// held: it may use and drop interfaces, and should not block.
    pub fn on_event(mut self, handler: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Arc::new(handler));
        self
    }

    /// Makes the control plane watch the queues' eventfds and report [`Event::Interrupt`], for programs that receive on
    /// its thread. By default, the eventfds are left to the data threads.
    pub fn notify_interrupts(mut self) -> Self {
        self.interrupts = Interrupts::Taken;
        self
    }

    /// Makes the control plane report [`Event::Interrupt`] without draining the eventfd: each poll reports it again, until
    /// the receiver calls [`crate::RxQueue::clear_event`] or [`RawRx::settle_event`](crate::raw::RawRx::settle_event). Only
    /// for queues in [`RxMode::Interrupt`].
    pub fn notify_interrupts_until_cleared(mut self) -> Self {
        self.interrupts = Interrupts::Pending;
        self
    }

    /// Makes a master refuse slaves whose shared memory can shrink: its files must have `F_SEAL_SHRINK`, or allow this
    /// process to add it. By default, files that cannot be sealed (such as huge pages of a DPDK peer in zero-copy mode) are
    /// accepted with a warning; if the peer shrinks one, its link ends.
    pub fn require_seals(mut self) -> Self {
        self.require_seals = true;
        self
    }

    /// Mode bits of a master's socket file, such as 0o660, in effect before the first client can connect. A client needs
    /// write permission. Only for the first interface on a socket, which creates the file; abstract sockets have none.
    pub fn socket_mode(mut self, mode: u32) -> Self {
        self.socket_access.mode = Some(mode);
        self
    }

    /// Owner and group of a master's socket file, like [`InterfaceBuilder::socket_mode`]; `None` for no change.
    pub fn socket_owner(mut self, uid: Option<u32>, gid: Option<u32>) -> Self {
        self.socket_access.uid = uid;
        self.socket_access.gid = gid;
        self
    }

    /// Allows only peers that run as this user, or as another user or group that is allowed with this call or
    /// [`InterfaceBuilder::allow_gid`]; by default, everybody. Checks the credentials that the kernel has stored for the
    /// connection: a master those of the slave's process when it connected, a slave those of the master's process when it
    /// began to listen (of systemd, where that made the socket), before it sends the secret or any memory.
    ///
    /// A peer that is not allowed is refused with [`PeerFault::NotAllowed`](crate::PeerFault::NotAllowed); a slave tries
    /// again after its interval.
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.allowed.uids.push(uid);
        self
    }

    /// Like [`InterfaceBuilder::allow_uid`], for the effective group of the peer's process.
    pub fn allow_gid(mut self, gid: u32) -> Self {
        self.allowed.gids.push(gid);
        self
    }

    /// Creates the interface. A slave connects at once and repeats that until it succeeds: a master that does not listen yet
    /// is not an error.
    ///
    /// # Errors
    /// - [`Error::OutOfRange`], [`Error::RingSize`], [`Error::TooMuchMemory`], [`Error::Text`], [`Error::SecretFile`]: a
    ///   setting.
    /// - [`Error::PacketMemoryOfMaster`], [`Error::ForeignPacketMemory`]: the packet memory does not fit the interface.
    /// - [`Error::NoNamespace`]: the name of the network namespace; also [`Error::NamespaceRight`] for a master.
    /// - [`Error::Address`], [`Error::NoDirectory`], [`Error::Permission`], [`Error::NotAMemifSocket`],
    ///   [`Error::AddressInUse`], [`Error::IdInUse`]: the socket of a master.
    /// - [`Error::OutOfDescriptors`], [`Error::System`]: the kernel refused something.
    /// - [`Error::Deleted`]: the control plane has ended.
    pub fn open(self) -> Result<Interface, Error> {
        let memif = self.memif;
        Interface::open(memif, self.check()?)
    }

    fn check_packet_memory(&self) -> Result<(), Error> {
        match &self.packet_memory {
            PacketSource::Link => Ok(()),
            _ if self.role == Role::Master => Err(Error::PacketMemoryOfMaster),
            PacketSource::Shared(memory) if !memory.reports_to(self.memif.alarm()) => {
                Err(Error::ForeignPacketMemory)
            }
            _ => Ok(()),
        }
    }

    fn check(self) -> Result<Config, Error> {
        in_range("number of rx queues", self.rx_queues.into(), 1, MAX_QUEUES.into())?;
        in_range("number of tx queues", self.tx_queues.into(), 1, MAX_QUEUES.into())?;
        in_range("ring size", self.ring_size.into(), 2, 1 << MAX_LOG2_RING_SIZE)?;
        in_range("buffer size", self.buffer_size.into(), MIN_BUFFER_SIZE.into(), MAX_BUFFER_SIZE.into())?;
        check_reconnect(self.reconnect)?;
        check_timeout("silence timeout in ms", self.timeouts.silence)?;
        check_timeout("handshake timeout in ms", self.timeouts.handshake)?;
        if !self.ring_size.is_power_of_two() {
            return Err(Error::RingSize { got: self.ring_size });
        }
        self.check_packet_memory()?;
        let name = self.name.unwrap_or_else(|| format!("memif{}", self.id));
        let config = Config {
            socket: address(&self.socket, self.netns.as_deref())?,
            role: self.role,
            id: self.id,
            mode: self.mode,
            secret: self.secret.read()?,
            app_name: Name::new(&self.app_name).map_err(text("application name"))?,
            name: Name::new(&name).map_err(text("interface name"))?,
            rx_queues: self.rx_queues,
            tx_queues: self.tx_queues,
            #[expect(clippy::cast_possible_truncation, reason = "below 32")]
            log2_ring_size: self.ring_size.ilog2() as u8,
            line: self.line_size,
            packet_layout: self.packet_layout,
            buffer_size: self.buffer_size,
            huge_pages: self.huge_pages,
            packet_memory: self.packet_memory,
            explicit_posting: self.explicit_posting,
            rx_mode: self.rx_mode,
            reconnect: self.reconnect,
            timeouts: self.timeouts,
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

fn address(socket: &str, netns: Option<&str>) -> Result<SocketAddress, Error> {
    let address = SocketAddress::new(socket).map_err(Error::address)?;
    match netns {
        None => Ok(address),
        Some(name) => Ok(address.in_namespace(NetNamespace::new(name).map_err(Error::namespace)?)),
    }
}

/// Where the secret comes from.
#[derive(Clone)]
enum SecretSource {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl SecretSource {
    fn read(&self) -> Result<Secret, Error> {
        let secret = match self {
            Self::Bytes(secret) => secret.clone(),
            Self::File(path) => {
                read_secret(path).map_err(|error| Error::SecretFile { path: path.clone(), error })?
            }
        };
        Secret::new(secret).map_err(text("secret"))
    }
}

fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    let mut secret = Vec::new();
    // more than the longest secret with its newline, so that a longer one is rejected
    File::open(path)?.take(64).read_to_end(&mut secret)?;
    if secret.ends_with(b"\n") {
        secret.pop();
    }
    if secret.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is empty"));
    }
    Ok(secret)
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
