//! `pcap:FILE`: a capture file that is replayed or written.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use memif_observe::capture::Packet;
use memif_observe::frame::LinkType;
use memif_os::clock::monotonic_ns;
use memif_pmd::{Burst, PushError, Queues, Receive, Transmit};

use super::counting::{Losses, Tally};
use super::fate::Fate;
use super::null::NullOutlet;
use super::only_queue::OnlyQueue;
use super::replay::{Capture, Clock, Recorded, Timing};
use super::{Inlet, Moved, Outlet, Port, no_queue};
use crate::error::ToolError;
use crate::observe::pcapng::Pcapng;
use crate::packet::Framing;
use crate::report::Drops;

/// Bytes that are buffered before they are written to the file.
const BUFFER: usize = 1 << 20;
/// While packets come, the buffer is written to the file at least this often.
const FLUSH: Duration = Duration::from_secs(1);

/// A port that replays a capture. Packets that are sent to it are dropped.
pub(crate) struct ReplayPort {
    name: String,
    framing: Framing,
    replay: OnlyQueue<Replay>,
    losses: Losses,
    fate: Fate,
}

impl ReplayPort {
    /// Opens a capture and reads its first packet, which decides between Ethernet and IP.
    ///
    /// # Errors
    /// [`ToolError::Replay`]: the file cannot be read or is not a capture, or its first packet is neither Ethernet nor IP.
    pub(crate) fn open(path: &Path, timing: Timing) -> Result<Self, ToolError> {
        let mut capture = Capture::open(path)?;
        let mut next = Recorded::default();
        let pending = capture.next(&mut next)?;
        let framing = match next.framing {
            Some(framing) => framing,
            None if !pending => Framing::Ethernet,
            None => {
                return Err(capture.failed(
                    "its packets are neither Ethernet nor raw IP: capture another interface".into(),
                ));
            }
        };
        let (losses, fate) = (Losses::default(), Fate::default());
        let replay = Replay {
            capture,
            next,
            due: None,
            state: if pending { State::Pending } else { State::Ended },
            clock: Clock::new(timing.speed),
            repeat: timing.repeat,
            framing,
            tally: Tally::new(&losses),
            fate: fate.clone(),
        };
        let name = format!("pcap:{}", path.display());
        Ok(Self { name, framing, replay: OnlyQueue::new(replay), losses, fate })
    }
}

impl Port for ReplayPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn framing(&self) -> Option<Framing> {
        Some(self.framing)
    }

    fn rx_count(&self) -> u16 {
        1
    }

    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError> {
        Ok(Box::new(self.replay.take(&self.name, queue)?))
    }

    fn tx(&self, _queue: u16) -> Result<Box<dyn Outlet>, ToolError> {
        Ok(Box::new(NullOutlet::dropping("sent_to_replay", &self.losses)))
    }

    fn only_replays(&self) -> bool {
        true
    }

    fn drops(&self) -> Drops {
        self.losses.read()
    }

    fn check(&self) -> Result<(), ToolError> {
        self.fate.check()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `next` is the packet to pass on next.
    Pending,
    /// All packets are read. The last ones may still wait in the burst.
    Ended,
    /// All packets are sent.
    Over,
}

/// Passes on the packets of a capture when they are due.
struct Replay {
    capture: Capture,
    next: Recorded,
    /// When `next` is due, in nanoseconds of the monotonic clock; `None` until that is computed.
    due: Option<u64>,
    state: State,
    clock: Clock,
    repeat: bool,
    framing: Framing,
    tally: Tally,
    fate: Fate,
}

impl Replay {
    fn is_due(&mut self, now: u64) -> bool {
        let Self { due, clock, next, .. } = self;
        *due.get_or_insert_with(|| clock.due(next.time, now)) <= now
    }

    /// Reads the packet after `next` into `next`.
    fn advance(&mut self) {
        self.due = None;
        match self.read() {
            Ok(true) => {}
            Ok(false) => self.state = State::Ended,
            // the packets before the error are still sent
            Err(error) => {
                self.state = State::Ended;
                self.fate.fail_when_drained(error);
            }
        }
    }

    /// Reads a packet into `next`, and begins again at the end if the capture is repeated. Returns false if there is none.
    fn read(&mut self) -> Result<bool, ToolError> {
        if self.capture.next(&mut self.next)? {
            return Ok(true);
        }
        if !self.repeat || self.capture.packets() == 0 {
            return Ok(false);
        }
        self.capture.again()?;
        self.clock.again();
        self.capture.next(&mut self.next)
    }

    /// Appends `next` to the burst, or drops it if it cannot be sent. Returns false if the burst has no room for it.
    fn push(&mut self, burst: &mut Burst) -> bool {
        let Recorded { bytes, length, framing, .. } = &self.next;
        if *framing != Some(self.framing) {
            self.tally.drop("other_link_type", 1);
        } else if u32::try_from(bytes.len()).is_ok_and(|captured| captured < *length) {
            self.tally.drop("truncated", 1);
        } else {
            match burst.push(bytes) {
                Ok(()) => self.tally.pass(bytes.len()),
                Err(PushError::Full { .. }) => return false,
                Err(_) => self.tally.drop("bad_length", 1),
            }
        }
        true
    }
}

impl Receive for Replay {
    fn receive(&mut self, burst: &mut Burst) -> usize {
        burst.set_aside();
        let before = burst.len();
        let now = monotonic_ns();
        // dropped packets do not fill the burst: this bounds them too
        for _ in 0..burst.capacity() {
            if self.state != State::Pending || !self.is_due(now) || burst.room() == 0 || !self.push(burst) {
                break;
            }
            self.advance();
        }
        if self.state == State::Ended && burst.len() + burst.waiting() == 0 {
            self.state = State::Over;
            self.fate.drained();
        }
        burst.len() - before
    }
}

impl Queues for Replay {
    fn activity(&self) -> u64 {
        self.tally.activity()
    }
}

impl Inlet for Replay {
    fn moved(&self) -> Moved {
        self.tally.moved()
    }

    fn is_over(&self) -> bool {
        self.state == State::Over
    }
}

/// A port that writes the packets that are sent to it to a capture.
pub(crate) struct WrittenPort {
    name: String,
    framing: Framing,
    file: OnlyQueue<Recorder>,
    fate: Fate,
}

impl WrittenPort {
    /// Creates a capture for packets that begin with this header. Replaces a file with the same name.
    ///
    /// # Errors
    /// [`ToolError::Capture`]: the file cannot be written.
    pub(crate) fn create(path: &Path, framing: Framing) -> Result<Self, ToolError> {
        let text = path.display().to_string();
        let fate = Fate::default();
        let file = File::create(path).and_then(|file| Pcapng::start(BufWriter::with_capacity(BUFFER, file)));
        let link_type = match framing {
            Framing::Ethernet => LinkType::Ethernet,
            Framing::Ip => LinkType::Ip,
        };
        let begun = file.and_then(|mut writer| {
            writer.describe(INTERFACE, link_type)?;
            Ok(writer)
        });
        let writer = begun.map_err(|error| ToolError::Capture { path: text.clone(), error })?;
        let name = format!("pcap:{text}");
        let tally = Tally::new(&Losses::default());
        let file = Recorder {
            path: text,
            writer,
            failed: false,
            flushed: Instant::now(),
            tally,
            fate: fate.clone(),
        };
        Ok(Self { name, framing, file: OnlyQueue::new(file), fate })
    }
}

/// Number, name and description of the capture's only interface.
const INTERFACE: (usize, &str, &str) = (0, "memif", "packets that memif forwarded or generated");

impl Port for WrittenPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn framing(&self) -> Option<Framing> {
        Some(self.framing)
    }

    fn rx_count(&self) -> u16 {
        0
    }

    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError> {
        Err(no_queue(&self.name, queue))
    }

    fn tx(&self, queue: u16) -> Result<Box<dyn Outlet>, ToolError> {
        Ok(Box::new(self.file.take(&self.name, queue)?))
    }

    fn drops(&self) -> Drops {
        Drops::new()
    }

    fn check(&self) -> Result<(), ToolError> {
        self.fate.check()
    }
}

/// Writes packets to a capture.
struct Recorder {
    path: String,
    writer: Pcapng<BufWriter<File>>,
    /// A write has failed. No packets are accepted from then on.
    failed: bool,
    /// When the buffer was last written to the file.
    flushed: Instant,
    tally: Tally,
    fate: Fate,
}

impl Recorder {
    #[cold]
    fn fail(&mut self, error: io::Error) {
        self.failed = true;
        self.fate.fail(ToolError::Capture { path: self.path.clone(), error });
    }
}

impl Transmit for Recorder {
    fn send(&mut self, burst: &mut Burst) -> usize {
        if self.failed || burst.len() + burst.waiting() == 0 {
            return 0;
        }
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let Self { writer, tally, .. } = self;
        let mut result = Ok(());
        let taken = burst.offer(|packets| {
            let mut taken = 0;
            for bytes in packets {
                let packet = Packet { time, length: u32::try_from(bytes.len()).unwrap_or(u32::MAX), bytes };
                result = writer.packet(INTERFACE, None, &packet, bytes.len());
                if result.is_err() {
                    break;
                }
                tally.pass(bytes.len());
                taken += 1;
            }
            taken
        });
        if result.is_ok() && self.flushed.elapsed() > FLUSH {
            self.flushed = Instant::now();
            result = self.writer.flush();
        }
        if let Err(error) = result {
            self.fail(error);
        }
        taken
    }
}

impl Queues for Recorder {
    fn activity(&self) -> u64 {
        self.tally.activity()
    }
}

impl Outlet for Recorder {
    fn moved(&self) -> Moved {
        self.tally.moved()
    }

    fn is_up(&mut self) -> bool {
        !self.failed
    }
}

impl Drop for Recorder {
    /// Writes the rest of the buffer.
    fn drop(&mut self) {
        if !self.failed
            && let Err(error) = self.writer.flush()
        {
            self.fail(error);
        }
    }
}
