//! The socket, its rings and its packet memory.
#![allow(
    unsafe_code,
    reason = "packets of the library must not outlive their memory, which the type here sees to"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::io::Errno;
use rustix::mm::{Advice, madvise};
use rustix::net::{SendFlags, send};
use xdp::libc::xdp::XDP_PACKET_HEADROOM;
use xdp::nic::NicIndex;
use xdp::slab::{HeapSlab, Slab};
use xdp::socket::{BindFlags, SocketError, XdpSocket as Bound, XdpSocketBuilder};
use xdp::umem::{FrameSize, UmemCfgBuilder};
use xdp::{Packet, RingConfigBuilder, Umem, WakableRings};

use super::program::XdpProgram;

/// Descriptors of a ring. Each direction has as many frames.
const RING: u32 = 2048;
/// Frames of the packet memory, of one page each.
const FRAMES: u32 = 2 * RING;
const FRAME: usize = 4096;
/// Bytes at the front of a frame that the kernel has for itself.
#[expect(clippy::cast_possible_truncation, reason = "it is less than a frame")]
const RESERVED: usize = XDP_PACKET_HEADROOM as usize;
/// Most packets that are moved in one call of the ring library.
const BATCH: usize = 256;
/// In copy mode, the kernel sends at most this many packets per system call.
const A_CALL: usize = 32;

/// Whether the network driver uses the socket's packet memory directly (zero copy), or the kernel copies packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// Zero copy if the driver supports it, otherwise copying.
    #[default]
    Auto,
    /// Copying, which works with every driver.
    Copy,
    /// Zero copy. Opening fails if the driver does not support it.
    ZeroCopy,
}

/// Numbers of packets that the kernel has dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpLosses {
    /// Received packets for which the rx ring or the packet memory had no room.
    pub no_room: u64,
    /// Received packets that were dropped for other reasons.
    pub received: u64,
    /// Packets to send whose descriptors the kernel refused.
    pub refused: u64,
}

/// The result of sending packets.
#[derive(Debug)]
pub struct Sent {
    /// Number of packets taken from the front of the iterator.
    pub taken: usize,
    /// How many of these were dropped, as they are longer than [`XdpSocket::LARGEST_TO_SEND`].
    pub too_long: u64,
    /// `ENETDOWN`: the interface is down. `ENXIO`: it is gone.
    pub result: io::Result<()>,
}

/// A socket that receives and sends packets of one queue of an interface.
///
/// Fields are dropped in their order. The memory comes last, as the kernel and the packets use it.
pub struct XdpSocket {
    received: HeapSlab,
    to_send: HeapSlab,
    /// A received packet for which the last receiver had no room. The next call passes it first.
    kept: Option<Packet>,
    rings: WakableRings,
    socket: Bound,
    memory: Umem,
    /// Number of packets that the kernel has yet to send.
    sending: usize,
    /// Free frames to give to the kernel to receive into.
    to_post: usize,
    wake_receiver: bool,
}

// SAFETY: it owns the memory that its packets point to, and all that refers to it; it is used by one thread at a time.
unsafe impl Send for XdpSocket {}

impl std::fmt::Debug for XdpSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("XdpSocket").field("sending", &self.sending).finish_non_exhaustive()
    }
}

fn plain(error: SocketError) -> io::Error {
    match error {
        SocketError::SocketCreation(error) | SocketError::Bind(error) => error,
        SocketError::SetSockOpt { inner, .. }
        | SocketError::GetSockOpt { inner, .. }
        | SocketError::RingMap { inner, .. } => inner,
    }
}

/// Asks for transparent huge pages, before a page is used. Where there are none, the memory lies on normal pages.
fn prefer_huge_pages(memory: &mut Umem) {
    // SAFETY: the packet goes back to its memory right here.
    let Some(first) = (unsafe { memory.alloc() }) else { return };
    let start = first.as_ptr().wrapping_sub(RESERVED).cast_mut();
    memory.free_packet(first);
    // SAFETY: the advice is about pages and changes no byte, whatever is there.
    let _ = unsafe { madvise(start.cast(), FRAMES as usize * FRAME, Advice::LinuxHugepage) };
}

impl XdpSocket {
    /// Opens a socket for a queue of the interface with this index in the calling thread's network namespace. From then on,
    /// `program` redirects the queue's packets to it.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`; `EAFNOSUPPORT`: the kernel has no `AF_XDP`; `EBUSY`: the queue has another
    /// socket;
    /// `EINVAL`: there is no such queue; `EOPNOTSUPP`: the driver does not support zero copy;
    /// `ENOBUFS`, `ENOMEM`: no memory, or the limit of locked memory is reached.
    pub fn open(interface: u32, queue: u32, mode: XdpMode, program: &XdpProgram) -> io::Result<Self> {
        let memory = UmemCfgBuilder {
            frame_size: FrameSize::FourK,
            head_room: 0,
            frame_count: FRAMES,
            ..UmemCfgBuilder::default()
        };
        let mut memory = Umem::map(memory.build().map_err(io::Error::other)?)?;
        prefer_huge_pages(&mut memory);
        let rings =
            RingConfigBuilder { rx_count: RING, tx_count: RING, fill_count: RING, completion_count: RING };
        let rings = rings.build().map_err(io::Error::other)?;
        let mut builder = XdpSocketBuilder::new().map_err(plain)?;
        let (rings, mut flags): (_, BindFlags) =
            builder.build_wakable_rings(&memory, rings).map_err(plain)?;
        match mode {
            XdpMode::Auto => {}
            XdpMode::Copy => flags.force_copy(),
            XdpMode::ZeroCopy => flags.force_zerocopy(),
        }
        let socket = builder.bind(NicIndex::new(interface), queue, flags).map_err(plain)?;
        program.redirect(queue, socket.raw_fd())?;
        let mut socket = Self {
            received: HeapSlab::with_capacity(BATCH),
            to_send: HeapSlab::with_capacity(BATCH),
            kept: None,
            rings,
            socket,
            memory,
            sending: 0,
            to_post: RING as usize,
            wake_receiver: mode != XdpMode::Copy,
        };
        socket.post();
        Ok(socket)
    }

    /// Largest packet to send, in bytes.
    pub const LARGEST_TO_SEND: usize = FRAME - RESERVED;

    /// Calls `take` with each received packet, in order. If it returns false, it has not taken that packet: the call ends, and the
    /// next call begins with it.
    pub fn receive(&mut self, mut take: impl FnMut(&[u8]) -> bool) {
        while let Some(packet) = self.next() {
            if !take(&packet) {
                self.kept = Some(packet);
                break;
            }
            self.memory.free_packet(packet);
            self.to_post += 1;
        }
        if self.to_post >= BATCH || (self.to_post > 0 && self.received.is_empty()) {
            self.post();
        }
    }

    fn next(&mut self) -> Option<Packet> {
        if let Some(packet) = self.kept.take() {
            return Some(packet);
        }
        if self.received.is_empty()
            && let Some(ring) = &mut self.rings.rx_ring
        {
            // SAFETY: the packets stay in `self`, which owns the memory and drops it last.
            unsafe { ring.recv(&self.memory, &mut self.received) };
        }
        self.received.pop_back()
    }

    /// Gives free frames to the kernel to receive into.
    fn post(&mut self) {
        // SAFETY: the memory outlives the socket: it is dropped after it.
        let posted =
            unsafe { self.rings.fill_ring.enqueue(&mut self.memory, self.to_post, self.wake_receiver) };
        match posted {
            Ok(posted) => self.to_post -= posted.min(self.to_post),
            // an error only delays the wake-up: the frames are in the ring, and the next call wakes the kernel
            Err(_) => self.to_post = 0,
        }
    }

    /// Sends packets from the front of an iterator, until the ring is full.
    pub fn send<'p>(&mut self, packets: impl Iterator<Item = &'p [u8]>) -> Sent {
        self.complete();
        let (mut taken, mut too_long) = (0, 0);
        let mut result = Ok(());
        for bytes in packets {
            if bytes.len() > Self::LARGEST_TO_SEND {
                too_long += 1;
                taken += 1;
                continue;
            }
            if self.to_send.available() == 0 {
                result = self.submit();
            }
            if result.is_err() || self.sending + self.to_send.len() >= RING as usize {
                break;
            }
            // SAFETY: the packet stays in `self`, which owns the memory and drops it last.
            let Some(mut packet) = (unsafe { self.memory.alloc() }) else { break };
            // cannot fail: the length was checked, and the batch has room
            if packet.append(bytes).is_err() || self.to_send.available() == 0 {
                self.memory.free_packet(packet);
                break;
            }
            self.to_send.push_front(packet);
            taken += 1;
        }
        Sent { taken, too_long, result: result.and_then(|()| self.submit()) }
    }

    /// Puts the packets into the ring, and tells the kernel to send them.
    fn submit(&mut self) -> io::Result<()> {
        let Some(ring) = &mut self.rings.tx_ring else { return Ok(()) };
        let before = self.to_send.len();
        // SAFETY: the memory outlives the socket: it is dropped after it.
        let _ = unsafe { ring.send(&mut self.to_send, false) }; // can fail only when it wakes the kernel, which it does not here
        self.sending += before - self.to_send.len();
        self.wake_sender()
    }

    /// # Errors
    /// Those of [`Sent::result`].
    fn wake_sender(&mut self) -> io::Result<()> {
        for _ in 0..self.sending.div_ceil(A_CALL) {
            match send(self.as_fd(), &[], SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                // the kernel has sent some of the packets, or has no memory at the moment: the next call goes on
                Err(Errno::AGAIN) => {}
                Err(Errno::BUSY | Errno::NOBUFS | Errno::INTR) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Takes back the frames of packets that the kernel has sent.
    fn complete(&mut self) {
        let done = self.rings.completion_ring.dequeue(&mut self.memory, self.sending.min(RING as usize));
        self.sending -= done;
    }

    /// Tells the kernel to send the packets that are left in the ring. Returns whether all packets are sent.
    pub fn is_sent(&mut self) -> bool {
        self.complete();
        self.sending == 0 || self.wake_sender().is_err()
    }

    /// Numbers of packets that the kernel has dropped so far.
    #[must_use]
    pub fn losses(&self) -> XdpLosses {
        let Ok(statistics) = self.socket.statistics() else { return XdpLosses::default() };
        XdpLosses {
            no_room: statistics.rx_ring_full,
            received: statistics.rx_dropped + statistics.rx_invalid_descs,
            refused: statistics.tx_invalid_descs,
        }
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let fd: RawFd = self.socket.raw_fd();
        // SAFETY: the socket is open for as long as `self`.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}
