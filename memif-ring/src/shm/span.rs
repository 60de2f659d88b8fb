//! Bytes of a region: spans to read, and spans to write.
#![allow(unsafe_code)] // raw pointers into mapped memory

use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::NonNull;

use super::fences::settle;
use super::prefetch;
use crate::copy;

/// Bytes of a shared region, to be read by copying: a received packet, or a piece of one.
///
/// The peer may write these bytes at any time: what is copied out is a private snapshot, and two copies may differ.
///
/// A span borrows the ring end that holds the buffer. It stays on that end's thread:
///
/// ```compile_fail,E0277
/// fn shared_between_threads<T: Sync>() {}
/// shared_between_threads::<memif_ring::shm::Span<'_>>();
/// ```
/// ```compile_fail,E0277
/// fn sent_to_a_thread<T: Send>() {}
/// sent_to_a_thread::<memif_ring::shm::Span<'_>>();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    // makes the span neither Send nor Sync
    start: NonNull<u8>,
    len: usize,
    region: PhantomData<&'a ()>,
}

/// Bytes of a shared region that this side holds alone: a buffer to fill, or a received packet to change before it is
/// forwarded. Reads as a [`Span`] does.
///
/// Exclusive on this side, as `&mut` is; the peer may still read and write. Two threads cannot write one buffer:
///
/// ```compile_fail,E0277
/// use memif_ring::mock::MockRegion;
///
/// let region = MockRegion::new(4, 256, 256);
/// let mut buffer = region.span(0, 64)?;
/// std::thread::scope(|threads| {
///     threads.spawn(|| buffer.copy_from(b"one"));
///     threads.spawn(|| region.span(0, 64).map(|mut buffer| buffer.copy_from(b"two")));
/// });
/// # Ok::<(), memif_ring::fault::DropReason>(())
/// ```
#[derive(Debug)]
pub struct SpanMut<'a>(Span<'a>);

impl<'a> Span<'a> {
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

    /// Starts to fetch the cache lines of the first `bytes` bytes, or of all if there are fewer, which will be read soon.
    /// Many fetches at once take as long as one.
    #[inline(always)]
    pub fn prefetch_to_read(&self, bytes: usize) {
        self.each_line(bytes, prefetch::to_read);
    }

    #[inline(always)]
    fn each_line(&self, bytes: usize, fetch: impl Fn(NonNull<u8>)) {
        let end = bytes.min(self.len);
        let mut at = 0;
        while at < end {
            // SAFETY: at < len, so the address is within the span.
            fetch(unsafe { self.start.add(at) });
            at += prefetch::LINE;
        }
    }

    /// The first `len` bytes, or the whole span if it is shorter.
    #[inline(always)]
    #[must_use]
    pub fn first(self, len: usize) -> Self {
        Self { len: self.len.min(len), ..self }
    }

    /// Address of the span in this process, for code that takes raw pointers. Reads and writes through it are races
    /// with the peer: see [`Span::as_slice`].
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Copies from the start of the span into `dst`: as many bytes as both hold. Returns their number.
    ///
    /// A burst of copies ends with [`settle`]; [`Span::read_at`] includes it.
    #[inline(always)]
    pub fn copy_to(&self, dst: &mut [u8]) -> usize {
        let len = self.len.min(dst.len());
        // SAFETY: both hold `len` bytes; `dst` is private memory, so it does not overlap the shared span.
        unsafe { copy::copy(dst.as_mut_ptr(), self.start.as_ptr(), len) };
        len
    }

    /// Copies from `offset` bytes into the span into `dst`: as many bytes as there are. Returns their number: 0 for an
    /// offset at or past the end.
    pub fn read_at(&self, offset: usize, dst: &mut [u8]) -> usize {
        let len = self.skip(offset).copy_to(dst);
        settle();
        len
    }

    /// The bytes in place, for those who trust their peer.
    ///
    /// # Safety
    /// Nobody writes these bytes for `'a`: neither the peer nor this process.
    #[must_use]
    pub const unsafe fn as_slice(&self) -> &'a [u8] {
        // SAFETY: the span is valid for 'a; the caller promises that nobody writes to it.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    #[inline(always)]
    fn skip(&self, offset: usize) -> Self {
        let offset = offset.min(self.len);
        // SAFETY: offset <= len, so the rest is within the span.
        Self { start: unsafe { self.start.add(offset) }, len: self.len - offset, region: PhantomData }
    }
}

impl<'a> SpanMut<'a> {
    /// # Safety
    /// `start` is valid for reads and writes of `len` bytes for `'a`, and no reference to them is formed.
    #[inline(always)]
    pub(crate) const unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        Self(Span { start, len, region: PhantomData })
    }

    /// The same bytes, to be read alone.
    #[inline(always)]
    #[must_use]
    pub const fn into_span(self) -> Span<'a> {
        self.0
    }

    /// Like [`Span::prefetch_to_read`], for bytes that will be written soon: a line that the peer has read comes back from
    /// its core.
    #[inline(always)]
    pub fn prefetch_to_write(&self, bytes: usize) {
        self.0.each_line(bytes, prefetch::to_write);
    }

    /// Like [`SpanMut::prefetch_to_write`] for the `bytes` bytes from `offset` on, if there are so many.
    #[inline(always)]
    pub(crate) fn prefetch_part_to_write(&self, offset: usize, bytes: usize) {
        if offset + bytes <= self.0.len {
            self.0.skip(offset).each_line(bytes, prefetch::to_write);
        }
    }

    /// The `len` bytes from `offset` on, or fewer at the end.
    #[inline(always)]
    pub(crate) fn part(&mut self, offset: usize, len: usize) -> SpanMut<'_> {
        SpanMut(self.0.skip(offset).first(len))
    }

    /// Copies `src` to the start of the span: as many bytes as both hold. Returns their number.
    #[inline(always)]
    pub fn copy_from(&mut self, src: &[u8]) -> usize {
        let len = self.0.len.min(src.len());
        // SAFETY: both hold `len` bytes; `src` is private memory, so it does not overlap the shared span.
        unsafe { copy::copy(self.0.start.as_ptr(), src.as_ptr(), len) };
        len
    }

    /// Copies `src` to `offset` bytes into the span: as many bytes as fit. Returns their number: 0 for an offset at or
    /// past the end.
    pub fn write_at(&mut self, offset: usize, src: &[u8]) -> usize {
        SpanMut(self.0.skip(offset)).copy_from(src)
    }
}

impl<'a> Deref for SpanMut<'a> {
    type Target = Span<'a>;

    #[inline(always)]
    fn deref(&self) -> &Span<'a> {
        &self.0
    }
}
