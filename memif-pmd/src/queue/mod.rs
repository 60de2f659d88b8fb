//! Queue handles: what a data thread holds.
//!
//! A call goes from the queue ([`rx`], [`tx`]) to the end of its ring, whose role is asked once ([`end`]), and from there
//! to a loop over descriptors: those of memif-ring, which copy, or those here, which lend buffers in place
//! ([`peek`], [`reservation`], [`raw`]). While there is a mirror, calls go through [`mirrored`].

mod end;
mod forward;
mod lend;
#[cfg(all(test, loom))]
mod loom_buffers;
#[cfg(all(test, loom))]
mod loom_reaper;
#[cfg(all(test, loom))]
mod loom_tests;
mod mailbox;
mod mirrored;
mod mode;
mod notifier;
mod overcome;
mod overruns;
mod peek;
pub mod raw;
mod report;
mod reservation;
mod rx;
mod sleep;
mod tx;

pub(crate) use mailbox::Mailbox;
pub use peek::{Peeked, Pieces};
pub(crate) use report::{Report, Reports};
pub use reservation::Reservation;
pub use rx::RxQueue;
pub(crate) use sleep::{nap, until_woken};
pub use tx::TxQueue;
