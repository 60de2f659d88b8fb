//! Network namespaces, by the file that stands for one.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Invalid name of a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} names no network namespace: give the path of its file, a name that `ip netns` lists, or the id of a process"
)]
pub struct NamespaceError {
    /// The name given.
    pub name: String,
}

/// A network namespace, in which abstract names are looked up.
///
/// Sockets are bound and connected in it on a thread that enters it and then ends; whoever asks for them stays where it is.
/// That takes `CAP_SYS_ADMIN`, in the user namespace that the network namespace belongs to and in the process's own, and
/// for the namespace of a process the right to trace it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NetNamespace(PathBuf);

impl NetNamespace {
    /// By its text: a path contains a `/`; digits are the id of a process that is in it; anything else is a name of
    /// `ip netns`, a file in `/run/netns`.
    ///
    /// # Errors
    /// [`NamespaceError`]: the text is empty, `.`, `..`, or has a NUL byte inside.
    pub fn new(name: &str) -> Result<Self, NamespaceError> {
        if matches!(name, "" | "." | "..") || name.contains('\0') {
            return Err(NamespaceError { name: name.to_owned() });
        }
        let path = if name.contains('/') {
            PathBuf::from(name)
        } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
            Path::new("/proc").join(name).join("ns/net")
        } else {
            Path::new("/run/netns").join(OsStr::from_bytes(name.as_bytes()))
        };
        Ok(Self(path))
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for NetNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.display(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_paths_and_processes_are_told_apart() {
        for (text, path) in [
            ("blue", "/run/netns/blue"),
            ("1a", "/run/netns/1a"),
            ("42", "/proc/42/ns/net"),
            ("/var/run/netns/7", "/var/run/netns/7"),
            ("./7", "./7"),
        ] {
            let namespace = NetNamespace::new(text).unwrap();
            assert_eq!((namespace.path(), namespace.to_string().as_str()), (Path::new(path), path));
        }
        for text in ["", ".", "..", "a\0b", "/a\0"] {
            let error = NetNamespace::new(text).unwrap_err();
            assert_eq!(error.name, text);
        }
    }
}
