//! The check of every (region, offset, length) that a peer names, against 128-bit arithmetic, in regions of up to more
//! than 4 GiB; and that a span's copies go where it says, and no further.
#![no_main]
#![allow(unsafe_code)] // hands memory of its own to the map, and looks at it byte by byte

use std::ptr::NonNull;
use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use memif_ring::fault::DropReason;
use memif_ring::region::{MAX_REGIONS, RegionMap};

/// Address space that all regions lie in: more than a descriptor can reach.
const SPACE: u64 = 9 << 30;
/// Regions start at multiples of this from one another.
const STEP: u64 = 1 << 16;
const PAGE: usize = 4096;

#[derive(Debug)]
struct Input {
    /// Where each region starts, in steps, and its bytes.
    regions: Vec<(u16, u64)>,
    looks: Vec<Look>,
}

#[derive(Arbitrary, Debug)]
struct Look {
    region: u16,
    near: bool,
    offset: Number,
    len: Number,
    /// Of bytes written and read back at this place of the span.
    at: Number,
    bytes: [u8; 3],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Low(u16),
    High(u16),
    /// As much as the region has, more or less.
    End(i8),
    /// What is left of the region from the offset on, more or less.
    Rest(i8),
    Any(u32),
}

impl Number {
    fn value(self, end: u64, rest: u64) -> u32 {
        match self {
            Self::Low(number) => number.into(),
            Self::High(number) => u32::MAX - u32::from(number),
            Self::End(delta) => end.wrapping_add_signed(delta.into()) as u32,
            Self::Rest(delta) => rest.wrapping_add_signed(delta.into()) as u32,
            Self::Any(number) => number,
        }
    }
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let count = if u.ratio(1, 32)? { u.int_in_range(250..=260)? } else { u.int_in_range(0..=4)? };
        let mut regions = Vec::new();
        for _ in 0..count {
            let longest = SPACE - u64::from(u16::MAX) * STEP;
            let len = match u.int_in_range(0..=3)? {
                0 => u.int_in_range(0..=5000)?,
                1 => (1u64 << 32).wrapping_add_signed(u.arbitrary::<i8>()?.into()),
                2 => 1u64 << u.int_in_range(0..=32)?,
                _ => u.int_in_range(0..=longest)?,
            };
            regions.push((u.arbitrary()?, len));
        }
        Ok(Self { regions, looks: u.arbitrary()? })
    }
}

/// Memory that costs nothing until it is written.
fn space() -> NonNull<u8> {
    static SPACE_AT: OnceLock<usize> = OnceLock::new();
    let at = *SPACE_AT.get_or_init(|| {
        // SAFETY: a fresh private mapping, wherever the kernel likes.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SPACE as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        start.expose_provenance()
    });
    NonNull::new(std::ptr::with_exposed_provenance_mut(at)).unwrap()
}

/// Reads one byte of the space.
fn byte_at(at: u64) -> u8 {
    assert!(at < SPACE);
    // SAFETY: within the mapping; written by this thread alone, through spans.
    unsafe { space().add(at as usize).read_volatile() }
}

/// Gives the pages around a place back, all zero again.
fn forget(at: u64, len: usize) {
    let from = at as usize / PAGE * PAGE;
    let len = (at as usize + len - from).next_multiple_of(PAGE);
    // SAFETY: whole pages of the mapping, which nothing has a reference to.
    let status = unsafe { libc::madvise(space().add(from).as_ptr().cast(), len, libc::MADV_DONTNEED) };
    assert_eq!(status, 0);
}

fn check(map: &RegionMap, regions: &[(u16, u64)], look: &Look) {
    let region = if look.near { look.region % (regions.len() as u16 + 1) } else { look.region };
    let known = regions.get(usize::from(region)).filter(|_| usize::from(region) < MAX_REGIONS);
    let end = known.map_or(0, |(_, len)| *len);
    let offset = look.offset.value(end, end);
    let len = look.len.value(end, end.saturating_sub(offset.into()));
    let want = match known {
        None => Err(DropReason::UnknownRegion),
        Some((_, size)) if u128::from(offset) + u128::from(len) > u128::from(*size) => {
            Err(DropReason::OutOfRegion)
        }
        Some((start, _)) => Ok(u64::from(*start) * STEP + u64::from(offset)),
    };
    // SAFETY: this thread alone uses the space.
    match (unsafe { map.span(region, offset, len) }, want) {
        (Err(got), Err(want)) => assert_eq!(got, want),
        (Ok(mut span), Ok(start)) => {
            assert_eq!((span.len(), span.is_empty()), (len as usize, len == 0));
            let at = look.at.value(len.into(), len.into());
            let fits = usize::min(3, len.saturating_sub(at) as usize);
            let place = start + u64::from(at.min(len));
            assert_eq!(span.write_at(at as usize, &look.bytes), fits);
            for (number, byte) in look.bytes.iter().enumerate() {
                let here = byte_at((place + number as u64).min(SPACE - 1));
                assert!(if number < fits { here == *byte } else { here == 0 });
            }
            let mut back = [0; 5];
            assert_eq!(span.read_at(at as usize, &mut back), usize::min(5, len.saturating_sub(at) as usize));
            assert_eq!((&back[..fits], &back[3..]), (&look.bytes[..fits], &[0, 0][..]));
            let cut = span.first(look.bytes[0].into());
            assert_eq!(cut.len(), usize::from(look.bytes[0]).min(span.len()));
            forget(place.min(SPACE - 4), 4);
        }
        (got, want) => panic!("{region}: {offset} + {len} gives {got:?}, not {want:?}"),
    }
}

fuzz_target!(|input: Input| {
    let mut map = RegionMap::new();
    for (number, (start, len)) in input.regions.iter().enumerate() {
        assert!(u64::from(*start) * STEP + len <= SPACE);
        // SAFETY: within the space, which stays mapped, and no reference into it is ever formed.
        let taken = unsafe { map.push(space().add(usize::from(*start) * STEP as usize), *len as usize) };
        assert_eq!(taken, number < MAX_REGIONS);
    }
    assert_eq!(map.len(), input.regions.len().min(MAX_REGIONS));
    input.looks.iter().take(64).for_each(|look| check(&map, &input.regions, look));
});
