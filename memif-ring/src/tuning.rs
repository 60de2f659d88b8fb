//! Numbers that were found by measurement, each with the measurements that led to it.
//!
//! Mpps of `memif-bench line`, bursts of 64 in a ring of 1024, copies at both ends, medians of 3 to 5, on a quiet Intel Xeon
//! (family 6, model 207, AVX-512, two cores, 291 ns for a line there and back). Tables of Zen 5 are of an AMD EPYC (family 26,
//! model 2) whose two cores were *near* each other, on one core complex (120 ns), or *far* apart (540 to 660 ns). Tables of Zen 4
//! are of an AMD EPYC (family 25, model 17) whose two cores were near each other (104 ns).

use crate::processor::is_zen4;

/// Packets that a receiver looks at before it copies any: their descriptors are read and checked, and their bytes asked
/// for.
///
/// | packets | 1: no look ahead | 8 | 16 | 32 | 64 |
/// | --- | --- | --- | --- | --- | --- |
/// | 64 B M2S | 57–60 | 53 | 66–67 | 52 | 59 |
///
/// At 256 and 1514 bytes 8 and 16 are equal, and 4 is 5 to 10 % slower.
pub(crate) const RECEIVE_STEP: usize = 16;

/// Bytes of each of these packets that are asked for.
///
/// | bytes | 64 | 128 | 256 | all |
/// | --- | --- | --- | --- | --- |
/// | 256 B S2M / M2S | 30 / 33 | 35 / 28–34 | 37 / 37 | |
/// | 1514 B S2M / M2S | 8.2 / 8.2 | 8.2 / 8.2 | 8.3 / 8.3 | 8.4 / 8.6 |
pub(crate) const RECEIVE_BYTES: usize = 256;

/// Posted buffers that a master looks at before it copies to any: their descriptors are read and checked, and the lines that
/// the packet takes asked for.
///
/// | buffers | no look ahead | 4 | 8 | 16 |
/// | --- | --- | --- | --- | --- |
/// | 64 B M2S | 66 | | 66 | 66 |
/// | 256 B M2S | 31 | 28–36 | 34–39 | 33–36 |
/// | 1514 B M2S | 7.1 | 8.3 | 8.2–8.7 | |
pub const SEND_STEP: usize = 8;

/// A master looks ahead as [`SEND_STEP`] says in bursts whose first packet has at least so many bytes, except on Zen 4: see
/// [`look_from`]. Medians of 3, in two turns:
///
/// | looks ahead | 64 B, bursts of 8 / 64 | 256 B | 1514 B |
/// | --- | --- | --- | --- |
/// | always | 40, 32 / 61, 64 | 24, 28 / 32, 37 | 8.6, 9.4 / 8.2, 8.4 |
/// | never | 45, 42 / 66, 72 | 23, 24 / 30, 30 | 6.0, 6.3 / 6.4, 7.1 |
pub const LOOK_FROM: usize = 129;

/// [`LOOK_FROM`] as this processor has it: never on Zen 4. Mpps there, medians of 3, in two turns, bursts of 8 / 64:
///
/// | looks ahead | 256 B | 1514 B |
/// | --- | --- | --- |
/// | from 129 bytes on | 44, 45 / 48, 50 | 20, 20 / 21, 21 |
/// | never | 48, 48 / 62, 60 | 22, 22 / 21, 21 |
#[must_use]
pub fn look_from() -> usize {
    if is_zen4() { usize::MAX } else { LOOK_FROM }
}

/// Bursts of which a receiver that leaves packets in place asks for the descriptors: its own, and those that follow. Its bytes
/// it leaves to who reads them: lines that nobody reads would have to be fetched back by the sender.
///
/// The same C program on `libmemif.so` at 64 bytes, which copies received packets or leaves them alone:
///
/// | asks for | S2M copy / leave | M2S copy / leave |
/// | --- | --- | --- |
/// | first line of each packet | 45 / 42 | 42 / 35–42 |
/// | nothing | 45 / 52 | 39 / 46 |
/// | descriptors of two bursts | 45 / 62 | 39 / 45–55 |
pub const FETCH_BURSTS: usize = 2;

/// Packets that lie one behind the other begin at multiples of so many bytes: one line.
///
/// From slave to master, here and below:
///
/// | align | 64 B | 256 B | 1514 B |
/// | --- | --- | --- | --- |
/// | **64** | 83 | 52 | 10.6 |
/// | 128 | 70 | 51 | 10.8 |
pub(crate) const PACKET_ALIGN: u32 = 64;

/// Longest packet, in bytes, behind which a sender leaves one cache line unused. The processor of the receiver prefetches the
/// line behind the one that it reads; if the sender is about to write that line, it has to fetch it back. Mpps on Zen 4 in bursts
/// of 64, medians of 3:
///
/// | unused | 64 B | 128 B | 192 B | 256 B | 512 B | 1514 B |
/// | --- | --- | --- | --- | --- | --- | --- |
/// | nothing | 66 | 55 | 65 | 62 | 46 | 21 |
/// | **one line** | 85 | 70 | 68 | 60 | 45 | 20 |
/// | two lines | 66 | 72 | 62 | 60 | 43 | 20 |
///
/// On the Xeon it was slower: see the table of `PACKET_ALIGN`.
#[must_use]
pub fn spread_up_to() -> u16 {
    if is_zen4() { 192 } else { 0 }
}

/// Number of bytes that a sender leaves unused behind each burst, for the same reason as in [`spread_up_to`]; fewer if the ring
/// has not so many. Mpps on Zen 4, medians of 3:
///
/// | bytes | 64 B, bursts of 8 / 16 | 256 B, 8 / 16 | 1514 B, 8 / 16 |
/// | --- | --- | --- | --- |
/// | 0 | 50 / 68 | 24 / 29 | 23 / 19 |
/// | 256 | 60 / 74 | 23 / 44 | 21 / 20 |
/// | **512** | 66 / 75 | 45 / 58 | 22 / 20 |
/// | 1024 | 65 / 76 | 42 / 56 | 18 / 20 |
///
/// Other processors were not measured. On them nothing is left unused.
#[must_use]
pub fn burst_gap() -> u16 {
    if is_zen4() { 512 } else { 0 }
}

/// Smallest buffer size, in bytes, at which a sender does as [`spread_up_to`] says: that of its longest packet and the line
/// behind it.
pub const SPREAD_ROOM: u32 = 256;

/// How many bytes ahead of a packet its sender asks for the lines of those to come, where packets lie one behind the
/// other: here in bursts of fewer than [`FEW`] packets, [`PREFETCH_BYTES`] in others.
///
/// | bytes ahead | 64 B | 256 B | 1514 B |
/// | --- | --- | --- | --- |
/// | none | 39 | 33 | 8.7 |
/// | **512** | 68 | 48 | 10.4 |
/// | 1024 | 81 | 48 | 10.4 |
///
/// The first two rows are of a sender that starts over at the front as soon as it can, the third of one that starts
/// over after 1 MB: see [`START_OVER`].
pub(crate) const PREFETCH_BYTES_FEW: usize = 512;

/// Zen 5, near | far, medians of 1 to 3:
///
/// | bytes ahead | 64 B, bursts of 8 | 64 B | 256 B | 1514 B |
/// | --- | --- | --- | --- | --- |
/// | 512 | 90 \| 27 | 171 \| 48 | 98 \| 23 | 27.5 \| 5.1 |
/// | 1024 | 90 \| 22 | 171 \| – | 97 \| – | 27.7 \| – |
/// | **1536** | 87 \| 20 | 174 \| 48 | 114 \| 24 | 28.6 \| 6.0 |
/// | 4096 | 86 \| – | 171 \| – | 114 \| – | 28.5 \| – |
pub(crate) const PREFETCH_BYTES: usize = 1536;

/// Packets from which on a burst is not one of few.
pub(crate) const FEW: usize = 24;

/// How many packets ahead a sender asks for the lines of a buffer, where each slot has its own: 256 B went at 34 instead
/// of 25 Mpps, 1514 B at 8.6 instead of 7.3.
pub(crate) const PREFETCH_PACKETS: u16 = 4;

/// A sender starts over at the front of its bytes after so many, when they are free: rings with more memory than that do not
/// touch all of it, which would not fit into second-level caches.
///
/// | bytes | 64 B | 256 B | 1514 B |
/// | --- | --- | --- | --- |
/// | 0 | 71 | 50 | 10.5 |
/// | 64 KiB | 71 | 37 | 9.8 |
/// | 256 KiB | 87 | 47 | 9.4 |
/// | 512 KiB | 88 | 47 | 10.3 |
/// | 1 MB | 80 | 48 | 10.4 |
/// | never: 2.2 MB | 83 | 52 | 10.6 |
///
/// Zen 5, near, medians of 1 to 3, with [`PREFETCH_BYTES`] ahead:
///
/// | bytes | 64 B | 256 B | 1514 B, bursts of 8 / 64 |
/// | --- | --- | --- | --- |
/// | 0 | 168 | 107 | 26 / 27 |
/// | 128 KiB | 164 | 97 | 26 / 27 |
/// | 512 KiB | 174 | 114 | 28 / 29 |
/// | **never** | 168 | 118 | 38 / 33 |
pub(crate) const START_OVER: u32 = 2 << 20;
