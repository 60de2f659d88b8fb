//! Packets whose every byte is known, and what can be checked of testpmd's own.

/// Bytes before the body: magic u32, stream u32, sequence u64.
const HEAD: usize = 16;
const MAGIC: u32 = 0x6d69_6f70;
/// Bodies start at one of so many places of the pattern.
const STARTS: usize = 4096;
const PATTERN_LEN: usize = 16 << 10;
/// Largest packet that [`Stream`] makes, in bytes.
pub(crate) const MAX_SIZE: usize = HEAD + PATTERN_LEN - STARTS;

/// Pseudo-random, so that no two bodies of a packet's length are the same.
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

/// Packets of one size in order: one end of it makes them, the other expects them.
#[derive(Debug)]
pub(crate) struct Stream {
    tag: u32,
    size: usize,
    next: u64,
}

impl Stream {
    /// The stream `tag` of packets of `size` bytes, 64 to [`MAX_SIZE`], from sequence 0.
    pub(crate) fn new(tag: u32, size: usize) -> Self {
        Self { tag, size: size.clamp(64, MAX_SIZE), next: 0 }
    }

    /// Bytes of each packet.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Packets made, or met.
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
        (head, &PATTERN[start..start + self.size - HEAD])
    }

    /// Fills `packet`, which has the stream's size, as its next one.
    pub(crate) fn make(&mut self, packet: &mut [u8]) {
        let (head, body) = self.parts();
        packet[..HEAD].copy_from_slice(&head);
        packet[HEAD..].copy_from_slice(body);
        self.next += 1;
    }

    /// Checks that `packet` is its next one, to the last byte; says what is wrong with it otherwise.
    pub(crate) fn expect(&mut self, packet: &[u8]) -> Result<(), String> {
        let (head, body) = self.parts();
        if packet.split_at_checked(HEAD) != Some((&head[..], body)) {
            return Err(self.complaint(packet, &head));
        }
        self.next += 1;
        Ok(())
    }

    #[cold]
    fn complaint(&self, packet: &[u8], head: &[u8; HEAD]) -> String {
        let wanted = format!("packet {} of stream {:#x}", self.next, self.tag);
        if packet.len() != self.size {
            return format!("{wanted} has {} bytes instead of {}", packet.len(), self.size);
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
    fn what_is_made_is_expected() {
        for size in [64, 1514, 9000, MAX_SIZE] {
            let (mut made, mut expected) = (Stream::new(7, size), Stream::new(7, size));
            for _ in 0..5000 {
                expected.expect(&packet(&mut made)).unwrap();
            }
            assert_eq!((made.count(), expected.count()), (5000, 5000));
        }
    }

    #[test]
    fn a_change_anywhere_shows() {
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
    fn loss_and_repetition_show() {
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
