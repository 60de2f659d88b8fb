//! `memif dump`: packets of links, as they pass.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use memif_observe::capture::{Looked, Tap};
use memif_observe::direction::Direction;
use memif_observe::filter::Filter;
use memif_observe::link::FileId;
use memif_observe::{Link, Observer, Scope};
use memif_pmd::{Stop, ctrl_c};

use super::lines::Lines;
use super::pcapng::Pcapng;
use super::show::no_links;
use crate::args::{DumpArgs, Words};
use crate::error::ToolError;
use crate::status::note;

/// Time between two reads of the rings while no packet passes.
const STEP: Duration = Duration::from_micros(50);
/// Time between two searches for links.
const SCAN: Duration = Duration::from_millis(500);
/// Number of bytes of a packet that filters and lines need.
const HEADERS: usize = 256;

/// A ring whose packets are copied.
pub(crate) struct Port {
    /// Such as `s2m/0`; with the link's number in front where there are several.
    pub(crate) name: String,
    /// What the link is.
    pub(crate) description: String,
    /// Where its packets go.
    pub(crate) direction: Direction,
    link: FileId,
    tap: Tap,
    over: bool,
    /// Packets that were written.
    written: u64,
    /// Packets that the filter refused.
    refused: u64,
}

impl Port {
    /// Packets that were copied, descriptors that were missed.
    pub(crate) const fn tally(&self) -> (u64, u64) {
        (self.tap.tally().packets, self.tap.tally().missed)
    }
}

/// Where packets go.
enum Output {
    Lines(Lines<BufWriter<io::Stdout>>),
    Capture(Pcapng<BufWriter<Box<dyn Write>>>, String),
}

/// Copies packets of rings until Ctrl-C, until there were enough, or until all links are over.
///
/// # Errors
/// The filter is invalid, the ring does not exist, there are no links or no rights to see them, or the output cannot be
/// written.
pub(crate) fn dump(args: &DumpArgs) -> Result<(), ToolError> {
    let Words { socket, filter } = args.words();
    let filter: Filter = filter.parse().map_err(|error| ToolError::Usage(format!("{error}")))?;
    let scope = Scope { pid: args.pid, socket };
    let mut observer = Observer::new(scope.clone());
    observer.scan()?;
    let snap = usize::from(args.snaplen);
    let mut ports = ports(&observer, args, snap.max(HEADERS))?;
    drop(observer);
    let mut output = Output::open(args.write.as_deref())?;
    let stop = ctrl_c()?;
    let ended = Arc::new(AtomicBool::new(false));
    let links: Vec<FileId> = ports.iter().map(|port| port.link).collect();
    watch(scope, links, &ended, &stop);

    let result =
        listen(&mut ports, &mut output, args, &filter, || stop.is_stopped() || ended.load(Ordering::Relaxed));
    let finished = output.finish(&ports);
    report(&ports);
    result.and(finished)
}

fn listen(
    ports: &mut [Port],
    output: &mut Output,
    args: &DumpArgs,
    filter: &Filter,
    over: impl Fn() -> bool,
) -> Result<(), ToolError> {
    let most = args.count.unwrap_or(u64::MAX);
    let mut taken = 0;
    while !over() && taken < most && ports.iter().any(|port| !port.over) {
        let mut busy = false;
        for (number, port) in ports.iter_mut().enumerate().filter(|(_, port)| !port.over) {
            let mut result = Ok(());
            let Port { name, description, direction, tap, written, refused, .. } = port;
            let looked = tap.look(|packet| {
                if result.is_err() || taken == most {
                    return;
                }
                let snap = usize::from(args.snaplen);
                match output.take((number, name, description, *direction), &packet, snap, filter) {
                    Ok(true) => (taken, *written) = (taken + 1, *written + 1),
                    Ok(false) => *refused += 1,
                    Err(error) => result = Err(error),
                }
            });
            result?;
            port.over = looked == Looked::Over;
            busy |= looked == Looked::Busy;
        }
        if !busy {
            output.flush()?;
            thread::sleep(STEP);
        }
    }
    Ok(())
}

/// Has `ended` set once none of the links is there any more.
fn watch(scope: Scope, links: Vec<FileId>, ended: &Arc<AtomicBool>, stop: &Stop) {
    let (ended, stop) = (Arc::clone(ended), stop.clone());
    // ends with the process
    thread::spawn(move || {
        let mut observer = Observer::new(scope);
        while !stop.is_stopped() {
            let there = |link: &Link| links.contains(&link.id()) && !link.is_over();
            if observer.scan().is_err() || !observer.links().iter().any(there) {
                ended.store(true, Ordering::Relaxed);
                return;
            }
            thread::sleep(SCAN);
        }
    });
}

fn ports(observer: &Observer, args: &DumpArgs, bytes: usize) -> Result<Vec<Port>, ToolError> {
    if observer.links().is_empty() {
        return Err(no_links(observer.hidden()));
    }
    let several = observer.links().len() > 1;
    let (mut ports, mut others) = (Vec::new(), Vec::new());
    for (number, link) in observer.links().iter().enumerate() {
        for ring in 0..link.rings().len() {
            let name = link.ring_name(ring);
            let wanted = args.ring.is_empty() || args.ring.contains(&name);
            match Tap::new(link, ring, bytes).filter(|_| wanted) {
                Some(tap) => ports.push(Port {
                    name: if several { format!("{number}:{name}") } else { name },
                    description: describe(link),
                    direction: link
                        .rings()
                        .get(ring)
                        .and_then(memif_observe::RingMeter::queue)
                        .map_or(Direction::S2m, |queue| queue.direction),
                    link: link.id(),
                    tap,
                    over: false,
                    written: 0,
                    refused: 0,
                }),
                None => others.push(name),
            }
        }
    }
    if ports.is_empty() {
        others.dedup();
        return Err(ToolError::NoRing(others.join(", ")));
    }
    Ok(ports)
}

fn describe(link: &Link) -> String {
    let ends = link.ends().iter().map(|end| {
        format!("{} {} (PID {})", end.role.map_or("?", memif_observe::Role::name), end.command, end.pid)
    });
    let ends: Vec<_> = ends.collect();
    format!("memif {} {}", link.socket().unwrap_or("(socket unknown)"), ends.join(", "))
}

fn report(ports: &[Port]) {
    for port in ports {
        let (_, missed) = port.tally();
        let more = if port.tap.tally().gaps > 0 { "at least " } else { "" };
        let Port { name, direction, written, refused, tap, .. } = port;
        let why = if missed == 0 {
            ""
        } else if !tap.knows_buffers() {
            "; the slave has posted no buffers, and without their length the ends of packets are unknown"
        } else if *direction == Direction::M2s && tap.lies_elsewhere() {
            "; the slave is a zero-copy one, and may change at any time what it has received"
        } else {
            ""
        };
        note(&format!(
            "{name}: {written} packets, {refused} not wanted, {more}{missed} descriptors missed{why}"
        ));
    }
}

impl Output {
    fn open(path: Option<&str>) -> Result<Self, ToolError> {
        let Some(path) = path else { return Ok(Self::Lines(Lines::new(BufWriter::new(io::stdout())))) };
        let failed = |error| ToolError::Capture { path: path.to_owned(), error };
        let file: Box<dyn Write> = match path {
            "-" => Box::new(io::stdout()),
            path => Box::new(File::create(path).map_err(failed)?),
        };
        let writer = Pcapng::start(BufWriter::with_capacity(1 << 20, file)).map_err(failed)?;
        Ok(Self::Capture(writer, path.to_owned()))
    }

    /// Writes a packet, if it is wanted. Returns whether it is.
    fn take(
        &mut self,
        (number, name, description, direction): (usize, &str, &str, Direction),
        packet: &memif_observe::capture::Packet<'_>,
        snap: usize,
        filter: &Filter,
    ) -> Result<bool, ToolError> {
        let link_type = match self {
            Self::Lines(lines) => lines.link_type(number, packet),
            Self::Capture(writer, _) => writer.link_type(number, packet),
        };
        if !filter.passes(packet.bytes, link_type) {
            return Ok(false);
        }
        match self {
            Self::Lines(lines) => lines.packet(name, packet, link_type).map_err(ToolError::Output),
            Self::Capture(writer, path) => {
                let written = writer.packet((number, name, description), Some(direction), packet, snap);
                written.map_err(|error| ToolError::Capture { path: path.clone(), error })
            }
        }?;
        Ok(true)
    }

    fn flush(&mut self) -> Result<(), ToolError> {
        match self {
            Self::Lines(lines) => lines.flush().map_err(ToolError::Output),
            Self::Capture(writer, path) => {
                writer.flush().map_err(|error| ToolError::Capture { path: path.clone(), error })
            }
        }
    }

    /// Writes what was missed.
    fn finish(&mut self, ports: &[Port]) -> Result<(), ToolError> {
        if let Self::Capture(writer, path) = self {
            let statistics = ports.iter().enumerate().try_for_each(|(number, port)| {
                let (copied, missed) = port.tally();
                writer.statistics((number, &port.name, &port.description), (copied, missed, port.written))
            });
            statistics.map_err(|error| ToolError::Capture { path: path.clone(), error })?;
        }
        self.flush()
    }
}
