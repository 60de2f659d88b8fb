//! Why a region could not be created or mapped.

use std::ffi::c_int;
use std::io;

use crate::huge_pages::HugeFallback;
use crate::limits::UsedUp;

/// Largest region, in bytes, that is created or accepted: 1 TiB, far above what any peer in the field
/// announces.
pub const MAX_REGION_LEN: u64 = 1 << 40;

/// Why a region could not be created or mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The region's size is 0 or above [`MAX_REGION_LEN`].
    #[error("region of {len} bytes: the size must be 1 to {MAX_REGION_LEN} bytes")]
    BadSize {
        /// The size asked for or announced, in bytes.
        len: u64,
    },
    /// The name holds a NUL or has more than 249 bytes, the kernel's limit.
    #[error("region name {name:?}: use at most 249 bytes and no NUL")]
    BadName {
        /// The name asked for.
        name: String,
    },
    /// [`HugePages::Require`](crate::huge_pages::HugePages::Require) could not be satisfied.
    #[error("region {name:?}: {reason}")]
    NoHugePages {
        /// The region's name.
        name: String,
        /// What is missing and how to provide it.
        reason: HugeFallback,
    },
    /// The machine has less memory free than the region needs.
    #[error(
        "region {name:?} needs {len} bytes and {available} are available: use fewer or smaller rings and buffers"
    )]
    NotEnoughMemory {
        /// The region's name.
        name: String,
        /// Size asked for, in bytes.
        len: usize,
        /// Memory available, in bytes (`MemAvailable` of `/proc/meminfo`).
        available: usize,
    },
    /// The kernel refused to create, fill, map or seal our memfd.
    #[error(
        "cannot allocate region {name:?} of {len} bytes: {error}{}",
        UsedUp::hint(UsedUp::of_descriptors(error))
    )]
    Allocate {
        /// The region's name.
        name: String,
        /// Size asked for, in bytes.
        len: usize,
        /// The kernel's answer: `ENOSPC` and `ENOMEM` mean a limit of memory, `EMFILE` one of descriptors.
        error: io::Error,
    },
    /// The peer's descriptor is no memfd and no file on tmpfs or hugetlbfs.
    #[error("the peer's region is no shared memory file (memfd or hugetlbfs): {error}")]
    NotSharedMemory {
        /// The kernel's answer to the question for its seals.
        error: io::Error,
    },
    /// The peer's descriptor is not open for reading and writing.
    #[error("the peer's region is not open for reading and writing (open flags {flags:#o})")]
    NotReadWrite {
        /// Open flags as of `fcntl(F_GETFL)`.
        flags: c_int,
    },
    /// The peer's file can still shrink, and [`ShrinkSeal::Require`](crate::region_file::ShrinkSeal::Require) was asked for.
    #[error(
        "the peer's region is not sealed against shrinking and cannot be sealed ({error}): \
         let the peer seal it with F_SEAL_SHRINK, or allow unsealed regions"
    )]
    Unsealed {
        /// Why the seal could not be added.
        error: io::Error,
    },
    /// The peer's file is smaller than it said (on huge pages: rounded up to whole pages).
    #[error(
        "the peer announced a region of {announced} bytes, of which {needed} must be mapped; its file has {actual}"
    )]
    TooSmall {
        /// Size in ADD_REGION, in bytes.
        announced: u64,
        /// Bytes that must be mapped for it.
        needed: u64,
        /// Size of the file, in bytes.
        actual: u64,
    },
    /// The kernel refused to examine or to map the peer's file.
    #[error("cannot map the peer's region of {len} bytes: {error}")]
    Map {
        /// Size to be mapped, in bytes.
        len: u64,
        /// The kernel's answer: `EPERM` means a seal against writing, `ENOMEM` a lack of huge pages or
        /// address space.
        error: io::Error,
    },
}

/// A size in bytes that regions may have.
pub(super) fn check_len(len: u64) -> Result<usize, RegionError> {
    match usize::try_from(len) {
        Ok(n) if len != 0 && len <= MAX_REGION_LEN => Ok(n),
        _ => Err(RegionError::BadSize { len }),
    }
}
