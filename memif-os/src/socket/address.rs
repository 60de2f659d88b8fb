//! Where a master listens: paths and abstract names.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::net::SocketAddrUnix;

use super::namespace::NetNamespace;

/// Longest socket path or abstract name (with its `@`), in bytes: `sun_path` less one NUL.
pub const MAX_ADDRESS_LEN: usize = 107;

/// Invalid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing given, or nothing after the `@`.
    #[error(
        "empty socket address: give a path such as /run/vpp/memif.sock or an abstract name such as @memif"
    )]
    Empty,
    /// More than [`MAX_ADDRESS_LEN`] bytes.
    #[error("socket address {address:?} has {len} bytes, at most {MAX_ADDRESS_LEN} fit: use a shorter one")]
    TooLong {
        /// The address given.
        address: OsString,
        /// Its length in bytes.
        len: usize,
    },
    /// A NUL byte inside.
    #[error("socket address {address:?} has a NUL byte inside: remove it")]
    Nul {
        /// The address given.
        address: OsString,
    },
}

/// Where a master listens: a path in the file system or, with a leading `@`, a name in the abstract namespace.
///
/// Abstract names have no file permissions: every process in the network namespace can connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SocketAddress {
    address: OsString,
    /// Where sockets are made, bound and connected; `None` for the namespace of the calling thread.
    namespace: Option<NetNamespace>,
}

impl SocketAddress {
    /// Checks an address: 1 to [`MAX_ADDRESS_LEN`] bytes without NUL.
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong with it.
    pub fn new(address: impl AsRef<OsStr>) -> Result<SocketAddress, AddressError> {
        let address = address.as_ref().to_owned();
        let bytes = address.as_bytes();
        match bytes.len() {
            0 => Err(AddressError::Empty),
            1 if bytes == b"@" => Err(AddressError::Empty),
            _ if bytes.contains(&0) => Err(AddressError::Nul { address }),
            len if len > MAX_ADDRESS_LEN => Err(AddressError::TooLong { address, len }),
            _ => Ok(SocketAddress { address, namespace: None }),
        }
    }

    /// The same address in another network namespace: where its abstract name is looked up. A path is the same in all of
    /// them.
    #[must_use]
    pub fn in_namespace(mut self, namespace: NetNamespace) -> SocketAddress {
        self.namespace = Some(namespace);
        self
    }

    /// The network namespace, if it is not that of the calling thread.
    pub(super) fn namespace(&self) -> Option<&NetNamespace> {
        self.namespace.as_ref()
    }

    /// The path, or `None` for an abstract name.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (!self.is_abstract()).then(|| Path::new(&self.address))
    }

    /// True for a name in the abstract namespace.
    #[must_use]
    pub fn is_abstract(&self) -> bool {
        self.address.as_bytes().starts_with(b"@")
    }

    /// The kernel's form of it: a path with its terminating NUL, an abstract name without.
    pub(super) fn to_unix(&self) -> rustix::io::Result<SocketAddrUnix> {
        match self.address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddrUnix::new_abstract_name(name),
            None => SocketAddrUnix::new(&*self.address),
        }
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.address.display(), f)?;
        match &self.namespace {
            Some(namespace) => write!(f, " in network namespace {namespace}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::addr::SocketAddrArg;

    use super::*;

    #[test]
    fn addresses_are_checked() {
        let new = |bytes: &[u8]| SocketAddress::new(OsStr::from_bytes(bytes));
        assert_eq!(new(b""), Err(AddressError::Empty));
        assert_eq!(new(b"@"), Err(AddressError::Empty));
        assert!(matches!(new(b"/a\0b"), Err(AddressError::Nul { .. })));
        assert!(matches!(new(b"@\0"), Err(AddressError::Nul { .. })));
        for first in [b'/', b'@'] {
            let mut name = vec![b'x'; 107];
            name[0] = first;
            assert!(new(&name).is_ok());
            name.push(b'x');
            assert!(matches!(new(&name), Err(AddressError::TooLong { len: 108, .. })));
        }
        assert_eq!(new(b"/run/memif.sock").unwrap().path(), Some(Path::new("/run/memif.sock")));
        assert_eq!(new(b"@memif").unwrap().path(), None);
        assert_eq!(new(b"@memif").unwrap().to_string(), "@memif");
    }

    #[test]
    fn addresses_have_the_lengths_that_peers_use() {
        let unix = |address: &str| SocketAddress::new(address).unwrap().to_unix().unwrap();
        assert_eq!(unix("@memif").as_any().addr_len() as usize, 2 + "@memif".len());
        assert_eq!(unix("@memif").abstract_name(), Some(&b"memif"[..]));
        assert_eq!(unix("/memif").as_any().addr_len() as usize, 2 + "/memif".len() + 1);
        let longest = "/".repeat(MAX_ADDRESS_LEN);
        assert_eq!(unix(&longest).as_any().addr_len() as usize, 2 + MAX_ADDRESS_LEN + 1);
        let longest = format!("@{}", "x".repeat(MAX_ADDRESS_LEN - 1));
        assert_eq!(unix(&longest).as_any().addr_len() as usize, 2 + MAX_ADDRESS_LEN);
    }
}
