//! Control messages that are almost right, and file descriptors that are counted.

use std::cell::Cell;
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use memif_ring::message::{
    AddRegion, AddRing, Direction, Hello, Init, MESSAGE_SIZE, Message, Mode, Name, Reason, Secret, VERSION,
};

/// A number in a message: what the receiver is waiting for, or something else.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Turn {
    Due,
    Due2,
    Other(u16),
}

impl Turn {
    fn or(self, due: u16) -> u16 {
        match self {
            Self::Due | Self::Due2 => due,
            Self::Other(number) => number,
        }
    }
}

/// Where a ring lies: behind all others, up to three descriptors off from there, or anywhere.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Place {
    Behind,
    Near(i8),
    Any(u32),
}

impl Place {
    fn or(self, behind: u32) -> u32 {
        match self {
            Self::Behind => behind,
            Self::Near(descs) => behind.wrapping_add_signed(i32::from(descs % 4) * 16),
            Self::Any(offset) => offset,
        }
    }
}

/// A size in bytes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Size {
    Roomy,
    Power(u8),
    Any(u64),
}

impl Size {
    pub fn bytes(self) -> u64 {
        match self {
            Self::Roomy => 1 << 30,
            Self::Power(log2) => 1 << (log2 % 40),
            Self::Any(bytes) => bytes,
        }
    }
}

/// Which message, with what in it.
#[derive(Arbitrary, Clone, Debug)]
pub enum Draft {
    Ack,
    Hello { versions: Option<(u16, u16)>, regions: u16, rings: (u16, u16), log2_size: u8 },
    Init { version: Option<u16>, id: u32, mode: u8, secret: u8 },
    AddRegion { index: Turn, size: Size },
    AddRing { s2m: bool, index: Turn, region: Turn, place: Place, log2_size: u8, header: Turn },
    Connect { name: [u8; 4] },
    Connected { name: [u8; 4] },
    Disconnect { code: u32, reason: [u8; 4] },
}

/// What the receiver is waiting for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Due {
    pub region: u16,
    pub s2m: u16,
    pub m2s: u16,
    /// An offset that no ring overlaps.
    pub offset: u32,
}

/// The secrets that this fuzzer knows of; none is number 0.
pub fn secret(number: u8) -> Secret {
    Secret::new(&b"abcdefghijklmnopqrstuvwx"[..usize::from(number % 4) * 8]).unwrap_or_default()
}

impl Draft {
    pub fn message(&self, due: Due) -> Message {
        match *self {
            Self::Ack => Message::Ack,
            Self::Hello { versions, regions, rings, log2_size } => Message::Hello(Hello {
                name: Name::truncated("fuzz"),
                min_version: versions.map_or(VERSION, |(min, _)| min),
                max_version: versions.map_or(VERSION, |(_, max)| max),
                max_region: regions,
                max_m2s_ring: rings.0,
                max_s2m_ring: rings.1,
                max_log2_ring_size: log2_size % 20,
            }),
            Self::Init { version, id, mode, secret: number } => Message::Init(Init {
                version: version.unwrap_or(VERSION),
                id,
                mode: Mode::ALL[usize::from(mode % 4) % 3],
                secret: secret(number),
                name: Name::truncated("fuzz"),
            }),
            Self::AddRegion { index, size } => {
                Message::AddRegion(AddRegion { index: index.or(due.region), size: size.bytes() })
            }
            Self::AddRing { s2m, index, region, place, log2_size, header } => Message::AddRing(AddRing {
                direction: if s2m { Direction::S2M } else { Direction::M2S },
                index: index.or(if s2m { due.s2m } else { due.m2s }),
                region: region.or(0),
                offset: place.or(due.offset),
                log2_size: log2_size % 17,
                private_hdr_size: header.or(0),
            }),
            Self::Connect { name } => Message::Connect { if_name: text(name) },
            Self::Connected { name } => Message::Connected { if_name: text(name) },
            Self::Disconnect { code, reason } => {
                Message::Disconnect { code, reason: Reason::truncated(&String::from_utf8_lossy(&reason)) }
            }
        }
    }
}

fn text(bytes: [u8; 4]) -> Name {
    Name::truncated(&String::from_utf8_lossy(&bytes))
}

/// What goes wrong on the way; usually nothing.
#[derive(Clone, Debug, Default)]
pub struct Damage {
    flips: Vec<(u8, u8)>,
    length: Option<u8>,
    /// How many file descriptors there are more than there should be; -1 takes the one away.
    fds: i8,
}

impl<'a> Arbitrary<'a> for Damage {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut damage = Self::default();
        match u.int_in_range(0..=15)? {
            0 => damage.flips = vec![u.arbitrary()?],
            1 => damage.flips = vec![u.arbitrary()?, u.arbitrary()?, u.arbitrary()?],
            2 => damage.length = Some(u.arbitrary()?),
            3 => damage.fds = u.int_in_range(-1..=3)?,
            _ => {}
        }
        Ok(damage)
    }
}

impl Damage {
    pub fn is_none(&self) -> bool {
        self.flips.is_empty() && self.length.is_none() && self.fds == 0
    }

    /// The bytes that arrive.
    pub fn bytes(&self, bytes: &[u8; MESSAGE_SIZE]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for (at, bits) in &self.flips {
            bytes[usize::from(*at) % MESSAGE_SIZE] ^= bits;
        }
        bytes.resize(self.length.map_or(MESSAGE_SIZE, usize::from), 0);
        bytes
    }

    /// How many file descriptors arrive where there should be so many.
    pub fn fds(&self, right: usize) -> usize {
        right.saturating_add_signed(self.fds.into())
    }
}

/// Counts the file descriptors that are open.
#[derive(Clone, Debug, Default)]
pub struct Table(Rc<Cell<usize>>);

impl Table {
    pub fn open(&self) -> Fd {
        self.0.set(self.0.get() + 1);
        Fd(self.clone())
    }

    pub fn count(&self) -> usize {
        self.0.get()
    }
}

/// A file descriptor.
#[derive(Debug)]
pub struct Fd(Table);

impl Drop for Fd {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
