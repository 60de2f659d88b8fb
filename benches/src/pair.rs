//! Two ends of a link as two processes of this program, each on its core.
//!
//! An end is told what to do as JSON on its command line, opens its interface, waits for the link, and gets a window of
//! the clock that both share. What it found goes back as JSON. Each sample has processes of its own, so that memory lies
//! elsewhere each time, as it does for users.

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use memif_os::clock::monotonic_ns;
use memif_pmd::Role;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::ends::{Found, Work};
use crate::error::Error;

/// From telling both ends the window to its warm-up, for the slower of them to read it.
const NOTICE: Duration = Duration::from_millis(2);

/// Where the ends run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// Of the one that sends.
    pub(crate) tx: usize,
    /// Of the one that receives.
    pub(crate) rx: usize,
}

/// How long a sample takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Packets run and nobody counts.
    pub(crate) warm_up: Duration,
    /// Packets count.
    pub(crate) time: Duration,
}

impl Timing {
    /// The window that begins after the warm-up from now.
    pub(crate) fn window(&self) -> Window {
        let ns = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let begin = monotonic_ns() + ns(NOTICE) + ns(self.warm_up);
        Window { begin, end: begin.saturating_add(ns(self.time)) }
    }
}

/// When to count, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    /// Count from here,
    pub(crate) begin: u64,
    /// to here.
    pub(crate) end: u64,
}

/// What an end shall be and do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    /// Its interfaces, as port texts: two to forward between, one otherwise.
    pub(crate) ports: Vec<String>,
    /// The core of its data thread.
    pub(crate) core: usize,
    /// What it does.
    pub(crate) work: Work,
}

/// An end says this once its interfaces are open: a master can be connected to.
pub(crate) const OPEN: &str = "open";
/// An end says this once they have links.
pub(crate) const UP: &str = "up";

/// Sockets for one link after the other.
#[derive(Debug)]
pub(crate) struct Sockets {
    folder: TempDir,
    used: Cell<usize>,
}

impl Sockets {
    /// In a folder of their own, which goes with them.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn new() -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("memif-bench-").tempdir();
        Ok(Self { folder: folder.map_err(Error::io("cannot make a temporary folder"))?, used: Cell::new(0) })
    }

    /// One that nobody has used yet.
    pub(crate) fn next(&self) -> String {
        self.used.set(self.used.get() + 1);
        self.folder.path().join(format!("{}.sock", self.used.get())).display().to_string()
    }
}

/// A running end; killed when dropped.
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
    /// It gave up.
    pub(crate) fn up(&mut self) -> Result<(), Error> {
        self.says(UP)
    }

    /// Tells it when to count.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn begin(&mut self, window: Window) -> Result<(), Error> {
        let text = serde_json::to_string(&window)?;
        writeln!(self.input, "{text}").map_err(|_| Error::End(self.name))
    }

    /// Waits for what it found.
    ///
    /// # Errors
    /// It has found nothing.
    pub(crate) fn found(&mut self) -> Result<Found, Error> {
        Ok(serde_json::from_str(&self.line()?)?)
    }

    fn says(&mut self, word: &str) -> Result<(), Error> {
        if self.line()? == word { Ok(()) } else { Err(Error::End(self.name)) }
    }

    /// The next line. Each step of an end has its time limit, so there is one, or the end of the file.
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

/// What both ends found in one window.
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
