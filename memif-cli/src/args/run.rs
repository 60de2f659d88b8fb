//! Options of all commands but the demo.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use memif_os::cpu::CoreList;
use serde::Serialize;

use super::values::seconds;
use crate::error::ToolError;
use crate::output::{json, print};
use crate::serve::address;

/// Options of all commands but the demo.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Maximum number of packets in a burst
    #[arg(long, value_name = "PACKETS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub burst: u16,
    /// Cores to pin the threads of the queues to, in turn, such as 0,2-4; not pinned by default
    #[arg(long, value_name = "LIST")]
    pub core: Option<CoreList>,
    /// Copy the packets of the memif ports to this file, as pcapng; packets for which the disk is too slow are left out and counted
    #[arg(long, value_name = "FILE")]
    pub capture: Option<String>,
    /// Serve counters of the memif ports for Prometheus, over HTTP; a port alone is one of 127.0.0.1, and 0 any that is free
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address)]
    pub metrics: Option<SocketAddr>,
    /// Options of all commands that wait for a link.
    #[command(flatten)]
    pub span: SpanArgs,
}

/// Options of all commands that wait for a link.
#[derive(Clone, Debug, Args)]
pub(crate) struct SpanArgs {
    /// Stop this long after the link is up; by default, run until Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// Fail if the link is not up after this long; by default, wait without limit
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// Print one JSON object a second and one with "final": true at the end
    #[arg(long)]
    pub json: bool,
}

impl SpanArgs {
    /// Prints a record as JSON, or as `text` formats it.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn print<R: Serialize>(
        &self,
        record: &R,
        text: impl Fn(&R) -> String,
    ) -> Result<(), ToolError> {
        print(&if self.json { json(record) } else { text(record) })
    }
}
