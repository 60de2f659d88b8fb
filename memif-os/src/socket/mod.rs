//! The control channel's sockets: `AF_UNIX`, `SOCK_SEQPACKET`, non-blocking, one message a call with at most
//! one descriptor on it (docs/protocol.md, section 2).
//!
//! The peer may send anything. A [`Channel`] never blocks, never leaks a descriptor that a peer attached, never closes the
//! last reference to one, and tells a closed connection from a failing system call.

mod access;
mod address;
mod channel;
mod credentials;
mod enter;
mod error;
mod file;
mod listener;
mod namespace;
mod raw;

pub use access::SocketAccess;
pub use address::{AddressError, MAX_ADDRESS_LEN, SocketAddress};
pub use channel::{Channel, Incoming, Received, SendOutcome};
pub use credentials::Credentials;
pub use enter::within;
pub use error::SocketError;
pub use listener::Listener;
pub use namespace::{NamespaceError, NetNamespace};

#[cfg(test)]
mod tests;
