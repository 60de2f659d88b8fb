//! The mapping of packet memory, which links keep without its buffers.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr::NonNull;
use std::sync::Arc;

use memif_os::event::EventFd;
use memif_os::region_file::{PeerRegion, RegionFile, SealState};

use super::claims::FileId;
use crate::error::Error;

#[derive(Debug)]
pub(super) enum Region {
    Own(RegionFile),
    Provided { region: PeerRegion, fd: OwnedFd },
}

/// What packet memory looks like to peers. Two of the same layout are one and the same to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The file, which other packet memory may use too.
    pub(super) file: FileId,
    /// Bytes that peers map, from the start of the file.
    pub(super) len: usize,
    pub(super) buffer_size: u32,
}

/// Packet memory, mapped.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(super) layout: Layout,
    /// Signalled when a peer takes pages away, so that the control plane ends the links.
    pub(super) alarm: Arc<EventFd>,
    region: Region,
}

impl Mapped {
    pub(super) fn new(region: Region, buffer_size: u32, alarm: Arc<EventFd>) -> Result<Self, Error> {
        let (fd, len) = match &region {
            Region::Own(file) => (file.as_fd().try_clone_to_owned(), file.len()),
            Region::Provided { fd, region } => (fd.try_clone(), region.len()),
        };
        let file = fd.and_then(|fd| File::from(fd).metadata()).map_err(Error::system("fstat"))?;
        Ok(Self { layout: Layout { file: (file.dev(), file.ino()), len, buffer_size }, alarm, region })
    }

    /// Bytes of the whole memory, as peers map it.
    pub(crate) fn len(&self) -> usize {
        self.layout.len
    }

    /// First byte.
    pub(crate) fn as_ptr(&self) -> NonNull<u8> {
        match &self.region {
            Region::Own(file) => file.as_ptr(),
            Region::Provided { region, .. } => region.as_ptr(),
        }
    }

    /// Whether a peer has taken pages away.
    pub(crate) fn is_damaged(&self) -> bool {
        match &self.region {
            Region::Own(file) => file.is_damaged(),
            Region::Provided { region, .. } => region.is_damaged(),
        }
    }

    /// Size of its pages in bytes.
    pub(crate) fn page_size(&self) -> usize {
        match &self.region {
            Region::Own(file) => file.page_size(),
            Region::Provided { region, .. } => region.page_size(),
        }
    }

    /// Whether the file cannot be shrunk.
    pub(crate) fn is_sealed(&self) -> bool {
        match &self.region {
            Region::Own(_) => true,
            Region::Provided { region, .. } => is_sealed(region),
        }
    }

    /// Why it is not on huge pages, where they were preferred.
    pub(crate) fn fallback(&self) -> Option<String> {
        match &self.region {
            Region::Own(file) => file.fallback().map(ToString::to_string),
            Region::Provided { .. } => None,
        }
    }
}

impl AsFd for Mapped {
    /// The file that peers map.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.region {
            Region::Own(file) => file.as_fd(),
            Region::Provided { fd, .. } => fd.as_fd(),
        }
    }
}

/// Whether the region's file cannot be shrunk.
pub(crate) fn is_sealed(region: &PeerRegion) -> bool {
    !matches!(region.shrink_seal(), SealState::Missing { .. })
}
