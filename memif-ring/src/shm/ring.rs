//! One ring: header and descriptors, in either layout.
#![allow(unsafe_code)] // raw pointers into mapped memory

use core::marker::PhantomData;
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};

use volatile::VolatilePtr;
use zerocopy::transmute;

use super::prefetch;
use super::ring_memory::RingMemory;
use crate::cursor;
use crate::layout::{
    COOKIE, DESC_SIZE, Desc, DescFlags, LineSize, MAX_LOG2_RING_SIZE, RING_ALIGN, RingFlags, RingHeader,
};

/// Why [`Ring::create`] or [`Ring::attach`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The size is not 2^1 to 2^14 descriptors.
    #[error("ring of 2^{log2_size} descriptors: expected 2^1 to 2^{MAX_LOG2_RING_SIZE}")]
    Size {
        /// The binary logarithm given.
        log2_size: u8,
    },
    /// The address is no multiple of [`RING_ALIGN`].
    #[error("ring address is no multiple of {RING_ALIGN} bytes")]
    Misaligned,
    /// The ring does not begin with [`COOKIE`].
    #[error("ring cookie {got:#010x}: expected {COOKIE:#010x}")]
    Cookie {
        /// The value found.
        got: u32,
    },
}

/// A ring in shared memory, for one of its ends: a header and `1 << log2_size` descriptors.
///
/// `Send`, and not `Sync`: descriptors are written without synchronisation, so one thread uses a ring at a time.
/// [`Ring::observer`] is for other threads.
///
/// ```compile_fail,E0277
/// fn shared_between_threads<T: Sync>() {}
/// shared_between_threads::<memif_ring::shm::Ring>();
/// ```
#[derive(Debug)]
pub struct Ring {
    header: Header,
    /// The first descriptor.
    descs: NonNull<u8>,
    mask: u16,
    not_sync: PhantomData<*const ()>,
}

// SAFETY: a Ring is a pointer to memory that is shared between processes anyway. Its accesses are atomic, or volatile
// and of the slots that its end owns; the callers of `create` and `attach` promise one user for each end.
unsafe impl Send for Ring {}

/// The indices and flags of a ring, for threads that do not own one of its ends: statistics, and changes of the
/// interrupt flag. `Send` and `Sync`, as it offers atomic accesses alone.
#[derive(Clone, Debug)]
pub struct RingObserver {
    header: Header,
    mask: u16,
}

// SAFETY: all accesses are atomic.
unsafe impl Send for RingObserver {}
// SAFETY: all accesses are atomic.
unsafe impl Sync for RingObserver {}

/// The header of a ring that was checked. Where its parts are depends on the layout: that is settled once, here.
#[derive(Clone, Copy, Debug)]
struct Header {
    start: NonNull<u8>,
    tail: NonNull<u8>,
}

impl Header {
    #[inline(always)]
    fn flags(&self) -> &AtomicU16 {
        // SAFETY: a u16 field of the header, which is in the range that the caller of `create` or `attach` vouched for,
        // and aligned; an atomic may be shared with a peer that writes at any moment.
        unsafe { AtomicU16::from_ptr(self.start.add(offset_of!(RingHeader, flags)).as_ptr().cast()) }
    }

    #[inline(always)]
    fn head(&self) -> &AtomicU16 {
        // SAFETY: as in `flags`.
        unsafe { AtomicU16::from_ptr(self.start.add(offset_of!(RingHeader, head)).as_ptr().cast()) }
    }

    #[inline(always)]
    fn tail(&self) -> &AtomicU16 {
        // SAFETY: as in `flags`.
        unsafe { AtomicU16::from_ptr(self.tail.as_ptr().cast()) }
    }

    /// Relaxed: [`wake_fence`](super::wake_fence) orders it against the indices.
    #[inline(always)]
    fn interrupts_masked(&self) -> bool {
        RingFlags::from_bits_retain(self.flags().load(Ordering::Relaxed)).contains(RingFlags::MASK_INT)
    }

    /// Relaxed: as [`Header::interrupts_masked`].
    #[inline(always)]
    fn mask_interrupts(&self, masked: bool) {
        let flags = if masked { RingFlags::MASK_INT } else { RingFlags::empty() };
        self.flags().store(flags.bits(), Ordering::Relaxed);
    }
}

impl Ring {
    /// Creates a ring at `base`, laid out for `line`: writes the cookie, both indices 0, and interrupts wanted, and zeros to
    /// the rest of the header; leaves the descriptors. For the slave, once, before the peer maps the region.
    ///
    /// # Errors
    /// [`RingError::Size`], [`RingError::Misaligned`].
    ///
    /// # Safety
    /// - `base` is valid for reads and writes of [`line.ring_bytes(log2_size)`](LineSize::ring_bytes) bytes for as long as
    ///   the ring and its observers live.
    /// - In this process each end of the ring has one user: no other `Ring` writes the descriptors or the index of
    ///   the same end from another thread.
    pub unsafe fn create(base: NonNull<u8>, log2_size: u8, line: LineSize) -> Result<Self, RingError> {
        check(base, log2_size)?;
        let header = base.cast::<u64>();
        for word in 0..line.header_size() / size_of::<u64>() {
            // SAFETY: the header is at the start of the range that the caller vouches for; `check` saw its alignment.
            unsafe { VolatilePtr::new(header.add(word)).write(0) };
        }
        // SAFETY: as above.
        unsafe { VolatilePtr::new(base.cast::<RingHeader>()).write(RingHeader::FRESH) };
        // SAFETY: as the caller says, and checked.
        Ok(unsafe { Self::over(base, log2_size, line) })
    }

    /// Attaches to a ring that the peer created at `base`, laid out for `line`.
    ///
    /// # Errors
    /// [`RingError::Size`], [`RingError::Misaligned`], [`RingError::Cookie`].
    ///
    /// # Safety
    /// The conditions of [`Ring::create`].
    pub unsafe fn attach(base: NonNull<u8>, log2_size: u8, line: LineSize) -> Result<Self, RingError> {
        check(base, log2_size)?;
        // SAFETY: the cookie is the first field of the range that the caller vouches for, aligned as `check` saw.
        let cookie = unsafe { VolatilePtr::new(base.cast::<u32>()).read() };
        if cookie != COOKIE {
            return Err(RingError::Cookie { got: cookie });
        }
        // SAFETY: as the caller says, and checked.
        Ok(unsafe { Self::over(base, log2_size, line) })
    }

    /// # Safety
    /// The conditions of [`Ring::create`]; `base` and `log2_size` passed `check`.
    const unsafe fn over(base: NonNull<u8>, log2_size: u8, line: LineSize) -> Self {
        // SAFETY: both offsets are within the header, or at its end, where the descriptors begin.
        let (tail, descs) = unsafe { (base.add(line.tail_offset()), base.add(line.header_size())) };
        let mask = (1u16 << log2_size) - 1;
        Self { header: Header { start: base, tail }, descs, mask, not_sync: PhantomData }
    }

    /// A handle on the ring's indices and flags, for other threads.
    #[must_use]
    pub const fn observer(&self) -> RingObserver {
        RingObserver { header: self.header, mask: self.mask }
    }

    /// Whether the receiver has masked interrupts. For the sender, after publishing and
    /// [`wake_fence`](super::wake_fence).
    #[inline(always)]
    #[must_use]
    pub fn interrupts_masked(&self) -> bool {
        self.header.interrupts_masked()
    }

    /// Sets or clears MASK_INT. For the receiver: with the flag set the sender need not notify. Before it sleeps, a
    /// receiver clears the flag, calls [`wake_fence`](super::wake_fence), and looks at the ring once more.
    #[inline(always)]
    pub fn mask_interrupts(&self, masked: bool) {
        self.header.mask_interrupts(masked);
    }

    #[inline(always)]
    fn desc_at(&self, index: u16) -> NonNull<u8> {
        // SAFETY: the slot is masked, so its 16 bytes are in the range vouched for at `attach`.
        unsafe { self.descs.add(DESC_SIZE * cursor::slot(index, self.mask)) }
    }
}

/// What holds for every ring, whatever its layout.
fn check(base: NonNull<u8>, log2_size: u8) -> Result<(), RingError> {
    if log2_size == 0 || log2_size > MAX_LOG2_RING_SIZE {
        return Err(RingError::Size { log2_size });
    }
    if !base.addr().get().is_multiple_of(RING_ALIGN) {
        return Err(RingError::Misaligned);
    }
    Ok(())
}

impl RingObserver {
    /// Descriptors in the ring.
    #[must_use]
    pub const fn size(&self) -> u16 {
        self.mask + 1
    }

    /// The slave's index. Acquire, as for the master's end.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.header.head().load(Ordering::Acquire)
    }

    /// The master's index. Acquire, as for the slave's end.
    #[must_use]
    pub fn tail(&self) -> u16 {
        self.header.tail().load(Ordering::Acquire)
    }

    /// Like [`Ring::interrupts_masked`].
    #[must_use]
    pub fn interrupts_masked(&self) -> bool {
        self.header.interrupts_masked()
    }

    /// Like [`Ring::mask_interrupts`].
    pub fn mask_interrupts(&self, masked: bool) {
        self.header.mask_interrupts(masked);
    }
}

// SAFETY: descriptors are read from, and written to, the shared memory of this ring alone.
unsafe impl RingMemory for Ring {
    #[inline(always)]
    fn mask(&self) -> u16 {
        self.mask
    }

    #[inline(always)]
    fn head(&self) -> u16 {
        self.header.head().load(Ordering::Acquire)
    }

    #[inline(always)]
    fn publish_head(&self, index: u16) {
        self.header.head().store(index, Ordering::Release);
    }

    #[inline(always)]
    fn tail(&self) -> u16 {
        self.header.tail().load(Ordering::Acquire)
    }

    #[inline(always)]
    fn publish_tail(&self, index: u16) {
        self.header.tail().store(index, Ordering::Release);
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
    fn prefetch_to_read(&self, index: u16) {
        prefetch::to_read(self.desc_at(index));
    }

    #[inline(always)]
    fn prefetch_to_write(&self, index: u16) {
        prefetch::to_write(self.desc_at(index));
    }

    #[inline(always)]
    fn complete_desc(&self, index: u16, flags: DescFlags, length: u32) {
        let desc = self.desc_at(index);
        // SAFETY: region is a field, and the first eight bytes are half, of the 16 bytes of a descriptor, aligned to
        // 16.
        unsafe {
            // one store for both fields; the region between them is written back unchanged
            let region = VolatilePtr::new(desc.add(offset_of!(Desc, region)).cast::<u16>()).read();
            let [word, _]: [u64; 2] = transmute!(Desc { flags, region, length, offset: 0, metadata: 0 });
            VolatilePtr::new(desc.cast::<u64>()).write(word);
        }
    }

    #[inline(always)]
    fn set_flags(&self, index: u16, flags: DescFlags) {
        // SAFETY: flags is a field of the 16 bytes of a descriptor, aligned to 16.
        unsafe {
            let field = self.desc_at(index).add(offset_of!(Desc, flags)).cast::<u16>();
            VolatilePtr::new(field).write(flags.bits());
        }
    }
}

/// What a descriptor is stored as: one store where the processor has one of 16 bytes.
#[cfg(target_arch = "x86_64")]
type Words = core::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Words = [u64; 2];
