//! The model of a receiving end.

use memif_ring::burst::Tally;
use memif_ring::fault::{DropReason, PeerFault};
use memif_ring::layout::{Desc, DescFlags, MAX_PACKET_SIZE, MAX_SEGMENTS};

use crate::memory::{Image, Role};

/// What a receiving end knows.
#[derive(Clone, Debug)]
pub struct Receiver {
    role: Role,
    /// Our index as the peer sees it: `tail` of a master, `head` of a slave.
    own: u16,
    /// The next descriptor to look at.
    next: u16,
    /// The peer's index, when we last looked.
    peer: u16,
    /// Descriptors from the next one on in which chains were peeked.
    chained: u16,
}

/// One packet, or what was in its place.
struct Found {
    end: u16,
    verdict: Result<Vec<u8>, DropReason>,
}

impl Receiver {
    /// A fresh end; a slave has posted its buffers.
    pub fn new(role: Role, image: &mut Image) -> Self {
        let mut receiver = Self { role, own: 0, next: 0, peer: 0, chained: 0 };
        match role {
            Role::Slave => receiver.post(image),
            Role::Master => image.set_tail(0),
        }
        receiver
    }

    /// How many descriptors are known to be ready.
    pub fn known(&self) -> u16 {
        self.peer.wrapping_sub(self.next)
    }

    pub fn ready(&mut self, image: &Image, wanted: usize) -> Result<u16, PeerFault> {
        if usize::from(self.known()) < wanted {
            self.peer = self.look(image)?;
        }
        Ok(self.known())
    }

    /// The peer's index, if a walk forward from where it was last seen gets there before the end of what it owns.
    fn look(&self, image: &Image) -> Result<u16, PeerFault> {
        let (index, limit) = match self.role {
            Role::Master => (image.head(), self.own.wrapping_add(image.size())),
            Role::Slave => (image.tail(), self.own),
        };
        if self.walk_reaches(index, limit) {
            return Ok(index);
        }
        let size = image.size().into();
        Err(match self.role {
            Role::Master => PeerFault::HeadTooFar { head: index, tail: self.own, size },
            Role::Slave => PeerFault::TailTooFar { tail: index, head: self.own, size },
        })
    }

    /// Whether a walk forward from where the peer was last seen gets to `index` before the end of what it owns.
    fn walk_reaches(&self, index: u16, limit: u16) -> bool {
        let mut at = self.peer;
        while at != index && at != limit {
            at = at.wrapping_add(1);
        }
        at == index
    }

    /// Goes on at the index of a slave that has gone too far; returns how many descriptors that passes over.
    pub fn resynchronise(&mut self, image: &mut Image) -> u16 {
        let (head, size) = (image.head(), image.size());
        let mut lost = 0;
        if !self.walk_reaches(head, self.next.wrapping_add(size)) {
            lost = head.wrapping_sub(self.next);
            self.chained = 0;
            self.next = head.wrapping_sub(size / 2);
            self.clear_next(image, head);
            self.next = head;
        }
        self.peer = head;
        self.own = self.next;
        image.set_tail(self.own);
        lost
    }

    /// The packets that a sink of `room` gets, and how many descriptors that consumes.
    pub fn receive(
        &mut self,
        image: &mut Image,
        room: usize,
        tally: &mut Tally,
    ) -> Result<(usize, Vec<Vec<u8>>), PeerFault> {
        self.ready(image, room)?;
        let (start, mut packets) = (self.next, Vec::new());
        while self.next != self.peer {
            let found = self.find(image);
            match found.verdict {
                Ok(_) if packets.len() == room => break,
                Ok(packet) => {
                    tally.packets += 1;
                    tally.bytes += packet.len() as u64;
                    packets.push(packet);
                }
                Err(reason) => {
                    tally.count_drop(reason);
                }
            }
            self.clear_next(image, found.end);
            self.next = found.end;
        }
        let consumed = self.next.wrapping_sub(start);
        self.give_back(image, consumed == 0);
        Ok((consumed.into(), packets))
    }

    /// The packet at `next`: the descriptors up to the first without NEXT, or up to the last that is published.
    fn find(&self, image: &Image) -> Found {
        let (mut bytes, mut total) = (Vec::new(), 0);
        let (mut at, mut segments, mut fault) = (self.next, 0, None);
        loop {
            let desc = image.desc(at);
            segments += 1;
            match self.resolve(image, at, &desc) {
                Ok(_) if segments > MAX_SEGMENTS => fault = fault.or(Some(DropReason::ChainTooLong)),
                Ok(place) => {
                    total += place.len();
                    bytes.extend_from_slice(&image.bytes[place]);
                }
                Err(reason) => fault = fault.or(Some(reason)),
            }
            at = at.wrapping_add(1);
            if desc.flags.bits() & 1 == 0 {
                break;
            }
            if at == self.peer {
                fault = fault.or(Some(DropReason::ChainBroken));
                break;
            }
        }
        let size = match total {
            0 => Some(DropReason::Empty),
            1..=MAX_PACKET_SIZE => None,
            _ => Some(DropReason::Oversized),
        };
        Found { end: at, verdict: fault.or(size).map_or(Ok(bytes), Err) }
    }

    /// A master takes every place within a region; a slave only that which it posted, and no longer.
    fn resolve(&self, image: &Image, index: u16, desc: &Desc) -> Result<std::ops::Range<usize>, DropReason> {
        if self.role == Role::Slave {
            let posted = image.posted(index);
            if (desc.region, desc.offset) != (posted.region, posted.offset) {
                return Err(DropReason::BufferChanged);
            }
            if desc.length > posted.length {
                return Err(DropReason::OutOfRegion);
            }
        }
        image.place(desc)
    }

    /// What `peek` hands out and returns for the packet that many descriptors ahead.
    pub fn peek(&mut self, image: &Image, ahead: u16) -> (u16, Result<(), DropReason>, Vec<Desc>) {
        let from = self.next.wrapping_add(ahead);
        let (mut at, mut verdict, mut visited) = (from, Ok(()), Vec::new());
        loop {
            let desc = image.desc(at);
            if verdict.is_ok() {
                verdict = self.resolve(image, at, &desc).map(|_| visited.push(desc));
            }
            at = at.wrapping_add(1);
            if desc.flags.bits() & 1 == 0 {
                break;
            }
            if at == self.peer {
                verdict = verdict.and(Err(DropReason::ChainBroken));
                break;
            }
        }
        if image.desc(from).flags.contains(DescFlags::NEXT) {
            self.chained = self.chained.max(at.wrapping_sub(self.next));
        }
        (at.wrapping_sub(from), verdict, visited)
    }

    pub fn release(&mut self, image: &mut Image, slots: u16) {
        let slots = slots.min(self.known());
        self.clear_next(image, self.next.wrapping_add(slots.min(self.chained)));
        self.chained = self.chained.saturating_sub(slots);
        self.next = self.next.wrapping_add(slots);
        self.give_back(image, false);
    }

    /// A master leaves no NEXT in the descriptors of packets that it has consumed.
    fn clear_next(&self, image: &mut Image, end: u16) {
        let mut at = self.next;
        while self.role == Role::Master && at != end {
            let desc = image.desc(at);
            image.set_desc(at, Desc { flags: desc.flags - DescFlags::NEXT, ..desc });
            at = at.wrapping_add(1);
        }
    }

    /// In lots of more than a quarter ring, or all when there was nothing to do.
    fn give_back(&mut self, image: &mut Image, idle: bool) {
        let waiting = match self.role {
            Role::Master => self.next.wrapping_sub(self.own),
            Role::Slave => image.size() - self.own.wrapping_sub(self.next),
        };
        if waiting == 0 || !(idle || waiting > image.size() / 4) {
            return;
        }
        match self.role {
            Role::Slave => self.post(image),
            Role::Master => {
                self.own = self.next;
                image.set_tail(self.own);
            }
        }
    }

    fn post(&mut self, image: &mut Image) {
        while self.own.wrapping_sub(self.next) != image.size() {
            image.set_desc(self.own, image.posted(self.own));
            self.own = self.own.wrapping_add(1);
        }
        image.set_head(self.own);
    }
}
