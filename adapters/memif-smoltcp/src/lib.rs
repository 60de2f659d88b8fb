#![doc = include_str!("../README.md")]
//! ## Modules
//!
//! | module | contents |
//! | --- | --- |
//! | `device` | [`Device`], its tokens, and sleeping between polls |
//! | `error` | [`Error`] |

#![deny(unsafe_code)]

mod device;
mod error;

pub use device::{DEFAULT_ETHERNET_MTU, DEFAULT_IP_MTU, Device, RxToken, TxToken};
pub use error::Error;
