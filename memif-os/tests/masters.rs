//! Masters of different processes that start on one path at the same time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use memif_os::socket::{Channel, Listener, SocketAddress, SocketError};

const PATH: &str = "MEMIF_TEST_PATH";
const ROUNDS: usize = 40;
const MASTERS: usize = 6;

/// Binds at each line that comes in, says what came of it, and lets go at the next line.
#[test]
#[ignore = "run by another test, in processes of its own"]
fn child_that_binds() {
    let address = SocketAddress::new(env::var_os(PATH).unwrap()).unwrap();
    let mut lines = std::io::stdin().lines();
    while lines.next().is_some() {
        let result = Listener::bind(&address, 8);
        println!(
            "outcome {}",
            match &result {
                Ok(_) => "won",
                Err(SocketError::InUse { .. }) => "told",
                Err(error) => panic!("{error}"),
            }
        );
        lines.next();
        drop(result);
        println!("outcome gone");
    }
}

struct Master(Child, BufReader<std::process::ChildStdout>);

impl Master {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child_that_binds", "--ignored", "--nocapture"])
            .env(PATH, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn go(&self) {
        self.0.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
    }

    fn outcome(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.1.read_line(&mut line).unwrap(), 0, "the process is gone");
            if let Some((_, outcome)) = line.trim().split_once("outcome ") {
                return outcome.to_owned();
            }
        }
    }
}

#[test]
fn of_many_processes_that_start_on_one_path_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memif.sock");
    let mut masters: Vec<_> = (0..MASTERS).map(|_| Master::start(&path)).collect();
    for round in 0..ROUNDS {
        if round % 2 == 1 {
            drop(UnixDatagram::bind(&path).unwrap()); // leaves its file behind
        }
        masters.iter().for_each(Master::go);
        let outcomes: Vec<_> = masters.iter_mut().map(Master::outcome).collect();
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == "won").count(), 1, "{round}: {outcomes:?}");
        Channel::connect(&SocketAddress::new(&path).unwrap()).unwrap();
        masters.iter().for_each(Master::go);
        masters.iter_mut().for_each(|master| assert_eq!(master.outcome(), "gone"));
        assert!(!path.exists());
    }
    for Master(mut child, mut out) in masters {
        drop(child.stdin.take());
        out.read_to_string(&mut String::new()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
