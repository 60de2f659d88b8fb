//! `--capture`: copies the packets of a command's memif ports to a pcapng file.

use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use memif_observe::capture::Packet;
use memif_observe::direction::Direction;
use memif_observe::frame::LinkType;
use memif_pmd::{Direction as RingDirection, Mirror, MirrorSource, MirroredBurst, Mode, Stop};

use crate::error::ToolError;
use crate::observe::pcapng::Pcapng;
use crate::ports::Port;
use crate::status::note;

/// Most bytes of packets that wait to be written; beyond that, packets are not captured.
const LIMIT: usize = 64 << 20;
/// Bytes that are buffered before they are written to the file.
const BUFFER: usize = 1 << 20;

/// A capture that is being written.
pub(crate) struct Capture {
    path: String,
    /// `None` once the capture has ended.
    mirror: Option<Mirror>,
    output: Arc<Mutex<Output>>,
}

/// The file, as the mirror's thread writes it.
struct Output {
    writer: Pcapng<BufWriter<File>>,
    rings: Vec<Ring>,
    /// The first error of a write. Nothing is written after it.
    failed: Option<io::Error>,
}

/// One interface of the capture.
struct Ring {
    name: String,
    description: String,
    direction: Direction,
}

impl Capture {
    /// Creates the file, and begins to copy the packets that the memif ports among `ports` receive and send. If a write fails
    /// later, `stop` is raised and [`Capture::finish`] returns the error.
    ///
    /// # Errors
    /// [`ToolError::Capture`]: the file cannot be written. [`ToolError::Usage`]: none of the ports is a memif port, or the path is
    /// `-`. [`ToolError::Memif`]: the mirror's thread cannot be started.
    pub(crate) fn start(path: &str, ports: &[&dyn Port], stop: &Stop) -> Result<Self, ToolError> {
        let interfaces: Vec<_> = ports.iter().filter_map(|port| port.interface()).collect();
        if interfaces.is_empty() {
            return Err(ToolError::Usage("--capture copies what passes memif ports: give one".to_owned()));
        }
        if path == "-" {
            let problem = "--capture needs a file: standard output has the report";
            return Err(ToolError::Usage(problem.to_owned()));
        }
        let failed = |error| ToolError::Capture { path: path.to_owned(), error };
        let file = BufWriter::with_capacity(BUFFER, File::create(path).map_err(failed)?);
        let writer = Pcapng::start(file).map_err(failed)?;
        let output = Arc::new(Mutex::new(Output { writer, rings: Vec::new(), failed: None }));
        let (shared, stop) = (Arc::clone(&output), stop.clone());
        let mirror = Mirror::start(LIMIT, usize::MAX, move |burst| {
            let mut output = lock(&shared);
            if output.failed.is_none()
                && let Err(error) = output.write(burst)
            {
                output.failed = Some(error);
                stop.stop();
            }
        })?;
        let capture = Self { path: path.to_owned(), mirror: Some(mirror.clone()), output };
        let several = interfaces.len() > 1;
        for (number, interface) in interfaces.into_iter().enumerate() {
            let known = mirror.sources().len();
            interface.set_mirror(Some(&mirror))?;
            let prefix = if several { format!("{number}:") } else { String::new() };
            let mut output = lock(&capture.output);
            for source in mirror.sources().iter().skip(known) {
                output.describe(&prefix, source).map_err(failed)?;
            }
        }
        Ok(capture)
    }

    /// Ends the capture: writes the packets that still wait, and how many were captured and how many were not.
    ///
    /// # Errors
    /// [`ToolError::Capture`]: the file could not be written, now or earlier.
    pub(crate) fn finish(mut self) -> Result<(), ToolError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), ToolError> {
        let Some(mirror) = self.mirror.take() else { return Ok(()) };
        mirror.finish();
        let mut output = lock(&self.output);
        let written = match output.failed.take() {
            Some(error) => Err(error),
            None => output.finish(&mirror.sources()),
        };
        let (packets, dropped) =
            written.map_err(|error| ToolError::Capture { path: self.path.clone(), error })?;
        note(&format!("{}: {packets} packets, {dropped} not captured", self.path));
        Ok(())
    }
}

impl Drop for Capture {
    /// Ends the capture of a command that has failed. The command reports its own error; an error of the capture is not reported.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn lock(output: &Mutex<Output>) -> std::sync::MutexGuard<'_, Output> {
    // after a panic of the writer, the file is still ended as well as it can be
    output.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output {
    /// Writes the description of a queue's interface, whose number is that of its source.
    fn describe(&mut self, prefix: &str, source: &MirrorSource) -> io::Result<()> {
        let direction = match source.ring() {
            RingDirection::S2M => Direction::S2m,
            RingDirection::M2S => Direction::M2s,
        };
        let name = format!("{prefix}{}/{}", direction.name(), source.queue());
        let (socket, id, role) = (source.socket(), source.id(), source.role());
        let description = format!("memif {socket} id {id} {role}, {}", source.direction());
        let link_type = if source.mode() == Mode::Ip { LinkType::Ip } else { LinkType::Ethernet };
        self.writer.describe((source.number(), &name, &description), link_type)?;
        self.rings.push(Ring { name, description, direction });
        Ok(())
    }

    fn write(&mut self, burst: &MirroredBurst) -> io::Result<()> {
        let number = burst.source().number();
        let Some(Ring { name, description, direction }) = self.rings.get(number) else { return Ok(()) };
        let time = burst.time().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for packet in burst.packets() {
            let length = u32::try_from(packet.length).unwrap_or(u32::MAX);
            let packet = Packet { time, length, bytes: packet.bytes };
            self.writer.packet((number, name, description), Some(*direction), &packet, usize::MAX)?;
        }
        if burst.is_last() { self.writer.flush() } else { Ok(()) }
    }

    /// Writes how many packets of each queue were captured and how many were not. Returns both sums.
    fn finish(&mut self, sources: &[Arc<MirrorSource>]) -> io::Result<(u64, u64)> {
        let mut total = (0, 0);
        for (source, Ring { name, description, .. }) in sources.iter().zip(&self.rings) {
            let (packets, dropped) = (source.packets(), source.dropped());
            total = (total.0 + packets, total.1 + dropped);
            let ring = (source.number(), name.as_str(), description.as_str());
            self.writer.statistics(ring, (packets, dropped, packets))?;
        }
        self.writer.flush()?;
        Ok(total)
    }
}
