//! What the kernel says about huge pages and free memory, and the words for it when huge pages cannot be had.
//!
//! Shared by [`region_file`](crate::region_file) and [`page_pool`](crate::page_pool). Reads `/proc/meminfo` and
//! `/sys/kernel/mm/hugepages`; a value that cannot be read is `None`, never a guess.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

/// 1 KiB, the unit of `/proc/meminfo`.
const KIB: usize = 1 << 10;
/// 1 MiB.
const MIB: usize = 1 << 20;
/// 1 GiB.
pub(crate) const GIB: usize = 1 << 30;

/// Whether memory shall lie on huge pages (fewer TLB misses for packet memory).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HugePages {
    /// Normal pages.
    Off,
    /// Huge pages when the machine has enough of them free, else normal pages; the reason is kept.
    #[default]
    Prefer,
    /// Huge pages or an error.
    Require,
}

impl HugePages {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Off, Self::Prefer, Self::Require];

    const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Prefer => "prefer",
            Self::Require => "require",
        }
    }
}

impl fmt::Display for HugePages {
    /// `off`, `prefer` or `require`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a [`HugePages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown use of huge pages: use off, prefer or require")]
pub struct ParseHugePagesError;

impl FromStr for HugePages {
    type Err = ParseHugePagesError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, ParseHugePagesError> {
        Self::ALL.into_iter().find(|choice| choice.name() == text).ok_or(ParseHugePagesError)
    }
}

/// Why memory could not be put on huge pages. Its text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HugeFallback {
    page_size: usize,
    needed: usize,
    counts: Option<Counts>,
    errno: Option<i32>,
}

/// The kernel's counters for one huge page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Neither in use nor promised to an existing mapping.
    free: usize,
    total: usize,
}

impl HugeFallback {
    /// Looks at the kernel's counters right after `len` bytes on pages of `page_size` bytes were refused with
    /// `error`.
    pub(crate) fn new(page_size: usize, len: usize, error: &io::Error) -> HugeFallback {
        HugeFallback {
            page_size,
            needed: len.div_ceil(page_size.max(1)),
            counts: counts(page_size),
            errno: error.raw_os_error(),
        }
    }

    /// Size of the huge pages that were asked for, in bytes; 0 when the kernel has no huge pages.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Number of huge pages that were asked for.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.needed
    }
}

impl fmt::Display for HugeFallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, needed) = (Size(self.page_size), self.needed);
        let Some(Counts { free, total }) = self.counts else {
            return write!(
                f,
                "this kernel has no {size} huge pages: enable hugetlbfs in it or use normal pages"
            );
        };
        if free < needed {
            let wanted = total.saturating_add(needed - free);
            let knob = knob(self.page_size, "nr_hugepages");
            return write!(
                f,
                "{needed} {size} huge pages needed, {free} of {total} free: echo {wanted} > {}",
                knob.display()
            );
        }
        write!(f, "{needed} {size} huge pages refused although {free} of {total} are free")?;
        if let Some(errno) = self.errno {
            write!(f, ": {}", io::Error::from_raw_os_error(errno))?;
        }
        write!(f, "; look at the hugetlb limit of the control group")
    }
}

/// A page size in the unit people use for it.
struct Size(usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => write!(f, "(unknown size)"),
            n if n % GIB == 0 => write!(f, "{} GiB", n / GIB),
            n if n % MIB == 0 => write!(f, "{} MiB", n / MIB),
            n => write!(f, "{} KiB", n / KIB),
        }
    }
}

/// True when the machine holds at least one huge page of this size, free or not.
pub(crate) fn has_any(page_size: usize) -> bool {
    counts(page_size).is_some_and(|c| c.total > 0)
}

/// The kernel's default huge page size in bytes, `None` without huge page support.
pub(crate) fn default_size() -> Option<usize> {
    meminfo_value(&fs::read_to_string("/proc/meminfo").ok()?, "Hugepagesize:").filter(|n| n.is_power_of_two())
}

/// Memory that can be had without swapping, in bytes (`MemAvailable` of `/proc/meminfo`).
pub(crate) fn available_memory() -> Option<usize> {
    meminfo_value(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

fn knob(page_size: usize, file: &str) -> PathBuf {
    PathBuf::from(format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_size / KIB)).join(file)
}

fn counts(page_size: usize) -> Option<Counts> {
    let read = |file| fs::read_to_string(knob(page_size, file)).ok()?.trim().parse::<usize>().ok();
    let free = read("free_hugepages")?.saturating_sub(read("resv_hugepages")?);
    Some(Counts { free, total: read("nr_hugepages")? })
}

fn meminfo_value(meminfo: &str, key: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
    let number: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(KIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for choice in HugePages::ALL {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        for text in ["", "Off", "on", "prefer ", "required"] {
            assert_eq!(text.parse::<HugePages>(), Err(ParseHugePagesError), "{text:?}");
        }
    }

    #[test]
    fn meminfo_lines_are_read_in_kib() {
        let text = "MemTotal:  10 kB\nMemAvailable:    7 kB\nHugepagesize:       2048 kB\n";
        assert_eq!(meminfo_value(text, "MemAvailable:"), Some(7 << 10));
        assert_eq!(meminfo_value(text, "Hugepagesize:"), Some(2 << 20));
        assert_eq!(meminfo_value(text, "HugePages_Free:"), None);
        assert_eq!(meminfo_value("X: 99999999999999999999 kB", "X:"), None);
        assert_eq!(meminfo_value("X: 18446744073709551615 kB", "X:"), None);
        assert_eq!(meminfo_value("X: 5", "X:"), None);
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available_memory().unwrap() > 0);
    }

    #[test]
    fn the_reason_names_counts_and_the_remedy() {
        let mut why = HugeFallback {
            page_size: 2 << 20,
            needed: 3,
            counts: Some(Counts { free: 1, total: 5 }),
            errno: Some(libc::ENOMEM),
        };
        assert_eq!(
            why.to_string(),
            "3 2 MiB huge pages needed, 1 of 5 free: \
             echo 7 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
        );
        why.counts = Some(Counts { free: 3, total: 3 });
        assert!(why.to_string().contains("3 of 3 are free"), "{why}");
        assert!(why.to_string().contains("os error 12"), "{why}");
        why.counts = None;
        assert!(why.to_string().contains("no 2 MiB huge pages"), "{why}");
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(Size(1 << 30).to_string(), "1 GiB");
        assert_eq!(Size(512 << 20).to_string(), "512 MiB");
        assert_eq!(Size(64 << 10).to_string(), "64 KiB");
    }

    #[test]
    fn an_unknown_page_size_has_no_pages() {
        assert!(!has_any(3 << 10));
        assert_eq!(counts(3 << 10), None);
    }
}
