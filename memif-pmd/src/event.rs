//! Events of an interface.

use crate::error::Disconnect;

/// An event of an interface; see [`InterfaceBuilder::on_event`](crate::InterfaceBuilder::on_event).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The link is up: packets can be sent and received.
    Connected,
    /// The link has ended, for this reason.
    Disconnected(Disconnect),
    /// An attempt to connect failed, for this reason. A slave tries again. A master also hears that it is out of descriptors
    /// and accepts nobody.
    ConnectFailed(Disconnect),
    /// The connection that packet memory was provided for has ended, after its [`Event::Disconnected`] or
    /// [`Event::ConnectFailed`]: see [`InterfaceBuilder::packet_memory_by`](crate::InterfaceBuilder::packet_memory_by).
    PacketMemoryReturned,
    /// The peer has signalled a receive queue, which may have packets. Only with
    /// [`InterfaceBuilder::notify_interrupts`](crate::InterfaceBuilder::notify_interrupts).
    Interrupt {
        /// Index of the queue.
        queue: u16,
    },
}
