//! Cores: which there are, pinning a thread to one, and what on the machine may disturb it there.
//!
//! Pinning goes through core_affinity; the rest is read from `/proc` and `/sys`. A value that cannot be
//! read is missing, never a guess.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use core_affinity::CoreId;

/// Cores are numbered from 0 up to and including this (`CPU_SETSIZE` less one).
pub const MAX_CORE: usize = 1023;

/// Why a thread could not be pinned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CpuError {
    /// The machine has no such core, or it is offline.
    #[error("core {core} does not exist or is offline; cores that may be used: {allowed}")]
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// The cores that may be used.
        allowed: CoreList,
    },
    /// The core exists and this process may not use it (cpuset of its control group).
    #[error("core {core} is not allowed for this process ({error}); cores that may be used: {allowed}")]
    NotAllowed {
        /// The core asked for.
        core: usize,
        /// The cores that may be used.
        allowed: CoreList,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// Why a text is no list of cores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoreListError {
    /// Not a number, nor two with a dash between them.
    #[error("{part:?} is neither a core nor a range: write a list such as 0,2-4")]
    Syntax {
        /// The part of the list in question.
        part: String,
    },
    /// A range whose end is before its start.
    #[error("range {first}-{last} runs backwards: write {last}-{first}")]
    Backwards {
        /// The range's start.
        first: usize,
        /// The range's end.
        last: usize,
    },
    /// A number above [`MAX_CORE`].
    #[error("core {core} is out of range: cores are numbered 0 to {MAX_CORE}")]
    TooLarge {
        /// The number given.
        core: usize,
    },
    /// A core that is named twice.
    #[error("core {core} is in the list twice")]
    Twice {
        /// The core.
        core: usize,
    },
}

/// Cores in the order given, each once, written like `0,2-4`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoreList(Vec<usize>);

impl CoreList {
    /// The cores, in the order given.
    #[must_use]
    pub fn cores(&self) -> &[usize] {
        &self.0
    }

    fn push(&mut self, core: usize) -> Result<(), CoreListError> {
        if self.0.contains(&core) {
            return Err(CoreListError::Twice { core });
        }
        self.0.push(core);
        Ok(())
    }
}

impl FromStr for CoreList {
    type Err = CoreListError;

    /// Reads a list such as `0,2-4`. Order is kept: the first worker takes the first core.
    fn from_str(text: &str) -> Result<CoreList, CoreListError> {
        let mut list = CoreList::default();
        for part in text.split(',') {
            let (first, last) = parse_range(part.trim())?;
            for core in first..=last {
                list.push(core)?;
            }
        }
        Ok(list)
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, run) in self.0.chunk_by(|a, b| a + 1 == *b).enumerate() {
            let comma = if i == 0 { "" } else { "," };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [only] => write!(f, "{comma}{only}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

fn parse_range(part: &str) -> Result<(usize, usize), CoreListError> {
    let syntax = || CoreListError::Syntax { part: part.to_owned() };
    let number = |text: &str| {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(syntax());
        }
        // Only a number too long for the type fails now.
        let core = text.parse().unwrap_or(usize::MAX);
        if core > MAX_CORE { Err(CoreListError::TooLarge { core }) } else { Ok(core) }
    };
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(CoreListError::Backwards { first, last }) } else { Ok((first, last)) }
}

/// The cores that this process may use, in ascending order.
///
/// Asks for those of the main thread: the calling thread may be pinned already. A main thread that pinned
/// itself is seen with the one core that it chose.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            Some(list.trim().parse::<CoreList>().ok()?.0)
        })
        .or_else(|| Some(core_affinity::get_core_ids()?.into_iter().map(|core| core.id).collect()))
        .unwrap_or_default()
}

/// Pins the calling thread to one core, also to one outside the thread's present mask if the kernel allows it.
///
/// # Errors
/// [`CpuError::NoSuchCore`] or [`CpuError::NotAllowed`], both with the cores that may be used.
pub fn pin_current(core: usize) -> Result<(), CpuError> {
    let allowed = || CoreList(allowed_cores());
    // core_affinity panics on numbers beyond its set.
    if core > MAX_CORE || !is_online(core) {
        return Err(CpuError::NoSuchCore { core, allowed: allowed() });
    }
    if core_affinity::set_for_current(CoreId { id: core }) {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(CpuError::NotAllowed { core, allowed: allowed(), error })
}

/// The NUMA node of a core, `None` on a machine without such.
#[must_use]
pub fn numa_node(core: usize) -> Option<usize> {
    let entries = fs::read_dir(core_folder(core)).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

/// What may disturb a busy loop on a core. A tool prints it; nothing depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The core that this is about.
    pub core: usize,
    /// The scheduler keeps other threads away (`isolcpus=`).
    pub isolated: bool,
    /// The timer does not tick while one thread runs alone (`nohz_full=`).
    pub nohz_full: bool,
    /// The frequency governor, such as `performance`; `None` where the machine has none, as in most guests.
    pub governor: Option<String>,
    /// The other hardware threads of the same physical core.
    pub smt_siblings: CoreList,
}

/// Reads what the system says about a core.
#[must_use]
pub fn isolation_report(core: usize) -> Isolation {
    let folder = core_folder(core);
    let mut smt_siblings = read_list(&folder.join("topology/thread_siblings_list"));
    smt_siblings.remove(&core);
    Isolation {
        core,
        isolated: read_list(&cpu_folder().join("isolated")).contains(&core),
        nohz_full: read_list(&cpu_folder().join("nohz_full")).contains(&core),
        governor: read_trimmed(&folder.join("cpufreq/scaling_governor")),
        smt_siblings: CoreList(smt_siblings.into_iter().collect()),
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |is: bool| if is { "yes" } else { "no" };
        write!(
            f,
            "core {}: isolated {}, nohz_full {}, governor {}, SMT siblings {}",
            self.core,
            yes(self.isolated),
            yes(self.nohz_full),
            self.governor.as_deref().unwrap_or("unknown"),
            self.smt_siblings
        )
    }
}

fn is_online(core: usize) -> bool {
    let online = read_list(&cpu_folder().join("online"));
    // Without sysfs the kernel decides.
    online.is_empty() || online.contains(&core)
}

fn cpu_folder() -> &'static Path {
    Path::new("/sys/devices/system/cpu")
}

fn core_folder(core: usize) -> PathBuf {
    cpu_folder().join(format!("cpu{core}"))
}

/// The cores in a file of sysfs; none when it is missing, empty or says `(null)`.
fn read_list(path: &Path) -> BTreeSet<usize> {
    read_trimmed(path)
        .and_then(|text| text.parse::<CoreList>().ok())
        .unwrap_or_default()
        .0
        .into_iter()
        .collect()
}

fn read_trimmed(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn parse(text: &str) -> Result<Vec<usize>, CoreListError> {
        text.parse::<CoreList>().map(|list| list.0)
    }

    #[test]
    fn lists_are_read_in_order() {
        assert_eq!(parse("0"), Ok(vec![0]));
        assert_eq!(parse("0,2-4"), Ok(vec![0, 2, 3, 4]));
        assert_eq!(parse(" 3 , 1-1,0"), Ok(vec![3, 1, 0]));
        assert_eq!(parse("0-1023").map(|list| list.len()), Ok(1024));
    }

    #[test]
    fn bad_lists_are_refused() {
        for text in ["", ",", "a", "1,", "1--2", "-1", "1-", "+1", "1 2", "0x1", "(null)"] {
            assert!(matches!(parse(text), Err(CoreListError::Syntax { .. })), "{text}");
        }
        assert_eq!(parse("4-2"), Err(CoreListError::Backwards { first: 4, last: 2 }));
        assert_eq!(parse("1024"), Err(CoreListError::TooLarge { core: 1024 }));
        assert_eq!(parse("0-4294967295"), Err(CoreListError::TooLarge { core: 4_294_967_295 }));
        assert_eq!(parse("99999999999999999999999"), Err(CoreListError::TooLarge { core: usize::MAX }));
        assert_eq!(parse("1,0-2"), Err(CoreListError::Twice { core: 1 }));
    }

    #[test]
    fn lists_are_written_as_they_are_read() {
        for text in ["0", "0,2-4", "3,1,0", "0-1,5"] {
            assert_eq!(text.parse::<CoreList>().unwrap().to_string(), text);
        }
        assert_eq!(CoreList::default().to_string(), "none");
    }

    #[test]
    fn a_thread_can_be_pinned_to_every_allowed_core() {
        let cores = allowed_cores();
        assert!(!cores.is_empty());
        for core in cores {
            thread::spawn(move || {
                pin_current(core).unwrap();
                assert_eq!(core_affinity::get_core_ids().unwrap(), [CoreId { id: core }]);
                // The pinned thread still sees what the process may use.
                assert!(allowed_cores().contains(&core));
                pin_current(core).unwrap();
            })
            .join()
            .unwrap();
        }
    }

    #[test]
    fn cores_that_do_not_exist_are_refused() {
        let expected = CoreList(allowed_cores());
        for core in [MAX_CORE + 1, usize::MAX] {
            match pin_current(core).unwrap_err() {
                CpuError::NoSuchCore { core: told, allowed } => {
                    assert_eq!((told, &allowed), (core, &expected));
                }
                other => panic!("{other}"),
            }
        }
        let last = read_list(Path::new("/sys/devices/system/cpu/possible")).last().copied().unwrap();
        if last < MAX_CORE {
            assert!(matches!(pin_current(last + 1), Err(CpuError::NoSuchCore { .. })));
        }
    }

    #[test]
    fn the_report_agrees_with_the_system() {
        let core = allowed_cores()[0];
        let report = isolation_report(core);
        assert_eq!(report.core, core);
        assert!(!report.smt_siblings.cores().contains(&core));
        assert!(report.to_string().starts_with(&format!("core {core}: isolated ")), "{report}");
        let node = Path::new("/sys/devices/system/node/node0");
        assert_eq!(numa_node(core).is_some(), node.exists() && core_folder(core).exists());
    }

    #[test]
    fn a_core_that_does_not_exist_has_an_empty_report() {
        let report = isolation_report(usize::MAX);
        assert!(!report.isolated && !report.nohz_full && report.governor.is_none());
        assert!(report.smt_siblings.cores().is_empty());
        assert_eq!(numa_node(usize::MAX), None);
    }

    #[test]
    fn reports_read_well() {
        let report = Isolation {
            core: 3,
            isolated: true,
            nohz_full: false,
            governor: Some("performance".to_owned()),
            smt_siblings: CoreList(vec![7]),
        };
        assert_eq!(
            report.to_string(),
            "core 3: isolated yes, nohz_full no, governor performance, SMT siblings 7"
        );
    }
}
