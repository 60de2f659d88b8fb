//! Limits that the kernel sets for a process: for those who divide them up, and for errors that tell what to raise.

use std::fmt;
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// What the kernel allows unless the administrator says otherwise; where /proc cannot be read.
const DEFAULT_MAPPINGS: u64 = 65_530;

/// How many descriptors this process may have open (`ulimit -n`, the soft limit).
#[must_use]
pub fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What is used up when the kernel refuses a descriptor or a thread, and how to get more. Its text follows that of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsedUp {
    /// Descriptors of this process (`EMFILE`): so many may be open.
    Descriptors(u64),
    /// Open files of the machine (`ENFILE`).
    Files,
    /// Threads (`EAGAIN` of `clone`), or memory for one (`ENOMEM`): the user may have so many, `u64::MAX` without a limit.
    Threads(u64),
}

impl UsedUp {
    /// Whether a call that makes a descriptor failed for lack of them.
    #[must_use]
    pub fn of_descriptors(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE => Some(Self::Descriptors(descriptors())),
            Errno::NFILE => Some(Self::Files),
            _ => None,
        }
    }

    /// Whether a thread was not started for lack of them.
    #[must_use]
    pub fn of_threads(error: &io::Error) -> Option<Self> {
        let limit = || getrlimit(Resource::Nproc).current.unwrap_or(u64::MAX);
        matches!(Errno::from_io_error(error)?, Errno::AGAIN | Errno::NOMEM).then(|| Self::Threads(limit()))
    }

    /// What to write behind the text of an error: nothing if nothing is used up.
    #[must_use]
    pub fn hint(what: Option<Self>) -> String {
        what.map(|what| format!("; {what}")).unwrap_or_default()
    }
}

impl fmt::Display for UsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptors(limit) => write!(
                f,
                "this process may have {limit} open files: close some or raise the limit (ulimit -n)"
            ),
            Self::Files => f.write_str("the machine has too many open files: raise fs.file-max (sysctl)"),
            Self::Threads(u64::MAX) => f.write_str(
                "too many threads for the control group (pids.max, TasksMax) or the machine, or too little memory for \
                 one more",
            ),
            Self::Threads(limit) => write!(
                f,
                "the user may have {limit} threads (ulimit -u), the control group may have fewer (pids.max, TasksMax), \
                 and one more takes memory (ulimit -v)"
            ),
        }
    }
}

/// How many mappings a process may have (`vm.max_map_count`).
#[must_use]
pub fn mappings() -> u64 {
    let text = fs::read_to_string("/proc/sys/vm/max_map_count");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(DEFAULT_MAPPINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_that_the_kernel_reports() {
        let text = fs::read_to_string("/proc/self/limits").unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft = line.split_whitespace().nth(3).unwrap();
        assert_eq!(descriptors(), soft.parse().unwrap_or(u64::MAX));
        let mapped = fs::read_to_string("/proc/self/maps").unwrap().lines().count() as u64;
        assert!(mappings() > mapped);
    }
}
