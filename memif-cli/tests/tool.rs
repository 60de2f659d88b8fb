//! The `memif` program as people run it: its output, its exit status, and what it leaves behind.

// helpers of tests fail as tests do
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The tool, which may have been copied to where the tests run from.
fn program() -> String {
    std::env::var("CARGO_BIN_EXE_memif").unwrap_or_else(|_| env!("CARGO_BIN_EXE_memif").to_owned())
}

/// Far beyond what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `memif`. Killed when a test fails.
struct Tool {
    child: Child,
    lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

/// What it left when it ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    lines: Vec<String>,
    stderr: String,
}

impl Tool {
    fn start(folder: &Path, line: &str) -> Self {
        let mut child = Command::new(program())
            .args(line.split_whitespace())
            .current_dir(folder)
            .env("TMPDIR", folder)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, lines, stderr: Some(stderr) }
    }

    /// Sends a signal by its name.
    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn next_line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("no line of output")
    }

    fn wait(mut self) -> Ended {
        let began = Instant::now();
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None => assert!(began.elapsed() < PATIENCE, "it does not end"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Ended { code, lines: self.lines.iter().collect(), stderr }
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
    fn summary(&self) -> Value {
        let mut records: Vec<Value> =
            self.lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
        let last = records.pop().unwrap_or_else(|| panic!("no output: {self:?}"));
        assert_eq!(last["final"], true, "{self:?}");
        assert!(records.iter().all(|record| record["final"] == false), "{self:?}");
        last
    }

    /// The same of a run in which nothing went wrong.
    fn success(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.summary()
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn run(folder: &Path, line: &str) -> Ended {
    Tool::start(folder, line).wait()
}

/// Waits for a socket's file, which a master makes.
fn wait_for(folder: &Path, socket: &str) {
    let began = Instant::now();
    while !folder.join(socket).exists() {
        assert!(began.elapsed() < PATIENCE, "no {socket}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn assert_empty(folder: &Path) {
    let left: Vec<_> = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn number(record: &Value, field: &str) -> u64 {
    record.pointer(field).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {field} in {record}"))
}

#[test]
fn usage_errors_are_one_line_and_exit_with_2() {
    let folder = folder();
    for (line, culprit) in [
        ("gen", "PORT"),
        ("fly", "fly"),
        ("gen m.sock --size 63", "64"),
        ("gen m.sock --size 65536", "65535"),
        ("gen m.sock,role=king", "king"),
        ("gen m.sock,ring=1000", "1000"),
        ("gen m.sock,queues=257", "256"),
        ("gen m.sock --core 1023", "1023"),
        ("sink m.sock --core 1-x", "1-x"),
        ("sink m.sock --seconds never", "seconds"),
        ("echo m.sock --burst 0", "1024"),
        ("forward m.sock", "PORT"),
        ("forward @memif-test-a,queues=2 @memif-test-b", "queues"),
        ("forward --zero-copy @memif-test-a @memif-test-b,role=master", "@memif-test-b is a master"),
        ("forward --zero-copy @memif-test-a,buffer=128 @memif-test-b", "128 and 2048"),
        ("demo --cores 0-2", "two"),
    ] {
        let ended = run(folder.path(), line);
        assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
        let error = ended.stderr.lines().last().unwrap();
        assert!(error.starts_with("memif: ") && error.contains(culprit), "{line}: {ended:?}");
        assert!(ended.lines.is_empty(), "{line}: {ended:?}");
    }
    assert_empty(folder.path());
}

#[test]
fn help_and_version_are_no_errors() {
    let folder = folder();
    for line in ["--help", "--version", "gen --help", "help demo"] {
        let ended = run(folder.path(), line);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(ended.lines.join(" ").contains("memif"), "{line}: {ended:?}");
    }
}

#[test]
fn other_errors_exit_with_1_and_say_why() {
    let folder = folder();
    fs::write(folder.path().join("file"), "no socket").unwrap();
    for (line, reason) in [
        ("sink m.sock,role=master --wait 0.05", "no slave"),
        ("sink nobody.sock --wait 0.05", "nobody.sock"),
        ("sink missing/m.sock,role=master", "missing/m.sock"),
        ("sink file,role=master", "file"),
    ] {
        let ended = run(folder.path(), line);
        assert_eq!(ended.code, Some(1), "{line}: {ended:?}");
        let error = ended.stderr.lines().last().unwrap();
        assert!(error.starts_with("memif: ") && error.contains(reason), "{line}: {ended:?}");
    }
    fs::remove_file(folder.path().join("file")).unwrap();
    assert_empty(folder.path());
}

#[test]
fn a_refused_slave_says_why_and_a_right_one_is_served() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master,secret=right --count 100 --verify --json");
    wait_for(folder.path(), "m.sock");
    let refused = run(folder.path(), "gen m.sock,secret=wrong --wait 2");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.lines().last().unwrap().contains("secret"), "{refused:?}");
    assert!(refused.stderr.contains("memif: warning: "), "{refused:?}");
    run(folder.path(), "gen m.sock,secret=right --count 100 --verify --json").success();
    let sink = sink.wait();
    assert_eq!(number(&sink.success(), "/verified"), 100);
    assert!(sink.stderr.contains("turned away"), "{sink:?}");
    assert_empty(folder.path());
}

fn all_arrive(sink_port: &str, gen_port: &str, sink_first: bool, size: usize) {
    let folder = folder();
    let count = 5000;
    let sink = format!("sink {sink_port} --count {count} --verify --json");
    let generate = format!("gen {gen_port} --count {count} --size {size} --verify --json");
    let (master, slave) = if sink_first { (sink, generate) } else { (generate, sink) };
    let master = Tool::start(folder.path(), &master);
    wait_for(folder.path(), "m.sock");
    let slave = run(folder.path(), &slave);
    let master = master.wait();
    let (sink, generator) = if sink_first { (&master, &slave) } else { (&slave, &master) };
    let (sink, generator) = (sink.success(), generator.success());
    for record in [&sink, &generator] {
        assert_eq!(number(record, "/packets"), count);
        assert_eq!(number(record, "/bytes"), count * size as u64);
        assert_eq!(record["drops"], serde_json::json!({}));
        assert!(record["seconds"].is_f64() && record["mpps"].is_f64() && record["gbps"].is_f64());
    }
    assert_eq!(number(&sink, "/verified"), count);
    for failure in ["/corrupt", "/lost", "/reordered"] {
        assert_eq!(number(&sink, failure), 0);
    }
    assert!(number(&sink, "/latency_ns/max") >= number(&sink, "/latency_ns/p50"));
    assert_empty(folder.path());
}

#[test]
fn all_packets_arrive_from_slave_to_master() {
    for size in [64, 1514, 9000, 65535] {
        all_arrive("m.sock,role=master,id=7", "m.sock,id=7", true, size);
    }
}

#[test]
fn all_packets_arrive_from_master_to_slave() {
    for size in [64, 1514, 9000, 65535] {
        all_arrive("m.sock", "m.sock,role=master", false, size);
    }
}

#[test]
fn all_queues_are_used_in_every_rx_mode() {
    all_arrive("m.sock,role=master,queues=3,rx=interrupt", "m.sock,queues=3,ring=64", true, 200);
    all_arrive("m.sock,queues=3,rx=adaptive,ring=64", "m.sock,role=master,queues=3", false, 200);
}

#[test]
fn packets_sent_without_verify_do_not_verify() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --count 10 --verify --json");
    wait_for(folder.path(), "m.sock");
    run(folder.path(), "gen m.sock --count 10 --json").success();
    let sink = sink.wait();
    assert_eq!(sink.code, Some(1), "{sink:?}");
    assert_eq!((number(&sink.summary(), "/unfilled"), number(&sink.summary(), "/corrupt")), (10, 0));
    assert!(sink.stderr.lines().last().unwrap().contains("without --verify"), "{sink:?}");
}

#[test]
fn a_restarted_generator_is_no_loss() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --verify --json");
    wait_for(folder.path(), "m.sock");
    let killed = Tool::start(folder.path(), "gen m.sock --verify --rate 100k --json");
    killed.next_line();
    killed.signal("KILL");
    killed.wait();
    let second = run(folder.path(), "gen m.sock --verify --count 1k --json").success();
    assert_eq!(number(&second, "/packets"), 1000);
    sink.signal("INT");
    let sink = sink.wait();
    let summary = sink.success();
    assert!(number(&summary, "/verified") > 1000, "{sink:?}");
    assert_eq!((number(&summary, "/lost"), number(&summary, "/corrupt")), (0, 0));
    assert!(sink.stderr.contains("link down"), "{sink:?}");
    assert_empty(folder.path());
}

#[test]
fn an_echo_sends_everything_back() {
    let folder = folder();
    let echo = Tool::start(folder.path(), "echo m.sock,role=master,queues=2 --json");
    wait_for(folder.path(), "m.sock");
    // more than all rings hold: it would stall if nothing came back
    let sent = run(folder.path(), "gen m.sock,queues=2,ring=64 --count 20k --json").success();
    assert_eq!(number(&sent, "/packets"), 20_000);
    echo.signal("TERM");
    let echoed = echo.wait().success();
    // what the generator did not wait for had no link to go back on
    let dropped = echoed["drops"].get("link_down").and_then(Value::as_u64).unwrap_or(0);
    assert_eq!(number(&echoed, "/packets") + dropped, 20_000);
    assert_empty(folder.path());
}

#[test]
fn a_forwarder_passes_everything_on() {
    forwards("forward a.sock,queues=2 b.sock,queues=2 --json", 300);
}

#[test]
fn a_zero_copy_forwarder_passes_everything_on() {
    forwards("forward --zero-copy a.sock,queues=2,ring=256 b.sock,queues=2 --json", 300);
    // packets of five buffers
    forwards("forward --zero-copy a.sock,queues=2 b.sock,queues=2 --json", 9000);
}

fn forwards(line: &str, size: u16) {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink b.sock,role=master,queues=2 --count 20k --verify --json");
    let generator = format!("gen a.sock,role=master,queues=2 --count 20k --size {size} --verify --json");
    let generator = Tool::start(folder.path(), &generator);
    wait_for(folder.path(), "a.sock");
    wait_for(folder.path(), "b.sock");
    let forwarder = Tool::start(folder.path(), line);
    assert_eq!(number(&generator.wait().success(), "/packets"), 20_000);
    assert_eq!(number(&sink.wait().success(), "/verified"), 20_000);
    forwarder.signal("INT");
    assert_eq!(number(&forwarder.wait().success(), "/packets"), 20_000);
    assert_empty(folder.path());
}

#[test]
fn ctrl_c_ends_a_tool_that_waits_and_one_that_runs() {
    let folder = folder();
    let waiting = Tool::start(folder.path(), "sink w.sock,role=master --json");
    wait_for(folder.path(), "w.sock");
    waiting.signal("INT");
    assert_eq!(number(&waiting.wait().success(), "/packets"), 0);

    let sink = Tool::start(folder.path(), "sink m.sock,role=master --json");
    wait_for(folder.path(), "m.sock");
    let generator = Tool::start(folder.path(), "gen m.sock");
    let first: Value = serde_json::from_str(&sink.next_line()).unwrap();
    assert_eq!(first["final"], false);
    sink.signal("INT");
    let summary = sink.wait().success();
    assert!(number(&summary, "/packets") > 0 && summary["mpps"].as_f64().unwrap() > 0.0);
    generator.signal("INT");
    let generator = generator.wait();
    assert_eq!(generator.code, Some(0), "{generator:?}");
    assert!(generator.lines.iter().any(|line| line.starts_with("rate")), "{generator:?}");
    assert_empty(folder.path());
}

#[test]
fn seconds_end_a_run() {
    let folder = folder();
    let sink = Tool::start(folder.path(), "sink m.sock,role=master --seconds 2 --json");
    wait_for(folder.path(), "m.sock");
    let generator = run(folder.path(), "gen m.sock --seconds 0.1 --rate 10k --json");
    assert!(number(&generator.success(), "/packets") > 0);
    sink.wait().success();
    assert_empty(folder.path());
}

#[test]
fn the_demo_verifies_every_packet() {
    let folder = folder();
    for size in [64, 9000] {
        let ended = run(folder.path(), &format!("demo --seconds 1 --size {size} --verify --json"));
        let summary = ended.success();
        let packets = number(&summary, "/packets");
        assert!(packets > 0, "{ended:?}");
        assert_eq!((number(&summary, "/sent"), number(&summary, "/verified")), (packets, packets));
        assert_eq!((number(&summary, "/lost"), number(&summary, "/corrupt")), (0, 0));
        assert!(summary["machine"]["memory"].as_str().unwrap().contains("pages"), "{ended:?}");
        assert_empty(folder.path());
    }
}

#[test]
fn no_command_is_the_demo_with_a_table_and_ctrl_c_ends_it() {
    let folder = folder();
    let demo = Tool::start(folder.path(), "");
    let header = demo.next_line();
    assert!(["Mpps", "Gb/s", "drops", "p50 us"].iter().all(|name| header.contains(name)), "{header}");
    assert_eq!(demo.next_line().len(), header.len());
    demo.signal("INT");
    let ended = demo.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for name in ["packets", "lost", "dropped", "rate", "latency", "processor", "cores", "memory"] {
        assert!(ended.lines.iter().any(|line| line.starts_with(name)), "{name}: {ended:?}");
    }
    assert_empty(folder.path());
}

/// Processes whose parent is `pid`, and that have not ended.
fn children(pid: u32) -> Vec<u32> {
    let parent_of = |stat: &str| {
        // pid (name) state parent …
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        (fields.next()? != "Z").then(|| fields.next()?.parse::<u32>().ok())?
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| {
        fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| parent_of(&stat) == Some(pid))
    })
    .collect()
}

/// Whether a process has ended, reaped or not.
fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn a_killed_demo_leaves_nothing_behind() {
    let folder = folder();
    let demo = Tool::start(folder.path(), "demo --seconds 1000 --json");
    demo.next_line();
    let forwarder = children(demo.child.id());
    assert_eq!(forwarder.len(), 1);
    demo.signal("KILL");
    assert_eq!(demo.wait().code, None);
    let began = Instant::now();
    while !forwarder.iter().copied().all(has_ended) {
        assert!(began.elapsed() < PATIENCE, "the forwarder lives on");
        thread::sleep(Duration::from_millis(5));
    }
    assert_empty(folder.path());
}
