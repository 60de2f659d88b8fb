#![doc = include_str!("../README.md")]
//! ## Modules
//!
//! | module | contents |
//! | --- | --- |
//! | `interface` | [`Interface`]: opens it, waits for its link, gives its queues |
//! | `rx`, `tx` | [`RxQueue`], [`TxQueue`]: await packets, and room for packets |
//! | `pool`, `bursts` | [`BurstPool`]; [`RxBursts`] and [`TxBursts`], a queue as a stream and as a sink |
//! | `events` | [`Events`]: what happens to the interface, as a stream |
//! | `error` | [`Error`] |
//! | `shared` | how events of the interface reach the tasks that wait |
//! | `watched` | the eventfd of a link, watched by the runtime |

#![deny(unsafe_code)]

mod bursts;
mod error;
mod events;
mod interface;
mod pool;
mod rx;
mod shared;
mod tx;
mod watched;

pub use bursts::{RxBursts, TxBursts};
pub use error::Error;
pub use events::Events;
pub use interface::Interface;
pub use pool::BurstPool;
pub use rx::RxQueue;
pub use tx::TxQueue;
