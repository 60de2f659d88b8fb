//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use memif_os::cpu::CoreList;
use memif_pmd::Port;

use crate::packet::MIN_SIZE;

const EXAMPLES: &str = "\
Ports:
  PATH[,key=value…]; a path that begins with @ is an abstract address.
  role=master|slave (slave)   id=N (0)         mode=ethernet|ip|punt-inject (ethernet)
  secret=TEXT (none)          queues=N (1)     ring=ENTRIES (1024)   buffer=BYTES (2048)
  huge=off|prefer|require (prefer)             rx=poll|interrupt|adaptive (poll)

Examples:
  memif                                          the demo: two processes, 5 seconds
  memif demo --size 1514 --verify                the same, large packets, all checked
  memif sink /run/m.sock,role=master --core 0    receive on core 0, and elsewhere
  memif gen /run/m.sock --core 1 --seconds 10    send on core 1 for 10 seconds
  memif echo /run/vpp/memif.sock,id=3 --json     be a peer of VPP or DPDK
  memif forward /run/a.sock,queues=2 /run/b.sock,queues=2 --core 2,3
  memif forward --zero-copy /run/a.sock /run/b.sock   the same without copying packets

Exit status: 0 all went well; 1 something failed or did not verify; 2 the command line
is at fault.";

/// Generator, sink, echo and forwarder over memif, FD.io's shared-memory packet interface.
///
/// Without a command it runs the demo.
#[derive(Debug, Parser)]
#[command(name = "memif", version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// What to do; the demo when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Generator and sink here, a forwarder in a second process, joined by two memif interfaces
    Demo(DemoArgs),
    /// Send test packets on all queues of a port; what the port receives is dropped
    Gen(GenArgs),
    /// Receive and count packets on all queues of a port, and measure their latency
    Sink(SinkArgs),
    /// Send back what a port receives, on the queue with the same number
    Echo(EchoArgs),
    /// Pass packets between two ports, both ways, queue by queue
    Forward(ForwardArgs),
}

/// What all tools have in common.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunArgs {
    /// Most packets handled at once
    #[arg(long, value_name = "PACKETS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub burst: u16,
    /// Cores to pin the queues to, in turn, such as 0,2-4; without it each has a thread that is not pinned
    #[arg(long, value_name = "LIST")]
    pub core: Option<CoreList>,
    /// End this long after the link came up; without it Ctrl-C ends the run
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// Give up when there is no link after this long; without it the tool waits for ever
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
    pub port: Port,
    /// Bytes of a packet as handed to memif, 64 to 65535
    #[arg(long, value_name = "BYTES", default_value_t = SMALLEST, value_parser = size())]
    pub size: u16,
    /// Packets a second, all queues together, with k or M for thousands or millions; without it as fast as possible
    #[arg(long, value_name = "PPS", value_parser = amount)]
    pub rate: Option<u64>,
    /// End after this many packets, all queues together; k and M as above
    #[arg(long, value_name = "PACKETS", value_parser = amount)]
    pub count: Option<u64>,
    /// Fill each packet anew, for a sink that checks content with --verify
    #[arg(long)]
    pub verify: bool,
    /// What all tools have in common.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif sink`
#[derive(Clone, Debug, Args)]
pub(crate) struct SinkArgs {
    /// The port, PATH[,key=value…]
    #[arg(value_name = "PORT")]
    pub port: Port,
    /// End after this many packets, with k or M for thousands or millions
    #[arg(long, value_name = "PACKETS", value_parser = amount)]
    pub count: Option<u64>,
    /// Check sequence and content of every packet; the generator needs --verify, too
    #[arg(long)]
    pub verify: bool,
    /// What all tools have in common.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif echo`
#[derive(Clone, Debug, Args)]
pub(crate) struct EchoArgs {
    /// The port, PATH[,key=value…]
    #[arg(value_name = "PORT")]
    pub port: Port,
    /// What all tools have in common.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif forward`
#[derive(Clone, Debug, Args)]
pub(crate) struct ForwardArgs {
    /// One port, PATH[,key=value…]
    #[arg(value_name = "PORT")]
    pub left: Port,
    /// The other port; both have as many queues
    #[arg(value_name = "PORT")]
    pub right: Port,
    /// Pass packets on without copying them. Both ports must be slaves, with buffers of the same size: all their buffers
    /// lie in one memory, made as the first port's huge= says, which both peers map whole and can change at any time
    #[arg(long)]
    pub zero_copy: bool,
    /// End when standard input does, and keep notes to oneself: how the demo runs its forwarder.
    #[arg(long, hide = true)]
    pub child: bool,
    /// What all tools have in common.
    #[command(flatten)]
    pub run: RunArgs,
}

/// `memif demo`
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Bytes of a packet as handed to memif, 64 to 65535
    #[arg(long, value_name = "BYTES", default_value_t = SMALLEST, value_parser = size())]
    pub size: u16,
    /// Most packets handled at once
    #[arg(long, value_name = "PACKETS", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub burst: u16,
    /// How long packets run
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub seconds: Duration,
    /// One core for generator and sink, and one for the forwarder, such as 0,2; the first two by default
    #[arg(long, value_name = "LIST")]
    pub cores: Option<CoreList>,
    /// Check sequence and content of every packet
    #[arg(long)]
    pub verify: bool,
    /// Give up when there is no link after this long
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

/// A time span in seconds, fractions allowed.
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

/// clap's message, of several lines and with the usage below, as one line.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let message = text.split("\n\nUsage:").next().unwrap_or_default();
    let message = message.split("\n\nFor more information").next().unwrap_or_default();
    let paragraphs = message.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let line = paragraphs.collect::<Vec<_>>().join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    format!("{line}; memif --help tells more")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, String> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|error| one_line(&error))
    }

    #[test]
    fn definitions_are_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_the_demo() {
        assert!(parse("memif").unwrap().command.is_none());
        let Some(Command::Demo(demo)) = parse("memif demo --seconds 0.5 --verify").unwrap().command else {
            panic!("no demo");
        };
        assert_eq!((demo.size, demo.burst, demo.seconds), (64, 64, Duration::from_millis(500)));
        assert!(demo.verify && !demo.json);
    }

    #[test]
    fn generators_are_read() {
        let line = "memif gen /run/m,id=3 --size 65535 --rate 250k --count 10M --core 1,3 --burst 32";
        let Some(Command::Gen(args)) = parse(line).unwrap().command else { panic!("no generator") };
        assert_eq!(args.port.socket(), "/run/m");
        assert_eq!((args.size, args.rate, args.count), (65535, Some(250_000), Some(10_000_000)));
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
            ("memif gen a --burst 0", "1..=1024"),
            ("memif gen a --rate 0", "above 0"),
            ("memif gen a --count 99999999999999M", "250k"),
            ("memif gen a --core 1,x", "\"x\""),
            ("memif gen a,colour=red", "colour"),
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
    fn amounts_and_times() {
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
