//! The device: bursts on the side of memif, single packets on the side of smoltcp.

use std::time::Duration;

use memif_pmd::{Burst, Interface, Mode, Receive, RxQueue, Stop, Transmit, TxQueue};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::time;

use crate::error::Error;

/// The MTU of a device in Ethernet mode unless told otherwise: 1500 bytes of IP and the Ethernet header.
pub const DEFAULT_ETHERNET_MTU: usize = 1514;
/// The MTU of a device in IP mode unless told otherwise.
pub const DEFAULT_IP_MTU: usize = 1500;

/// Packets of a burst.
const BURST: usize = 64;
/// Bytes that a [`Burst`] has for each packet of its capacity.
const BURST_PACKET: usize = 2048;
/// How long a sleep may be while packets wait for a full ring: nobody announces that it has room again.
const RING_FULL_NAP: Duration = Duration::from_millis(1);

/// A smoltcp device over a receive and a transmit queue.
///
/// It receives a burst and hands its packets out one at a time; it collects what smoltcp sends, and sends it when 64 packets
/// are there, when all that was received has been handed out, and on [`Device::wait`] and [`Device::flush`]: call one of them
/// after each poll.
///
/// While the ring is full smoltcp gets no token to send with, and keeps its data. Answers to a received packet, such as an
/// ACK, are then dropped and counted ([`Device::dropped`]), so that two full rings cannot stop both ends for good.
#[derive(Debug)]
pub struct Device<R = RxQueue, T = TxQueue> {
    rx: R,
    tx: T,
    medium: Medium,
    mtu: usize,
    received: Burst,
    /// Index of the packet of `received` that comes next.
    next: usize,
    sending: Sending,
}

/// Packets on their way to the ring.
#[derive(Debug)]
struct Sending {
    burst: Burst,
    /// Where a packet is written that will not be sent.
    discarded: Vec<u8>,
    dropped: u64,
}

impl Sending {
    /// With room for [`BURST`] packets of `mtu` bytes.
    fn new(mtu: usize) -> Result<Self, Error> {
        let burst = Burst::new(BURST * mtu.div_ceil(BURST_PACKET))?;
        Ok(Self { burst, discarded: Vec::new(), dropped: 0 })
    }

    fn is_full(&self) -> bool {
        self.burst.len() >= BURST
    }
}

impl Device {
    /// The device over the receive and the transmit queue with this index. The interface's mode decides whether its packets
    /// are Ethernet frames or IP packets.
    ///
    /// # Errors
    /// - [`Error::Medium`]: the interface is in punt/inject mode.
    /// - [`Error::Memif`]: the interface has no such queue, its handle is in use, or there is no memory.
    pub fn open(interface: &Interface, queue: u16) -> Result<Self, Error> {
        let medium = match interface.details()?.mode {
            Mode::Ethernet => Medium::Ethernet,
            Mode::Ip => Medium::Ip,
            mode => return Err(Error::Medium { mode }),
        };
        Self::new(interface.rx(queue)?, interface.tx(queue)?, medium)
    }

    /// Sends what was collected, and sleeps until there are packets, the link comes or goes, or `delay` has passed; `None`
    /// sleeps without limit. `delay` is what [`poll_delay`](smoltcp::iface::Interface::poll_delay) says. Returns at once
    /// where packets that were received have not been handed out yet. Ctrl-C does not end it: use [`Device::wait_until`].
    ///
    /// While packets wait for a full ring it sleeps for 1 ms at most, as no peer announces room.
    ///
    /// # Errors
    /// [`Error::Memif`]: the kernel refuses an eventfd, or to wait on it.
    pub fn wait(&mut self, delay: Option<time::Duration>) -> Result<(), Error> {
        self.sleep(delay, RxQueue::wait)
    }

    /// Waits like [`Device::wait`], and ends also when `stop` is called. If `stop` was called before, it returns at once.
    ///
    /// # Errors
    /// Those of [`Device::wait`].
    pub fn wait_until(&mut self, stop: &Stop, delay: Option<time::Duration>) -> Result<(), Error> {
        self.sleep(delay, |rx, limit| rx.wait_until(stop, limit))
    }

    fn sleep(
        &mut self,
        delay: Option<time::Duration>,
        wait: impl FnOnce(&mut RxQueue, Option<Duration>) -> Result<bool, memif_pmd::Error>,
    ) -> Result<(), Error> {
        let waiting = self.flush();
        let limit = if waiting > 0 { Some(RING_FULL_NAP) } else { delay.map(Duration::from) };
        if self.next == self.received.len() && limit != Some(Duration::ZERO) {
            wait(&mut self.rx, limit)?;
        }
        Ok(())
    }
}

impl<R: Receive, T: Transmit> Device<R, T> {
    /// A device over queues of your own, such as those of a [`loopback`](memif_pmd::loopback()) in a test. Programs with an
    /// interface use [`Device::open`].
    ///
    /// # Errors
    /// [`Error::Memif`]: there is no memory.
    pub fn new(rx: R, tx: T, medium: Medium) -> Result<Self, Error> {
        let mtu = if medium == Medium::Ethernet { DEFAULT_ETHERNET_MTU } else { DEFAULT_IP_MTU };
        let (received, sending) = (Burst::new(BURST)?, Sending::new(mtu)?);
        Ok(Self { rx, tx, medium, mtu, received, next: 0, sending })
    }

    /// Changes the MTU: bytes of the largest packet that smoltcp sends, 576 to 65535; in Ethernet mode with the Ethernet
    /// header. Packets larger than a buffer of the ring take several buffers, which some peers do not support: with those stay
    /// below their buffer size. For a new device: packets that wait to be sent are dropped.
    ///
    /// # Errors
    /// [`Error::Mtu`]: out of range. [`Error::Memif`]: there is no memory.
    pub fn with_mtu(mut self, mtu: usize) -> Result<Self, Error> {
        if !(576..=65535).contains(&mtu) {
            return Err(Error::Mtu { mtu });
        }
        self.sending = Sending::new(mtu)?;
        self.mtu = mtu;
        Ok(self)
    }

    /// Sends what was collected. Returns how many packets wait, as the ring is full.
    pub fn flush(&mut self) -> usize {
        self.tx.send(&mut self.sending.burst);
        self.sending.burst.len()
    }

    /// The receive queue.
    #[must_use]
    pub fn rx(&self) -> &R {
        &self.rx
    }

    /// The receive queue, to sleep over it with others. What is received from it does not reach smoltcp.
    #[must_use]
    pub fn rx_mut(&mut self) -> &mut R {
        &mut self.rx
    }

    /// The transmit queue, for its counters.
    #[must_use]
    pub fn tx(&self) -> &T {
        &self.tx
    }

    /// Answers to received packets that were dropped because the ring was full, and packets that are no packets: empty, or
    /// larger than 65535 bytes.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.sending.dropped
    }

    /// Whether smoltcp may send a packet.
    fn has_room(&mut self) -> bool {
        !self.sending.is_full() || self.flush() < BURST
    }
}

impl<R: Receive, T: Transmit> phy::Device for Device<R, T> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: time::Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        if self.next == self.received.len() {
            self.flush();
            self.received.clear();
            self.next = 0;
            self.rx.receive(&mut self.received);
        }
        // an answer that finds no room is dropped: waiting for it could wait for a peer that waits for us
        self.has_room();
        let packet = self.received.get(self.next)?;
        self.next += 1;
        Some((RxToken { packet }, TxToken { sending: &mut self.sending }))
    }

    fn transmit(&mut self, _: time::Instant) -> Option<TxToken<'_>> {
        self.has_room().then_some(TxToken { sending: &mut self.sending })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = self.medium;
        capabilities.max_transmission_unit = self.mtu;
        // nothing computes or verifies checksums for us, and the peer is not trusted
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

/// A packet that was received.
#[derive(Debug)]
pub struct RxToken<'a> {
    packet: &'a [u8],
}

impl phy::RxToken for RxToken<'_> {
    fn consume<O, F: FnOnce(&[u8]) -> O>(self, with: F) -> O {
        with(self.packet)
    }
}

/// Room for a packet to be sent.
#[derive(Debug)]
pub struct TxToken<'a> {
    sending: &'a mut Sending,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<O, F: FnOnce(&mut [u8]) -> O>(self, len: usize, with: F) -> O {
        let Sending { burst, discarded, dropped } = self.sending;
        if burst.len() < BURST
            && let Ok(packet) = burst.reserve(len)
        {
            // what an earlier packet left there must not go to the peer
            packet.fill(0);
            return with(packet);
        }
        *dropped += 1;
        discarded.clear();
        discarded.resize(len, 0);
        with(discarded)
    }
}
