//! The model of a sending end.

use std::ops::Range;

use memif_ring::burst::Tally;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::layout::{Desc, DescFlags, MAX_PACKET_SIZE, MAX_SEGMENTS};
use memif_ring::tuning::{LOOK_FROM, SEND_STEP};

use crate::memory::{Image, Role};

/// What a sending end knows.
#[derive(Clone, Debug)]
pub struct Sender {
    role: Role,
    /// Our index: `head` of a slave, `tail` of a master.
    own: u16,
    /// The peer's index, when we last looked.
    peer: u16,
    /// The last burst did not fit, so look again before the next.
    short: bool,
}

/// What becomes of one packet.
enum Fate {
    /// It goes into these places, one a slot.
    Fits(Vec<Range<usize>>),
    /// So many slots are given up with it.
    Dropped(u16, DropReason),
    Waits,
}

impl Fate {
    /// The place of a packet that fits into one buffer.
    fn in_one(self) -> Option<Range<usize>> {
        match self {
            Self::Fits(places) if places.len() == 1 => places.into_iter().next(),
            _ => None,
        }
    }
}

impl Sender {
    /// A fresh end.
    pub fn new(role: Role, image: &mut Image) -> Self {
        if role == Role::Master {
            image.set_tail(0);
        }
        Self { role, own: 0, peer: 0, short: false }
    }

    /// How many slots are known to be free.
    pub fn known(&self, image: &Image) -> u16 {
        match self.role {
            Role::Slave => image.size() - self.own.wrapping_sub(self.peer),
            Role::Master => self.peer.wrapping_sub(self.own),
        }
    }

    pub fn free(&mut self, image: &Image, wanted: usize) -> Result<u16, PeerFault> {
        if usize::from(self.known(image)) < wanted {
            self.peer = self.look(image)?;
        }
        Ok(self.known(image))
    }

    fn look(&self, image: &Image) -> Result<u16, PeerFault> {
        let (index, limit) = match self.role {
            Role::Slave => (image.tail(), self.own),
            Role::Master => (image.head(), self.own.wrapping_add(image.size())),
        };
        let mut at = self.peer;
        loop {
            if at == index {
                return Ok(index);
            }
            if at == limit {
                break;
            }
            at = at.wrapping_add(1);
        }
        let size = image.size().into();
        Err(match self.role {
            Role::Slave => PeerFault::TailTooFar { tail: index, head: self.own, size },
            Role::Master => PeerFault::HeadTooFar { head: index, tail: self.own, size },
        })
    }

    /// How many of `packets` are done with, and which of those were sent.
    pub fn send(
        &mut self,
        image: &mut Image,
        packets: &[Vec<u8>],
        tally: &mut Tally,
    ) -> Result<(usize, Vec<Vec<u8>>), PeerFault> {
        self.free(image, if self.short { usize::MAX } else { packets.len() })?;
        let until = self.own.wrapping_add(self.known(image));
        let (start, mut done, mut sent) = (self.own, 0, Vec::new());
        loop {
            let step = self.looks_at(packets.get(done));
            // lengths of the packets whose bytes are in place, and whose descriptors follow
            let mut run = Vec::new();
            loop {
                let fates = (run.len() as u16..).zip(&packets[done..]).take(step);
                let fits = fates.map_while(|(ahead, packet)| self.fate(image, until, ahead, packet).in_one());
                let places: Vec<_> = fits.collect();
                for (place, packet) in places.iter().zip(&packets[done..]) {
                    image.write(place.start, packet);
                    run.push(packet.len() as u32);
                    tally.packets += 1;
                    tally.bytes += packet.len() as u64;
                    sent.push(packet.clone());
                }
                done += places.len();
                if places.len() < step {
                    break;
                }
            }
            // descriptors may lie where the peer says that buffers are, so it is looked at anew behind them
            run.into_iter().for_each(|length| self.fill(image, DescFlags::empty(), length));
            let Some(packet) = packets.get(done) else { break };
            let Some(was_sent) = self.send_other(image, until, packet, tally) else { break };
            sent.extend(was_sent.then(|| packet.clone()));
            done += 1;
        }
        if self.own != start {
            self.publish(image);
        }
        self.short = done < packets.len();
        Ok((done, sent))
    }

    /// Buffers that are looked at before any is written: the peer may have laid them over the descriptors of the next.
    fn looks_at(&self, first: Option<&Vec<u8>>) -> usize {
        let looks_ahead = self.role == Role::Master && first.is_some_and(|packet| packet.len() >= LOOK_FROM);
        if looks_ahead { SEND_STEP } else { 1 }
    }

    /// Sends or drops a packet that does not fit into one buffer: whether it was sent. `None` if it has to wait.
    fn send_other(
        &mut self,
        image: &mut Image,
        until: u16,
        packet: &[u8],
        tally: &mut Tally,
    ) -> Option<bool> {
        match self.fate(image, until, 0, packet) {
            Fate::Waits => None,
            Fate::Dropped(slots, reason) => {
                tally.count_drop(reason);
                (0..slots).for_each(|_| self.fill(image, DescFlags::empty(), 0));
                Some(false)
            }
            Fate::Fits(places) => {
                tally.packets += 1;
                tally.bytes += packet.len() as u64;
                self.scatter(image, &places, packet);
                Some(true)
            }
        }
    }

    /// What becomes of a packet for which the slots begin `ahead` of our next one.
    fn fate(&self, image: &Image, until: u16, ahead: u16, packet: &[u8]) -> Fate {
        if packet.is_empty() {
            return Fate::Dropped(0, DropReason::Empty);
        }
        if packet.len() > MAX_PACKET_SIZE {
            return Fate::Dropped(0, DropReason::Oversized);
        }
        let start = self.own.wrapping_add(ahead);
        let (mut places, mut capacity, mut at) = (Vec::new(), 0, start);
        while capacity < packet.len() {
            let slots = at.wrapping_sub(start);
            if places.len() == MAX_SEGMENTS || slots == image.size() {
                return Fate::Dropped(0, DropReason::TooLarge);
            }
            if at == until {
                return Fate::Waits;
            }
            match image.place(&self.buffer(image, at)) {
                Err(reason) => return Fate::Dropped(slots + 1, reason),
                Ok(place) if place.is_empty() => return Fate::Dropped(slots + 1, DropReason::OutOfRegion),
                Ok(place) => {
                    capacity += place.len();
                    places.push(place);
                }
            }
            at = at.wrapping_add(1);
        }
        Fate::Fits(places)
    }

    /// The buffer of a slot: the slave knows its own, the master is told.
    fn buffer(&self, image: &Image, index: u16) -> Desc {
        match self.role {
            Role::Slave => image.posted(index),
            Role::Master => image.desc(index),
        }
    }

    fn scatter(&mut self, image: &mut Image, places: &[Range<usize>], packet: &[u8]) {
        let mut rest = packet;
        for place in places {
            let (piece, more) = rest.split_at(place.len().min(rest.len()));
            image.write(place.start, piece);
            self.fill(image, DescFlags::next_if(!more.is_empty()), piece.len() as u32);
            rest = more;
        }
    }

    /// Writes our next slot's descriptor and goes on to the one behind it.
    fn fill(&mut self, image: &mut Image, flags: DescFlags, length: u32) {
        self.write(image, self.own, flags, length);
        self.own = self.own.wrapping_add(1);
    }

    fn write(&self, image: &mut Image, index: u16, flags: DescFlags, length: u32) {
        match self.role {
            Role::Slave => image.set_desc(index, Desc { flags, length, ..image.posted(index) }),
            Role::Master => image.complete(index, flags, length),
        }
    }

    fn publish(&self, image: &mut Image) {
        match self.role {
            Role::Slave => image.set_head(self.own),
            Role::Master => image.set_tail(self.own),
        }
    }

    /// The `ahead`-th free buffer, for filling in place.
    pub fn peek(&self, image: &Image, ahead: u16) -> Result<Desc, DropReason> {
        let desc = self.buffer(image, self.own.wrapping_add(ahead));
        image.place(&desc).map(|_| desc)
    }

    /// Writes the `ahead`-th free slot; a slave never says more than its buffers hold.
    pub fn complete(&self, image: &mut Image, ahead: u16, flags: DescFlags, length: u32) {
        let index = self.own.wrapping_add(ahead);
        let length = if self.role == Role::Slave { length.min(image.buffers.capacity) } else { length };
        self.write(image, index, flags, length);
    }

    pub fn commit(&mut self, image: &mut Image, slots: u16) {
        let slots = slots.min(self.known(image));
        if slots > 0 {
            self.own = self.own.wrapping_add(slots);
            self.publish(image);
        }
    }
}
