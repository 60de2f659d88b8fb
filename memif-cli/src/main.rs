//! The `memif` tool: generator, sink, echo and forwarder over memif interfaces and captures, to test and measure any peer:
//! VPP, DPDK, libmemif or itself.
//!
//! | file | what |
//! | --- | --- |
//! | `args`, `error` | the command line, errors and exit status |
//! | `tools`, `generate`, `demo/` | the commands |
//! | `session`, `run` | opening ports, waiting for links, running workers |
//! | `ports/` | the ports that packets are received from and sent to, a file for each kind |
//! | `generator`, `sink`, `relay` | what a worker does in one turn |
//! | `packet`, `check` | test packets, and checking them |
//! | `counters`, `latency`, `feeds` | counters and latencies on their way from the workers to the report |
//! | `report/`, `machine`, `output`, `status` | table, summary, JSON and status messages |
//! | `host/` | the commands `respond` and `ping` |
//! | `pages` | manual pages and completions |
//! | `capture`, `serve` | `--capture` and `--metrics`: packets to a file, and counters over HTTP, while a command runs |
//! | `observe/` | the commands `show`, `dump` and `exporter`, which read the links of other programs |
//! | `cores` | which threads run where |
#![forbid(unsafe_code)]

mod args;
mod capture;
mod check;
mod cores;
mod counters;
mod demo;
mod error;
mod feeds;
mod generate;
mod generator;
mod host;
mod latency;
mod machine;
mod observe;
mod output;
mod packet;
mod pages;
mod ports;
mod relay;
mod report;
mod run;
mod serve;
mod session;
mod sink;
mod sizes;
mod status;
mod tools;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use args::{Cli, Command, one_line};
use error::{ToolError, USAGE};
use status::note;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // --help and --version
        Err(error) if !error.use_stderr() => {
            let _ = error.print(); // a closed standard output is not an error here
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            note(&one_line(&error, std::env::args_os().map(|arg| arg.to_string_lossy().into_owned())));
            return ExitCode::from(USAGE);
        }
    };
    start_tracing();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // the reader has closed the pipe, as in `memif sink … | head`
        Err(error) if error.is_closed_output() => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), ToolError> {
    match cli.command.unwrap_or(Command::Demo(cli.demo)) {
        Command::Demo(args) => demo::demo(&args),
        Command::Gen(args) => generate::generate(&args),
        Command::Sink(args) => tools::sink(&args),
        Command::Echo(args) => tools::echo(&args),
        Command::Forward(args) => tools::forward(&args),
        Command::Respond(args) => host::respond::respond(&args),
        Command::Ping(args) => host::ping::ping(&args),
        Command::Dump(args) => observe::dump::dump(&args),
        Command::Exporter(args) => observe::exporter::exporter(&args),
        Command::Show(args) => observe::show::show(&args),
        Command::Completions(args) => pages::completions(&args),
        Command::Man(args) => pages::man(&args),
    }
}

/// The log of the library, enabled with `RUST_LOG`. Status messages report what matters to a user.
fn start_tracing() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::ERROR.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
