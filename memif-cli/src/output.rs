//! Standard output.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::error::ToolError;

/// Prints lines on standard output and flushes it.
///
/// # Errors
/// [`ToolError::Output`]: standard output cannot be written.
pub(crate) fn print(text: &str) -> Result<(), ToolError> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(ToolError::Output)
}

/// A record of numbers, and keys that are strings, as one line.
pub(crate) fn json(record: &impl Serialize) -> String {
    // such a record cannot fail
    serde_json::to_string(record).unwrap_or_default()
}

/// Now, in seconds since the beginning of 1970 (UTC), to the millisecond.
pub(crate) fn unix_seconds() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_millis() as f64 / 1e3
}
