//! Private packet memory on huge pages: one mapping, cut into equal blocks.
//!
//! No other process sees this memory, so a [`Block`] hands out ordinary slices. Taking and returning a block
//! takes a lock; data threads take their blocks once, up front.

// The mapping is raw memory, cut into slices here.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::huge_pages::{self, HugeFallback, HugePages};

/// Alignment of every block, in bytes: a cache line, and the widest vector load.
pub const BLOCK_ALIGN: usize = 64;

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No blocks, empty blocks, or more than the address space holds.
    #[error(
        "pool of {blocks} blocks of {block_len} bytes: both must be at least 1 and their product must fit in memory"
    )]
    BadSize {
        /// Size of a block asked for, in bytes.
        block_len: usize,
        /// Number of blocks asked for.
        blocks: usize,
    },
    /// [`HugePages::Require`] could not be satisfied.
    #[error("packet pool: {0}")]
    NoHugePages(HugeFallback),
    /// The machine has less memory free than the pool needs.
    #[error("packet pool needs {len} bytes and {available} are available: use fewer or smaller blocks")]
    NotEnoughMemory {
        /// Size of the pool, in bytes.
        len: usize,
        /// Memory available, in bytes (`MemAvailable` of `/proc/meminfo`).
        available: usize,
    },
    /// The kernel refused the memory.
    #[error("cannot allocate a packet pool of {len} bytes: {error}")]
    Allocate {
        /// Size of the pool, in bytes.
        len: usize,
        /// The kernel's answer.
        error: io::Error,
    },
}

/// Equal blocks of private memory, zeroed and present. Unmapped when the pool and all its blocks are gone.
#[derive(Debug)]
pub struct PagePool {
    memory: MmapRaw,
    block_len: usize,
    stride: usize,
    blocks: usize,
    fallback: Option<HugeFallback>,
    /// Indices of the blocks nobody holds. Each index is either here or in exactly one [`Block`].
    free: Mutex<Vec<usize>>,
}

impl PagePool {
    /// Makes a pool of `blocks` blocks of `block_len` bytes each, on huge pages as asked.
    ///
    /// # Errors
    /// [`PoolError`]: sizes that make no sense, no huge pages when they are required, no memory.
    pub fn new(block_len: usize, blocks: usize, huge: HugePages) -> Result<Arc<PagePool>, PoolError> {
        let (stride, len) = dimensions(block_len, blocks).ok_or(PoolError::BadSize { block_len, blocks })?;
        let (memory, fallback) = match (on_huge_pages(len, huge), huge) {
            (Ok(memory), _) => (memory, None),
            (Err(Some(why)), HugePages::Require) => return Err(PoolError::NoHugePages(why)),
            (Err(why), _) => (on_normal_pages(len)?, why),
        };
        // Popped from the end, so that the lowest addresses go out first.
        let free = Mutex::new((0..blocks).rev().collect());
        Ok(Arc::new(PagePool { memory, block_len, stride, blocks, fallback, free }))
    }

    /// Takes a block; `None` when all are out. A block that was used before keeps its old bytes.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Block> {
        let index = self.free_list().pop()?;
        // index < blocks, and `dimensions` made sure that blocks * stride bytes fit the mapping
        let start = NonNull::new(self.memory.as_mut_ptr().wrapping_add(index * self.stride))?;
        Some(Block { start, len: self.block_len, index, pool: Arc::clone(self) })
    }

    /// Size of each block in bytes.
    #[must_use]
    pub fn block_len(&self) -> usize {
        self.block_len
    }

    /// Number of blocks, taken or not.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Number of blocks that can be taken.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free_list().len()
    }

    /// Why this pool lies on normal pages although huge pages were preferred.
    #[must_use]
    pub fn fallback(&self) -> Option<&HugeFallback> {
        self.fallback.as_ref()
    }

    fn free_list(&self) -> MutexGuard<'_, Vec<usize>> {
        // No code can panic between two states of the list, so a poisoned one is as good as any.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One block of a [`PagePool`], aligned to [`BLOCK_ALIGN`]. Goes back to its pool on drop.
pub struct Block {
    start: NonNull<u8>,
    /// The pool's `block_len`, here so that slicing does not follow the Arc.
    len: usize,
    index: usize,
    pool: Arc<PagePool>,
}

// SAFETY: a block is the only way to its bytes, like a Box<[u8]>; the free list behind the Arc is locked.
unsafe impl Send for Block {}
// SAFETY: a shared block gives out `&[u8]` alone.
unsafe impl Sync for Block {}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` points to `len` initialised bytes of the pool's mapping, which the Arc keeps
        // alive. The index is in this block alone, so only `deref_mut`, which needs `&mut self`, can write
        // them.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only access.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.pool.free_list().push(self.index);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("index", &self.index).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Distance between blocks and size of them all, or `None` when that makes no sense.
fn dimensions(block_len: usize, blocks: usize) -> Option<(usize, usize)> {
    let stride = block_len.checked_next_multiple_of(BLOCK_ALIGN)?;
    let len = stride.checked_mul(blocks)?;
    // Headroom for rounding up to any page size.
    (block_len != 0 && blocks != 0 && len <= isize::MAX as usize / 2).then_some((stride, len))
}

/// `Err(None)` when huge pages were not asked for, `Err(reason)` when there are none.
fn on_huge_pages(len: usize, huge: HugePages) -> Result<MmapRaw, Option<HugeFallback>> {
    if huge == HugePages::Off {
        return Err(None);
    }
    let page = huge_pages::default_size();
    let refused = |error: &io::Error| Some(HugeFallback::new(page.unwrap_or(0), len, error));
    let whole = page
        .and_then(|page| len.checked_next_multiple_of(page))
        .ok_or_else(|| refused(&io::ErrorKind::Unsupported.into()))?;
    // the page size of the mapping is the kernel's default, the one looked up above
    let map = MmapOptions::new().len(whole).huge(None).map_anon().map_err(|error| refused(&error))?;
    match map.advise(Advice::PopulateWrite) {
        // Kernels before 5.14 cannot: there the mapping's own reservation has to do.
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(refused(&error)),
        // beyond the limit of a control group the first touch would have been a signal
        _ => Ok(map.into()),
    }
}

fn on_normal_pages(len: usize) -> Result<MmapRaw, PoolError> {
    match huge_pages::available_memory() {
        Some(available) if available < len => Err(PoolError::NotEnoughMemory { len, available }),
        _ => MmapOptions::new()
            .len(len)
            .populate()
            .map_anon()
            .map(MmapRaw::from)
            .map_err(|error| PoolError::Allocate { len, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn pool(block_len: usize, blocks: usize) -> Arc<PagePool> {
        PagePool::new(block_len, blocks, HugePages::Off).unwrap()
    }

    #[test]
    fn blocks_are_zeroed_aligned_and_apart() {
        let pool = pool(100, 3);
        let mut blocks: Vec<Block> = (0..3).map(|_| pool.take().unwrap()).collect();
        assert!(pool.take().is_none());
        for (value, block) in (1..).zip(&mut blocks) {
            assert_eq!(block.len(), 100);
            assert_eq!(block.as_ptr() as usize % BLOCK_ALIGN, 0);
            assert!(block.iter().all(|&b| b == 0));
            block.fill(value);
        }
        for (value, block) in (1..).zip(&blocks) {
            assert!(block.iter().all(|&b| b == value));
        }
    }

    #[test]
    fn a_dropped_block_can_be_taken_again() {
        let pool = pool(64, 1);
        for _ in 0..10 {
            let block = pool.take().unwrap();
            assert_eq!(pool.available(), 0);
            drop(block);
            assert_eq!(pool.available(), 1);
        }
    }

    #[test]
    fn a_block_keeps_the_memory_alive_across_threads() {
        let pool = pool(4096, 2);
        let mut block = pool.take().unwrap();
        block.fill(0x5a);
        drop(pool);
        thread::spawn(move || assert!(block.iter().all(|&b| b == 0x5a))).join().unwrap();
    }

    #[test]
    fn threads_never_hold_the_same_block() {
        let pool = pool(256, 4);
        thread::scope(|scope| {
            for id in 1..=4u8 {
                let pool = &pool;
                scope.spawn(move || {
                    for _ in 0..1000 {
                        let mut block = pool.take().unwrap();
                        block.fill(id);
                        assert!(block.iter().all(|&b| b == id));
                    }
                });
            }
        });
        assert_eq!(pool.available(), pool.blocks());
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for (block_len, blocks) in [(0, 1), (1, 0), (usize::MAX, 1), (1, usize::MAX), (1 << 40, 1 << 40)] {
            let result = PagePool::new(block_len, blocks, HugePages::Prefer);
            assert!(matches!(result, Err(PoolError::BadSize { .. })), "{block_len} {blocks}");
        }
    }

    #[test]
    fn more_memory_than_there_is_is_an_error() {
        for huge in [HugePages::Off, HugePages::Prefer] {
            let result = PagePool::new(1 << 30, 1 << 20, huge);
            assert!(matches!(result, Err(PoolError::NotEnoughMemory { .. })));
        }
        let result = PagePool::new(1 << 30, 1 << 20, HugePages::Require);
        assert!(matches!(result, Err(PoolError::NoHugePages(_))));
    }

    #[test]
    fn huge_pages_are_used_or_their_lack_is_explained() {
        let is_huge = |pool: &PagePool| pool.memory.len() != 2048 * 16;
        let preferred = PagePool::new(2048, 16, HugePages::Prefer).unwrap();
        assert_eq!(preferred.fallback().is_none(), is_huge(&preferred));
        let mut block = preferred.take().unwrap();
        assert!(block.iter().all(|&b| b == 0));
        block.fill(1);
        match PagePool::new(2048, 16, HugePages::Require) {
            Ok(pool) => assert!(is_huge(&pool)),
            Err(PoolError::NoHugePages(why)) => assert!(!why.to_string().is_empty()),
            Err(other) => panic!("{other}"),
        }
    }
}
