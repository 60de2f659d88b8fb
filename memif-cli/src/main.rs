//! The `memif` tool: shows what memif interfaces do, and lets one test any peer: VPP, DPDK, libmemif or itself.
//!
//! | file | what |
//! | --- | --- |
//! | `args` | the command line |
//! | `packet`, `check` | test packets, and checking them |
//! | `generator`, `sink`, `relay` | what a worker does in one turn |
//! | `counters`, `latency` | from the workers to the report |
//! | `session` | ports, links and the run |
//! | `report` | table, summary and JSON |
//! | `tools`, `demo` | the commands |
#![forbid(unsafe_code)]

mod args;
mod check;
mod counters;
mod demo;
mod error;
mod generator;
mod latency;
mod packet;
mod relay;
mod report;
mod session;
mod sink;
mod tools;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use args::{Cli, Command, DemoArgs, one_line};
use error::{ToolError, USAGE};
use session::note;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // help and version are no errors
        Err(error) if !error.use_stderr() => {
            let _ = error.print(); // nobody to tell
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            note(&one_line(&error));
            return ExitCode::from(USAGE);
        }
    };
    start_tracing();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), ToolError> {
    match cli.command.unwrap_or_else(|| Command::Demo(DemoArgs::default())) {
        Command::Demo(args) => demo::demo(&args),
        Command::Gen(args) => tools::generate(&args),
        Command::Sink(args) => tools::sink(&args),
        Command::Echo(args) => tools::echo(&args),
        Command::Forward(args) => tools::forward(&args),
    }
}

/// The library's own log, for those who ask for it with `RUST_LOG`: what matters is said in notes.
fn start_tracing() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::ERROR.into()).from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
