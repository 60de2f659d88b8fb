//! The calls that both interfaces have, for either [`Face`].
//!
//! A pointer of C to one value arrives as `Option<&Cell<T>>`, NULL being `None`: the program may use the value from within
//! its own functions while the call runs.
#![allow(unsafe_code)] // makes slices of the arrays of C

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use libc::ssize_t;

use crate::abi::Handle;
use crate::callback::Callbacks;
use crate::cell::QueueCell;
use crate::code::{Code, Moved};
use crate::conn::{Conn, Held, rx, tx};
use crate::details;
use crate::face::{Face, call};
use crate::memory::{Packer, array};

/// `memif_create`
pub(crate) fn create<F: Face>(
    conn: Option<&Cell<Handle>>,
    args: Option<&F::ConnArgs>,
    callbacks: Callbacks,
) -> c_int {
    call::<F>(|| {
        let (Some(conn), Some(args)) = (conn, args) else { return Err(Code::InvalArg) };
        if !conn.get().is_null() {
            return Err(Code::Conn);
        }
        let (socket, wish) = F::wish(args)?;
        let made = Conn::create(&socket, &wish, callbacks)?;
        conn.set(made.handle());
        Ok(())
    })
}

/// `memif_delete`
pub(crate) fn delete<F: Face>(conn: Option<&Cell<Handle>>) -> c_int {
    call::<F>(|| {
        let conn = conn.ok_or(Code::InvalArg)?;
        Conn::find(conn.get())?.delete()?;
        conn.set(ptr::null_mut());
        Ok(())
    })
}

/// `memif_set_rx_mode`
pub(crate) fn set_rx_mode<F: Face>(conn: Handle, rx_mode: c_int, qid: u16) -> c_int {
    call::<F>(|| Conn::find(conn)?.set_rx_mode(rx_mode, qid))
}

/// `memif_get_queue_efd`
pub(crate) fn get_queue_efd<F: Face>(conn: Handle, qid: u16, fd: Option<&Cell<c_int>>) -> c_int {
    call::<F>(|| {
        if let Some(fd) = fd {
            fd.set(-1);
        }
        let found = Conn::find(conn)?;
        let fd = fd.ok_or(Code::InvalArg)?;
        fd.set(found.queue_efd(qid)?);
        Ok(())
    })
}

/// `memif_get_details`
///
/// # Safety
/// The conditions of [`array()`] for the `len` bytes at `buf`.
pub(crate) unsafe fn get_details<F: Face>(
    conn: Handle,
    md: Option<&mut MaybeUninit<F::Details>>,
    buf: *mut c_char,
    len: ssize_t,
) -> c_int {
    call::<F>(|| {
        let conn = Conn::find(conn)?;
        let len = usize::try_from(len).map_err(|_| Code::InvalArg)?;
        let md = md.ok_or(Code::InvalArg)?;
        // SAFETY: the caller's, for `len` elements: char and `MaybeUninit<u8>` have the same size and no requirements.
        let buffer = unsafe { array(buf.cast::<MaybeUninit<u8>>(), len) }?;
        let mut packer = Packer::new(buffer);
        md.write(F::details(details::pack::<F::QueueDetails>(&conn, F::DESCRIBES_REGIONS, &mut packer)?));
        if packer.short { Err(Code::NobufDet) } else { Ok(()) }
    })
}

/// Runs a data call on an array of C: sets `out` to what was moved, also when that is nothing.
///
/// # Safety
/// The conditions of [`array()`] for as many elements at `bufs` as `len` returns.
#[inline(always)]
pub(crate) unsafe fn burst<F: Face, Q: 'static, T>(
    out: Option<&Cell<u16>>,
    queue: impl FnOnce() -> Result<Held<Q>, Code>,
    (bufs, len): (*mut T, impl FnOnce(&QueueCell<Q>) -> usize),
    act: impl FnOnce(Held<Q>, &mut [T]) -> Result<Moved, Code>,
) -> c_int {
    call::<F>(|| {
        if let Some(out) = out {
            out.set(0);
        }
        let cell = queue()?;
        let out = out.ok_or(Code::InvalArg)?;
        // SAFETY: the caller's, for as many elements.
        let bufs = unsafe { array(bufs, len(&cell)) }?;
        let (count, outcome) = act(cell, bufs)?;
        out.set(count);
        outcome
    })
}

/// `memif_buffer_alloc`
///
/// # Safety
/// The conditions of [`array()`] for the elements at `bufs`, of which the header says how many there are.
#[inline(always)]
pub(crate) unsafe fn buffer_alloc<F: Face>(
    (conn, qid): (Handle, u16),
    (bufs, count, size): (*mut F::Buffer, u16, u16),
    out: Option<&Cell<u16>>,
) -> c_int {
    let room = |cell: &QueueCell<_>| F::alloc_room(&cell.traits, count, size);
    let act = |cell, bufs: &mut _| F::allocate(cell, bufs, (count, size));
    // SAFETY: the caller's, for as many elements as `Face::alloc_room` gives: those of the header. They are only written.
    unsafe { burst::<F, _, _>(out, || tx(conn, qid), (bufs.cast::<MaybeUninit<F::Buffer>>(), room), act) }
}

/// `memif_tx_burst`
///
/// # Safety
/// The conditions of [`array()`] for the `count` elements at `bufs`.
#[inline(always)]
pub(crate) unsafe fn tx_burst<F: Face>(
    (conn, qid): (Handle, u16),
    (bufs, count): (*mut F::Buffer, u16),
    out: Option<&Cell<u16>>,
) -> c_int {
    let act = |cell, bufs: &mut [F::Buffer]| F::send(cell, bufs);
    // SAFETY: the caller's, for `count` elements.
    unsafe { burst::<F, _, _>(out, || tx(conn, qid), (bufs, |_: &_| count.into()), act) }
}

/// `memif_rx_burst`
///
/// # Safety
/// The conditions of [`array()`] for the `count` elements at `bufs`, which need not hold values.
#[inline(always)]
pub(crate) unsafe fn rx_burst<F: Face>(
    (conn, qid): (Handle, u16),
    (bufs, count): (*mut F::Buffer, u16),
    out: Option<&Cell<u16>>,
) -> c_int {
    let bufs = bufs.cast::<MaybeUninit<F::Buffer>>();
    let act = |cell, bufs: &mut _| F::receive(cell, bufs);
    // SAFETY: the caller's, for `count` elements, which are only written.
    unsafe { burst::<F, _, _>(out, || rx(conn, qid), (bufs, |_: &_| count.into()), act) }
}
