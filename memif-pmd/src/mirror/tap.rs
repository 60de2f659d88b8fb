//! The mirror's state, and each queue's handle of it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::burst::{Draft, MirroredBurst};
use super::source::MirrorSource;

/// The state that all handles of a mirror share.
pub(super) struct Shared {
    pub(super) sender: SyncSender<Message>,
    /// Maximum number of bytes that wait for the writer.
    pub(super) limit: usize,
    /// Maximum number of bytes that are copied of a packet.
    pub(super) snap: usize,
    /// Number of bytes that wait for the writer.
    pub(super) waiting: AtomicUsize,
    pub(super) writer: Mutex<Option<JoinHandle<()>>>,
    pub(super) sources: Mutex<Vec<Arc<MirrorSource>>>,
}

/// A message to the writer's thread.
pub(super) enum Message {
    Burst(MirroredBurst),
    End,
}

/// A queue's handle of a mirror.
#[derive(Clone)]
pub(crate) struct MirrorTap {
    shared: Arc<Shared>,
    source: Arc<MirrorSource>,
}

impl MirrorTap {
    pub(super) fn new(shared: &Arc<Shared>, source: Arc<MirrorSource>) -> Self {
        Self { shared: Arc::clone(shared), source }
    }

    /// Maximum number of bytes that are copied of a packet.
    pub(crate) fn snap(&self) -> usize {
        self.shared.snap
    }

    /// An empty collection for the copies of a burst; `None` if the mirror is full.
    pub(crate) fn draft(&self) -> Option<Draft> {
        (self.shared.waiting.load(Ordering::Relaxed) < self.shared.limit).then(Draft::default)
    }

    /// Hands the copies of `packets` packets over to the writer. Counts the packets as dropped if `draft` is `None` or the
    /// mirror is full.
    pub(crate) fn hand_over(&self, draft: Option<Draft>, packets: usize) {
        if packets == 0 {
            return;
        }
        let Shared { sender, limit, waiting, .. } = &*self.shared;
        let copied = draft.is_some_and(|draft| {
            let burst = MirroredBurst::new(&self.source, draft);
            let size = burst.size();
            let fits = waiting.fetch_add(size, Ordering::Relaxed).saturating_add(size) <= *limit;
            let sent = fits && sender.try_send(Message::Burst(burst)).is_ok();
            if !sent {
                waiting.fetch_sub(size, Ordering::Relaxed);
            }
            sent
        });
        self.source.count(packets, copied);
    }
}

impl fmt::Debug for MirrorTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorTap").field("source", &self.source).finish_non_exhaustive()
    }
}
