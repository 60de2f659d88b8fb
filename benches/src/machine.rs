//! Description of the machine, without which figures mean nothing.

use std::fmt;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use memif_os::clock::monotonic_ns;
use memif_os::cpu::{allowed_cores, isolation_report};

/// Properties of the machine that may influence figures.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Model of the processor.
    cpu: String,
    /// Its family and model number: names of virtual processors are vague.
    model: (String, String),
    /// Ticks of the time-stamp counter in a microsecond.
    ticks_mhz: f64,
    /// The kernel's name and release.
    kernel: String,
    /// Cores that this process may use.
    cores: usize,
    /// Whether it is a virtual machine, according to the processor.
    virtualised: bool,
    /// Frequency governor of the first core, `none` in most guests.
    governor: String,
    /// Huge pages of 2 MiB: free, and total.
    huge_pages: (String, String),
    /// When the kernel uses transparent huge pages.
    transparent: String,
    /// Version of the program.
    commit: String,
}

impl Machine {
    /// Reads the properties of this machine.
    pub(crate) fn read() -> Self {
        let info = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cores = allowed_cores();
        let governor = isolation_report(cores.first().copied().unwrap_or_default()).governor;
        let pool = |file| read(&format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{file}"));
        let transparent = read("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            cpu: field("model name").unwrap_or_else(|| "unknown processor".into()),
            model: [("cpu family"), ("model\t")].map(|name| field(name).unwrap_or_default()).into(),
            ticks_mhz: measured_ticks(),
            kernel: read("/proc/sys/kernel/osrelease"),
            cores: cores.len(),
            virtualised: field("flags").is_some_and(|flags| flags.split(' ').any(|f| f == "hypervisor")),
            governor: governor.unwrap_or_else(|| "none".into()),
            huge_pages: (pool("free_hugepages"), pool("nr_hugepages")),
            transparent: chosen(&transparent).unwrap_or("unknown").to_owned(),
            commit: commit(),
        }
    }
}

impl Machine {
    /// Ticks of the time-stamp counter in a microsecond. It has a constant rate, whatever the clock of the core.
    pub(crate) fn ticks_mhz(&self) -> f64 {
        self.ticks_mhz
    }

    /// Folder of a record of today: date and processor.
    pub(crate) fn record_name(&self) -> String {
        let cpu = self.cpu.replace("(R)", "").replace("(TM)", "").replace("Processor", "").to_lowercase();
        let words: Vec<_> =
            cpu.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        format!("{}-{}-{}-{}", date(), words.join("-"), self.model.0, self.model.1)
    }

    /// What does not change while a record is made, with the versions of DPDK and the settings.
    pub(crate) fn lasting(&self, dpdks: &[String], settings: &str) -> String {
        let kind = if self.virtualised { "virtual machine" } else { "bare metal" };
        let (family, model) = &self.model;
        let lines = [
            (
                "processor",
                format!("{}, family {family}, model {model}, {} cores, {kind}", self.cpu, self.cores),
            ),
            (TICKS, format!("{:.0} MHz", self.ticks_mhz)),
            ("date", date()),
            ("kernel", format!("Linux {}", self.kernel)),
            ("governor", self.governor.clone()),
            ("transparent huge pages", self.transparent.clone()),
            ("rustc", said("rustc", &["--version"])),
            ("commit", self.commit.clone()),
            ("DPDK", dpdks.join(", ")),
            ("settings", settings.to_owned()),
        ];
        lines.map(|(name, value)| format!("{name}  {value}\n")).concat()
    }
}

/// The name of the counter in [`Machine::lasting`].
pub(crate) const TICKS: &str = "time-stamp counter";

/// The counter's rate, as [`Machine::lasting`] says; not a number if it says none.
pub(crate) fn ticks_mhz(lasting: &str) -> f64 {
    let line = lasting.lines().find_map(|line| line.strip_prefix(TICKS));
    line.and_then(|line| line.trim().strip_suffix(" MHz")?.parse().ok()).unwrap_or(f64::NAN)
}

/// Compares the counter with the clock for some milliseconds, and rounds to the accuracy of that.
fn measured_ticks() -> f64 {
    let clock = quanta::Clock::new();
    let both = || {
        // the pair of reads that nothing came in between of
        let reads = (0..10).map(|_| (monotonic_ns(), clock.raw(), monotonic_ns()));
        reads.min_by_key(|(before, _, after)| after - before).unwrap_or_default()
    };
    let (from, first, _) = both();
    thread::sleep(Duration::from_millis(20));
    let (to, last, _) = both();
    (last.saturating_sub(first) as f64 * 1e3 / to.saturating_sub(from).max(1) as f64).round()
}

/// Today, such as 2026-11-26.
fn date() -> String {
    said("date", &["--utc", "+%F"])
}

/// The first line that a program prints; `unknown` if it cannot be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.ok().filter(|output| output.status.success());
    output
        .map_or_else(|| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.virtualised { "virtual machine" } else { "bare metal" };
        writeln!(f, "machine   {}, {} cores, {kind}, Linux {}", self.cpu, self.cores, self.kernel)?;
        let (free, all) = &self.huge_pages;
        write!(f, "          governor {}, 2 MiB pages {free} free of {all}", self.governor)?;
        writeln!(f, ", transparent huge pages {}", self.transparent)?;
        write!(f, "commit    {}", self.commit)
    }
}

/// Content of a file; empty if it cannot be read, as not every kernel has every file.
fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

/// The selected value in a file of sysfs, such as `always [madvise] never`.
fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(chosen, _)| chosen)
}

/// The commit that this was built from, with a plus if there were changes.
fn commit() -> String {
    said("git", &["describe", "--always", "--dirty=+", "--abbrev=10"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_value_is_found() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen(""), None);
    }

    #[test]
    fn a_machine_is_described_in_three_lines() {
        let text = Machine::read().to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("Linux") && text.contains("cores"), "{text}");
    }
    #[test]
    fn a_record_is_named_by_day_and_processor() {
        let mut machine = Machine::read();
        machine.cpu = "Intel(R) Xeon(R) Processor".into();
        machine.model = ("6".into(), "207".into());
        let name = machine.record_name();
        assert!(name.starts_with("20") && name.ends_with("-intel-xeon-6-207"), "{name}");
    }

    #[test]
    fn the_rate_of_the_counter_is_read_as_it_is_written() {
        let mut machine = Machine::read();
        machine.ticks_mhz = 2300.0;
        let text = machine.lasting(&["22.11.1".into(), "25.11.2".into()], "fast");
        assert!(text.contains("DPDK  22.11.1, 25.11.2\n"), "{text}");
        assert!((ticks_mhz(&text) - 2300.0).abs() < 0.5, "{text}");
        assert!(ticks_mhz("").is_nan());
    }
}
