//! DPDK's testpmd as an end of a link, which sends or receives on one core.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use memif_interop::{Testpmd, fetch, folder};
use memif_os::clock::monotonic_ns;
use memif_pmd::{Role, Stop};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::error::Error;
use crate::measured::Measured;
use crate::pair::Window;
use crate::presence::Watch;
use crate::sizes::Sizes;

/// Ends of the name of the forwarding thread, up to DPDK 23.07 and since: its lcore is 1 (`--lcores` below).
const FORWARDER: [&str; 2] = ["-worker-1", "-worker1"];
/// Largest packet in one of testpmd's own buffers, unless these are enlarged.
const DATA_ROOM: usize = 2048;
/// Packets of a recorded mix: enough for its ring of packets to be read as a stream.
const RECORDED: usize = 1200;

/// Where the testpmd of a suite of Debian is.
#[derive(Debug)]
pub(crate) struct Dpdk {
    program: PathBuf,
    /// End of the file names of its drivers, such as 23.
    abi: String,
    /// Such as 22.11.11.
    version: String,
    /// Packets of a mix, to be sent again and again.
    recorded: PathBuf,
    stop: Stop,
}

/// What a testpmd does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// `rxonly`: receives and counts.
    Receive,
    /// `txonly`: builds each packet and sends it.
    Build,
    /// `io` from a port that has packets without end, the `null` driver: takes buffers, sets their length and sends them.
    /// A mix comes from a recording (`pcap` driver), which copies each packet once.
    Send,
}

/// Configuration of a testpmd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// Bytes of the packets.
    pub(crate) sizes: Sizes,
    /// Packets in a burst.
    pub(crate) burst: u16,
    /// What it does.
    pub(crate) job: Job,
    /// Share its own packet memory, on huge pages. Only for a slave.
    pub(crate) zero_copy: bool,
}

/// A testpmd on a core of its own.
#[derive(Debug)]
pub(crate) struct Tester {
    testpmd: Testpmd,
    core: usize,
}

impl Dpdk {
    /// That of a suite, fetched from Debian's packages unless it is there already. `scratch` keeps files for it.
    ///
    /// # Errors
    /// It cannot be fetched, or does not start.
    pub(crate) fn new(suite: &str, scratch: &Path, stop: Stop) -> Result<Self, Error> {
        let folder = folder(suite);
        fetch(&folder, suite)?;
        let program = folder.join("testpmd");
        let recorded = scratch.join("mix.pcap");
        record(&recorded)?;
        Ok(Self { abi: abi(&folder)?, version: version(&program)?, program, recorded, stop })
    }

    /// Its version without what Debian added: such as 22.11.
    pub(crate) fn version(&self) -> String {
        self.version.split('.').take(2).collect::<Vec<_>>().join(".")
    }

    /// Its whole version.
    pub(crate) fn full_version(&self) -> &str {
        &self.version
    }

    /// Starts one that does not forward yet.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(&self, role: Role, socket: &str, core: usize, task: Task) -> Result<Tester, Error> {
        let testpmd = Testpmd::start(&self.program, &self.arguments(role, socket, core, task), &self.stop)?;
        Ok(Tester { testpmd, core })
    }

    fn arguments(&self, role: Role, socket: &str, core: usize, task: Task) -> Vec<String> {
        let role = if role == Role::Master { "server" } else { "client" };
        let zero_copy = if task.zero_copy { ",zero-copy=yes" } else { "" };
        let memory = if task.zero_copy {
            "--in-memory --single-file-segments -m 128"
        } else {
            "--no-huge --no-shconf -m 256"
        };
        let Task { sizes, burst, .. } = task;
        let (source, mode) = match task.job {
            Job::Receive => (String::new(), "--forward-mode=rxonly".to_owned()),
            Job::Build => (String::new(), format!("--forward-mode=txonly --txpkts={sizes}")),
            Job::Send => (self.source(sizes), "--forward-mode=io".into()),
        };
        let largest = sizes.pattern().into_iter().max().unwrap_or_default();
        let room = if largest > DATA_ROOM { " --mbuf-size=9344" } else { "" };
        let text = format!(
            "{memory} --no-pci --no-telemetry --lcores 0@{core},1@{core} --log-level=pmd.net.memif:debug \
             --vdev net_memif0,role={role},id=0,socket={socket},socket-abstract=no{zero_copy}{source} \
             -- -i --disable-link-check --total-num-mbufs=8192{room} --burst={burst} {mode}"
        );
        text.split(' ').map(str::to_owned).collect()
    }

    /// A second port, from which packets come without end.
    fn source(&self, sizes: Sizes) -> String {
        let Self { abi, recorded, .. } = self;
        match sizes {
            Sizes::One(size) => format!(" -d librte_net_null.so.{abi} --vdev net_null0,size={size},copy=0"),
            Sizes::Imix => format!(
                " -d librte_net_pcap.so.{abi} --vdev net_pcap0,rx_pcap={},infinite_rx=1",
                recorded.display()
            ),
        }
    }
}

/// Writes a recording of the mix.
fn record(file: &Path) -> Result<(), Error> {
    let failed = |problem: String| Error::Unfit(format!("cannot write {}: {problem}", file.display()));
    let created = File::create(file).map_err(|error| failed(error.to_string()))?;
    let mut writer = PcapWriter::new(created).map_err(|error| failed(error.to_string()))?;
    for size in Sizes::Imix.pattern().into_iter().cycle().take(RECORDED) {
        let data = vec![0x5a; size];
        let length = u32::try_from(size).unwrap_or(u32::MAX);
        let packet = PcapPacket::new(Duration::ZERO, length, &data);
        writer.write_packet(&packet).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// The ABI version at the end of the drivers' file names, such as 23.
fn abi(folder: &Path) -> Result<String, Error> {
    let folder = folder.join("lib");
    let entries = fs::read_dir(&folder).map_err(Error::io(format!("cannot read {}", folder.display())))?;
    let numbers = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let number = name.strip_prefix("librte_net_null.so.")?;
        number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.to_owned())
    });
    numbers.max().ok_or_else(|| Error::Unfit(format!("no librte_net_null.so in {}", folder.display())))
}

/// The version that a testpmd prints.
fn version(program: &Path) -> Result<String, Error> {
    let ask = "-v --no-huge --no-pci --no-shconf --no-telemetry -m 16 --lcores 0 -- --help";
    let said = Command::new(program).args(ask.split(' ')).output();
    let said = said.map_err(Error::io(format!("cannot start {}", program.display())))?;
    let text = [said.stdout, said.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    let named = |text: &str| Some(text.split_once("Version: 'DPDK ")?.1.split_once('\'')?.0.to_owned());
    named(&text)
        .ok_or_else(|| Error::Unfit(format!("{} does not say its version: {text}", program.display())))
}

impl Tester {
    /// Waits for the link and starts forwarding.
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
        Watch::named(self.testpmd.pid(), &FORWARDER, self.core)
    }

    /// Mpps that it receives in the window, from its counters and this process's clock.
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
        Ok(Measured::new(vec![mpps], watch.end()?.lost))
    }

    fn received(&mut self) -> Result<(u64, u64), Error> {
        let packets = self.testpmd.counters()?.rx_packets;
        Ok((packets, monotonic_ns()))
    }

    /// Stops forwarding. While it forwards, it may crash when its peer ends.
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

/// Sleeps until a time of the monotonic clock.
pub(crate) fn sleep_until(ns: u64) {
    thread::sleep(Duration::from_nanos(ns.saturating_sub(monotonic_ns())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dpdk() -> Dpdk {
        let (program, recorded) = ("/x/testpmd".into(), "/x/mix.pcap".into());
        Dpdk { program, abi: "23".into(), version: "22.11.7".into(), recorded, stop: Stop::new().unwrap() }
    }

    #[test]
    fn the_command_line_contains_the_configuration() {
        let task = Task { sizes: Sizes::One(256), burst: 32, job: Job::Build, zero_copy: true };
        let line = |task| dpdk().arguments(Role::Slave, "/run/x", 3, task).join(" ");
        for (task, part) in [
            (task, "role=client,id=0,socket=/run/x,socket-abstract=no,zero-copy=yes "),
            (task, "--lcores 0@3,1@3 "),
            (task, "--single-file-segments "),
            (task, "--burst=32 --forward-mode=txonly --txpkts=256"),
            (Task { job: Job::Send, ..task }, "-d librte_net_null.so.23 --vdev net_null0,size=256,copy=0 "),
            (
                Task { job: Job::Send, sizes: Sizes::Imix, ..task },
                "net_pcap0,rx_pcap=/x/mix.pcap,infinite_rx=1 ",
            ),
            (Task { sizes: Sizes::One(9000), ..task }, "--mbuf-size=9344 "),
        ] {
            assert!(line(task).contains(part), "{}", line(task));
        }
        assert_eq!(dpdk().version(), "22.11");
    }

    #[test]
    fn a_recording_has_the_mix() {
        let file = tempfile::NamedTempFile::new().unwrap();
        record(file.path()).unwrap();
        let per_packet: usize = Sizes::Imix.pattern().iter().map(|size| size + 16).sum();
        assert_eq!(file.as_file().metadata().unwrap().len(), (24 + RECORDED / 12 * per_packet) as u64);
    }
}
