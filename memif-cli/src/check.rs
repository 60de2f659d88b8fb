//! The sink's checker: content of every packet, and the order of every stream.

use crate::packet::{Fill, Head, Stream, TestPacket, head, is_sound_ipv4};

/// Streams followed at a time on one queue; one more takes the place of the one that was met first.
const MAX_STREAMS: usize = 16;

/// What a checker has found so far. A packet is counted in one of the first four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Test packets whose every byte is right.
    pub verified: u64,
    /// Test packets with a wrong byte, and others that are no sound IPv4. If the sequence is what is damaged, the
    /// packet counts as lost, too.
    pub corrupt: u64,
    /// Test packets whose content is not known, sent without `--verify`.
    pub unfilled: u64,
    /// Sound packets of others.
    pub foreign: u64,
    /// Sequence numbers passed over since a stream's first packet.
    pub lost: u64,
    /// Packets whose number had been passed already: repeated or late.
    pub reordered: u64,
}

#[derive(Debug)]
struct Followed {
    stream: Stream,
    next: u64,
    /// The head expected of packets of `size` and `fill`, made anew when those change.
    head: Head,
    size: usize,
    fill: Fill,
}

impl Followed {
    fn new(packet: &TestPacket<'_>) -> Self {
        let (stream, size, fill) = (packet.stream(), packet.size(), packet.fill());
        Self { stream, next: packet.sequence(), head: head(stream, size, fill), size, fill }
    }

    fn has_right_head(&mut self, packet: &TestPacket<'_>) -> bool {
        let (size, fill) = (packet.size(), packet.fill());
        if size != self.size || fill != self.fill {
            (self.size, self.fill) = (size, fill);
            self.head = head(self.stream, size, fill);
        }
        packet.has_head(&self.head)
    }
}

/// Checks the packets of one queue.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    streams: Vec<Followed>,
    /// Index of the stream met last: mostly the next packet's, too.
    recent: usize,
    /// Index of the stream to give up next.
    oldest: usize,
    /// What has been found.
    pub findings: Findings,
}

impl Checker {
    /// Checks the next packet of the queue.
    #[inline]
    pub(crate) fn check(&mut self, packet: &[u8]) {
        let Some(test) = TestPacket::parse(packet) else { return self.check_foreign(packet) };
        if !test.numbers_are_whole() {
            self.findings.corrupt += 1;
            return;
        }
        let at = self.find(&test);
        let Some(followed) = self.streams.get_mut(at) else { return };
        let sequence = test.sequence();
        if sequence >= followed.next {
            self.findings.lost = self.findings.lost.saturating_add(sequence - followed.next);
            followed.next = sequence.saturating_add(1);
        } else {
            self.findings.reordered += 1;
        }
        let counter = match (followed.has_right_head(&test), test.fill()) {
            (true, Fill::Plain) => &mut self.findings.unfilled,
            (true, Fill::BySequence) if test.has_its_body() => &mut self.findings.verified,
            _ => &mut self.findings.corrupt,
        };
        *counter += 1;
    }

    #[cold]
    fn check_foreign(&mut self, packet: &[u8]) {
        let findings = &mut self.findings;
        *(if is_sound_ipv4(packet) { &mut findings.foreign } else { &mut findings.corrupt }) += 1;
    }

    #[inline]
    fn find(&mut self, test: &TestPacket<'_>) -> usize {
        let stream = test.stream();
        if self.streams.get(self.recent).is_none_or(|followed| followed.stream != stream) {
            self.recent = self.search(stream).unwrap_or_else(|| self.follow(test));
        }
        self.recent
    }

    fn search(&self, stream: Stream) -> Option<usize> {
        self.streams.iter().position(|followed| followed.stream == stream)
    }

    #[cold]
    fn follow(&mut self, test: &TestPacket<'_>) -> usize {
        let followed = Followed::new(test);
        if self.streams.len() < MAX_STREAMS {
            self.streams.push(followed);
            return self.streams.len() - 1;
        }
        let at = self.oldest;
        if let Some(old) = self.streams.get_mut(at) {
            *old = followed;
        }
        self.oldest = (at + 1) % MAX_STREAMS;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Template;

    fn packet(stream: Stream, size: usize, fill: Fill, sequence: u64) -> Vec<u8> {
        let mut packet = vec![0; size];
        Template::new(stream, size, fill).write(&mut packet, sequence, 0);
        packet
    }

    fn stream(instance: u32) -> Stream {
        Stream { instance, queue: 0 }
    }

    fn check(sequences: &[u64]) -> Findings {
        let mut checker = Checker::default();
        for sequence in sequences {
            checker.check(&packet(stream(1), 128, Fill::BySequence, *sequence));
        }
        checker.findings
    }

    #[test]
    fn order_is_checked() {
        assert_eq!(check(&[5, 6, 7]), Findings { verified: 3, ..Findings::default() });
        assert_eq!(check(&[0, 3, 4, 10]), Findings { verified: 4, lost: 7, ..Findings::default() });
        assert_eq!(
            check(&[0, 2, 1, 3]),
            Findings { verified: 4, lost: 1, reordered: 1, ..Findings::default() }
        );
        assert_eq!(check(&[0, 0]), Findings { verified: 2, reordered: 1, ..Findings::default() });
    }

    #[test]
    fn sequences_at_the_end_of_the_range_do_no_harm() {
        let found = check(&[0, u64::MAX, u64::MAX, 0, u64::MAX]);
        assert_eq!(found.verified, 5);
        assert_eq!(found.lost, u64::MAX - 1);
    }

    #[test]
    fn content_is_checked() {
        let mut checker = Checker::default();
        for (sequence, at) in [(0, 3), (1, 20), (2, 100)] {
            let mut bad = packet(stream(1), 128, Fill::BySequence, sequence);
            bad[at] ^= 1;
            checker.check(&bad);
        }
        checker.check(&packet(stream(1), 128, Fill::BySequence, 3));
        assert_eq!(checker.findings, Findings { verified: 1, corrupt: 3, ..Findings::default() });
    }

    #[test]
    fn a_damaged_sequence_is_corrupt_and_lost() {
        let mut checker = Checker::default();
        for sequence in 0..3 {
            let mut sent = packet(stream(1), 64, Fill::BySequence, sequence);
            if sequence == 1 {
                sent[50] ^= 1;
            }
            checker.check(&sent);
        }
        assert_eq!(checker.findings, Findings { verified: 2, corrupt: 1, lost: 1, ..Findings::default() });
    }

    #[test]
    fn packets_without_known_content_are_told_apart() {
        let mut checker = Checker::default();
        checker.check(&packet(stream(1), 128, Fill::Plain, 0));
        let mut foreign = packet(stream(1), 128, Fill::Plain, 0);
        foreign[42] = 0;
        checker.check(&foreign);
        checker.check(b"no IPv4");
        assert_eq!(checker.findings, Findings { unfilled: 1, foreign: 1, corrupt: 1, ..Findings::default() });
    }

    #[test]
    fn streams_are_followed_apart_and_sizes_may_change() {
        let mut checker = Checker::default();
        for sequence in 0..100 {
            for instance in 0..16 {
                let size = 64 + usize::try_from(sequence).unwrap();
                checker.check(&packet(stream(instance), size, Fill::BySequence, 1000 + sequence));
            }
        }
        assert_eq!(checker.findings, Findings { verified: 1600, ..Findings::default() });
    }

    #[test]
    fn endless_new_streams_take_no_memory() {
        let mut checker = Checker::default();
        for instance in 0..10_000 {
            checker.check(&packet(stream(instance), 64, Fill::BySequence, u64::from(instance)));
        }
        assert_eq!(checker.streams.len(), MAX_STREAMS);
        assert_eq!(checker.findings, Findings { verified: 10_000, ..Findings::default() });
    }
}
