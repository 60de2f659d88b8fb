//! What the two interfaces of the library differ in, for the calls that they share ([`crate::calls`]).

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use memif_pmd::{RxQueue, TxQueue};

use crate::abi;
use crate::cell::Traits;
use crate::code::{Code, Moved, Outcome};
use crate::conn::{Held, Wish};
use crate::details::Packed;
use crate::socket::Socket;

/// One of the two interfaces: its error numbers, its types, and how its buffers move.
pub(crate) trait Face {
    /// `memif_conn_args_t`
    type ConnArgs;
    /// `memif_buffer_t`
    type Buffer;
    /// `memif_details_t`
    type Details;
    /// `memif_queue_details_t`
    type QueueDetails: Copy + From<abi::QueueDetails>;
    /// `memif_details_t` has regions and an error.
    const DESCRIBES_REGIONS: bool;

    /// The number of an error.
    fn number(code: Code) -> c_int;

    /// The socket of a new interface, and what the interface is to be.
    ///
    /// # Errors
    /// An argument is out of range, or there is no such socket.
    fn wish(args: &Self::ConnArgs) -> Result<(Arc<Socket>, Wish), Code>;

    /// The details, of what was packed into the program's buffer.
    fn details(packed: Packed<Self::QueueDetails>) -> Self::Details;

    /// Most entries of the program's array that an allocation may use.
    fn alloc_room(traits: &Traits, count: u16, size: u16) -> usize;

    /// `memif_buffer_alloc` of `count` packets of `size` bytes.
    ///
    /// # Errors
    /// [`Code::Disconnected`]
    fn allocate(
        cell: Held<TxQueue>,
        bufs: &mut [MaybeUninit<Self::Buffer>],
        request: (u16, u16),
    ) -> Result<Moved, Code>;

    /// `memif_tx_burst`
    ///
    /// # Errors
    /// [`Code::Disconnected`]
    fn send(cell: Held<TxQueue>, bufs: &[Self::Buffer]) -> Result<Moved, Code>;

    /// `memif_rx_burst`
    ///
    /// # Errors
    /// [`Code::Disconnected`]
    fn receive(cell: Held<RxQueue>, bufs: &mut [MaybeUninit<Self::Buffer>]) -> Result<Moved, Code>;
}

/// Runs a call of C: what it comes to as a number of the interface.
#[inline(always)]
pub(crate) fn call<F: Face>(body: impl FnOnce() -> Outcome) -> c_int {
    numbered::<F>(|| body().map(|()| F::number(Code::Success)))
}

/// Like [`call`], for a call that returns a number of the program's own where it succeeds.
#[inline(always)]
pub(crate) fn numbered<F: Face>(body: impl FnOnce() -> Result<c_int, Code>) -> c_int {
    value(F::number(Code::Syscall), || body().or_else(|code| Ok(F::number(code))))
}

/// Like [`call`], for functions that return a value. A panic, of which there should be none, ends here.
#[inline(always)]
pub(crate) fn value<T>(otherwise: T, body: impl FnOnce() -> Result<T, Code>) -> T {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(_)) | Err(_) => otherwise,
    }
}
