//! An IP host: smoltcp on the queues of a port. smoltcp answers ARP, neighbour solicitations and echo requests by itself.

use std::time::Duration;

use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, Queues, Receive, RxMode, RxQueue, Stop, Transmit};
use memif_smoltcp::Device;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::time::Instant;
use smoltcp::wire::HardwareAddress;

use super::address::Identity;
use crate::error::ToolError;
use crate::ports::{Inlet, Moved, Outlet, Port};

/// The largest packet of a memif interface, so that any request can be answered.
const MTU: usize = 65535;
/// Longest sleep of a host that has several rx queues, or packets for which the tx queue has no room.
const NAP: Duration = Duration::from_millis(1);

/// All rx queues of a port. Each call receives from the next one that has packets.
struct Inlets {
    queues: Vec<Box<dyn Inlet>>,
    next: usize,
}

impl Receive for Inlets {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        for _ in 0..self.queues.len() {
            let at = if self.next < self.queues.len() { self.next } else { 0 };
            self.next = at + 1;
            let received = self.queues.get_mut(at).map_or(0, |queue| queue.receive(burst));
            if received > 0 {
                return received;
            }
        }
        0
    }
}

/// The tx queue.
struct Exit(Box<dyn Outlet>);

impl Transmit for Exit {
    fn send(&mut self, burst: &mut Burst) -> usize {
        self.0.send(burst)
    }
}

/// A host on a port. It sends on the first tx queue, and receives on all rx queues.
pub(super) struct Stack {
    device: Device<Inlets, Exit>,
    interface: Interface,
    /// Sockets for what the host does besides answering.
    pub sockets: SocketSet<'static>,
}

impl Stack {
    /// A host with these addresses; `seed` is for the random numbers of smoltcp.
    ///
    /// # Errors
    /// No memory, or a queue that is in use.
    pub(super) fn new(port: &dyn Port, identity: &Identity, seed: u32) -> Result<Self, ToolError> {
        let queues = (0..port.rx_count()).map(|queue| port.rx(queue));
        let inlets = Inlets { queues: queues.collect::<Result<_, _>>()?, next: 0 };
        let medium = match identity.hardware {
            HardwareAddress::Ethernet(_) => Medium::Ethernet,
            HardwareAddress::Ip => Medium::Ip,
        };
        let mut device = Device::new(inlets, Exit(port.tx(0)?), medium)?.with_mtu(MTU)?;
        let mut config = Config::new(identity.hardware);
        config.random_seed = seed.into();
        let mut interface = Interface::new(config, &mut device, now());
        interface.update_ip_addrs(|addresses| {
            // Identity::new has checked that there is room for all
            addresses.extend(identity.addresses.iter().copied().take(addresses.capacity()));
        });
        Ok(Self { device, interface, sockets: SocketSet::new(Vec::new()) })
    }

    /// Handles up to `most` received packets, and sends the packets that wait.
    pub(super) fn turn(&mut self, most: usize) {
        let Self { device, interface, sockets } = self;
        let now = now();
        for _ in 0..most {
            if interface.poll_ingress_single(now, device, sockets) == PollIngressSingleResult::None {
                break;
            }
        }
        interface.poll_maintenance(now);
        for _ in 0..most {
            if interface.poll_egress(now, device, sockets) == PollResult::None {
                break;
            }
        }
        device.flush();
    }

    /// Sleeps until packets come, `stop` is called, or `limit` has passed.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub(super) fn wait(&mut self, stop: &Stop, limit: Duration) -> Result<(), ToolError> {
        let due = self.interface.poll_delay(now(), &self.sockets).map(Duration::from);
        let waiting = self.device.flush() > 0;
        let inlets = self.device.rx_mut();
        let nap = if waiting || inlets.queues.len() > 1 { NAP } else { limit };
        let limit = limit.min(nap).min(due.unwrap_or(limit));
        let mut queue = None;
        inlets.queues.each_rx(&mut |rx| queue = Some(rx));
        match queue {
            _ if limit.is_zero() => {}
            Some(rx) => drop(rx.wait_until(stop, Some(limit))?),
            // not a queue of a memif interface: it is polled after a short sleep
            None => drop(stop.wait(Some(limit.min(NAP)))),
        }
        Ok(())
    }

    /// The modes of the rx queues.
    pub(super) fn modes(&self) -> Vec<RxMode> {
        self.device.rx().queues.iter().map(|queue| queue.mode()).collect()
    }

    /// Answers dropped so far because there was no room to send them.
    pub(super) fn unanswered(&self) -> u64 {
        self.device.dropped()
    }

    /// Packets and bytes sent so far.
    pub(super) fn moved(&self) -> Moved {
        self.device.tx().0.moved()
    }
}

impl Queues for Stack {
    fn each_rx<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut RxQueue)) {
        self.device.rx_mut().queues.each_rx(visit);
    }

    fn activity(&self) -> u64 {
        self.device.rx().queues.activity().wrapping_add(self.device.tx().0.activity())
    }
}

fn now() -> Instant {
    Instant::from_micros(i64::try_from(monotonic_ns() / 1000).unwrap_or(i64::MAX))
}
