//! `libmemif` for C programs: the interface of libmemif 4.0 under its own names, and that of libmemif 1.0 under
//! `memif_v1_*`, both in one library and both thin layers over `memif-pmd`.
//!
//! What C hands over is not trusted either. Pointers are checked for NULL; a handle is no address but a number that is
//! looked up (`handle`), so one that was deleted or never made is found out; what stands in a `memif_buffer_t` is
//! checked against the queue it claims to come from. No panic crosses into C.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`abi`], [`v1::abi`] | the C types, laid out as the headers say |
//! | [`code`] | error codes, in both numberings, and which error of `memif-pmd` has which |
//! | [`v4`], [`v1`] | the exported functions |
//! | `face`, `calls`, `details` | what both have in common, and what they differ in |
//! | `socket`, `conn`, `cell` | what handles stand for, and where the queues of an interface are |
//! | `handle`, `gate` | handles and the tables behind them; how a delete waits for the calls that are running |
//! | `packets` | packets in one piece, from and to several ring buffers |
//! | `callback`, `external`, `memory` | calls into the C program, and memory that it owns |
//! | `log` | warnings on standard error |
//!
//! `docs/architecture.md` in the repository says how the crates fit together.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a handle takes 64 bits");

pub mod abi;
mod callback;
mod calls;
mod cell;
pub mod code;
mod conn;
mod details;
mod external;
mod face;
mod gate;
mod handle;
mod log;
#[cfg(all(test, loom))]
mod loom_tests;
mod memory;
mod packets;
#[cfg(fuzzing)]
pub mod reach;
mod socket;
mod sync;
pub mod v1;
pub mod v4;
