//! Compares what the library hands out with what a [`Witness`] has read from shared memory just before.

use std::sync::atomic::{AtomicU32, Ordering};

use memif_pmd::{Burst, RxQueue};

use crate::lab::Peer;
use crate::links::Links;
use crate::witness::{Look, Sight, Witness};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    /// Packets that the library handed out as they were in shared memory.
    pub(crate) same: u64,
    /// Those of them that are not what the peer should send.
    pub(crate) wrong: u64,
    /// Times that the peer wrote to what it had published, between the witness and the library or while one of them read.
    pub(crate) overwritten: u64,
    /// Times that this would explain a difference, and cannot be seen any more: on M2S alone.
    pub(crate) undecided: u64,
    /// Packets that the library handed out otherwise than they were. Never, or the library is at fault.
    pub(crate) different: u64,
}

/// Follows a receive queue.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    peer: Peer,
    /// testpmd's process, which may be replaced.
    pid: &'a AtomicU32,
    links: &'a Links,
    /// For the link with this number.
    witness: Option<(u64, Witness)>,
    look: Option<Look>,
    /// The result so far.
    pub(crate) judged: Judged,
}

impl<'a> Judge<'a> {
    /// A judge of what comes from the testpmd with process id `pid`.
    pub(crate) fn new(peer: Peer, pid: &'a AtomicU32, links: &'a Links) -> Self {
        Self { peer, pid, links, witness: None, look: None, judged: Judged::default() }
    }

    /// To be called before each receive call.
    pub(crate) fn look(&mut self, rx: &mut RxQueue) {
        let link = self.links.count();
        if self.witness.as_ref().is_none_or(|(of, _)| *of != link) {
            let found = Witness::find(self.pid.load(Ordering::Relaxed), self.peer);
            self.witness = found.filter(|_| rx.is_up()).map(|witness| (link, witness));
        }
        self.look = self.witness.as_ref().and_then(|(_, witness)| witness.look(rx.raw().held()));
    }

    /// To be called with what was received.
    pub(crate) fn compare(&mut self, burst: &Burst, is_wrong: impl Fn(&[u8]) -> bool) {
        let Some(look) = self.look.take() else { return };
        let mut seen = look.packets();
        for packet in burst {
            // the library leaves broken ones out
            let Some(Sight::Whole(bytes)) = seen.find(|sight| *sight != Sight::Broken) else { return };
            if bytes != packet {
                return self.doubt(&look);
            }
            self.judged.same += 1;
            self.judged.wrong += u64::from(is_wrong(packet));
        }
    }

    /// What the witness saw is not what the library handed out. Either the peer has written to it in between, or the library is
    /// at fault.
    fn doubt(&mut self, look: &Look) {
        let Some((_, witness)) = &self.witness else { return };
        let Judged { overwritten, undecided, different, .. } = &mut self.judged;
        let counter = match self.peer {
            _ if !witness.sees_again(look) => overwritten,
            Peer::Server => undecided,
            Peer::Client => different,
        };
        *counter += 1;
    }
}

impl Judged {
    /// Whether the library has handed out what was in shared memory. On M2S it has posted slots anew by the time of a doubt, so
    /// some remain; a library at fault would be in doubt at every such packet.
    pub(crate) fn clears_the_library(&self) -> bool {
        self.same > 0 && self.different == 0 && self.undecided <= 10 + self.same / 1000
    }
}
