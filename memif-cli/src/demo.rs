//! The demo: generator and sink in this process, a forwarder in another, and two memif interfaces between them.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use memif_os::cpu::{CoreList, allowed_cores};
use memif_pmd::{Stop, Workers};
use serde_json::Value;
use tempfile::TempDir;

use crate::args::DemoArgs;
use crate::error::ToolError;
use crate::generator::{Generator, Order};
use crate::report::{Drops, Measures};
use crate::session::{Feeds, Link, Run, Session, check_cores, note};
use crate::sink::Sink;
use crate::tools::{fill, instance};

/// The socket's name in the demo's own folder. The forwarder runs in that folder, so this is a path for it, too.
const SOCKET: &str = "memif.sock";
/// Ids of the two interfaces, both on one socket: towards the forwarder, and back.
const OUT: u32 = 0;
const BACK: u32 = 1;
/// How long the last packets may stand still on their way before they count as lost.
const STANDSTILL: Duration = Duration::from_secs(2);
/// How long the generator, once halted, may be in the middle of a burst.
const FLIGHT: Duration = Duration::from_millis(20);
/// How long the forwarder may take to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// `memif demo`
///
/// # Errors
/// See [`ToolError`]; packets that do not verify are one.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), ToolError> {
    let (near, far) = choose_cores(args.cores.as_ref(), &allowed_cores())?;
    check_cores(&[near, far])?;
    if near == far {
        note(&format!(
            "only core {near} to run on: generator, sink and forwarder take turns, and figures suffer"
        ));
    }
    let session = Session::start(true)?;
    let folder = make_folder()?;
    let socket = folder.path().join(SOCKET).to_string_lossy().into_owned();
    let (out, back) = (session.open_master(&socket, OUT)?, session.open_master(&socket, BACK)?);
    let mut forwarder = Forwarder::spawn(folder.path(), far, args.burst)?;
    let links = [&out, &back];
    wait_up(&session, &links, args.wait, &mut forwarder)?;
    // both links are up and nobody looks for the socket any more: nothing is left behind even when we are killed
    drop(folder);
    run(&session, &links, args, (near, far), &mut forwarder)
}

fn run(
    session: &Session,
    links: &[&Link; 2],
    args: &DemoArgs,
    (near, far): (usize, usize),
    forwarder: &mut Forwarder,
) -> Result<(), ToolError> {
    let halt = Stop::new();
    let order = Order {
        instance: instance(),
        size: args.size,
        fill: fill(args.verify),
        rate: None,
        unfinished: Arc::new(AtomicUsize::new(1)),
        halt: halt.clone(),
    };
    let mut feeds = Feeds::default();
    let (mut generator, sender) = Generator::new(&order, 0, None);
    feeds.follow_sender(sender);
    let (mut sink, receiver, mailbox) = Sink::new(args.verify, None)?;
    feeds.follow_sink(receiver, mailbox);
    let [out, back] = links;
    let workers = Workers::new()
        .burst(args.burst.into())
        .on_core(near, out.interface.tx(0)?, move |tx, burst| generator.turn(tx, burst))
        .on_core(near, back.interface.rx(0)?, move |rx, burst| sink.turn(rx, burst));
    let measures = Measures { latency: true, verify: args.verify };
    let cores = format!("{near} (generator and sink), {far} (forwarder)");
    let mut run = Run::start(session, links, workers, feeds, (args.json, measures), &cores)?;
    run.watch(Some(args.seconds), || forwarder.check())?;
    halt.stop();
    drain(&run, links);
    session.stop.stop();
    let LastWords { drops, memory } = forwarder.end();
    if let Some(memory) = memory {
        run.machine.memory = memory;
    }
    let totals = run.finish(drops)?;
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

fn make_folder() -> Result<TempDir, ToolError> {
    let private = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("memif-demo-").permissions(private).tempdir().map_err(ToolError::Folder)
}

/// Waits for both links, or for the forwarder's early end.
fn wait_up(
    session: &Session,
    links: &[&Link],
    limit: Duration,
    forwarder: &mut Forwarder,
) -> Result<(), ToolError> {
    let up = session.wait_up(links, Some(limit));
    forwarder.check()?;
    up.map(drop)
}

/// Waits until all that was sent has arrived, or nothing moves any more.
fn drain(run: &Run<'_>, links: &[&Link]) {
    let mut arrived = 0;
    let mut still = Instant::now();
    while links.iter().all(|link| link.interface.is_up()) && still.elapsed() < STANDSTILL {
        let now = run.feeds.counts().packets;
        if now != arrived {
            (arrived, still) = (now, Instant::now());
        } else if run.feeds.sent().is_none_or(|sent| sent <= now) && still.elapsed() > FLIGHT {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The other process. It ends when it is dropped, or when this process does.
struct Forwarder {
    child: Child,
    /// The forwarder ends when this is closed, by us or by our death.
    stdin: Option<ChildStdin>,
    last_line: Option<JoinHandle<Option<String>>>,
}

impl Forwarder {
    /// Starts this executable as a forwarder in `folder`.
    fn spawn(folder: &Path, core: usize, burst: u16) -> Result<Self, ToolError> {
        let failed = |program: &Path| {
            let program = program.display().to_string();
            move |error| ToolError::Spawn { program, error }
        };
        let program = std::env::current_exe().map_err(failed(Path::new("of this executable")))?;
        let mut child = Command::new(&program)
            .args(["forward", "--child", "--json"])
            .args([format!("--core={core}"), format!("--burst={burst}")])
            .args([OUT, BACK].map(|id| format!("{SOCKET},id={id}")))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed(&program))?;
        let stdin = child.stdin.take();
        let last_line = child.stdout.take().map(|stdout| thread::spawn(|| last_line(stdout)));
        Ok(Self { child, stdin, last_line })
    }

    /// # Errors
    /// It has ended, though nobody told it to.
    fn check(&mut self) -> Result<(), ToolError> {
        match self.child.try_wait() {
            Ok(Some(status)) => Err(ToolError::ForwarderEnded(status)),
            _ => Ok(()),
        }
    }

    /// Ends it and hears what it has to say.
    fn end(&mut self) -> LastWords {
        drop(self.stdin.take());
        let deadline = Instant::now() + FAREWELL;
        while self.status().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        self.kill();
        let line = self.last_line.take().and_then(|thread| thread.join().ok().flatten());
        line.map(|line| LastWords::parse(&line)).unwrap_or_default()
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Makes sure that it is gone, and takes its status, so that no zombie stays.
    fn kill(&mut self) {
        if self.status().is_none() {
            let _ = self.child.kill(); // it has just ended by itself
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

/// What the forwarder says at its end.
#[derive(Debug, Default)]
struct LastWords {
    /// What it has dropped, marked as its own.
    drops: Drops,
    /// What its memory lies on: it is the slave, which allocates.
    memory: Option<String>,
}

impl LastWords {
    /// Reads a tool's final JSON object.
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
    fn cores_are_the_first_two_or_those_wanted() {
        let list = |text: &str| text.parse::<CoreList>().unwrap();
        assert_eq!(choose_cores(None, &[2, 5, 7]).unwrap(), (2, 5));
        assert_eq!(choose_cores(None, &[3]).unwrap(), (3, 3));
        assert_eq!(choose_cores(Some(&list("7,1")), &[0]).unwrap(), (7, 1));
        assert_eq!(choose_cores(Some(&list("1")), &[0, 1]).unwrap(), (1, 1));
        assert!(matches!(choose_cores(Some(&list("0-2")), &[0, 1, 2]), Err(ToolError::Usage(_))));
        assert!(matches!(choose_cores(None, &[]), Err(ToolError::NoCore)));
    }

    #[test]
    fn the_forwarders_last_words_are_understood() {
        let words =
            LastWords::parse(r#"{"final":true,"drops":{"empty":3},"machine":{"memory":"4 KiB pages"}}"#);
        assert_eq!(words.drops, Drops::from([("forwarder: empty".to_owned(), 3)]));
        assert_eq!(words.memory.as_deref(), Some("4 KiB pages"));
        for line in ["", "{}", "[1]", r#"{"drops":{"x":"y"},"machine":7}"#, "{"] {
            let words = LastWords::parse(line);
            assert!(words.drops.is_empty() && words.memory.is_none(), "{line}");
        }
    }

    #[test]
    fn the_folder_is_private_and_goes() {
        let folder = make_folder().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }
}
