//! Packets in private memory: [`Burst`], what a data thread receives into and sends from.
//!
//! Packets lie one behind the other, so that 64 small ones take 4 KiB, which stay in the first-level cache. A packet that
//! came in several descriptors is one slice here.

mod burst;
mod edit;
mod iter;
#[cfg(test)]
mod tests;
mod traits;

pub use burst::Burst;
pub use iter::{Packets, PacketsMut};
