//! Options of the commands that send and receive packets.

use std::net::IpAddr;

use clap::Args;

use super::port::PortText;
use super::run::RunArgs;
use super::values::{SMALLEST, amount};
use crate::error::ToolError;
use crate::packet::{Addresses, Framing, Route, SOURCE_V4, SOURCE_V6, TAG, TARGET_V4, TARGET_V6, Version};
use crate::ports::{Spec, Speed, Timing};
use crate::sizes::{SizeRange, Sizes};

/// How a capture is replayed.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Replay a capture at this rate in packets per second, k or M for thousands or millions, or with max as fast as the other port
    /// accepts packets; by default at the recorded times
    #[arg(long, value_name = "PPS|max")]
    pub rate: Option<Speed>,
    /// Replay a capture again and again
    #[arg(long = "loop")]
    pub repeat: bool,
}

impl ReplayArgs {
    /// How to replay `port`.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: options for replaying were given, and the port is not a capture.
    pub(crate) fn timing(&self, port: &Spec) -> Result<Timing, ToolError> {
        let Self { rate: speed, repeat } = *self;
        if (speed.is_some() || repeat) && !matches!(port, Spec::Pcap(_)) {
            let problem =
                "--rate and --loop are for a capture that is replayed: give pcap:FILE as the first port";
            return Err(ToolError::Usage(problem.to_owned()));
        }
        Ok(Timing { speed, repeat })
    }
}

/// `memif gen`
#[derive(Clone, Debug, Args)]
pub(crate) struct GenArgs {
    /// The port
    #[arg(value_name = "PORT")]
    pub port: PortText,
    /// Packet size in bytes, 64 to 65535, or a range such as 64-9000; includes an Ethernet header unless the port has mode=ip;
    /// by default 64, with --vlan 68. IPv6 packets have 84 bytes at least, with --vlan 88 and with mode=ip 70, which is the
    /// default then.
    /// Of a range, the size of a packet is chosen by its sequence number, each size as often as any other, in every run the same
    #[arg(long, value_name = "BYTES|MIN-MAX", value_parser = SizeRange::parse)]
    pub size: Option<SizeRange>,
    /// Send packets of 64, 570 and 1514 bytes in proportions 7:4:1; with mode=ip the same without Ethernet headers, which are 14
    /// bytes, with --vlan 4 bytes more. With IPv6 addresses 84 instead of 64 bytes
    #[arg(long, conflicts_with = "size")]
    pub imix: bool,
    /// Number of flows on each queue, among which packets alternate; flows differ in the UDP source port, and beyond 16384 also in
    /// the source address
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub flows: u32,
    #[arg(long, value_name = "IP", help = format!("The source address, IPv4 or IPv6; flows beyond 16384 use the addresses that \
        follow it; by default {SOURCE_V4}, and with an IPv6 target {SOURCE_V6}"))]
    pub src: Option<IpAddr>,
    #[arg(long, value_name = "IP", help = format!("The target address, of the same version of IP; \
        by default {TARGET_V4}, and with an IPv6 source {TARGET_V6}"))]
    pub dst: Option<IpAddr>,
    /// Send frames with an 802.1Q tag of this VLAN
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u16).range(1..=4094))]
    pub vlan: Option<u16>,
    /// Measure the round trips of packets that the peer sends back, and count lost ones; fails if none comes back
    #[arg(long)]
    pub rtt: bool,
    /// Packets per second, all queues together; k or M for thousands or millions; unlimited by default
    #[arg(long, value_name = "PPS", value_parser = amount)]
    pub rate: Option<u64>,
    /// Stop after this many packets, all queues together; k or M for thousands or millions
    #[arg(long, value_name = "PACKETS", value_parser = amount)]
    pub count: Option<u64>,
    /// Give every packet content of its own, for a sink with --verify
    #[arg(long)]
    pub verify: bool,
    /// Options of all commands but the demo.
    #[command(flatten)]
    pub run: RunArgs,
}

impl GenArgs {
    /// Sizes of the packets.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: the smallest packet has no room for its headers.
    pub(crate) fn sizes(&self, framing: Framing, version: Version) -> Result<Sizes, ToolError> {
        let tag = if self.vlan.is_some() { TAG } else { 0 };
        if self.imix {
            return Ok(Sizes::imix(framing, version).longer(tag));
        }
        let untagged = u16::try_from(framing.min_size(version)).unwrap_or_default();
        let smallest = SMALLEST.max(untagged) + tag;
        let size = self.size.unwrap_or_else(|| SizeRange::fixed(smallest));
        if size.min() < smallest {
            let with = match (version, self.vlan) {
                (Version::V4, _) => "--vlan",
                (Version::V6, None) => "IPv6 addresses",
                (Version::V6, Some(_)) => "IPv6 addresses and --vlan",
            };
            let problem =
                format!("--size {}: with {with} packets have {smallest} bytes at least", size.min());
            return Err(ToolError::Usage(problem));
        }
        Ok(size.into())
    }

    /// Source and target of the packets.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: one is an IPv4 and the other an IPv6 address.
    pub(crate) fn addresses(&self) -> Result<Addresses, ToolError> {
        Addresses::new(self.src, self.dst).ok_or_else(|| {
            ToolError::Usage("--src and --dst must both be IPv4 addresses or both IPv6 addresses".to_owned())
        })
    }

    /// Addresses, flows and VLAN of the packets.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: there is a VLAN, and packets have no Ethernet header.
    pub(crate) fn route(&self, framing: Framing, addresses: Addresses) -> Result<Route, ToolError> {
        if self.vlan.is_some() && framing == Framing::Ip {
            let problem = "--vlan is for ports with mode=ethernet: packets of mode=ip have no tag".to_owned();
            return Err(ToolError::Usage(problem));
        }
        Ok(Route { addresses, vlan: self.vlan, flows: self.flows })
    }
}

/// `memif sink`
#[derive(Clone, Debug, Args)]
pub(crate) struct SinkArgs {
    /// The port
    #[arg(value_name = "PORT")]
    pub port: PortText,
    /// Stop after this many packets, all queues together; k or M for thousands or millions
    #[arg(long, value_name = "PACKETS", value_parser = amount)]
    pub count: Option<u64>,
    /// Check sequence and content of every packet; the generator must have --verify as well
    #[arg(long)]
    pub verify: bool,
    /// How a capture is replayed.
    #[command(flatten)]
    pub replay: ReplayArgs,
    /// Options of all commands but the demo.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif echo`
#[derive(Clone, Debug, Args)]
pub(crate) struct EchoArgs {
    /// The port
    #[arg(value_name = "PORT")]
    pub port: PortText,
    /// Options of all commands but the demo.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif forward`
#[derive(Clone, Debug, Args)]
pub(crate) struct ForwardArgs {
    /// One port
    #[arg(value_name = "PORT")]
    pub left: PortText,
    /// The other port; a capture is replayed as the first port and written as the other one
    #[arg(value_name = "PORT")]
    pub right: PortText,
    /// How a capture is replayed.
    #[command(flatten)]
    pub replay: ReplayArgs,
    /// Forward packets without copying them. Both ports must be slaves with the same buffer=BYTES. Their buffers are in one
    /// memory, allocated as huge= of the first port says, and both peers can read and change all of it at any time
    #[arg(long)]
    pub zero_copy: bool,
    /// Stop at the end of standard input, and suppress status messages. For the demo's forwarder.
    #[arg(long, hide = true)]
    pub child: bool,
    /// Options of all commands but the demo.
    #[command(flatten)]
    pub run: RunArgs,
}
