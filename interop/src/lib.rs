//! DPDK's testpmd as a peer: fetched from Debian's packages, started on a core, spoken to at its prompt.
//!
//! The interop runner checks every packet against it; the benches measure against it.

mod error;
mod huge_pages;
mod output;
mod testpmd;

use std::path::Path;
use std::process::Command;

pub use error::Error;
pub use huge_pages::Reserved;
pub use output::Output;
pub use testpmd::{Counters, Testpmd};

/// Unpacks testpmd into the folder `dpdk`, unless it is there: `dpdk/testpmd` starts it.
///
/// # Errors
/// The script that fetches it cannot be run or failed; it has said why on standard error.
pub fn fetch(dpdk: &Path) -> Result<(), Error> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fetch-dpdk.sh");
    let status = Command::new(script).arg(dpdk).status();
    let status = status.map_err(Error::io(format!("cannot run {script}")))?;
    if status.success() { Ok(()) } else { Err(Error::Fetch { script: script.to_owned(), status }) }
}
