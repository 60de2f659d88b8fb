//! A socket, its rings and its packet memory.
#![allow(
    unsafe_code,
    reason = "packets of the library must not outlive their memory, which the type here sees to"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use xdp::nic::NicIndex;
use xdp::slab::{HeapSlab, Slab};
use xdp::socket::{BindFlags, SocketError, XdpSocket as Bound, XdpSocketBuilder};
use xdp::umem::{FrameSize, UmemCfgBuilder};
use xdp::{Packet, RingConfigBuilder, Umem, WakableRings};

use super::program::XdpProgram;

/// Descriptors of a ring. Each direction has as many frames.
const RING: u32 = 2048;
/// Packets that are moved at a time.
const BATCH: usize = 256;
/// Packets that the kernel sends for one call, in copy mode.
const A_CALL: usize = 32;

/// Whether the interface's driver and the socket share memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// They do if the driver can.
    #[default]
    Auto,
    /// The kernel copies, which every driver can.
    Copy,
    /// They do, or opening fails.
    ZeroCopy,
}

/// Packets that the kernel has dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpLosses {
    /// Received ones, for which there was no room.
    pub no_room: u64,
    /// Received ones, for other reasons.
    pub received: u64,
    /// Ones to send, which it did not accept.
    pub refused: u64,
}

/// What became of packets to send.
#[derive(Debug)]
pub struct Sent {
    /// Packets that were taken, from the front.
    pub taken: usize,
    /// Those of them that were longer than [`XdpSocket::LARGEST_TO_SEND`], and dropped.
    pub too_long: u64,
    /// `ENETDOWN`: the interface is down. `ENXIO`: it is gone.
    pub result: io::Result<()>,
}

/// A socket that receives and sends packets of one queue of an interface.
///
/// The order of the fields is that in which they are dropped: the memory last, as the kernel and packets use it.
pub struct XdpSocket {
    received: HeapSlab,
    to_send: HeapSlab,
    /// A received packet that its receiver had no room for.
    kept: Option<Packet>,
    rings: WakableRings,
    socket: Bound,
    memory: Umem,
    /// Packets that are with the kernel to be sent.
    sending: usize,
    /// Frames to give to the kernel, in place of received packets.
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

impl XdpSocket {
    /// Opens a socket for a queue of the interface with this number, in the calling thread's network namespace, and has
    /// `program` hand it the packets of that queue.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`; `EAFNOSUPPORT`: the kernel has no `AF_XDP`; `EBUSY`: the queue has a socket;
    /// `EINVAL`: there is no such queue; `EOPNOTSUPP`: the driver has no zero copy; `ENOBUFS`, `ENOMEM`.
    pub fn open(interface: u32, queue: u32, mode: XdpMode, program: &XdpProgram) -> io::Result<Self> {
        let memory = UmemCfgBuilder {
            frame_size: FrameSize::FourK,
            head_room: 0,
            frame_count: 2 * RING,
            ..UmemCfgBuilder::default()
        };
        let memory = Umem::map(memory.build().map_err(io::Error::other)?)?;
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

    /// Largest packet to send.
    pub const LARGEST_TO_SEND: usize = 4096 - 256;

    /// Calls `take` with packets that have come, in order, until it returns false: it has no room for that one, which comes
    /// first in the next call.
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
            // they are posted, and the kernel finds them with the next call
            Err(_) => self.to_post = 0,
        }
    }

    /// Sends packets from the front of an iterator, as many as there is room for.
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
            // it fits, and so does one more in the batch
            if packet.append(bytes).is_err() || self.to_send.available() == 0 {
                self.memory.free_packet(packet);
                break;
            }
            self.to_send.push_front(packet);
            taken += 1;
        }
        Sent { taken, too_long, result: result.and_then(|()| self.submit()) }
    }

    /// Puts packets into the ring, and has the kernel send them.
    fn submit(&mut self) -> io::Result<()> {
        let Some(ring) = &mut self.rings.tx_ring else { return Ok(()) };
        let before = self.to_send.len();
        // SAFETY: the memory outlives the socket: it is dropped after it.
        let _ = unsafe { ring.send(&mut self.to_send, false) }; // fails only where it wakes the kernel
        self.sending += before - self.to_send.len();
        self.wake_sender()
    }

    /// # Errors
    /// See [`Sent::result`].
    fn wake_sender(&mut self) -> io::Result<()> {
        for _ in 0..self.sending.div_ceil(A_CALL) {
            match send(self.as_fd(), &[], SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                // it has sent a part, or has no memory now
                Err(Errno::AGAIN) => {}
                Err(Errno::BUSY | Errno::NOBUFS | Errno::INTR) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Takes back the frames of packets that were sent.
    fn complete(&mut self) {
        let done = self.rings.completion_ring.dequeue(&mut self.memory, self.sending.min(RING as usize));
        self.sending -= done;
    }

    /// Has the kernel send what is left. Returns whether all is sent.
    pub fn is_sent(&mut self) -> bool {
        self.complete();
        self.sending == 0 || self.wake_sender().is_err()
    }

    /// What the kernel has dropped so far.
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
