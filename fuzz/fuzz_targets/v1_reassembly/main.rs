//! The packets that a program of libmemif 1.0 holds, against a slave that writes what it likes between two calls: a packet
//! of several buffers arrives as the sum of its parts or not at all, up to 65,535 bytes; what the program gives back or
//! sends is only what it holds; and what it sends arrives whole, within the slave's buffers.
#![no_main]
#![allow(unsafe_code)] // a packet of 1.0 is an address and a length

#[path = "../../../memif-pmd/tests/common/mod.rs"]
mod common;
#[path = "../../../memif-pmd/tests/hostile_peer/mod.rs"]
mod hostile_peer;
mod link;
#[path = "../peers/mod.rs"]
mod peers;

use std::mem::MaybeUninit;
use std::slice;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use memif::reach::Held;
use memif::v1::abi::Buffer;
use memif_fuzz::memory::AnyDesc;

use link::Link;

#[derive(Arbitrary, Debug)]
enum Step {
    /// So many descriptors that are one packet, or none where the last one goes on.
    Chain {
        pieces: u8,
        len: u16,
        open: bool,
    },
    /// A descriptor, behind the last one that was published.
    Desc(AnyDesc),
    /// The index moves so far, and no further than there are free slots.
    Receive {
        max: u8,
    },
    Release {
        count: u8,
    },
    /// Something that is not the oldest packet, or not as it was.
    ReleaseWrong {
        packet: u8,
        wrong: Wrong,
    },
    Allocate {
        count: u8,
        size: u16,
    },
    Send {
        count: u8,
        len: u16,
    },
    SendWrong {
        wrong: Wrong,
    },
    /// Posts so many free buffers of the right place and size, or of another.
    Post {
        count: u8,
    },
    PostAny(AnyDesc),
    /// Changes what was posted, where it is still free.
    Change {
        index: u8,
        desc: AnyDesc,
    },
    Take,
    Write {
        at: u32,
        bytes: [u8; 4],
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Wrong {
    Index(u16),
    Address(u64),
    Length(u32),
}

impl Wrong {
    fn of(self, buffer: &Buffer) -> Buffer {
        let mut wrong = *buffer;
        match self {
            Self::Index(by) => wrong.desc_index = wrong.desc_index.wrapping_add(by.max(1)),
            Self::Address(by) => wrong.data = wrong.data.wrapping_byte_add(by.max(1) as usize),
            Self::Length(by) => wrong.data_len = wrong.buffer_len.saturating_add(by.max(1)),
        }
        wrong
    }
}

#[derive(Debug)]
struct Script(Vec<Step>);

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut steps = Vec::new();
        while steps.len() < 64 && !u.is_empty() {
            steps.push(u.arbitrary()?);
        }
        Ok(Self(steps))
    }
}

/// A slave's link with the queues of our master, and what the program holds of both.
struct Run {
    link: Link,
    received: Held,
    /// What it was given, oldest first.
    holds: Vec<Buffer>,
    sending: Held,
    allocated: Vec<Buffer>,
    /// Packets that the slave must find, unless it has changed what it had posted.
    sent: Vec<Vec<u8>>,
    faithful: bool,
}

impl Run {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Chain { pieces, len, open } => self.link.chain(pieces.into(), len.into(), open),
            Step::Desc(desc) => self.link.send_desc(desc.0),
            Step::Receive { max } => self.receive((max % 24).into()),
            Step::Release { count } => {
                let count = usize::from(count).min(self.holds.len());
                let queue = &mut self.link.victim.rx;
                assert_eq!(self.received.release(queue, &self.holds[..count]), count);
                self.holds.drain(..count);
            }
            Step::ReleaseWrong { packet, wrong } => {
                let Some(buffer) = self.holds.get(usize::from(packet) % self.holds.len().max(1)) else {
                    return;
                };
                let named = wrong.of(buffer);
                // two descriptors may name one buffer: with another index a packet can be the oldest one
                let oldest = &self.holds[0];
                let is_oldest = (named.desc_index, named.data) == (oldest.desc_index, oldest.data);
                let done = self.received.release(&mut self.link.victim.rx, &[named]);
                assert_eq!(done, usize::from(is_oldest), "{wrong:?}");
                self.holds.drain(..done);
            }
            Step::Allocate { count, size } => self.allocate((count % 24).into(), size.into()),
            Step::Send { count, len } => self.send(count.into(), len.into()),
            Step::SendWrong { wrong } => {
                let Some(buffer) = self.allocated.first() else { return };
                assert_eq!(self.sending.send(&mut self.link.victim.tx, &[wrong.of(buffer)]), 0, "{wrong:?}");
            }
            Step::Post { count } => (0..count % 33).for_each(|_| self.link.post(None)),
            Step::PostAny(desc) => {
                // what is in its region may be the place of another buffer as well
                self.faithful &= desc.0.region != 0;
                self.link.post(Some(desc.0));
            }
            Step::Change { index, desc } => {
                self.faithful = false;
                self.link.change(index, desc.0);
            }
            Step::Take => self.take(),
            Step::Write { at, bytes } => {
                self.faithful = false;
                self.link.write(at, &bytes);
            }
        }
    }

    /// What the slave has published, as it was when it was looked at.
    fn receive(&mut self, max: usize) {
        let expected = self.link.published(max);
        let buffers = written(max, |room| self.received.receive(&mut self.link.victim.rx, room).0);
        assert_eq!(buffers.len(), expected.len());
        for (buffer, (index, bytes)) in buffers.iter().zip(expected) {
            assert_eq!((buffer.desc_index, buffer.data_len as usize), (index, bytes.len()));
            assert_eq!(buffer.buffer_len, buffer.data_len);
            assert!((1..=65535).contains(&bytes.len()));
            // SAFETY: the packet is held, and lies in memory of that length; the slave runs on this thread.
            let got = unsafe { slice::from_raw_parts(buffer.data.cast::<u8>(), bytes.len()) };
            let differs = got.iter().zip(&bytes).position(|(got, want)| got != want);
            assert_eq!(differs, None, "packet of slot {index} with {} bytes is not its parts", bytes.len());
        }
        self.holds.extend(buffers);
    }

    fn allocate(&mut self, count: usize, size: usize) {
        let buffers = written(count, |room| self.sending.allocate(&mut self.link.victim.tx, room, size));
        assert!(buffers.len() <= count);
        for buffer in &buffers {
            assert!(buffer.buffer_len as usize >= size);
            // SAFETY: allocated to the program, and of that length.
            unsafe { buffer.data.cast::<u8>().write_bytes(0x5A, buffer.buffer_len as usize) };
        }
        self.allocated.extend(buffers);
    }

    fn send(&mut self, count: usize, len: u32) {
        let count = count.min(self.allocated.len());
        for (number, buffer) in (self.sent.len()..).zip(&mut self.allocated[..count]) {
            buffer.data_len = len.min(buffer.buffer_len);
            // SAFETY: as above.
            unsafe { buffer.data.cast::<u8>().write_bytes(number as u8, buffer.data_len as usize) };
        }
        let done = self.sending.send(&mut self.link.victim.tx, &self.allocated[..count]);
        assert!(done <= count);
        for (number, buffer) in (self.sent.len()..).zip(self.allocated.drain(..done)) {
            self.sent.push(vec![number as u8; buffer.data_len as usize]);
        }
    }

    /// The slave looks at what has arrived.
    fn take(&mut self) {
        let got = self.link.arrived();
        if self.faithful {
            // packets of no bytes are unusable buffers that were passed over, or what the program sent
            let filled = |packets: Vec<Vec<u8>>| packets.into_iter().filter(|packet| !packet.is_empty());
            let sent = std::mem::take(&mut self.sent);
            self.sent.resize(sent.len(), Vec::new());
            assert!(filled(got).eq(filled(sent)), "the slave found other packets");
        }
    }
}

/// Calls `fill` with room for `max` buffers; those that it says it has written.
fn written(max: usize, fill: impl FnOnce(&mut [MaybeUninit<Buffer>]) -> usize) -> Vec<Buffer> {
    let mut room = vec![MaybeUninit::uninit(); max];
    let count = fill(&mut room);
    // SAFETY: written by the callee, which is what is under test: the sanitizers see what was not.
    room[..count].iter().map(|buffer| unsafe { buffer.assume_init() }).collect()
}

fuzz_target!(|script: Script| {
    let mut run = Run {
        link: Link::new(),
        received: Held::default(),
        holds: Vec::new(),
        sending: Held::default(),
        allocated: Vec::new(),
        sent: Vec::new(),
        faithful: true,
    };
    script.0.iter().for_each(|step| run.step(step));
    run.take();
    assert!(run.link.is_up(), "the link ended, and no index was wrong");
});
