//! Limits of an interface, and the check of a number against them.

use std::time::Duration;

use crate::error::Error;

/// Maximum number of queues in one direction: the protocol's ring indices are 0 to 255.
pub const MAX_QUEUES: u16 = 256;
/// Minimum size of a packet buffer in bytes: one cache line.
pub const MIN_BUFFER_SIZE: u32 = 64;
/// Maximum size of a packet buffer in bytes.
pub const MAX_BUFFER_SIZE: u32 = 65535;

pub(crate) fn check_reconnect(interval: Option<Duration>) -> Result<(), Error> {
    let Some(interval) = interval else { return Ok(()) };
    in_range("reconnect interval in ms", milliseconds(interval), 1, 86_400_000)
}

pub(crate) fn check_timeout(what: &'static str, timeout: Duration) -> Result<(), Error> {
    in_range(what, milliseconds(timeout), 1, 3_600_000)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn in_range(what: &'static str, got: u64, min: u64, max: u64) -> Result<(), Error> {
    if (min..=max).contains(&got) { Ok(()) } else { Err(Error::OutOfRange { what, got, min, max }) }
}
