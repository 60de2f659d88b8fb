//! What the queues have of a mirror.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::burst::{Draft, MirroredBurst};
use super::source::MirrorSource;

/// A mirror.
pub(super) struct Shared {
    pub(super) sender: SyncSender<Message>,
    /// Most bytes that wait.
    pub(super) limit: usize,
    /// Most bytes that are copied of a packet.
    pub(super) snap: usize,
    /// Bytes that wait.
    pub(super) waiting: AtomicUsize,
    pub(super) writer: Mutex<Option<JoinHandle<()>>>,
    pub(super) sources: Mutex<Vec<Arc<MirrorSource>>>,
}

/// What the writer's thread is told.
pub(super) enum Message {
    Burst(MirroredBurst),
    End,
}

/// What a queue has of a mirror.
#[derive(Clone)]
pub(crate) struct MirrorTap {
    shared: Arc<Shared>,
    source: Arc<MirrorSource>,
}

impl MirrorTap {
    pub(super) fn new(shared: &Arc<Shared>, source: Arc<MirrorSource>) -> Self {
        Self { shared: Arc::clone(shared), source }
    }

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
