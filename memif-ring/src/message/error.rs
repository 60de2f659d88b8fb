//! Why bytes are no control message.

use super::body::MESSAGE_SIZE;

/// Why [`Message::parse`](super::Message::parse) refused what a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer than [`MESSAGE_SIZE`] bytes.
    #[error("control message of {got} bytes: expected {MESSAGE_SIZE}")]
    TooShort {
        /// Bytes received.
        got: usize,
    },
    /// More than [`MESSAGE_SIZE`] bytes.
    #[error("control message of {got} bytes: expected {MESSAGE_SIZE}")]
    TooLong {
        /// Bytes received.
        got: usize,
    },
    /// A message type outside 1 to 8.
    #[error("unknown message type {got}: expected 1 to 8")]
    UnknownType {
        /// The number received.
        got: u16,
    },
    /// An interface mode outside 0 to 2.
    #[error("unknown interface mode {got}: expected 0 to 2")]
    UnknownMode {
        /// The number received.
        got: u8,
    },
}
