//! The command line.
//!
//! | file | what |
//! | --- | --- |
//! | `port`, `run` | options of several commands |
//! | `traffic`, `demo`, `host`, `observe` | the options of each command: `gen` to `forward`; `demo`; `respond` and `ping`; `show`, `dump` and `exporter` |
//! | `values` | numbers and durations |
//! | `problem` | clap's errors as one line, without secrets |

mod demo;
mod host;
mod observe;
mod port;
mod problem;
mod run;
mod traffic;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use port::PORTS;

pub(crate) use demo::DemoArgs;
pub(crate) use host::{PingArgs, RespondArgs};
pub(crate) use observe::{DumpArgs, ExporterArgs, ShowArgs, Words};
pub(crate) use problem::one_line;
pub(crate) use run::RunArgs;
pub(crate) use traffic::{EchoArgs, ForwardArgs, GenArgs, SinkArgs};
pub(crate) use values::amount;

const EXAMPLES: &str = "\
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
  memif respond /run/m.sock,role=master --ip 10.0.0.2/24    answer ARP and pings
  memif ping /run/m.sock --ip 10.0.0.1/24 10.0.0.2 -c 5    ping it
  memif show --watch                             the links of all programs, once a second
  memif exporter --listen 127.0.0.1:9816         the same for Prometheus, over HTTP
  memif dump --ring s2m/0 udp and port 53        packets of other programs, one a line
  memif dump /run/vpp/memif.sock -w - | tcpdump -r -

Environment:
  MEMIF_SECRET   the secret of ports that give none
  RUST_LOG       what the library logs on standard error, such as RUST_LOG=memif_pmd=debug;
                 levels are error (the default), warn, info, debug and trace
  TMPDIR         where the demo makes its folder

Exit status: 0 success, also when the reader of the output has gone; 1 failure: packets did not
verify, nothing answered; 2 wrong command line.";

/// The text below the help of the whole program.
fn notes() -> String {
    format!("{PORTS}\n\n{EXAMPLES}")
}

/// Generator, sink, echo and forwarder over memif, FD.io's shared-memory packet interface.
///
/// Without a command it runs the demo, which takes the options below.
#[derive(Debug, Parser)]
#[command(name = "memif", version, about, after_help = notes(), args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// The command; the demo by default.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the demo, where there is no command.
    #[command(flatten)]
    pub demo: DemoArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send packets to a forwarder in a second process and back, over two memif interfaces
    Demo(DemoArgs),
    /// Send test packets on all queues of a port, and measure what an echo sends back
    #[command(after_help = PORTS)]
    Gen(GenArgs),
    /// Receive and count packets on all queues of a port, and measure their latency
    #[command(after_help = PORTS)]
    Sink(SinkArgs),
    /// Send received packets back on the queue with the same number
    #[command(after_help = PORTS)]
    Echo(EchoArgs),
    /// Forward packets between two ports in both directions
    #[command(after_help = PORTS)]
    Forward(ForwardArgs),
    /// Be a host on the link: answer ARP, neighbour solicitations and pings
    #[command(after_help = PORTS)]
    Respond(RespondArgs),
    /// Ping a host at the other end of a link, over Ethernet or IP
    #[command(after_help = PORTS)]
    Ping(PingArgs),
    /// Show all memif links of this host, whoever made them
    Show(ShowArgs),
    /// Copy packets of other programs' links as they pass, to a capture or as text
    Dump(DumpArgs),
    /// Serve metrics of all memif links of this host for Prometheus, over HTTP
    Exporter(ExporterArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write all manual pages to a folder
    Man(ManArgs),
}

/// `memif completions`
#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// `memif man`
#[derive(Clone, Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder, which is created; the page of each command is a file of its own, such as memif-gen.1
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::packet::{Framing, Route, Version};
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
        let options = "--seconds 0.5 --verify --core 1,2";
        let plain = parse(&format!("memif {options}")).unwrap();
        assert!(plain.command.is_none() && parse("memif").unwrap().command.is_none());
        let Some(Command::Demo(named)) = parse(&format!("memif demo {options}")).unwrap().command else {
            panic!("not the demo");
        };
        for demo in [plain.demo, named] {
            assert_eq!((demo.size, demo.burst, demo.seconds), (64, 64, Duration::from_millis(500)));
            assert_eq!(demo.core.unwrap().cores(), [1, 2]);
            assert!(demo.verify && !demo.json);
        }
    }

    #[test]
    fn options_of_generators_are_parsed() {
        let line = "memif gen /run/m,id=3 --size 65535 --rate 250k --count 10M --core 1,3 --burst 32";
        let Some(Command::Gen(args)) = parse(line).unwrap().command else { panic!("not a generator") };
        assert_eq!(args.port.parse().unwrap().memif().unwrap().socket(), "/run/m");
        assert_eq!(args.sizes(Framing::Ethernet, Version::V4).unwrap(), Sizes::fixed(65535));
        assert_eq!((args.rate, args.count), (Some(250_000), Some(10_000_000)));
        assert_eq!(args.route(Framing::Ip, args.addresses().unwrap()).unwrap(), Route::default());
        assert_eq!(args.run.core.unwrap().cores(), [1, 3]);
        assert_eq!((args.run.burst, args.run.span.seconds, args.run.span.wait), (32, None, None));
    }

    #[test]
    fn errors_are_one_line_and_name_the_culprit() {
        for (line, culprit) in [
            ("memif gen", "<PORT>"),
            ("memif gen a b", "'b'"),
            ("memif fly", "'fly'"),
            ("memif --seconds 5 gen m.sock", "--seconds"),
            ("memif --cores 1,2", "--core"),
            ("memif gen a --size 63", "64..=65535"),
            ("memif gen a --size 65536", "64..=65535"),
            ("memif gen a --size 64-65536", "64..=65535"),
            ("memif gen a --size 9000-64", "64-9000"),
            ("memif gen a --size 64-", "64-9000"),
            ("memif gen a --size 64 --imix", "--imix"),
            ("memif demo --size 64-9000", "'64-9000'"),
            ("memif gen a --vlan 4095", "4094"),
            ("memif gen a --flows 0", "1000000"),
            ("memif gen a --src 2001:db8::x", "2001:db8::x"),
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
