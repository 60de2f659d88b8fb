//! The machine that a report is about: figures mean nothing without it.

use std::fmt;
use std::fs;
use std::process::Command;

use memif_os::cpu::{allowed_cores, isolation_report};

/// What may matter to a figure.
#[derive(Debug)]
pub(crate) struct Machine {
    /// Model of the processor.
    cpu: String,
    /// The kernel's name and release.
    kernel: String,
    /// Cores that this process may use.
    cores: usize,
    /// Whether it is a guest, as the processor says.
    virtualised: bool,
    /// Frequency governor of the first core, `none` in most guests.
    governor: String,
    /// Huge pages of 2 MiB: free, and all.
    huge_pages: (String, String),
    /// When the kernel uses transparent huge pages.
    transparent: String,
    /// What was measured.
    commit: String,
}

impl Machine {
    /// This one.
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

/// A file's text, empty when it cannot be read: not every kernel has every file.
fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

/// The choice that a file of sysfs marks: `always [madvise] never`.
fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(chosen, _)| chosen)
}

/// The commit of the checkout that this was built from; a plus says that it has changes.
fn commit() -> String {
    let git = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty=+", "--abbrev=10"];
    let said = Command::new("git").args(git).output().ok().filter(|output| output.status.success());
    said.map_or_else(|| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marked_choice_is_found() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen(""), None);
    }

    #[test]
    fn a_machine_is_three_lines() {
        let text = Machine::read().to_string();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("Linux") && text.contains("cores"), "{text}");
    }
}
