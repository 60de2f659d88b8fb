//! The forwarder of the demo: this executable in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use memif_os::thread::spawn;
use serde_json::Value;

use crate::error::ToolError;
use crate::report::Drops;
use crate::session::SECRET;
use crate::status::note;

/// Time for the forwarder to end.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// Characters of a message that are kept.
const LONGEST: usize = 1000;

/// The second process. It ends when this is dropped, or when this process ends.
pub(super) struct Forwarder {
    child: Child,
    /// Its standard input. The forwarder ends when this is closed, also by the end of this process.
    stdin: Option<ChildStdin>,
    last_line: Option<JoinHandle<Option<String>>>,
    /// Returns the last line of its standard error.
    complaint: Option<JoinHandle<()>>,
    said: Arc<Mutex<Option<String>>>,
}

impl Forwarder {
    /// Starts this executable as a forwarder between the sockets `ends`, with `directory` as its working directory.
    pub(super) fn spawn(
        directory: &Path,
        ends: [&str; 2],
        core: usize,
        burst: u16,
    ) -> Result<Self, ToolError> {
        let failed = |program: &Path| {
            let program = program.display().to_string();
            move |error| ToolError::Spawn { program, error }
        };
        let program = std::env::current_exe().map_err(failed(Path::new("of this executable")))?;
        let mut child = Command::new(&program)
            .args(["forward", "--child", "--json"])
            .args([format!("--core={core}"), format!("--burst={burst}")])
            .args(ends)
            .current_dir(directory)
            .env_remove(SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed(&program))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let said = Arc::<Mutex<Option<String>>>::default();
        // from here on, dropping `Forwarder` on an error ends the child
        let mut forwarder = Self { child, stdin, last_line: None, complaint: None, said: Arc::clone(&said) };
        let last_line = spawn("memif-forwarder", None, || stdout.and_then(last_line));
        forwarder.last_line = Some(last_line.map_err(ToolError::Thread)?);
        let listen = move || stderr.into_iter().for_each(|stderr| listen(stderr, &said));
        forwarder.complaint = Some(spawn("memif-complaint", None, listen).map_err(ToolError::Thread)?);
        Ok(forwarder)
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its last warning.
    pub(super) fn said(&self) -> Option<String> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// [`ToolError::ForwarderEnded`]: it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), ToolError> {
        match self.child.try_wait() {
            Ok(Some(status)) => {
                // its standard error ends with it
                let _ = self.complaint.take().map(JoinHandle::join);
                let reason = self.said().unwrap_or_else(|| "it did not say why".to_owned());
                Err(ToolError::ForwarderEnded { status, reason })
            }
            _ => Ok(()),
        }
    }

    /// Ends it and reads its summary.
    pub(super) fn end(&mut self) -> ForwarderSummary {
        drop(self.stdin.take());
        let deadline = Instant::now() + SHUTDOWN;
        while self.status().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        self.kill();
        let line = self.last_line.take().and_then(|thread| thread.join().ok().flatten());
        line.map(|line| ForwarderSummary::parse(&line)).unwrap_or_default()
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills it if it still runs, and waits for it, so that no zombie remains.
    fn kill(&mut self) {
        if self.status().is_none() {
            let _ = self.child.kill(); // fails if it has ended just now
            let _ = self.child.wait();
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.kill();
    }
}

fn last_line(stdout: ChildStdout) -> Option<String> {
    BufReader::new(stdout).lines().map_while(Result::ok).last()
}

/// Passes warnings on to standard error, and keeps the last line, cut to a bounded length.
fn listen(stderr: ChildStderr, said: &Mutex<Option<String>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let text: String = line.strip_prefix("memif: ").unwrap_or(&line).chars().take(LONGEST).collect();
        if text.starts_with("warning: ") {
            note(&format!("forwarder: {text}"));
        }
        *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

/// What the demo reads from the forwarder's summary.
#[derive(Debug, Default)]
pub(super) struct ForwarderSummary {
    /// Packets that it dropped, by reason.
    pub drops: Drops,
    /// Pages of the shared memory, which it allocates as the slave.
    pub memory: Option<String>,
}

impl ForwarderSummary {
    /// Parses the final JSON object of a command.
    fn parse(line: &str) -> Self {
        let Ok(record) = serde_json::from_str::<Value>(line) else { return Self::default() };
        let drops = record.get("drops").and_then(Value::as_object).into_iter().flatten();
        let drops =
            drops.filter_map(|(reason, count)| Some((format!("forwarder: {reason}"), count.as_u64()?)));
        let memory = record.pointer("/machine/memory").and_then(Value::as_str);
        Self { drops: drops.collect(), memory: memory.map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_the_forwarder_is_parsed() {
        let summary = ForwarderSummary::parse(
            r#"{"final":true,"drops":{"empty":3},"machine":{"memory":"4 KiB pages"}}"#,
        );
        assert_eq!(summary.drops, Drops::from([("forwarder: empty".to_owned(), 3)]));
        assert_eq!(summary.memory.as_deref(), Some("4 KiB pages"));
        for line in ["", "{}", "[1]", r#"{"drops":{"x":"y"},"machine":7}"#, "{"] {
            let summary = ForwarderSummary::parse(line);
            assert!(summary.drops.is_empty() && summary.memory.is_none(), "{line}");
        }
    }
}
