//! Options of the commands that send and receive packets.

use clap::Args;

use super::port::PortText;
use super::run::RunArgs;
use super::values::amount;
use crate::error::ToolError;
use crate::packet::Framing;
use crate::ports::{Spec, Speed, Timing};
use crate::sizes::{SizeRange, Sizes};

/// How a capture is replayed.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Replay a capture with so many packets per second, k or M for thousands or millions, or as fast as they are taken; by
    /// default at the times of the capture
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
    /// It is no capture, and there are options for one.
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
    /// Packet size in bytes, 64 to 65535, or a range such as 64-9000; includes an Ethernet header unless the port has mode=ip.
    /// Of a range, the size of a packet is chosen by its sequence number, each size as often as any other, in every run the same
    #[arg(long, value_name = "BYTES|MIN-MAX", default_value = "64", value_parser = SizeRange::parse)]
    pub size: SizeRange,
    /// Send packets of 64, 570 and 1514 bytes in proportions 7:4:1; with mode=ip the same without Ethernet headers, which are 14
    /// bytes
    #[arg(long, conflicts_with = "size")]
    pub imix: bool,
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
    pub(crate) fn sizes(&self, framing: Framing) -> Sizes {
        if self.imix { Sizes::imix(framing) } else { self.size.into() }
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
