//! Runs memif interfaces against DPDK's testpmd, in both roles, and checks every packet. See the README.

mod judge;
mod lab;
mod links;
mod packets;
mod scenarios;
mod traffic;
mod witness;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use memif_interop::{BOOKWORM, Error, fetch, folder};
use memif_pmd::{Memif, Port, Stop, ctrl_c};

use crate::lab::{FLOWING, LINK, LISTENING, Lab};
use crate::scenarios::Scenario;
use crate::traffic::RoundTrip;

/// Runs memif interfaces against DPDK's testpmd and checks every packet.
#[derive(Debug, Parser)]
struct Arguments {
    /// Suite of Debian whose testpmd is fetched: bookworm (DPDK 22.11), trixie (24.11) or sid (25.11)
    #[arg(long, default_value = BOOKWORM)]
    suite: String,
    /// Directory of the unpacked testpmd, which is fetched if it is not there [default: target/dpdk, or target/dpdk-SUITE]
    #[arg(long, value_name = "DIR")]
    dpdk: Option<PathBuf>,
    /// Only the scenarios whose name contains this.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Duration of traffic of mixed sizes
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    mixed_for: u64,
    /// Run the process that is to be killed
    #[arg(long, value_name = "PORT", hide = true)]
    victim: Option<Port>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.victim {
        Some(port) => run_victim(port).map(|()| true),
        None => run(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("memif-interop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios and prints a line for each. True if all passed.
fn run(arguments: &Arguments) -> Result<bool, Error> {
    let scenarios: Vec<_> =
        scenarios::all().into_iter().filter(|scenario| scenario.name.contains(&arguments.only)).collect();
    if scenarios.is_empty() {
        let names: Vec<_> = scenarios::all().into_iter().map(|scenario| scenario.name).collect();
        return Err(Error::Wrong(format!("no such scenario: there are {}", names.join(", "))));
    }
    let dpdk = arguments.dpdk.clone().unwrap_or_else(|| folder(&arguments.suite));
    fetch(&dpdk, &arguments.suite)?;
    let lab = Lab::new(&dpdk, Duration::from_secs(arguments.mixed_for), ctrl_c()?)?;
    let mut passed = 0;
    for scenario in &scenarios {
        if lab.stop.is_stopped() {
            return Err(Error::Interrupted);
        }
        passed += usize::from(report(scenario, &lab));
    }
    println!("{passed} passed, {} failed", scenarios.len() - passed);
    Ok(passed == scenarios.len())
}

fn report(scenario: &Scenario, lab: &Lab) -> bool {
    let began = Instant::now();
    let mut result = scenario.run(lab);
    if matches!(result, Err(Error::Crashed { .. })) {
        // known of it when its peer goes, and no fault of ours: once is forgiven
        println!("note    {:<27} testpmd crashed: trying again", scenario.name);
        result = scenario.run(lab);
    }
    let (verdict, text) = match &result {
        Ok(text) => ("ok", text.clone()),
        Err(error) => ("FAILED", error.to_string()),
    };
    println!("{verdict:<7} {:<27} {:4.1} s  {text}", scenario.name, began.elapsed().as_secs_f64());
    result.is_ok()
}

/// Sends and receives packets until it is killed, or its peer is gone.
fn run_victim(port: &Port) -> Result<(), Error> {
    let (memif, stop) = (Memif::start()?, Stop::new()?);
    let interface = port.interface(&memif).open()?;
    println!("{LISTENING}");
    interface.wait_up(Some(LINK))?;
    let mut trip = RoundTrip::new(&interface, 0, 64, &stop)?;
    trip.run(Duration::from_millis(100))?;
    println!("{FLOWING}");
    trip.until_down()
}
