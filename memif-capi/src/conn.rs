//! What a connection handle stands for: an interface, and the handles of its queues.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memif_pmd::{Error, Event, Interface, InterfaceBuilder, Mode, RxMode, RxQueue, TxQueue};

use crate::abi::{RX_MODE_INTERRUPT, RX_MODE_POLLING};
use crate::callback::Callbacks;
use crate::cell::{Cells, Owner, QueueCell, Tag, Traits};
use crate::code::{Code, Outcome};
use crate::external::ExternalRegions;
use crate::gate::Gate;
use crate::handle::{Id, Kind, Table};
use crate::memory::{Allocator, Record, text};
use crate::socket::Socket;
use crate::sync::{Mutex, MutexGuard, lock};

static CONNS: Table<Place> = Table::new();

/// Most bytes of a name; its field has one more for the NUL.
const MAX_NAME_LEN: usize = 31;

#[derive(Default)]
struct Place {
    conn: Mutex<Option<Arc<Conn>>>,
    rx: Cells<RxQueue>,
    tx: Cells<TxQueue>,
}

/// What an interface is to be. Zero means the default wherever libmemif has it so.
pub(crate) struct Wish {
    pub(crate) path: String,
    pub(crate) app_name: Vec<u8>,
    pub(crate) name: [u8; 32],
    pub(crate) secret: [u8; 24],
    pub(crate) id: u32,
    pub(crate) is_master: bool,
    pub(crate) mode: u8,
    pub(crate) s2m_rings: u8,
    pub(crate) m2s_rings: u8,
    pub(crate) log2_ring_size: u8,
    pub(crate) buffer_size: u16,
    /// Receive buffers are posted as soon as there is a link.
    pub(crate) posts_itself: bool,
    /// Where the library keeps the secret.
    pub(crate) allocator: Allocator,
}

/// An interface.
pub(crate) struct Conn {
    pub(crate) id: Id,
    pub(crate) socket: Arc<Socket>,
    interface: Interface,
    gate: Arc<Gate>,
    /// Packet memory that the program adds for each link.
    external: Option<Arc<ExternalRegions>>,
    /// As the program gave it, in memory of its own allocator.
    secret: Mutex<Option<Record<[u8; 24]>>>,
    deleting: AtomicBool,
}

impl Conn {
    /// Makes an interface on a socket. A slave tries to connect at once.
    pub(crate) fn create(socket: &Arc<Socket>, wish: &Wish, callbacks: Callbacks) -> Result<Arc<Self>, Code> {
        let secret = Record::new(wish.secret, wish.allocator)?;
        let (id, place) = CONNS.take().ok_or(Code::NoMem)?;
        let made = socket.add(id).and_then(|reconnect| {
            Self::open(socket, (id, place), (wish, reconnect), secret, callbacks)
                .inspect_err(|_| socket.remove(id))
        });
        if made.is_err() {
            CONNS.retire(id);
            CONNS.give_back(id);
        }
        made
    }

    fn open(
        socket: &Arc<Socket>,
        (id, place): (Id, &'static Place),
        (wish, reconnect): (&Wish, Option<Duration>),
        secret: Record<[u8; 24]>,
        callbacks: Callbacks,
    ) -> Result<Arc<Self>, Code> {
        let builder = wish.apply(socket.memif.interface(&wish.path))?;
        let builder = match reconnect {
            Some(interval) => builder.reconnect(interval),
            None => builder.reconnect_on_request(),
        };
        let notifies = callbacks.on_interrupt.is_some();
        let builder = if notifies { builder.notify_interrupts_until_cleared() } else { builder };
        let gate = Arc::new(Gate::default());
        let calls = socket.external().filter(|_| !wish.is_master);
        let external = calls
            .map(|calls| ExternalRegions::new(calls, callbacks.context, &gate, socket.memif.packet_memory()));
        let events = Arc::new(Events::new((id, wish.posts_itself), callbacks, &gate, external.clone()));
        let handler = Arc::clone(&events);
        let builder = builder.on_event(move |event| handler.handle(event));
        let builder = match external.clone() {
            Some(external) => builder.packet_memory_by(move |request| external.provide(request)),
            None => builder,
        };
        let interface = builder.explicit_posting().open()?;
        fill_cells(id, place, &interface, &wish.traits(external.clone()))?;
        let conn = Arc::new(Self {
            id,
            socket: Arc::clone(socket),
            interface,
            gate,
            external,
            secret: Mutex::new(Some(secret)),
            deleting: AtomicBool::new(false),
        });
        *lock(&place.conn) = Some(Arc::clone(&conn));
        events.begin();
        Ok(conn)
    }

    /// The connection of a handle.
    ///
    /// # Errors
    /// [`Code::NoConn`]: the handle is of no connection.
    pub(crate) fn find(handle: *mut c_void) -> Result<Arc<Self>, Code> {
        find(Id::from_handle(handle, Kind::Conn).ok_or(Code::NoConn)?).ok_or(Code::NoConn)
    }

    pub(crate) fn handle(&self) -> *mut c_void {
        self.id.to_handle(Kind::Conn)
    }

    /// The interface. While it is being deleted, and afterwards, its calls fail.
    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The secret, as the program gave it; all zero while the interface is being deleted.
    pub(crate) fn secret(&self) -> [u8; 24] {
        lock(&self.secret).as_ref().map_or([0; 24], |secret| *secret.get())
    }

    /// Where the program has a region that we have at `address`, if it has added it.
    pub(crate) fn external_address(&self, address: usize) -> Option<*mut c_void> {
        self.external.as_ref()?.address_at(address)
    }

    /// Changes how a receive queue of a link learns of packets: `MEMIF_RX_MODE_*`.
    ///
    /// # Errors
    /// [`Code::InvalArg`]: no such mode. Those of [`Conn::queue_efd`].
    pub(crate) fn set_rx_mode(&self, rx_mode: c_int, queue: u16) -> Outcome {
        let mode = match rx_mode {
            RX_MODE_INTERRUPT => RxMode::Interrupt,
            RX_MODE_POLLING => RxMode::Polling,
            _ => return Err(Code::InvalArg),
        };
        self.queue_efd(queue)?;
        Ok(self.interface.set_rx_mode(queue, mode)?)
    }

    /// The eventfd of a receive queue of a link.
    ///
    /// # Errors
    /// [`Code::Qid`], [`Code::Disconnected`], [`Code::NoConn`].
    pub(crate) fn queue_efd(&self, queue: u16) -> Result<RawFd, Code> {
        let event = self.interface.event_fd(queue).map_err(|error| match error {
            // whatever became of the last one
            Error::NoLink { .. } => Code::Disconnected,
            other => other.into(),
        })?;
        // the link keeps it open under this number
        Ok(event.as_fd().as_raw_fd())
    }

    /// Ends the connection. The program hears of the end of its link in here. When this returns, no function of the program
    /// is called with the connection's context any more, and its packet memory has been returned to it.
    ///
    /// # Errors
    /// [`Code::NoConn`]: somebody else ends it.
    pub(crate) fn delete(&self) -> Outcome {
        // AcqRel: whoever comes second leaves everything to the first
        if self.deleting.swap(true, Ordering::AcqRel) {
            return Err(Code::NoConn);
        }
        self.interface.shut_down();
        self.gate.close();
        if let Some(place) = CONNS.find(self.id) {
            CONNS.retire(self.id);
            place.rx.clear(self.id.generation);
            place.tx.clear(self.id.generation);
            lock(&place.conn).take();
        }
        // here rather than when the last reference goes, which another thread may have: these are the program's
        if let Some(external) = &self.external {
            external.return_all();
        }
        drop(lock(&self.secret).take());
        self.socket.remove(self.id);
        CONNS.give_back(self.id);
        Ok(())
    }
}

fn find(id: Id) -> Option<Arc<Conn>> {
    lock(&CONNS.find(id)?.conn).clone()
}

/// Ends a connection that may be on its way out.
pub(crate) fn delete(id: Id) {
    if let Some(conn) = find(id) {
        let _ = conn.delete(); // whoever was first does it
    }
}

/// Changes how long the slaves of a socket wait between attempts; zero: until they are told to.
pub(crate) fn set_reconnect(socket: &Socket, interval: Duration) {
    let interval = socket.set_reconnect(interval);
    for conn in socket.conns().into_iter().filter_map(find) {
        let _ = conn.interface.set_reconnect(interval); // in range; an interface on its way out needs none
    }
}

fn fill_cells(id: Id, place: &'static Place, interface: &Interface, traits: &Traits) -> Outcome {
    let owner = Owner { place: id.place, generation: id.generation };
    place.rx.fill(owner, traits, (0..interface.rx_count()).map(|index| interface.rx(index)))?;
    place.tx.fill(owner, traits, (0..interface.tx_count()).map(|index| interface.tx(index)))
}

/// Delivers an interface's events to its program.
struct Events {
    id: Id,
    posts_itself: bool,
    callbacks: Callbacks,
    gate: Arc<Gate>,
    external: Option<Arc<ExternalRegions>>,
    /// Events that came before the queues were in their cells, where a function of the program's looks for them; `None`
    /// from then on.
    early: Mutex<Option<Vec<Event>>>,
}

impl Events {
    fn new(
        (id, posts_itself): (Id, bool),
        callbacks: Callbacks,
        gate: &Arc<Gate>,
        external: Option<Arc<ExternalRegions>>,
    ) -> Self {
        let (gate, early) = (Arc::clone(gate), Mutex::new(Some(Vec::new())));
        Self { id, posts_itself, callbacks, gate, external, early }
    }

    fn handle(&self, event: &Event) {
        if let Some(early) = &mut *lock(&self.early) {
            // an interrupt is reported again until it is cleared
            if !matches!(event, Event::Interrupt { .. }) {
                early.push(event.clone());
            }
            return;
        }
        self.deliver(event);
    }

    /// The queues are in their cells. Delivers what came before.
    fn begin(&self) {
        loop {
            let mut early = lock(&self.early);
            let events = early.take().filter(|events| !events.is_empty());
            let Some(events) = events else { return };
            *early = Some(Vec::new());
            drop(early);
            events.iter().for_each(|event| self.deliver(event));
        }
    }

    fn deliver(&self, event: &Event) {
        let (conn, gate) = (self.id.to_handle(Kind::Conn), &self.gate);
        match event {
            Event::Connected => {
                if let Some(place) = CONNS.find(self.id).filter(|_| self.posts_itself) {
                    place.rx.relink(self.id.generation);
                }
                self.callbacks.connected(gate, conn);
            }
            Event::Disconnected(_) => {
                self.callbacks.disconnected(gate, conn);
                if let Some(place) = CONNS.find(self.id) {
                    place.rx.relink(self.id.generation);
                    place.tx.relink(self.id.generation);
                }
            }
            Event::Interrupt { queue } => self.callbacks.interrupted(gate, conn, *queue),
            Event::PacketMemoryReturned => self.external.iter().for_each(|external| external.returned()),
            _ => {}
        }
    }
}

/// A queue's cell, locked for the length of a data call.
pub(crate) type Held<Q> = MutexGuard<'static, QueueCell<Q>>;

/// The cell of a receive queue.
///
/// # Errors
/// [`Code::NoConn`], [`Code::Qid`].
#[inline(always)]
pub(crate) fn rx(conn: *mut c_void, queue: u16) -> Result<Held<RxQueue>, Code> {
    hold(|place| &place.rx, conn, queue)
}

/// The cell of a transmit queue.
///
/// # Errors
/// [`Code::NoConn`], [`Code::Qid`].
#[inline(always)]
pub(crate) fn tx(conn: *mut c_void, queue: u16) -> Result<Held<TxQueue>, Code> {
    hold(|place| &place.tx, conn, queue)
}

#[inline(always)]
fn hold<Q: crate::cell::Queue + 'static>(
    cells: impl FnOnce(&'static Place) -> &'static Cells<Q>,
    conn: *mut c_void,
    queue: u16,
) -> Result<Held<Q>, Code> {
    let id = Id::from_handle(conn, Kind::Conn).ok_or(Code::NoConn)?;
    let place = CONNS.place(id.place).ok_or(Code::NoConn)?;
    let missing = || if place.generation() == id.generation { Code::Qid } else { Code::NoConn };
    cells(&place.entry).hold(id.generation, queue).ok_or_else(missing)
}

/// The cell of a received buffer, if the buffer is of its present link.
pub(crate) fn rx_of(tag: Tag) -> Option<Held<RxQueue>> {
    let mut cell = lock(CONNS.place(tag.place)?.entry.rx.get(tag.queue.into())?);
    (tag.receives && cell.link() == Some(tag)).then_some(cell)
}

/// The cell of an allocated buffer, if the buffer is of its present link.
pub(crate) fn tx_of(tag: Tag) -> Option<Held<TxQueue>> {
    let mut cell = lock(CONNS.place(tag.place)?.entry.tx.get(tag.queue.into())?);
    (!tag.receives && cell.link() == Some(tag)).then_some(cell)
}

/// The number of a connection that exists.
///
/// # Errors
/// [`Code::NoConn`]
pub(crate) fn exists(conn: *mut c_void) -> Result<Id, Code> {
    let id = Id::from_handle(conn, Kind::Conn).ok_or(Code::NoConn)?;
    CONNS.find(id).map(|_| id).ok_or(Code::NoConn)
}

impl Wish {
    fn buffer_size(&self) -> u16 {
        if self.buffer_size == 0 { 2048 } else { self.buffer_size }
    }

    fn ring_size(&self) -> Result<u32, Code> {
        let log2 = if self.log2_ring_size == 0 { 10 } else { self.log2_ring_size };
        1u32.checked_shl(log2.into()).filter(|size| *size <= 1 << 14).ok_or(Code::MaxRingSize)
    }

    fn traits(&self, external: Option<Arc<ExternalRegions>>) -> Traits {
        let (is_master, posts_itself) = (self.is_master, self.posts_itself);
        Traits { is_master, posts_itself, buffer_size: self.buffer_size(), external }
    }

    fn apply<'m>(&self, builder: InterfaceBuilder<'m>) -> Result<InterfaceBuilder<'m>, Code> {
        let mode = match self.mode {
            0 => Mode::Ethernet,
            1 => Mode::Ip,
            2 => Mode::PuntInject,
            _ => return Err(Code::InvalArg),
        };
        let ring_size = self.ring_size()?;
        let (s2m, m2s) = (u16::from(self.s2m_rings.max(1)), u16::from(self.m2s_rings.max(1)));
        let builder = if self.is_master {
            builder.master().rx_queues(s2m).tx_queues(m2s)
        } else {
            builder.slave().tx_queues(s2m).rx_queues(m2s)
        };
        Ok(builder
            .id(self.id)
            .mode(mode)
            .secret(text(&self.secret))
            .app_name(name(&self.app_name))
            .name(name(text(&self.name)))
            .ring_size(ring_size)
            .buffer_size(self.buffer_size().into())
            .rx_mode(RxMode::Interrupt))
    }
}

/// A name of at most [`MAX_NAME_LEN`] bytes, cut where it is longer, with a mark in place of what is no UTF-8.
fn name(bytes: &[u8]) -> String {
    let mut name = String::from_utf8_lossy(bytes).into_owned();
    name.truncate(name.floor_char_boundary(MAX_NAME_LEN));
    name
}
