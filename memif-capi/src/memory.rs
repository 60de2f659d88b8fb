//! Memory of the C program: arrays and texts that it passes, buffers that it wants filled, and what its allocator gave.
//!
//! The program vouches that a pointer that is not NULL points to what the header says; nothing else about it is believed.
#![allow(unsafe_code)] // reads and writes through pointers of C

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use crate::abi::{Alloc, Free};
use crate::code::Code;

/// The first `len` elements of an array of C.
///
/// # Errors
/// [`Code::InvalArg`]: `start` is NULL or misaligned, and `len` is not 0.
///
/// # Safety
/// If `start` is neither NULL nor misaligned and `len` is not 0, then for `'a`
/// - `start` points to `len` consecutive `T` of one allocation, which may be read and written;
/// - they hold values of `T` (any bytes will do where `T` is a [`MaybeUninit`]);
/// - nobody else reads or writes them.
#[inline(always)]
pub(crate) unsafe fn array<'a, T>(start: *mut T, len: usize) -> Result<&'a mut [T], Code> {
    match NonNull::new(start) {
        _ if len == 0 => Ok(&mut []),
        Some(start) if start.is_aligned() => {
            // SAFETY: `start` is not NULL, and aligned; the caller vouches that it points to `len` values of `T`, readable and
            // writable for `'a` and used by nobody else. They are in one allocation, so no more than `isize::MAX` bytes.
            Ok(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) })
        }
        _ => Err(Code::InvalArg),
    }
}

/// The bytes of a text of C without its NUL; `None` for NULL.
///
/// # Safety
/// A `text` that is not NULL points to bytes that end with a NUL, which may be read and do not change during the call.
pub(crate) unsafe fn c_text(text: *const c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: `text` is not NULL, and the caller vouches for a NUL behind readable bytes that stay as they are.
    Some(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// The bytes of a text field up to its first NUL, or all.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    field.get(..end).unwrap_or_default()
}

/// Works like [`text`], for a field of `char`, which is signed on some architectures.
pub(crate) fn char_text(field: &[c_char]) -> Vec<u8> {
    field.iter().flat_map(|byte| byte.to_ne_bytes()).take_while(|byte| *byte != 0).collect()
}

/// A text of the library's as C takes it: `char *` for historical reasons, never to be written to.
pub(crate) const fn as_char(text: &'static CStr) -> *mut c_char {
    text.as_ptr().cast_mut()
}

/// The functions that a program gave for memory of its socket's handles; `malloc` and `free` where it gave none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Allocator {
    pub(crate) alloc: Option<Alloc>,
    pub(crate) free: Option<Free>,
}

/// A value in memory from a program's allocator.
pub(crate) struct Record<T> {
    value: NonNull<T>,
    free: Option<Free>,
}

// SAFETY: a Record owns its value as a Box does, so it may be sent where its value may. That the program's functions may be
// called on any thread is said in the header.
unsafe impl<T: Send> Send for Record<T> {}
// SAFETY: `&Record<T>` gives `&T` alone, which other threads may have where `T: Sync`.
unsafe impl<T: Sync> Sync for Record<T> {}

impl<T: Copy> Record<T> {
    /// Allocates with the program's function.
    ///
    /// # Errors
    /// [`Code::NoMem`]: it gives NULL, or memory that is not aligned for a `T`.
    pub(crate) fn new(value: T, allocator: Allocator) -> Result<Self, Code> {
        let alloc = allocator.alloc.unwrap_or(libc::malloc);
        // SAFETY: `alloc` is malloc, or a function of the program's with malloc's contract; both take any size.
        let memory = unsafe { alloc(size_of::<T>()) };
        let place = NonNull::new(memory.cast::<T>()).ok_or(Code::NoMem)?;
        let record = Self { value: place, free: allocator.free };
        if !place.is_aligned() {
            return Err(Code::NoMem); // returned by the record's drop
        }
        // SAFETY: `place` is not NULL, aligned for `T`, and points to `size_of::<T>()` fresh bytes that nobody else uses.
        unsafe { place.write(value) };
        Ok(record)
    }

    /// The value.
    pub(crate) const fn get(&self) -> &T {
        // SAFETY: `new` has written a `T` there, aligned; it lives until drop, and nobody changes it.
        unsafe { self.value.as_ref() }
    }
}

impl<T> Drop for Record<T> {
    fn drop(&mut self) {
        let free = self.free.unwrap_or(libc::free);
        let memory: *mut c_void = self.value.as_ptr().cast();
        // SAFETY: `memory` came from the allocator that `free` belongs to, is returned once, and not used afterwards.
        unsafe { free(memory) };
    }
}

/// A buffer of the program's that texts and arrays are packed into, one behind the other.
pub(crate) struct Packer<'a> {
    rest: &'a mut [MaybeUninit<u8>],
    /// Something did not fit.
    pub(crate) short: bool,
}

impl<'a> Packer<'a> {
    pub(crate) const fn new(buffer: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { rest: buffer, short: false }
    }

    /// Packs a text with its NUL; NULL when it does not fit.
    pub(crate) fn text(&mut self, text: &[u8]) -> *mut u8 {
        let Some(place) = self.take(text.len() + 1) else { return ptr::null_mut() };
        for (to, from) in place.iter_mut().zip(text.iter().chain(&[0])) {
            to.write(*from);
        }
        place.as_mut_ptr().cast()
    }

    /// Packs an array; NULL when it does not fit.
    pub(crate) fn array<T: Copy>(&mut self, items: &[T]) -> *mut T {
        let bytes = size_of_val(items);
        let pad = self.rest.as_ptr().align_offset(align_of::<T>());
        let Some(place) = self.take(pad.saturating_add(bytes)) else { return ptr::null_mut() };
        let Some(place) = place.get_mut(pad..) else { return ptr::null_mut() };
        let start = place.as_mut_ptr().cast::<T>();
        // SAFETY: `items` can be read; `start` is aligned for `T` and begins a place of as many bytes as the items have, which
        // is exclusively ours and so does not overlap them; `T: Copy` may be copied bytewise.
        unsafe { start.copy_from_nonoverlapping(items.as_ptr(), items.len()) };
        start
    }

    fn take(&mut self, len: usize) -> Option<&'a mut [MaybeUninit<u8>]> {
        let rest = std::mem::take(&mut self.rest);
        let Some((place, rest)) = rest.split_at_mut_checked(len) else {
            // nothing smaller goes in behind it: what is there is then a prefix of the whole
            self.short = true;
            return None;
        };
        self.rest = rest;
        Some(place)
    }
}
