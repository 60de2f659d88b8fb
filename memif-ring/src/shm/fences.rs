//! The two barriers of the data path.

#[cfg(not(loom))]
use core::sync::atomic::fence;
use core::sync::atomic::{Ordering, compiler_fence};
#[cfg(loom)]
use loom::sync::atomic::fence;

/// Ends a burst of copies: no shared byte that was read before is read again afterwards (rule 4). A barrier for the
/// compiler alone, no instruction.
#[inline(always)]
pub fn settle() {
    compiler_fence(Ordering::SeqCst);
}

/// Orders an earlier store before a later load, at both ends of a wake-up: the sender calls it between publishing its
/// index and reading the interrupt flag, the receiver between clearing that flag and its last look at the ring. The two
/// calls pair with each other: at least one side sees what the other one stored.
#[inline(always)]
pub fn wake_fence() {
    fence(Ordering::SeqCst);
}
