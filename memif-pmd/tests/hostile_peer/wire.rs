//! One control channel, with no manners at all: any bytes, any descriptors, at any time.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Instant;

use memif_os::event::poll_fds;
use memif_os::seqpacket::{Channel, Incoming, SocketAddress, SocketError};
use memif_ring::message::{Message, MessageKind};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::common::PATIENCE;

pub(crate) struct Wire {
    channel: Channel,
}

impl Wire {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// Connects, for as long as it takes if others crowd the listener.
    pub(crate) fn connect(socket: &str) -> Self {
        let address = SocketAddress::new(socket).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            match Channel::connect(&address) {
                Ok(channel) => return Self { channel },
                Err(SocketError::Busy { .. }) => assert!(Instant::now() < end, "the listener is always busy"),
                Err(error) => panic!("{error}"),
            }
            thread::yield_now();
        }
    }

    pub(crate) fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) {
        self.send_bytes(&message.emit(), fds);
    }

    /// Sends one message with up to 253 descriptors. One that the other side no longer takes is lost.
    pub(crate) fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fds.len()))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match sendmsg(&self.channel, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => return,
                Err(Errno::AGAIN) => assert!(Instant::now() < end, "the other side does not read"),
                Err(error) => panic!("sendmsg of {} bytes: {error}", bytes.len()),
            }
            thread::yield_now();
        }
    }

    /// The next message and its descriptor; `None` at the end of file.
    pub(crate) fn hear(&self) -> Option<(Message, Option<OwnedFd>)> {
        let mut bytes = [0; 256];
        let end = Instant::now() + PATIENCE;
        loop {
            match self.channel.recv(&mut bytes).unwrap() {
                Incoming::Message(received) => {
                    let message = Message::parse(&bytes[..received.len]).expect("we send whole messages");
                    return Some((message, received.fd));
                }
                Incoming::Closed => return None,
                Incoming::WouldBlock => {
                    let left = end.saturating_duration_since(Instant::now());
                    assert!(!left.is_zero(), "the other side says nothing");
                    poll_fds(&[self.channel.as_fd()], Some(left)).unwrap();
                }
            }
        }
    }

    /// The next message, which must be of this kind.
    pub(crate) fn expect(&self, kind: MessageKind) -> (Message, Option<OwnedFd>) {
        let heard = self.hear().unwrap_or_else(|| panic!("closed instead of {kind}"));
        assert_eq!(heard.0.kind(), kind, "{:?}", heard.0);
        heard
    }

    /// Hears everything up to the end; returns the words of the DISCONNECT, if there was one.
    pub(crate) fn last_words(&self) -> Option<String> {
        let mut words = None;
        while let Some((message, _)) = self.hear() {
            if let Message::Disconnect { reason, .. } = message {
                words = Some(reason.to_string());
            }
        }
        words
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
