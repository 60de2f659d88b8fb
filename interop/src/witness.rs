//! A second reader of the ring that our end receives on, to tell whose fault a wrong packet is.
//!
//! Before each receive call it reads the ring and the buffers by the plain rules of the protocol (docs/protocol.md, section
//! 4), through `pread` on the peer's own descriptor of the shared memory: it shares no code with the library. What the library
//! then hands out must be the same, byte for byte. So a wrong packet that both have seen was wrong in shared memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::lab::Peer;

/// Value at a ring's start.
const COOKIE: u32 = 0x03E3_1F20;
/// Bytes before a ring's descriptors, and of a descriptor.
const HEADER: u64 = 128;
const DESCRIPTOR: usize = 16;
/// Where a ring's header has the slave's index and the master's.
const HEAD: u64 = 6;
const TAIL: u64 = 64;
/// Descriptors of the rings of both ends.
const SIZE: u16 = 1024;
/// Bytes of the largest packet.
const LARGEST: usize = 65535;
/// Bit 0 of a descriptor's flags.
const NEXT: u16 = 1;

/// The ring that our end receives on.
#[derive(Debug)]
pub(crate) struct Witness {
    region: File,
    ring: u64,
    peer: Peer,
}

/// A packet as it lies in shared memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Its pieces, joined.
    Whole(Vec<u8>),
    /// A piece is empty or outside of region 0, or there are too many of them.
    Broken,
}

/// A descriptor and what it refers to, if that is in region 0.
#[derive(Debug)]
struct Piece {
    next: bool,
    place: (u16, u32, u32),
    bytes: Option<Vec<u8>>,
}

/// What was published at one time.
#[derive(Debug)]
pub(crate) struct Look {
    from: u16,
    pieces: Vec<Piece>,
}

impl Witness {
    /// Finds the ring in the memory that process `pid` of testpmd has open. `None` when there is none at the time.
    pub(crate) fn find(pid: u32, peer: Peer) -> Option<Self> {
        // of a client the first ring is what it sends on; of a server, which has our memory, the second one
        let ring = match peer {
            Peer::Client => 0,
            Peer::Server => HEADER + u64::from(SIZE) * DESCRIPTOR as u64,
        };
        let folder = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let memory = folder.flatten().filter(|entry| {
            fs::read_link(entry.path()).is_ok_and(|name| name.to_string_lossy().contains("memfd:"))
        });
        memory
            .filter_map(|entry| File::open(entry.path()).ok())
            .map(|region| Self { region, ring, peer })
            .find(|witness| witness.read::<4>(ring).map(u32::from_ne_bytes) == Some(COOKIE))
    }

    /// The packets that wait for a receiver which has consumed `held` slots that it has not given back. `None` when the peer
    /// has overrun the ring, or its memory is gone.
    pub(crate) fn look(&self, held: u16) -> Option<Look> {
        let [head, tail] = [HEAD, TAIL].map(|at| self.index(at));
        let (head, tail) = (head?, tail?);
        let (from, until) = match self.peer {
            Peer::Client => (tail.wrapping_add(held), head),
            Peer::Server => (head.wrapping_sub(SIZE).wrapping_add(held), tail),
        };
        if until.wrapping_sub(from) > SIZE - held {
            return None;
        }
        self.pieces(from, until.wrapping_sub(from))
    }

    /// Whether the slots are as they were. On S2M the receiver clears NEXT, and nobody writes anything else; on M2S it may have
    /// posted the descriptors anew, so only the buffers tell.
    pub(crate) fn sees_again(&self, look: &Look) -> bool {
        if self.peer == Peer::Server {
            return look.pieces.iter().all(|piece| self.bytes(piece.place) == piece.bytes);
        }
        let count = look.pieces.len().try_into().unwrap_or_default();
        let is_same = |(was, is): (&Piece, &Piece)| {
            (was.place, &was.bytes) == (is.place, &is.bytes) && (was.next || !is.next)
        };
        self.pieces(look.from, count).is_some_and(|again| look.pieces.iter().zip(&again.pieces).all(is_same))
    }

    fn pieces(&self, from: u16, count: u16) -> Option<Look> {
        let mut table = vec![0; usize::from(SIZE) * DESCRIPTOR];
        self.region.read_exact_at(&mut table, self.ring + HEADER).ok()?;
        let pieces = (0..count).map(|ahead| {
            let at = usize::from(from.wrapping_add(ahead) % SIZE) * DESCRIPTOR;
            table.get(at..).and_then(<[u8]>::first_chunk::<DESCRIPTOR>).map(|desc| self.piece(desc))
        });
        Some(Look { from, pieces: pieces.collect::<Option<_>>()? })
    }

    fn piece(&self, desc: &[u8; DESCRIPTOR]) -> Piece {
        let half = |at: usize| u16::from_ne_bytes([desc[at], desc[at + 1]]);
        let word = |at: usize| u32::from_ne_bytes([desc[at], desc[at + 1], desc[at + 2], desc[at + 3]]);
        let place = (half(2), word(4), word(8));
        Piece { next: half(0) & NEXT != 0, place, bytes: self.bytes(place) }
    }

    /// The bytes at a place: region, length, offset.
    fn bytes(&self, (region, length, offset): (u16, u32, u32)) -> Option<Vec<u8>> {
        let is_sound = region == 0 && (1..=u32::from(u16::MAX)).contains(&length);
        let mut bytes = vec![0; if is_sound { usize::try_from(length).unwrap_or_default() } else { 0 }];
        let is_there = is_sound && self.region.read_exact_at(&mut bytes, offset.into()).is_ok();
        is_there.then_some(bytes)
    }

    /// An index of the ring. It may be written meanwhile, byte by byte as far as reading goes: the same twice is right.
    fn index(&self, at: u64) -> Option<u16> {
        let read = || self.read::<2>(self.ring + at).map(u16::from_ne_bytes);
        (0..100).find_map(|_| read().filter(|index| read() == Some(*index)))
    }

    fn read<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.region.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    }
}

impl Look {
    /// The packets that are complete, in order. One that follows the last of them may have been going on.
    pub(crate) fn packets(&self) -> impl Iterator<Item = Sight> {
        self.pieces
            .split_inclusive(|piece| !piece.next)
            .filter(|pieces| pieces.last().is_some_and(|last| !last.next))
            .map(|pieces| {
                let parts: Option<Vec<_>> = pieces.iter().map(|piece| piece.bytes.as_deref()).collect();
                let whole = parts.map(|parts| parts.concat());
                whole.filter(|bytes| bytes.len() <= LARGEST).map_or(Sight::Broken, Sight::Whole)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A witness of a ring in a file, with these descriptors: flags, region, length, offset. Behind the ring is a pattern.
    fn witness(head: u16, descs: &[(u16, u16, u32, u32)]) -> Witness {
        let region = tempfile::tempfile().unwrap();
        let buffers: Vec<u8> = (0..8192u32).map(|at| (at % 251) as u8).collect();
        region.write_all_at(&buffers, 32768).unwrap();
        region.write_all_at(&COOKIE.to_ne_bytes(), 0).unwrap();
        region.write_all_at(&head.to_ne_bytes(), HEAD).unwrap();
        region.write_all_at(&[0; 2], TAIL).unwrap();
        let witness = Witness { region, ring: 0, peer: Peer::Client };
        (0..).zip(descs).for_each(|(index, desc)| set(&witness, index, *desc));
        witness
    }

    fn set(witness: &Witness, index: u64, (flags, region, length, offset): (u16, u16, u32, u32)) {
        let mut bytes = [flags.to_ne_bytes(), region.to_ne_bytes()].concat();
        [length, offset, 0].iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        witness.region.write_all_at(&bytes, HEADER + index * DESCRIPTOR as u64).unwrap();
    }

    fn pattern(range: std::ops::Range<u32>) -> Vec<u8> {
        range.map(|at| (at % 251) as u8).collect()
    }

    #[test]
    fn packets_are_read_by_the_plain_rules() {
        let descs = [
            (0, 0, 64, 32768),
            (NEXT, 0, 100, 32868),
            (0xFFFE, 0, 50, 33768),
            (0, 1, 64, 32768),
            (0, 0, 0, 32768),
            (0, 0, 64, u32::MAX),
            (NEXT, 0, 64, 32768),
        ];
        let witness = witness(7, &descs);
        let whole = [pattern(0..64), [pattern(100..200), pattern(1000..1050)].concat()].map(Sight::Whole);
        let seen: Vec<_> = witness.look(0).unwrap().packets().collect();
        assert_eq!(seen[..2], whole);
        assert_eq!(seen[2..], [Sight::Broken, Sight::Broken, Sight::Broken], "the last one is not complete");
        // of the slots that were consumed nothing is read again
        assert_eq!(witness.look(1).unwrap().packets().next(), whole.into_iter().nth(1));
        assert_eq!(witness.look(7).unwrap().packets().count(), 0);
    }

    #[test]
    fn an_overrun_is_not_judged() {
        assert!(witness(SIZE, &[]).look(0).is_some());
        assert!(witness(SIZE + 1, &[]).look(0).is_none());
        assert!(witness(SIZE, &[]).look(1).is_some(), "one slot was given back, and not yet announced");
        assert!(witness(SIZE + 1, &[]).look(1).is_none());
    }

    #[test]
    fn what_was_written_since_is_noticed() {
        let witness = witness(2, &[(NEXT, 0, 64, 32768), (0, 0, 64, 34816)]);
        let look = witness.look(0).unwrap();
        assert!(witness.sees_again(&look));
        set(&witness, 0, (0, 0, 64, 32768));
        assert!(witness.sees_again(&look), "a receiver clears NEXT");
        set(&witness, 1, (NEXT, 0, 64, 34816));
        assert!(!witness.sees_again(&look), "and sets it nowhere");
        set(&witness, 1, (0, 0, 64, 34816));
        witness.region.write_all_at(&[1, 2, 3], 34820).unwrap();
        assert!(!witness.sees_again(&look));
    }
}
