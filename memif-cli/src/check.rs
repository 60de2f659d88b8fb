//! Checks the content of every packet, and the order of every stream, for a sink.

use crate::packet::{Fill, Framing, Head, Stream, TestPacket, is_sound_ip};

/// Number of streams followed at a time on one queue; a further stream replaces the oldest.
const MAX_STREAMS: usize = 16;

/// What a checker has found so far. Each packet is counted in one of the first five.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Test packets whose every byte is right.
    pub verified: u64,
    /// Test packets with a wrong byte, and other packets that are not correct IP. If the sequence is damaged, the packet
    /// counts as lost as well.
    pub corrupt: u64,
    /// Test packets that are longer or shorter than they were sent, such as two joined ones; their head is right.
    pub wrong_length: u64,
    /// Test packets whose content cannot be checked, sent without `--verify`.
    pub unfilled: u64,
    /// Correct IP packets that are not test packets.
    pub foreign: u64,
    /// Sequence numbers missing since a stream's first packet.
    pub lost: u64,
    /// Packets with a number below the highest one so far: repeated or late.
    pub reordered: u64,
}

#[derive(Debug)]
struct Followed {
    stream: Stream,
    next: u64,
    /// The head expected of packets of `size` (the IP packet) and `fill`, computed again when those change.
    head: Head,
    size: usize,
    fill: Fill,
}

impl Followed {
    fn new(packet: &TestPacket<'_>) -> Self {
        let (stream, size, fill) = (packet.stream(), packet.sent_size(), packet.fill());
        let head = Head::new(stream, size, fill, packet.version());
        Self { stream, next: packet.sequence(), head, size, fill }
    }

    fn has_right_head(&mut self, packet: &TestPacket<'_>) -> bool {
        let (size, fill) = (packet.sent_size(), packet.fill());
        if fill != self.fill {
            (self.size, self.fill) = (size, fill);
            self.head = Head::new(self.stream, size, fill, packet.version());
        } else if size != self.size {
            self.size = size;
            self.head.resize(size);
        }
        // packets take turns among flows
        packet.give_route(&mut self.head);
        packet.has_head(&self.head)
    }
}

/// Checks the packets of one queue.
#[derive(Debug)]
pub(crate) struct Checker {
    framing: Framing,
    streams: Vec<Followed>,
    /// Index of the last packet's stream, which is mostly the next packet's as well.
    recent: usize,
    /// Index of the stream that is replaced next.
    oldest: usize,
    /// The result so far.
    pub findings: Findings,
}

impl Checker {
    /// A checker that has seen nothing yet.
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, streams: Vec::new(), recent: 0, oldest: 0, findings: Findings::default() }
    }

    /// Checks the next packet of the queue.
    #[inline]
    pub(crate) fn check(&mut self, packet: &[u8]) {
        let Some(test) = TestPacket::parse(packet, self.framing) else { return self.check_foreign(packet) };
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
            (true, _) if test.ip_size() != test.sent_size() => &mut self.findings.wrong_length,
            (true, _) if !test.has_right_checksum() => &mut self.findings.corrupt,
            (true, Fill::Plain) => &mut self.findings.unfilled,
            (true, Fill::BySequence) if test.has_its_body() => &mut self.findings.verified,
            _ => &mut self.findings.corrupt,
        };
        *counter += 1;
    }

    #[cold]
    fn check_foreign(&mut self, packet: &[u8]) {
        let findings = &mut self.findings;
        *(if is_sound_ip(packet, self.framing) { &mut findings.foreign } else { &mut findings.corrupt }) += 1;
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
    use crate::packet::{Route, Template};

    fn packet(stream: Stream, size: usize, fill: Fill, sequence: u64) -> Vec<u8> {
        let mut packet = vec![0; size];
        Template::new(stream, Framing::Ethernet, fill, Route::default()).write(&mut packet, sequence, 0);
        packet
    }

    fn stream(instance: u32) -> Stream {
        Stream { instance, queue: 0 }
    }

    fn check(sequences: &[u64]) -> Findings {
        let mut checker = Checker::new(Framing::Ethernet);
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
    fn sequences_at_the_end_of_the_range_are_counted() {
        let found = check(&[0, u64::MAX, u64::MAX, 0, u64::MAX]);
        assert_eq!(found.verified, 5);
        assert_eq!(found.lost, u64::MAX - 1);
    }

    #[test]
    fn content_is_checked() {
        let mut checker = Checker::new(Framing::Ethernet);
        for (sequence, at) in [(0, 3), (1, 20), (2, 100)] {
            let mut bad = packet(stream(1), 128, Fill::BySequence, sequence);
            bad[at] ^= 1;
            checker.check(&bad);
        }
        checker.check(&packet(stream(1), 128, Fill::BySequence, 3));
        assert_eq!(checker.findings, Findings { verified: 1, corrupt: 3, ..Findings::default() });
    }

    #[test]
    fn packets_of_another_length_than_was_sent_are_counted_apart() {
        let mut checker = Checker::new(Framing::Ethernet);
        let sent = [(0, 64), (1, 570), (2, 1514), (3, 64)]
            .map(|(sequence, size)| packet(stream(1), size, Fill::BySequence, sequence));
        checker.check(&sent[0]);
        checker.check(&sent[1][..569]);
        checker.check(&[&sent[2][..], &sent[3]].concat());
        let shorter = Findings { verified: 1, wrong_length: 2, ..Findings::default() };
        assert_eq!(checker.findings, shorter);
        // a length that is wrong in the header is no other length, but a wrong byte
        let mut bad = packet(stream(1), 128, Fill::BySequence, 4);
        bad[17] ^= 1;
        checker.check(&bad);
        assert_eq!(checker.findings, Findings { corrupt: 1, lost: 1, ..shorter });
    }

    #[test]
    fn a_head_that_says_no_possible_length_is_corrupt() {
        for said in [0, 19, 20, 49] {
            let mut bad = packet(stream(1), 128, Fill::BySequence, 0);
            bad[16..18].copy_from_slice(&u16::to_be_bytes(said));
            let mut checker = Checker::new(Framing::Ethernet);
            checker.check(&bad);
            assert_eq!(checker.findings, Findings { corrupt: 1, ..Findings::default() }, "{said}");
        }
    }

    #[test]
    fn a_packet_with_a_damaged_sequence_counts_as_corrupt_and_lost() {
        let mut checker = Checker::new(Framing::Ethernet);
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
    fn packets_without_known_content_are_counted_apart() {
        let mut checker = Checker::new(Framing::Ethernet);
        checker.check(&packet(stream(1), 128, Fill::Plain, 0));
        let mut foreign = packet(stream(1), 128, Fill::Plain, 0);
        foreign[42] = 0;
        checker.check(&foreign);
        checker.check(b"no IP");
        assert_eq!(checker.findings, Findings { unfilled: 1, foreign: 1, corrupt: 1, ..Findings::default() });
    }

    #[test]
    fn streams_are_followed_separately_and_sizes_may_change() {
        let mut checker = Checker::new(Framing::Ethernet);
        for sequence in 0..100 {
            for instance in 0..16 {
                let size = 64 + usize::try_from(sequence).unwrap();
                checker.check(&packet(stream(instance), size, Fill::BySequence, 1000 + sequence));
            }
        }
        assert_eq!(checker.findings, Findings { verified: 1600, ..Findings::default() });
    }

    #[test]
    fn any_number_of_streams_takes_bounded_memory() {
        let mut checker = Checker::new(Framing::Ethernet);
        for instance in 0..10_000 {
            checker.check(&packet(stream(instance), 64, Fill::BySequence, u64::from(instance)));
        }
        assert_eq!(checker.streams.len(), MAX_STREAMS);
        assert_eq!(checker.findings, Findings { verified: 10_000, ..Findings::default() });
    }
}
