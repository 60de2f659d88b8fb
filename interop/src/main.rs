//! Runs memif interfaces against DPDK's testpmd, in both roles, and checks every packet. See the README.

mod lab;
mod packets;
mod scenarios;
mod traffic;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use memif_interop::{Error, fetch};
use memif_pmd::{Memif, Port, Stop, ctrl_c};

use crate::lab::{FLOWING, LINK, LISTENING, Lab};
use crate::scenarios::Scenario;
use crate::traffic::RoundTrip;

/// Runs memif interfaces against DPDK's testpmd and checks every packet.
#[derive(Debug, Parser)]
struct Arguments {
    /// Folder of the unpacked peer; it is fetched from Debian's packages if it is not there.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/dpdk"))]
    dpdk: PathBuf,
    /// Only the scenarios whose name contains this.
    #[arg(long, value_name = "NAME", default_value = "")]
    only: String,
    /// Be the process that is to be killed.
    #[arg(long, value_name = "PORT", hide = true)]
    victim: Option<Port>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.victim {
        Some(port) => be_the_victim(port).map(|()| true),
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

/// Runs the scenarios, a line each; whether all passed.
fn run(arguments: &Arguments) -> Result<bool, Error> {
    let scenarios: Vec<_> =
        scenarios::all().into_iter().filter(|scenario| scenario.name.contains(&arguments.only)).collect();
    if scenarios.is_empty() {
        let names: Vec<_> = scenarios::all().into_iter().map(|scenario| scenario.name).collect();
        return Err(Error::Wrong(format!("no such scenario: there are {}", names.join(", "))));
    }
    fetch(&arguments.dpdk)?;
    let lab = Lab::new(&arguments.dpdk, ctrl_c()?)?;
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
    let result = scenario.run(lab);
    let (verdict, text) = match &result {
        Ok(text) => ("ok", text.clone()),
        Err(error) => ("FAILED", error.to_string()),
    };
    println!("{verdict:<7} {:<27} {:4.1} s  {text}", scenario.name, began.elapsed().as_secs_f64());
    result.is_ok()
}

/// Keeps packets going round until killed, or until its peer is gone.
fn be_the_victim(port: &Port) -> Result<(), Error> {
    let (memif, stop) = (Memif::start()?, Stop::new());
    let interface = port.interface(&memif).open()?;
    println!("{LISTENING}");
    interface.wait_up(Some(LINK))?;
    let mut trip = RoundTrip::new(&interface, 0, 64, &stop)?;
    trip.run(Duration::from_millis(100))?;
    println!("{FLOWING}");
    trip.until_down()
}
