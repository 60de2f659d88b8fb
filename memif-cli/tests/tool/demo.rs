//! The demo.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Tool, assert_empty, folder, number, program, run};

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
        assert!(summary["machine"]["rings"].as_str().unwrap().starts_with("lines of "), "{ended:?}");
        assert_empty(folder.path());
    }
}

#[test]
fn the_default_command_is_the_demo_with_a_table_and_ctrl_c_ends_it() {
    let folder = folder();
    let demo = Tool::start(folder.path(), "");
    let picture = demo.next_line();
    let forwarder = children(demo.child.id());
    let pid = forwarder.first().map_or(0, |pid| *pid);
    assert_eq!(picture, format!("gen ─▶ a.sock ─▶ forward (pid {pid}) ─▶ b.sock ─▶ sink"));
    assert_eq!(demo.next_line(), "");
    let header = demo.next_line();
    assert!(["packets/s", "bits/s", "drops", "p50 us"].iter().all(|name| header.contains(name)), "{header}");
    assert_eq!(demo.next_line().len(), header.len());
    demo.signal("INT");
    let ended = demo.wait();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let next = ended.lines.iter().position(|line| line.starts_with("next: ")).unwrap();
    assert!(ended.lines[next..].join(" ").contains("gen @demo"), "{ended:?}");
    for name in ["packets", "lost", "dropped", "rate", "latency", "processor", "cores", "memory", "rings"] {
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

#[test]
fn the_demo_takes_its_options_without_a_command() {
    let folder = folder();
    let summary = run(folder.path(), "--seconds 0.2 --verify --json").success();
    assert!(number(&summary, "/verified") > 0, "{summary}");
}

/// Runs a command in `folder`, which it also uses for temporary files, and returns what it printed.
fn output_in(folder: &Path, command: &mut Command) -> Output {
    let command = command.current_dir(folder).env("TMPDIR", folder).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_demo_without_descriptors_says_so() {
    let folder = folder();
    for limit in [12, 18, 22] {
        let script = format!("ulimit -n {limit} && exec '{}' --seconds 1000 --wait 10", program());
        let output = output_in(folder.path(), Command::new("sh").args(["-c", &script]));
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{limit}: {stderr}");
        assert!(last.starts_with("memif: ") && last.contains("open files"), "{limit}: {stderr}");
        assert_empty(folder.path());
    }
}

/// A command that runs the tool as a user who has no other processes and may have so many threads; `None` where this process may not
/// become such a user.
fn with_threads(limit: u32, tool: &Path) -> Option<Command> {
    let mut command = if rustix::process::geteuid().is_root() {
        // the limit does not count for root
        let user = 1_000_000 + std::process::id();
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
        command
    } else {
        // the processes of a user count in each user namespace anew
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-current-user"]);
        command
    };
    command.args(["prlimit", &format!("--nproc={limit}")]);
    let allowed = Command::new(command.get_program()).args(command.get_args()).arg("true").output();
    command.arg(tool);
    allowed.is_ok_and(|output| output.status.success()).then_some(command)
}

#[test]
fn a_demo_without_threads_says_so() {
    let (folder, place) = (folder(), folder());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    // a copy, as that user may not look where the tool lies
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let tool = place.path().join("memif");
    fs::copy(program(), &tool).unwrap();
    // the demo lacks its first thread, then its forwarder, then the forwarder lacks threads
    for limit in 1..=16 {
        let Some(mut command) = with_threads(limit, &tool) else {
            eprintln!("not tested: user namespaces are not allowed");
            return;
        };
        let output = output_in(folder.path(), command.args(["--seconds", "0.1"]));
        let stderr = String::from_utf8_lossy(&output.stderr);
        if limit > 10 && output.status.success() {
            continue; // a machine with fewer threads in the library
        }
        let last = stderr.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(1), "{limit}: {stderr}");
        let named = format!("the user may have {limit} threads (ulimit -u)");
        assert!(last.starts_with("memif: ") && last.contains(&named), "{limit}: {stderr}");
        assert!(!stderr.contains("ended by this side"), "{limit}: {stderr}");
        assert_empty(folder.path());
    }
}
