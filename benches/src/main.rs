//! Measures memif between two cores, next to what the machine can do at best and to DPDK.
//!
//! A figure is a median over rounds in which all rows were measured in turn, and a claim is a ratio of two rows of one
//! run. See [`sample`] for what is done about a noisy machine.

mod bench;
mod dpdk;
mod ends;
mod error;
mod floor;
mod floors;
mod forward;
mod histogram;
mod latency;
mod line;
mod machine;
mod pair;
mod peers;
mod plot;
mod presence;
mod relay;
mod report;
mod sample;
mod scale;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures memif between two cores, next to the machine's floors and to DPDK.
#[derive(Debug, Parser)]
#[command(name = "memif-bench", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to measure.
#[derive(Debug, Subcommand)]
enum Command {
    /// Packets a second from one process to another, over sizes, bursts, rings and more
    Line(line::Line),
    /// What two cores and memory can do with no memif at all
    Floors(floors::Floors),
    /// Round trips of a packet, polling and asleep, idle and under load
    Latency(latency::Latency),
    /// DPDK's net_memif and ours, with themselves and with each other
    Peers(peers::Peers),
    /// Several queues between the same cores, and what looking at an empty one costs
    Scale(scale::Scale),
    /// What passing a packet on costs, copied and by exchanging buffers
    Forward(forward::Forward),
    /// One end of a link; for this program itself
    #[command(hide = true)]
    End {
        /// What it shall be and do.
        end: String,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Line(args) => line::line(&args),
        Command::Floors(args) => floors::floors(&args),
        Command::Latency(args) => latency::latency(&args),
        Command::Peers(args) => peers::peers(&args),
        Command::Scale(args) => scale::scale(&args),
        Command::Forward(args) => forward::forward(&args),
        Command::End { end } => ends::live(&end),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memif-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
