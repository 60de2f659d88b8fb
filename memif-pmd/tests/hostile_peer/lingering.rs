//! A descriptor whose last `close` waits: a TCP socket that lingers over bytes which its other end does not read. Any
//! peer can pass one, and `close` then waits in whichever thread of ours calls it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::io::{Errno, write};
use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size};

use crate::common::until;

/// `TCP_FIN_WAIT1` in `/proc/net/tcp`: closed here, with bytes that the other end has not taken yet.
const FIN_WAIT1: &str = "04";
/// How long a `close` takes, unless the other end is dropped before.
pub(crate) const LINGER: Duration = Duration::from_secs(40);

/// The other end of the socket. Dropping it ends the `close` that waits.
pub(crate) struct Lingering {
    _unread: TcpStream,
    /// As `/proc/net/tcp` writes it.
    port: String,
}

impl Lingering {
    /// The descriptor to pass, and what its `close` waits for, up to `linger`.
    pub(crate) fn new(linger: Duration) -> (OwnedFd, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_socket_recv_buffer_size(&listener, 4096).unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (unread, _) = listener.accept().unwrap();
        // Many times what the other end takes: "full" may be seen while bytes are still on their way on a busy machine, and
        // a socket that has got rid of everything by the time it is closed does not linger.
        set_socket_send_buffer_size(&socket, 65_536).unwrap();
        set_socket_linger(&socket, Some(linger)).unwrap();
        let port = format!(":{:04X}", socket.local_addr().unwrap().port());
        socket.set_nonblocking(true).unwrap();
        // full means that nothing moves on to the other end any more, either
        let mut refused = 0;
        while refused < 20 {
            match write(&socket, &[0; 4096]) {
                Ok(_) => refused = 0,
                Err(Errno::AGAIN) => {
                    refused += 1;
                    thread::sleep(Duration::from_micros(500));
                }
                Err(error) => panic!("filling a TCP socket: {error}"),
            }
        }
        (socket.into(), Self { _unread: unread, port })
    }

    /// Whether a `close` has begun and has not ended.
    pub(crate) fn is_closing(&self) -> bool {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().any(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            // a socket whose `close` has returned has no inode any more
            let &[_, local, _, state, _, _, _, _, _, inode, ..] = &words[..] else { return false };
            local.ends_with(&self.port) && state == FIN_WAIT1 && inode != "0"
        })
    }

    pub(crate) fn wait_closing(&self) {
        until("somebody closes the descriptor", || self.is_closing());
    }
}

/// Has `send` pass a lingering descriptor on, so that the peer has the only one left; what it returned, and what the
/// `close` will wait for. The thread that sends closes our descriptor next; tries again where the peer was faster still,
/// as then it is our `close` that waits.
pub(crate) fn pass<T: Send>(
    linger: Duration,
    mut send: impl FnMut(BorrowedFd<'_>) -> T + Send,
) -> (T, Lingering) {
    for _ in 0..20 {
        let (fd, lingering) = Lingering::new(linger);
        let (closed, done) = channel();
        let (send, sent) = (&mut send, &AtomicBool::new(false));
        let passed = thread::scope(|scope| {
            scope.spawn(move || {
                let passed = send(fd.as_fd());
                sent.store(true, Relaxed);
                drop(fd);
                let _ = closed.send(passed); // nobody waits any more if it took long
            });
            loop {
                // `lingering` ends the `close` of the thread above when it is dropped
                match done.recv_timeout(Duration::from_millis(500)) {
                    Ok(passed) => return Some((passed, lingering)),
                    Err(RecvTimeoutError::Timeout) if !sent.load(Relaxed) => {}
                    Err(_) => return None,
                }
            }
        });
        if let Some(passed) = passed {
            return passed;
        }
    }
    panic!("the peer always closes it first");
}
