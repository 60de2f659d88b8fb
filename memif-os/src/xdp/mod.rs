//! `AF_XDP` sockets: packets of one queue of a network interface, taken before the kernel's own stack sees them.
//!
//! | file | what |
//! | --- | --- |
//! | `program` | the XDP program that hands packets of a queue to a socket, and its attachment |
//! | `socket` | the socket with its rings and its packet memory |

mod program;
mod socket;

pub use program::XdpProgram;
pub use socket::{Sent, XdpLosses, XdpMode, XdpSocket};
