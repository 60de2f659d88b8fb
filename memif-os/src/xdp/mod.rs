//! `AF_XDP` sockets: the packets of one queue of a network interface, which the kernel's stack then does not receive.
//!
//! | file | what |
//! | --- | --- |
//! | `program` | loads the XDP program that redirects a queue's packets to a socket, and attaches it to the interface |
//! | `socket` | the socket, its rings and its packet memory |

mod program;
mod socket;

pub use program::XdpProgram;
pub use socket::{Sent, XdpLosses, XdpMode, XdpSocket};
