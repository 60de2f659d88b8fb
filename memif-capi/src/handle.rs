//! Handles, and the tables behind them.
//!
//! What C holds as a `void *` is no address but a number: kind, place in a table, and the generation of that place.
//! Whatever C passes in, also a handle deleted long ago, is looked up without touching memory that may be gone.
//!
//! Places are never freed, only used again: a data thread that comes with a stale handle at the very moment of a delete
//! finds a place whose generation differs, and needs no lock and no reference count to be sure of that. There are as
//! many places as there have been handles at one time.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError}; // not loom's: tables are static

/// Most handles of one kind at a time. As many regions can be guarded at once, and no link has less than one.
pub(crate) const MAX_HANDLES: usize = 8192;

const KIND_SHIFT: u32 = 62;
const GENERATION_SHIFT: u32 = 16;
const GENERATION_MASK: u64 = (1 << (KIND_SHIFT - GENERATION_SHIFT)) - 1;

/// What a handle stands for. None is 0, so that no handle is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    Socket = 1,
    Conn = 2,
    FdEvent = 3,
}

/// A place in a table and its generation: what a handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) place: u16,
    pub(crate) generation: u64,
}

impl Id {
    pub(crate) fn to_handle(self, kind: Kind) -> *mut c_void {
        let generation = self.generation & GENERATION_MASK;
        number_to_pointer(
            (kind as u64) << KIND_SHIFT | generation << GENERATION_SHIFT | u64::from(self.place),
        )
    }

    pub(crate) fn from_handle(handle: *mut c_void, kind: Kind) -> Option<Self> {
        let number = handle.addr() as u64;
        let id = Self { place: low_16(number), generation: number >> GENERATION_SHIFT & GENERATION_MASK };
        (number >> KIND_SHIFT == kind as u64).then_some(id)
    }
}

/// Bits of a socket's generation that fit next to a descriptor in the context of an fd event.
const SHORT_GENERATION: u64 = (1 << 14) - 1;

/// The `private_ctx` of an fd event: the socket and the descriptor.
pub(crate) fn fd_context(socket: Id, fd: i32) -> *mut c_void {
    let fd = u64::from(fd.cast_unsigned());
    let generation = socket.generation & SHORT_GENERATION;
    number_to_pointer(
        (Kind::FdEvent as u64) << KIND_SHIFT | generation << 48 | fd << 16 | u64::from(socket.place),
    )
}

/// The place, the low bits of the generation, and the descriptor of [`fd_context`].
pub(crate) fn from_fd_context(context: *mut c_void) -> Option<(u16, u64, i32)> {
    let number = context.addr() as u64;
    #[expect(clippy::cast_possible_truncation, reason = "32 bits of it")]
    let fd = ((number >> 16) as u32).cast_signed();
    let parts = (low_16(number), number >> 48 & SHORT_GENERATION, fd);
    (number >> KIND_SHIFT == Kind::FdEvent as u64).then_some(parts)
}

/// Whether a whole generation is the one of [`from_fd_context`].
pub(crate) const fn is_short_of(short: u64, generation: u64) -> bool {
    generation & SHORT_GENERATION == short
}

#[expect(clippy::cast_possible_truncation, reason = "16 bits of it")]
const fn low_16(number: u64) -> u16 {
    number as u16
}

#[expect(clippy::cast_possible_truncation, reason = "pointers have 64 bits, see lib.rs")]
fn number_to_pointer(number: u64) -> *mut c_void {
    ptr::without_provenance_mut(number as usize)
}

/// Places of one kind. `E` is what a place keeps, over all its generations.
pub(crate) struct Table<E> {
    places: [OnceLock<Box<Place<E>>>; MAX_HANDLES],
    free: Mutex<Free>,
}

pub(crate) struct Place<E> {
    generation: AtomicU64,
    pub(crate) entry: E,
}

struct Free {
    /// Places given back, the one that has rested for longest first.
    rested: VecDeque<u16>,
    /// The first place never used.
    fresh: u16,
}

impl<E> Place<E> {
    /// The generation of the handle that has the place now; the next one's when nobody has it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl<E: Default> Table<E> {
    pub(crate) const fn new() -> Self {
        Self {
            places: [const { OnceLock::new() }; MAX_HANDLES],
            free: Mutex::new(Free { rested: VecDeque::new(), fresh: 0 }),
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        // nothing panics between two states of the list
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a new handle; `None` when all are taken.
    pub(crate) fn take(&'static self) -> Option<(Id, &'static E)> {
        let mut free = self.free();
        let place = match free.rested.pop_front() {
            Some(place) => place,
            None if usize::from(free.fresh) < MAX_HANDLES => {
                free.fresh += 1;
                free.fresh - 1
            }
            None => return None,
        };
        let make = || Box::new(Place { generation: AtomicU64::new(1), entry: E::default() });
        let found = self.places.get(usize::from(place))?.get_or_init(make);
        Some((Id { place, generation: found.generation() }, &found.entry))
    }

    /// Ends a handle: it is not found from now on. The place rests until [`Table::give_back`].
    pub(crate) fn retire(&'static self, id: Id) {
        if let Some(place) = self.place(id.place) {
            // Release: whoever finds the new generation finds the place as its last holder left it
            place.generation.store(next(id.generation), Ordering::Release);
        }
    }

    /// Lets a place be taken again, once nothing of its last holder is in the way.
    pub(crate) fn give_back(&'static self, id: Id) {
        self.free().rested.push_back(id.place);
    }

    /// The place, whoever has it.
    #[inline(always)]
    pub(crate) fn place(&'static self, place: u16) -> Option<&'static Place<E>> {
        self.places.get(usize::from(place))?.get().map(Box::as_ref)
    }

    /// The entry of a handle, if that is the one that has the place.
    #[inline(always)]
    pub(crate) fn find(&'static self, id: Id) -> Option<&'static E> {
        let place = self.place(id.place)?;
        (place.generation() == id.generation).then_some(&place.entry)
    }
}

const fn next(generation: u64) -> u64 {
    let next = (generation + 1) & GENERATION_MASK;
    if next == 0 { 1 } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_gives_back_its_place_generation_and_kind() {
        for place in [0, 1, 8191, u16::MAX] {
            for generation in [1, 2, GENERATION_MASK] {
                let id = Id { place, generation };
                for kind in [Kind::Socket, Kind::Conn] {
                    let handle = id.to_handle(kind);
                    assert!(!handle.is_null());
                    assert_eq!(Id::from_handle(handle, kind), Some(id));
                    assert_eq!(from_fd_context(handle), None);
                }
                assert_eq!(Id::from_handle(id.to_handle(Kind::Socket), Kind::Conn), None);
                for fd in [0, 7, i32::MAX, -1] {
                    let context = fd_context(id, fd);
                    let (found, short, got) = from_fd_context(context).unwrap();
                    assert_eq!((found, got), (place, fd));
                    assert!(is_short_of(short, generation));
                    assert_eq!(Id::from_handle(context, Kind::Conn), None);
                }
            }
        }
        assert_eq!(Id::from_handle(ptr::null_mut(), Kind::Socket), None);
    }

    #[test]
    fn a_stale_handle_is_rejected_and_its_place_used_again() {
        static TABLE: Table<u32> = Table::new();
        let (first, _) = TABLE.take().unwrap();
        let (second, _) = TABLE.take().unwrap();
        assert_ne!(first.place, second.place);
        assert!(TABLE.find(first).is_some());
        TABLE.retire(first);
        assert!(TABLE.find(first).is_none());
        TABLE.give_back(first);
        let (third, _) = TABLE.take().unwrap();
        assert_eq!(third.place, first.place);
        assert_ne!(third.generation, first.generation);
        assert!(TABLE.find(first).is_none());
        assert!(TABLE.find(third).is_some() && TABLE.find(second).is_some());
        assert!(TABLE.find(Id { place: 4000, generation: 1 }).is_none());
    }

    #[test]
    fn a_full_table_gives_no_place() {
        static TABLE: Table<()> = Table::new();
        let taken = std::iter::from_fn(|| TABLE.take()).count();
        assert_eq!(taken, MAX_HANDLES);
    }

    #[test]
    fn generations_wrap_past_zero() {
        assert_eq!(next(1), 2);
        assert_eq!(next(GENERATION_MASK), 1);
    }
}
