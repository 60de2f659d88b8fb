//! The two ends of a link as two processes of this program, each on a core of its own.
//!
//! An end gets its configuration as JSON on its command line, opens its interface, waits for the link, and gets a window
//! of the clock that both share. It returns its result as JSON. Each sample has new processes, so that memory has other
//! addresses each time, as it does for users.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use memif_os::clock::monotonic_ns;
use memif_pmd::Role;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::error::Error;
use crate::work::{Found, Work};

/// Time from sending the window to both ends until its warm-up, so that both have read it.
const NOTICE: Duration = Duration::from_millis(2);

/// Cores of the ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// Core of the sender.
    pub(crate) tx: usize,
    /// Core of the receiver.
    pub(crate) rx: usize,
}

/// Times of a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Warm-up, in which packets do not count.
    pub(crate) warm_up: Duration,
    /// Measurement, in which packets count.
    pub(crate) time: Duration,
}

impl Timing {
    /// The window after a warm-up that begins now.
    pub(crate) fn window(&self) -> Window {
        let ns = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let begin = monotonic_ns() + ns(NOTICE) + ns(self.warm_up);
        Window { begin, end: begin.saturating_add(ns(self.time)) }
    }
}

/// When packets count, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Begin.
    pub(crate) begin: u64,
    /// End.
    pub(crate) end: u64,
}

/// Configuration of an end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// Its interfaces, as port texts: two to forward between, one otherwise.
    pub(crate) ports: Vec<String>,
    /// The core of its data thread.
    pub(crate) core: usize,
    /// Its work.
    pub(crate) work: Work,
}

/// Printed by an end when its interfaces are open.
pub(crate) const OPEN: &str = "open";
/// Printed by an end when its interfaces have links.
pub(crate) const UP: &str = "up";

/// Sockets for successive links.
#[derive(Debug)]
pub(crate) struct Sockets {
    folder: TempDir,
    used: Cell<usize>,
}

impl Sockets {
    /// In a temporary directory, which is removed on drop.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn new() -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("memif-bench-").tempdir();
        Ok(Self { folder: folder.map_err(Error::io("cannot make a temporary folder"))?, used: Cell::new(0) })
    }

    /// Their directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An unused one.
    pub(crate) fn next(&self) -> String {
        self.used.set(self.used.get() + 1);
        self.folder.path().join(format!("{}.sock", self.used.get())).display().to_string()
    }
}

/// A running end; killed on drop.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it and waits until its interface is open.
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub(crate) fn start(role: Role, end: &End) -> Result<Self, Error> {
        let name = if role == Role::Master { "master" } else { "slave" };
        let program = std::env::current_exe().map_err(Error::io("cannot find this program"))?;
        let mut child = Command::new(program)
            .args(["end", &serde_json::to_string(end)?])
            // Ctrl-C is for us: it is ended in order
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::io("cannot start a process of our own"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::End(name));
        };
        let mut process = Self { name, child, input, output: BufReader::new(output) };
        process.says(OPEN)?;
        Ok(process)
    }

    /// Waits until it has a link.
    ///
    /// # Errors
    /// It has no link in time.
    pub(crate) fn up(&mut self) -> Result<(), Error> {
        self.says(UP)
    }

    /// Sends it the window.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn begin(&mut self, window: Window) -> Result<(), Error> {
        let text = serde_json::to_string(&window)?;
        writeln!(self.input, "{text}").map_err(|_| Error::End(self.name))
    }

    /// Waits for its result.
    ///
    /// # Errors
    /// It has no result.
    pub(crate) fn found(&mut self) -> Result<Found, Error> {
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn says(&mut self, word: &str) -> Result<(), Error> {
        if self.line()? == word { Ok(()) } else { Err(Error::End(self.name)) }
    }

    /// The next line of its output. Each step of an end has a time limit, so there is one, or the end of the output.
    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(Error::io(format!("cannot read from the {}", self.name)))?;
        match line.trim_end() {
            "" => Err(Error::End(self.name)),
            line => Ok(line.to_owned()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // fails only for one that has ended, and been waited for
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Results of both ends in one window.
///
/// # Errors
/// An end fails, or there is no link.
pub(crate) fn run(master: &End, slave: &End, timing: Timing) -> Result<(Found, Found), Error> {
    let mut master = Process::start(Role::Master, master)?;
    let mut slave = Process::start(Role::Slave, slave)?;
    master.up()?;
    slave.up()?;
    let window = timing.window();
    master.begin(window)?;
    slave.begin(window)?;
    // both stay until both have found something: no link is lost before
    Ok((master.found()?, slave.found()?))
}
