//! An end of a ring in either role and direction, whose peer writes indices, descriptors and packet bytes *during* the
//! calls, from another thread. What is left of the models of `ring_receive` and `ring_send` holds: calls end after a ring's
//! worth of descriptors, packets have a length, counts are those of what was handed over, spans lie in the region, and a
//! slave has the buffers that it had. AddressSanitizer sees an access outside of the region.
#![no_main]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_fuzz::memory::{AnyDesc, Inbox, Role, line_of, packet, region};
use memif_ring::buffers::BufferAddr;
use memif_ring::burst::Tally;
use memif_ring::end::{Receiver, Sender};
use memif_ring::fault::PeerFault;
use memif_ring::head_side::{HeadReceiver, HeadSender};
use memif_ring::layout::{Desc, DescFlags};
use memif_ring::mock::{MockPeer, MockRegion, MockRing};
use memif_ring::region::Buffer;
use memif_ring::tail_side::{TailReceiver, TailSender};
use memif_ring::tuning::LOOK_FROM;

#[derive(Arbitrary, Debug)]
struct Input {
    role: Role,
    log2_size: u8,
    capacity: u8,
    work: Work,
    /// What the peer writes, over and over.
    writes: [Write; 6],
}

#[derive(Arbitrary, Debug)]
enum Work {
    Receive([Receive; 8]),
    Send([Send; 8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Receive {
    Burst { room: u8 },
    Peek { ahead: u8 },
    Piece { ahead: u8 },
    Release { slots: u8 },
    Flush,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Send {
    Burst {
        seed: u8,
        count: u8,
        len: u16,
    },
    Fill {
        ahead: u8,
        length: u16,
    },
    Commit {
        slots: u8,
    },
    /// Reserves `count` buffers of `len` bytes each, and sends the first `slots`, filled to `length`.
    Reserve {
        count: u8,
        len: u16,
        length: u16,
        slots: u8,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Write {
    /// Both indices, as the peer owns one of them and can write the other.
    Indices {
        head: u16,
        tail: u16,
    },
    /// The peer's index moves on from where it last was, and so do a few more behind it.
    Onwards {
        by: u8,
    },
    /// A descriptor changes between two states, for who reads it twice.
    Toggle {
        index: u8,
        states: [AnyDesc; 2],
    },
    Poke {
        at: u16,
        bytes: [u8; 4],
    },
}

impl Write {
    fn commit(self, peer: &MockPeer<'_>, len: usize, role: Role, index: &mut u16) {
        match self {
            Self::Indices { head, tail } => {
                peer.set_head(head % 64);
                peer.set_tail(tail % 64);
            }
            Self::Onwards { by } => {
                for _ in 0..by % 8 {
                    *index = index.wrapping_add(1);
                    match role {
                        Role::Slave => peer.set_tail(*index),
                        Role::Master => peer.set_head(*index),
                    }
                }
            }
            Self::Toggle { index, states } => {
                (0..8).for_each(|turn| peer.set_desc(index.into(), states[turn % 2].0));
            }
            Self::Poke { at, bytes } => {
                (0..).zip(bytes).for_each(|(next, byte)| peer.poke((usize::from(at) + next) % len, byte));
            }
        }
    }
}

/// What a call handed out lies in the region, as its descriptor says.
fn within(on: &MockRegion, desc: &Desc, len: usize) {
    assert!(desc.region == 0 && len <= desc.length as usize);
    assert!(u64::from(desc.offset) + len as u64 <= on.len() as u64, "{desc:?}");
}

fn receive(
    on: &MockRegion,
    end: &mut impl Receiver,
    step: Receive,
    size: usize,
    tally: &mut Tally,
) -> Result<(), PeerFault> {
    match step {
        Receive::Burst { room } => {
            let (mut inbox, position) = (Inbox::new(room.into()), end.position());
            let (packets, bytes) = (tally.packets, tally.bytes);
            let consumed = end.receive(on.regions(), &mut inbox, tally)?;
            assert!(consumed <= size && inbox.packets.len() <= consumed.min(room.into()));
            assert_eq!(usize::from(end.position().wrapping_sub(position)), consumed);
            assert_eq!(tally.packets - packets, inbox.packets.len() as u64);
            assert_eq!(
                tally.bytes - bytes,
                inbox.packets.iter().map(|packet| packet.len() as u64).sum::<u64>()
            );
        }
        Receive::Peek { ahead } => {
            let ready = end.ready(ahead.into())?;
            let mut pieces = 0;
            let (slots, _) = end.peek(on.regions(), ahead.into(), |Buffer { desc, span }| {
                pieces += 1;
                within(on, &desc, span.len());
            });
            assert!(pieces <= slots && slots <= ready.saturating_sub(ahead.into()));
        }
        Receive::Piece { ahead } => {
            end.ready(usize::MAX)?;
            if let Some(Ok(Buffer { desc, span })) = end.piece(on.regions(), ahead.into()) {
                within(on, &desc, span.len());
            }
        }
        Receive::Release { slots } => end.release(slots.into()),
        Receive::Flush => end.flush(),
    }
    assert!(usize::from(end.held()) <= size);
    Ok(())
}

fn send(
    on: &MockRegion,
    end: &mut impl Sender,
    step: Send,
    size: usize,
    tally: &mut Tally,
) -> Result<(), PeerFault> {
    match step {
        Send::Burst { seed, count, len } => {
            let lengths = [usize::from(len % 4096), 60];
            let packets: Vec<_> = (0..count % 24)
                .map(|at| packet(seed.wrapping_add(at), lengths[usize::from(at % 2)]))
                .collect();
            let packets: Vec<_> = packets.iter().map(Vec::as_slice).collect();
            let (position, packets_before, dropped) = (end.position(), tally.packets, tally.dropped());
            let done = end.send(on.regions(), &packets[..], tally)?;
            assert!(done <= packets.len());
            assert!(usize::from(end.position().wrapping_sub(position)) <= size);
            assert_eq!(tally.packets - packets_before + tally.dropped() - dropped, done as u64);
        }
        Send::Fill { ahead, length } => {
            let free = end.free(ahead.into())?;
            let found = end.buffer(on.regions(), ahead.into());
            assert!(found.is_none() || u16::from(ahead) < free);
            if let Some(Ok(Buffer { desc, mut span })) = found {
                within(on, &desc, span.len());
                span.copy_from(&packet(ahead, span.len()));
                end.complete(ahead.into(), desc.flags, 0, length.into());
            }
        }
        Send::Commit { slots } => end.commit(slots.into()),
        Send::Reserve { count, len, length, slots } => {
            let free = end.reservable(count.into())?;
            let mut reserved = 0;
            while reserved < u16::from(count)
                && let Some(Ok(Buffer { desc, mut span })) = end.reserve(on.regions(), reserved, len.into())
            {
                assert!(reserved < free);
                within(on, &desc, span.len());
                span.copy_from(&packet(count, span.len()));
                end.complete(reserved, DescFlags::empty(), 0, length.into());
                reserved += 1;
            }
            let position = end.position();
            end.commit(slots.into());
            assert!(end.position().wrapping_sub(position) <= reserved.max(slots.into()));
        }
    }
    assert!(usize::from(end.reservable(0)?) <= size);
    Ok(())
}

fn addresses(table: &[BufferAddr]) -> Vec<(u16, u32)> {
    table.iter().map(|addr| (addr.region(), addr.offset())).collect()
}

/// Until the link ends: a few times over, as what the peer does at a time is chance.
fn work(on: &MockRegion, ring: MockRing<'_>, input: &Input, size: usize) -> Result<(), PeerFault> {
    let (table, mut tally) = (addresses(on.buffers().table()), Tally::default());
    let rounds = 0..8;
    match (&input.work, input.role) {
        (Work::Receive(steps), Role::Slave) => {
            let mut end = HeadReceiver::new(ring, on.buffers());
            end.flush();
            for step in rounds.flat_map(|_| steps) {
                receive(on, &mut end, *step, size, &mut tally)?;
                assert_eq!(addresses(end.buffers().table()), table);
            }
        }
        (Work::Receive(steps), Role::Master) => {
            let mut end = TailReceiver::new(ring);
            rounds.flat_map(|_| steps).try_for_each(|step| receive(on, &mut end, *step, size, &mut tally))?;
        }
        (Work::Send(steps), Role::Slave) => {
            let mut end = HeadSender::new(ring, on.buffers());
            for step in rounds.flat_map(|_| steps) {
                send(on, &mut end, *step, size, &mut tally)?;
                assert_eq!(addresses(end.buffers().table()), table);
            }
        }
        (Work::Send(steps), Role::Master) => {
            let mut end = TailSender::new(ring).with_look_ahead(LOOK_FROM);
            rounds.flat_map(|_| steps).try_for_each(|step| send(on, &mut end, *step, size, &mut tally))?;
        }
    }
    Ok(())
}

fuzz_target!(|input: Input| {
    let log2_size = 1 + input.log2_size % 5;
    let on = region(line_of(input.log2_size), log2_size, 1 + u32::from(input.capacity));
    let (over, began, len) = (AtomicBool::new(false), AtomicBool::new(false), on.len());
    // before the peer spoils the cookie
    let (peer, ring, over, began) = (on.peer(), on.ring(), &over, &began);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (peer, mut index) = (peer, 0);
            while !over.load(Ordering::Acquire) {
                input.writes.iter().for_each(|write| write.commit(&peer, len, input.role, &mut index));
                began.store(true, Ordering::Release);
            }
        });
        while !began.load(Ordering::Acquire) {
            thread::yield_now();
        }
        // a fault ends the link, as it should
        let _ = work(&on, ring, &input, 1 << log2_size);
        over.store(true, Ordering::Release);
    });
});
