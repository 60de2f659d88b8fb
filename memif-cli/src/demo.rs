//! The demo: generator and sink in this process, a forwarder in a second one, and two memif interfaces between them.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use memif_os::cpu::{CoreList, allowed_cores};
use memif_os::thread::spawn;
use memif_pmd::{Stop, Workers};
use serde_json::Value;
use tempfile::TempDir;

use crate::args::DemoArgs;
use crate::capture::Capture;
use crate::cores::check_cores;
use crate::error::ToolError;
use crate::feeds::Feeds;
use crate::generator::{Generator, Order};
use crate::packet::Framing;
use crate::ports::Port;
use crate::ports::memif::MemifPort;
use crate::report::{Drops, Measures};
use crate::run::Run;
use crate::session::{SECRET, Session};
use crate::sink::Sink;
use crate::sizes::Sizes;
use crate::status::note;
use crate::tools::{fill, instance};

/// Name of the socket in the demo's directory, which is the working directory of the forwarder.
const SOCKET: &str = "memif.sock";
/// Ids of the two interfaces on that socket: to the forwarder, and back.
const OUT: u32 = 0;
const BACK: u32 = 1;
/// Time without progress after which packets on their way count as lost.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// Time for a halted generator to finish its burst.
const LAST_BURST: Duration = Duration::from_millis(20);
/// Time for the forwarder to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// `memif demo`
///
/// # Errors
/// See [`ToolError`]; packets that do not verify are one.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), ToolError> {
    let (near, far) = choose_cores(args.cores.as_ref(), &allowed_cores())?;
    check_cores(&[near, far])?;
    if near == far {
        note(&format!(
            "only core {near} is available: generator, sink and forwarder share it, which lowers the figures"
        ));
    }
    let session = Session::start(true)?;
    let directory = make_directory()?;
    let socket = directory.path().join(SOCKET).to_string_lossy().into_owned();
    let (out, back) = (session.open_master(&socket, OUT)?, session.open_master(&socket, BACK)?);
    let mut forwarder = Forwarder::spawn(directory.path(), far, args.burst)?;
    wait_up(&session, &[&out, &back], args.wait, &mut forwarder)?;
    // the links are up and the socket is no longer needed: nothing is left behind even if this process is killed
    drop(directory);
    run(&session, [&out, &back], args, (near, far), &mut forwarder)
}

fn run(
    session: &Session,
    [out, back]: [&MemifPort; 2],
    args: &DemoArgs,
    (near, far): (usize, usize),
    forwarder: &mut Forwarder,
) -> Result<(), ToolError> {
    let halt = Stop::new()?;
    let order = Order {
        instance: instance(),
        framing: Framing::Ethernet,
        sizes: Sizes::fixed(args.size),
        fill: fill(args.verify),
        pace: None,
        count: None,
        halt: halt.clone(),
    };
    let mut feeds = Feeds::default();
    let (mut generator, sender) = Generator::new(&order, 0);
    feeds.follow_sender(sender);
    let (mut sink, receiver, handover) = Sink::new(Framing::Ethernet, args.verify, None)?;
    feeds.follow_sink(receiver, handover);
    let ports: [&dyn Port; 2] = [out, back];
    let capture =
        args.capture.as_deref().map(|path| Capture::start(path, &ports, &session.stop)).transpose()?;
    let workers = Workers::new()
        .burst(args.burst.into())
        .on_core(near, out.interface.tx(0)?, move |tx, burst| generator.turn(tx, burst))
        .on_core(near, back.interface.rx(0)?, move |rx, burst| sink.turn(rx, burst));
    let measures = Measures { latency: true, verify: args.verify };
    let cores = format!("{near} (generator and sink), {far} (forwarder)");
    let mut run = Run::start(session, &ports, workers, feeds, (args.json, measures), &cores)?;
    run.watch(Some(args.seconds), || forwarder.check())?;
    halt.stop();
    drain(&run, [out, back]);
    session.stop.stop();
    let ForwarderSummary { drops, memory } = forwarder.end();
    if let Some(memory) = memory {
        run.machine.memory = memory;
    }
    let totals = run.finish(drops)?;
    capture.map_or(Ok(()), Capture::finish)?;
    match totals.failure().filter(|_| args.verify) {
        Some(failure) => Err(ToolError::Verification(failure)),
        None => Ok(()),
    }
}

/// The core for generator and sink, and the one for the forwarder.
fn choose_cores(wanted: Option<&CoreList>, allowed: &[usize]) -> Result<(usize, usize), ToolError> {
    match wanted.map_or(allowed, CoreList::cores) {
        [] => Err(ToolError::NoCore),
        [only] => Ok((*only, *only)),
        [near, far] => Ok((*near, *far)),
        [near, far, ..] if wanted.is_none() => Ok((*near, *far)),
        more => Err(ToolError::Usage(format!("--cores takes one or two cores, not {}", more.len()))),
    }
}

fn make_directory() -> Result<TempDir, ToolError> {
    let private = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("memif-demo-").permissions(private).tempdir().map_err(ToolError::Folder)
}

/// Waits for both links, or for the forwarder's early end.
fn wait_up(
    session: &Session,
    ports: &[&dyn Port],
    limit: Duration,
    forwarder: &mut Forwarder,
) -> Result<(), ToolError> {
    let up = session.wait_up(ports, Some(limit));
    forwarder.check()?;
    up.map(drop)
}

/// Waits until all sent packets have arrived, or no more arrive.
fn drain(run: &Run<'_>, links: [&MemifPort; 2]) {
    let mut arrived = 0;
    let mut still = Instant::now();
    while links.iter().all(|link| link.interface.is_up()) && still.elapsed() < STALLED_AFTER {
        let now = run.feeds.counts().packets;
        if now != arrived {
            (arrived, still) = (now, Instant::now());
        } else if run.feeds.sent().is_none_or(|sent| sent <= now) && still.elapsed() > LAST_BURST {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The second process. It ends when this is dropped, or when this process ends.
struct Forwarder {
    child: Child,
    /// The forwarder ends when this is closed, which the end of this process does as well.
    stdin: Option<ChildStdin>,
    last_line: Option<JoinHandle<Option<String>>>,
}

impl Forwarder {
    /// Starts this executable as a forwarder with `directory` as its working directory.
    fn spawn(directory: &Path, core: usize, burst: u16) -> Result<Self, ToolError> {
        let failed = |program: &Path| {
            let program = program.display().to_string();
            move |error| ToolError::Spawn { program, error }
        };
        let program = std::env::current_exe().map_err(failed(Path::new("of this executable")))?;
        let mut child = Command::new(&program)
            .args(["forward", "--child", "--json"])
            .args([format!("--core={core}"), format!("--burst={burst}")])
            .args([OUT, BACK].map(|id| format!("{SOCKET},id={id}")))
            .current_dir(directory)
            .env_remove(SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed(&program))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let last_line =
            spawn("memif-forwarder", None, || stdout.and_then(last_line)).map_err(ToolError::Thread);
        let last_line = last_line.inspect_err(|_| drop(child.kill().and_then(|()| child.wait())))?;
        Ok(Self { child, stdin, last_line: Some(last_line) })
    }

    /// # Errors
    /// It has ended by itself.
    fn check(&mut self) -> Result<(), ToolError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(ToolError::ForwarderEnded(status)),
            _ => Ok(()),
        }
    }

    /// Ends it and reads its summary.
    fn end(&mut self) -> ForwarderSummary {
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

/// What the demo reads from the forwarder's summary.
#[derive(Debug, Default)]
struct ForwarderSummary {
    /// Packets that it dropped, by reason.
    drops: Drops,
    /// Pages of the shared memory, which it allocates as the slave.
    memory: Option<String>,
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
    fn cores_are_the_first_two_or_those_of_the_command_line() {
        let list = |text: &str| text.parse::<CoreList>().unwrap();
        assert_eq!(choose_cores(None, &[2, 5, 7]).unwrap(), (2, 5));
        assert_eq!(choose_cores(None, &[3]).unwrap(), (3, 3));
        assert_eq!(choose_cores(Some(&list("7,1")), &[0]).unwrap(), (7, 1));
        assert_eq!(choose_cores(Some(&list("1")), &[0, 1]).unwrap(), (1, 1));
        assert!(matches!(choose_cores(Some(&list("0-2")), &[0, 1, 2]), Err(ToolError::Usage(_))));
        assert!(matches!(choose_cores(None, &[]), Err(ToolError::NoCore)));
    }

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

    #[test]
    fn the_directory_is_private_and_removed() {
        let directory = make_directory().unwrap();
        let path = directory.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(directory);
        assert!(!path.exists());
    }
}
