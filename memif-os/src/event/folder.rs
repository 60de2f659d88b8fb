//! Folders whose new files are reported.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use rustix::io::Errno;

/// Changes that [`FolderWatch::read`] reports at a time, so that a flood of them leaves time for everything else.
const BATCH: usize = 128;

/// A folder that is watched; the same number for the same folder, whatever its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FolderId(i32);

/// What happened in the folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// A file of this name was made, moved here, or got another owner or mode.
    File(FolderId, &'a OsStr),
    /// The folder is not watched any more: it was removed or moved, its file system is gone, or
    /// [`FolderWatch::unwatch`] was called.
    Gone(FolderId),
    /// Changes were lost, as too many happened at once.
    Lost,
}

/// Watches folders for files that appear in them. It can be polled: [`AsFd`] is readable when there is a change.
#[derive(Debug)]
pub struct FolderWatch {
    fd: OwnedFd,
}

impl FolderWatch {
    /// Watches nothing yet. Non-blocking and close-on-exec.
    ///
    /// # Errors
    /// The kernel's answer to `inotify_init1`: `EMFILE` when the process has no descriptors left, or its user no inotify
    /// instances.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)? })
    }

    /// Watches a folder, from now on. A second call for the same folder changes nothing.
    ///
    /// # Errors
    /// The kernel's answer to `inotify_add_watch`: `ENOENT` for a folder that does not exist, `ENOTDIR` for what is none,
    /// `EACCES` for one that must not be read, `ENOSPC` at the user's limit of watches.
    pub fn watch(&self, folder: &Path) -> io::Result<FolderId> {
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB | WatchFlags::ONLYDIR;
        let itself = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        Ok(FolderId(add_watch(&self.fd, folder, flags | itself)?))
    }

    /// Stops watching a folder.
    pub fn unwatch(&self, folder: FolderId) {
        let _ = remove_watch(&self.fd, folder.0); // it may be gone already
    }

    /// Calls `report` with each change: from 128 on, only with those that were already read. The descriptor stays readable
    /// while there are more.
    ///
    /// # Errors
    /// The kernel's answer to `read`.
    pub fn read(&self, mut report: impl FnMut(Change<'_>)) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 2048];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        for count in 0.. {
            if count >= BATCH && reader.is_buffer_empty() {
                return Ok(());
            }
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            };
            let (folder, what) = (FolderId(event.wd()), event.events());
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                report(Change::Lost);
            } else if what.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF) {
                report(Change::Gone(folder));
            } else if let Some(name) = name {
                report(Change::File(folder, name));
            }
        }
        Ok(())
    }
}

impl AsFd for FolderWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    #[derive(Debug, PartialEq)]
    enum Seen {
        File(FolderId, OsString),
        Gone(FolderId),
        Lost,
    }

    fn seen(watch: &FolderWatch) -> Vec<Seen> {
        let mut seen = Vec::new();
        let note = |change: Change<'_>| {
            seen.push(match change {
                Change::File(folder, name) => Seen::File(folder, name.to_owned()),
                Change::Gone(folder) => Seen::Gone(folder),
                Change::Lost => Seen::Lost,
            });
        };
        watch.read(note).unwrap();
        seen
    }

    #[test]
    fn files_that_appear_are_named() {
        let (folder, watch) = (tempfile::tempdir().unwrap(), FolderWatch::new().unwrap());
        let id = watch.watch(folder.path()).unwrap();
        assert_eq!(watch.watch(folder.path()).unwrap(), id);
        assert_eq!(seen(&watch), []);
        let path = folder.path().join("a.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        assert_eq!(seen(&watch), [Seen::File(id, "a.sock".into())]);
        fs::rename(&path, folder.path().join("b.sock")).unwrap();
        assert_eq!(seen(&watch), [Seen::File(id, "b.sock".into())]);
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(folder.path().join("b.sock"), mode).unwrap();
        assert_eq!(seen(&watch), [Seen::File(id, "b.sock".into())]);
        watch.unwatch(id);
        assert_eq!(seen(&watch), [Seen::Gone(id)]);
        fs::write(folder.path().join("c"), "").unwrap();
        assert_eq!(seen(&watch), []);
    }

    #[test]
    fn a_folder_that_goes_is_reported() {
        let (folder, watch) = (tempfile::tempdir().unwrap(), FolderWatch::new().unwrap());
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let id = watch.watch(&inner).unwrap();
        fs::remove_dir(&inner).unwrap();
        assert_eq!(seen(&watch), [Seen::Gone(id)]);
        fs::create_dir(&inner).unwrap();
        let again = watch.watch(&inner).unwrap();
        assert_ne!(again, id);
        fs::rename(&inner, folder.path().join("other")).unwrap();
        assert_eq!(seen(&watch), [Seen::Gone(again)]);
        for (wrong, errno) in [("missing", Errno::NOENT), ("file", Errno::NOTDIR)] {
            fs::write(folder.path().join("file"), "").unwrap();
            let error = watch.watch(&folder.path().join(wrong)).unwrap_err();
            assert_eq!(Errno::from_io_error(&error), Some(errno));
        }
    }

    #[test]
    fn a_flood_is_read_a_part_at_a_time() {
        let (folder, watch) = (tempfile::tempdir().unwrap(), FolderWatch::new().unwrap());
        watch.watch(folder.path()).unwrap();
        for number in 0..500 {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        let first = seen(&watch).len();
        assert!((BATCH..2 * BATCH).contains(&first), "{first}");
        let mut all = first;
        while all < 500 {
            all += seen(&watch).len();
        }
        assert_eq!((all, seen(&watch).len()), (500, 0));
    }
}
