//! Folders in which slaves wait for the socket file of their master, so that they connect as soon as it is there.
//!
//! What is watched is the socket's folder or, while that does not exist, the nearest one above that does. Where the kernel
//! has no inotify instance or watch left, and for abstract sockets, a slave has its interval alone.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

use memif_os::event::{Change, FolderId, FolderWatch};

/// What a slave waits for: a file of this name in this folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Awaited {
    pub(super) folder: FolderId,
    name: OsString,
}

impl Awaited {
    /// Watches the folder of a path, or the nearest one above it that exists. `None` where that cannot be done.
    pub(super) fn at(path: &Path, watch: &FolderWatch) -> Option<Self> {
        for path in path.ancestors() {
            let name = path.file_name().unwrap_or(OsStr::new("..")).to_owned();
            let folder = match path.parent()? {
                here if here.as_os_str().is_empty() => Path::new("."),
                folder => folder,
            };
            match watch.watch(folder) {
                Ok(folder) => return Some(Self { folder, name }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => return None,
            }
        }
        None
    }

    pub(super) fn is_met_by(&self, change: &Change<'_>) -> bool {
        match change {
            Change::File(folder, name) => self.folder == *folder && self.name == *name,
            Change::Gone(folder) => self.folder == *folder,
            Change::Lost => true,
        }
    }
}

/// Part of the control plane's state.
#[derive(Default)]
pub(super) struct Folders {
    pub(super) watch: Option<Arc<FolderWatch>>,
    pub(super) watched: HashSet<FolderId>,
    /// Slaves that wait for a master and whose folder is not watched.
    pub(super) unwatched: Vec<u64>,
    /// Slaves that waited have a link, or are gone.
    pub(super) may_be_unused: bool,
}

impl Folders {
    /// A slave waits for its master.
    pub(super) fn await_for(&mut self, key: u64) {
        if !self.unwatched.contains(&key) {
            self.unwatched.push(key);
        }
    }

    /// A slave does not wait any more.
    pub(super) fn await_no_more(&mut self) {
        self.may_be_unused = true;
    }
}
