//! What is done about the folders in which slaves wait for their master: watched, read, and let go.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Instant;

use memif_os::event::{Change, FolderId, FolderWatch};

use super::folders::Awaited;
use super::plane::Plane;
use super::state::{Source, State};

impl State {
    /// Slaves whose folders are to be watched, and folders that nobody waits for.
    fn folder_work(&mut self) -> (Vec<u64>, Vec<FolderId>) {
        let unwatched = std::mem::take(&mut self.folders.unwatched);
        let mut unused = Vec::new();
        if std::mem::take(&mut self.folders.may_be_unused) {
            let awaited = self.interfaces.values().filter_map(|interface| interface.awaited.as_ref());
            let used: HashSet<_> = awaited.map(|awaited| awaited.folder).collect();
            unused.extend(self.folders.watched.extract_if(|folder| !used.contains(folder)));
        }
        (unwatched, unused)
    }

    /// A slave's folder is watched. It tries again, as its master may have come a moment before.
    fn folder_watched(&mut self, key: u64, watch: &Arc<FolderWatch>, awaited: Awaited) {
        if !self.folders.watch.as_ref().is_some_and(|present| Arc::ptr_eq(present, watch)) {
            return; // it was closed meanwhile
        }
        self.folders.watched.insert(awaited.folder);
        match self.interfaces.get_mut(&key) {
            Some(interface) if interface.waits() => {
                interface.awaited = Some(awaited);
                interface.retry.look_again(Instant::now());
            }
            _ => self.folders.may_be_unused = true,
        }
    }

    /// Something has happened in a folder: those that wait for it try at once.
    fn folder_changed(&mut self, change: &Change<'_>) {
        let now = Instant::now();
        for interface in self.interfaces.values_mut() {
            let met = interface.awaited.as_ref().is_some_and(|awaited| awaited.is_met_by(change));
            // an attempt that is under way may have been too early
            let tries = met && interface.retry.appeared(now);
            // looked for again when the attempt fails: a folder may have come where the file belongs
            if tries || (met && matches!(change, Change::Gone(_))) {
                interface.awaited = None;
                self.folders.may_be_unused = true;
            }
        }
    }
}

impl Plane {
    /// Watches the folders of slaves that wait for their master, and no others.
    pub(super) fn see_to_folders(&self) {
        let (unwatched, unused) = self.lock().folder_work();
        if unwatched.is_empty() && unused.is_empty() {
            return;
        }
        let Ok(watch) = self.folder_watch() else { return };
        for key in unwatched {
            let interface = self.lock().interfaces.get(&key).map(|interface| Arc::clone(&interface.config));
            let Some(config) = interface else { continue };
            if let Some(awaited) = config.socket.path().and_then(|path| Awaited::at(path, &watch)) {
                self.lock().folder_watched(key, &watch, awaited);
            }
        }
        unused.into_iter().for_each(|folder| watch.unwatch(folder));
        if self.lock().folders.watched.is_empty() {
            self.close_folders();
        }
    }

    /// What watches all folders, made for the first of them.
    fn folder_watch(&self) -> io::Result<Arc<FolderWatch>> {
        if let Some(watch) = &self.lock().folders.watch {
            return Ok(Arc::clone(watch));
        }
        let watch = Arc::new(FolderWatch::new()?);
        let fd = watch.as_fd().as_raw_fd();
        let mut state = self.lock();
        if state.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if let Some(watch) = &state.folders.watch {
            return Ok(Arc::clone(watch)); // another thread was faster
        }
        state.folders.watch = Some(Arc::clone(&watch));
        state.sources.insert(fd, Source::Folders);
        drop(state);
        self.registry.watch(watch.as_fd()).inspect_err(|_| {
            let mut state = self.lock();
            state.sources.remove(&fd);
            state.folders.watch = None;
        })?;
        Ok(watch)
    }

    /// Something has happened in a folder.
    pub(super) fn on_folders(&self) {
        let Some(watch) = self.lock().folders.watch.clone() else { return };
        // an error leaves the interval
        let _ = watch.read(|change| self.lock().folder_changed(&change));
    }

    /// Nobody waits any more.
    pub(super) fn close_folders(&self) {
        let mut state = self.lock();
        let Some(watch) = state.folders.watch.take() else { return };
        state.folders.watched.clear();
        state.sources.remove(&watch.as_fd().as_raw_fd());
        drop(state);
        self.registry.unwatch(watch.as_fd());
    }
}
