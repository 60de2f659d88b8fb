//! The command line.
//!
//! | file | what |
//! | --- | --- |
//! | `port`, `run` | what several commands have |
//! | `traffic`, `demo` | the commands' own options |
//! | `values` | numbers and durations |
//! | `problem` | clap's errors as one line, without secrets |

mod demo;
mod port;
mod problem;
mod run;
mod traffic;
mod values;

use clap::{Parser, Subcommand};

use crate::observe::args::{DumpArgs, ExporterArgs, ShowArgs};

pub(crate) use demo::DemoArgs;
pub(crate) use problem::one_line;
pub(crate) use run::RunArgs;
pub(crate) use traffic::{EchoArgs, ForwardArgs, GenArgs, SinkArgs};
pub(crate) use values::amount;

const EXAMPLES: &str = "\
Ports:
  tap:NAME[,key=value…] an interface of the kernel's, gone at the end of the run unless it persists:
                        mtu=BYTES mac=ADDRESS ip=ADDRESS/PREFIX queues=N (1) persist
                        netns=PATH|NAME|PID: the namespace in which it is made
  packet:IFACE[,promiscuous]   a network interface; the kernel's stack sees its packets as well
  xdp:IFACE[,queue=N,mode=auto|copy|zero-copy]   packets of one queue (0) in place of the kernel's
                        stack, by AF_XDP
  pcap:FILE             a capture, pcap or pcapng: replayed by sink and as the first port of
                        forward, written by gen and as the second port of forward (pcapng)
  null:                 takes all packets, gives none
  PATH[,key=value…]     a memif interface; a path that begins with @ is an abstract address.
  role=master|slave (slave)   id=N (0)         mode=ethernet|ip|punt-inject (ethernet)
  secret-file=PATH (none)     queues=N (1)     ring=ENTRIES (1024)   buffer=BYTES (2048)
  rx-queues=N tx-queues=N: queues of one way, in place of queues=N
  huge=off|prefer|require (prefer)             rx=poll|interrupt|adaptive (poll)
  netns=PATH|NAME|PID: the socket's network namespace (that of the process)
  line=64|128: the cache lines that a slave's rings are laid out for (128 on aarch64, else 64)
  layout=packed|fixed: packets that a slave sends lie one behind the other, or each in the
  buffer of its slot (packed)
  silence=MS (10000)          handshake=MS (60000): how long a peer may be silent in the
  handshake, and how long all of it may take

Secrets:
  secret-file= names a file with the secret; MEMIF_SECRET in the environment holds the
  secret of ports that give none. secret=TEXT works, but every user can read it in ps.

Examples:
  memif                                          the demo: two processes, 5 seconds
  memif demo --size 1514 --verify                the same with large packets, which are checked
  memif sink /run/m.sock,role=master --core 0    receive on core 0, and in another terminal
  memif gen /run/m.sock --core 1 --seconds 10    send on core 1 for 10 seconds
  memif gen /run/m.sock --size 64-9000 --verify  send packets of all sizes, for a sink --verify
  memif echo /run/vpp/memif.sock,id=3 --json     send packets of VPP or DPDK back
  memif forward /run/a.sock,queues=2 /run/b.sock,queues=2 --core 2,3
  memif forward --zero-copy /run/a.sock /run/b.sock   the same without copying packets
  memif forward pcap:in.pcapng /run/a.sock       replay a capture
  memif forward tap:vpp0,ip=10.0.0.1/24 /run/vpp/memif.sock   an interface for the kernel
  memif show --watch                             the links of all programs, once a second
  memif exporter --listen 127.0.0.1:9816         the same for Prometheus, over HTTP
  memif dump --ring s2m/0 udp and port 53        packets of other programs, one a line
  memif dump /run/vpp/memif.sock -w - | tcpdump -r -

Exit status: 0 success; 1 failure, or packets did not verify; 2 wrong command line.";

/// Generator, sink, echo and forwarder over memif, FD.io's shared-memory packet interface.
///
/// Without a command it runs the demo.
#[derive(Debug, Parser)]
#[command(name = "memif", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// The command; the demo by default.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send packets to a forwarder in a second process and back, over two memif interfaces
    Demo(DemoArgs),
    /// Send test packets on all queues of a port; received packets are dropped
    Gen(GenArgs),
    /// Receive and count packets on all queues of a port, and measure their latency
    Sink(SinkArgs),
    /// Send received packets back on the queue with the same number
    Echo(EchoArgs),
    /// Forward packets between two ports in both directions
    Forward(ForwardArgs),
    /// Show all memif links of this host, whoever made them
    Show(ShowArgs),
    /// Copy packets of other programs' links as they pass, to a capture or as text
    Dump(DumpArgs),
    /// Serve metrics of all memif links of this host for Prometheus, over HTTP
    Exporter(ExporterArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::packet::Framing;
    use crate::sizes::Sizes;

    fn parse(line: &str) -> Result<Cli, String> {
        let args = || line.split_whitespace().map(str::to_owned);
        Cli::try_parse_from(args()).map_err(|error| one_line(&error, args()))
    }

    #[test]
    fn values_of_ports_are_not_shown() {
        for line in [
            "memif gen,secret=hush",
            "memif m.sock,secret=hush gen",
            "memif gen m.sock b.sock,secret=hush",
            "memif gen m.sock, secret=hush",
            "memif gen m.sock,secret=hush b.sock,secret=hush-hush",
            "memif gen m.sock --core 1,secret=hush",
            "memif gen m.sock --core=1,secret=hush",
            "memif gen m.sock --size m.sock,secret=hush",
            "memif gen m.sock --port=m.sock,secret=hush",
        ] {
            let error = parse(line).unwrap_err();
            assert!(!error.contains("hush"), "{line}: {error}");
        }
        let cli = parse("memif gen m.sock,secret=hush").unwrap();
        assert!(!format!("{cli:?}").contains("hush"), "{cli:?}");
    }

    #[test]
    fn definitions_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_default_command_is_the_demo() {
        assert!(parse("memif").unwrap().command.is_none());
        let Some(Command::Demo(demo)) = parse("memif demo --seconds 0.5 --verify").unwrap().command else {
            panic!("not the demo");
        };
        assert_eq!((demo.size, demo.burst, demo.seconds), (64, 64, Duration::from_millis(500)));
        assert!(demo.verify && !demo.json);
    }

    #[test]
    fn options_of_generators_are_parsed() {
        let line = "memif gen /run/m,id=3 --size 65535 --rate 250k --count 10M --core 1,3 --burst 32";
        let Some(Command::Gen(args)) = parse(line).unwrap().command else { panic!("not a generator") };
        assert_eq!(args.port.parse().unwrap().memif().unwrap().socket(), "/run/m");
        assert_eq!(args.sizes(Framing::Ethernet), Sizes::fixed(65535));
        assert_eq!((args.rate, args.count), (Some(250_000), Some(10_000_000)));
        assert_eq!(args.run.core.unwrap().cores(), [1, 3]);
        assert_eq!((args.run.burst, args.run.seconds, args.run.wait), (32, None, None));
    }

    #[test]
    fn errors_are_one_line_and_name_the_culprit() {
        for (line, culprit) in [
            ("memif gen", "<PORT>"),
            ("memif gen a b", "'b'"),
            ("memif fly", "'fly'"),
            ("memif gen a --size 63", "64..=65535"),
            ("memif gen a --size 65536", "64..=65535"),
            ("memif gen a --size 64-65536", "64..=65535"),
            ("memif gen a --size 9000-64", "64-9000"),
            ("memif gen a --size 64-", "64-9000"),
            ("memif gen a --size 64 --imix", "--imix"),
            ("memif demo --size 64-9000", "'64-9000'"),
            ("memif gen a --burst 0", "1..=1024"),
            ("memif gen a --rate 0", "above 0"),
            ("memif gen a --count 99999999999999M", "250k"),
            ("memif gen a --core 1,x", "\"x\""),
            ("memif sink a --seconds -1", "'-1'"),
            ("memif sink a --seconds=-1", "above 0"),
            ("memif sink a --seconds nan", "above 0"),
            ("memif sink a --sice 9", "--sice"),
            ("memif forward a", "<PORT>"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(culprit) && !error.contains('\n'), "{line}: {error}");
            assert!(!error.starts_with("error"), "{error}");
        }
    }
}
