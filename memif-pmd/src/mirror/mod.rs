//! Copies of what interfaces receive and send, for a writer on a thread of its own.
//!
//! Queues put copies into one bounded [`Mirror`]; where it is full they are dropped and counted, and packets go on. A queue
//! without a mirror does nothing for it: see [`Handle::plain_link`](crate::queue).

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

/// Most bursts that wait for the writer.
const BURSTS: usize = 4096;

/// Copies of what interfaces receive and send, for a capture or an analysis: [`Interface::set_mirror`] begins and ends it for an
/// interface, at any time. Clones are the same mirror, and several interfaces can have one.
///
/// A thread of its own hands the copies to the program's writer, in the order of each queue. They wait in a bounded queue: what
/// finds no room there is not copied, and counted. Nobody waits for the writer.
///
/// Copied are the packets of [`RxQueue::receive`], [`TxQueue::send`] and [`RxQueue::forward_to`]. A program that uses packets where
/// they lie, by [`RxQueue::peek`], [`TxQueue::reserve`] or [`raw`](crate::raw), has them in its hands: these are not.
///
/// Without a mirror, a queue executes no instruction more than it would if there were none.
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
    /// Starts the writer's thread, which calls `write` with each burst of copies. At most `limit` bytes of copies wait for it, and a
    /// little more for their places; of each packet at most the first `snap` bytes are copied.
    ///
    /// The thread ends with [`Mirror::finish`], or once neither the mirror nor a queue that has it is there any more.
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
        // the thread keeps no sender alive: without one it ends
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

    /// Waits until everything that was copied has been written, and ends the writer's thread. What is copied later counts as
    /// dropped. A writer that panicked has ended already.
    pub fn finish(&self) {
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.0.sender.send(Message::End); // an error: it has ended
        let _ = writer.map(JoinHandle::join); // as documented
    }

    /// The queues that have had it, in the order of their numbers ([`MirrorSource::number`]).
    #[must_use]
    pub fn sources(&self) -> Vec<Arc<MirrorSource>> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a queue of an interface has of it.
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

/// Hands over bursts until the end.
fn drain(receiver: &Receiver<Message>, mut write: impl FnMut(&MirroredBurst)) {
    let mut next = receiver.recv().ok();
    while let Some(Message::Burst(mut burst)) = next {
        let following = receiver.try_recv();
        burst.set_last(following.is_err());
        write(&burst);
        next = following.or_else(|_| receiver.recv()).ok();
    }
}
