//! Ports: the things that a command receives packets from and sends packets to. One trait, and a file for each kind.
//!
//! | text | file | what |
//! | --- | --- | --- |
//! | `PATH,…` | `memif` | a memif interface |
//! | `pcap:FILE` | `pcap`, `replay` | a capture file, which is replayed or written |
//! | `tap:NAME,…` | `tap` | a TAP interface: the kernel's stack is at its other end |
//! | `packet:IFACE,…` | `packet` | a network interface; the kernel's stack receives its packets as well |
//! | `xdp:IFACE,…` | `xdp` | one queue of a network interface; the kernel's stack does not receive its packets |
//! | `null:` | `null` | packets that are sent to it are discarded |
//!
//! A port gives each worker its own queues: an [`Inlet`] to receive from, an [`Outlet`] to send on. Both move bursts of
//! memif-pmd and count packets. These files are shared by several kinds of ports:
//!
//! | file | what |
//! | --- | --- |
//! | `spec`, `keys` | parsing the text |
//! | `counting` | counters and drops |
//! | `fate` | why a port has ended |
//! | `only_queue` | the queue of a port that has only one |
//! | `interface` | queues of network interfaces, and messages for their errors |
//! | `offload` | checksums and segmentation that the kernel leaves to the receiver |

mod counting;
mod fate;
mod interface;
mod keys;
pub(crate) mod memif;
mod null;
mod offload;
mod only_queue;
mod packet;
mod pcap;
mod replay;
mod spec;
mod tap;
mod xdp;

use std::sync::Arc;
use std::time::Duration;

use memif_pmd::{Details, Interface, Queues, Receive, RxMode, RxQueue, Transmit, TxQueue};

use crate::error::ToolError;
use crate::packet::Framing;
use crate::report::Drops;

pub(crate) use null::NullPort;
pub(crate) use packet::PacketPort;
pub(crate) use pcap::{ReplayPort, WrittenPort};
pub(crate) use replay::{Speed, Timing};
pub(crate) use spec::Spec;
pub(crate) use tap::TapPort;
pub(crate) use xdp::XdpPort;

/// An open port.
pub(crate) trait Port {
    /// Its name in messages.
    fn name(&self) -> &str;

    /// Which header its packets begin with; `None` if it takes packets with any.
    fn framing(&self) -> Option<Framing>;

    /// Number of receive queues; 0 if no packets come from this kind of port.
    fn rx_count(&self) -> u16;

    /// Number of transmit queues, at least 1. A memif port counts those for which the link has a ring.
    fn tx_count(&self) -> u16 {
        1
    }

    /// Takes the receive queue with this number, for one worker.
    ///
    /// # Errors
    /// There is no such queue, or a worker has taken it.
    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError>;

    /// Takes the transmit queue with this number, for one worker.
    ///
    /// # Errors
    /// There is no such queue, or a worker has taken it.
    fn tx(&self, queue: u16) -> Result<Box<dyn Outlet>, ToolError>;

    /// Whether it is a network interface of the kernel.
    fn is_of_kernel(&self) -> bool {
        false
    }

    /// Whether it drops all packets that are sent to it, as it only replays.
    fn only_replays(&self) -> bool {
        false
    }

    /// Number of packets dropped so far, by reason.
    fn drops(&self) -> Drops;

    /// Waits for up to `step` until packets can pass. Returns `None` if they can, or else the reason why they cannot yet.
    ///
    /// # Errors
    /// Packets will never pass.
    fn wait_up(&self, step: Duration) -> Result<Option<String>, ToolError> {
        let _ = step;
        Ok(None)
    }

    /// Whether packets can pass now.
    fn is_up(&self) -> bool {
        true
    }

    /// Waits, for a bounded time, until the peer has taken all packets that were sent.
    fn settle(&self) {}

    /// Prints a warning for each kind of peer fault that has not been reported yet.
    fn report_faults(&self) {}

    /// Checks that the port still works. The main thread calls this every few milliseconds, and once more when the workers have
    /// ended.
    ///
    /// # Errors
    /// The error that ended the port. It ends the run.
    fn check(&self) -> Result<(), ToolError> {
        Ok(())
    }

    /// The memif interface; `None` for other kinds of ports.
    fn interface(&self) -> Option<&Arc<Interface>> {
        None
    }

    /// The state of the memif interface; `None` for other kinds of ports.
    fn details(&self) -> Option<Details> {
        None
    }
}

/// How much has passed a queue so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Number of packets.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

/// A queue to receive from.
pub(crate) trait Inlet: Receive + Queues {
    /// Packets received so far.
    fn moved(&self) -> Moved;

    /// How its worker learns of packets: by polling only, or by sleeping until the kernel signals one of its descriptors.
    fn mode(&self) -> RxMode {
        RxMode::Polling
    }

    /// Whether it will receive no more packets.
    fn is_over(&self) -> bool {
        false
    }

    /// The queue as that of a memif interface, which can forward without a copy; `None` for other kinds of ports.
    fn as_memif(&mut self) -> Option<&mut RxQueue> {
        None
    }
}

/// A queue to send on. Packets for which there is no room now stay in the burst; packets that can never be sent are dropped and
/// counted.
pub(crate) trait Outlet: Transmit + Queues {
    /// Packets sent so far.
    fn moved(&self) -> Moved;

    /// Whether packets can be sent now.
    fn is_up(&mut self) -> bool {
        true
    }

    /// The queue as that of a memif interface, which can forward without a copy; `None` for other kinds of ports.
    fn as_memif(&mut self) -> Option<&mut TxQueue> {
        None
    }
}

/// The error for a queue that a port does not have, or that is already taken.
fn no_queue(port: &str, queue: u16) -> ToolError {
    ToolError::Usage(format!("{port} has no queue {queue} that is free"))
}
