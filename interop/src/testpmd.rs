//! testpmd as a child process: start, prompt, log and end.
//!
//! The prompt is on standard output, the memif driver's log on standard error; each is read separately.
//! testpmd ends at the end of its standard input, so it also ends when this process is killed.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use memif_pmd::Stop;

use crate::error::Error;
use crate::output::Output;

const PROMPT: &str = "testpmd> ";
/// The heading of the answer to `show port stats`.
const STATISTICS: &str = "NIC statistics for port";
/// Log message of its memif driver for a link that is up.
const CONNECTED: &str = "memif_connect(): Connected.";
/// The signal of an invalid access to memory.
const SIGSEGV: i32 = 11;
/// Timeout for its start, which takes less than a second.
const START: Duration = Duration::from_secs(20);
/// Timeout for an answer at the prompt.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it is waited for at a time.
const STEP: Duration = Duration::from_millis(50);
/// Timeout for its end.
const QUIT: Duration = Duration::from_secs(5);

/// Counters of testpmd's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that the ring accepted.
    pub tx_packets: u64,
}

impl Counters {
    /// Parses the output of `show port stats`.
    fn parse(text: &str) -> Option<Self> {
        let number = |key: &str| text.split(key).nth(1)?.split_whitespace().next()?.parse().ok();
        Some(Self {
            rx_packets: number("RX-packets:")?,
            rx_bytes: number("RX-bytes:")?,
            tx_packets: number("TX-packets:")?,
        })
    }
}

/// A running testpmd with one memif port; killed on drop.
#[derive(Debug)]
pub struct Testpmd {
    child: Child,
    input: Option<ChildStdin>,
    answers: Arc<Output>,
    log: Arc<Output>,
    /// Bytes of `answers` and of `log` that have been read.
    read: (usize, usize),
    stop: Stop,
}

impl Testpmd {
    /// Starts `program` with `arguments` and waits for its prompt. It forwards nothing yet.
    ///
    /// # Errors
    /// It cannot be started, or shows no prompt. The error contains its last output.
    pub fn start(program: &Path, arguments: &[String], stop: &Stop) -> Result<Self, Error> {
        let mut child = Command::new(program)
            .args(arguments)
            // Ctrl-C is for us: it is ended in order
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io(format!("cannot start {}", program.display())))?;
        let answers = child.stdout.take().map(Output::collect).unwrap_or_default();
        let log = child.stderr.take().map(Output::collect).unwrap_or_default();
        let input = child.stdin.take();
        let mut testpmd = Self { child, input, answers, log, read: (0, 0), stop: stop.clone() };
        testpmd.prompt(START)?;
        Ok(testpmd)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Enters `line` and returns the answer.
    ///
    /// # Errors
    /// It does not accept the command, or does not return to its prompt.
    pub fn command(&mut self, line: &str) -> Result<String, Error> {
        self.enter(line)?;
        self.prompt(ANSWER)
    }

    fn enter(&mut self, line: &str) -> Result<(), Error> {
        if self.input.as_mut().is_none_or(|input| writeln!(input, "{line}").is_err()) {
            return Err(self.failed(format!("took no {line:?}")));
        }
        Ok(())
    }

    /// Waits for the next link that comes up.
    ///
    /// # Errors
    /// Timeout.
    pub fn connected(&mut self) -> Result<(), Error> {
        let log = Arc::clone(&self.log);
        self.read.1 += self.wait(&log, self.read.1, CONNECTED, ANSWER)?.len();
        Ok(())
    }

    /// Waits until its log contains `text`.
    ///
    /// # Errors
    /// Timeout.
    pub fn logs(&mut self, text: &str) -> Result<(), Error> {
        let log = Arc::clone(&self.log);
        self.wait(&log, self.read.1, text, ANSWER).map(drop)
    }

    /// Counters of its port since the link is up.
    ///
    /// # Errors
    /// It does not answer with counters.
    pub fn counters(&mut self) -> Result<Counters, Error> {
        self.enter("show port stats 0")?;
        // an answer to an earlier command may come first, as some commands show the prompt twice
        let answers = Arc::clone(&self.answers);
        let answer = self.wait(&answers, self.read.0, STATISTICS, ANSWER)?;
        self.read.0 += answer.len();
        let answer = self.prompt(ANSWER)?;
        Counters::parse(&answer).ok_or_else(|| self.failed("shows no counters".into()))
    }

    /// Ends it with `quit`, or kills it if it does not end in time.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn quit(mut self) -> Result<(), Error> {
        if let Some(mut input) = self.input.take() {
            // one that is gone takes no command, and is noticed below
            let _ = writeln!(input, "quit");
        }
        let end = Instant::now() + QUIT;
        while Instant::now() < end {
            if self.child.try_wait().map_err(Error::io("cannot wait for testpmd"))?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(self.failed(format!("did not quit within {QUIT:?}")))
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn sigkill(&mut self) -> Result<(), Error> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(Error::io("cannot kill testpmd"))
    }

    fn prompt(&mut self, timeout: Duration) -> Result<String, Error> {
        let answers = Arc::clone(&self.answers);
        let answer = self.wait(&answers, self.read.0, PROMPT, timeout)?;
        self.read.0 += answer.len();
        Ok(answer)
    }

    /// Waits in steps, to notice Ctrl-C and its end. Steps are counted, not time: a machine that stops for a while is no
    /// answer that is late.
    fn wait(
        &mut self,
        output: &Output,
        from: usize,
        wanted: &str,
        timeout: Duration,
    ) -> Result<String, Error> {
        let mut left = timeout;
        loop {
            // before looking: what it wrote before its death counts
            let dead = self.child.try_wait().map_err(Error::io("cannot wait for testpmd"))?;
            if let Some(text) = output.wait(from, wanted, STEP) {
                return Ok(text);
            }
            if self.stop.is_stopped() {
                return Err(Error::Interrupted);
            }
            if let Some(status) = dead {
                return Err(self.failed(format!("ended with {status} before it said {wanted:?}")));
            }
            left = left.saturating_sub(STEP);
            if left.is_zero() {
                return Err(self.failed(format!("did not say {wanted:?} within {timeout:?}")));
            }
        }
    }

    fn failed(&mut self, problem: String) -> Error {
        // it may take a moment until the kernel has ended it
        let end = Instant::now() + Duration::from_millis(200);
        let mut status = self.child.try_wait();
        while matches!(status, Ok(None)) && Instant::now() < end && problem.contains("took no") {
            thread::sleep(Duration::from_millis(5));
            status = self.child.try_wait();
        }
        let crashed = matches!(status, Ok(Some(status)) if status.signal() == Some(SIGSEGV));
        let text = self.answers.text() + &self.log.text();
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let said = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
        if crashed { Error::Crashed { problem, said } } else { Error::Testpmd { problem, said } }
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        // fails only for one that has ended, and been waited for
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER_TO_STATS: &str = "show port stats 0

  ######################## NIC statistics for port 0  ########################
  RX-packets: 35073344   RX-missed: 0          RX-bytes:  2244694016
  RX-errors: 0
  RX-nombuf:  0         
  TX-packets: 17         TX-errors: 0          TX-bytes:  1088
";

    #[test]
    fn counters_are_parsed() {
        let counters = Counters { rx_packets: 35_073_344, rx_bytes: 2_244_694_016, tx_packets: 17 };
        assert_eq!(Counters::parse(ANSWER_TO_STATS), Some(counters));
        assert_eq!(Counters::parse("Invalid port 0"), None);
    }

    #[test]
    fn each_answer_is_read_once_and_the_end_is_noticed() {
        let script = format!(
            "printf '{PROMPT}'; read -r line; printf '%s %s\\n{PROMPT}' \"$line\" \"$line\"; exec >&-; read -r line; exit 3"
        );
        let mut shell =
            Testpmd::start(Path::new("/bin/sh"), &["-c".into(), script], &Stop::new().unwrap()).unwrap();
        assert_eq!(shell.command("stop").unwrap(), format!("stop stop\n{PROMPT}"));
        let error = shell.command("start").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("stop stop"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error =
            Testpmd::start(Path::new("/nonexistent/testpmd"), &[], &Stop::new().unwrap()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/testpmd"), "{error}");
    }
}
