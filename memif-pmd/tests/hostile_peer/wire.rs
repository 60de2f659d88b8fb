//! One control channel, with no manners at all: any bytes, any descriptors, at any time.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use memif_os::event::poll_fds;
use memif_os::socket::{Channel, Incoming, SocketAddress, SocketError};
use memif_ring::message::{Message, MessageKind};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::common::PATIENCE;

/// The id of the interface under attack.
pub(crate) const VICTIM: u32 = 7;

pub(crate) struct Wire {
    channel: Mutex<Channel>,
    /// What unused bytes of messages hold.
    pub(crate) padding: u8,
}

impl Wire {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel: Mutex::new(channel), padding: 0 }
    }

    /// Connects, for as long as it takes if others crowd the listener.
    pub(crate) fn connect(socket: &str) -> Self {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(wire) = Self::try_connect(socket) {
                return wire;
            }
            assert!(Instant::now() < end, "the listener is always busy");
            thread::yield_now();
        }
    }

    /// Connects, unless so many wait at the listener that it takes no more.
    pub(crate) fn try_connect(socket: &str) -> Option<Self> {
        match Channel::connect(&SocketAddress::new(socket).unwrap()) {
            Ok(channel) => Some(Self::new(channel)),
            Err(SocketError::Busy { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn send(&self, message: &Message, fds: &[BorrowedFd<'_>]) {
        let mut bytes = message.emit();
        // docs/protocol.md, section 2.2
        let end = match message {
            Message::Ack => 2,
            Message::Hello(_) => 45,
            Message::Init(_) => 65,
            Message::AddRegion(_) => 12,
            Message::AddRing(_) => 15,
            Message::Connect { .. } | Message::Connected { .. } => 34,
            Message::Disconnect { .. } => 102,
        };
        bytes[end..].fill(self.padding);
        self.send_bytes(&bytes, fds);
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
            match sendmsg(
                &*self.channel.lock().unwrap(),
                &[IoSlice::new(bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
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
            let incoming = self.channel.lock().unwrap().recv(&mut bytes).unwrap();
            match incoming {
                Incoming::Message(received) => {
                    let message = Message::parse(&bytes[..received.len]).expect("we send whole messages");
                    return Some((message, received.fd));
                }
                Incoming::Closed => return None,
                Incoming::TooManyFds(_) | Incoming::FdsLost => panic!("we attach one at most"),
                Incoming::WouldBlock => {
                    let left = end.saturating_duration_since(Instant::now());
                    assert!(!left.is_zero(), "the other side says nothing");
                    poll_fds(&[self.channel.lock().unwrap().as_fd()], Some(left)).unwrap();
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
    /// Whether something can be read, now or before the time is over.
    pub(crate) fn is_readable(&self, timeout: Duration) -> bool {
        poll_fds(&[self.channel.lock().unwrap().as_fd()], Some(timeout)).unwrap() != 0
    }
}
