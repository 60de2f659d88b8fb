//! What the indices of one ring say.

use std::fmt;
use std::time::{Duration, Instant};

use memif_os::region_file::ObservedRegion;
use memif_ring::cursor::distance;
use memif_ring::layout::{COOKIE, RingFlags};

use crate::direction::{Direction, Queue};
use crate::geometry::{Shape, header};

/// Longest time between two reads of the indices for which the number of descriptors that passed is exact: the indices have
/// 16 bits, so they must not advance by 65536 between two reads. At 1 ms this holds up to 65 million descriptors a second.
pub const MAX_GAP: Duration = Duration::from_millis(1);
/// Shortest time for one descriptor, in nanoseconds. An index that seems to move faster has moved back.
const FASTEST_NS: u128 = 10;
/// Descriptors of a burst, which pass at once.
const BURST: u128 = 4096;
/// How long the indices of a ring must stand still before a [`Problem`] is reported.
const STILL: Duration = Duration::from_millis(500);
/// Number of successive reads that must find an index out of range. A single one can be due to the time between the reads of
/// the two indices.
const LOOKS: u8 = 3;

/// The header of a ring, as read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The slave's index.
    pub head: u16,
    /// The master's index; `None` where the layout is not known.
    pub tail: Option<u16>,
    /// Whether the receiver has masked interrupts.
    pub masked: bool,
}

/// What is wrong with a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// All slots hold packets that nobody receives, for that long.
    Full(Duration),
    /// The slave has posted no buffer for that long, so the master cannot send.
    NoBuffers(Duration),
    /// `head` is further than the ring's size beyond `tail`.
    OutOfRange {
        /// The slave's index.
        head: u16,
        /// The master's index.
        tail: u16,
    },
    /// An index moved back, this number of times.
    MovedBack(u64),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(span) => {
                write!(f, "full for {} s: the master does not receive", span.as_secs().max(1))
            }
            Self::NoBuffers(span) => {
                write!(f, "no buffer posted for {} s: the slave does not receive", span.as_secs().max(1))
            }
            Self::OutOfRange { head, tail } => {
                write!(f, "head {head} is further from tail {tail} than the ring is large")
            }
            Self::MovedBack(times) => write!(f, "an index moved back {times} times"),
        }
    }
}

/// One ring, and what passed since it was first looked at.
#[derive(Clone, Debug)]
pub struct RingMeter {
    offset: usize,
    shape: Option<Shape>,
    queue: Option<Queue>,
    last: Option<(Reading, Instant)>,
    /// Since when both indices stand still.
    still_since: Option<Instant>,
    descriptors: u64,
    gaps: u64,
    timely: Timely,
    moved_back: u64,
    out_of_range: u8,
}

/// What was counted for certain: between looks that were no further apart than [`MAX_GAP`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timely {
    /// Descriptors that packets took.
    pub descriptors: u64,
    /// In this time.
    pub time: Duration,
}

impl RingMeter {
    pub(crate) fn new(offset: usize, shape: Option<Shape>) -> Self {
        Self {
            offset,
            shape,
            queue: None,
            last: None,
            still_since: None,
            descriptors: 0,
            gaps: 0,
            timely: Timely::default(),
            moved_back: 0,
            out_of_range: 0,
        }
    }

    /// Offset in the first region, in bytes.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Layout and size, if they are known.
    #[must_use]
    pub const fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Direction and index, if they are known.
    #[must_use]
    pub const fn queue(&self) -> Option<Queue> {
        self.queue
    }

    /// Header as last read.
    #[must_use]
    pub fn reading(&self) -> Option<Reading> {
        self.last.map(|(reading, _)| reading)
    }

    /// Descriptors between `tail` and `head`: packets that wait (S2M), or buffers that are posted (M2S).
    #[must_use]
    pub fn used(&self) -> Option<u16> {
        let reading = self.reading()?;
        Some(distance(reading.head, reading.tail?))
    }

    /// Descriptors that packets took since the first look: at least, if there were [`gaps`](Self::gaps). A packet takes one or
    /// more.
    #[must_use]
    pub const fn descriptors(&self) -> u64 {
        self.descriptors
    }

    /// Number of looks that came later than [`MAX_GAP`] after the one before: multiples of 65536 descriptors may be missing
    /// for each.
    #[must_use]
    pub const fn gaps(&self) -> u64 {
        self.gaps
    }

    /// What rates are to be made of: without what passed in the gaps.
    #[must_use]
    pub const fn timely(&self) -> Timely {
        self.timely
    }

    /// What is wrong with it.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.moved_back > 0 {
            problems.push(Problem::MovedBack(self.moved_back));
        }
        let (Some((reading, now)), Some(used), Some(shape)) = (self.last, self.used(), self.shape) else {
            return problems;
        };
        if let (true, Some(tail)) = (self.out_of_range >= LOOKS, reading.tail) {
            problems.push(Problem::OutOfRange { head: reading.head, tail });
        }
        let still = self.still_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        match self.queue.map(|queue| queue.direction) {
            Some(Direction::S2m) if used == shape.size() && still >= STILL => {
                problems.push(Problem::Full(still));
            }
            Some(Direction::M2s) if used == 0 && still >= STILL => problems.push(Problem::NoBuffers(still)),
            _ => {}
        }
        problems
    }

    /// Says which queue it is. What was counted starts again where the direction is another one.
    pub(crate) fn set_queue(&mut self, queue: Option<Queue>) {
        let direction = |queue: Option<Queue>| queue.map(|queue| queue.direction);
        if direction(queue) != direction(self.queue) {
            self.last = None;
        }
        self.queue = queue;
    }

    /// Reads the header, and counts. False if there is no ring any more.
    pub(crate) fn poll(&mut self, region: &ObservedRegion, now: Instant) -> bool {
        let Some(reading) = self.read(region) else { return false };
        if let Some((last, at)) = self.last {
            self.count(last, reading, now.duration_since(at));
        }
        if self.last.is_none_or(|(last, _)| (last.head, last.tail) != (reading.head, reading.tail)) {
            self.still_since = Some(now);
        }
        self.last = Some((reading, now));
        let out = self.shape.zip(self.used()).is_some_and(|(shape, used)| used > shape.size());
        self.out_of_range = if out { self.out_of_range.saturating_add(1) } else { 0 };
        true
    }

    fn read(&self, region: &ObservedRegion) -> Option<Reading> {
        let header = header(region, self.offset).filter(|header| header.cookie == COOKIE)?;
        let tail = match self.shape {
            Some(shape) => Some(region.load_u16(self.offset.checked_add(shape.line.tail_offset())?)?),
            None => None,
        };
        Some(Reading { head: header.head, tail, masked: header.flags.contains(RingFlags::MASK_INT) })
    }

    fn count(&mut self, last: Reading, now: Reading, gap: Duration) {
        let moved = match (self.queue.map(|queue| queue.direction), last.tail, now.tail) {
            (Some(Direction::M2s), Some(last), Some(now)) => distance(now, last),
            _ => distance(now.head, last.head),
        };
        if gap > MAX_GAP {
            self.gaps += 1;
        } else if u128::from(moved) > gap.as_nanos() / FASTEST_NS + BURST {
            self.moved_back += 1;
            return;
        } else {
            self.timely.descriptors += u64::from(moved);
            self.timely.time += gap;
        }
        self.descriptors += u64::from(moved);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use memif_ring::layout::{LineSize, RingHeader};
    use zerocopy::IntoBytes;

    use super::*;
    use crate::direction::Certainty;

    struct Bench {
        file: File,
        region: ObservedRegion,
        meter: RingMeter,
        now: Instant,
    }

    impl Bench {
        fn new(direction: Direction) -> Self {
            let file = tempfile::tempfile_in("/dev/shm").unwrap();
            file.set_len(4096).unwrap();
            let region = ObservedRegion::map(&file).unwrap();
            let mut meter = RingMeter::new(0, Some(Shape { line: LineSize::Bytes64, log2_size: 6 }));
            meter.set_queue(Some(Queue { direction, index: 0, certainty: Certainty::Seen }));
            Self { file, region, meter, now: Instant::now() }
        }

        fn look(&mut self, head: u16, tail: u16, later: Duration) -> bool {
            self.file.write_all_at(RingHeader { head, ..RingHeader::FRESH }.as_bytes(), 0).unwrap();
            self.file.write_all_at(&tail.to_ne_bytes(), 64).unwrap();
            self.now += later;
            self.meter.poll(&self.region, self.now)
        }
    }

    const SOON: Duration = Duration::from_micros(500);

    #[test]
    fn packets_are_counted_by_the_index_that_brings_them() {
        for (direction, expected) in [(Direction::S2m, 30), (Direction::M2s, 12)] {
            let mut bench = Bench::new(direction);
            assert!(bench.look(65530, 65530, SOON));
            assert!(bench.look(24, 6, SOON));
            assert_eq!((bench.meter.descriptors(), bench.meter.gaps()), (expected, 0));
            assert_eq!(bench.meter.used(), Some(18));
        }
    }

    #[test]
    fn a_look_that_comes_late_is_counted_as_a_gap() {
        let mut bench = Bench::new(Direction::S2m);
        bench.look(0, 0, SOON);
        bench.look(10, 10, Duration::from_millis(2));
        assert_eq!((bench.meter.descriptors(), bench.meter.gaps()), (10, 1));
        assert_eq!(bench.meter.timely(), Timely::default());
        bench.look(15, 10, SOON);
        assert_eq!(bench.meter.timely(), Timely { descriptors: 5, time: SOON });
    }

    #[test]
    fn a_ring_that_stands_still_is_a_problem_if_somebody_waits_for_it() {
        for (direction, head, problem) in [
            (Direction::S2m, 64, Some(Problem::Full(Duration::from_secs(3)))),
            (Direction::S2m, 63, None),
            (Direction::S2m, 0, None),
            (Direction::M2s, 64, None),
            (Direction::M2s, 0, Some(Problem::NoBuffers(Duration::from_secs(3)))),
        ] {
            let mut bench = Bench::new(direction);
            bench.look(head, 0, SOON);
            assert_eq!(bench.meter.problems(), []);
            bench.look(head, 0, Duration::from_secs(3));
            assert_eq!(bench.meter.problems(), problem.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn indices_that_no_ring_has_are_pointed_at() {
        let mut bench = Bench::new(Direction::S2m);
        for _ in 0..3 {
            assert_eq!(bench.meter.problems(), []);
            bench.look(100, 0, SOON);
        }
        assert_eq!(bench.meter.problems(), [Problem::OutOfRange { head: 100, tail: 0 }]);
        bench.look(90, 90, SOON);
        assert_eq!(bench.meter.problems(), [Problem::MovedBack(1)]);
        assert_eq!(bench.meter.descriptors(), 0);
    }

    #[test]
    fn the_fastest_ring_does_not_seem_to_move_back() {
        let mut bench = Bench::new(Direction::S2m);
        bench.look(0, 0, SOON);
        bench.look(60_000, 60_000, Duration::from_micros(950));
        assert_eq!((bench.meter.descriptors(), bench.meter.problems()), (60_000, vec![]));
    }

    #[test]
    fn without_its_cookie_it_is_no_ring() {
        let mut bench = Bench::new(Direction::S2m);
        assert!(bench.look(1, 0, SOON));
        bench.file.write_all_at(&[0], 0).unwrap();
        assert!(!bench.meter.poll(&bench.region, bench.now));
    }
}
