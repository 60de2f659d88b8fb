//! The demo: generator and sink in this process, a forwarder in a second one, and two memif interfaces between them.

mod forwarder;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use memif_os::cpu::{CoreList, allowed_cores};
use memif_pmd::{Stop, Workers};
use tempfile::TempDir;

use self::forwarder::{Forwarder, ForwarderSummary};
use crate::args::DemoArgs;
use crate::capture::Capture;
use crate::cores::check_cores;
use crate::error::ToolError;
use crate::feeds::Feeds;
use crate::generate::{fill, generator_instance};
use crate::generator::{Generator, Order};
use crate::output::print;
use crate::packet::{Framing, Route};
use crate::ports::Port;
use crate::ports::memif::MemifPort;
use crate::report::{LatencyKind, Measures};
use crate::run::Run;
use crate::session::Session;
use crate::sink::Sink;
use crate::sizes::Sizes;
use crate::status::{Voice, note};

/// The socket of the link to the forwarder, in the demo's directory, which is the forwarder's working directory.
const OUT: &str = "a.sock";
/// The socket of the link back.
const BACK: &str = "b.sock";

/// `memif demo`
///
/// # Errors
/// See [`ToolError`]; it is also an error if packets do not verify.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), ToolError> {
    let (near, far) = choose_cores(args.core.as_ref(), &allowed_cores())?;
    check_cores(&[near, far])?;
    if near == far {
        note(&format!(
            "only core {near} is available: generator, sink and forwarder share it, which lowers the figures"
        ));
    }
    let session = Session::start(Voice::Failures)?;
    let directory = make_directory()?;
    let open = |name| session.open_master(&directory.path().join(name).to_string_lossy());
    let (out, back) = (open(OUT)?, open(BACK)?);
    let mut forwarder = Forwarder::spawn(directory.path(), [OUT, BACK], far, args.burst)?;
    wait_up(&session, [&out, &back], args.wait, &mut forwarder)?;
    if !args.json {
        print(&picture(forwarder.pid()))?;
    }
    // the links are up and the socket is no longer needed: nothing is left behind even if this process is killed
    drop(directory);
    run(&session, [&out, &back], args, (near, far), &mut forwarder)
}

fn run(
    session: &Session,
    [out, back]: [&MemifPort; 2],
    args: &DemoArgs,
    (near, far): (usize, usize),
    forwarder: &mut Forwarder,
) -> Result<(), ToolError> {
    let halt = Stop::new()?;
    let order = Order {
        instance: generator_instance(),
        framing: Framing::Ethernet,
        sizes: Sizes::fixed(args.size),
        route: Route::default(),
        fill: fill(args.verify),
        pace: None,
        count: None,
        halt: halt.clone(),
    };
    let mut feeds = Feeds::default();
    let (mut generator, sender) = Generator::new(&order, 0);
    feeds.follow_sender(sender);
    let (mut sink, receiver, handover) = Sink::new(Framing::Ethernet, args.verify, None)?;
    feeds.follow_sink(receiver, handover);
    let ports: [&dyn Port; 2] = [out, back];
    let capture =
        args.capture.as_deref().map(|path| Capture::start(path, &ports, &session.stop)).transpose()?;
    let workers = Workers::new()
        .burst(args.burst.into())
        .on_core(near, out.interface.tx(0)?, move |tx, burst| generator.turn(tx, burst))
        .on_core(near, back.interface.rx(0)?, move |rx, burst| sink.turn(rx, burst));
    let measures = Measures { latency: Some(LatencyKind::OneWay), verify: args.verify };
    let cores = format!("{near} (generator and sink), {far} (forwarder)");
    let mut run = Run::start(session, &ports, workers, feeds, (args.json, measures), &cores)?;
    run.watch(Some(args.seconds), || forwarder.check())?;
    halt.stop();
    run.drain(|| out.interface.is_up() && back.interface.is_up());
    session.stop.stop();
    let ForwarderSummary { drops, memory } = forwarder.end();
    if let Some(memory) = memory {
        run.machine.memory = memory;
    }
    let totals = run.finish(drops)?;
    capture.map_or(Ok(()), Capture::finish)?;
    if !args.json {
        print(&next_steps(&std::env::args().next().unwrap_or_default()))?;
    }
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
        more => Err(ToolError::Usage(format!("--core takes one or two cores, not {}", more.len()))),
    }
}

fn make_directory() -> Result<TempDir, ToolError> {
    let private = Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("memif-demo-").permissions(private).tempdir().map_err(ToolError::Folder)
}

/// Waits until both links are up, or the forwarder has ended.
fn wait_up(
    session: &Session,
    ends: [&MemifPort; 2],
    limit: Duration,
    forwarder: &mut Forwarder,
) -> Result<(), ToolError> {
    let ports = ends.map(|end| -> &dyn Port { end });
    let up = session.wait_up_while(&ports, Some(limit), || forwarder.check());
    forwarder.check()?;
    let (port, seconds, last) = match up {
        Err(ToolError::NoLink { port, seconds, reason }) => (port, seconds, reason),
        up => return up.map(drop),
    };
    // the last reason may be the one that the other process was given, which says less
    let said = || forwarder.said().map(|said| format!("the forwarder says: {said}"));
    let reason = ends.into_iter().find_map(MemifPort::own_failure).or_else(said).unwrap_or(last);
    Err(ToolError::NoLink { port, seconds, reason })
}

/// The path of the packets as a line of text.
fn picture(pid: u32) -> String {
    format!("gen ─▶ {OUT} ─▶ forward (pid {pid}) ─▶ {BACK} ─▶ sink\n")
}

/// Commands to try after the demo; `program` is the name that the tool was started with.
fn next_steps(program: &str) -> String {
    let program = if program.is_empty() { "memif" } else { program };
    format!(
        "\nnext: {program} sink @demo,role=master --verify   in one terminal, and in another one\n      \
         {program} gen @demo --verify --imix   or see {program} --help"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_the_first_two_or_those_of_the_command_line() {
        let list = |text: &str| text.parse::<CoreList>().unwrap();
        assert_eq!(choose_cores(None, &[2, 5, 7]).unwrap(), (2, 5));
        assert_eq!(choose_cores(None, &[3]).unwrap(), (3, 3));
        assert_eq!(choose_cores(Some(&list("7,1")), &[0]).unwrap(), (7, 1));
        assert_eq!(choose_cores(Some(&list("1")), &[0, 1]).unwrap(), (1, 1));
        assert!(matches!(choose_cores(Some(&list("0-2")), &[0, 1, 2]), Err(ToolError::Usage(_))));
        assert!(matches!(choose_cores(None, &[]), Err(ToolError::NoCore)));
    }

    #[test]
    fn the_directory_is_private_and_removed() {
        let directory = make_directory().unwrap();
        let path = directory.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(directory);
        assert!(!path.exists());
    }
}
