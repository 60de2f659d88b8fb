//! Sockets in other network namespaces.
//!
//! To make and enter namespaces takes rights that most users do not have: without them, that their lack is named is what
//! is checked. With `MEMIF_NETNS=1`, as in `ci/netns.sh`, they must be there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{PATIENCE, address, events, exchange, next, until};
use memif_pmd::{Disconnect, Error, Event, Interface, Memif};

const RETRY: Duration = Duration::from_millis(5);

/// A network namespace of its own, with a process in it.
struct Namespace {
    process: Child,
}

impl Namespace {
    /// `None` without the right, which must be there with `MEMIF_NETNS`.
    fn new() -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "600"]).stdin(Stdio::null()).stderr(Stdio::null());
        let namespace = Self { process: command.spawn().expect("unshare, of util-linux") };
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let mut process = namespace;
        let mut made = false;
        until("the process to be in its namespace, or to fail", || {
            made = fs::read_link(process.path()).is_ok_and(|its| its != own);
            made || process.process.try_wait().unwrap().is_some()
        });
        assert!(made || std::env::var_os("MEMIF_NETNS").is_none(), "no right to make a network namespace");
        made.then_some(process)
    }

    fn id(&self) -> String {
        self.process.id().to_string()
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc").join(self.id()).join("ns/net")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A name for a namespace, as `ip netns` gives it.
struct Named {
    name: String,
    file: PathBuf,
}

impl Named {
    fn new(namespace: &Namespace) -> Self {
        let name = format!("memif-test-{}", std::process::id());
        let file = Path::new("/run/netns").join(&name);
        fs::create_dir_all("/run/netns").unwrap();
        File::create(&file).unwrap();
        let named = Self { name, file };
        let mounted = Command::new("mount").arg("--bind").arg(namespace.path()).arg(&named.file).status();
        assert!(mounted.expect("mount, of util-linux").success());
        named
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.file).status();
        let _ = fs::remove_file(&self.file);
    }
}

fn peer(interface: &Interface) -> String {
    interface.details().unwrap().peer_name.to_string()
}

/// The namespaces of this process's threads.
fn namespaces() -> HashSet<PathBuf> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    // one that has just ended has none
    threads.filter_map(|thread| fs::read_link(thread.unwrap().path().join("ns/net")).ok()).collect()
}

/// Without the right to enter it, its lack is the error of a master, and the reason why a slave has no link.
fn is_refused(netns: &str) {
    let memif = Memif::start().unwrap();
    let socket = address();
    let error = memif.interface(&socket).netns(netns).master().open().unwrap_err();
    assert!(matches!(error, Error::NamespaceRight(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains("CAP_SYS_ADMIN") && text.contains("ns/net"), "{text}");
    let (handler, seen) = events();
    let _slave = memif.interface(&socket).netns(netns).on_event(handler).open().unwrap();
    assert_eq!(next(&seen), Event::ConnectFailed(Disconnect::Failed(text)));
}

#[test]
fn one_address_is_another_one_in_each_namespace() {
    let (Some(a), Some(b)) = (Namespace::new(), Namespace::new()) else {
        return is_refused(&std::process::id().to_string());
    };
    let named = Named::new(&b);
    // not that of all threads: other tests have some elsewhere
    let here = HashSet::from([fs::read_link("/proc/thread-self/ns/net").unwrap()]);
    let (memif, socket) = (Memif::start().unwrap(), address());
    let a_path = a.path().into_os_string().into_string().unwrap();
    // by id, by name, and the namespace of this process; a slave by another way than its master
    let master = |name: &str| memif.interface(&socket).master().name(name);
    let masters = [
        master("a").netns(a.id()).open().unwrap(),
        master("b").netns(&named.name).open().unwrap(),
        master("here").open().unwrap(),
    ];
    let slave = || memif.interface(&socket).reconnect(RETRY);
    let slaves = [
        slave().netns(a_path).open().unwrap(),
        slave().netns(b.id()).open().unwrap(),
        slave().open().unwrap(),
    ];
    for ((master, slave), name) in masters.iter().zip(&slaves).zip(["a", "b", "here"]) {
        slave.wait_up(Some(PATIENCE)).unwrap();
        master.wait_up(Some(PATIENCE)).unwrap();
        assert_eq!(peer(slave), name);
        exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..100, 60..=3000);
    }
    assert!(slaves[0].details().unwrap().socket.ends_with(&format!("namespace {}", a.path().display())));
    until("the threads that were elsewhere to end", || namespaces() == here);
    let error = memif.interface(&socket).master().netns(a.id()).open().unwrap_err();
    assert!(matches!(error, Error::IdInUse { .. }), "{error}");
    // the address is free again where its master was
    drop(masters);
    let again = memif.interface(&socket).master().netns(&named.name).open().unwrap();
    slaves[1].wait_up(Some(PATIENCE)).unwrap();
    assert!(again.wait_up(Some(PATIENCE)).is_ok() && !slaves[0].is_up() && !slaves[2].is_up());
}

#[test]
fn a_path_is_the_same_in_each_namespace() {
    let Some(elsewhere) = Namespace::new() else { return is_refused("/proc/self/ns/net") };
    let memif = Memif::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("m.sock").into_os_string().into_string().unwrap();
    let slave = memif.interface(&socket).netns(elsewhere.id()).reconnect(Duration::from_secs(86_400));
    let slave = slave.open().unwrap();
    let builder = memif.interface(&socket).master().socket_mode(0o600);
    let master = builder.netns(elsewhere.id()).open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    drop(master);
    assert!(slave.wait_down(Some(PATIENCE)).unwrap());
    let _here = memif.interface(&socket).master().open().unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
}

#[test]
fn a_slave_waits_for_its_namespace() {
    let memif = Memif::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("pod"), address());
    let name = file.to_str().unwrap();
    let (handler, seen) = events();
    let slave = memif.interface(&socket).netns(name).reconnect(RETRY).on_event(handler).open().unwrap();
    let Event::ConnectFailed(reason) = next(&seen) else { panic!() };
    assert!(reason.to_string().contains(&format!("{name} is no network namespace")), "{reason}");
    let error = memif.interface(&socket).netns(name).master().open().unwrap_err();
    assert!(matches!(error, Error::NoNamespace(_)), "{error}");
    let error = memif.interface(&socket).netns("").open().unwrap_err();
    assert!(matches!(error, Error::NoNamespace(_)), "{error}");
    let Some(pod) = Namespace::new() else { return };
    let master = memif.interface(&socket).netns(pod.id()).master().open().unwrap();
    std::os::unix::fs::symlink(pod.path(), &file).unwrap();
    slave.wait_up(Some(PATIENCE)).unwrap();
    // whose sockets outlive its processes
    drop(pod);
    exchange((&mut slave.tx(0).unwrap(), &mut master.rx(0).unwrap()), 0..100, 60..=60);
}
