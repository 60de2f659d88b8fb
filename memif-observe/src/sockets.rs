//! Who listened and who connected: by the sockets that processes hold.
//!
//! A socket that a listener accepted has the listener's name, and one that connected has none. Processes choose the names.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use crate::link::Role;
use crate::processes::{Mapper, printable};

/// `SOCK_SEQPACKET` in `/proc/net/unix`.
const SEQPACKET: u32 = 5;
/// `SS_CONNECTED` there.
const CONNECTED: u32 = 3;

/// What the connected sockets of one process are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sockets {
    /// Names of those that were accepted, each once.
    accepted: Vec<String>,
    /// Whether there is one that connected.
    connecting: bool,
}

impl Sockets {
    /// Those of a process, as far as they can be seen.
    pub(crate) fn of(mapper: &Mapper) -> Self {
        let table = fs::read(format!("/proc/{}/net/unix", mapper.pid)).unwrap_or_default();
        let names = connected(&String::from_utf8_lossy(&table));
        let mut sockets = Self::default();
        for inode in mapper.sockets() {
            match names.get(&inode) {
                Some(Some(name)) if !sockets.accepted.contains(name) => sockets.accepted.push(name.clone()),
                Some(None) => sockets.connecting = true,
                _ => {}
            }
        }
        for name in &mut sockets.accepted {
            *name = whole(name, || fs::read_link(format!("/proc/{}/cwd", mapper.pid)).ok());
        }
        sockets.accepted.sort_unstable();
        sockets.accepted.dedup();
        sockets
    }

    /// The role of a process that has these, if they tell.
    pub(crate) fn role(&self) -> Option<Role> {
        match (self.accepted.is_empty(), self.connecting) {
            (false, false) => Some(Role::Master),
            (true, true) => Some(Role::Slave),
            _ => None,
        }
    }

    /// The only name that was accepted.
    pub(crate) fn name(&self) -> Option<&str> {
        match self.accepted.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }
}

/// The whole path of a socket's name, without `.`, in printable form. A relative name begins in the folder that `folder` returns,
/// and stays relative if that returns none. An abstract address stays as it is.
pub(crate) fn whole(name: &str, folder: impl FnOnce() -> Option<PathBuf>) -> String {
    let path = match name.as_bytes().first() {
        Some(b'@') => None,
        Some(b'/') => Some(PathBuf::from(name)),
        _ => folder().map(|folder| folder.join(name)),
    };
    path.map_or_else(
        || name.to_owned(),
        |path| printable(&path.components().collect::<PathBuf>().display().to_string()),
    )
}

/// Of each connected seqpacket socket in the text of `/proc/net/unix` the name, by inode. Lines that are none are left out:
/// names may hold anything.
fn connected(table: &str) -> HashMap<u64, Option<String>> {
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let kind = u32::from_str_radix(fields.nth(4)?, 16).ok()?;
        let state = u32::from_str_radix(fields.next()?, 16).ok()?;
        let inode = fields.next()?;
        // a name may hold spaces
        let name = line.split_once(&format!(" {inode} ")).map(|(_, name)| printable(name));
        let inode = inode.parse().ok()?;
        (kind == SEQPACKET && state == CONNECTED).then_some((inode, name))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0005 01  11 /run/m.sock
0000000000000000: 00000003 00000000 00000000 0005 03  12 /run/m.sock
0000000000000000: 00000003 00000000 00000000 0005 03    13
0000000000000000: 00000003 00000000 00000000 0001 03  14 /run/stream
a name of two lines
0000000000000000: 00000003 00000000 00000000 0005 03  15 @a name";

    #[test]
    fn connected_seqpacket_sockets_are_found_by_inode() {
        let mut found: Vec<_> = connected(TABLE).into_iter().collect();
        found.sort_unstable();
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(found, [(12, name("/run/m.sock")), (13, None), (15, name("@a name"))]);
    }

    #[test]
    fn a_name_becomes_a_whole_path_without_dots() {
        for name in ["m.sock", "./m.sock", "/run/m.sock", "/run/./m.sock", "//run//m.sock"] {
            assert_eq!(whole(name, || Some("/run".into())), "/run/m.sock");
        }
        assert_eq!(whole("m.sock", || None), "m.sock");
        assert_eq!(whole("@./abstract", || panic!("an abstract address is in no folder")), "@./abstract");
        assert_eq!(whole("/run/m.sock", || panic!("the path is whole")), "/run/m.sock");
    }

    #[test]
    fn a_role_is_told_only_by_sockets_of_one_kind() {
        let sockets = |accepted: &[&str], connecting| Sockets {
            accepted: accepted.iter().map(|name| (*name).to_owned()).collect(),
            connecting,
        };
        assert_eq!(sockets(&["a"], false).role(), Some(Role::Master));
        assert_eq!(sockets(&[], true).role(), Some(Role::Slave));
        assert_eq!(sockets(&["a"], true).role(), None);
        assert_eq!(sockets(&[], false).role(), None);
        assert_eq!(sockets(&["a"], false).name(), Some("a"));
        assert_eq!(sockets(&["a", "b"], false).name(), None);
    }
}
