//! One connection: a socket to one peer and the handshake on it. It decides what to answer; it waits for nothing, and
//! knows neither the control plane's tables nor its lock.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use memif_os::socket::{Channel, Credentials, SendOutcome, SocketAddress};
use memif_ring::fault::{PeerFault, REFUSED};
use memif_ring::handshake::{
    Admission, AdmitError, HelloParams, MasterEvent, MasterHandshake, SlaveEvent, SlaveHandshake,
    SlaveParams, Stage, Transmit,
};
use memif_ring::message::{Direction, Name, Reason};

use super::queues::Queues;
use super::turn::{ConnectionId, PeerNames, Step};
use crate::background::Owner;
use crate::config::Config;
use crate::error::Disconnect;
use crate::link::master::{Offer, PeerFd};
use crate::link::slave::{SlaveMemory, Spare};
use crate::quota::Quota;
use crate::reaper::Reaped;

/// The interface that a connection belongs to.
#[derive(Clone)]
pub(super) struct Admitted {
    pub(super) key: u64,
    pub(super) config: Arc<Config>,
    pub(super) queues: Arc<Queues>,
}

enum Machine {
    /// We are the master.
    Master { handshake: Box<MasterHandshake>, offer: Offer, listener: SocketAddress },
    /// We are the slave.
    Slave { handshake: Box<SlaveHandshake>, memory: Option<SlaveMemory>, peer: Credentials },
}

pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// Whose threads of the reaper close what this peer sent.
    pub(super) owner: Owner,
    pub(super) channel: Reaped<Channel>,
    machine: Machine,
    /// None until a client is admitted to an interface.
    pub(super) admitted: Option<Admitted>,
    /// The interface that a client asked for, admitted or not: where its faults are counted.
    pub(super) asked_for: Option<u64>,
    pub(super) names: PeerNames,
    /// The registry watches its descriptor.
    pub(super) watched: bool,
    pub(super) is_up: bool,
    /// The master has taken up the link, and our ends of the rings are being built. What it says meanwhile comes after
    /// that: a link that is ended at once was up.
    pub(super) starting: bool,
    /// How the peer ended the connection while it was starting.
    pub(super) ended: Option<Disconnect>,
}

impl Connection {
    /// A client has connected: HELLO waits to be sent.
    pub(super) fn to_slave(
        id: ConnectionId,
        channel: Channel,
        (listener, strangers): (SocketAddress, Owner),
        name: Name,
    ) -> Self {
        let handshake = Box::new(MasterHandshake::new(HelloParams::most(name)));
        let machine = Machine::Master { handshake, offer: Offer::default(), listener };
        Self::new(id, strangers, channel, machine, None)
    }

    /// We have connected to a master.
    pub(super) fn to_master(
        id: ConnectionId,
        channel: Channel,
        admitted: Admitted,
        (s2m_rings, m2s_rings): (u16, u16),
    ) -> Result<Self, Disconnect> {
        let config = &admitted.config;
        let params = SlaveParams {
            id: config.id,
            mode: config.mode,
            secret: config.secret,
            name: config.app_name,
            if_name: config.name,
            s2m_rings,
            m2s_rings,
            log2_ring_size: config.log2_ring_size,
            line: config.line,
        };
        let handshake = SlaveHandshake::new(params).map_err(failed)?;
        let peer = channel.peer_credentials().map_err(failed)?;
        let machine = Machine::Slave { handshake: Box::new(handshake), memory: None, peer };
        Ok(Self::new(id, Owner::Interface(admitted.key), channel, machine, Some(admitted)))
    }

    fn new(
        id: ConnectionId,
        owner: Owner,
        channel: Channel,
        machine: Machine,
        admitted: Option<Admitted>,
    ) -> Self {
        let asked_for = admitted.as_ref().map(|admitted| admitted.key);
        Self {
            id,
            owner,
            channel: Reaped::descriptor(owner, channel),
            machine,
            admitted,
            asked_for,
            names: PeerNames::none(),
            watched: false,
            is_up: false,
            starting: false,
            ended: None,
        }
    }

    /// The listener that the client came from; none for a slave's connection.
    pub(super) fn listener(&self) -> Option<&SocketAddress> {
        match &self.machine {
            Machine::Master { listener, .. } => Some(listener),
            Machine::Slave { .. } => None,
        }
    }

    /// Whether a slave's interface may have this process as its master. The credentials are those that the kernel kept when
    /// the socket began to listen, so whoever has taken the address is found out.
    pub(super) fn check_master(&self) -> Result<(), PeerFault> {
        match (self.master_process(), &self.admitted) {
            (Some(process), Some(admitted)) => admitted.config.allowed.check(process),
            _ => Ok(()),
        }
    }

    /// The process on the other side of a slave's connection.
    pub(super) fn master_process(&self) -> Option<Credentials> {
        match &self.machine {
            Machine::Master { .. } => None,
            Machine::Slave { peer, .. } => Some(*peer),
        }
    }

    /// The number of rings in one direction that the master accepts, if it has refused one more.
    pub(super) fn ring_limit(&self) -> Option<(Direction, u16)> {
        match &self.machine {
            Machine::Master { .. } => None,
            Machine::Slave { handshake, .. } => handshake.refused_ring(),
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

    /// Takes a message and its descriptors.
    pub(super) fn handle(
        &mut self,
        bytes: &[u8],
        fd: Option<PeerFd>,
        surplus: usize,
    ) -> Result<Step, Disconnect> {
        match &mut self.machine {
            Machine::Master { handshake, .. } => {
                let event = handshake.handle(bytes, fd, surplus)?;
                self.on_slave(event)
            }
            Machine::Slave { handshake, .. } => {
                let event = handshake.handle(bytes, fd, surplus)?;
                self.on_master(event)
            }
        }
    }

    /// A slave has sent something to us, the master.
    fn on_slave(&mut self, event: MasterEvent<PeerFd>) -> Result<Step, Disconnect> {
        let Machine::Master { offer, .. } = &mut self.machine else { return Ok(Step::Wait) };
        match event {
            MasterEvent::Init(init) => return Ok(Step::Admit(init)),
            MasterEvent::Region { size, fd, .. } => offer.add_region(size, fd)?,
            MasterEvent::Ring { direction, index, region, offset, log2_size, fd } => {
                offer.add_ring((direction, index), (region, offset, log2_size), fd);
            }
            MasterEvent::Connect { if_name, places } => {
                self.names.interface = if_name;
                return Ok(Step::Map(places));
            }
            MasterEvent::Disconnected { code, reason } => return Err(Disconnect::Peer { code, reason }),
            MasterEvent::Ignored => {}
        }
        Ok(Step::Wait)
    }

    /// A master has sent something to us, the slave.
    fn on_master(&mut self, event: SlaveEvent) -> Result<Step, Disconnect> {
        match event {
            SlaveEvent::Hello { name } => self.names.app = name,
            SlaveEvent::Offer(agreed) => return Ok(Step::Allocate(agreed)),
            SlaveEvent::Connected { if_name } => {
                self.names.interface = if_name;
                return Ok(Step::Start);
            }
            SlaveEvent::Disconnected { code, reason } if self.is_up || self.starting => {
                return Err(Disconnect::Peer { code, reason });
            }
            SlaveEvent::Disconnected { code, reason } => return Err(Disconnect::Refused { code, reason }),
            SlaveEvent::Progress | SlaveEvent::Ignored => {}
        }
        Ok(Step::Wait)
    }

    /// Answers a slave's INIT.
    pub(super) fn admit(&mut self, admission: Admission<'_>) -> Result<(), Disconnect> {
        let Machine::Master { handshake, .. } = &mut self.machine else { return Ok(()) };
        handshake.admit(admission).map_err(|error| match error {
            AdmitError::Refused(fault) => Disconnect::Fault(fault),
            AdmitError::OutOfTurn(error) => failed(error),
        })
    }

    /// The client belongs to an interface from now on.
    pub(super) fn belong_to(&mut self, admitted: Admitted, app_name: Name, quota: Quota) {
        self.owner = Owner::Interface(admitted.key);
        self.channel.set_owner(self.owner);
        if let Machine::Master { offer, .. } = &mut self.machine {
            offer.limit(quota);
        }
        self.admitted = Some(admitted);
        self.names.app = app_name;
    }

    /// What the slave has offered, to be mapped.
    pub(super) fn take_offer(&mut self) -> Offer {
        match &mut self.machine {
            Machine::Master { offer, .. } => std::mem::take(offer),
            Machine::Slave { .. } => Offer::default(),
        }
    }

    /// Offers allocated memory to the master.
    pub(super) fn offer(&mut self, allocated: SlaveMemory) -> Result<(), Disconnect> {
        let Machine::Slave { handshake, memory, .. } = &mut self.machine else { return Ok(()) };
        let sizes = allocated.region_sizes();
        *memory = Some(allocated); // also where the offer fails: kept for the next attempt
        handshake.offer(&sizes).map_err(failed)
    }

    /// The memory that the master has taken up.
    pub(super) fn take_memory(&mut self) -> Option<SlaveMemory> {
        match &mut self.machine {
            Machine::Master { .. } => None,
            Machine::Slave { memory, .. } => memory.take(),
        }
    }

    /// Memory that was offered in vain, for the next attempt.
    pub(super) fn take_spare(&mut self) -> Option<Spare> {
        let peer = self.master_process()?;
        self.take_memory()?.into_spare(peer)
    }

    /// The link is mapped: a master says so to its slave.
    pub(super) fn confirm(&mut self, name: Name) -> Result<(), Disconnect> {
        match &mut self.machine {
            Machine::Master { handshake, .. } => handshake.connected(name).map_err(failed),
            Machine::Slave { .. } => Ok(()),
        }
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
    pub(super) fn say_goodbye(&mut self, reason: &Disconnect) {
        let (code, text) = match reason {
            Disconnect::Fault(fault) => (REFUSED, fault.reason_text()),
            Disconnect::Local(text) => (0, Reason::truncated(text)),
            Disconnect::Quota { .. } => (REFUSED, Reason::truncated(&reason.to_string())),
            Disconnect::Peer { .. } | Disconnect::Refused { .. } | Disconnect::Closed => return,
            _ => (REFUSED, Reason::truncated("The other side could not go on")),
        };
        match &mut self.machine {
            Machine::Master { handshake, .. } => handshake.disconnect(code, text),
            Machine::Slave { handshake, .. } => handshake.disconnect(code, text),
        }
        let _ = self.flush(); // it is over in any case
    }

    /// Closes the channel here if nothing of the peer's is left in it; otherwise the reaper does.
    pub(super) fn close_channel(self) {
        let Self { channel, machine, .. } = self;
        drop(machine); // what was offered waits to be closed before the peer can come again
        if channel.is_empty_for_good() {
            drop(channel.into_inner());
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

fn failed(error: impl std::fmt::Display) -> Disconnect {
    Disconnect::Failed(error.to_string())
}
