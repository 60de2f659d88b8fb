use super::{Channel, Incoming, Listener, Received, SendOutcome, SocketAddress};

use tempfile::TempDir;

mod access;
mod descriptors;
mod listening;
mod messages;
mod races;

/// A directory with a listener and both ends of one connection.
struct Link {
    _dir: TempDir,
    _listener: Listener,
    near: Channel,
    far: Channel,
}

fn address(dir: &TempDir) -> SocketAddress {
    SocketAddress::new(dir.path().join("memif.sock")).unwrap()
}

fn link() -> Link {
    let dir = TempDir::new().unwrap();
    let listener = Listener::bind(&address(&dir), 8).unwrap();
    let near = Channel::connect(&address(&dir)).unwrap();
    let far = listener.accept().unwrap().unwrap();
    Link { _dir: dir, _listener: listener, near, far }
}

fn message(channel: &mut Channel, buf: &mut [u8]) -> Received {
    match channel.recv(buf).unwrap() {
        Incoming::Message(received) => received,
        other => panic!("{other:?}"),
    }
}

fn send(channel: &Channel, bytes: &[u8]) {
    assert_eq!(channel.send(bytes, None).unwrap(), SendOutcome::Sent);
}
