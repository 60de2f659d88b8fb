//! Chains of any shape and length, also of more descriptors than a packet may have, received by a master in one go or
//! in small bites: packets and counts are as the model says, and no call does more than is published.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use memif_fuzz::memory::{Edge, Inbox, Role, Twin, packet, region};
use memif_fuzz::receiver::Receiver;
use memif_ring::burst::Tally;
use memif_ring::end::Receiver as _;
use memif_ring::fault::DropReason;
use memif_ring::layout::{Desc, DescFlags, LineSize};
use memif_ring::tail_side::TailReceiver;

const LOG2_SIZE: u8 = 11;
const SIZE: u16 = 1 << LOG2_SIZE;

#[derive(Arbitrary, Debug)]
struct Input {
    runs: Vec<Repeat>,
    /// How many packets each call may take.
    rooms: [u8; 8],
    /// Whether the chains lie across the ring's end.
    ahead: u16,
}

/// Descriptors that are alike.
#[derive(Arbitrary, Debug)]
struct Repeat {
    times: u16,
    next: bool,
    other_flags: u8,
    stranger: Option<u8>,
    offset: Edge,
    length: Piece,
}

#[derive(Arbitrary, Debug)]
enum Piece {
    None,
    One,
    Few(u8),
    /// Chains of these come close to the longest packet.
    Large(u8),
    Any(Edge),
}

impl Repeat {
    fn desc(&self) -> Desc {
        let length = match self.length {
            Piece::None => 0,
            Piece::One => 1,
            Piece::Few(bytes) => bytes.into(),
            Piece::Large(less) => 8192 - u32::from(less),
            Piece::Any(edge) => edge.0,
        };
        let others = DescFlags::from_bits_retain(u16::from(self.other_flags) << 1);
        let flags = others | DescFlags::next_if(self.next);
        let region = self.stranger.unwrap_or_default().into();
        Desc { flags, region, length, offset: self.offset.0, metadata: 0 }
    }
}

fuzz_target!(|input: Input| {
    let line = if input.ahead < 1 << 15 { LineSize::Bytes64 } else { LineSize::Bytes128 };
    let shared = region(line, LOG2_SIZE, 64);
    let mut twin = Twin::new(&shared, 64, None);
    let first = twin.image.buffers.first as usize;
    twin.poke(first, &packet(1, 9000));
    let mut real = TailReceiver::new(twin.shared.ring());
    let mut model = Receiver::new(Role::Master, &mut twin.image);

    let ahead = input.ahead % SIZE;
    twin.set_head(ahead);
    assert_eq!(real.ready(1), model.ready(&twin.image, 1));
    real.release(ahead);
    model.release(&mut twin.image, ahead);
    assert_eq!(real.receive(twin.shared.regions(), &mut Inbox::new(1), &mut Tally::default()), Ok(0));
    assert_eq!(model.receive(&mut twin.image, 1, &mut Tally::default()), Ok((0, vec![])));

    let descs = input.runs.iter().flat_map(|run| (0..run.times % 1100).map(|_| run.desc()));
    let mut head = ahead;
    for desc in descs.take(SIZE.into()) {
        twin.set_desc(head, desc);
        head = head.wrapping_add(1);
    }
    twin.set_head(head);

    let (mut tally, mut model_tally) = (Tally::default(), Tally::default());
    let mut left = usize::from(head.wrapping_sub(ahead));
    for room in input.rooms {
        if model.ready(&twin.image, room.into()) != Ok(0) {
            assert_eq!(real.ready(room.into()), model.ready(&twin.image, room.into()));
            let mut visited = Vec::new();
            let (slots, verdict) = real.peek(twin.shared.regions(), 0, |piece| visited.push(piece.desc));
            assert_eq!((slots, verdict, visited), model.peek(&twin.image, 0));
        }
        let mut inbox = Inbox::new(room.into());
        let consumed = real.receive(twin.shared.regions(), &mut inbox, &mut tally).unwrap();
        let want = model.receive(&mut twin.image, room.into(), &mut model_tally).unwrap();
        assert_eq!((consumed, inbox.packets), want);
        assert_eq!(tally, model_tally);
        assert_eq!(tally.dropped(), DropReason::ALL.iter().map(|reason| tally.dropped_for(*reason)).sum());
        left -= consumed;
    }
    assert!(left == 0 || input.rooms.iter().map(|room| u64::from(*room)).sum::<u64>() >= tally.packets);
    twin.check();
});
