//! Runs the tool and reads what it prints.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Path of the tool, which may have been copied next to the tests.
pub(crate) fn program() -> String {
    std::env::var("CARGO_BIN_EXE_memif").unwrap_or_else(|_| env!("CARGO_BIN_EXE_memif").to_owned())
}

/// Timeout of every wait; much longer than any of them takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A running `memif`. Killed when a test fails.
pub(crate) struct Tool {
    pub(crate) child: Child,
    lines: Receiver<String>,
    notes: Receiver<String>,
}

/// Exit status and output of the tool.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Standard output without events of links.
    pub(crate) lines: Vec<String>,
    /// Events of links, as JSON.
    pub(crate) events: Vec<String>,
    pub(crate) stderr: String,
}

impl Tool {
    pub(crate) fn start(folder: &Path, line: &str) -> Self {
        Self::start_with(folder, line, &[])
    }

    /// Starts it with environment variables.
    pub(crate) fn start_with(folder: &Path, line: &str, variables: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(program()), folder, line, variables)
    }

    /// Starts it in a network namespace of its own. That takes root.
    pub(crate) fn start_in_namespace(folder: &Path, line: &str) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", &program()]);
        Self::spawn(command, folder, line, &[])
    }

    /// Starts it in the namespace of another one. That takes root.
    pub(crate) fn start_inside(holder: &Self, folder: &Path, line: &str) -> Self {
        let mut command = Command::new("nsenter");
        command.args([format!("--net=/proc/{}/ns/net", holder.child.id()), program()]);
        Self::spawn(command, folder, line, &[])
    }

    fn spawn(mut command: Command, folder: &Path, line: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = command
            .args(line.split_whitespace())
            .current_dir(folder)
            .env("TMPDIR", folder)
            .env_remove("RUST_LOG")
            .env_remove("MEMIF_SECRET")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let (sender, notes) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, notes }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// The next line that is not about a link's events.
    pub(crate) fn next_line(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("no line of output");
            if !line.contains("\"event\":") {
                return line;
            }
        }
    }

    /// The next line of standard error.
    pub(crate) fn next_note(&self) -> String {
        self.notes.recv_timeout(PATIENCE).expect("no message")
    }

    pub(crate) fn wait(mut self) -> Ended {
        let began = Instant::now();
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None => assert!(began.elapsed() < PATIENCE, "the tool does not end"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        let stderr = self.notes.iter().map(|line| line + "\n").collect();
        let (events, lines) = self.lines.iter().partition(|line| line.contains("\"event\":"));
        Ended { code, lines, events, stderr }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The final JSON object; all output must be JSON, and only the last object final.
    pub(crate) fn summary(&self) -> Value {
        let mut records: Vec<Value> =
            self.lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
        let last = records.pop().unwrap_or_else(|| panic!("no output: {self:?}"));
        assert_eq!(last["final"], true, "{self:?}");
        assert!(records.iter().all(|record| record["final"] == false), "{self:?}");
        last
    }

    /// As [`Ended::summary`], of a run that succeeded.
    pub(crate) fn success(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.summary()
    }
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn run(folder: &Path, line: &str) -> Ended {
    Tool::start(folder, line).wait()
}

/// Waits for a socket file, which a master creates.
pub(crate) fn wait_for(folder: &Path, socket: &str) {
    let began = Instant::now();
    while !folder.join(socket).exists() {
        assert!(began.elapsed() < PATIENCE, "no {socket}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn assert_empty(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

pub(crate) fn number(record: &Value, field: &str) -> u64 {
    record.pointer(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {field} in {record}"))
}
