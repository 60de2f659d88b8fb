//! `packet:IFACE`: a network interface, through an `AF_PACKET` socket with mapped rings.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use memif_os::packet_socket::{InterfaceWatch, PacketReceiver, PacketSender, Queued, ReceivedPacket};
use memif_os::socket::NetNamespace;
use memif_pmd::{Burst, Queues, Receive, RxMode, Transmit};
use rustix::io::Errno;

use super::counting::{Losses, Tally};
use super::fate::Fate;
use super::interface::{End, check, open_in, open_problem, settle};
use super::keys::Keys;
use super::offload::{Put, VNET_HEADER, Work};
use super::only_queue::OnlyQueue;
use super::{Inlet, Moved, Outlet, Port};
use crate::error::ToolError;
use crate::packet::Framing;
use crate::report::Drops;

/// Bytes of both Ethernet addresses. A VLAN tag follows them.
const ADDRESSES: usize = 12;

/// The text of a `packet:` port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PacketSpec {
    name: String,
    promiscuous: bool,
    netns: Option<NetNamespace>,
}

impl PacketSpec {
    /// Parses `IFACE[,key=value…]`.
    ///
    /// # Errors
    /// [`ToolError::Usage`] says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, ToolError> {
        let keys = Keys::split("packet", text, &["promiscuous", "netns"], &[])?;
        let mut spec = Self { name: keys.name.to_owned(), promiscuous: false, netns: None };
        for (key, value) in &keys.pairs {
            match *key {
                "netns" => spec.netns = Some(keys.namespace(*value)?),
                _ => spec.promiscuous = keys.flag(key, *value)?,
            }
        }
        Ok(spec)
    }
}

/// A `packet:` port.
pub(crate) struct PacketPort {
    name: String,
    receiver: OnlyQueue<PacketReceiver>,
    sender: OnlyQueue<PacketSender>,
    watch: InterfaceWatch,
    /// Packets that the kernel dropped because the receive ring was full.
    no_room: AtomicU64,
    losses: Losses,
    fate: Fate,
}

impl PacketPort {
    /// Opens the interface.
    ///
    /// # Errors
    /// [`ToolError::Port`]: no permission, no such interface or network namespace, or no memory for the rings.
    pub(crate) fn open(spec: &PacketSpec) -> Result<Self, ToolError> {
        let name = format!("packet:{}", spec.name);
        let (there, port) = (spec.clone(), name.clone());
        let (receiver, watch, sender) = open_in(spec.netns.as_ref(), &name, move || {
            let open = || {
                let receiver = PacketReceiver::open(&there.name, there.promiscuous)?;
                let watch = receiver.watch()?;
                Ok((receiver, watch, PacketSender::open(&there.name)?))
            };
            open().map_err(|error| ToolError::Port { port, problem: open_problem(&error) })
        })?;
        Ok(Self {
            receiver: OnlyQueue::new(receiver),
            sender: OnlyQueue::new(sender),
            watch,
            no_room: AtomicU64::new(0),
            losses: Losses::default(),
            fate: Fate::default(),
            name,
        })
    }
}

impl Port for PacketPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn framing(&self) -> Option<Framing> {
        Some(Framing::Ethernet)
    }

    fn rx_count(&self) -> u16 {
        1
    }

    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError> {
        let socket = self.receiver.take(&self.name, queue)?;
        Ok(Box::new(PacketInlet { socket, work: Work::new(), tally: Tally::new(&self.losses) }))
    }

    fn tx(&self, queue: u16) -> Result<Box<dyn Outlet>, ToolError> {
        let socket = self.sender.take(&self.name, queue)?;
        Ok(Box::new(PacketOutlet { socket, end: End::new(&self.name, &self.losses, &self.fate) }))
    }

    fn is_of_kernel(&self) -> bool {
        true
    }

    fn drops(&self) -> Drops {
        let new = self.watch.take_drops().unwrap_or_default();
        let no_room = self.no_room.fetch_add(new.into(), Ordering::Relaxed) + u64::from(new);
        let mut drops = self.losses.read();
        if no_room > 0 {
            drops.insert("no_room".to_owned(), no_room);
        }
        drops
    }

    fn check(&self) -> Result<(), ToolError> {
        check(&self.name, &self.fate, &self.watch)
    }
}

/// Receives packets from the interface.
struct PacketInlet {
    socket: PacketReceiver,
    work: Work,
    tally: Tally,
}

/// Writes the header and the packet to `buffer`, and puts the VLAN tag back that the kernel removed. Returns the number of
/// bytes, or `None` if `buffer` is too short.
fn join(packet: &ReceivedPacket<'_>, bytes: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let mut header = packet.header;
    let tag = match packet.vlan {
        Some((kind, value)) if bytes.len() >= ADDRESSES => {
            let tag = [kind.to_be_bytes(), value.to_be_bytes()];
            // the tag moves the start of the checksum by 4 bytes
            let start = u16::from_ne_bytes([header[6], header[7]]).saturating_add(4);
            header[6..8].copy_from_slice(&start.to_ne_bytes());
            Some(tag)
        }
        _ => None,
    };
    let (addresses, rest) = if tag.is_some() { bytes.split_at(ADDRESSES) } else { (&[][..], bytes) };
    let tag = tag.as_ref().map_or(&[][..], |tag| tag.as_flattened());
    let mut len = 0;
    for part in [&header[..], addresses, tag, rest] {
        buffer.get_mut(len..len + part.len())?.copy_from_slice(part);
        len += part.len();
    }
    Some(len)
}

/// Reads a packet that is larger than a frame of the ring, and puts its VLAN tag back. Returns the number of bytes.
fn read_large(socket: &mut PacketReceiver, vlan: Option<(u16, u16)>, buffer: &mut [u8]) -> io::Result<usize> {
    let len = socket.receive_large(buffer)?;
    let Some(vlan) = vlan.filter(|_| len >= VNET_HEADER + ADDRESSES) else { return Ok(len) };
    let whole = buffer.get(..len).unwrap_or_default().to_vec();
    let Some((header, bytes)) = whole.split_first_chunk::<VNET_HEADER>() else { return Ok(len) };
    let packet = ReceivedPacket { header: *header, vlan: Some(vlan), bytes: None };
    Ok(join(&packet, bytes, buffer).unwrap_or(len))
}

impl PacketInlet {
    /// Takes the next packet from the socket. Returns false if there is none.
    fn take(&mut self) -> bool {
        let Self { socket, work, tally } = self;
        let Some(packet) = socket.peek() else { return false };
        let vlan = packet.vlan;
        let taken = match packet.bytes {
            Some(bytes) => work.take(|buffer| {
                join(&packet, bytes, buffer).ok_or_else(|| io::Error::from(io::ErrorKind::Other))
            }),
            None => work.take(|buffer| read_large(socket, vlan, buffer)),
        };
        match taken {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tally.drop("bad_offload", 1),
            Err(_) => tally.drop("no_memory", 1),
        }
        self.socket.release();
        true
    }
}

impl Receive for PacketInlet {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        burst.set_aside();
        let before = burst.len();
        // dropped packets do not fill the burst: this bounds them too
        for _ in 0..burst.capacity() {
            if burst.room() == 0 || (self.work.is_done() && !self.take()) {
                break;
            }
            if self.work.is_done() {
                continue;
            }
            match self.work.put(burst, |len| self.tally.pass(len)) {
                Ok(Put::Done) => {}
                Ok(Put::Full) => break,
                Err(_) => self.tally.drop("bad_length", 1),
            }
        }
        burst.len() - before
    }
}

impl Queues for PacketInlet {
    fn each_fd(&self, visit: &mut dyn FnMut(BorrowedFd<'_>)) {
        visit(self.socket.as_fd());
    }

    fn activity(&self) -> u64 {
        self.tally.activity()
    }
}

impl Inlet for PacketInlet {
    fn mode(&self) -> RxMode {
        RxMode::Adaptive
    }

    fn moved(&self) -> Moved {
        self.tally.moved()
    }
}

/// Sends packets to the interface.
struct PacketOutlet {
    socket: PacketSender,
    end: End,
}

impl PacketOutlet {
    #[cold]
    fn fail(&mut self, error: &io::Error) {
        // the kernel has dropped a packet that is too long for the interface
        if let Some(Errno::MSGSIZE | Errno::INVAL) = Errno::from_io_error(error) {
            self.end.tally.drop("too_long", 1);
        } else {
            self.end.fail(error);
        }
    }
}

impl Transmit for PacketOutlet {
    fn send(&mut self, burst: &mut Burst) -> usize {
        if self.end.has_failed() || burst.len() + burst.waiting() == 0 {
            return 0;
        }
        let Self { socket, end: End { tally, .. } } = self;
        let sent = burst.offer(|packets| {
            let mut taken = 0;
            for packet in packets {
                match socket.queue(packet) {
                    Queued::Yes => tally.pass(packet.len()),
                    Queued::Full => break,
                    Queued::TooLong => tally.drop("too_long", 1),
                }
                taken += 1;
            }
            taken
        });
        if let Err(error) = self.socket.flush() {
            self.fail(&error);
        }
        sent
    }
}

impl Queues for PacketOutlet {
    fn activity(&self) -> u64 {
        self.end.tally.activity()
    }
}

impl Outlet for PacketOutlet {
    fn moved(&self) -> Moved {
        self.end.tally.moved()
    }

    fn is_up(&mut self) -> bool {
        !self.end.has_failed()
    }
}

impl Drop for PacketOutlet {
    /// Waits until the kernel has sent the packets in the ring.
    fn drop(&mut self) {
        settle(|| self.end.has_failed() || self.socket.is_sent() || self.socket.flush().is_err());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed() {
        assert!(PacketSpec::parse("eth0,promiscuous").unwrap().promiscuous);
        assert!(!PacketSpec::parse("eth0").unwrap().promiscuous);
        let netns = PacketSpec::parse("eth0,netns=blue,promiscuous").unwrap().netns;
        assert_eq!(netns, Some(NetNamespace::new("blue").unwrap()));
        for text in ["", "eth0,promisc", "eth0,promiscuous=1", "eth0,netns="] {
            assert_eq!(PacketSpec::parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn a_vlan_tag_is_put_back_behind_the_addresses() {
        let bytes: Vec<u8> = (0..60).collect();
        let mut header = [0; VNET_HEADER];
        header[6..8].copy_from_slice(&34u16.to_ne_bytes());
        let packet = ReceivedPacket { header, vlan: Some((0x8100, 5)), bytes: Some(&bytes) };
        let mut buffer = vec![0; 100];
        let len = join(&packet, &bytes, &mut buffer).unwrap();
        assert_eq!(len, VNET_HEADER + 64);
        assert_eq!(buffer[6..8], 38u16.to_ne_bytes());
        assert_eq!(buffer[VNET_HEADER..][..12], bytes[..12]);
        assert_eq!(buffer[VNET_HEADER + 12..][..4], [0x81, 0, 0, 5]);
        assert_eq!(buffer[VNET_HEADER + 16..len], bytes[12..]);
        assert_eq!(join(&packet, &bytes, &mut buffer[..70]), None);
        let whole = ReceivedPacket { vlan: None, ..packet };
        assert_eq!(join(&whole, &bytes, &mut buffer), Some(VNET_HEADER + 60));
    }
}
