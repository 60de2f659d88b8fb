//! Completes packets that the kernel leaves unfinished: computes checksums, and splits TCP and UDP packets that are larger than
//! the interface's MTU into segments. A memif packet must be complete, as the protocol has no flags for either. On the way back,
//! TCP segments that follow each other are joined into one packet, which the kernel takes in one call.
//!
//! The header in front of each packet (`struct virtio_net_hdr`, in `vnet`) says what is left to do.

mod checksum;
mod join;
mod split;
mod vnet;

#[cfg(test)]
mod tests;

pub(super) use checksum::complete_checksum;
pub(super) use join::Joined;
pub(super) use split::{Put, Work};
pub(super) use vnet::VNET_HEADER;
