//! DPDK's testpmd as a peer: fetched from Debian's packages, started on a core, and controlled through its prompt.
//!
//! The interop runner checks every packet against it; the benches measure against it.

mod error;
mod huge_pages;
mod output;
mod testpmd;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The suite with the oldest DPDK that is tested, 22.11.
pub const BOOKWORM: &str = "bookworm";

pub use error::Error;
pub use huge_pages::Reserved;
pub use output::Output;
pub use testpmd::{Counters, Testpmd};

/// Where the testpmd of a suite is unpacked.
#[must_use]
pub fn folder(suite: &str) -> PathBuf {
    let folder = if suite == BOOKWORM { "dpdk".to_owned() } else { format!("dpdk-{suite}") };
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")).join(folder)
}

/// Unpacks testpmd of a suite of Debian into the directory `dpdk`, unless it is there already. `dpdk/testpmd` starts it.
///
/// # Errors
/// The script that fetches it cannot be run, or fails and reports that on standard error.
pub fn fetch(dpdk: &Path, suite: &str) -> Result<(), Error> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fetch-dpdk.sh");
    let status = Command::new(script).arg(dpdk).arg(suite).status();
    let status = status.map_err(Error::io(format!("cannot run {script}")))?;
    if status.success() { Ok(()) } else { Err(Error::Fetch { script: script.to_owned(), status }) }
}
