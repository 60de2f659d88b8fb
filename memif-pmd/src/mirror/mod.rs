//! Copies the packets that interfaces receive and send, for a writer on a thread of its own.
//!
//! Queues put copies into one bounded [`Mirror`]. If it is full, copies are dropped and counted, and the packets themselves pass
//! as usual. A queue without a mirror does no work for this feature: see [`Handle::plain_link`](crate::queue).

mod burst;
mod source;
mod tap;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use memif_os::thread::spawn;
use memif_ring::layout::MAX_PACKET_SIZE;

use crate::error::Error;
use crate::stats::Details;

pub(crate) use burst::Draft;
pub use burst::{MirroredBurst, MirroredPacket};
pub use source::{MirrorDirection, MirrorSource};
pub(crate) use tap::MirrorTap;
use tap::{Message, Shared};

/// Maximum number of bursts that wait for the writer.
const BURSTS: usize = 4096;

/// Copies the packets that interfaces receive and send, for a capture or an analysis. [`Interface::set_mirror`] attaches it to an
/// interface or detaches it, at any time. Several interfaces can share a mirror. Clones are handles of the same mirror.
///
/// A thread of its own hands the copies to the program's writer, in the order of each queue. Copies wait for it in a
/// bounded queue. Packets for which the queue has no room are not copied, but counted. Data threads never wait for the writer.
///
/// [`RxQueue::receive`], [`TxQueue::send`] and [`RxQueue::forward_to`] copy their packets to the mirror. [`RxQueue::peek`],
/// [`TxQueue::reserve`] and [`raw`](crate::raw) do not: the program works on these packets in place, and can copy them itself.
///
/// A queue without a mirror executes the same instructions as if this feature did not exist.
///
/// ```
/// use memif_pmd::{Memif, Mirror};
///
/// let memif = Memif::start()?;
/// let interface = memif.interface("@mirrored").master().open()?;
/// let mirror = Mirror::start(64 << 20, usize::MAX, |burst| {
///     for packet in burst.packets() {
///         println!("{} {} bytes", burst.source().direction(), packet.length);
///     }
/// })?;
/// interface.set_mirror(Some(&mirror))?;
/// // ... packets pass ...
/// interface.set_mirror(None)?;
/// mirror.finish();
/// # Ok::<(), memif_pmd::Error>(())
/// ```
///
/// [`Interface::set_mirror`]: crate::Interface::set_mirror
/// [`RxQueue::receive`]: crate::RxQueue::receive
/// [`RxQueue::forward_to`]: crate::RxQueue::forward_to
/// [`RxQueue::peek`]: crate::RxQueue::peek
/// [`TxQueue::send`]: crate::TxQueue::send
/// [`TxQueue::reserve`]: crate::TxQueue::reserve
#[derive(Clone)]
pub struct Mirror(Arc<Shared>);

impl Mirror {
    /// Starts the writer's thread, which calls `write` with each burst of copies. At most `limit` bytes of copies wait for
    /// it, plus a few bytes of bookkeeping per packet. At most the first `snap` bytes of each packet are copied.
    ///
    /// The thread ends with [`Mirror::finish`], or when the last handle of the mirror and the last queue with it are dropped.
    ///
    /// # Errors
    /// [`Error::OutOfThreads`], [`Error::OutOfMemory`], [`Error::System`]: the kernel refuses the thread.
    pub fn start(
        limit: usize,
        snap: usize,
        mut write: impl FnMut(&MirroredBurst) + Send + 'static,
    ) -> Result<Self, Error> {
        let (sender, receiver) = sync_channel(BURSTS);
        let shared = Arc::new(Shared {
            sender,
            limit,
            snap: snap.min(MAX_PACKET_SIZE),
            waiting: AtomicUsize::new(0),
            writer: Mutex::default(),
            sources: Mutex::default(),
        });
        // the thread has no sender of its own, so it ends when all others are dropped
        let waiting = Arc::downgrade(&shared);
        let body = move || {
            drain(&receiver, |burst| {
                write(burst);
                if let Some(shared) = waiting.upgrade() {
                    shared.waiting.fetch_sub(burst.size(), Ordering::Relaxed);
                }
            });
        };
        let writer = spawn("memif-mirror", None, body).map_err(Error::thread)?;
        *shared.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(Self(shared))
    }

    /// Waits until the writer has received all copies, and ends its thread. Later packets count as dropped. If the writer has
    /// panicked, its thread has ended already.
    pub fn finish(&self) {
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.0.sender.send(Message::End); // fails if the thread has ended
        let _ = writer.map(JoinHandle::join); // as documented
    }

    /// All queues that have ever had this mirror, in the order of their numbers ([`MirrorSource::number`]).
    #[must_use]
    pub fn sources(&self) -> Vec<Arc<MirrorSource>> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The handle of this mirror for a queue of an interface.
    pub(crate) fn tap(&self, interface: &Details, direction: MirrorDirection, queue: u16) -> MirrorTap {
        let mut sources = self.0.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let source = MirrorSource::new(sources.len(), interface, direction, queue);
        let source = Arc::new(source);
        sources.push(Arc::clone(&source));
        MirrorTap::new(&self.0, source)
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}

/// Calls the writer with each burst, until the mirror ends.
fn drain(receiver: &Receiver<Message>, mut write: impl FnMut(&MirroredBurst)) {
    let mut next = receiver.recv().ok();
    while let Some(Message::Burst(mut burst)) = next {
        let following = receiver.try_recv();
        burst.set_last(following.is_err());
        write(&burst);
        next = following.or_else(|_| receiver.recv()).ok();
    }
}
