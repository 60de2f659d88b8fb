//! One link, as it is seen from outside.

use std::sync::Arc;
use std::time::Instant;

use memif_os::region_file::ObservedRegion;

use crate::direction::{Direction, looks_posted, queues};
use crate::geometry::{Geometry, Shape, descriptor};
pub use crate::processes::FileId;
use crate::ring::RingMeter;

/// What a process is to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Listens.
    Master,
    /// Connects, and made the memory.
    Slave,
}

impl Role {
    /// `master` or `slave`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Slave => "slave",
        }
    }
}

/// A process that has the rings mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its id.
    pub pid: u32,
    /// Name of its program, as the process gives it; printable.
    pub command: String,
    /// Its role, where its sockets tell.
    pub role: Option<Role>,
}

/// A file of shared memory.
#[derive(Clone, Debug)]
pub struct Region {
    /// Its index, if it is known.
    pub index: Option<u16>,
    /// Which file it is.
    pub file: FileId,
    /// The file's name, as its maker gives it; printable.
    pub name: String,
    /// Its bytes, mapped for reading.
    pub memory: Arc<ObservedRegion>,
}

/// A link: rings, and who has them.
#[derive(Debug)]
pub struct Link {
    pub(crate) ends: Vec<End>,
    pub(crate) socket: Option<String>,
    regions: Vec<Region>,
    rings: Vec<RingMeter>,
    shape: Option<Shape>,
    broken: Option<String>,
}

impl Link {
    /// `None` if the region does not begin with a ring.
    pub(crate) fn new(region: Region) -> Option<Self> {
        let geometry = Geometry::of(&region.memory)?;
        let meter = |offset: &usize| RingMeter::new(*offset, geometry.shape);
        let rings = geometry.offsets.iter().map(meter).collect();
        let mut link = Self {
            ends: Vec::new(),
            socket: None,
            regions: vec![region],
            rings,
            shape: geometry.shape,
            broken: None,
        };
        link.tell_directions();
        Some(link)
    }

    /// The file that the rings are in: another one for each link.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.rings_region().file
    }

    /// Name of that file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.rings_region().name
    }

    /// The processes that have the rings mapped: two, while the link is up.
    #[must_use]
    pub fn ends(&self) -> &[End] {
        &self.ends
    }

    /// The end of a role, if it is known.
    #[must_use]
    pub fn end(&self, role: Role) -> Option<&End> {
        self.ends.iter().find(|end| end.role == Some(role))
    }

    /// The socket's address, where one is known to be this link's: an abstract one begins with `@`.
    #[must_use]
    pub fn socket(&self) -> Option<&str> {
        self.socket.as_deref()
    }

    /// The regions that are known: the rings' own first.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The rings, in the order in which they lie.
    #[must_use]
    pub fn rings(&self) -> &[RingMeter] {
        &self.rings
    }

    /// Layout and size of all rings, if they are known.
    #[must_use]
    pub const fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Why the link cannot be observed any more: its memory was cut off or overwritten. `None` while it can.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Whether no process maps the link's memory any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ends.is_empty()
    }

    /// Name of a ring: `s2m/0`, or `ring/3` if the direction is not known.
    #[must_use]
    pub fn ring_name(&self, number: usize) -> String {
        match self.rings.get(number).and_then(RingMeter::queue) {
            Some(queue) => format!("{}/{}", queue.direction.name(), queue.index),
            None => format!("ring/{number}"),
        }
    }

    /// Reads the indices of all rings, and counts what passed. For exact counts, at least once each
    /// [`MAX_GAP`](crate::ring::MAX_GAP).
    pub fn poll(&mut self) {
        let Some(region) = self.regions.first().filter(|_| self.broken.is_none()) else { return };
        let now = Instant::now();
        let lost = self.rings.iter_mut().position(|ring| !ring.poll(&region.memory, now));
        self.broken = if region.memory.is_damaged() {
            Some("its memory was cut off".to_owned())
        } else {
            lost.map(|number| format!("{} was overwritten: its cookie is gone", self.ring_name(number)))
        };
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        if let Some(broken) = &self.broken {
            return vec![format!("broken: {broken}")];
        }
        let mut problems = Vec::new();
        match self.ends.as_slice() {
            [] => problems.push("over: no process has it any more".to_owned()),
            [_] => problems.push("no process holds the other end".to_owned()),
            [_, _] => {}
            [..] => problems.push(format!("{} processes have it mapped", self.ends.len())),
        }
        for (number, ring) in self.rings.iter().enumerate() {
            let receiver = ring.queue().map(|queue| match queue.direction {
                Direction::S2m => Role::Master,
                Direction::M2s => Role::Slave,
            });
            let pid = receiver.and_then(|role| self.end(role)).map(|end| format!(" (PID {})", end.pid));
            let pid = pid.unwrap_or_default();
            for problem in ring.problems() {
                problems.push(format!("{}: {problem}{pid}", self.ring_name(number)));
            }
        }
        problems
    }

    /// Looks at what the rings hold, which may tell more than before.
    pub(crate) fn tell_directions(&mut self) {
        let (Some(region), Some(shape)) = (self.regions.first(), self.shape) else { return };
        let posted = |ring: &RingMeter| looks_posted(&region.memory, ring.offset(), shape).unwrap_or(false);
        let posted: Vec<bool> = self.rings.iter().map(posted).collect();
        let found = queues(&posted);
        for (ring, queue) in self.rings.iter_mut().zip(found) {
            // what was seen once stays so: a ring that runs empty later says nothing
            let seen = ring.queue().is_some_and(|queue| queue.certainty == crate::direction::Certainty::Seen);
            if !seen {
                ring.set_queue(queue);
            }
        }
    }

    /// Whether a descriptor names a region that is not known yet.
    pub(crate) fn wants_regions(&self) -> bool {
        self.named_regions()
            .iter()
            .any(|index| self.regions.iter().all(|region| region.index != Some(*index)))
    }

    /// The regions that descriptors name, besides the first, as far as descriptors are valid.
    fn named_regions(&self) -> Vec<u16> {
        let Some(shape) = self.shape else { return Vec::new() };
        let memory = &self.rings_region().memory;
        let descs = self.rings.iter().flat_map(|ring| {
            (0..shape.size()).filter_map(|slot| descriptor(memory, ring.offset(), shape, slot))
        });
        let mut named: Vec<u16> =
            descs.filter(|desc| desc.length > 0 && desc.region > 0).map(|desc| desc.region).collect();
        named.sort_unstable();
        named.dedup();
        named
    }

    /// Takes further files that both ends have mapped for the regions that descriptors name. Which file is which region is known
    /// only if there is one of each.
    pub(crate) fn add_regions(&mut self, mut found: Vec<Region>) {
        let named = self.named_regions();
        if let ([index], [region]) = (named.as_slice(), found.as_mut_slice()) {
            region.index = Some(*index);
        }
        self.regions.truncate(1);
        if !named.is_empty() {
            self.regions.extend(found);
        }
    }

    #[expect(clippy::indexing_slicing, reason = "made with one, and never without")]
    fn rings_region(&self) -> &Region {
        &self.regions[0]
    }
}
