//! Which links there are.

use std::collections::HashMap;
use std::sync::Arc;

use memif_os::region_file::ObservedRegion;

use crate::error::ObserveError;
use crate::link::{End, FileId, Link, Region, Role};
use crate::processes::{Mapper, begins_with_ring, by_file, check, mappers, printable};
use crate::sockets::{Sockets, whole};

/// Most links that are observed at a time.
pub const MAX_LINKS: usize = 4096;
/// Most files of further regions that are mapped for one link.
const MAX_REGIONS: usize = 64;

/// Which links are wanted: all, unless something is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Those that this process is an end of.
    pub pid: Option<u32>,
    /// Those of this socket: a path, which may begin in the current folder, or an abstract address that begins with `@`.
    pub socket: Option<String>,
}

impl Scope {
    fn contains(&self, link: &Link) -> bool {
        let by_pid = self.pid.is_none_or(|pid| link.ends().iter().any(|end| end.pid == pid));
        by_pid && self.socket.as_deref().is_none_or(|socket| link.socket() == Some(socket))
    }
}

/// The links of this host.
#[derive(Debug)]
pub struct Observer {
    scope: Scope,
    links: Vec<Link>,
    hidden: usize,
}

impl Observer {
    /// An observer without links: [`scan`](Self::scan) finds them.
    #[must_use]
    pub fn new(mut scope: Scope) -> Self {
        // links have whole paths
        scope.socket = scope.socket.map(|socket| whole(&socket, || std::env::current_dir().ok()));
        Self { scope, links: Vec::new(), hidden: 0 }
    }

    /// The links that the last scan found, in the order in which they were first seen. A link that is over stays for one
    /// more scan.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Processes that could not be looked at, for lack of rights.
    #[must_use]
    pub const fn hidden(&self) -> usize {
        self.hidden
    }

    /// Reads the indices of all links: see [`Link::poll`].
    pub fn poll(&mut self) {
        self.links.iter_mut().for_each(Link::poll);
    }

    /// Looks for links. Those that are known stay, with what was counted.
    ///
    /// # Errors
    /// [`ObserveError::Processes`]; [`ObserveError::NoProcess`] and [`ObserveError::NotAllowed`] for the process of the
    /// scope, unless a link of it is known.
    pub fn scan(&mut self) -> Result<(), ObserveError> {
        if let Some(pid) = self.scope.pid.filter(|_| self.links.is_empty()) {
            check(pid)?;
        }
        let (mappers, hidden) = mappers()?;
        self.hidden = hidden;
        self.links.retain(|link| !link.is_over());
        let who = by_file(&mappers);
        for link in &mut self.links {
            link.ends.clear();
        }
        let mut new: Vec<_> =
            who.keys().filter(|file| self.links.iter().all(|link| link.id() != **file)).collect();
        new.sort_unstable();
        for file in new {
            let holders = who.get(file).into_iter().flatten().filter_map(|number| mappers.get(*number));
            let found = holders.filter_map(|holder| ring_region(holder, *file)).next();
            if let Some(link) = found.and_then(Link::new).filter(|_| self.links.len() < MAX_LINKS) {
                self.links.push(link);
            }
        }
        let rings: Vec<FileId> = self.links.iter().map(Link::id).collect();
        let mut sockets = HashMap::new();
        for link in &mut self.links {
            let numbers = who.get(&link.id()).map(Vec::as_slice).unwrap_or_default();
            let holders: Vec<&Mapper> = numbers.iter().filter_map(|number| mappers.get(*number)).collect();
            set_ends(link, &holders, &mut sockets);
            link.tell_directions();
            if link.wants_regions() {
                link.add_regions(shared_files(&holders, &rings));
            }
        }
        let scope = self.scope.clone();
        self.links.retain(|link| link.is_over() || scope.contains(link));
        Ok(())
    }
}

fn region(holder: &Mapper, file: FileId, memory: ObservedRegion) -> Region {
    let name = holder.files.iter().find(|(known, _)| *known == file).map(|(_, file)| printable(&file.name));
    Region { index: None, file, name: name.unwrap_or_default(), memory: Arc::new(memory) }
}

/// A file, if it begins with a ring.
fn ring_region(holder: &Mapper, id: FileId) -> Option<Region> {
    let file = holder.open(id).filter(begins_with_ring)?;
    let memory = ObservedRegion::map(&file).ok()?;
    Some(Region { index: Some(0), ..region(holder, id, memory) })
}

/// Who has the link, in which role, by which socket.
fn set_ends(link: &mut Link, holders: &[&Mapper], known: &mut HashMap<u32, Sockets>) {
    let id = link.id();
    let mut socket = None;
    link.ends.clear();
    for holder in holders {
        let sockets = known.entry(holder.pid).or_insert_with(|| Sockets::of(holder));
        let times = holder.files.iter().find(|(file, _)| *file == id).map_or(1, |(_, file)| file.times);
        // a process that is both ends has both kinds of sockets
        let role = sockets.role();
        let end = End { pid: holder.pid, command: holder.command.clone(), role };
        link.ends.extend(std::iter::repeat_n(end, times.min(2)));
        if role != Some(Role::Slave) {
            socket = socket.or_else(|| sockets.name().map(str::to_owned));
        }
    }
    // of two ends each has one role
    if let [one, other] = link.ends.as_mut_slice() {
        match (one.role, other.role) {
            (Some(role), None) => other.role = Some(opposite(role)),
            (None, Some(role)) => one.role = Some(opposite(role)),
            (Some(one_role), Some(other_role)) if one_role == other_role => {
                (one.role, other.role) = (None, None);
            }
            _ => {}
        }
    }
    link.socket = socket.or_else(|| link.socket.take());
}

const fn opposite(role: Role) -> Role {
    match role {
        Role::Master => Role::Slave,
        Role::Slave => Role::Master,
    }
}

/// Files besides those with rings that all holders have mapped.
fn shared_files(holders: &[&Mapper], rings: &[FileId]) -> Vec<Region> {
    let Some((first, others)) = holders.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Vec::new();
    };
    let shared = first.files.iter().map(|(file, _)| *file).filter(|file| {
        !rings.contains(file) && others.iter().all(|other| other.files.iter().any(|(known, _)| known == file))
    });
    let open = |file| holders.iter().find_map(|holder| ObservedRegion::map(&holder.open(file)?).ok());
    shared.take(MAX_REGIONS).filter_map(|file| open(file).map(|memory| region(first, file, memory))).collect()
}
