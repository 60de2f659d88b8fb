//! Access to shared memory. Nothing outside of this module and of [`copy`](crate::copy) touches it.
//!
//! A peer may write any byte of a shared region at any moment, also between two of our reads. [`Ring`], [`Span`] and
//! [`SpanMut`] follow these rules, so that the rest of the crate needs no `unsafe`:
//!
//! 1. **No references.** No `&T`, `&mut T` or slice over shared bytes is formed: the compiler may read behind one as
//!    often as it likes, and assumes that nobody else writes. There are raw pointers, and copies.
//! 2. **Indices and flags are atomics.** Our own index is stored with Release, after the descriptors and bytes that it
//!    publishes. The peer's index is loaded with Acquire, before what it published is read. Our own index is never
//!    loaded: its private copy is the truth.
//! 3. **A descriptor is read once**, as one volatile 16-byte snapshot. The snapshot is checked and used; what the peer
//!    writes afterwards does not matter. Volatile, because the optimiser may repeat a plain load.
//! 4. **Packet bytes are only copied**, never examined in place. A compiler barrier ([`settle`]) follows each burst of
//!    copies: the optimiser may forward a later load of the private copy to the shared source, which is a double fetch.
//! 5. **Geometry is checked once**, when a ring or region is attached. Slots are masked here, so no index can leave the
//!    ring.
//! 6. **One thread of ours for one buffer.** Spans come from the ring end that holds the slot and borrow it; neither
//!    spans nor rings are `Sync`, and spans are not `Send`. So no two threads of this process write one buffer, unless
//!    the peer names it in two rings.
//!
//! A copy that races with the peer's writes is a data race by the letter of the memory model. Bulk bytes cannot be
//! copied at speed without one. The bytes are untyped and any value is valid, so the result is a mix of old and new
//! bytes and, by rule 4, nothing else.

mod fences;
mod prefetch;
mod ring;
mod ring_memory;
mod span;

pub use fences::{settle, wake_fence};
pub use ring::{Ring, RingError, RingObserver};
pub use ring_memory::RingMemory;
pub use span::{Span, SpanMut};
