//! Measures memif between two cores, and compares it with the best that the machine can do and with DPDK.
//!
//! A figure is a median over rounds in which all rows were measured in turn, and a claim is a ratio of two rows of one
//! run. [`sample`] describes how noise of the machine is handled.

mod all;
mod arrivals;
mod bench;
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of memif-pmd's tests")]
#[path = "../../memif-pmd/tests/common/mod.rs"]
mod common;
mod direction;
mod distance;
mod dpdk;
mod ends;
mod error;
mod figures;
mod floor;
mod floor_copy;
mod floor_search;
mod floors;
mod forward;
mod histogram;
mod iceoryx;
mod idle;
mod in_place;
mod latency;
mod line;
mod load;
mod machine;
mod measured;
mod open_loop;
mod pair;
mod peers;
mod ping_pong;
mod plot;
mod presence;
mod reconnect;
mod record;
mod relay;
mod report;
mod sample;
mod scale;
mod sizes;
mod stalls;
mod turns;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures memif between two cores, and compares it with simple loops on the same machine and with DPDK.
#[derive(Debug, Parser)]
#[command(name = "memif-bench", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to measure.
#[derive(Debug, Subcommand)]
enum Command {
    /// Packets per second from one process to another, by packet size, burst, ring size and more
    Line(line::Line),
    /// What two cores and memory can do without memif
    Floors(floors::Floors),
    /// Round trips of a packet, polling and sleeping, idle and under load
    Latency(latency::Latency),
    /// One-way latency of packets that come at a set rate
    Load(load::Load),
    /// This implementation and DPDK's net_memif, each with itself and with the other
    Peers(peers::Peers),
    /// Several queues between the same cores, and the cost of polling an empty one
    Scale(scale::Scale),
    /// The cost of forwarding a packet, with a copy and by exchanging buffers
    Forward(forward::Forward),
    /// How long others wait while a peer holds up whoever waits for it
    Stalls(stalls::Stalls),
    /// How long a slave has no traffic after its master has come back
    Reconnect(reconnect::Reconnect),
    /// Every table, into one record
    All(all::All),
    /// Tables and plots of a record, for the record and a README
    Plots(figures::Plots),
    /// One end of a link; used by this program itself
    #[command(hide = true)]
    End {
        /// Its configuration.
        end: String,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Line(args) => line::line(&args),
        Command::Floors(args) => floors::floors(&args),
        Command::Latency(args) => latency::latency(&args),
        Command::Load(args) => load::load(&args),
        Command::Peers(args) => peers::peers(&args),
        Command::Scale(args) => scale::scale(&args),
        Command::Forward(args) => forward::forward(&args),
        Command::Stalls(args) => stalls::stalls(&args),
        Command::Reconnect(args) => reconnect::reconnect(&args),
        Command::All(args) => all::all(&args),
        Command::Plots(args) => figures::plots(&args),
        Command::End { end } => ends::run(&end),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("memif-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
