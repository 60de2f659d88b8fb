//! Private packet memory on huge pages: one mapping, cut into equal blocks.
//!
//! No other process sees this memory, so a [`Block`] hands out ordinary slices. Taking and returning a block
//! takes a lock; data threads take their blocks once, up front.

// The mapping is raw memory, cut into slices here.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

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
    memory: Memory,
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
        let (memory, fallback) = match (huge_memory(len, huge), huge) {
            (Ok(memory), _) => (Memory::Huge(memory), None),
            (Err(Some(why)), HugePages::Require) => return Err(PoolError::NoHugePages(why)),
            (Err(why), _) => (normal(len)?, why),
        };
        // Popped from the end, so that the lowest addresses go out first.
        let free = Mutex::new((0..blocks).rev().collect());
        Ok(Arc::new(PagePool { memory, block_len, stride, blocks, fallback, free }))
    }

    /// Takes a block; `None` when all are out. A block that was used before keeps its old bytes.
    #[must_use]
    pub fn take(self: &Arc<Self>) -> Option<Block> {
        let index = self.free_list().pop()?;
        // SAFETY: index < blocks, and `dimensions` made sure that blocks * stride bytes fit the mapping.
        let start = unsafe { self.memory.start().add(index * self.stride) };
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

/// Where the bytes of a pool come from.
#[derive(Debug)]
enum Memory {
    Huge(HugeMemory),
    Normal(MmapRaw),
}

impl Memory {
    fn start(&self) -> NonNull<u8> {
        match self {
            Memory::Huge(memory) => memory.start,
            // mmap never returns null; a dangling pointer would be a defect of memmap2.
            Memory::Normal(map) => NonNull::new(map.as_mut_ptr()).unwrap_or(NonNull::dangling()),
        }
    }
}

/// `Err(None)` when huge pages were not asked for, `Err(reason)` when there are none.
fn huge_memory(len: usize, huge: HugePages) -> Result<HugeMemory, Option<HugeFallback>> {
    if huge == HugePages::Off { Err(None) } else { HugeMemory::allocate(len).map_err(Some) }
}

fn normal(len: usize) -> Result<Memory, PoolError> {
    match huge_pages::available_memory() {
        Some(available) if available < len => Err(PoolError::NotEnoughMemory { len, available }),
        _ => MmapOptions::new()
            .len(len)
            .populate()
            .map_anon()
            .map(|map| Memory::Normal(map.into()))
            .map_err(|error| PoolError::Allocate { len, error }),
    }
}

/// Memory from hugepage-rs, returned to it on drop.
#[derive(Debug)]
struct HugeMemory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: owns its mapping like a Box does; any thread may use or unmap it.
unsafe impl Send for HugeMemory {}
// SAFETY: shared access reads the pointer and the layout, which never change.
unsafe impl Sync for HugeMemory {}

impl HugeMemory {
    fn allocate(len: usize) -> Result<HugeMemory, HugeFallback> {
        // hugepage-rs panics when it cannot find the default page size, so it is found out here first.
        let page = huge_pages::default_size();
        let refused = |error: &io::Error| HugeFallback::new(page.unwrap_or(0), len, error);
        let layout = page
            .and_then(|page| Layout::from_size_align(len.checked_next_multiple_of(page)?, BLOCK_ALIGN).ok())
            .ok_or_else(|| refused(&io::ErrorKind::Unsupported.into()))?;
        // SAFETY: the layout's size is at least 1, as `dimensions` made sure.
        let start = NonNull::new(unsafe { hugepage_rs::alloc(layout) })
            .ok_or_else(|| refused(&io::Error::last_os_error()))?;
        let memory = HugeMemory { start, layout };
        memory.populate().map_err(|error| refused(&error))?;
        Ok(memory)
    }

    /// Takes the pages now: beyond the limit of a control group the first touch would be a signal.
    fn populate(&self) -> io::Result<()> {
        // SAFETY: the range is exactly our private mapping, and populating it does not change its bytes.
        let result = unsafe {
            libc::madvise(self.start.as_ptr().cast(), self.layout.size(), libc::MADV_POPULATE_WRITE)
        };
        match io::Error::last_os_error() {
            _ if result == 0 => Ok(()),
            // Kernels before 5.14 cannot: there the mapping's own reservation has to do.
            error if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            error => Err(error),
        }
    }
}

impl Drop for HugeMemory {
    fn drop(&mut self) {
        // SAFETY: `alloc` returned this pointer for this layout, and all blocks are gone: each holds the pool.
        unsafe { hugepage_rs::dealloc(self.start.as_ptr(), self.layout) };
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
        let preferred = PagePool::new(2048, 16, HugePages::Prefer).unwrap();
        assert_eq!(preferred.fallback().is_none(), matches!(preferred.memory, Memory::Huge(_)));
        let mut block = preferred.take().unwrap();
        assert!(block.iter().all(|&b| b == 0));
        block.fill(1);
        match PagePool::new(2048, 16, HugePages::Require) {
            Ok(pool) => assert!(matches!(pool.memory, Memory::Huge(_))),
            Err(PoolError::NoHugePages(why)) => assert!(!why.to_string().is_empty()),
            Err(other) => panic!("{other}"),
        }
    }
}
