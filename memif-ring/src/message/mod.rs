//! The eight control messages: values, and the 128 bytes on the socket that stand for them.
//!
//! [`Message::parse`] accepts bytes of any length and content, as the peer is untrusted, and returns a [`Message`] or a
//! [`ParseError`]. It checks the length, the message type and the interface mode. Whether a message may arrive now, and
//! whether its numbers make sense, is checked by [`handshake`](crate::handshake).

mod body;
mod error;
mod kind;
mod text;
mod wire;

#[cfg(test)]
mod tests;

pub use body::{AddRegion, AddRing, Hello, Init, MESSAGE_SIZE, Message, VERSION};
pub use error::ParseError;
pub use kind::{Direction, MessageKind, Mode, ParseModeError};
pub use text::{Name, Reason, SECRET_SIZE, Secret, Text, TextError};
