//! `AF_PACKET` sockets with rings in memory that is shared with the kernel (`packet(7)`, `TPACKET_V2`): receive and send packets
//! of a network interface without a system call for each.
//!
//! The status of a frame says whether the kernel or this process owns it. The owner stores the status last, with release
//! ordering, to hand the frame over; the other side loads it first, with acquire ordering. The kernel is trusted to follow this;
//! offsets and lengths that it writes are checked nevertheless.
#![allow(
    unsafe_code,
    reason = "a ring in memory that the kernel shares, and socket options without a safe wrapper"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send, socket_with,
};

/// Bytes of `struct virtio_net_hdr`, which says whether a packet's checksum or segmentation is still to be done.
pub const VNET_HEADER: usize = 10;

/// Receive frames hold packets of the usual Ethernet size; larger packets are read from the socket.
const RX_FRAME: usize = 4096;
const RX_FRAMES: usize = 2048;
/// Transmit frames hold jumbo packets.
const TX_FRAME: usize = 16384;
const TX_FRAMES: usize = 512;
const BLOCK: usize = 1 << 16;
/// Offset of a packet in a transmit frame: behind the frame's header, which takes 32 bytes.
const TX_OFFSET: usize = size_of::<libc::tpacket2_hdr>();
const _: () = assert!(TX_OFFSET == 32 && BLOCK.is_multiple_of(RX_FRAME) && BLOCK.is_multiple_of(TX_FRAME));
/// Largest packet to send, in bytes.
pub const LARGEST_TO_SEND: usize = TX_FRAME - TX_OFFSET;

/// A mapped ring.
#[derive(Debug)]
struct Frames {
    socket: OwnedFd,
    index: u32,
    map: MmapRaw,
    frame: usize,
    frames: usize,
    /// Number of the next frame.
    at: usize,
}

impl Frames {
    /// `option` is `PACKET_RX_RING` or `PACKET_TX_RING`.
    fn map(
        socket: OwnedFd,
        index: u32,
        option: libc::c_int,
        frame: usize,
        frames: usize,
    ) -> io::Result<Self> {
        let bytes = frame * frames;
        let number = |number: usize| u32::try_from(number).map_err(io::Error::other);
        let request = libc::tpacket_req {
            tp_block_size: number(BLOCK)?,
            tp_block_nr: number(bytes / BLOCK)?,
            tp_frame_size: number(frame)?,
            tp_frame_nr: number(frames)?,
        };
        set(&socket, option, &request)?;
        let map = MmapOptions::new().len(bytes).map_raw(&socket)?;
        Ok(Self { socket, index, map, frame, frames, at: 0 })
    }

    /// The next frame's header.
    #[inline]
    fn header(&self) -> *mut libc::tpacket2_hdr {
        self.header_of(self.at)
    }

    /// The header of a frame. The number is reduced modulo the number of frames, so the header lies in the mapping.
    #[inline]
    fn header_of(&self, at: usize) -> *mut libc::tpacket2_hdr {
        self.map.as_mut_ptr().wrapping_add((at & (self.frames - 1)) * self.frame).cast()
    }

    #[inline]
    fn status(&self) -> &AtomicU32 {
        self.status_of(self.at)
    }

    #[inline]
    fn status_of(&self, at: usize) -> &AtomicU32 {
        // SAFETY: the status is the first field of a header within the mapping, aligned to its frame; it lives as long as
        // the mapping, which `self` owns, and the kernel accesses it with single stores alone.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.header_of(at)).tp_status) }
    }

    #[inline]
    fn advance(&mut self) {
        self.at = if self.at + 1 == self.frames { 0 } else { self.at + 1 };
    }
}

// SAFETY: the mapping is memory, which any thread may use; `Frames` is used by one at a time.
unsafe impl Send for Frames {}

/// Sets a socket option of `SOL_PACKET`.
fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the pointer leads to `len` bytes of `value`, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, std::ptr::from_ref(value).cast(), len)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A constant, converted to the type that the kernel's structures have.
fn short(constant: libc::c_int) -> io::Result<u16> {
    u16::try_from(constant).map_err(io::Error::other)
}

/// Opens a socket that receives no packets yet. Returns it with the index of the interface.
fn open(interface: &str) -> io::Result<(OwnedFd, u32)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    let index = netdevice::name_to_index(&socket, interface)?;
    set(&socket, libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V2)?;
    Ok((socket, index))
}

/// Binds the socket to the interface: from then on it receives packets of `protocol`, which is in network byte order.
fn bind(socket: &OwnedFd, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: short(libc::AF_PACKET)?,
        sll_protocol: protocol,
        sll_ifindex: i32::try_from(index).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
    // SAFETY: the pointer leads to `len` bytes of `address`, which the kernel only reads.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A received packet.
#[derive(Debug)]
pub struct ReceivedPacket<'r> {
    /// `struct virtio_net_hdr`: says whether the checksum or the segmentation is still to be done.
    pub header: [u8; VNET_HEADER],
    /// Type and value of the VLAN tag that the kernel has removed from the packet.
    pub vlan: Option<(u16, u16)>,
    /// Its bytes; `None` for a packet that is larger than a frame: see [`PacketReceiver::receive_large`].
    pub bytes: Option<&'r [u8]>,
}

/// Receives the packets that arrive at an interface, but not those that it sends.
#[derive(Debug)]
pub struct PacketReceiver {
    frames: Frames,
}

impl PacketReceiver {
    /// Opens an interface in the calling thread's network namespace. With `promiscuous`, also packets for other Ethernet addresses
    /// are received.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` without such an interface, `ENOMEM`.
    pub fn open(interface: &str, promiscuous: bool) -> io::Result<Self> {
        let (socket, index) = open(interface)?;
        set(&socket, libc::PACKET_VNET_HDR, &1i32)?;
        set(&socket, libc::PACKET_COPY_THRESH, &1i32)?;
        set(&socket, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
        let frames = Frames::map(socket, index, libc::PACKET_RX_RING, RX_FRAME, RX_FRAMES)?;
        bind(&frames.socket, index, short(libc::ETH_P_ALL)?.to_be())?;
        if promiscuous {
            let request = libc::packet_mreq {
                mr_ifindex: i32::try_from(index).map_err(io::Error::other)?,
                mr_type: short(libc::PACKET_MR_PROMISC)?,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            set(&frames.socket, libc::PACKET_ADD_MEMBERSHIP, &request)?;
        }
        Ok(Self { frames })
    }

    /// The next packet, or `None` if there is none. Returns the same packet until [`PacketReceiver::release`] is called.
    #[inline]
    pub fn peek(&mut self) -> Option<ReceivedPacket<'_>> {
        let status = self.frames.status().load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the frame is ours until its status is stored: nobody writes to its header, which lies in the mapping.
        let header = unsafe { self.frames.header().read() };
        let vlan = (status & libc::TP_STATUS_VLAN_VALID != 0).then_some({
            let known = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            (if known { header.tp_vlan_tpid } else { 0x8100 }, header.tp_vlan_tci)
        });
        let (start, len) = (usize::from(header.tp_mac), header.tp_snaplen as usize);
        let fits = start >= VNET_HEADER && start.checked_add(len).is_some_and(|end| end <= self.frames.frame);
        let whole = fits && header.tp_snaplen == header.tp_len && status & libc::TP_STATUS_COPY == 0;
        if !whole {
            return Some(ReceivedPacket { header: [0; VNET_HEADER], vlan, bytes: None });
        }
        let frame = self.frames.header().cast::<u8>().cast_const();
        // SAFETY: `start` and `len` lie in the frame, which is ours while `self` is borrowed: it is released by a call that
        // takes `self` anew. The header in front of the packet was checked to lie in it as well.
        let (vnet, bytes) = unsafe {
            let vnet = frame.wrapping_add(start - VNET_HEADER).cast::<[u8; VNET_HEADER]>().read();
            (vnet, std::slice::from_raw_parts(frame.wrapping_add(start), len))
        };
        Some(ReceivedPacket { header: vnet, vlan, bytes: Some(bytes) })
    }

    /// Reads the oldest packet that is larger than a frame, behind its `struct virtio_net_hdr`. Returns the length of both.
    ///
    /// # Errors
    /// `EAGAIN`: the kernel had no memory for it.
    pub fn receive_large(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (len, _) = recv(&self.frames.socket, buffer, RecvFlags::DONTWAIT)?;
        Ok(len)
    }

    /// Gives the frame of the packet that [`PacketReceiver::peek`] returned back to the kernel.
    #[inline]
    pub fn release(&mut self) {
        self.frames.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.frames.advance();
    }

    /// A watch over this interface, for another thread.
    ///
    /// # Errors
    /// `EMFILE`: no descriptor is left.
    pub fn watch(&self) -> io::Result<InterfaceWatch> {
        Ok(InterfaceWatch { socket: self.frames.socket.try_clone()?, index: self.frames.index })
    }
}

impl AsFd for PacketReceiver {
    /// The socket, which polls as readable while there are packets.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.frames.socket.as_fd()
    }
}

/// Tells whether an interface still exists, and how many of its packets the kernel has dropped.
#[derive(Debug)]
pub struct InterfaceWatch {
    socket: OwnedFd,
    index: u32,
}

impl InterfaceWatch {
    /// A watch over the interface with this name in the calling thread's network namespace.
    ///
    /// # Errors
    /// `ENODEV`: there is none. `EPERM` without `CAP_NET_RAW`.
    pub fn new(interface: &str) -> io::Result<Self> {
        let (socket, index) = open(interface)?;
        Ok(Self { socket, index })
    }

    /// The index of the interface.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether the interface still exists.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !matches!(netdevice::index_to_name(&self.socket, self.index), Err(Errno::NODEV | Errno::NXIO))
    }

    /// Number of received packets that the kernel has dropped since the last call, as the ring was full.
    ///
    /// # Errors
    /// The error of `getsockopt(2)`.
    pub fn take_drops(&self) -> io::Result<u32> {
        drops(self.socket.as_fd())
    }
}

fn drops(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = libc::socklen_t::try_from(size_of_val(&stats)).map_err(io::Error::other)?;
    // SAFETY: both pointers lead to locals, and the kernel writes at most `len` bytes of numbers to the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(stats.tp_drops) } else { Err(io::Error::last_os_error()) }
}

/// The result of queueing a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// The packet is in the ring. [`PacketSender::flush`] sends it.
    Yes,
    /// The ring is full.
    Full,
    /// The packet is larger than [`LARGEST_TO_SEND`].
    TooLong,
}

/// Sends packets through an interface.
#[derive(Debug)]
pub struct PacketSender {
    frames: Frames,
}

impl PacketSender {
    /// Opens an interface in the calling thread's network namespace.
    ///
    /// # Errors
    /// Those of [`PacketReceiver::open`].
    pub fn open(interface: &str) -> io::Result<Self> {
        let (socket, index) = open(interface)?;
        // the kernel skips packets that it refuses, instead of stopping at them
        set(&socket, libc::PACKET_LOSS, &1i32)?;
        set(&socket, libc::PACKET_QDISC_BYPASS, &1i32)?;
        let frames = Frames::map(socket, index, libc::PACKET_TX_RING, TX_FRAME, TX_FRAMES)?;
        bind(&frames.socket, index, 0)?;
        Ok(Self { frames })
    }

    /// Puts a packet into the ring.
    #[inline]
    pub fn queue(&mut self, packet: &[u8]) -> Queued {
        if packet.len() > LARGEST_TO_SEND {
            return Queued::TooLong;
        }
        let status = self.frames.status().load(Ordering::Acquire);
        if status & (libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_SENDING) != 0 {
            return Queued::Full;
        }
        let header = self.frames.header();
        // SAFETY: the frame is ours until its status is stored, and the packet was checked to fit behind the header, which
        // lies in the mapping with the rest of the frame. Nothing else of this process refers to the frame.
        unsafe {
            let target = header.cast::<u8>().wrapping_add(TX_OFFSET);
            std::ptr::copy_nonoverlapping(packet.as_ptr(), target, packet.len());
            #[expect(clippy::cast_possible_truncation, reason = "below the size of a frame")]
            (&raw mut (*header).tp_len).write(packet.len() as u32);
        }
        self.frames.status().store(libc::TP_STATUS_SEND_REQUEST, Ordering::Release);
        self.frames.advance();
        Queued::Yes
    }

    /// Whether the kernel has sent all packets in the ring.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        // frames are sent in order, and the frame before the next one was filled last
        let last = self.frames.at.checked_sub(1).unwrap_or(self.frames.frames - 1);
        let status = self.frames.status_of(last).load(Ordering::Acquire);
        status & (libc::TP_STATUS_SEND_REQUEST | libc::TP_STATUS_SENDING) == 0
    }

    /// Tells the kernel to send the packets in the ring.
    ///
    /// # Errors
    /// `ENETDOWN`: the interface is down. `ENXIO`: it is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        match send(&self.frames.socket, &[], SendFlags::DONTWAIT) {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
