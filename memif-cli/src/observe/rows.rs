//! What is shown of links: values for text and for JSON.

use memif_observe::direction::Certainty;
use memif_observe::geometry::Shape;
use memif_observe::link::Region;
use memif_observe::{Link, Observer, RingMeter};
use serde::Serialize;

/// All links.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rows {
    /// Links, in the order in which they were first seen.
    pub links: Vec<LinkRow>,
    /// Processes that could not be looked at.
    pub hidden_processes: usize,
}

/// One link.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LinkRow {
    /// Device and inode of the rings' file: another one for each link.
    pub file: String,
    /// The socket's address.
    pub socket: Option<String>,
    /// Processes that have it mapped.
    pub ends: Vec<EndRow>,
    /// Its memory.
    pub regions: Vec<RegionRow>,
    /// Its rings.
    pub rings: Vec<RingRow>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
    /// Whether nothing more can be said of it.
    pub broken: bool,
}

/// A process.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EndRow {
    /// Its id.
    pub pid: u32,
    /// Name of its program.
    pub command: String,
    /// `master` or `slave`.
    pub role: Option<&'static str>,
}

/// A file of shared memory.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RegionRow {
    /// Its index.
    pub index: Option<u16>,
    /// Name of the file.
    pub name: String,
    /// Bytes.
    pub bytes: usize,
    /// Bytes of a page.
    pub page: usize,
    /// Names of its seals.
    pub seals: Vec<&'static str>,
}

/// A ring.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RingRow {
    /// Such as `s2m/0`; `ring/3` if the direction is not known.
    pub name: String,
    /// Whether the direction was seen in the ring, or is assumed.
    pub direction_seen: Option<bool>,
    /// Descriptors.
    pub size: Option<u16>,
    /// Bytes of the cache lines that it is laid out for.
    pub line: Option<usize>,
    /// The slave's index.
    pub head: Option<u16>,
    /// The master's index.
    pub tail: Option<u16>,
    /// Descriptors between them.
    pub used: Option<u16>,
    /// Whether the receiver masked interrupts.
    pub masked: Option<bool>,
    /// Descriptors that packets took since the tool began to look.
    pub descriptors: u64,
    /// Looks that came late: for each, there may have been multiples of 65536 more.
    pub late_looks: u64,
    /// Descriptors a second, of late; `None` if nothing was measured.
    pub rate: Option<f64>,
}

impl Rows {
    /// Of all links; `rate` knows that of a link's ring, by its number.
    pub(crate) fn of(observer: &Observer, rate: impl Fn(&Link, usize) -> Option<f64>) -> Self {
        let links = observer.links().iter().map(|link| LinkRow::of(link, |ring| rate(link, ring))).collect();
        Self { links, hidden_processes: observer.hidden() }
    }
}

impl LinkRow {
    fn of(link: &Link, rate: impl Fn(usize) -> Option<f64>) -> Self {
        let ends = link.ends().iter().map(|end| EndRow {
            pid: end.pid,
            command: end.command.clone(),
            role: end.role.map(memif_observe::Role::name),
        });
        let rings = link.rings().iter().enumerate();
        let rings = rings.map(|(number, ring)| RingRow::of(link.ring_name(number), ring, rate(number)));
        Self {
            file: format!("{}:{}", link.id().device, link.id().inode),
            socket: link.socket().map(str::to_owned),
            ends: ends.collect(),
            regions: link.regions().iter().map(RegionRow::of).collect(),
            rings: rings.collect(),
            problems: link.problems(),
            broken: link.broken().is_some(),
        }
    }
}

impl RegionRow {
    fn of(region: &Region) -> Self {
        let memory = &region.memory;
        Self {
            index: region.index,
            name: region.name.clone(),
            bytes: memory.len(),
            page: memory.page_size(),
            seals: memory.seals().collect(),
        }
    }
}

impl RingRow {
    fn of(name: String, ring: &RingMeter, rate: Option<f64>) -> Self {
        let reading = ring.reading();
        Self {
            name,
            direction_seen: ring.queue().map(|queue| queue.certainty == Certainty::Seen),
            size: ring.shape().map(Shape::size),
            line: ring.shape().map(|shape| shape.line.bytes()),
            head: reading.map(|reading| reading.head),
            tail: reading.and_then(|reading| reading.tail),
            used: ring.used(),
            masked: reading.map(|reading| reading.masked),
            descriptors: ring.descriptors(),
            late_looks: ring.gaps(),
            rate,
        }
    }

    /// How full, in percent: may be above 100.
    pub(crate) fn percent(&self) -> Option<u32> {
        Some(u32::from(self.used?) * 100 / u32::from(self.size?))
    }
}
