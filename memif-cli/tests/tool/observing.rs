//! Links seen from outside.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, Tool, folder, program, run, wait_for};

/// A sink and a generator on `m.sock`, which run for as long as they are kept.
pub(crate) fn pair(folder: &Path, options: &str) -> (Tool, Tool) {
    pair_bound_to(folder, "m.sock", options)
}

/// Starts what [`pair`] starts, with a sink that binds to `name`, another path of `m.sock`.
fn pair_bound_to(folder: &Path, name: &str, options: &str) -> (Tool, Tool) {
    let sink = Tool::start(folder, &format!("sink {name},role=master --json"));
    wait_for(folder, "m.sock");
    let generator = Tool::start(folder, &format!("gen m.sock --json {options}"));
    // the link is up once it reports
    generator.next_line();
    (sink, generator)
}

fn shown(folder: &Path, options: &str) -> Value {
    let ended = run(folder, &format!("show --json {options}"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.lines.concat()).unwrap()
}

#[test]
fn a_link_of_other_processes_is_shown_with_its_rate() {
    let folder = folder();
    let (sink, generator) = pair(folder.path(), "--rate 2k");
    let shown = shown(folder.path(), &format!("--pid {}", generator.child.id()));
    let [link] = shown["links"].as_array().unwrap().as_slice() else { panic!("{shown}") };
    let ends: Vec<_> =
        link["ends"].as_array().unwrap().iter().map(|end| (&end["pid"], &end["role"])).collect();
    let (master, slave) = (Value::from(sink.child.id()), Value::from(generator.child.id()));
    assert!(
        ends.contains(&(&master, &"master".into())) && ends.contains(&(&slave, &"slave".into())),
        "{link}"
    );
    assert!(link["socket"].as_str().unwrap().ends_with("m.sock"), "{link}");
    let rings = link["rings"].as_array().unwrap();
    assert_eq!(rings.iter().map(|ring| &ring["name"]).collect::<Vec<_>>(), ["s2m/0", "m2s/0"]);
    assert!(rings[0]["descriptors"].as_u64().unwrap() > 0, "{link}");
    assert_eq!((&rings[1]["descriptors"], &rings[1]["used"]), (&0.into(), &1024.into()), "{link}");
}

#[test]
fn a_socket_is_found_by_any_path_of_it() {
    let folder = folder();
    let path = folder.path().join("m.sock").display().to_string();
    let dotted = folder.path().join("./m.sock").display().to_string();
    for bound in ["m.sock", &dotted] {
        let (_sink, _generator) = pair_bound_to(folder.path(), bound, "--rate 2k");
        for named in ["m.sock", "./m.sock", &path, &dotted] {
            let shown = shown(folder.path(), named);
            let socket = shown.pointer("/links/0/socket");
            assert_eq!(socket, Some(&Value::from(path.as_str())), "bound to {bound}, named {named}");
        }
    }
}

#[test]
fn a_receiver_that_hangs_is_pointed_at() {
    let folder = folder();
    let (sink, generator) = pair(folder.path(), "");
    sink.signal("STOP");
    let problems = loop {
        let shown = shown(folder.path(), &format!("--pid {}", generator.child.id()));
        let problems = shown.pointer("/links/0/problems").unwrap().to_string();
        // the generator may not have filled the ring yet
        if problems != "[]" {
            break problems;
        }
    };
    sink.signal("CONT");
    let expected = format!("the master does not receive (PID {})", sink.child.id());
    assert!(problems.contains("s2m/0: full for") && problems.contains(&expected), "{problems}");
}

#[test]
fn text_has_a_line_for_each_ring() {
    let folder = folder();
    let (_sink, generator) = pair(folder.path(), "--rate 1k");
    let ended = run(folder.path(), &format!("show --pid {}", generator.child.id()));
    let text = ended.lines.join("\n");
    assert!(
        text.contains("\n  s2m/0 ") && text.contains("\n  m2s/0 ") && text.contains("m.sock\n"),
        "{text}"
    );
    assert!(ended.lines.iter().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn in_a_pipe_it_is_shown_again_and_again_until_a_signal() {
    let folder = folder();
    let (_sink, generator) = pair(folder.path(), "--rate 1k");
    let watch = Tool::start(folder.path(), &format!("show --watch --pid {}", generator.child.id()));
    for _ in 0..2 {
        while !watch.next_line().starts_with("  m2s/0 ") {}
    }
    watch.signal("TERM");
    assert_eq!(watch.wait().code, Some(0));
}

/// What the screen of `show --watch` has written to a terminal of 80 columns when it says that the receiver hangs. Then the
/// terminal goes away, and the program with it.
fn screen(folder: &Path, pid: u32, variables: &[(&str, &str)]) -> String {
    let file = folder.join("screen.txt");
    let show =
        format!("echo $$ >pid.txt && stty rows 24 cols 80 && exec '{}' show --watch --pid {pid}", program());
    let mut terminal = Command::new("script")
        .args(["-qefc", &show])
        .arg(&file)
        .current_dir(folder)
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let patiently = |done: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !done() && began.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        done()
    };
    let text = || fs::read(&file).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    let complete = patiently(&|| text().contains("does not receive"));
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let show = fs::read_to_string(folder.join("pid.txt")).unwrap();
    let show = show.trim();
    // empty where nobody has collected its status
    let ended = patiently(&|| fs::read(format!("/proc/{show}/cmdline")).map_or(true, |line| line.is_empty()));
    if !ended {
        Command::new("kill").args(["-KILL", show]).status().unwrap();
    }
    let text = text();
    fs::remove_file(&file).unwrap();
    assert!(ended, "the screen goes on without its terminal");
    assert!(complete, "{text:?}");
    text
}

/// The parameters of all sequences that set attributes of text, such as `38;5;1` and `1`.
fn attributes(text: &str) -> Vec<&str> {
    let ends =
        |part: &&str| part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m');
    text.split("\x1b[").filter(ends).filter_map(|part| part.split('m').next()).collect()
}

#[test]
fn what_is_wrong_is_red_on_a_terminal_and_only_bold_with_no_color() {
    let folder = folder();
    let (sink, generator) = pair(folder.path(), "");
    sink.signal("STOP");
    for (variables, red) in
        [(&[][..], true), (&[("NO_COLOR", "")][..], true), (&[("NO_COLOR", "1")][..], false)]
    {
        let text = screen(folder.path(), generator.child.id(), variables);
        let attributes = attributes(&text);
        // 39 and 49 are the terminal's own colours
        let colours = |part: &&str| matches!(part.parse(), Ok(30..=38 | 40..=48 | 90..=107));
        let coloured = attributes.iter().any(|set| set.split(';').any(|part| colours(&part)));
        assert_eq!(coloured, red, "{variables:?}: {attributes:?}");
        assert!(attributes.contains(&"1"), "bold in any case: {attributes:?}");
    }
    sink.signal("CONT");
}

#[test]
fn what_is_not_there_is_one_line() {
    let folder = folder();
    for (line, code, reason) in [
        ("show nobody.sock", 1, "no memif link found"),
        ("show --pid 4194305", 1, "no process 4194305"),
        ("show --pid one", 2, "'one'"),
        ("show --pid 1 m.sock", 2, "cannot be used with"),
    ] {
        let ended = run(folder.path(), line);
        assert_eq!((ended.code, ended.lines.len()), (Some(code), 0), "{line}: {ended:?}");
        assert!(ended.stderr.contains(reason) && ended.stderr.lines().count() == 1, "{line}: {ended:?}");
    }
}
