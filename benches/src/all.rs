//! `memif-bench all`: measures every table into one record.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use memif_pmd::Stop;

use crate::dpdk::Dpdk;
use crate::error::Error;
use crate::machine::Machine;
use crate::pair::Sockets;
use crate::record;

/// Names of the tables, and the commands that measure them.
const TABLES: [(&str, &str); 15] = [
    ("floors", "floors"),
    ("peers-64", "peers --size 64"),
    ("peers-256", "peers --size 256"),
    ("peers-1514", "peers --size 1514"),
    ("peers-imix", "peers --size imix"),
    ("peers-chains", "peers --size 9000 --brief"),
    ("sizes-s2m", "peers --brief --suite sid --direction s2m --size 96,128,192,384,512,768,1024,2048"),
    ("sizes-m2s", "peers --brief --suite sid --direction m2s --size 96,128,192,384,512,768,1024,2048"),
    ("pages", "line --size 64,256,1514 --direction s2m,m2s --pages normal,huge"),
    ("bursts", "line --direction s2m,m2s --burst 1,8,32,256"),
    ("access", "line --size 64,1514 --direction s2m,m2s --access peek,reserve,in-place"),
    ("latency", "latency"),
    ("load", "load"),
    ("forward", "forward"),
    ("scale", "scale"),
];

/// `memif-bench all`
///
/// Measures every table into one folder. Tables that are there already get more rounds, so that a long record can be made
/// in parts.
#[derive(Clone, Debug, Args)]
pub(crate) struct All {
    /// Folder of the record; by default one for this day and processor below benches/records
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Tables to measure; by default all
    #[arg(long, value_delimiter = ',', value_parser = TABLES.map(|(name, _)| name))]
    only: Vec<String>,
    /// Rounds to add to each table
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Warm-up of a sample in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 150, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    warm_up: u16,
    /// Measurement time of a sample in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    time: u16,
    /// Suites of Debian whose DPDK is measured
    #[arg(long, value_delimiter = ',', default_value = "bookworm,sid")]
    suite: Vec<String>,
}

/// Measures the tables, one after the other.
///
/// # Errors
/// A table cannot be measured, or the folder has a record of another machine.
pub(crate) fn all(args: &All) -> Result<(), Error> {
    let machine = Machine::read();
    let sockets = Sockets::new()?;
    let versions = args.suite.iter().map(|suite| {
        let dpdk = Dpdk::new(suite, sockets.folder(), Stop::new()?)?;
        Ok(dpdk.full_version().to_owned())
    });
    let versions = versions.collect::<Result<Vec<_>, Error>>()?;
    let records = || concat!(env!("CARGO_MANIFEST_DIR"), "/records/").to_owned() + &machine.record_name();
    let folder = args.out.clone().unwrap_or_else(|| records().into());
    record::begin(&folder, &machine.lasting(&versions, &args.settings()))?;
    for (name, command) in TABLES {
        if args.only.is_empty() || args.only.iter().any(|only| only == name) {
            args.measure(name, command, &folder)?;
        }
    }
    Ok(())
}

impl All {
    fn settings(&self) -> String {
        let Self { warm_up, time, .. } = self;
        format!(
            "two cores; {warm_up} ms warm-up, {time} ms measured; burst 64, ring 1024, 4 KiB pages, both ends copy, \
             every descriptor validated, unless a column says otherwise; rows of a table in turn"
        )
    }

    fn measure(&self, name: &str, command: &str, folder: &PathBuf) -> Result<(), Error> {
        let program = std::env::current_exe().map_err(Error::io("cannot find this program"))?;
        let numbers = [self.rounds, self.warm_up, self.time].map(|number| number.to_string());
        let mut child = Command::new(program);
        child.args(command.split(' ')).arg("--append").arg("--out").arg(folder);
        for (option, number) in ["--rounds", "--warm-up", "--time"].iter().zip(&numbers) {
            child.args([option, number.as_str()]);
        }
        if command.starts_with("peers") && !command.contains("--suite") {
            child.args(["--suite", &self.suite.join(",")]);
        }
        let status = child.status().map_err(Error::io(format!("cannot start the measurement of {name}")))?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::Unfit(format!("table {name} was not measured: see above")))
        }
    }
}
