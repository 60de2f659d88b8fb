//! Command lines of `respond` and `ping`.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use memif_pmd::Mode;
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::port::PortText;
use super::run::{RunArgs, SpanArgs};
use super::values::seconds;
use crate::error::ToolError;
use crate::host::address::{Identity, parse_address, parse_mac};
use crate::packet::Framing;
use crate::ports::Port;

/// The addresses of the host.
#[derive(Clone, Debug, Args)]
pub(crate) struct IdentityArgs {
    /// Our addresses, each with the length of its network's prefix, such as 10.0.0.2/24,2001:db8::2/64
    #[arg(long, value_name = "ADDRESS/BITS", required = true, value_delimiter = ',', value_parser = parse_address)]
    pub ip: Vec<IpCidr>,
    /// Our hardware address on a port with mode=ethernet; by default made from the first address
    #[arg(long, value_name = "ADDRESS", value_parser = parse_mac)]
    pub mac: Option<EthernetAddress>,
}

impl IdentityArgs {
    /// The addresses of a host on this port.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: the port has punt/inject mode or no rx queues, or [`Identity::new`] refuses the addresses.
    pub(crate) fn identity(&self, port: &dyn Port) -> Result<Identity, ToolError> {
        let is_punt = port.details().is_some_and(|details| details.mode == Mode::PuntInject);
        if is_punt || port.rx_count() == 0 {
            let why = "a host needs a port with packets in both directions, with mode=ethernet or mode=ip";
            return Err(ToolError::Usage(format!("{why}: {} is none", port.name())));
        }
        Identity::new(&self.ip, self.mac, port.framing().unwrap_or(Framing::Ethernet))
    }
}

/// `memif respond`
#[derive(Clone, Debug, Args)]
pub(crate) struct RespondArgs {
    /// The port, PATH[,key=value…]
    #[arg(value_name = "PORT")]
    pub port: PortText,
    /// The addresses of the host.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Options of all commands that move packets.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif ping`
#[derive(Clone, Debug, Args)]
pub(crate) struct PingArgs {
    /// The port, PATH[,key=value…]
    #[arg(value_name = "PORT")]
    pub port: PortText,
    /// The address of the host to ping
    #[arg(value_name = "TARGET")]
    pub target: IpAddr,
    /// The addresses of the host.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Stop after this many requests, when all are answered or 10 seconds after the last one; by default, run until Ctrl-C
    #[arg(short, long, value_name = "REQUESTS", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Time between two requests
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: Duration,
    /// Options of all commands that wait for a link.
    #[command(flatten)]
    pub span: SpanArgs,
}
