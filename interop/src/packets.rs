//! Packets of which every byte is known, and the check of testpmd's own packets.

/// Bytes before the body: magic u32, stream u32, sequence u64.
const HEAD: usize = 16;
const MAGIC: u32 = 0x6d69_6f70;
/// Number of offsets in the pattern at which a body may start.
const STARTS: usize = 4096;
const PATTERN_LEN: usize = 16 << 10;
/// Largest packet that [`Stream`] makes, in bytes.
pub(crate) const MAX_SIZE: usize = HEAD + PATTERN_LEN - STARTS;

/// Pseudo-random bytes, so that bodies of different offsets differ.
static PATTERN: [u8; PATTERN_LEN] = pattern();

const fn pattern() -> [u8; PATTERN_LEN] {
    let mut bytes = [0; PATTERN_LEN];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut i = 0;
    while i < PATTERN_LEN {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = state.to_le_bytes()[3];
        i += 1;
    }
    bytes
}

/// Sizes of [`Stream::mixed`], each for a quarter of the packets; the last quarter has any size between the smallest and the
/// largest.
const MIXED: [u16; 3] = [64, 1514, 9000];

/// A sequence of packets of one size, or of mixed ones: the sender generates them, the receiver checks them.
#[derive(Debug)]
pub(crate) struct Stream {
    tag: u32,
    /// The size of all packets; `None` for mixed ones.
    size: Option<usize>,
    next: u64,
    bytes: u64,
}

impl Stream {
    /// The stream `tag` of packets of `size` bytes, 64 to [`MAX_SIZE`], from sequence 0.
    pub(crate) fn new(tag: u32, size: usize) -> Self {
        Self { tag, size: Some(size.clamp(64, MAX_SIZE)), next: 0, bytes: 0 }
    }

    /// The stream `tag` of packets of mixed sizes, 64 to 9000 bytes, in an order that looks random.
    pub(crate) fn mixed(tag: u32) -> Self {
        Self { tag, size: None, next: 0, bytes: 0 }
    }

    /// Bytes of the next packet.
    pub(crate) fn size(&self) -> usize {
        self.size.unwrap_or_else(|| {
            let number = (self.next + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let [smallest, .., largest] = MIXED.map(u64::from);
            let any = smallest + (number >> 2) % (largest - smallest + 1);
            let size = usize::try_from(number % 4).ok().and_then(|at| MIXED.get(at).copied());
            size.map_or(usize::try_from(any).unwrap_or_default(), usize::from)
        })
    }

    /// Bytes of all packets so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of packets generated, or checked.
    pub(crate) fn count(&self) -> u64 {
        self.next
    }

    fn parts(&self) -> ([u8; HEAD], &'static [u8]) {
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&MAGIC.to_le_bytes());
        head[4..8].copy_from_slice(&self.tag.to_le_bytes());
        head[8..].copy_from_slice(&self.next.to_le_bytes());
        let number = self.next.wrapping_mul(0x9fb2_1c65_1e98_df25) ^ u64::from(self.tag);
        let start = usize::try_from(number % STARTS as u64).unwrap_or_default();
        (head, &PATTERN[start..start + self.size() - HEAD])
    }

    /// Fills `packet`, which has [`Stream::size`] bytes, as the next one.
    pub(crate) fn make(&mut self, packet: &mut [u8]) {
        let (head, body) = self.parts();
        packet[..HEAD].copy_from_slice(&head);
        packet[HEAD..].copy_from_slice(body);
        self.advance();
    }

    /// Checks every byte of the next packet. Returns what is wrong with it.
    pub(crate) fn expect(&mut self, packet: &[u8]) -> Result<(), String> {
        let (head, body) = self.parts();
        if packet.split_at_checked(HEAD) != Some((&head[..], body)) {
            return Err(self.complaint(packet, &head));
        }
        self.advance();
        Ok(())
    }

    fn advance(&mut self) {
        self.bytes += self.size() as u64;
        self.next += 1;
    }

    #[cold]
    fn complaint(&self, packet: &[u8], head: &[u8; HEAD]) -> String {
        let wanted = format!("packet {} of stream {:#x}", self.next, self.tag);
        if packet.len() != self.size() {
            return format!("{wanted} has {} bytes instead of {}", packet.len(), self.size());
        }
        match packet.first_chunk::<HEAD>() {
            Some(got) if got != head => format!("{wanted} begins with {got:02x?} instead of {head:02x?}"),
            _ => format!("{wanted} has a wrong body"),
        }
    }
}

/// Checks a packet of testpmd's `txonly`: UDP from 198.18.0.1 to 198.18.0.2, discard to discard, `size` bytes.
pub(crate) fn check_txonly(packet: &[u8], size: usize) -> Result<(), String> {
    if packet.len() != size {
        return Err(format!("a packet of {} bytes instead of {size}", packet.len()));
    }
    let Some((header, _)) = packet.split_first_chunk::<42>() else {
        return Err(format!("a packet of {size} bytes has no room for its headers"));
    };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let rules = [
        ("type is IPv4", word(12) == 0x0800),
        ("header has 20 bytes", header[14] == 0x45),
        ("total length fits", usize::from(word(16)) == size - 14),
        ("protocol is UDP", header[23] == 17),
        ("header checksum is right", ones_sum(&header[14..34]) == 0xffff),
        ("addresses are testpmd's", header[26..34] == [198, 18, 0, 1, 198, 18, 0, 2]),
        ("ports are discard", (word(34), word(36)) == (9, 9)),
        ("UDP length fits", usize::from(word(38)) == size - 34),
    ];
    match rules.iter().find(|(_, holds)| !holds) {
        None => Ok(()),
        Some((rule, _)) => Err(format!("not so: {rule}: {header:02x?}")),
    }
}

/// Checks a packet of testpmd's `txonly` with mixed sizes: one of `sizes`, as its own headers say.
pub(crate) fn check_mixed(packet: &[u8], sizes: &[usize]) -> Result<(), String> {
    if !sizes.contains(&packet.len()) {
        return Err(format!("{} bytes, a size that testpmd does not send", packet.len()));
    }
    check_txonly(packet, packet.len())
}

/// The ones' complement sum of IPv4 (RFC 1071).
fn ones_sum(bytes: &[u8]) -> u16 {
    bytes.chunks_exact(2).fold(0, |sum: u16, pair| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([pair[0], pair[1]]));
        sum + u16::from(carry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(stream: &mut Stream) -> Vec<u8> {
        let mut packet = vec![0; stream.size()];
        stream.make(&mut packet);
        packet
    }

    #[test]
    fn generated_packets_pass_the_check() {
        for size in [64, 1514, 9000, MAX_SIZE] {
            let (mut made, mut expected) = (Stream::new(7, size), Stream::new(7, size));
            for _ in 0..5000 {
                expected.expect(&packet(&mut made)).unwrap();
            }
            assert_eq!((made.count(), expected.count()), (5000, 5000));
        }
    }

    #[test]
    fn mixed_sizes_have_their_shares() {
        let (mut made, mut expected) = (Stream::mixed(7), Stream::mixed(7));
        let mut counts = [0; 4];
        for _ in 0..8000 {
            let packet = packet(&mut made);
            assert!((64..=9000).contains(&packet.len()));
            expected.expect(&packet).unwrap();
            counts[MIXED.iter().position(|size| usize::from(*size) == packet.len()).unwrap_or(3)] += 1;
        }
        assert!(counts.iter().all(|count| (1900..2100).contains(count)), "{counts:?}");
        assert_eq!((made.bytes(), made.count()), (expected.bytes(), 8000));
    }

    #[test]
    fn a_change_of_any_byte_is_found() {
        let good = packet(&mut Stream::new(1, 200));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            Stream::new(1, 200).expect(&bad).unwrap_err();
        }
        Stream::new(1, 200).expect(&good[..199]).unwrap_err();
        Stream::new(2, 200).expect(&good).unwrap_err();
        Stream::new(1, 200).expect(&[]).unwrap_err();
    }

    #[test]
    fn lost_and_repeated_packets_are_found() {
        let mut made = Stream::new(1, 64);
        let (first, second) = (packet(&mut made), packet(&mut made));
        let mut expected = Stream::new(1, 64);
        expected.expect(&second).unwrap_err();
        expected.expect(&first).unwrap();
        expected.expect(&first).unwrap_err();
        expected.expect(&second).unwrap();
    }

    #[test]
    fn packets_of_txonly_are_checked() {
        let mut good = vec![0; 64];
        good[12..14].copy_from_slice(&[8, 0]);
        // its checksum computed by hand
        good[14..34]
            .copy_from_slice(&[0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0xee, 0x93, 198, 18, 0, 1, 198, 18, 0, 2]);
        good[34..42].copy_from_slice(&[0, 9, 0, 9, 0, 30, 0, 0]);
        check_txonly(&good, 64).unwrap();
        check_txonly(&good, 65).unwrap_err();
        for at in 12..40 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            check_txonly(&bad, 64).unwrap_err();
        }
        check_txonly(&[0; 20], 20).unwrap_err();
    }
}
