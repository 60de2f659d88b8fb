//! Where the queue handles of an interface are kept: one cell a queue, in memory that is never freed.
//!
//! A data call goes straight to its cell and takes the cell's lock, which no other thread wants: queues share no lock, count
//! or cache line. The lock keeps a program harmless that uses one queue on two threads, and makes a delete wait for the data
//! call that is running.

use std::sync::{Arc, OnceLock};

use crossbeam_utils::CachePadded;
use memif_pmd::raw::LinkMemory;
use memif_pmd::{RxQueue, TxQueue};

use crate::code::{Code, Outcome};
use crate::external::ExternalRegions;
use crate::packets::Packets;
use crate::sync::{Mutex, MutexGuard, lock};

/// Most queues of one direction that C can ask for: it counts them with 8 bits.
const MAX_QUEUES: usize = 255;

/// A queue handle as a cell keeps it.
pub(crate) trait Queue {
    /// Whether packets are received from it, or sent to it.
    const RECEIVES: bool;

    /// Tells one link from the next; `None` while there is none. Takes up a new link, and lets go of one that is gone.
    fn link_epoch(&mut self) -> Option<u64>;

    /// Keeps the memory of the present link mapped.
    fn memory(&mut self) -> Option<LinkMemory>;

    /// Posts all buffers that can be posted.
    fn post_all(&mut self);
}

impl Queue for RxQueue {
    const RECEIVES: bool = true;

    #[inline(always)]
    fn link_epoch(&mut self) -> Option<u64> {
        self.raw().epoch()
    }

    fn memory(&mut self) -> Option<LinkMemory> {
        self.raw().memory()
    }

    fn post_all(&mut self) {
        self.raw().post(u16::MAX, 0);
    }
}

impl Queue for TxQueue {
    const RECEIVES: bool = false;

    #[inline(always)]
    fn link_epoch(&mut self) -> Option<u64> {
        self.raw().epoch()
    }

    fn memory(&mut self) -> Option<LinkMemory> {
        self.raw().memory()
    }

    fn post_all(&mut self) {} // a transmit queue has nothing to post
}

/// What a data call must know of the interface.
#[derive(Clone, Default)]
pub(crate) struct Traits {
    pub(crate) is_master: bool,
    /// Receive buffers are posted as soon as there is a link.
    pub(crate) posts_itself: bool,
    /// Bytes of a buffer that this side asked for; a slave's are that long.
    pub(crate) buffer_size: u16,
    /// Packet memory that the program adds for each link.
    pub(crate) external: Option<Arc<ExternalRegions>>,
}

impl Traits {
    /// The program's regions, if the program says where each buffer is in them.
    #[inline(always)]
    pub(crate) fn placing(&self) -> Option<Arc<ExternalRegions>> {
        self.external.as_ref().filter(|external| external.places_buffers()).cloned()
    }

    /// From where a link's packet memory is mapped to where the program has it.
    fn shift(&self, memory: &LinkMemory) -> isize {
        let found = self.external.as_ref().zip(memory.packets_ptr());
        let shift = found.and_then(|(external, start)| {
            let address = external.address_at(start.addr().get())?;
            Some(address.addr().wrapping_sub(start.addr().get()).cast_signed())
        });
        shift.unwrap_or(0)
    }
}

/// An interface: its place in the table, and which of those that have had the place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owner {
    pub(crate) place: u16,
    pub(crate) generation: u64,
}

type Slot<Q> = OnceLock<Box<CachePadded<Mutex<QueueCell<Q>>>>>;

/// The cells of one direction.
pub(crate) struct Cells<Q>([Slot<Q>; MAX_QUEUES]);

impl<Q> Default for Cells<Q> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; MAX_QUEUES])
    }
}

/// One queue, and whose it is.
pub(crate) struct QueueCell<Q> {
    generation: u64,
    pub(crate) queue: Option<Q>,
    pub(crate) traits: Traits,
    /// From where we have the link's packet memory to where the program has it; 0 for our own.
    shift: isize,
    /// Places of buffers that the program names, kept for its memory.
    pub(crate) offsets: Vec<u32>,
    /// Buffers that the program holds, which it may still read and write.
    pub(crate) in_use: u32,
    /// Those of them that are packets in one piece.
    pub(crate) packets: Packets,
    /// Of the present link.
    memory: Option<LinkMemory>,
    /// Of a link before, whose buffers the program held when it ended: it stays until the program asks the queue for
    /// something.
    old: Option<(Option<LinkMemory>, Packets)>,
    /// The link that buffers are handed out of.
    epoch: Option<u64>,
    /// The cell and its present link, which is counted over all interfaces that have had the cell.
    tag: Tag,
}

/// A queue that has a link.
pub(crate) struct Linked<'c, Q> {
    pub(crate) queue: &'c mut Q,
    /// What buffers of the link carry as their `queue`.
    pub(crate) tag: Tag,
    /// That of the [`QueueCell`].
    pub(crate) shift: isize,
    /// Those of the [`QueueCell`].
    pub(crate) packets: &'c mut Packets,
}

impl<Q> Default for QueueCell<Q> {
    fn default() -> Self {
        Self {
            generation: 0,
            queue: None,
            traits: Traits::default(),
            shift: 0,
            offsets: Vec::new(),
            in_use: 0,
            packets: Packets::default(),
            memory: None,
            old: None,
            epoch: None,
            tag: Tag::default(),
        }
    }
}

impl<Q: Queue> Cells<Q> {
    /// Puts the queues of a new interface in.
    pub(crate) fn fill(
        &self,
        owner: Owner,
        traits: &Traits,
        queues: impl Iterator<Item = Result<Q, memif_pmd::Error>>,
    ) -> Outcome {
        let (receives, place, generation) = (Q::RECEIVES, owner.place, owner.generation);
        for (number, (cell, queue)) in (0..).zip(self.0.iter().zip(queues)) {
            let mut cell = lock(cell.get_or_init(Box::default));
            let tag = Tag { receives, place, queue: number, link: cell.tag.link };
            let traits = traits.clone();
            *cell = QueueCell { generation, queue: Some(queue?), traits, tag, ..QueueCell::default() };
        }
        Ok(())
    }

    /// Takes the queues of an interface out, and waits for the data calls that are running. Memory whose buffers the program
    /// holds stays mapped until the program asks for the queue again and hears that it is gone, or the cell is used again.
    pub(crate) fn clear(&self, generation: u64) {
        self.each_of(generation, |cell| {
            cell.keep_memory();
            cell.queue = None;
        });
    }

    /// The link of an interface is gone, or there is another: takes up what there is.
    pub(crate) fn relink(&self, generation: u64) {
        self.each_of(generation, |cell| {
            cell.link();
        });
    }

    fn each_of(&self, generation: u64, mut act: impl FnMut(&mut QueueCell<Q>)) {
        for cell in self.0.iter().filter_map(OnceLock::get) {
            let mut cell = lock(cell);
            if cell.generation == generation {
                act(&mut cell);
            }
        }
    }

    /// The cell of a queue, if it has ever been in use.
    #[inline(always)]
    pub(crate) fn get(&self, queue: u16) -> Option<&Mutex<QueueCell<Q>>> {
        self.0.get(usize::from(queue))?.get().map(|cell| &***cell)
    }

    /// The cell of an interface's queue, locked for the length of one data call; `None` if the interface has no such queue,
    /// or is gone.
    #[inline(always)]
    pub(crate) fn hold(&self, generation: u64, queue: u16) -> Option<MutexGuard<'_, QueueCell<Q>>> {
        let mut cell = lock(self.get(queue)?);
        if !cell.is_of(generation) {
            cell.old = cell.old.take().filter(|_| cell.generation != generation);
            return None;
        }
        Some(cell)
    }
}

impl<Q: Queue> QueueCell<Q> {
    #[inline(always)]
    fn is_of(&self, generation: u64) -> bool {
        self.generation == generation && self.queue.is_some()
    }

    /// What buffers of the present link carry as their `queue`; `None` while there is no link. Buffers of the link before
    /// are not the program's any more.
    #[inline(always)]
    pub(crate) fn link(&mut self) -> Option<Tag> {
        let epoch = self.queue.as_mut()?.link_epoch();
        if epoch != self.epoch {
            self.relink(epoch);
        }
        epoch.map(|_| self.tag)
    }

    /// The queue while there is a link, for a call of the program's.
    ///
    /// # Errors
    /// [`Code::Disconnected`]
    #[inline(always)]
    pub(crate) fn linked(&mut self) -> Result<Linked<'_, Q>, Code> {
        let tag = self.link();
        // what the program holds of another link it hears of now
        if self.old.is_some() {
            self.old = None;
        }
        let tag = tag.ok_or(Code::Disconnected)?;
        let queue = self.queue.as_mut().ok_or(Code::NoConn)?;
        Ok(Linked { queue, tag, shift: self.shift, packets: &mut self.packets })
    }

    #[cold]
    fn relink(&mut self, epoch: Option<u64>) {
        self.keep_memory();
        self.epoch = epoch;
        self.tag.link += 1;
        let Some(queue) = self.queue.as_mut().filter(|_| epoch.is_some()) else { return };
        self.memory = queue.memory();
        self.shift = self.memory.as_ref().map_or(0, |memory| self.traits.shift(memory));
        if self.traits.posts_itself {
            queue.post_all();
        }
    }

    /// The link is gone: what the program holds of it stays mapped, unless the memory is the program's own.
    fn keep_memory(&mut self) {
        let memory = self.memory.take().filter(|_| self.traits.external.is_none());
        let packets = std::mem::take(&mut self.packets);
        if std::mem::take(&mut self.in_use) > 0 {
            self.old = Some((memory, packets));
        }
    }
}

/// What the `queue` of a `memif_buffer_t` says: which cell it is of, and which link of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    /// Transmit queues come first where two cells are locked, and then the order of these fields.
    pub(crate) receives: bool,
    pub(crate) place: u16,
    pub(crate) queue: u8,
    pub(crate) link: u64,
}

const LINK_SHIFT: u32 = 25;

impl Tag {
    /// Whether both are of one cell, though maybe of different links.
    pub(crate) const fn is_of_cell(self, other: Self) -> bool {
        self.receives == other.receives && self.place == other.place && self.queue == other.queue
    }

    #[inline(always)]
    pub(crate) fn to_number(self) -> usize {
        let number = self.link << LINK_SHIFT
            | u64::from(self.receives) << 24
            | u64::from(self.queue) << 16
            | u64::from(self.place);
        #[expect(clippy::cast_possible_truncation, reason = "pointers have 64 bits, see lib.rs")]
        let number = number as usize;
        number
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "bits that are cut out")]
    pub(crate) fn from_number(number: usize) -> Self {
        let number = number as u64;
        Self {
            receives: number >> 24 & 1 != 0,
            place: number as u16,
            queue: (number >> 16) as u8,
            link: number >> LINK_SHIFT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_the_way_through_a_pointer() {
        for receives in [false, true] {
            for (place, queue, link) in [(0, 0, 0), (8191, 254, 1), (u16::MAX, u8::MAX, (1 << 39) - 1)] {
                let tag = Tag { receives, place, queue, link };
                assert_eq!(Tag::from_number(tag.to_number()), tag);
            }
        }
    }
}
