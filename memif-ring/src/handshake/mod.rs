//! The handshake of both roles, without I/O: messages in, messages and file descriptor tokens out.
//!
//! [`MasterHandshake`] and [`SlaveHandshake`] decide which message may arrive at which stage, and check every number
//! that a peer sends before anyone uses it. The driver owns the socket, the clock and the memory:
//!
//! 1. Before each `handle`, send what `poll_transmit` returns, until it returns `None`. If the socket is full, wait.
//!    Each message is answered before the next one is sent: a peer that does not wait for the answer is refused.
//! 2. Pass each received message to `handle`, with its file descriptor. Close surplus descriptors, and pass their
//!    number.
//! 3. After a fault, or at [`Stage::Closed`], send what `poll_transmit` returns, and close the socket.
//! 4. If the handshake takes too long, call `refuse` with [`PeerFault::HandshakeTimedOut`].
//!
//! Each call does bounded work and leaves at most one message to send.
//!
//! A whole handshake, with both sides in one program, and no socket or memory:
//!
//! ```
//! use memif_ring::handshake::{Admission, HelloParams, MasterEvent, MasterHandshake};
//! use memif_ring::handshake::{SlaveEvent, SlaveHandshake, SlaveParams, Stage};
//! use memif_ring::layout::LineSize;
//! use memif_ring::message::{Message, Mode, Name, Secret};
//!
//! let (mode, secret) = (Mode::Ethernet, Secret::new("psst")?);
//! let mut master = MasterHandshake::new(HelloParams::most(Name::new("a master")?));
//! let mut slave = SlaveHandshake::new(SlaveParams {
//!     id: 0,
//!     mode,
//!     secret,
//!     name: Name::new("a slave")?,
//!     if_name: Name::new("slave0")?,
//!     s2m_rings: 1,
//!     m2s_rings: 1,
//!     log2_ring_size: 10,
//!     line: LineSize::NATIVE,
//! })?;
//! let mut messages = Vec::new();
//! while let Some(sent) = master.poll_transmit() {
//!     messages.push(format!("master: {}", Message::parse(&sent.bytes)?.kind()));
//!     match slave.handle(&sent.bytes, None::<u32>, 0)? {
//!         // allocate a region and create the rings that both sides agreed on; here it has 4 MiB of buffers
//!         SlaveEvent::Offer(agreed) => slave.offer(&[agreed.rings_size() + (4 << 20)])?,
//!         SlaveEvent::Hello { .. } | SlaveEvent::Progress | SlaveEvent::Connected { .. } => {}
//!         event => panic!("{event:?}"),
//!     }
//!     let Some(sent) = slave.poll_transmit() else { break };
//!     messages.push(format!("slave: {}", Message::parse(&sent.bytes)?.kind()));
//!     // the descriptor that `sent.fd` names goes along: here the name itself
//!     match master.handle(&sent.bytes, sent.fd, 0)? {
//!         // look up the interface by the id that the slave asks for
//!         MasterEvent::Init(init) => {
//!             assert_eq!(init.id, 0);
//!             master.admit(Admission::Interface { mode, secret: &secret, s2m_rings: 1, m2s_rings: 1 })?;
//!         }
//!         // keep it for CONNECT
//!         MasterEvent::Region { .. } | MasterEvent::Ring { .. } => {}
//!         // map the regions and attach to the rings
//!         MasterEvent::Connect { .. } => master.connected(Name::new("master0")?)?,
//!         event => panic!("{event:?}"),
//!     }
//! }
//! assert_eq!((master.stage(), slave.stage()), (Stage::Up, Stage::Up));
//! let expected = [
//!     ["master: HELLO", "slave: INIT"],
//!     ["master: ACK", "slave: ADD_REGION"],
//!     ["master: ACK", "slave: ADD_RING"], // from slave to master
//!     ["master: ACK", "slave: ADD_RING"], // from master to slave
//!     ["master: ACK", "slave: CONNECT"],
//! ];
//! assert_eq!(messages, [expected.as_flattened(), &["master: CONNECTED"]].concat());
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! [`PeerFault::HandshakeTimedOut`]: crate::fault::PeerFault::HandshakeTimedOut

mod common;
mod master;
mod places;
mod slave;

#[cfg(test)]
mod tests;

pub use crate::fault::Stage;
pub use common::{FdToken, MAX_REGION_SIZE, MAX_RINGS, OutOfTurn, Transmit};
pub use master::{Admission, AdmitError, HelloParams, MasterEvent, MasterHandshake};
pub use places::Places;
pub use slave::{Negotiated, OfferError, SlaveEvent, SlaveHandshake, SlaveParams, SlaveParamsError};
