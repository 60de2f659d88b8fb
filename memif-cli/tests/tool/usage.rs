//! The command line, errors and secrets.

use std::fs;

use crate::harness::{Tool, assert_empty, folder, number, run, wait_for};

#[test]
fn usage_errors_are_one_line_and_exit_with_2() {
    let folder = folder();
    for (line, culprit) in [
        ("gen", "PORT"),
        ("fly", "fly"),
        ("gen m.sock --size 63", "64"),
        ("gen m.sock --size 65536", "65535"),
        ("gen m.sock --size 9000-64", "64-9000"),
        ("gen m.sock --size 64 --imix", "--imix"),
        ("gen m.sock,role=king", "use master or slave"),
        ("gen m.sock,ring=1000", "1000"),
        ("gen m.sock,queues=257", "256"),
        ("gen m.sock --core 1023", "1023"),
        ("sink m.sock --core 1-x", "1-x"),
        ("sink m.sock --seconds never", "seconds"),
        ("echo m.sock --burst 0", "1024"),
        ("forward m.sock", "PORT"),
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
fn help_and_version_succeed() {
    let folder = folder();
    for line in ["--help", "--version", "gen --help", "help demo"] {
        let ended = run(folder.path(), line);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(ended.lines.join(" ").contains("memif"), "{line}: {ended:?}");
    }
}

#[test]
fn other_errors_exit_with_1_and_name_the_cause() {
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
fn a_refused_slave_reports_the_reason_and_the_next_one_is_served() {
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
    assert!(sink.stderr.contains("refused or disconnected"), "{sink:?}");
    assert_empty(folder.path());
}

#[test]
fn secrets_come_from_a_file_or_the_environment() {
    let folder = folder();
    fs::write(folder.path().join("right"), "hush-hush\n").unwrap();
    fs::write(folder.path().join("empty"), "\n").unwrap();
    let port = "m.sock,role=master,secret-file=right";
    let sink = Tool::start(folder.path(), &format!("sink {port} --count 200 --verify --json"));
    wait_for(folder.path(), "m.sock");
    let generate = |port: &str, secret: Option<&str>| {
        let variables: Vec<_> = secret.iter().map(|secret| ("MEMIF_SECRET", *secret)).collect();
        let line = format!("gen {port} --count 100 --wait 2 --verify --json");
        Tool::start_with(folder.path(), &line, &variables).wait()
    };
    generate("m.sock", Some("hush-hush")).success();
    // the port's own secret has precedence
    generate("m.sock,secret-file=right", Some("wrong")).success();
    assert_eq!(number(&sink.wait().success(), "/verified"), 200);
    for (port, secret, code, hint) in [
        ("m.sock", Some(""), 2, "MEMIF_SECRET is empty"),
        ("m.sock,secret-file=missing", None, 1, "cannot read the secret from missing"),
        ("m.sock,secret-file=empty", None, 1, "it is empty"),
        ("m.sock", Some("hush-hush-hush-hush-hush-hush"), 2, "at most 24"),
    ] {
        let ended = generate(port, secret);
        assert_eq!(ended.code, Some(code), "{port}: {ended:?}");
        let error = ended.stderr.lines().last().unwrap();
        assert!(error.contains(hint) && !ended.stderr.contains("hush"), "{port}: {ended:?}");
    }
}

#[test]
fn secrets_are_never_printed() {
    let folder = folder();
    for line in [
        "gen m.sock,secert=hush",
        "gen m.sock,secret:hush",
        "gen m.sock,secret=hush,queues",
        "gen m.sock;secret=hush",
        "gen m.sock, secret=hush",
        "gen m.sock b.sock,secret=hush",
        "gen,secret=hush",
        "sink m.sock --core 0,secret=hush",
        "sink m.sock,secret=hush,ring=5",
        "forward m.sock,secret=hush m.sock,secret=hush,queues=x",
    ] {
        let ended = run(folder.path(), line);
        assert_eq!(ended.code, Some(2), "{line}: {ended:?}");
        assert!(!format!("{ended:?}").contains("hush"), "{line}: {ended:?}");
    }
}
