//! `libmemif` for C programs: the interface of libmemif 4.0 under its own names, and that of libmemif 1.0 under
//! `memif_v1_*`, both in one library and both thin layers over `memif-pmd`.
//!
//! What C hands over is not trusted either. Pointers are checked for NULL; a handle is no address but a number that is
//! looked up (`handle`), so one that was deleted or never made is found out; what stands in a `memif_buffer_t` is
//! checked against the queue it claims to come from. No panic crosses into C.
//!
//! | module | what it has |
//! | --- | --- |
//! | [`abi`] | the C types of 4.0, laid out as `libmemif.h` says |
//! | [`code`] | error codes, in both numberings |
//! | `handle`, `cell` | handles, the tables behind them, and where queues live |
//! | `socket`, `conn` | what the handles stand for |
//! | `callback`, `raw`, `external` | calls into the C program, and memory that it owns |
//! | [`v4`], `details`, `data` | the exported functions of 4.0 |
//! | [`v1`] | those of 1.0 |

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a handle takes 64 bits");

pub mod abi;
mod callback;
mod cell;
pub mod code;
mod conn;
mod data;
mod details;
mod external;
mod handle;
mod raw;
mod socket;
pub mod v1;
pub mod v4;
