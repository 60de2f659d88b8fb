//! An end of a link that is DPDK's testpmd, sending or receiving on one forwarding core.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use memif_interop::{Testpmd, fetch};
use memif_os::clock::monotonic_ns;
use memif_pmd::{Role, Stop};

use crate::error::Error;
use crate::pair::Window;
use crate::presence::Watch;
use crate::sample::Measured;

/// How the name of the thread that forwards ends: `--lcores` below calls it 1, and what stands before differs between
/// releases of DPDK.
const FORWARDER: &str = "-worker-1";

/// Where testpmd is.
#[derive(Debug)]
pub(crate) struct Dpdk {
    program: PathBuf,
    stop: Stop,
}

/// What one is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Bytes of a packet that it sends.
    pub(crate) size: u16,
    /// Packets in a burst.
    pub(crate) burst: u16,
    /// Whether it sends or receives.
    pub(crate) sends: bool,
    /// Shares its packet memory, on huge pages. For a slave.
    pub(crate) zero_copy: bool,
}

/// A testpmd with a core of its own.
#[derive(Debug)]
pub(crate) struct Tester {
    testpmd: Testpmd,
    core: usize,
}

impl Dpdk {
    /// Fetches it from Debian's packages into `folder`, unless it is there.
    ///
    /// # Errors
    /// It cannot be fetched.
    pub(crate) fn new(folder: &Path, stop: Stop) -> Result<Self, Error> {
        fetch(folder)?;
        Ok(Self { program: folder.join("testpmd"), stop })
    }

    /// Starts one, which forwards nothing yet.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(&self, role: Role, socket: &str, core: usize, task: Task) -> Result<Tester, Error> {
        let testpmd = Testpmd::start(&self.program, &arguments(role, socket, core, task), &self.stop)?;
        Ok(Tester { testpmd, core })
    }
}

fn arguments(role: Role, socket: &str, core: usize, task: Task) -> Vec<String> {
    let role = if role == Role::Master { "server" } else { "client" };
    let zero_copy = if task.zero_copy { ",zero-copy=yes" } else { "" };
    let memory = if task.zero_copy {
        "--in-memory --single-file-segments -m 128"
    } else {
        "--no-huge --no-shconf -m 256"
    };
    let mode = if task.sends { "txonly" } else { "rxonly" };
    let Task { size, burst, .. } = task;
    let text = format!(
        "{memory} --no-pci --no-telemetry --lcores 0@{core},1@{core} --log-level=pmd.net.memif:debug \
         --vdev net_memif0,role={role},id=0,socket={socket},socket-abstract=no{zero_copy} \
         -- -i --disable-link-check --total-num-mbufs=8192 --burst={burst} --forward-mode={mode} --txpkts={size}"
    );
    text.split(' ').map(str::to_owned).collect()
}

impl Tester {
    /// Waits for the link, and forwards from then on.
    ///
    /// # Errors
    /// There is no link.
    pub(crate) fn forward(&mut self) -> Result<(), Error> {
        self.testpmd.connected()?;
        self.testpmd.command("start")?;
        Ok(())
    }

    /// Watches its forwarding thread from `begin` on.
    ///
    /// # Errors
    /// It has none.
    pub(crate) fn watch_at(&self, begin: u64) -> Result<Watch, Error> {
        sleep_until(begin);
        Watch::named(self.testpmd.pid(), FORWARDER, self.core)
    }

    /// Mpps that it receives in the window, by its counters and our clock.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn receives(&mut self, window: Window) -> Result<Measured, Error> {
        let watch = self.watch_at(window.begin)?;
        let (before, start) = self.received()?;
        sleep_until(window.end);
        let (after, end) = self.received()?;
        let packets = after.saturating_sub(before);
        let mpps = packets as f64 * 1e3 / (end - start).max(1) as f64;
        Ok(Measured { values: vec![mpps], lost: watch.end()?.lost })
    }

    fn received(&mut self) -> Result<(u64, u64), Error> {
        let packets = self.testpmd.counters()?.rx_packets;
        Ok((packets, monotonic_ns()))
    }

    /// Stops forwarding: it does not bear the end of its peer well while it does.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        self.testpmd.command("stop")?;
        Ok(())
    }

    /// Ends it, once it has stopped.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn quit(self) -> Result<(), Error> {
        Ok(self.testpmd.quit()?)
    }
}

/// Sleeps until the monotonic clock says so.
pub(crate) fn sleep_until(ns: u64) {
    thread::sleep(Duration::from_nanos(ns.saturating_sub(monotonic_ns())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_command_line_says_it_all() {
        let task = Task { size: 256, burst: 32, sends: true, zero_copy: true };
        let line = arguments(Role::Slave, "/run/x", 3, task).join(" ");
        for part in [
            "role=client,id=0,socket=/run/x,socket-abstract=no,zero-copy=yes ",
            "--lcores 0@3,1@3 ",
            "--single-file-segments ",
            "--burst=32 --forward-mode=txonly --txpkts=256",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }
}
