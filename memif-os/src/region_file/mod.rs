//! Shared memory regions: the memfds that a slave creates, and the descriptors that a peer hands over.
//!
//! [`RegionFile`] is ours: allocated up front, so that no later access can run out of memory, and sealed, so
//! that nobody can shrink it under its users. [`PeerRegion`] is the peer's and hostile until proven
//! otherwise: what is no shared memory, is smaller than announced, or can still shrink is refused before
//! anything is mapped. [`ObservedRegion`] belongs to two other processes, and is only looked at.
//!
//! What checks cannot rule out, and users with untrusted peers should know:
//!
//! - **Sparse files.** libmemif sends files that nobody has touched yet, so a sparse file must be accepted.
//!   Its pages are allocated when either side touches them first, and count against whoever does so. Mapping
//!   therefore touches none, and [`PeerRegion::populate`] only those that are there, up to a budget; a control group's
//!   memory limit bounds the rest.
//! - **Holes.** The peer can punch holes into any file that it may write to. On normal pages a hole reads as zeroes and
//!   is filled on the next access. On huge pages the next access needs a free huge page again, and without one it
//!   raises SIGBUS. A file of ours can be sealed against that, once both sides have mapped it:
//!   [`RegionFile::seal_future_write`].
//!
//! The mapped bytes belong to two processes, so they are handed out as pointers only, never as slices.

mod error;
mod memfd;
mod observed;
mod own;
mod peer;

pub use error::{MAX_REGION_LEN, RegionError};
pub use observed::ObservedRegion;
pub use own::RegionFile;
pub use peer::{PeerRegion, SealState, ShrinkSeal};

#[cfg(test)]
mod tests;
