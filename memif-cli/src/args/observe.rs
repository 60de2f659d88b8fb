//! Options of `show`, `dump` and `exporter`, which observe the links of other programs.

use std::net::SocketAddr;

use clap::Args;
use memif_observe::Scope;

use crate::serve::address;

/// Which links to observe.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScopeArgs {
    /// The links of this socket: a path, or an abstract address that begins with @; by default all that can be found
    #[arg(value_name = "SOCKET", conflicts_with = "pid")]
    pub socket: Option<String>,
    /// The links of this process
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

impl ScopeArgs {
    /// The same, as the library takes it.
    pub(crate) fn scope(&self) -> Scope {
        Scope { pid: self.pid, socket: self.socket.clone() }
    }
}

/// `memif show`
#[derive(Clone, Debug, Args)]
pub(crate) struct ShowArgs {
    /// Which links to observe.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Show them live on a terminal, otherwise one block a second, until q or Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON object; with --watch one a second
    #[arg(long)]
    pub json: bool,
    /// Print OpenMetrics text, as for the textfile collector of Prometheus
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    pub openmetrics: bool,
}

/// `memif exporter`
#[derive(Clone, Debug, Args)]
pub(crate) struct ExporterArgs {
    /// Where to listen; a port alone is one of 127.0.0.1, and 0 any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9816", value_parser = address)]
    pub listen: SocketAddr,
}

const FILTERS: &str = "\
Filters:
  [src|dst] host ADDRESS   [src|dst] net ADDRESS/BITS   [src|dst] port NUMBER
  vlan [ID]   arp   ip   ip6   tcp   udp   icmp   icmp6   proto NUMBER
  joined with and, or, not and parentheses, such as: udp and not (port 53 or vlan 7)

Packets are copied without the help of either end, so some are missed: how many is said at the end,
and written to the capture. None is shown that may have been overwritten meanwhile.";

/// `memif dump`
#[derive(Clone, Debug, Args)]
#[command(after_help = FILTERS)]
pub(crate) struct DumpArgs {
    /// The links of this process
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Rings, such as s2m/0,m2s/0, by the names that memif show has; all by default
    #[arg(long, value_name = "RINGS", value_delimiter = ',')]
    pub ring: Vec<String>,
    /// Write a pcapng capture to this file, - for standard output, instead of one line for each packet
    #[arg(short, value_name = "FILE")]
    pub write: Option<String>,
    /// Stop after this many packets
    #[arg(short, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Write at most this many bytes of a packet
    #[arg(short, value_name = "SNAPLEN", default_value_t = u16::MAX, value_parser = clap::value_parser!(u16).range(1..))]
    pub snaplen: u16,
    /// The links of this socket, if the first word begins with /, . or @; then which packets
    #[arg(value_name = "SOCKET] [FILTER", allow_hyphen_values = false)]
    pub words: Vec<String>,
}

/// The words of [`DumpArgs`], separated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// The socket's address.
    pub socket: Option<String>,
    /// The filter, empty for all packets.
    pub filter: String,
}

impl DumpArgs {
    /// Separates the socket from the filter.
    pub(crate) fn words(&self) -> Words {
        match self.words.split_first() {
            Some((socket, filter)) if socket.starts_with(['/', '.', '@']) => {
                Words { socket: Some(socket.clone()), filter: filter.join(" ") }
            }
            _ => Words { socket: None, filter: self.words.join(" ") },
        }
    }
}
