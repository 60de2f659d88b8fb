//! Options of the demo.

use std::time::Duration;

use clap::Args;
use memif_os::cpu::CoreList;

use super::values::{SMALLEST, seconds, size};

/// `memif demo`
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Packet size in bytes with the Ethernet header, 64 to 65535
    #[arg(long, value_name = "BYTES", default_value_t = SMALLEST, value_parser = size())]
    pub size: u16,
    /// Maximum number of packets in a burst
    #[arg(long, value_name = "PACKETS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub burst: u16,
    /// How long to send packets
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub seconds: Duration,
    /// One core for generator and sink, and one for the forwarder, such as 0,2; by default the first two
    #[arg(long, value_name = "LIST")]
    pub core: Option<CoreList>,
    /// Check sequence and content of every packet
    #[arg(long)]
    pub verify: bool,
    /// Fail if the links are not up after this long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub wait: Duration,
    /// Copy what generator and sink send and receive to this file, as pcapng
    #[arg(long, value_name = "FILE")]
    pub capture: Option<String>,
    /// Print one JSON object a second and one with "final": true at the end
    #[arg(long)]
    pub json: bool,
}
