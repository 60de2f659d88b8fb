//! Reads captures (pcap and pcapng), and says when each packet is due.

use std::fs::File;
use std::io::{Chain, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError};

use crate::error::ToolError;
use crate::packet::Framing;

const SECOND_NS: u64 = 1_000_000_000;
/// The first bytes of a pcapng file.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The first bytes of a pcap file with times in microseconds or nanoseconds, in either byte order.
const PCAP: [[u8; 4]; 4] =
    [[0xa1, 0xb2, 0xc3, 0xd4], [0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x4d, 0x3c, 0xb2, 0xa1]];
/// The time resolution of a pcapng interface that states none: 10^-6 s.
const MICROSECONDS: u8 = 6;

/// A speed for replaying a capture, other than the recorded times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speed {
    /// Packets per second.
    Rate(u64),
    /// As fast as the other port accepts packets.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            _ => crate::args::amount(text).map(Self::Rate).map_err(|problem| format!("{problem}, or max")),
        }
    }
}

/// How a capture is replayed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    /// `None` keeps the recorded intervals between packets.
    pub speed: Option<Speed>,
    /// Whether the replay begins again at the end.
    pub repeat: bool,
}

/// Says when each packet is due. A packet that is late does not delay the ones after it.
#[derive(Debug)]
pub(super) struct Clock {
    speed: Option<Speed>,
    /// When the first packet was due, and the time that it was recorded at. Each repetition at recorded times sets this anew.
    began: Option<(u64, u64)>,
    packets: u64,
}

impl Clock {
    pub(super) fn new(speed: Option<Speed>) -> Self {
        Self { speed, began: None, packets: 0 }
    }

    /// When the next packet is due, in nanoseconds of the clock that `now` is read from. The packet was recorded at `time`, in
    /// nanoseconds. The first packet is due `now`.
    pub(super) fn due(&mut self, time: u64, now: u64) -> u64 {
        let (began, first) = *self.began.get_or_insert((now, time));
        let since = match self.speed {
            None => time.saturating_sub(first),
            Some(Speed::Max) => 0,
            Some(Speed::Rate(rate)) => {
                let since = u128::from(self.packets) * u128::from(SECOND_NS) / u128::from(rate.max(1));
                u64::try_from(since).unwrap_or(u64::MAX)
            }
        };
        self.packets += 1;
        began.saturating_add(since)
    }

    /// Says that the capture begins again: at recorded times, its first packet is then due at once.
    pub(super) fn again(&mut self) {
        if self.speed.is_none() {
            self.began = None;
        }
    }
}

/// A packet of a capture.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    /// Its bytes; only the first ones if the capture has cut it off.
    pub(super) bytes: Vec<u8>,
    /// Its original length in bytes.
    pub(super) length: u32,
    /// When it was recorded, in nanoseconds since 1970.
    pub(super) time: u64,
    /// Which header it begins with; `None` for anything but Ethernet and IP.
    pub(super) framing: Option<Framing>,
}

type Source = Chain<Cursor<[u8; 4]>, File>;

enum Reader {
    Pcap(PcapReader<Source>),
    PcapNg(PcapNgReader<Source>),
}

/// An open capture.
pub(super) struct Capture {
    path: PathBuf,
    reader: Reader,
    /// Number of packets read.
    packets: u64,
}

impl Capture {
    /// Opens a capture and reads its header.
    ///
    /// # Errors
    /// [`ToolError::Replay`]: the file cannot be read, or is not a capture.
    pub(super) fn open(path: &Path) -> Result<Self, ToolError> {
        let failed = |problem: String| ToolError::Replay { path: path.display().to_string(), problem };
        let mut file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let mut magic = [0; 4];
        match file.read_exact(&mut magic) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(failed(error.to_string())),
            _ => {}
        }
        let source = Cursor::new(magic).chain(file);
        let reader = match magic {
            PCAPNG => PcapNgReader::new(source).map(Reader::PcapNg),
            magic if PCAP.contains(&magic) => PcapReader::new(source).map(Reader::Pcap),
            _ => {
                return Err(failed(
                    "it is not a capture: make one with tcpdump -w or memif dump -w".to_owned(),
                ));
            }
        };
        let reader = reader.map_err(|error| failed(describe(&error, 0)))?;
        Ok(Self { path: path.to_owned(), reader, packets: 0 })
    }

    /// Opens the file again: the next packet is the first one.
    ///
    /// # Errors
    /// [`ToolError::Replay`], as for [`Capture::open`].
    pub(super) fn again(&mut self) -> Result<(), ToolError> {
        *self = Self::open(&self.path)?;
        Ok(())
    }

    /// Number of packets read since the capture was last opened.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Reads the next packet into `packet`. Returns false at the end of the capture.
    ///
    /// # Errors
    /// [`ToolError::Replay`]: the capture is cut off or damaged.
    pub(super) fn next(&mut self, packet: &mut Recorded) -> Result<bool, ToolError> {
        let read = match &mut self.reader {
            Reader::Pcap(reader) => next_of_pcap(reader, packet),
            Reader::PcapNg(reader) => next_of_pcapng(reader, packet),
        };
        let read = read.map_err(|error| self.failed(describe(&error, self.packets)))?;
        self.packets += u64::from(read);
        Ok(read)
    }

    /// The error of this capture with this problem.
    pub(super) fn failed(&self, problem: String) -> ToolError {
        ToolError::Replay { path: self.path.display().to_string(), problem }
    }
}

/// What is wrong with a capture behind its first `packets` packets.
fn describe(error: &PcapError, packets: u64) -> String {
    match error {
        PcapError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            format!("it is cut off behind packet {packets}")
        }
        PcapError::IoError(error) => error.to_string(),
        error => format!("it is damaged behind packet {packets}: {error}"),
    }
}

fn next_of_pcap(reader: &mut PcapReader<Source>, packet: &mut Recorded) -> Result<bool, PcapError> {
    let framing = framing(reader.header().datalink);
    let Some(read) = reader.next_packet() else { return Ok(false) };
    let read = read?;
    packet.bytes.clear();
    packet.bytes.extend_from_slice(&read.data);
    packet.length = read.orig_len;
    packet.time = u64::try_from(read.timestamp.as_nanos()).unwrap_or(u64::MAX);
    packet.framing = framing;
    Ok(true)
}

fn next_of_pcapng(reader: &mut PcapNgReader<Source>, packet: &mut Recorded) -> Result<bool, PcapError> {
    // blocks that are not packets are skipped
    loop {
        let Some(block) = reader.next_block() else { return Ok(false) };
        let (interface, units, data, length) = match block? {
            Block::EnhancedPacket(block) => {
                // the library calls them nanoseconds, whatever the interface's resolution
                let units = block.timestamp.as_nanos();
                (block.interface_id, Some(units), block.data, block.original_len)
            }
            Block::Packet(block) => {
                (block.interface_id.into(), Some(block.timestamp.into()), block.data, block.original_len)
            }
            Block::SimplePacket(block) => (0, None, block.data, block.original_len),
            _ => continue,
        };
        packet.bytes.clear();
        packet.bytes.extend_from_slice(&data);
        packet.length = length;
        let index = usize::try_from(interface).unwrap_or(usize::MAX);
        let Some(interface) = reader.interfaces().get(index) else {
            return Err(PcapError::InvalidInterfaceId(interface));
        };
        packet.framing = framing(interface.linktype);
        if let Some(units) = units {
            let resolution = interface.options.iter().find_map(|option| match option {
                InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
                _ => None,
            });
            packet.time = nanoseconds(units, resolution.unwrap_or(MICROSECONDS));
        }
        return Ok(true);
    }
}

/// A time in nanoseconds, from one in units of 10^-resolution s, or of 2^-resolution s if the highest bit of `resolution` is set.
fn nanoseconds(units: u128, resolution: u8) -> u64 {
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let nanoseconds = match base.checked_pow(u32::from(resolution & 0x7f)) {
        Some(per_second) => units.saturating_mul(u128::from(SECOND_NS)) / per_second,
        None => 0,
    };
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

fn framing(link: DataLink) -> Option<Framing> {
    match link {
        DataLink::ETHERNET => Some(Framing::Ethernet),
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => Some(Framing::Ip),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_due_at_recorded_times_at_a_rate_or_at_once() {
        let mut recorded = Clock::new(None);
        assert_eq!([5, 7, 6, 105].map(|time| recorded.due(time, 1000)), [1000, 1002, 1001, 1100]);
        recorded.again();
        assert_eq!(recorded.due(5, 2000), 2000);
        let mut rate = Clock::new(Some(Speed::Rate(1_000_000)));
        assert_eq!([5, 900, 1, 1].map(|time| rate.due(time, 50)), [50, 1050, 2050, 3050]);
        rate.again();
        assert_eq!(rate.due(0, 9), 4050);
        let mut max = Clock::new(Some(Speed::Max));
        assert_eq!([5, 900].map(|time| max.due(time, 50)), [50, 50]);
        assert_eq!(Clock::new(None).due(u64::MAX, u64::MAX), u64::MAX);
    }

    #[test]
    fn times_are_in_the_resolution_of_their_interface() {
        assert_eq!(nanoseconds(1_500_000, 6), 1_500_000_000);
        assert_eq!(nanoseconds(7, 9), 7);
        assert_eq!(nanoseconds(7, 12), 0);
        assert_eq!(nanoseconds(3 << 29, 0x80 | 30), 1_500_000_000);
        for resolution in 0..=255 {
            nanoseconds(u128::from(u64::MAX), resolution);
        }
    }

    #[test]
    fn speeds_are_parsed() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2k".parse(), Ok(Speed::Rate(2000)));
        assert!("0".parse::<Speed>().unwrap_err().contains("max"));
    }
}
