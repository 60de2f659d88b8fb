//! Limits that the kernel sets for a process, for those who divide them up.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// What the kernel allows unless the administrator says otherwise; where /proc cannot be read.
const DEFAULT_MAPPINGS: u64 = 65_530;

/// How many descriptors this process may have open (`ulimit -n`, the soft limit).
#[must_use]
pub fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
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
