//! Programs that end on Ctrl-C: processes of their own, which get signals.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{in_child_process, until};
use memif_os::event::poll_fds;
use memif_pmd::{Error, Idle, Memif, Polled, Workers, ctrl_c, forward};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PROGRAM: &str = "MEMIF_TEST_PROGRAM";
const SOCKET: &str = "MEMIF_TEST_SOCKET";
const MASTER_WITH_THREAD: [&str; 3] = ["workers", "queue", "link"];
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// What a child does instead of being a test.
fn program(name: &str, socket: &str) -> Result<(), Error> {
    let stop = ctrl_c()?;
    let memif = if MASTER_WITH_THREAD.contains(&name) { Memif::start() } else { Memif::new() }?;
    let interface = memif.interface(socket).master().open()?;
    println!("ready");
    match name {
        "workers" => {
            let queues = (interface.rx(0)?, interface.tx(0)?);
            Workers::new().idle(Idle::Sleep { after: 1 }).anywhere(queues, forward).run_until(&stop)?;
        }
        "queue" => {
            let mut rx = interface.rx(0)?;
            while !stop.is_stopped() {
                rx.wait_until(&stop, None)?;
            }
        }
        "link" | "link without a thread" => {
            let error = interface.wait_up_until(&stop, None).unwrap_err();
            assert!(matches!(error, Error::Cancelled), "{error}");
        }
        "poll" => while memif.poll_until(&stop, None)? != Polled::Cancelled {},
        "event loop" => {
            while !stop.is_stopped() {
                poll_fds(&[memif.as_fd(), stop.as_fd()], None).unwrap();
                memif.poll(Some(Duration::ZERO))?;
            }
        }
        _ => panic!("{name}"),
    }
    println!("ending");
    // here as long as its parent likes
    std::io::stdin().read_line(&mut String::new()).unwrap();
    Ok(())
}

struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    folder: TempDir,
}

impl Running {
    /// Starts a program and waits until its socket is there.
    fn new(name: &str) -> Self {
        // the tests may run under nohup, or in the background of a shell
        let mut env = Command::new("env");
        env.arg("--default-signal=INT,TERM,HUP").arg(std::env::current_exe().unwrap());
        Self::within(name, env)
    }

    fn within(name: &str, mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["programs_end_on_signals_and_remove_their_socket_files", "--exact", "--nocapture"];
        command.args(arguments).env(PROGRAM, name).env(SOCKET, socket(&folder));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut running = Self { child, lines, folder };
        running.says("ready");
        assert!(socket(&running.folder).exists());
        running
    }

    fn says(&mut self, what: &str) {
        let found = self.lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(what)));
        assert!(found.is_some(), "it ended before it was {what}");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, signal); // it may have ended
    }

    /// Lets it end, and returns how it did, and whether its socket file is left.
    fn end(mut self) -> (ExitStatus, bool) {
        drop(self.child.stdin.take());
        self.lines.by_ref().for_each(|line| println!("{}", line.unwrap()));
        (self.child.wait().unwrap(), socket(&self.folder).exists())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may be gone already
        let _ = self.child.wait();
    }
}

fn socket(folder: &TempDir) -> PathBuf {
    folder.path().join("m.sock")
}

const ALL: [&str; 6] = ["workers", "queue", "link", "link without a thread", "poll", "event loop"];

#[test]
fn programs_end_on_signals_and_remove_their_socket_files() {
    if let (Ok(name), Ok(socket)) = (std::env::var(PROGRAM), std::env::var(SOCKET)) {
        return program(&name, &socket).unwrap();
    }
    for name in ALL {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let mut running = Running::new(name);
            running.signal(signal);
            running.says("ending");
            let (status, socket_left) = running.end();
            assert_eq!((status.code(), socket_left), (Some(0), false), "{name}, {signal:?}: {status}");
        }
    }
}

#[test]
fn signals_that_follow_within_a_second_are_the_same_request() {
    for _ in 0..20 {
        let mut running = Running::new("workers");
        let first = Instant::now();
        running.signal(Signal::INT);
        running.signal(Signal::INT);
        running.says("ending");
        let others = [Signal::INT, Signal::TERM, Signal::HUP];
        others.iter().for_each(|signal| running.signal(*signal));
        let in_time = first.elapsed() < ONE_REQUEST;
        let (status, socket_left) = running.end();
        if in_time {
            assert_eq!((status.code(), socket_left), (Some(0), false), "{status}");
            return;
        }
    }
    panic!("this machine is too slow to send two signals within a second");
}

#[test]
fn a_later_signal_ends_a_program_that_does_not_end() {
    let mut running = Running::new("workers");
    let first = Instant::now();
    running.signal(Signal::INT);
    running.says("ending");
    until("its end", || {
        thread::sleep(Duration::from_millis(20));
        running.signal(Signal::TERM);
        running.child.try_wait().unwrap().is_some()
    });
    assert!(first.elapsed() >= ONE_REQUEST);
    assert_eq!(running.end().0.signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_program_that_is_started_with_sighup_ignored_leaves_it_so() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let mut running = Running::within("workers", shell);
    running.signal(Signal::HUP);
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    assert_eq!(u64::from_str_radix(mask.trim(), 16).unwrap() & 1, 1);
    running.signal(Signal::INT);
    running.says("ending");
    assert_eq!(running.end().0.code(), Some(0));
}

#[test]
fn the_signal_handler_itself_calls_the_stop() {
    if !in_child_process("the_signal_handler_itself_calls_the_stop", ":") {
        return;
    }
    let stop = ctrl_c().unwrap();
    let child = stop.child().unwrap();
    // the handler runs on this thread, before this returns
    signal_hook::low_level::raise(Signal::INT.as_raw()).unwrap();
    for stop in [stop, child] {
        assert!(stop.is_stopped());
        assert_eq!(poll_fds(&[stop.as_fd()], Some(Duration::ZERO)).unwrap(), 1);
    }
}
