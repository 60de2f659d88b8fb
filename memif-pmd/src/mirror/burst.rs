//! Copies of packets: as a queue collects them, and as the writer receives them.

use std::sync::Arc;
use std::time::SystemTime;

use super::source::MirrorSource;

/// Copies of the packets that one call of a queue has received or sent.
#[derive(Debug)]
pub struct MirroredBurst {
    source: Arc<MirrorSource>,
    time: SystemTime,
    last: bool,
    copies: Vec<Extent>,
    /// The copied bytes of all packets, one packet behind the other.
    bytes: Vec<u8>,
}

/// A packet of a [`MirroredBurst`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MirroredPacket<'b> {
    /// The copied bytes: the whole packet, or its first `snap` bytes.
    pub bytes: &'b [u8],
    /// Length of the whole packet in bytes.
    pub length: usize,
}

impl MirroredBurst {
    /// The copies that a queue has just made.
    pub(super) fn new(source: &Arc<MirrorSource>, draft: Draft) -> Self {
        let Draft { copies, bytes } = draft;
        Self { source: Arc::clone(source), time: SystemTime::now(), last: false, copies, bytes }
    }

    /// Number of bytes of all copies.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn set_last(&mut self, last: bool) {
        self.last = last;
    }

    /// The queue that received or sent the packets.
    #[must_use]
    pub fn source(&self) -> &Arc<MirrorSource> {
        &self.source
    }

    /// When the packets were received or sent.
    #[must_use]
    pub const fn time(&self) -> SystemTime {
        self.time
    }

    /// Whether no other burst waits for the writer, so that this is a good time to flush its output.
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

/// Number of bytes copied of a packet, and its length.
#[derive(Clone, Copy, Debug)]
struct Extent {
    copied: usize,
    length: usize,
}

/// Copies that a queue collects before it hands them over to the writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    copies: Vec<Extent>,
    bytes: Vec<u8>,
}

impl Draft {
    /// Adds a packet of `length` bytes. `copy` fills the slice that it is given with the packet's first bytes.
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

    /// Keeps the `sent` packets of the first `left` ones that were sent, and discards all others. The queue sends all
    /// packets but those that are too long for the ring. So the `sent` shortest packets are those that were sent.
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
