//! What a connection handle stands for: an interface, and the handles of its queues.

use std::ffi::{c_int, c_void};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memif_pmd::{Error, Event, Interface, InterfaceBuilder, Mode, PacketMemory, RxMode, RxQueue, TxQueue};

use crate::abi::{RX_MODE_INTERRUPT, RX_MODE_POLLING};
use crate::callback::{Callbacks, Context, in_fd_callback};
use crate::cell::{Cells, Traits};
use crate::code::{Code, Outcome};
use crate::external::External;
use crate::handle::{Id, Kind, Table};
use crate::raw::{Allocator, Record, text};
use crate::socket::{Socket, lock};

pub(crate) static CONNS: Table<Place> = Table::new();

/// Most bytes of a name; its field has one more for the NUL.
const MAX_NAME_LEN: usize = 31;

#[derive(Default)]
pub(crate) struct Place {
    conn: Mutex<Option<Arc<Conn>>>,
    pub(crate) rx: Cells<RxQueue>,
    pub(crate) tx: Cells<TxQueue>,
}

/// What an interface shall be. Zero means the default wherever libmemif says so.
pub(crate) struct Wish<'a> {
    pub(crate) path: String,
    pub(crate) app_name: &'a [u8],
    pub(crate) name: &'a [u8],
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
}

/// An interface.
pub(crate) struct Conn {
    pub(crate) id: Id,
    pub(crate) socket: Arc<Socket>,
    interface: Mutex<Option<Arc<Interface>>>,
    /// Packet memory of the program's, given back when the interface is gone.
    external: Mutex<Option<External>>,
    /// Where the program has that memory.
    pub(crate) external_address: Option<Context>,
    /// As the program gave it, in memory of its own allocator.
    pub(crate) secret: Record<[u8; 24]>,
    deleting: AtomicBool,
}

impl Conn {
    /// Makes an interface on a socket. A slave tries to connect at once.
    pub(crate) fn create(
        socket: &Arc<Socket>,
        wish: &Wish<'_>,
        allocator: Allocator,
        callbacks: Callbacks,
    ) -> Result<Arc<Self>, Code> {
        let secret = Record::new(wish.secret, allocator)?;
        let (id, place) = CONNS.take().ok_or(Code::NoMem)?;
        let made = socket.add(id).and_then(|reconnect| {
            Self::open(socket, id, place, (wish, reconnect), secret, callbacks)
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
        id: Id,
        place: &'static Place,
        (wish, reconnect): (&Wish<'_>, Option<Duration>),
        secret: Record<[u8; 24]>,
        callbacks: Callbacks,
    ) -> Result<Arc<Self>, Code> {
        let builder = wish.apply(socket.memif.interface(&wish.path))?;
        let builder = match reconnect {
            Some(interval) => builder.reconnect(interval),
            None => builder.reconnect_on_request(),
        };
        let builder = if callbacks.on_interrupt.is_some() {
            builder.notify_interrupts_until_cleared()
        } else {
            builder
        };
        // held until the queues are in their cells: who is told of a link finds them there
        let ready = Arc::new(Mutex::new(()));
        let guard = lock(&ready);
        let builder = builder.on_event(tell(id, callbacks, Arc::clone(&ready), wish.posts_itself));
        let (external, memory) = external_memory(socket, wish, callbacks.context)?.unzip();
        let builder = match &memory {
            Some(memory) => builder.packet_memory(memory),
            None => builder,
        };
        let interface = socket.checked(builder.explicit_posting().open())?;
        let traits = Traits {
            is_master: wish.is_master,
            posts_itself: wish.posts_itself,
            buffer_size: wish.buffer_size(),
            shift: external.as_ref().zip(memory).map_or(0, |(external, memory)| {
                external.address().addr().wrapping_sub(memory.as_ptr().addr().get()).cast_signed()
            }),
        };
        place.rx.fill(id.generation, traits, (0..interface.rx_count()).map(|index| interface.rx(index)))?;
        place.tx.fill(id.generation, traits, (0..interface.tx_count()).map(|index| interface.tx(index)))?;
        let conn = Arc::new(Self {
            id,
            socket: Arc::clone(socket),
            interface: Mutex::new(Some(Arc::new(interface))),
            external_address: external.as_ref().map(|external| Context(external.address())),
            external: Mutex::new(external),
            secret,
            deleting: AtomicBool::new(false),
        });
        *lock(&place.conn) = Some(Arc::clone(&conn));
        drop(guard);
        Ok(conn)
    }

    /// The connection of a handle; [`Code::Again`] within an fd callback, as with [`Socket::find`].
    pub(crate) fn find(handle: *mut c_void) -> Result<Arc<Self>, Code> {
        let id = Id::from_handle(handle, Kind::Conn).ok_or(Code::NoConn)?;
        if in_fd_callback() {
            return Err(Code::Again);
        }
        let place = CONNS.find(id).ok_or(Code::NoConn)?;
        lock(&place.conn).clone().ok_or(Code::NoConn)
    }

    pub(crate) fn handle(&self) -> *mut c_void {
        self.id.to_handle(Kind::Conn)
    }

    /// The interface; none any more while it is being deleted.
    pub(crate) fn interface(&self) -> Result<Arc<Interface>, Code> {
        lock(&self.interface).clone().ok_or(Code::NoConn)
    }

    /// Changes how a receive queue of a link learns of packets: `MEMIF_RX_MODE_*`.
    pub(crate) fn set_rx_mode(&self, rx_mode: c_int, queue: u16) -> Outcome {
        let mode = match rx_mode {
            RX_MODE_INTERRUPT => RxMode::Interrupt,
            RX_MODE_POLLING => RxMode::Polling,
            _ => return Err(Code::InvalArg),
        };
        self.queue_efd(queue)?;
        Ok(self.interface()?.set_rx_mode(queue, mode)?)
    }

    /// The eventfd of a receive queue of a link.
    pub(crate) fn queue_efd(&self, queue: u16) -> Result<RawFd, Code> {
        self.interface()?.event_fd(queue).map_err(no_link)
    }

    /// Ends the connection. The program hears of the end of its link in here.
    pub(crate) fn delete(&self) -> Outcome {
        // AcqRel: whoever comes second leaves everything to the first
        if self.deleting.swap(true, Ordering::AcqRel) {
            return Err(Code::NoConn);
        }
        let interface = lock(&self.interface).take();
        drop(interface);
        let Some(place) = CONNS.find(self.id) else { return Ok(()) };
        CONNS.retire(self.id);
        place.rx.clear(self.id.generation);
        place.tx.clear(self.id.generation);
        lock(&place.conn).take();
        let external = lock(&self.external).take();
        drop(external);
        self.socket.remove(self.id);
        CONNS.give_back(self.id);
        Ok(())
    }
}

/// There is no link, whatever became of the last one.
fn no_link(error: Error) -> Code {
    if matches!(error, Error::NoLink { .. }) { Code::Disconnected } else { error.into() }
}

/// Ends a connection that may be on its way out.
pub(crate) fn delete(id: Id) {
    let conn = CONNS.find(id).and_then(|place| lock(&place.conn).clone());
    if let Some(conn) = conn {
        let _ = conn.delete(); // whoever was first does it
    }
}

/// Memory of the program's for a slave, if its socket has it so.
fn external_memory(
    socket: &Socket,
    wish: &Wish<'_>,
    context: Context,
) -> Result<Option<(External, PacketMemory)>, Code> {
    let Some(calls) = socket.external().filter(|_| !wish.is_master) else { return Ok(None) };
    let rings = u32::from(wish.s2m_rings.max(1)) + u32::from(wish.m2s_rings.max(1));
    let buffers = rings * wish.ring_size()?;
    External::take(calls, context, &socket.memif, (buffers, wish.buffer_size())).map(Some)
}

/// How long a slave waits between attempts, changed for a connection that may be on its way out.
pub(crate) fn set_reconnect(id: Id, interval: Option<Duration>) {
    let conn = CONNS.find(id).and_then(|place| lock(&place.conn).clone());
    if let Some(interface) = conn.and_then(|conn| conn.interface().ok()) {
        let _ = interface.set_reconnect(interval); // in range; a dead interface needs none
    }
}

/// What hears of an interface's events for its program.
fn tell(
    id: Id,
    callbacks: Callbacks,
    ready: Arc<Mutex<()>>,
    posts_itself: bool,
) -> impl Fn(&Event) + Send + Sync {
    move |event| {
        let conn = id.to_handle(Kind::Conn);
        match event {
            Event::Connected => {
                drop(lock(&ready));
                if let Some(place) = CONNS.find(id).filter(|_| posts_itself) {
                    place.rx.relink(id.generation);
                }
                callbacks.connected(conn);
            }
            Event::Disconnected(_) => {
                callbacks.disconnected(conn);
                if let Some(place) = CONNS.find(id) {
                    place.rx.relink(id.generation);
                    place.tx.relink(id.generation);
                }
            }
            Event::Interrupt { queue } => callbacks.interrupted(conn, *queue),
            _ => {}
        }
    }
}

impl Wish<'_> {
    fn buffer_size(&self) -> u16 {
        if self.buffer_size == 0 { 2048 } else { self.buffer_size }
    }

    fn ring_size(&self) -> Result<u32, Code> {
        let log2 = if self.log2_ring_size == 0 { 10 } else { self.log2_ring_size };
        1u32.checked_shl(log2.into()).filter(|size| *size <= 1 << 14).ok_or(Code::MaxRingSize)
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
            .app_name(name(self.app_name))
            .name(name(self.name))
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
