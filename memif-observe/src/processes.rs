//! What processes have mapped and opened, by `/proc`.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memif_ring::layout::COOKIE;
use procfs::ProcError;
use procfs::process::{FDTarget, MMPermissions, MMapPath, Process, all_processes};
use rustix::fs::OFlags;

use crate::error::ObserveError;

/// A file in memory, for as long as anybody has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Number of its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// A process that has shared memory mapped.
#[derive(Debug)]
pub(crate) struct Mapper {
    pub(crate) pid: u32,
    pub(crate) command: String,
    /// Each file once, in the order of addresses.
    pub(crate) files: Vec<(FileId, MappedFile)>,
}

/// One file that a process has mapped.
#[derive(Debug)]
pub(crate) struct MappedFile {
    /// As `/proc/PID/maps` has it.
    pub(crate) name: String,
    /// How often it is mapped from its start: twice where both ends are in one process.
    pub(crate) times: usize,
    /// The first of these mappings.
    address: (u64, u64),
}

/// All processes with shared memory, and the number of those that cannot be looked at.
pub(crate) fn mappers() -> Result<(Vec<Mapper>, usize), ObserveError> {
    let failed = |error: ProcError| ObserveError::Processes { reason: error.to_string() };
    let (mut mappers, mut hidden) = (Vec::new(), 0);
    for process in all_processes().map_err(failed)? {
        match process.and_then(|process| look_at(&process)) {
            Ok(mapper) => mappers.push(mapper),
            Err(ProcError::PermissionDenied(_)) => hidden += 1,
            // gone meanwhile
            Err(_) => {}
        }
    }
    mappers.retain(|mapper| !mapper.files.is_empty());
    Ok((mappers, hidden))
}

/// Whether one process can be looked at.
pub(crate) fn check(pid: u32) -> Result<(), ObserveError> {
    let result = i32::try_from(pid).map_err(|_| ObserveError::NoProcess { pid });
    match Process::new(result?).and_then(|process| process.maps()) {
        Ok(_) => Ok(()),
        Err(ProcError::PermissionDenied(_)) => Err(ObserveError::NotAllowed { pid }),
        Err(_) => Err(ObserveError::NoProcess { pid }),
    }
}

fn look_at(process: &Process) -> Result<Mapper, ProcError> {
    let mut files: Vec<(FileId, MappedFile)> = Vec::new();
    for map in process.maps()? {
        let MMapPath::Path(path) = &map.pathname else { continue };
        // who maps it for reading alone is no end, but somebody who looks, as this process does
        let end = map.perms.contains(MMPermissions::SHARED | MMPermissions::WRITE);
        if !end || map.offset != 0 || !is_memory(path) {
            continue;
        }
        let file = FileId { device: device(map.dev), inode: map.inode };
        match files.iter_mut().find(|(known, _)| *known == file) {
            Some((_, mapped)) => mapped.times += 1,
            None => {
                let name = path.to_string_lossy();
                let name = name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned();
                files.push((file, MappedFile { name, times: 1, address: map.address }));
            }
        }
    }
    // only of those with something to show
    let command = if files.is_empty() { String::new() } else { process.stat()?.comm };
    let pid = process.pid().unsigned_abs();
    Ok(Mapper { pid, command: printable(&command), files })
}

/// Whether a path is that of shared memory. Other files are not opened: their file system may never answer.
fn is_memory(path: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    [&b"/memfd:"[..], b"/dev/shm/", b"/dev/hugepages"].iter().any(|start| path.starts_with(start))
}

fn device((major, minor): (i32, i32)) -> u64 {
    rustix::fs::makedev(major.unsigned_abs(), minor.unsigned_abs())
}

impl Mapper {
    /// Opens one of its files for reading: by the mapping, which takes more rights, or by a descriptor of the process.
    pub(crate) fn open(&self, id: FileId) -> Option<File> {
        let (_, file) = self.files.iter().find(|(known, _)| *known == id)?;
        let (start, end) = file.address;
        let is_it = |file: &File| {
            file.metadata().is_ok_and(|found| FileId { device: found.dev(), inode: found.ino() } == id)
        };
        open(&PathBuf::from(format!("/proc/{}/map_files/{start:x}-{end:x}", self.pid)))
            .filter(is_it)
            .or_else(|| self.descriptors(id).into_iter().filter_map(|path| open(&path)).find(is_it))
    }

    /// Descriptors of the process for a file.
    fn descriptors(&self, id: FileId) -> Vec<PathBuf> {
        let process = i32::try_from(self.pid).ok().and_then(|pid| Process::new(pid).ok());
        let descriptors = process.and_then(|process| process.fd().ok());
        let same = |path: &PathBuf| {
            fs::metadata(path).is_ok_and(|found| FileId { device: found.dev(), inode: found.ino() } == id)
        };
        let memory = |target: &FDTarget| match target {
            FDTarget::MemFD(_) => true,
            FDTarget::Path(path) => is_memory(path),
            _ => false,
        };
        let descriptors = descriptors.into_iter().flatten().flatten().filter(|fd| memory(&fd.target));
        descriptors.map(|fd| PathBuf::from(format!("/proc/{}/fd/{}", self.pid, fd.fd))).filter(same).collect()
    }

    /// Inodes of the process's sockets.
    pub(crate) fn sockets(&self) -> HashSet<u64> {
        let process = i32::try_from(self.pid).ok().and_then(|pid| Process::new(pid).ok());
        let descriptors = process.and_then(|process| process.fd().ok());
        let inode = |target| match target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        };
        descriptors.into_iter().flatten().flatten().filter_map(|fd| inode(fd.target)).collect()
    }
}

fn open(path: &Path) -> Option<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path).ok()
}

/// Whether a file begins with a ring. It reads the file and does not map it, because most files do not belong to memif.
pub(crate) fn begins_with_ring(file: &File) -> bool {
    let mut cookie = [0; 4];
    file.read_exact_at(&mut cookie, 0).is_ok() && u32::from_ne_bytes(cookie) == COOKIE
}

/// Of each file, who has it mapped: in the order of `mappers`.
pub(crate) fn by_file(mappers: &[Mapper]) -> HashMap<FileId, Vec<usize>> {
    let mut by_file: HashMap<FileId, Vec<usize>> = HashMap::new();
    for (number, mapper) in mappers.iter().enumerate() {
        for (file, _) in &mapper.files {
            by_file.entry(*file).or_default().push(number);
        }
    }
    by_file
}

/// The text without control characters, which a terminal would act on.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}
