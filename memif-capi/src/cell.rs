//! Where the queue handles of a connection live: one cell a queue, in a place that is never freed.
//!
//! A data call goes straight to its cell and takes the cell's lock, which nobody else wants: no lock, count or cache line
//! is shared between queues. The lock is what makes a program harmless that breaks the rule of one thread a queue, and
//! what a delete waits on while a data call is under way.

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, OnceLock};

use crossbeam_utils::CachePadded;

use crate::code::{Code, Outcome};
use crate::handle::{Id, Kind, Table};
use crate::socket::lock;
use crate::v1::packets::Packets;

/// Most queues of one direction that C can ask for: it counts them with 8 bits.
const MAX_QUEUES: usize = 255;

/// A queue handle as a cell keeps it.
pub(crate) trait Queue {
    /// Tells one link from the next; `None` while there is none. Takes up a new link, and lets go of one that is gone.
    fn link_epoch(&mut self) -> Option<u64>;

    /// Posts all that there is to post.
    fn post_all(&mut self);
}

/// What a data call must know of the interface.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traits {
    pub(crate) is_master: bool,
    /// Receive buffers are posted as soon as there is a link.
    pub(crate) posts_itself: bool,
    /// Bytes of a buffer that this side asked for; a slave's are that long.
    pub(crate) buffer_size: u16,
    /// From where we have packet memory mapped to where the program has it, which gave it to us; 0 for our own.
    pub(crate) shift: isize,
}

type Slot<Q> = OnceLock<Box<CachePadded<Mutex<Cell<Q>>>>>;

/// The cells of one direction.
pub(crate) struct Cells<Q>([Slot<Q>; MAX_QUEUES]);

impl<Q> Default for Cells<Q> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; MAX_QUEUES])
    }
}

/// One queue, and whose it is.
pub(crate) struct Cell<Q> {
    /// Of the connection whose queue this is.
    generation: u64,
    pub(crate) queue: Option<Q>,
    pub(crate) traits: Traits,
    /// Buffers in the program's hands, which it may still read and write.
    pub(crate) in_use: u32,
    /// What 1.0 knows of them.
    pub(crate) packets: Packets,
    /// The connection is gone; its queue stays for as long as the program may use buffers of it.
    dead: bool,
    /// The link that buffers are handed out of, and how many there have been in this cell, over all connections.
    epoch: Option<u64>,
    links: u64,
}

impl<Q> Default for Cell<Q> {
    fn default() -> Self {
        Self {
            generation: 0,
            queue: None,
            traits: Traits::default(),
            in_use: 0,
            packets: Packets::default(),
            dead: false,
            epoch: None,
            links: 0,
        }
    }
}

impl<Q: Queue> Cells<Q> {
    /// Puts the queues of a new connection in.
    pub(crate) fn fill(
        &self,
        generation: u64,
        traits: Traits,
        queues: impl Iterator<Item = Result<Q, memif_pmd::Error>>,
    ) -> Outcome {
        for (cell, queue) in self.0.iter().zip(queues) {
            let mut cell = lock(cell.get_or_init(Box::default));
            *cell = Cell { generation, queue: Some(queue?), traits, links: cell.links, ..Cell::default() };
        }
        Ok(())
    }

    /// Takes the queues of a connection out. One whose buffers are in the program's hands keeps its memory until the
    /// program asks for it again and hears that it is gone, or the place is used again.
    pub(crate) fn clear(&self, generation: u64) {
        self.each_of(generation, |cell| {
            if cell.in_use > 0 && cell.traits.shift == 0 {
                cell.dead = true;
            } else {
                cell.queue = None;
            }
        });
    }

    /// The link of a connection is gone, or there is another: lets go of the old one's memory, but for queues whose buffers
    /// are in the program's hands. Memory that the program gave is its own, and the next link needs it.
    pub(crate) fn relink(&self, generation: u64) {
        self.each_of(generation, |cell| {
            if cell.in_use == 0 || cell.traits.shift != 0 {
                cell.link();
            }
        });
    }

    fn each_of(&self, generation: u64, mut act: impl FnMut(&mut Cell<Q>)) {
        for cell in self.0.iter().filter_map(OnceLock::get) {
            let mut cell = lock(cell);
            if cell.generation == generation {
                act(&mut cell);
            }
        }
    }

    /// The cell of a queue, if it has ever been in use.
    #[inline(always)]
    pub(crate) fn get(&self, queue: u16) -> Option<&Mutex<Cell<Q>>> {
        self.0.get(usize::from(queue))?.get().map(|cell| &***cell)
    }
}

impl<Q: Queue> Cell<Q> {
    #[inline(always)]
    fn is_of(&self, generation: u64) -> bool {
        self.generation == generation && !self.dead && self.queue.is_some()
    }

    /// The number of the present link, over all connections of this cell; `None` while there is none. Buffers of the link
    /// before are not the program's any more.
    #[inline(always)]
    pub(crate) fn link(&mut self) -> Option<u64> {
        let epoch = self.queue.as_mut()?.link_epoch();
        if epoch != self.epoch {
            self.relink(epoch);
        }
        epoch.map(|_| self.links)
    }

    /// The queue and what 1.0 knows of its packets.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> Result<(&mut Q, &mut Packets), Code> {
        Ok((self.queue.as_mut().ok_or(Code::NoConn)?, &mut self.packets))
    }

    #[cold]
    fn relink(&mut self, epoch: Option<u64>) {
        self.epoch = epoch;
        self.links += 1;
        self.in_use = 0;
        self.packets = Packets::default();
        if self.traits.posts_itself
            && let Some(queue) = self.queue.as_mut().filter(|_| epoch.is_some())
        {
            queue.post_all();
        }
    }

    /// Lets go of a queue that was kept for buffers in the program's hands: its thread has come to hear of the end.
    #[cold]
    fn bury(&mut self, generation: u64) {
        if self.generation == generation && self.dead {
            self.queue = None;
            self.packets = Packets::default();
        }
    }
}

/// The cell of a connection's queue, locked for the length of one data call.
///
/// # Errors
/// [`Code::NoConn`], [`Code::Qid`].
#[inline(always)]
pub(crate) fn hold<P: Default, Q: Queue + 'static>(
    table: &'static Table<P>,
    cells: impl FnOnce(&'static P) -> &'static Cells<Q>,
    handle: *mut c_void,
    queue: u16,
) -> Result<MutexGuard<'static, Cell<Q>>, Code> {
    let id = Id::from_handle(handle, Kind::Conn).ok_or(Code::NoConn)?;
    let place = table.place(id.place).ok_or(Code::NoConn)?;
    let missing = || if place.generation() == id.generation { Code::Qid } else { Code::NoConn };
    let mut cell = lock(cells(&place.entry).get(queue).ok_or_else(missing)?);
    if !cell.is_of(id.generation) {
        cell.bury(id.generation);
        return Err(missing());
    }
    Ok(cell)
}

/// What the `queue` of a `memif_buffer_t` says: which cell it is of, and which link of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    fn tags_say_what_they_were_made_of() {
        for receives in [false, true] {
            for (place, queue, link) in [(0, 0, 0), (8191, 254, 1), (u16::MAX, u8::MAX, (1 << 39) - 1)] {
                let tag = Tag { receives, place, queue, link };
                assert_eq!(Tag::from_number(tag.to_number()), tag);
            }
        }
    }
}
