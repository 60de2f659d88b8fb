//! What a program without a C library has to bring along: an entry, an exit, a panic handler and the four memory
//! functions that compiled code calls.
#![allow(unsafe_code)] // assembly, and functions with C signatures

use core::arch::{asm, global_asm};
use core::panic::PanicInfo;

// The kernel enters with the stack pointer at a multiple of 16; `call` leaves it as the C calling convention has it.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {main}", "ud2", main = sym crate::main);

/// Ends the process: `exit_group(2)`.
pub fn exit(status: i32) -> ! {
    // SAFETY: system call 231 takes a status and does not return.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") status, options(noreturn, nostack)) }
}

#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    exit(101)
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(dst: *mut u8, src: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller vouches for `len` bytes at both ends; the direction flag is clear by the calling convention.
    unsafe {
        asm!("rep movsb", inout("rcx") len => _, inout("rdi") dst => _, inout("rsi") src => _,
            options(nostack, preserves_flags));
    }
    dst
}

/// # Safety
/// As memmove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(dst: *mut u8, src: *const u8, len: usize) -> *mut u8 {
    if dst.addr().wrapping_sub(src.addr()) >= len {
        // SAFETY: a copy forwards reads each byte before it is overwritten.
        return unsafe { memcpy(dst, src, len) };
    }
    // SAFETY: as in `memcpy`, backwards: `dst` begins within the source, so `len` is above 0. The flag is restored.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") len => _, inout("rdi") dst.add(len - 1) => _,
            inout("rsi") src.add(len - 1) => _, options(nostack));
    }
    dst
}

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(dst: *mut u8, byte: i32, len: usize) -> *mut u8 {
    // SAFETY: the caller vouches for `len` bytes; the direction flag is clear by the calling convention.
    unsafe {
        asm!("rep stosb", inout("rcx") len => _, inout("rdi") dst => _, in("eax") byte,
            options(nostack, preserves_flags));
    }
    dst
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    for at in 0..len {
        // SAFETY: at < len, and the caller vouches for `len` bytes at both. Volatile, or the loop would become a call
        // of this very function.
        let (a, b) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    // SAFETY: the same promise.
    unsafe { memcmp(a, b, len) }
}
