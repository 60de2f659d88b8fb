//! Whether a pinned thread really had its core. Otherwise a measurement is worthless.

use std::fs;

use memif_os::clock::monotonic_ns;

use crate::error::Error;

/// A tick of `/proc/stat` in nanoseconds: `USER_HZ` is 100 on Linux.
const TICK_NS: u64 = 10_000_000;

/// The kernel's counters of a thread and its core at one time.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: u64,
    /// Nanoseconds on a core.
    ran: u64,
    /// Nanoseconds ready to run without a core.
    waited: u64,
    /// Nanoseconds in which the hypervisor ran something else on the core.
    stolen: u64,
}

/// Watches a pinned thread for some time.
///
/// Waiting while ready measures exactly what involuntary switches only indicate, and does not include voluntary sleep. Time
/// taken by the hypervisor is not in it, but in the core's steal time.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The thread's directory below `/proc`.
    thread: String,
    core: usize,
    start: Look,
}

/// Result of watching, as shares of the time, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presence {
    /// Ready to run, but without the core.
    pub(crate) lost: f64,
    /// On the core.
    pub(crate) ran: f64,
}

impl Watch {
    /// Watches the calling thread from now on.
    ///
    /// # Errors
    /// The kernel keeps no scheduler figures.
    pub(crate) fn start(core: usize) -> Result<Self, Error> {
        Self::of("thread-self".into(), core)
    }

    /// Watches the thread of process `pid` whose name ends with one of these from now on.
    ///
    /// # Errors
    /// There is none, or the kernel keeps no scheduler figures.
    pub(crate) fn named(pid: u32, ends: &[&str], core: usize) -> Result<Self, Error> {
        let tasks = format!("/proc/{pid}/task");
        let entries = fs::read_dir(&tasks).map_err(Error::io(format!("cannot read {tasks}")))?;
        let is_it = |task: &str| {
            fs::read_to_string(format!("{tasks}/{task}/comm"))
                .is_ok_and(|comm| ends.iter().any(|end| comm.trim_end().ends_with(end)))
        };
        let mut numbers = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let task = numbers.find(|task| is_it(task));
        let task =
            task.ok_or_else(|| Error::Unfit(format!("process {pid} has no thread {}", ends.join(" or "))))?;
        Self::of(format!("{pid}/task/{task}"), core)
    }

    fn of(thread: String, core: usize) -> Result<Self, Error> {
        let start = look(&thread, core)?;
        Ok(Self { thread, core, start })
    }

    /// The result until now.
    ///
    /// # Errors
    /// The kernel keeps no scheduler figures.
    pub(crate) fn end(&self) -> Result<Presence, Error> {
        let (start, end) = (self.start, look(&self.thread, self.core)?);
        let time = end.at.saturating_sub(start.at).max(1) as f64;
        let lost = (end.waited + end.stolen).saturating_sub(start.waited + start.stolen);
        Ok(Presence { lost: lost as f64 / time, ran: end.ran.saturating_sub(start.ran) as f64 / time })
    }
}

fn look(thread: &str, core: usize) -> Result<Look, Error> {
    let file = format!("/proc/{thread}/schedstat");
    let text = fs::read_to_string(&file).map_err(Error::io(format!("cannot read {file}")))?;
    let wrong = || Error::Unfit(format!("{file} says {text:?}: needs a kernel with CONFIG_SCHED_INFO"));
    let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
    let (Some(ran), Some(waited)) = (numbers.next(), numbers.next()) else { return Err(wrong()) };
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    Ok(Look { at: monotonic_ns(), ran, waited, stolen: stolen_ticks(&stat, core) * TICK_NS })
}

/// The eighth number of the core's line; 0 where there is none, as on bare metal.
fn stolen_ticks(stat: &str, core: usize) -> u64 {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split(' ').next() == Some(&name));
    line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn steal_time_is_found_by_core() {
        let stat = "cpu  9 9 9 9 9 9 9 99 0 0\ncpu1 1 2 3 4 5 6 7 8 0 0\ncpu10 1 2 3 4 5 6 7 18 0 0\n";
        assert_eq!(stolen_ticks(stat, 1), 8);
        assert_eq!(stolen_ticks(stat, 10), 18);
        assert_eq!(stolen_ticks(stat, 2), 0);
    }

    #[test]
    fn a_sleeping_thread_neither_runs_nor_waits() {
        let watch = Watch::start(0).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let presence = watch.end().unwrap();
        // the time asleep counts for neither, whatever else the machine does
        assert!(presence.lost >= 0.0 && presence.ran < 0.9, "{presence:?}");
    }

    #[test]
    fn threads_are_found_by_their_names() {
        let (ready, started) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("watched".into());
        let thread = thread.spawn(move || {
            ready.send(()).unwrap();
            let _ = ended.recv();
        });
        started.recv().unwrap();
        let pid = std::process::id();
        assert!(Watch::named(pid, &["else", "watched"], 0).unwrap().end().is_ok());
        assert!(Watch::named(pid, &["nobody"], 0).unwrap_err().to_string().contains("nobody"));
        drop(end);
        thread.unwrap().join().unwrap();
    }
}
