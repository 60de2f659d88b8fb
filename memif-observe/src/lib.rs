//! Observes the memif links of a host from outside, whichever programs made them, without the help of either end.
//!
//! A slave's first region begins with a ring, and a ring begins with the protocol's cookie. Links are therefore found in the
//! memory that processes have mapped: [`Observer::scan`] goes through `/proc`, joins the processes that map the same file,
//! and maps the file for reading. [`Link::poll`] then reads the indices of its rings and counts the descriptors that pass;
//! [`capture::Tap`] copies packets.
//!
//! The observer never writes to shared memory and never notifies a process. The observed processes are not trusted: if they
//! write invalid values or truncate the memory, [`Link::broken`] reports it, and nothing else happens.
//!
//! Observing a process takes the right to trace it: root, or the same user where the system allows that.
//!
//! | module | contents |
//! | --- | --- |
//! | [`observer`] | which links there are |
//! | [`link`] | one link: its ends, regions and rings |
//! | [`ring`] | what the indices of one ring say, and what is wrong with it |
//! | [`geometry`] | where rings lie in a region, and how large they are |
//! | [`direction`] | which of them carry packets to the master |
//! | [`filter`], [`frame`] | which packets are wanted; what they begin with |
//! | [`capture`] | copies of packets, and which of them are certainly intact |
//!
//! ```no_run
//! use memif_observe::{Observer, Scope};
//!
//! let mut observer = Observer::new(Scope::default());
//! observer.scan()?;
//! for link in observer.links() {
//!     println!("{}: {} rings", link.name(), link.rings().len());
//! }
//! # Ok::<(), memif_observe::ObserveError>(())
//! ```
#![forbid(unsafe_code)]

pub mod capture;
pub mod direction;
mod error;
pub mod filter;
pub mod frame;
pub mod geometry;
pub mod link;
pub mod observer;
mod processes;
pub mod ring;
mod sockets;

pub use error::ObserveError;
pub use link::{End, Link, Region, Role};
pub use observer::{Observer, Scope};
pub use ring::{Problem, RingMeter};

/// The program of README.md compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
