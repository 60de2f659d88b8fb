//! Where the queue handles of a connection live: one cell a queue, in a place that is never freed.
//!
//! A data call goes straight to its cell and takes the cell's lock, which nobody else wants: no lock, count or cache line
//! is shared between queues. The lock is what makes a program harmless that breaks the rule of one thread a queue, and
//! what a delete waits on while a data call is under way.

use std::sync::{Mutex, MutexGuard, OnceLock};

use crossbeam_utils::CachePadded;

use crate::code::{Code, Outcome};
use crate::handle::{Id, Kind};
use crate::socket::lock;

/// Most queues of one direction that C can ask for: it counts them with 8 bits.
const MAX_QUEUES: usize = 255;

/// A queue handle as a cell keeps it.
pub(crate) trait Queue {
    /// Whether the program has buffers of the queue in its hands, which it may still read and write.
    fn holds_buffers(&mut self) -> bool;
}

/// The cells of one direction.
pub(crate) struct Cells<Q>([OnceLock<Box<CachePadded<Mutex<Cell<Q>>>>>; MAX_QUEUES]);

impl<Q> Default for Cells<Q> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; MAX_QUEUES])
    }
}

/// One queue, and whose it is.
pub(crate) struct Cell<Q> {
    /// Of the connection whose queue this is.
    generation: u64,
    queue: Option<Q>,
    /// The connection is gone; its queue stays for as long as the program may use buffers of it.
    dead: bool,
}

impl<Q: Queue> Cells<Q> {
    /// Puts the queues of a new connection in.
    pub(crate) fn fill(
        &self,
        generation: u64,
        queues: impl Iterator<Item = Result<Q, memif_pmd::Error>>,
    ) -> Outcome {
        for (cell, queue) in self.0.iter().zip(queues) {
            let empty =
                || Box::new(CachePadded::new(Mutex::new(Cell { generation: 0, queue: None, dead: false })));
            *lock(cell.get_or_init(empty)) = Cell { generation, queue: Some(queue?), dead: false };
        }
        Ok(())
    }

    /// Takes the queues of a connection out. One whose buffers are in the program's hands keeps its memory until the
    /// program asks for it again and hears that it is gone, or the place is used again.
    pub(crate) fn clear(&self, generation: u64) {
        for cell in self.0.iter().filter_map(OnceLock::get) {
            let mut cell = lock(cell);
            if cell.generation != generation {
                continue;
            }
            if cell.queue.as_mut().is_some_and(Queue::holds_buffers) {
                cell.dead = true;
            } else {
                cell.queue = None;
            }
        }
    }

    /// The cell of a queue, if it is in use.
    #[inline(always)]
    pub(crate) fn get(&self, queue: u16) -> Option<&Mutex<Cell<Q>>> {
        self.0.get(usize::from(queue))?.get().map(|cell| &***cell)
    }
}

impl<Q> Cell<Q> {
    /// The queue, if it belongs to the connection with this generation.
    #[inline(always)]
    pub(crate) fn queue(&mut self, generation: u64) -> Option<&mut Q> {
        if self.generation != generation || self.dead { None } else { self.queue.as_mut() }
    }

    /// Lets go of a queue that was kept for buffers in the program's hands: its thread has come to hear of the end.
    #[cold]
    fn bury(&mut self, generation: u64) {
        if self.generation == generation && self.dead {
            self.queue = None;
        }
    }
}

/// The queue of a connection handle, locked for the length of one data call.
pub(crate) struct Held<Q: 'static>(MutexGuard<'static, Cell<Q>>, u64);

impl<Q> Held<Q> {
    /// Takes a queue's lock. `cells` finds the direction of a connection's place.
    ///
    /// # Errors
    /// [`Code::NoConn`], [`Code::Qid`].
    #[inline(always)]
    pub(crate) fn take<P: Default>(
        table: &'static crate::handle::Table<P>,
        cells: impl FnOnce(&'static P) -> &'static Cells<Q>,
        handle: *mut std::ffi::c_void,
        queue: u16,
    ) -> Result<Self, Code>
    where
        Q: Queue,
    {
        let id = Id::from_handle(handle, Kind::Conn).ok_or(Code::NoConn)?;
        let place = table.place(id.place).ok_or(Code::NoConn)?;
        let Some(cell) = cells(&place.entry).get(queue) else {
            return Err(missing(place.generation() == id.generation));
        };
        let mut cell = lock(cell);
        if cell.queue(id.generation).is_none() {
            cell.bury(id.generation);
            return Err(missing(place.generation() == id.generation));
        }
        Ok(Self(cell, id.generation))
    }

    /// The queue.
    #[inline(always)]
    pub(crate) fn queue(&mut self) -> Result<&mut Q, Code> {
        self.0.queue(self.1).ok_or(Code::NoConn)
    }
}

#[cold]
fn missing(alive: bool) -> Code {
    if alive { Code::Qid } else { Code::NoConn }
}
