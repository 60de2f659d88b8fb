//! The other side in a process of its own: the test program runs itself again, with a part to play.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::full_name;

const PART: &str = "MEMIF_HOSTILE_PART";

/// What this process shall do instead of the test, if it is a child: its words.
pub(crate) fn part() -> Option<Vec<String>> {
    env::var(PART).ok().map(|part| part.split(' ').map(str::to_owned).collect())
}

/// In the parent: runs this test again, in a process of its own. Whether this is the parent.
pub(crate) fn in_a_process_of_its_own(test: &str) -> bool {
    let parent = part().is_none();
    if parent {
        Actor::new(test, "alone").finish();
    }
    parent
}

/// Tells the parent how far we are, and stays where we are until it has killed us or closed our standard input.
pub(crate) fn arrived() {
    println!("arrived");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

pub(crate) struct Actor {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    /// Runs the test of this name with a part to play.
    pub(crate) fn new(test: &str, part: &str) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([&full_name(test), "--exact", "--nocapture", "--test-threads=1"]).env(PART, part);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits until the child has [`arrived`].
    pub(crate) fn wait_arrived(&mut self) {
        let found = self.lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("arrived")));
        assert!(found.is_some(), "the child ended before it arrived");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Lets it go on, and waits for its good end.
    pub(crate) fn finish(mut self) {
        drop(self.child.stdin.take());
        for line in self.lines.by_ref() {
            println!("{}", line.unwrap());
        }
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may be gone already
        let _ = self.child.wait();
    }
}
