//! The command line, errors and secrets.

use std::fs;
use std::process::{Command, Stdio};

use crate::harness::{Tool, assert_empty, folder, number, program, run, wait_for};

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
        ("demo --core 0-2", "two"),
        ("forward m.sock m.sock", "two different"),
        ("forward m.sock,role=master m.sock,queues=2", "two different"),
        ("forward pcap:x pcap:x", "two different"),
        ("gen ,id=3", "no path"),
        ("gen m.sock --vlan 7 --size 64", "68"),
        ("gen m.sock,mode=ip --vlan 7", "mode=ethernet"),
        ("gen m.sock --src 2001:db8::1 --size 83", "IPv6 addresses packets have 84"),
        ("gen m.sock --dst 2001:db8::1 --size 64-1500 --vlan 7", "88"),
        ("gen m.sock,mode=ip --dst 2001:db8::1 --size 69", "70"),
        ("gen null: --rtt", "null"),
        ("respond m.sock", "--ip"),
        ("respond m.sock --ip 10.0.0.2", "10.0.0.2/24"),
        ("respond m.sock --ip 10.0.0.2/24,224.0.0.1/24", "host"),
        ("respond m.sock --ip 10.0.0.2/24 --mac ff:ff:ff:ff:ff:ff", "unicast"),
        ("respond m.sock,mode=ip --ip 10.0.0.2/24 --mac 02:00:00:00:00:01", "mode=ip"),
        ("respond m.sock,mode=punt-inject --ip 10.0.0.2/24", "mode=ip"),
        ("ping null: --ip 10.0.0.1/24 10.0.0.2", "null"),
        ("ping m.sock --ip 10.0.0.1/24", "TARGET"),
        ("ping m.sock --ip 10.0.0.1/24 host.example", "IP address"),
        ("ping m.sock --ip 10.0.0.1/24 10.0.1.2", "shorter prefix"),
        ("ping m.sock --ip 10.0.0.1/24 10.0.0.1", "another host"),
        ("ping m.sock --ip 10.0.0.1/24 2001:db8::2", "IPv6"),
        ("ping m.sock --ip 10.0.0.1/24 10.0.0.2 -c 0", "0"),
        ("ping m.sock --ip 10.0.0.1/24 10.0.0.2 --interval 0", "above 0"),
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
fn an_empty_port_is_refused() {
    let folder = folder();
    let output = Command::new(program()).args(["gen", ""]).current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("no path"), "{stderr}");
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
fn the_help_of_each_command_with_a_port_has_its_keys() {
    let folder = folder();
    for command in ["gen", "sink", "echo", "forward", "respond", "ping"] {
        let ended = run(folder.path(), &format!("{command} --help"));
        let help = ended.lines.join("\n");
        for key in ["role=", "secret-file=", "netns=", "rx="] {
            assert!(help.contains(key), "{command}: {key}: {help}");
        }
    }
    let help = run(folder.path(), "--help").lines.join("\n");
    assert!(
        help.contains("RUST_LOG") && help.contains("MEMIF_SECRET") && help.contains("--seconds"),
        "{help}"
    );
}

#[test]
fn manual_pages_and_completions_are_made_of_the_command_line() {
    let folder = folder();
    let page = run(folder.path(), "man").lines.join("\n");
    assert!(page.contains(".TH memif 1") && page.contains("respond"), "{page}");
    assert_eq!(run(folder.path(), "man pages/man1").code, Some(0));
    for name in ["memif", "memif-gen", "memif-ping", "memif-dump"] {
        let page = fs::read_to_string(folder.path().join(format!("pages/man1/{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{name}: {page}");
    }
    let ended = run(folder.path(), "man /dev/null/pages");
    assert!(ended.code == Some(1) && ended.stderr.contains("/dev/null/pages"), "{ended:?}");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(folder.path(), &format!("completions {shell}"));
        assert!(script.code == Some(0) && script.lines.join("\n").contains("respond"), "{shell}: {script:?}");
    }
}

#[test]
fn output_that_nobody_reads_ends_a_command_quietly() {
    let folder = folder();
    for line in ["gen @memif-closed --help", "--seconds 5", "--seconds 5 --json", "completions bash"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(program())
            .args(line.split_whitespace())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(writer)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(0) && !stderr.contains("cannot"), "{line}: {stderr}");
    }
    assert_empty(folder.path());
}

#[test]
fn other_errors_exit_with_1_and_name_the_cause() {
    let folder = folder();
    fs::write(folder.path().join("file"), "no socket").unwrap();
    for (line, reason) in [
        ("sink m.sock,role=master --wait 0.05", "no slave"),
        ("sink nobody.sock --wait 0.05", "nobody.sock"),
        ("sink missing/m.sock,role=master", "missing/m.sock"),
        ("sink file,role=master", "file is in the way: it is no socket"),
        ("sink file --wait 0.05", "it is no socket"),
        (r"sink miss\,ing/m\=1.sock,role=master", "miss,ing/m=1.sock"),
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

#[test]
fn addresses_of_two_versions_of_ip_are_refused_in_one_line() {
    let folder = folder();
    for addresses in ["--src 10.0.0.1 --dst 2001:db8::1", "--src 2001:db8::1 --dst 10.0.0.1"] {
        let ended = run(folder.path(), &format!("gen m.sock {addresses}"));
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{ended:?}");
        assert!(ended.stderr.starts_with("memif: --src and --dst must both be IPv4"), "{ended:?}");
    }
}
