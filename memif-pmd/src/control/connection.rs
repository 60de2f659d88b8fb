//! One connection of the control channel: drives a handshake over a socket.

use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use memif_os::seqpacket::{Channel, Incoming, Received, SendOutcome, SocketAddress};
use memif_ring::fault::PeerFault;
use memif_ring::handshake::{
    Admission, AdmitError, HelloParams, MasterEvent, MasterHandshake, SlaveEvent, SlaveHandshake,
    SlaveParams, Stage, Transmit,
};
use memif_ring::layout::MAX_LOG2_RING_SIZE;
use memif_ring::message::{Init, MESSAGE_SIZE, Name, Reason};
use memif_ring::region::MAX_REGIONS;

use super::state::State;
use crate::config::Config;
use crate::error::Disconnect;
use crate::link::{Offer, SlaveMemory};

/// How long a peer may take from the first message to the last.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages read at once, so that a talkative peer leaves time for everybody else.
const READ_BATCH: usize = 16;
/// More than a message, so that a long one is seen to be long.
const BUFFER_SIZE: usize = 2 * MESSAGE_SIZE;

enum Machine {
    /// We are the master.
    Master { handshake: Box<MasterHandshake>, offer: Offer, address: SocketAddress },
    /// We are the slave.
    Slave { handshake: Box<SlaveHandshake>, memory: Option<SlaveMemory> },
}

pub(super) struct Connection {
    pub(super) channel: Channel,
    machine: Machine,
    /// The interface it belongs to; none until the client is admitted to one.
    interface: Option<u64>,
    /// The interface that a client asked for, admitted or not: where its faults are counted.
    asked_for: Option<u64>,
    peer_app_name: Name,
    /// When the handshake must be over; none once the link is up.
    pub(super) deadline: Option<Instant>,
}

impl Connection {
    /// A client has connected: HELLO waits to be sent.
    pub(super) fn to_slave(
        channel: Channel,
        address: SocketAddress,
        (name, s2m_rings, m2s_rings): (Name, u16, u16),
    ) -> Self {
        let hello = HelloParams {
            name,
            #[expect(clippy::cast_possible_truncation, reason = "255")]
            max_region: (MAX_REGIONS - 1) as u16,
            max_m2s_ring: m2s_rings.saturating_sub(1),
            max_s2m_ring: s2m_rings.saturating_sub(1),
            max_log2_ring_size: MAX_LOG2_RING_SIZE,
        };
        let handshake = Box::new(MasterHandshake::new(hello));
        Self::new(channel, Machine::Master { handshake, offer: Offer::default(), address }, None)
    }

    /// We have connected to a master.
    pub(super) fn to_master(channel: Channel, key: u64, config: &Config) -> Result<Self, Disconnect> {
        let params = SlaveParams {
            id: config.id,
            mode: config.mode,
            secret: config.secret,
            name: config.app_name,
            if_name: config.name,
            s2m_rings: config.s2m_rings(),
            m2s_rings: config.m2s_rings(),
            log2_ring_size: config.log2_ring_size,
        };
        let handshake = SlaveHandshake::new(params).map_err(|error| Disconnect::Failed(error.to_string()))?;
        let machine = Machine::Slave { handshake: Box::new(handshake), memory: None };
        Ok(Self::new(channel, machine, Some(key)))
    }

    fn new(channel: Channel, machine: Machine, interface: Option<u64>) -> Self {
        let deadline = Some(Instant::now() + HANDSHAKE_TIMEOUT);
        Self {
            channel,
            machine,
            interface,
            asked_for: None,
            peer_app_name: Name::from_field([0; 32]),
            deadline,
        }
    }

    fn stage(&self) -> Stage {
        match &self.machine {
            Machine::Master { handshake, .. } => handshake.stage(),
            Machine::Slave { handshake, .. } => handshake.stage(),
        }
    }

    /// The fault of a peer that took too long.
    pub(super) fn timeout(&self) -> PeerFault {
        PeerFault::HandshakeTimedOut { stage: self.stage() }
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        match &mut self.machine {
            Machine::Master { handshake, .. } => handshake.poll_transmit(),
            Machine::Slave { handshake, .. } => handshake.poll_transmit(),
        }
    }

    /// Sends what waits to be sent. The protocol answers each message before the next, so a socket that is full means a
    /// peer that does not read.
    pub(super) fn flush(&mut self) -> Result<(), Disconnect> {
        while let Some(Transmit { bytes, fd }) = self.poll_transmit() {
            let fd = match (&self.machine, fd) {
                (Machine::Slave { memory: Some(memory), .. }, Some(token)) => memory.fd(token),
                _ => None,
            };
            match self.channel.send(&bytes, fd) {
                Ok(SendOutcome::Sent) => {}
                Ok(SendOutcome::WouldBlock) => {
                    return Err(Disconnect::Failed("the peer does not read its messages".into()));
                }
                Ok(SendOutcome::Closed) => return Err(Disconnect::Closed),
                Err(error) => return Err(Disconnect::Failed(format!("sending a message: {error}"))),
            }
        }
        Ok(())
    }

    /// Tells the peer why it is over, as far as the socket takes it.
    fn say_goodbye(&mut self, reason: &Disconnect) {
        let (code, text) = match reason {
            Disconnect::Fault(fault) => (0, fault.reason_text()),
            Disconnect::Local(text) => (0, Reason::truncated(text)),
            Disconnect::Failed(_) | Disconnect::TooFewBuffers { .. } | Disconnect::PacketMemoryDamaged => {
                (0, Reason::truncated("The other side could not go on"))
            }
            Disconnect::Peer { .. } | Disconnect::Refused { .. } | Disconnect::Closed => return,
        };
        match &mut self.machine {
            Machine::Master { handshake, .. } => handshake.disconnect(code, text),
            Machine::Slave { handshake, .. } => handshake.disconnect(code, text),
        }
        let _ = self.flush(); // it is over in any case
    }
}

impl State {
    /// Reads what a peer sent.
    pub(super) fn read(&mut self, fd: RawFd) {
        // taken out, as what it says may concern all of our state
        let Some(mut connection) = self.connections.remove(&fd) else { return };
        match self.read_batch(fd, &mut connection) {
            Ok(()) => {
                self.connections.insert(fd, connection);
            }
            Err(reason) => self.close(fd, connection, reason),
        }
    }

    fn read_batch(&mut self, fd: RawFd, connection: &mut Connection) -> Result<(), Disconnect> {
        let mut buffer = [0; BUFFER_SIZE];
        for _ in 0..READ_BATCH {
            let incoming = connection
                .channel
                .recv(&mut buffer)
                .map_err(|error| Disconnect::Failed(format!("receiving a message: {error}")))?;
            let Received { len, truncated, fd: passed, surplus } = match incoming {
                Incoming::Message(received) => received,
                Incoming::WouldBlock => return Ok(()),
                Incoming::Closed => return Err(Disconnect::Closed),
            };
            if truncated && len < BUFFER_SIZE {
                return Err(Disconnect::Failed("descriptors were lost: raise the limit (ulimit -n)".into()));
            }
            let bytes = buffer.get(..len).unwrap_or_default();
            self.handle_message(fd, connection, bytes, passed, surplus)?;
            connection.flush()?;
        }
        Ok(())
    }

    fn handle_message(
        &mut self,
        fd: RawFd,
        connection: &mut Connection,
        bytes: &[u8],
        passed: Option<OwnedFd>,
        surplus: usize,
    ) -> Result<(), Disconnect> {
        match &mut connection.machine {
            Machine::Master { handshake, .. } => {
                let event = handshake.handle(bytes, passed, surplus)?;
                self.on_slave(fd, connection, event)
            }
            Machine::Slave { handshake, .. } => {
                let event = handshake.handle(bytes, passed, surplus)?;
                self.on_master(connection, event)
            }
        }
    }

    /// A slave said something to us, the master.
    fn on_slave(
        &mut self,
        fd: RawFd,
        connection: &mut Connection,
        event: MasterEvent<OwnedFd>,
    ) -> Result<(), Disconnect> {
        let Machine::Master { offer, .. } = &mut connection.machine else { return Ok(()) };
        match event {
            MasterEvent::Init(init) => self.admit(fd, connection, &init),
            MasterEvent::Region { size, fd, .. } => {
                offer.add_region(size, fd);
                Ok(())
            }
            MasterEvent::Ring { direction, index, region, offset, log2_size, fd } => {
                offer.add_ring((direction, index), (region, offset, log2_size), fd);
                Ok(())
            }
            MasterEvent::Connect { if_name } => self.attach(connection, if_name),
            MasterEvent::Disconnected { code, reason } => Err(Disconnect::Peer { code, reason }),
            MasterEvent::Ignored => Ok(()),
        }
    }

    fn admit(&mut self, fd: RawFd, connection: &mut Connection, init: &Init) -> Result<(), Disconnect> {
        let Machine::Master { handshake, address, .. } = &mut connection.machine else { return Ok(()) };
        let address = address.clone();
        let key = self.interface_with_id(&address, init.id);
        connection.asked_for = key;
        let interface = key.and_then(|key| self.interfaces.get_mut(&key));
        if let Some(interface) = &interface {
            check_credentials(&connection.channel, &interface.config)?;
        }
        let admission = match &interface {
            None => Admission::Unknown,
            Some(interface) if interface.connection.is_some() => Admission::Busy,
            Some(interface) => Admission::Interface {
                mode: interface.config.mode,
                secret: &interface.config.secret,
                s2m_rings: interface.config.s2m_rings(),
                m2s_rings: interface.config.m2s_rings(),
            },
        };
        match handshake.admit(admission) {
            Ok(()) => {
                connection.interface = key;
                connection.peer_app_name = init.name;
                if let Some(interface) = interface {
                    interface.connection = Some(fd);
                }
                self.stop_waiting(&address, fd);
                Ok(())
            }
            Err(AdmitError::Refused(fault)) => Err(Disconnect::Fault(fault)),
            Err(AdmitError::OutOfTurn(error)) => Err(Disconnect::Failed(error.to_string())),
        }
    }

    /// CONNECT: maps what was offered and takes up the link.
    fn attach(&mut self, connection: &mut Connection, if_name: Name) -> Result<(), Disconnect> {
        let Some(key) = connection.interface else { return Err(Disconnect::Closed) };
        let Machine::Master { handshake, offer, .. } = &mut connection.machine else { return Ok(()) };
        let config = self.interfaces.get(&key).map(|interface| &interface.config);
        let config = config.ok_or(Disconnect::Local("the interface was deleted"))?;
        let attached = std::mem::take(offer).attach(config, &self.reports.waker)?;
        handshake.connected(config.name).map_err(|error| Disconnect::Failed(error.to_string()))?;
        connection.deadline = None;
        self.link_up(key, attached, if_name, connection.peer_app_name)
    }

    /// A master said something to us, the slave.
    fn on_master(&mut self, connection: &mut Connection, event: SlaveEvent) -> Result<(), Disconnect> {
        let Some(key) = connection.interface else { return Err(Disconnect::Closed) };
        let up = connection.deadline.is_none();
        let Machine::Slave { handshake, memory } = &mut connection.machine else { return Ok(()) };
        match event {
            SlaveEvent::Hello { name } => {
                connection.peer_app_name = name;
                Ok(())
            }
            SlaveEvent::Offer(agreed) => {
                let config = self.interfaces.get(&key).map(|interface| &interface.config);
                let config = config.ok_or(Disconnect::Local("the interface was deleted"))?;
                let allocated = SlaveMemory::allocate(config, &agreed, &self.reports.waker)?;
                handshake
                    .offer(&allocated.region_sizes())
                    .map_err(|error| Disconnect::Failed(error.to_string()))?;
                *memory = Some(allocated);
                Ok(())
            }
            SlaveEvent::Connected { if_name } => {
                let memory = memory.take().ok_or(Disconnect::Closed)?;
                connection.deadline = None;
                self.link_up(key, memory.into_attached(), if_name, connection.peer_app_name)
            }
            SlaveEvent::Disconnected { code, reason } if up => Err(Disconnect::Peer { code, reason }),
            SlaveEvent::Disconnected { code, reason } => Err(Disconnect::Refused { code, reason }),
            SlaveEvent::Progress | SlaveEvent::Ignored => Ok(()),
        }
    }

    /// Ends a connection from our side.
    pub(super) fn hang_up(&mut self, fd: RawFd, reason: Disconnect) {
        if let Some(connection) = self.connections.remove(&fd) {
            self.close(fd, connection, reason);
        }
    }

    fn close(&mut self, fd: RawFd, mut connection: Connection, reason: Disconnect) {
        connection.say_goodbye(&reason);
        self.unwatch(std::os::fd::AsFd::as_fd(&connection.channel));
        if let Machine::Master { address, .. } = &connection.machine {
            let address = address.clone();
            self.stop_waiting(&address, fd);
        }
        match (connection.interface, reason) {
            (Some(key), reason) => self.link_down(key, reason),
            (None, Disconnect::Fault(fault)) => {
                match connection.asked_for.and_then(|key| self.interfaces.get_mut(&key)) {
                    Some(interface) => interface.note_refusal(fault),
                    None => self.note_stranger(fault),
                }
            }
            (None, _) => {}
        }
    }
}

/// Whether a client's process may have the interface at all. Comes before the secret, of which it learns nothing then.
fn check_credentials(channel: &Channel, config: &Config) -> Result<(), Disconnect> {
    if config.allowed.takes_all() {
        return Ok(());
    }
    let credentials =
        channel.peer_credentials().map_err(|error| Disconnect::Failed(format!("credentials: {error}")))?;
    if config.allowed.takes(credentials.uid, credentials.gid) {
        return Ok(());
    }
    Err(PeerFault::NotAllowed { uid: credentials.uid, gid: credentials.gid }.into())
}
