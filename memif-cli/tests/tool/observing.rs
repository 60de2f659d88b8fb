//! Links seen from outside.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Tool, folder, run, wait_for};

/// A sink and a generator on `m.sock`, which run for as long as they are kept.
pub(crate) fn pair(folder: &Path, options: &str) -> (Tool, Tool) {
    let sink = Tool::start(folder, "sink m.sock,role=master --json");
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
