//! Memory that the C program owns: what it passes to us, what we write back, and what its allocator gave us.
//!
//! C vouches that a pointer that is not NULL points to what the header says; nothing else about it is believed.
#![allow(unsafe_code)] // reads and writes through pointers of C

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;

use libc::size_t;

use crate::abi::{Alloc, Free};
use crate::code::Code;

/// A copy of what `pointer` points to; an error for NULL.
///
/// # Safety
/// A `pointer` that is not NULL points to a `T` that may be read.
pub(crate) unsafe fn read<T: Copy>(pointer: *const T) -> Result<T, Code> {
    if pointer.is_null() {
        return Err(Code::InvalArg);
    }
    // SAFETY: not NULL, and then the caller vouches for it; unaligned, as C may have packed it.
    Ok(unsafe { pointer.read_unaligned() })
}

/// Writes `value` to where `pointer` points; an error for NULL.
///
/// # Safety
/// A `pointer` that is not NULL points to a `T` that may be written.
pub(crate) unsafe fn write<T: Copy>(pointer: *mut T, value: T) -> Result<(), Code> {
    if pointer.is_null() {
        return Err(Code::InvalArg);
    }
    // SAFETY: not NULL, and then the caller vouches for it; unaligned, as C may have packed it.
    unsafe { pointer.write_unaligned(value) };
    Ok(())
}

/// The `len` elements from `pointer`; none when `len` is 0, an error for NULL otherwise.
///
/// # Safety
/// A `pointer` that is not NULL points to `len` initialised `T` that nobody else uses for `'a`.
pub(crate) unsafe fn slice_mut<'a, T>(pointer: *mut T, len: usize) -> Result<&'a mut [T], Code> {
    match NonNull::new(pointer) {
        _ if len == 0 => Ok(&mut []),
        Some(pointer) if pointer.is_aligned() => {
            // SAFETY: neither NULL nor misaligned, and the caller vouches for the rest.
            Ok(unsafe { std::slice::from_raw_parts_mut(pointer.as_ptr(), len) })
        }
        _ => Err(Code::InvalArg),
    }
}

/// The bytes of a text field up to its first NUL, or all.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    field.get(..end).unwrap_or_default()
}

/// As [`text`], for a field of `char`.
pub(crate) fn char_text(field: &[c_char]) -> Vec<u8> {
    field.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect()
}

/// The functions that a program gave for memory of its socket's handles; `malloc` and `free` where it gave none.
#[derive(Clone, Copy)]
pub(crate) struct Allocator {
    pub(crate) alloc: Option<Alloc>,
    pub(crate) free: Option<Free>,
}

/// A value in memory from a program's allocator.
pub(crate) struct Record<T> {
    value: NonNull<T>,
    free: Option<Free>,
}

// SAFETY: a Record owns its value as a Box does; a program whose allocator is tied to a thread must use one thread.
unsafe impl<T: Send> Send for Record<T> {}
// SAFETY: as above; `&Record` gives `&T` alone.
unsafe impl<T: Sync> Sync for Record<T> {}

impl<T: Copy> Record<T> {
    /// Allocates with the program's function; an error when it gives nothing, or nothing that could hold a `T`.
    pub(crate) fn new(value: T, allocator: Allocator) -> Result<Self, Code> {
        let size: size_t = size_of::<T>();
        let alloc = allocator.alloc.unwrap_or(libc::malloc);
        // SAFETY: the program vouches for its function, as it would for malloc; libc's takes any size.
        let memory: *mut c_void = unsafe { alloc(size) };
        let place = NonNull::new(memory.cast::<T>()).ok_or(Code::NoMem)?;
        let record = Self { value: place, free: allocator.free };
        if !place.is_aligned() {
            return Err(Code::NoMem); // given back by the record's drop
        }
        // SAFETY: fresh memory of the size asked for, aligned as just checked.
        unsafe { place.write(value) };
        Ok(record)
    }

    /// The value.
    pub(crate) const fn get(&self) -> &T {
        // SAFETY: written by `new`, and nobody changes it.
        unsafe { self.value.as_ref() }
    }
}

impl<T> Drop for Record<T> {
    fn drop(&mut self) {
        let memory = self.value.as_ptr().cast();
        let free = self.free.unwrap_or(libc::free);
        // SAFETY: the memory came from the allocator that this function belongs to, and is not used any more.
        unsafe { free(memory) };
    }
}

/// A buffer of the caller's that texts and arrays are packed into, one behind the other.
pub(crate) struct Packer<'a> {
    rest: &'a mut [u8],
    /// Something did not fit.
    pub(crate) short: bool,
}

impl<'a> Packer<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { rest: buffer, short: false }
    }

    /// Packs a text with its NUL; NULL when it does not fit.
    pub(crate) fn text(&mut self, text: &[u8]) -> *mut u8 {
        let Some(place) = self.take(text.len() + 1) else { return std::ptr::null_mut() };
        for (to, from) in place.iter_mut().zip(text.iter().chain(&[0])) {
            *to = *from;
        }
        place.as_mut_ptr()
    }

    /// Packs an array; NULL when it does not fit.
    pub(crate) fn array<T: Copy>(&mut self, items: &[T]) -> *mut T {
        let skip = self.rest.as_ptr().align_offset(align_of::<T>());
        let Some(place) = self.take(skip.saturating_add(size_of_val(items))) else {
            return std::ptr::null_mut();
        };
        let Some(place) = place.get_mut(skip..) else { return std::ptr::null_mut() };
        let start = place.as_mut_ptr().cast::<T>();
        // SAFETY: the place has as many bytes as the items, was aligned for them, and is the caller's alone.
        unsafe { start.copy_from_nonoverlapping(items.as_ptr(), items.len()) };
        start
    }

    fn take(&mut self, len: usize) -> Option<&'a mut [u8]> {
        let rest = std::mem::take(&mut self.rest);
        match rest.split_at_mut_checked(len) {
            Some((place, rest)) => {
                self.rest = rest;
                Some(place)
            }
            None => {
                // nothing smaller goes in behind it: what is there is then a prefix of the whole
                self.short = true;
                None
            }
        }
    }
}

/// A text of the library's as C takes it: `char *` for historical reasons, never to be written to.
pub(crate) const fn as_char(text: &'static CStr) -> *mut c_char {
    text.as_ptr().cast_mut()
}
