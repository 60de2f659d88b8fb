//! Ports: everything that packets can come from or go to. One trait, and a file for each kind.
//!
//! | text | file | what |
//! | --- | --- | --- |
//! | `PATH,…` | `memif` | a memif interface |
//! | `pcap:FILE` | `pcap`, `replay` | a capture, which is replayed or written |
//! | `tap:NAME,…` | `tap` | an interface of the kernel's whose other end is this process |
//! | `packet:IFACE,…` | `packet` | a network interface, beside the kernel's own stack |
//! | `xdp:IFACE,…` | `xdp` | a queue of a network interface, in place of the kernel's own stack |
//! | `null:` | `null` | nothing: packets that are sent to it are gone |
//!
//! A port gives each worker queues of its own: [`Inlet`] and [`Outlet`], which are bursts of memif-pmd with counters. What
//! all kinds have in common is in `spec` and `keys` (the text), `counting` (counters and drops), `fate` (why a port has ended),
//! `only_queue` (for ports with one queue), `offload` (what the kernel leaves undone in packets) and `interface` (what is said when interfaces fail).

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

    /// What its packets begin with; `None` where that is of no account.
    fn framing(&self) -> Option<Framing>;

    /// Number of queues that packets come from; 0 where none ever come.
    fn rx_count(&self) -> u16;

    /// Number of queues to send on, at least 1; of a memif link, those that have a ring.
    fn tx_count(&self) -> u16 {
        1
    }

    /// The receive queue of this number. Each is taken by one worker.
    ///
    /// # Errors
    /// There is none, or it is taken.
    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError>;

    /// The transmit queue of this number. Each is taken by one worker.
    ///
    /// # Errors
    /// As [`Port::rx`].
    fn tx(&self, queue: u16) -> Result<Box<dyn Outlet>, ToolError>;

    /// Whether it is an interface of the kernel's.
    fn is_of_kernel(&self) -> bool {
        false
    }

    /// Packets dropped so far, by reason.
    fn drops(&self) -> Drops;

    /// Waits for up to `step` for packets to be able to pass. Returns why they still cannot, and `None` if they can.
    ///
    /// # Errors
    /// They never will.
    fn wait_up(&self, step: Duration) -> Result<Option<String>, ToolError> {
        let _ = step;
        Ok(None)
    }

    /// Whether packets can pass now.
    fn is_up(&self) -> bool {
        true
    }

    /// Waits, for a bounded time, until whoever receives has taken what was sent.
    fn settle(&self) {}

    /// Reports each kind of a peer's fault once.
    fn report_faults(&self) {}

    /// Called every few milliseconds, and again when the workers have ended.
    ///
    /// # Errors
    /// What ended the port: the run ends with it.
    fn check(&self) -> Result<(), ToolError> {
        Ok(())
    }

    /// A memif interface; `None` for other kinds.
    fn interface(&self) -> Option<&Arc<Interface>> {
        None
    }

    /// State of a memif interface; `None` for other kinds.
    fn details(&self) -> Option<Details> {
        None
    }
}

/// What has passed a queue so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A queue that packets come from.
pub(crate) trait Inlet: Receive + Queues {
    /// Packets received so far.
    fn moved(&self) -> Moved;

    /// How its worker learns of packets. What is the kernel's is waited for when it is idle.
    fn mode(&self) -> RxMode {
        RxMode::Polling
    }

    /// Whether no packet will ever come again.
    fn is_over(&self) -> bool {
        false
    }

    /// The queue of a memif interface, which can forward without a copy.
    fn as_memif(&mut self) -> Option<&mut RxQueue> {
        None
    }
}

/// A queue to send on. What it has no room for stays in the burst; what it can never send is dropped and counted.
pub(crate) trait Outlet: Transmit + Queues {
    /// Packets sent so far.
    fn moved(&self) -> Moved;

    /// Whether packets can be sent now.
    fn is_up(&mut self) -> bool {
        true
    }

    /// The queue of a memif interface, which can forward without a copy.
    fn as_memif(&mut self) -> Option<&mut TxQueue> {
        None
    }
}

/// The error of a queue that a port does not have, or that was taken before.
fn no_queue(port: &str, queue: u16) -> ToolError {
    ToolError::Usage(format!("{port} has no queue {queue} that is free"))
}
