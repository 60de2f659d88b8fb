//! The model of a sending end.

use std::ops::Range;

use memif_ring::burst::Tally;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::layout::{Desc, DescFlags, MAX_PACKET_SIZE, MAX_SEGMENTS};
use memif_ring::tuning::{LOOK_FROM, SEND_STEP};

use crate::memory::{Image, Role};
use crate::packing::Packing;

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
    layout: Layout,
}

/// Where a sender puts packets.
#[derive(Clone, Debug)]
enum Layout {
    /// Into the buffers of their slots.
    Fixed,
    /// One behind the other: a slave that was not used in place.
    Packed(Packing),
    /// As `Fixed` once the peer has taken all that was packed; nothing is sent until then.
    Draining,
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
    /// A fresh end. A slave may pack packets.
    pub fn new(role: Role, image: &mut Image, packed: bool) -> Self {
        if role == Role::Master {
            image.set_tail(0);
        }
        let packs = packed && role == Role::Slave;
        let layout = if packs {
            Layout::Packed(Packing::new(image.area(), image.buffers.stride))
        } else {
            Layout::Fixed
        };
        Self { role, own: 0, peer: 0, short: false, layout }
    }

    /// Whether each slot has its buffer.
    pub fn is_fixed(&self) -> bool {
        matches!(self.layout, Layout::Fixed)
    }

    /// How many slots are known to be free.
    fn unused(&self, image: &Image) -> u16 {
        match self.role {
            Role::Slave => image.size() - self.own.wrapping_sub(self.peer),
            Role::Master => self.peer.wrapping_sub(self.own),
        }
    }

    /// How many slots are known to be free and have a buffer: asked for, they get one if nothing is in flight.
    pub fn known(&mut self, image: &Image) -> u16 {
        if self.fix() { self.unused(image) } else { 0 }
    }

    fn fix(&mut self) -> bool {
        if self.own == self.peer {
            self.layout = Layout::Fixed;
        }
        self.is_fixed()
    }

    fn drain(&mut self, image: &Image) -> Result<(), PeerFault> {
        if !self.fix() {
            self.layout = Layout::Draining;
            self.look(image)?;
            self.fix();
        }
        Ok(())
    }

    /// Slots to be used in place.
    pub fn free(&mut self, image: &Image, wanted: usize) -> Result<u16, PeerFault> {
        if !self.is_fixed() {
            self.drain(image)?;
        }
        self.look_for(image, wanted)?;
        Ok(self.known(image))
    }

    fn look_for(&mut self, image: &Image, wanted: usize) -> Result<(), PeerFault> {
        if usize::from(self.unused(image)) < wanted { self.look(image) } else { Ok(()) }
    }

    fn look(&mut self, image: &Image) -> Result<(), PeerFault> {
        let index = self.checked(image)?;
        let moved = index.wrapping_sub(self.peer);
        self.peer = index;
        if let Layout::Packed(packing) = &mut self.layout
            && moved > 0
        {
            packing.taken(moved);
        }
        Ok(())
    }

    /// The peer's index, which is nowhere that an honest one could not be.
    fn checked(&self, image: &Image) -> Result<u16, PeerFault> {
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
        if matches!(self.layout, Layout::Draining) {
            self.drain(image)?;
        }
        let mut looked = self.short;
        if looked {
            self.look_again(image)?
        } else {
            self.look_for(image, packets.len())?
        }
        let (mut done, mut sent) = (0, Vec::new());
        loop {
            done += self.send_known(image, &packets[done..], tally, &mut sent);
            self.short = done < packets.len();
            if !self.short || looked || self.is_fixed() {
                return Ok((done, sent));
            }
            looked = true;
            self.look_again(image)?;
        }
    }

    fn look_again(&mut self, image: &Image) -> Result<(), PeerFault> {
        self.look(image)?;
        if let Layout::Packed(packing) = &mut self.layout {
            packing.reset_if_empty();
        }
        Ok(())
    }

    /// Sends into what is known to be free; returns how many packets are done with.
    fn send_known(
        &mut self,
        image: &mut Image,
        packets: &[Vec<u8>],
        tally: &mut Tally,
        sent: &mut Vec<Vec<u8>>,
    ) -> usize {
        if matches!(self.layout, Layout::Draining) {
            return 0;
        }
        let until = self.own.wrapping_add(self.unused(image));
        let (start, mut done) = (self.own, 0);
        loop {
            let step = self.looks_at(packets.get(done));
            // places of the packets whose bytes are in place, and whose descriptors follow
            let mut run = Vec::new();
            loop {
                let fates = (run.len() as u16..).zip(&packets[done..]).take(step);
                let fits = fates.map_while(|(ahead, packet)| self.fate(image, until, ahead, packet).in_one());
                let places: Vec<_> = fits.collect();
                for (place, packet) in places.iter().zip(&packets[done..]) {
                    image.write(place.start, packet);
                    self.put(packet.len());
                    run.push(place.start..place.start + packet.len());
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
            run.into_iter().for_each(|place| self.fill(image, DescFlags::empty(), place));
            let Some(packet) = packets.get(done) else { break };
            let Some(was_sent) = self.send_other(image, until, packet, tally) else { break };
            sent.extend(was_sent.then(|| packet.clone()));
            done += 1;
        }
        if let Layout::Packed(packing) = &mut self.layout {
            packing.end_burst(self.own.wrapping_sub(start));
        }
        if self.own != start {
            self.publish(image);
        }
        done
    }

    /// Takes the bytes of the next slot's packet, where they are taken one behind the other.
    fn put(&mut self, len: usize) {
        if let Layout::Packed(packing) = &mut self.layout {
            packing.put(len as u32).expect("as its fate said");
        }
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
                (0..slots).for_each(|_| self.fill(image, DescFlags::empty(), 0..0));
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
        let mut layout = self.layout.clone();
        let (mut places, mut capacity, mut at) = (Vec::new(), 0, start);
        while capacity < packet.len() {
            let slots = at.wrapping_sub(start);
            if places.len() == MAX_SEGMENTS || slots == image.size() {
                return Fate::Dropped(0, DropReason::TooLarge);
            }
            if at == until {
                return Fate::Waits;
            }
            let buffer = match &mut layout {
                Layout::Packed(packing) => {
                    let length = image.buffers.capacity.min((packet.len() - capacity) as u32);
                    let Some(offset) = packing.put(length) else { return Fate::Waits };
                    Desc { length, offset, ..image.posted(at) }
                }
                _ => self.buffer(image, at),
            };
            match image.place(&buffer) {
                // only a slot that has a buffer has one to give back
                Err(reason) => return Fate::Dropped(if self.is_fixed() { slots + 1 } else { 0 }, reason),
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
            self.put(piece.len());
            let place = place.start..place.start + piece.len();
            self.fill(image, DescFlags::next_if(!more.is_empty()), place);
            rest = more;
        }
    }

    /// Writes our next slot's descriptor, of the bytes at `place`, and goes on to the one behind it.
    fn fill(&mut self, image: &mut Image, flags: DescFlags, place: Range<usize>) {
        let length = place.len() as u32;
        if self.is_fixed() {
            self.write(image, self.own, flags, length);
        } else {
            let desc = Desc { flags, length, offset: place.start as u32, ..image.posted(self.own) };
            image.set_desc(self.own, desc);
        }
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

    /// Publishes slots. In the packed layout none has bytes: nothing is reserved here.
    pub fn commit(&mut self, image: &mut Image, slots: u16) {
        if matches!(self.layout, Layout::Packed(_)) {
            return;
        }
        let slots = slots.min(self.known(image));
        if slots > 0 {
            self.own = self.own.wrapping_add(slots);
            self.publish(image);
        }
    }
}
