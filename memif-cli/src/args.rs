//! The command line.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use memif_os::cpu::CoreList;
use memif_pmd::Port;

use crate::error::ToolError;
use crate::observe::args::{DumpArgs, ShowArgs};
use crate::packet::{Framing, MIN_SIZE};
use crate::sizes::{SizeRange, Sizes};

const EXAMPLES: &str = "\
Ports:
  PATH[,key=value…]; a path that begins with @ is an abstract address.
  role=master|slave (slave)   id=N (0)         mode=ethernet|ip|punt-inject (ethernet)
  secret-file=PATH (none)     queues=N (1)     ring=ENTRIES (1024)   buffer=BYTES (2048)
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
  memif show --watch                             the links of all programs, once a second
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
}

/// A port as it was written. Parsed outside of clap, whose errors repeat the whole text and with it the secret.
#[derive(Clone)]
pub(crate) struct PortText(String);

impl PortText {
    /// Reads the port.
    ///
    /// # Errors
    /// [`memif_pmd::Error::Port`] says what is wrong with it.
    pub(crate) fn parse(&self) -> Result<Port, ToolError> {
        Ok(self.0.parse()?)
    }
}

impl From<String> for PortText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for PortText {
    /// Nothing of the text, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortText").finish_non_exhaustive()
    }
}

/// Options of all commands but the demo.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Maximum number of packets in a burst
    #[arg(long, value_name = "PACKETS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub burst: u16,
    /// Cores to pin the threads of the queues to, in turn, such as 0,2-4; not pinned by default
    #[arg(long, value_name = "LIST")]
    pub core: Option<CoreList>,
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

/// `memif gen`
#[derive(Clone, Debug, Args)]
pub(crate) struct GenArgs {
    /// The port, PATH[,key=value…]
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
    /// The port, PATH[,key=value…]
    #[arg(value_name = "PORT")]
    pub port: PortText,
    /// Stop after this many packets, all queues together; k or M for thousands or millions
    #[arg(long, value_name = "PACKETS", value_parser = amount)]
    pub count: Option<u64>,
    /// Check sequence and content of every packet; the generator must have --verify as well
    #[arg(long)]
    pub verify: bool,
    /// Options of all commands but the demo.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif echo`
#[derive(Clone, Debug, Args)]
pub(crate) struct EchoArgs {
    /// The port, PATH[,key=value…]
    #[arg(value_name = "PORT")]
    pub port: PortText,
    /// Options of all commands but the demo.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif forward`
#[derive(Clone, Debug, Args)]
pub(crate) struct ForwardArgs {
    /// One port, PATH[,key=value…]
    #[arg(value_name = "PORT")]
    pub left: PortText,
    /// The other port, with the same queues=N
    #[arg(value_name = "PORT")]
    pub right: PortText,
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

/// `memif demo`
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Packet size in bytes, 64 to 65535; includes an Ethernet header unless the port has mode=ip
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
    pub cores: Option<CoreList>,
    /// Check sequence and content of every packet
    #[arg(long)]
    pub verify: bool,
    /// Fail if the links are not up after this long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub wait: Duration,
    /// Print one JSON object a second and one with "final": true at the end
    #[arg(long)]
    pub json: bool,
}

/// The whole command line `memif demo`.
#[derive(Debug, Parser)]
struct PlainDemo {
    #[command(flatten)]
    args: DemoArgs,
}

impl Default for DemoArgs {
    /// What `memif demo` without options does.
    fn default() -> Self {
        PlainDemo::parse_from(["memif"]).args
    }
}

const SMALLEST: u16 = 64;
const _: () = assert!(SMALLEST as usize == MIN_SIZE);

fn size() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(i64::from(SMALLEST)..)
}

/// A duration in seconds; fractions are allowed.
fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number of seconds above 0 and up to 1000000000, such as 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    if seconds > 1e9 {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|span| !span.is_zero()).ok_or_else(wrong)
}

/// A number of packets above 0, with k or M for thousands or millions.
fn amount(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K', 'M']) {
        Some(digits) if text.ends_with('M') => (digits, 1_000_000),
        Some(digits) => (digits, 1000),
        None => (text, 1),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "write a number above 0 such as 1500, 250k or 10M".to_owned())
}

/// clap's message, of several lines and with the usage below, as one line. Values of ports in `args` are not shown.
pub(crate) fn one_line(error: &clap::Error, args: impl Iterator<Item = String>) -> String {
    let text = hide_values(error.render().to_string(), args);
    let message = text.split("\n\nUsage:").next().unwrap_or_default();
    let message = message.split("\n\nFor more information").next().unwrap_or_default();
    let paragraphs = message.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let line = paragraphs.collect::<Vec<_>>().join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line}; see memif --help")
}

/// Cuts each of `args` in `text` that may be a port, or a part of one, at its first comma or equals sign.
fn hide_values(mut text: String, args: impl Iterator<Item = String>) -> String {
    let mut hidden = Vec::new();
    for arg in args {
        let option = arg.split_once('=').filter(|_| arg.starts_with("--"));
        let value = option.map_or(arg.as_str(), |(_, value)| value);
        hidden.extend([value].into_iter().chain(value.split(',')).map(str::to_owned));
    }
    // the longest first, as a shorter one may be part of it
    hidden.sort_unstable_by_key(|part| Reverse(part.len()));
    for part in hidden {
        if let Some(end) = part.find([',', '=']) {
            text = text.replace(&part, &format!("{}…", part.get(..=end).unwrap_or_default()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(args.port.parse().unwrap().socket(), "/run/m");
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

    #[test]
    fn amounts_and_durations_are_parsed() {
        assert_eq!(amount("1"), Ok(1));
        assert_eq!(amount("2k"), Ok(2000));
        assert_eq!(amount("2K"), Ok(2000));
        assert_eq!(amount("3M"), Ok(3_000_000));
        for text in ["", "k", "-1", "1.5M", "1G", "0k", "18446744073709551616"] {
            assert!(amount(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "0", "-1", "inf", "NaN", "1e10", "1e-300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
