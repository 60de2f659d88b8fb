//! Copies of what interfaces receive and send, for a writer on a thread of its own.
//!
//! Queues put copies into one bounded [`Mirror`]; where it is full they are dropped and counted, and packets go on. A queue
//! without a mirror does nothing for it: see [`Handle::plain_link`](crate::queue).

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use memif_os::thread::spawn;
use memif_ring::layout::MAX_PACKET_SIZE;
use memif_ring::message::{Direction, Mode};

use crate::config::Role;
use crate::error::Error;
use crate::stats::Details;

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

struct Shared {
    sender: SyncSender<Message>,
    /// Most bytes that wait.
    limit: usize,
    /// Most bytes that are copied of a packet.
    snap: usize,
    /// Bytes that wait.
    waiting: AtomicUsize,
    writer: Mutex<Option<JoinHandle<()>>>,
    sources: Mutex<Vec<Arc<MirrorSource>>>,
}

enum Message {
    Burst(MirroredBurst),
    End,
}

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
                    shared.waiting.fetch_sub(burst.bytes.len(), Ordering::Relaxed);
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
        let source = MirrorSource {
            number: sources.len(),
            socket: interface.socket.clone(),
            id: interface.id,
            role: interface.role,
            mode: interface.mode,
            direction,
            queue,
            packets: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        };
        let source = Arc::new(source);
        sources.push(Arc::clone(&source));
        MirrorTap { shared: Arc::clone(&self.0), source }
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
        burst.last = following.is_err();
        write(&burst);
        next = following.or_else(|_| receiver.recv()).ok();
    }
}

/// Whether packets came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MirrorDirection {
    /// They were received.
    Received,
    /// They were sent.
    Sent,
}

impl fmt::Display for MirrorDirection {
    /// `received` or `sent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Received => "received",
            Self::Sent => "sent",
        })
    }
}

/// The queue that copies come from.
#[derive(Debug)]
pub struct MirrorSource {
    number: usize,
    socket: String,
    id: u32,
    role: Role,
    mode: Mode,
    direction: MirrorDirection,
    queue: u16,
    packets: AtomicU64,
    dropped: AtomicU64,
}

impl MirrorSource {
    /// Its number among the sources of the mirror, from 0.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// The socket's address.
    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The interface's id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The interface's role.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// What packets begin with.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether they came or went.
    #[must_use]
    pub const fn direction(&self) -> MirrorDirection {
        self.direction
    }

    /// The direction of the ring.
    #[must_use]
    pub const fn ring(&self) -> Direction {
        match (self.role, self.direction) {
            (Role::Master, MirrorDirection::Received) | (Role::Slave, MirrorDirection::Sent) => {
                Direction::S2M
            }
            _ => Direction::M2S,
        }
    }

    /// Index of the queue in its direction.
    #[must_use]
    pub const fn queue(&self) -> u16 {
        self.queue
    }

    /// Packets that were copied so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// Packets that were not copied, as there was no room for them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Copies of the packets that one call of a queue has received or sent.
#[derive(Debug)]
pub struct MirroredBurst {
    source: Arc<MirrorSource>,
    time: SystemTime,
    last: bool,
    copies: Vec<Extent>,
    /// Of all packets, one behind the other.
    bytes: Vec<u8>,
}

/// A packet of a [`MirroredBurst`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirroredPacket<'b> {
    /// Its bytes, as far as they were copied.
    pub bytes: &'b [u8],
    /// Its length.
    pub length: usize,
}

impl MirroredBurst {
    /// The queue.
    #[must_use]
    pub fn source(&self) -> &Arc<MirrorSource> {
        &self.source
    }

    /// When the queue was called.
    #[must_use]
    pub const fn time(&self) -> SystemTime {
        self.time
    }

    /// Whether nothing waits behind it: a good time to flush what was written.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.last
    }

    /// The packets, in order.
    pub fn packets(&self) -> impl Iterator<Item = MirroredPacket<'_>> {
        let mut rest = self.bytes.as_slice();
        self.copies.iter().map_while(move |copy| {
            let (bytes, behind) = rest.split_at_checked(copy.copied)?;
            rest = behind;
            Some(MirroredPacket { bytes, length: copy.length })
        })
    }
}

/// One packet: how much of it was copied, and how long it is.
#[derive(Clone, Copy, Debug)]
struct Extent {
    copied: usize,
    length: usize,
}

/// Copies that are not handed over yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    copies: Vec<Extent>,
    bytes: Vec<u8>,
}

impl Draft {
    /// Adds a packet of `length` bytes: `copy` fills what it is given with the first of them.
    pub(crate) fn add(&mut self, snap: usize, length: usize, copy: impl FnOnce(&mut [u8])) {
        let (start, copied) = (self.bytes.len(), length.min(snap));
        self.bytes.resize(start + copied, 0);
        copy(self.bytes.get_mut(start..).unwrap_or_default());
        self.copies.push(Extent { copied, length });
    }

    /// Adds a packet.
    pub(crate) fn push(&mut self, snap: usize, packet: &[u8]) {
        let bytes = packet.get(..snap).unwrap_or(packet);
        self.bytes.extend_from_slice(bytes);
        self.copies.push(Extent { copied: bytes.len(), length: packet.len() });
    }

    /// Of the first `left` packets, those `sent` ones that were sent: a packet that the ring is too small for was dropped, so the
    /// longest were. The others are forgotten.
    pub(crate) fn keep(&mut self, left: usize, sent: usize) {
        let mut lengths: Vec<usize> = self.copies.iter().take(left).map(|copy| copy.length).collect();
        lengths.sort_unstable();
        let longest = sent.checked_sub(1).and_then(|last| lengths.get(last)).copied().unwrap_or(0);
        let (mut from, mut to, mut number, mut kept) = (0, 0, 0, 0);
        let bytes = &mut self.bytes;
        self.copies.retain(|copy| {
            let keep = number < left && kept < sent && copy.length <= longest;
            if keep {
                bytes.copy_within(from..from + copy.copied, to);
                to += copy.copied;
                kept += 1;
            }
            from += copy.copied;
            number += 1;
            keep
        });
        self.bytes.truncate(to);
    }
}

/// What a queue has of a mirror.
#[derive(Clone)]
pub(crate) struct MirrorTap {
    shared: Arc<Shared>,
    source: Arc<MirrorSource>,
}

impl MirrorTap {
    /// Most bytes that are copied of a packet.
    pub(crate) fn snap(&self) -> usize {
        self.shared.snap
    }

    /// Where packets are copied to, if there is room at all.
    pub(crate) fn draft(&self) -> Option<Draft> {
        (self.shared.waiting.load(Ordering::Relaxed) < self.shared.limit).then(Draft::default)
    }

    /// Hands over copies, or drops them. `None`: there was no room for `packets` of them.
    pub(crate) fn hand_over(&self, draft: Option<Draft>, packets: usize) {
        if packets == 0 {
            return;
        }
        let Shared { sender, limit, waiting, .. } = &*self.shared;
        let sent = draft.is_some_and(|Draft { copies, bytes }| {
            let size = bytes.len();
            let fits = waiting.fetch_add(size, Ordering::Relaxed).saturating_add(size) <= *limit;
            let source = Arc::clone(&self.source);
            let burst = MirroredBurst { source, time: SystemTime::now(), last: false, copies, bytes };
            let sent = fits && sender.try_send(Message::Burst(burst)).is_ok();
            if !sent {
                waiting.fetch_sub(size, Ordering::Relaxed);
            }
            sent
        });
        let counter = if sent { &self.source.packets } else { &self.source.dropped };
        counter.fetch_add(packets as u64, Ordering::Relaxed);
    }
}

impl fmt::Debug for MirrorTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorTap").field("source", &self.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_packets_that_left_the_longest_were_not_sent() {
        let lengths = [3, 9, 2, 9, 4, 1];
        for (left, sent, expected) in [
            (6, 6, &lengths[..]),
            (6, 4, &[3, 2, 4, 1]),
            (4, 3, &[3, 9, 2]),
            (4, 2, &[3, 2]),
            (2, 0, &[]),
            (0, 0, &[]),
        ] {
            let mut draft = Draft::default();
            (0..).zip(lengths).for_each(|(number, length)| draft.push(4, &vec![number; length]));
            draft.keep(left, sent);
            let found: Vec<_> = draft.copies.iter().map(|copy| copy.length).collect();
            assert_eq!(found, expected, "{left} {sent}");
            let bytes: usize = draft.copies.iter().map(|copy| copy.copied).sum();
            assert_eq!(draft.bytes.len(), bytes);
            assert!(draft.bytes.is_sorted(), "{:?}", draft.bytes);
        }
    }
}
