//! Linux shim of memif: what the kernel offers, wrapped once, with typed errors and without policy.
//!
//! Each module wraps one facility of the kernel. Nothing here knows the memif protocol; everything here knows
//! that the peer is not to be trusted with a descriptor, a file or a socket.
//!
//! | module | what it wraps |
//! | --- | --- |
//! | [`region_file`] | shared memory: memfd, seals, huge pages; ours and the peer's |
//! | [`guard`] | SIGBUS: pages of a region that a peer takes away |
//! | [`page_pool`] | private packet memory on huge pages, with a fall-back |
//! | [`huge_pages`] | whether huge pages are wanted, and why there are none |
//! | [`socket`] | the control channel's sockets, with descriptors on messages |
//! | [`event`] | eventfd, timerfd, inotify, epoll, poll |
//! | [`packet_socket`], [`xdp`] | packets of network interfaces: AF_PACKET and AF_XDP |
//! | [`cpu`] | cores: lists, pinning, isolation |
//! | [`thread`] | threads that leave the program's signals alone |
//! | [`clock`] | the monotonic clock, as a number |
//!
//! `docs/architecture.md` in the repository says how the crates fit together.
//!
//! A region goes from one process to another (here both ends are in one):
//!
//! ```
//! use std::os::fd::AsFd;
//! use memif_os::huge_pages::HugePages;
//! use memif_os::region_file::{PeerRegion, RegionFile, SealState, ShrinkSeal};
//! use memif_os::socket::{Channel, Incoming, Listener, SendOutcome, SocketAddress};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("memif.sock");
//! // The master listens, the slave connects.
//! let address = SocketAddress::new(path)?;
//! let listener = Listener::bind(&address, 16)?;
//! let slave = Channel::connect(&address)?;
//! let mut master = listener.accept()?.ok_or("nobody connected")?;
//!
//! // The slave creates a region and hands it over.
//! let region = RegionFile::create("rings", 1 << 20, HugePages::Prefer)?;
//! let announced = (region.len() as u64).to_ne_bytes();
//! assert_eq!(slave.send(&announced, Some(region.as_fd()))?, SendOutcome::Sent);
//!
//! // The master maps it, if it is what the slave says.
//! let mut size = [0; 8];
//! let Incoming::Message(message) = master.recv(&mut size)? else { return Err("no message".into()) };
//! let fd = message.fd.ok_or("no descriptor")?;
//! let mapped = PeerRegion::map(&fd, u64::from_ne_bytes(size), ShrinkSeal::Require)?;
//! assert_eq!(mapped.len(), region.len());
//! assert_eq!(mapped.shrink_seal(), SealState::Present);
//! # Ok(())
//! # }
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("memif-os needs Linux: memfd, eventfd, epoll and SOCK_SEQPACKET");

pub mod clock;
pub mod cpu;
pub mod event;
pub mod guard;
pub mod huge_pages;
pub mod limits;
mod mapping;
pub mod packet_socket;
pub mod page_pool;
pub mod region_file;
mod ringer;
pub mod socket;
pub mod thread;
pub mod xdp;
