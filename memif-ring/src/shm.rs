//! The one door to shared memory.
//!
//! A peer may write any byte of a shared region at any moment, also between two reads of ours. Everything that touches
//! such bytes goes through the types of this file ([`Ring`] and [`Span`]) and the kernels of [`crate::copy`]; the rest
//! of the crate is free of `unsafe` and obeys these rules by construction:
//!
//! 1. **No references.** No `&T`, `&mut T` or slice over shared bytes is formed, as the compiler may read behind one as
//!    often as it likes and assumes that nobody else writes. There are raw pointers, and copies.
//! 2. **Indices and flags are atomics.** Our own index is stored with Release after the descriptors and bytes it
//!    publishes; the peer's is loaded with Acquire before those that it published are read. Our own is never loaded
//!    back: its private copy is the truth.
//! 3. **A descriptor is read once**, as one volatile 16-byte snapshot. The snapshot is what gets checked and used; what
//!    the peer writes afterwards cannot matter. Volatile, as a plain load may be repeated by the optimiser.
//! 4. **Packet bytes are only copied**, never looked at in place. After each burst's copies stands a compiler barrier
//!    ([`settle`]): without it the optimiser may read the shared source a second time in place of the private copy
//!    (to forward a load through a memcpy to its source is legal for it, and a double fetch for us).
//! 5. **Geometry is checked once**, when a ring or region is attached; slots are masked here, so no index a caller
//!    brings can leave the ring.
//!
//! A copy that races with a peer's writes is a data race by the letter of the memory model. There is no way to copy
//! bulk bytes at speed without one; the bytes are untyped, any value is valid, and rule 4 keeps the result from being
//! anything but "some mix of old and new bytes".
#![allow(unsafe_code)] // the door: raw pointers into mapped memory

use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
#[cfg(not(loom))]
use core::sync::atomic::fence;
use core::sync::atomic::{AtomicU16, Ordering, compiler_fence};
#[cfg(loom)]
use loom::sync::atomic::fence;

use volatile::VolatilePtr;
use zerocopy::transmute;

use crate::copy;
use crate::cursor;
use crate::layout::{
    COOKIE, DESC_SIZE, Desc, MAX_LOG2_RING_SIZE, RING_ALIGN, RING_FLAG_MASK_INT, RING_HEADER_SIZE, RingHeader,
};

/// Where the sides of a ring keep it. [`Ring`] is the one over shared memory; models and tests bring their own.
///
/// `index` arguments are free-running: an implementation masks them, so that none is out of range.
pub trait RingMemory {
    /// Descriptors in the ring minus one; the size is a power of two of at most 16384.
    fn mask(&self) -> u16;
    /// The slave's index. Acquire: pairs with the Release of [`RingMemory::publish_head`] by the slave.
    fn head(&self) -> u16;
    /// Sets the slave's index. Release: pairs with the Acquire of [`RingMemory::head`] by the master.
    fn publish_head(&self, index: u16);
    /// The master's index. Acquire: pairs with the Release of [`RingMemory::publish_tail`] by the master.
    fn tail(&self) -> u16;
    /// Sets the master's index. Release: pairs with the Acquire of [`RingMemory::tail`] by the slave.
    fn publish_tail(&self, index: u16);
    /// One snapshot of a descriptor.
    fn desc(&self, index: u16) -> Desc;
    /// Writes a whole descriptor: a slave's right.
    fn set_desc(&self, index: u16, desc: Desc);
    /// Writes a descriptor's flags and length, and leaves the buffer's place as it stands: a master's right.
    fn complete_desc(&self, index: u16, flags: u16, length: u32);

    /// Descriptors in the ring.
    #[inline(always)]
    fn size(&self) -> u16 {
        self.mask() + 1
    }
}

/// Why there is no ring at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The size is no power of two from 2^1 to 2^14.
    Size {
        /// Its logarithm.
        log2_size: u8,
    },
    /// The address is no multiple of [`RING_ALIGN`].
    Misaligned,
    /// The cookie is not [`COOKIE`].
    Cookie {
        /// What lies in its place.
        got: u32,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { log2_size } => write!(f, "ring of 2^{log2_size} descriptors, there are 2^1 to 2^14"),
            Self::Misaligned => write!(f, "ring not at a multiple of {RING_ALIGN} bytes"),
            Self::Cookie { got } => write!(f, "ring cookie {got:#010x}, not {COOKIE:#010x}"),
        }
    }
}

impl core::error::Error for RingError {}

/// One ring in shared memory: its header and `1 << log2_size` descriptors.
#[derive(Debug)]
pub struct Ring {
    base: NonNull<u8>,
    mask: u16,
}

// SAFETY: a Ring is a pointer to memory that is shared between processes anyway; every access through it is atomic
// or volatile, and which side may write what is kept by the head and tail sides.
unsafe impl Send for Ring {}
// SAFETY: as above; `&Ring` offers the same accesses as `Ring`.
unsafe impl Sync for Ring {}

impl Ring {
    /// Makes a fresh ring at `base`: cookie, both indices 0, interrupts wanted, descriptors as they are. The slave does
    /// this, once, before the peer maps the region.
    ///
    /// # Errors
    /// Geometry that no peer would take: see [`Ring::attach`].
    ///
    /// # Safety
    /// `base` is valid for reads and writes of [`crate::layout::ring_bytes`]`(log2_size)` bytes for as long as the
    /// ring and its clones live.
    pub unsafe fn create(base: NonNull<u8>, log2_size: u8) -> Result<Self, RingError> {
        let ring = Self::over(base, log2_size)?;
        // SAFETY: the header lies at the start of the range that the caller vouches for; `over` checked its alignment.
        unsafe { VolatilePtr::new(base.cast::<RingHeader>()).write(RingHeader::FRESH) };
        Ok(ring)
    }

    /// Attaches to a ring that the peer made at `base`.
    ///
    /// # Errors
    /// The size is 0 or above 2^14, `base` is not aligned to [`RING_ALIGN`], or the cookie is wrong.
    ///
    /// # Safety
    /// As [`Ring::create`].
    pub unsafe fn attach(base: NonNull<u8>, log2_size: u8) -> Result<Self, RingError> {
        let ring = Self::over(base, log2_size)?;
        // SAFETY: the cookie is the first field of the range that the caller vouches for, aligned as `over` checked.
        let cookie = unsafe { VolatilePtr::new(base.cast::<u32>()).read() };
        if cookie == COOKIE { Ok(ring) } else { Err(RingError::Cookie { got: cookie }) }
    }

    fn over(base: NonNull<u8>, log2_size: u8) -> Result<Self, RingError> {
        if log2_size == 0 || log2_size > MAX_LOG2_RING_SIZE {
            return Err(RingError::Size { log2_size });
        }
        if !base.addr().get().is_multiple_of(RING_ALIGN) {
            return Err(RingError::Misaligned);
        }
        Ok(Self { base, mask: (1u16 << log2_size) - 1 })
    }

    /// A second handle on the same ring, for those who only look: details and mode changes.
    #[must_use]
    pub fn observer(&self) -> Self {
        Self { base: self.base, mask: self.mask }
    }

    /// Whether the receiver of packets has masked interrupts. The sender asks after publishing: see [`wake_fence`].
    #[inline(always)]
    #[must_use]
    pub fn interrupts_masked(&self) -> bool {
        self.flags().load(Ordering::Relaxed) & RING_FLAG_MASK_INT != 0
    }

    /// Says whether we, the receiver of packets, want interrupts; before sleeping, [`wake_fence`] and a last look at
    /// the ring must follow.
    #[inline(always)]
    pub fn mask_interrupts(&self, masked: bool) {
        let flags = if masked { RING_FLAG_MASK_INT } else { 0 };
        self.flags().store(flags, Ordering::Relaxed);
    }

    #[inline(always)]
    fn index_at(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: callers pass offsets of u16 fields of the header, which lies in the range vouched for at attach and
        // is aligned; an atomic may be shared with a peer that writes at any moment.
        unsafe { AtomicU16::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    #[inline(always)]
    fn flags(&self) -> &AtomicU16 {
        self.index_at(core::mem::offset_of!(RingHeader, flags))
    }

    #[inline(always)]
    fn head_index(&self) -> &AtomicU16 {
        self.index_at(core::mem::offset_of!(RingHeader, head))
    }

    #[inline(always)]
    fn tail_index(&self) -> &AtomicU16 {
        self.index_at(core::mem::offset_of!(RingHeader, tail))
    }

    #[inline(always)]
    fn desc_at(&self, index: u16) -> NonNull<u8> {
        // SAFETY: the slot is masked, so its 16 bytes lie in the range vouched for at attach.
        unsafe { self.base.add(RING_HEADER_SIZE + DESC_SIZE * cursor::slot(index, self.mask)) }
    }
}

impl RingMemory for Ring {
    #[inline(always)]
    fn mask(&self) -> u16 {
        self.mask
    }

    #[inline(always)]
    fn head(&self) -> u16 {
        self.head_index().load(Ordering::Acquire)
    }

    #[inline(always)]
    fn publish_head(&self, index: u16) {
        self.head_index().store(index, Ordering::Release);
    }

    #[inline(always)]
    fn tail(&self) -> u16 {
        self.tail_index().load(Ordering::Acquire)
    }

    #[inline(always)]
    fn publish_tail(&self, index: u16) {
        self.tail_index().store(index, Ordering::Release);
    }

    #[inline(always)]
    fn desc(&self, index: u16) -> Desc {
        // SAFETY: a descriptor is 16 valid bytes, 16-aligned, as ring and slots are; any bytes make a [u64; 2].
        let words: [u64; 2] = unsafe { VolatilePtr::new(self.desc_at(index).cast::<[u64; 2]>()).read() };
        transmute!(words)
    }

    #[inline(always)]
    fn set_desc(&self, index: u16, desc: Desc) {
        let words: Words = transmute!(desc);
        // SAFETY: as in `desc`.
        unsafe { VolatilePtr::new(self.desc_at(index).cast::<Words>()).write(words) };
    }

    #[inline(always)]
    fn complete_desc(&self, index: u16, flags: u16, length: u32) {
        let desc = self.desc_at(index);
        // SAFETY: region is a field, and the first eight bytes are half, of the 16 bytes of a descriptor, aligned to 16.
        unsafe {
            // one store for both fields; the region between them goes back as it stands, and means nothing to us
            let region = VolatilePtr::new(desc.add(core::mem::offset_of!(Desc, region)).cast::<u16>()).read();
            let [word, _]: [u64; 2] = transmute!(Desc { flags, region, length, offset: 0, metadata: 0 });
            VolatilePtr::new(desc.cast::<u64>()).write(word);
        }
    }
}

/// What a whole descriptor is stored as: one store where the processor has one of 16 bytes.
#[cfg(target_arch = "x86_64")]
type Words = core::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Words = [u64; 2];

/// Packet bytes in shared memory: a place and a length, with no way to a slice over it in safe code.
///
/// The peer may write these bytes at any time: what is copied out is a private snapshot, and two copies may differ.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    start: NonNull<u8>,
    len: usize,
    region: PhantomData<&'a ()>,
}

// SAFETY: a Span gives no access but copies to and from memory that is shared with another process anyway, so it may
// be used on another thread as well; its lifetime keeps the mapping in place.
unsafe impl Send for Span<'_> {}

impl<'a> Span<'a> {
    /// # Safety
    /// `start` is valid for reads and writes of `len` bytes for `'a`, and no reference to them is ever formed.
    #[inline(always)]
    pub(crate) const unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self { start, len, region: PhantomData }
    }

    /// Length in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the span has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Asks the processor for the first cache line, to be written soon. What the peer has read is fetched back from its
    /// core, and many lines at once take as long as one.
    #[inline(always)]
    pub fn prefetch_to_write(&self) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a hint, which changes nothing and faults at no address; processors without it skip it.
        unsafe {
            core::arch::asm!("prefetchw [{}]", in(reg) self.start.as_ptr(), options(nostack, preserves_flags));
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("prfm pstl1keep, [{}]", in(reg) self.start.as_ptr(), options(nostack, preserves_flags));
        }
    }

    /// As [`Span::prefetch_to_write`], for bytes to be read.
    #[inline(always)]
    pub fn prefetch_to_read(&self) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: as in `prefetch_to_write`.
        unsafe {
            core::arch::asm!("prefetcht0 [{}]", in(reg) self.start.as_ptr(), options(nostack, preserves_flags));
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        // SAFETY: as in `prefetch_to_write`.
        unsafe {
            core::arch::asm!("prfm pldl1keep, [{}]", in(reg) self.start.as_ptr(), options(nostack, preserves_flags));
        }
    }

    /// The first `len` bytes, or all where there are fewer.
    #[inline(always)]
    #[must_use]
    pub fn first(self, len: usize) -> Self {
        Self { len: self.len.min(len), ..self }
    }

    /// Where the span starts in this process, for those who hand it to code that knows nothing of spans. Reading and
    /// writing through it takes the care of [`Span::as_slice`].
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Copies from the span's start into `dst`, as much as both hold; returns the bytes copied.
    #[inline(always)]
    pub fn copy_to(&self, dst: &mut [u8]) -> usize {
        let len = self.len.min(dst.len());
        // SAFETY: both hold `len` bytes; `dst` is private memory, so it cannot overlap the shared span.
        unsafe { copy::copy(dst.as_mut_ptr(), self.start.as_ptr(), len) };
        len
    }

    /// Copies `src` to the span's start, as much as both hold; returns the bytes copied.
    #[inline(always)]
    pub fn copy_from(&self, src: &[u8]) -> usize {
        let len = self.len.min(src.len());
        // SAFETY: as in `copy_to`, the other way round.
        unsafe { copy::copy(self.start.as_ptr(), src.as_ptr(), len) };
        len
    }

    /// Copies from `offset` bytes into the span into `dst`, as much as there is; returns the bytes copied, 0 from an
    /// offset at or past the end.
    pub fn read_at(&self, offset: usize, dst: &mut [u8]) -> usize {
        let len = self.skip(offset).copy_to(dst);
        settle();
        len
    }

    /// Copies `src` to `offset` bytes into the span, as much as fits; returns the bytes copied, 0 at an offset at or
    /// past the end.
    pub fn write_at(&self, offset: usize, src: &[u8]) -> usize {
        self.skip(offset).copy_from(src)
    }

    /// The bytes in place, for those who trust their peer.
    ///
    /// # Safety
    /// The peer does not write these bytes for `'a`, and nothing in this process does.
    #[must_use]
    pub const unsafe fn as_slice(&self) -> &'a [u8] {
        // SAFETY: the span is valid for 'a; the caller vouches that nobody writes to it.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    fn skip(&self, offset: usize) -> Self {
        let offset = offset.min(self.len);
        // SAFETY: offset <= len, so the rest lies within the span.
        Self { start: unsafe { self.start.add(offset) }, len: self.len - offset, region: PhantomData }
    }
}

/// Ends a burst of copies: no shared byte read before may be read again after it (rule 4). Costs no instruction.
#[inline(always)]
pub fn settle() {
    compiler_fence(Ordering::SeqCst);
}

/// Orders a store before a later load, for both ends of the wake-up: the sender between publishing its index and
/// reading the interrupt flag, the receiver between clearing that flag and its last look at the ring. Each pairs with
/// the other, so at least one of the two sees what the other wrote.
#[inline(always)]
pub fn wake_fence() {
    fence(Ordering::SeqCst);
}
