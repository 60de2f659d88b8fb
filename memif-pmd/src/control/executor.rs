//! Carries out what the state decides, without its lock: reads and writes sockets, has memory built, and ends
//! connections.
//!
//! A connection that is dealt with is out of the table, in the hands of one thread ([`super::table`]), so that nothing
//! here is done twice or in the wrong order. What may take long goes to threads of its own: mapping and allocating to the
//! builders, closing and unmapping to the reaper.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use memif_os::limits::{self, UsedUp};
use memif_os::socket::{Incoming, Received};
use memif_ring::fault::PeerFault;
use memif_ring::handshake::{Negotiated, Places};
use memif_ring::message::{Init, MESSAGE_SIZE};

use super::connection::{Admitted, Connection};
use super::plane::{BUILDERS, Plane};
use super::queues::Prepared;
use super::state::{Due, Ended, Source};
use super::turn::{ConnectionId, Product, Step, Turn};
use crate::background::Owner;
use crate::config::{Interrupts, MemoryRequest, PacketSource};
use crate::error::{Disconnect, Error};
use crate::event::Event;
use crate::link::slave::{Allocation, SlaveMemory};
use crate::link::{Link, rx_direction};
use crate::packet_memory::PacketMemory;
use crate::queue::Report;
use crate::quota::Quota;
use crate::reaper::{self, Reaped};

/// Messages read at once, so that a talkative peer leaves time for everybody else.
const READ_BATCH: usize = 16;
/// More than a message, so that a long one is seen to be long.
const BUFFER_SIZE: usize = 2 * MESSAGE_SIZE;

impl Plane {
    /// Does what a ready descriptor asks for. An error is the registry's.
    pub(super) fn handle(self: &Arc<Self>, fd: RawFd) -> Result<(), Error> {
        let source = self.lock().sources.get(&fd).cloned();
        match source {
            Some(Source::Waker) => self.on_waker(),
            Some(Source::Timer) => return self.on_timer(),
            Some(Source::Folders) => self.on_folders(),
            Some(Source::Listener(address)) => return self.accept(&address),
            Some(Source::Connection(id)) => self.serve(id, Turn::Readable),
            Some(Source::Interrupt { owner, queue }) => self.on_interrupt(owner, queue),
            None => {}
        }
        Ok(())
    }

    /// Data threads have met something, builders have finished, or a peer has taken pages away.
    fn on_waker(self: &Arc<Self>) {
        let _ = self.reports.waker.drain(); // readiness is all it says
        let reports = self.reports.take();
        // before what data threads have met in a region that is zeros now: that is no fault of its own
        self.close_damaged();
        for report in reports {
            match report {
                Report::Fault { owner, epoch, fault } => {
                    let connection = self.lock().connection_of(owner, epoch);
                    if let Some(id) = connection {
                        self.serve(id, Turn::Close(Disconnect::Fault(fault)));
                    }
                }
                Report::SlowPeer { owner, queue } => self.lock().note_slow_peer(owner, queue),
                Report::Overrun { owner, queue, lost } => self.lock().note_overrun(owner, queue, lost),
            }
        }
        for (id, result) in self.take_built() {
            self.serve(id, Turn::Built(result));
        }
        self.close_damaged();
    }

    /// Ends the links whose peers have taken pages away.
    fn close_damaged(self: &Arc<Self>) {
        let damaged = self.lock().damaged();
        for (id, region) in damaged {
            self.serve(id, Turn::Close(Disconnect::Fault(PeerFault::RegionLost { region })));
        }
    }

    fn on_timer(self: &Arc<Self>) -> Result<(), Error> {
        self.drain_timer();
        let Due { late, retries, rested } = self.lock().take_due(Instant::now());
        late.into_iter().for_each(|id| self.serve(id, Turn::TimedOut));
        let mut result = Ok(());
        for key in retries {
            result = result.and(self.connect(key));
        }
        for address in rested {
            result = result.and(self.resume(&address));
        }
        result
    }

    fn on_interrupt(&self, owner: u64, queue: u16) {
        let Some((event, interrupts, polled)) = self.lock().interrupt(owner, queue) else { return };
        let pending = interrupts == Interrupts::Pending;
        if !pending || polled {
            let _ = event.drain(); // before the handler receives, so that no notification is lost
        }
        // a receiver that polls does not clear what is pending
        if !(pending && polled) {
            self.lock().notify(owner, Event::Interrupt { queue });
        }
    }

    /// Gives a connection a turn, and then what has happened to it meanwhile.
    pub(super) fn serve(self: &Arc<Self>, id: ConnectionId, turn: Turn) {
        let mut turn = Some(turn);
        let out = self.lock().connections.check_out(id, &mut turn);
        if let Some(connection) = out {
            self.go_on(connection, turn);
        }
    }

    /// Returns a connection, after what has happened to it while it was out.
    pub(super) fn go_on(self: &Arc<Self>, mut connection: Box<Connection>, mut turn: Option<Turn>) {
        loop {
            if let Some(turn) = turn.take()
                && let Err(reason) = self.take_turn(&mut connection, turn)
            {
                return self.close(connection, reason);
            }
            let next = self.lock().connections.check_in(connection);
            let Some((out, happened)) = next else { return };
            (connection, turn) = (out, Some(happened));
        }
    }

    fn take_turn(self: &Arc<Self>, connection: &mut Connection, turn: Turn) -> Result<(), Disconnect> {
        match turn {
            Turn::Readable => self.read(connection).or_else(|reason| self.end_later(connection, reason)),
            Turn::Built(Ok(Product::Allocated(memory))) => {
                connection.offer(memory)?;
                self.lock().connections.heard(connection.id, Instant::now()); // what took long was not the peer
                connection.flush()
            }
            Turn::Built(Ok(Product::Link(prepared))) => {
                self.bring_up(connection, prepared)?;
                connection.ended.take().map_or(Ok(()), Err)
            }
            Turn::Built(Err(reason)) | Turn::Close(reason) => Err(reason),
            Turn::TimedOut => Err(connection.timeout().into()),
        }
    }

    /// The peer has ended a connection that is starting: it ends when the link has come up.
    fn end_later(&self, connection: &mut Connection, reason: Disconnect) -> Result<(), Disconnect> {
        if !connection.starting {
            return Err(reason);
        }
        if connection.watched {
            connection.watched = false; // it would be reported until then
            self.lock().sources.remove(&connection.as_fd().as_raw_fd());
            self.registry.unwatch(connection.as_fd());
        }
        connection.ended.get_or_insert(reason);
        Ok(())
    }

    fn read(self: &Arc<Self>, connection: &mut Connection) -> Result<(), Disconnect> {
        let mut buffer = [0; BUFFER_SIZE];
        for _ in 0..READ_BATCH {
            let incoming = connection.channel.recv(&mut buffer);
            let incoming =
                incoming.map_err(|error| Disconnect::Failed(format!("receiving a message: {error}")))?;
            let (Received { len, fd, surplus, .. }, more) = match incoming {
                Incoming::Message(received) => (received, false),
                Incoming::TooManyFds(received) => (received, true),
                Incoming::FdsLost => {
                    let limit = UsedUp::Descriptors(limits::descriptors());
                    return Err(Disconnect::Failed(format!(
                        "out of file descriptors for a message: {limit}"
                    )));
                }
                Incoming::WouldBlock => return Ok(()),
                Incoming::Closed => return Err(Disconnect::Closed),
            };
            let [fd, surplus] = [fd, surplus].map(|fd| fd.map(|fd| Reaped::descriptor(connection.owner, fd)));
            let count = usize::from(surplus.is_some()) + usize::from(more);
            let step = connection.handle(buffer.get(..len).unwrap_or_default(), fd, count)?;
            if more {
                // such a message stays queued: nothing after it can be read
                return Err(Disconnect::Failed("a message has too many descriptors".into()));
            }
            if !connection.is_up {
                self.lock().connections.heard(connection.id, Instant::now());
            }
            self.perform(connection, &step)?;
            connection.flush()?;
        }
        Ok(())
    }

    fn perform(self: &Arc<Self>, connection: &mut Connection, step: &Step) -> Result<(), Disconnect> {
        match step {
            Step::Wait => Ok(()),
            Step::Admit(init) => self.admit(connection, init),
            Step::Map(places) => self.map(connection, *places),
            Step::Allocate(agreed) => self.allocate(connection, *agreed),
            Step::Start => self.start(connection),
        }
    }

    fn admit(&self, connection: &mut Connection, init: &Init) -> Result<(), Disconnect> {
        let asked_for = self.lock().asked_for(connection, init);
        let quota = Quota::now();
        let mut credentials = None;
        if let Some(Admitted { key, config, .. }) = asked_for {
            reaper::check_load(Owner::Interface(key), quota.waiting(config.rings()))?;
            if !config.allowed.takes_all() {
                let unknown = |error| Disconnect::Failed(format!("credentials of the peer: {error}"));
                credentials = Some(connection.channel.peer_credentials().map_err(unknown)?);
            }
        }
        self.lock().admit(connection, init, credentials, quota)
    }

    /// CONNECT: has what was offered mapped and checked.
    fn map(self: &Arc<Self>, connection: &mut Connection, places: Places) -> Result<(), Disconnect> {
        let offer = connection.take_offer();
        let plane = Arc::clone(self);
        self.build(connection, move |Admitted { key, config, queues }| {
            let attached = offer.attach(&config, places, Owner::Interface(key), &plane.reports.waker)?;
            Ok(Product::Link(queues.prepare(attached)))
        })
    }

    /// A master's limits are known: has memory allocated.
    fn allocate(self: &Arc<Self>, connection: &Connection, agreed: Negotiated) -> Result<(), Disconnect> {
        let peer = connection.master_process().ok_or(Disconnect::Closed)?;
        let packets = self.packet_memory(connection, &agreed)?;
        let plane = Arc::clone(self);
        self.build(connection, move |Admitted { key, config, .. }| {
            let spare = plane.lock().interfaces.get_mut(&key).and_then(|interface| interface.spare.take());
            let alarm = &plane.reports.waker;
            let allocation =
                Allocation { config: &config, owner: Owner::Interface(key), alarm, peer, spare, packets };
            Ok(Product::Allocated(SlaveMemory::allocate(allocation, &agreed)?))
        })
    }

    /// The packet memory of a slave's link, if it is not the link's own. The program provides it on this thread.
    fn packet_memory(
        &self,
        connection: &Connection,
        agreed: &Negotiated,
    ) -> Result<Option<PacketMemory>, Disconnect> {
        let admitted = connection.admitted.as_ref().ok_or(Disconnect::Closed)?;
        let provide = match &admitted.config.packet_memory {
            PacketSource::Link => return Ok(None),
            PacketSource::Shared(memory) => return Ok(Some(memory.clone())),
            PacketSource::Provided(provide) => provide,
        };
        let rings = u32::from(agreed.s2m_rings()) + u32::from(agreed.m2s_rings());
        let buffers = rings << agreed.log2_ring_size();
        let request = MemoryRequest { buffers, buffer_size: admitted.config.buffer_size };
        let memory = provide(request).map_err(|error| Disconnect::Failed(error.to_string()))?;
        if !self.lock().lend(admitted.key, connection.id) {
            return Err(Disconnect::Local("the interface was deleted"));
        }
        if !memory.reports_to(&self.reports.waker) {
            return Err(Disconnect::Failed(Error::ForeignPacketMemory.to_string()));
        }
        Ok(Some(memory))
    }

    /// CONNECTED: has our ends of the rings built, and receive buffers posted.
    fn start(self: &Arc<Self>, connection: &mut Connection) -> Result<(), Disconnect> {
        let memory = connection.take_memory().ok_or(Disconnect::Closed)?;
        connection.starting = true;
        self.build(connection, move |Admitted { key, queues, .. }| {
            Ok(Product::Link(queues.prepare(memory.into_attached(Owner::Interface(key))?)))
        })
    }

    /// Has something built for a connection on another thread. The connection's deadline goes on meanwhile.
    fn build(
        self: &Arc<Self>,
        connection: &Connection,
        work: impl FnOnce(Admitted) -> Result<Product, Disconnect> + Send + 'static,
    ) -> Result<(), Disconnect> {
        let admitted = connection.admitted.clone().ok_or(Disconnect::Closed)?;
        let (plane, id, owner) = (Arc::clone(self), connection.id, connection.owner);
        BUILDERS.submit(owner, move || plane.put_built((id, work(admitted))));
        Ok(())
    }

    /// A link is built: hands it to the data threads, and says so to the peer and to the interface.
    fn bring_up(self: &Arc<Self>, connection: &mut Connection, prepared: Prepared) -> Result<(), Disconnect> {
        let admitted = connection.admitted.clone().ok_or(Disconnect::Closed)?;
        let link = Arc::clone(&prepared.attached().link);
        connection.confirm(admitted.config.name)?;
        self.watch_interrupts(&admitted, &link)?;
        admitted.queues.install(prepared, &admitted.config);
        let up = self.lock().link_up(connection, Arc::clone(&link));
        if up.is_err() {
            admitted.queues.clear();
            self.lock().remove_interrupts(&link);
            self.unwatch_interrupts(&admitted, &link, usize::MAX);
        }
        connection.starting = false;
        self.note_change();
        up?;
        // last: when the peer hears of the link, everybody here knows of it
        connection.flush()
    }

    /// Has the registry watch the eventfds of receive rings, if the interface asks for it: all or none.
    fn watch_interrupts(&self, admitted: &Admitted, link: &Arc<Link>) -> Result<(), Disconnect> {
        if admitted.config.interrupts == Interrupts::Left {
            return Ok(());
        }
        let direction = rx_direction(admitted.config.role);
        let rings = link.rings().iter().filter(|ring| ring.direction == direction);
        for (count, ring) in rings.enumerate() {
            let (fd, owner, queue) = (ring.event.as_fd(), admitted.key, ring.index);
            self.lock().sources.insert(fd.as_raw_fd(), Source::Interrupt { owner, queue });
            if let Err(error) = self.registry.watch(fd) {
                self.lock().remove_interrupts(link);
                self.unwatch_interrupts(admitted, link, count);
                return Err(Disconnect::Failed(format!("watching an interrupt: {error}")));
            }
        }
        Ok(())
    }

    /// Ends [`Plane::watch_interrupts`] for the first `count` rings.
    fn unwatch_interrupts(&self, admitted: &Admitted, link: &Link, count: usize) {
        if admitted.config.interrupts == Interrupts::Left {
            return;
        }
        let direction = rx_direction(admitted.config.role);
        let rings = link.rings().iter().filter(|ring| ring.direction == direction);
        rings.take(count).for_each(|ring| self.registry.unwatch(ring.event.as_fd()));
    }

    /// Ends a connection, which is out of the table, and its link.
    pub(super) fn close(self: &Arc<Self>, mut connection: Box<Connection>, reason: Disconnect) {
        connection.say_goodbye(&reason);
        if connection.watched {
            self.registry.unwatch(connection.as_fd());
        }
        if let Some(admitted) = connection.admitted.as_ref().filter(|_| connection.is_up) {
            admitted.queues.clear();
        }
        let fd = connection.as_fd().as_raw_fd();
        // packet memory that was offered with it may be unmapped here: not under the lock
        let mut spare = connection.take_spare();
        let ended = self.lock().forget(&connection, &mut spare, fd, reason);
        if let Some(admitted) = &connection.admitted {
            self.end_link(admitted, ended);
        }
        connection.close_channel();
        self.note_change();
    }

    /// What must be done for a link that is gone.
    pub(super) fn end_link(&self, admitted: &Admitted, ended: Ended) {
        drop(ended.unwanted);
        let Some(link) = ended.link else { return };
        self.unwatch_interrupts(admitted, &link, usize::MAX);
        for ring in link.rings() {
            // a peer may have filled the counter to hold up a thread of ours that notifies it
            let _ = ring.event.drain();
        }
    }
}
