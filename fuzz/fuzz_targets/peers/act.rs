//! What a peer by script does: the next right thing, or anything else.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use arbitrary::Arbitrary;
use memif_fuzz::draft::{Damage, Draft, Due};
use memif_fuzz::memory::AnyDesc;
use memif_ring::message::Direction;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::hostile_peer::memory::{RingFile, memfd};
use crate::hostile_peer::wire::Wire;

/// A peer by script.
pub(crate) trait Peer {
    /// Does the next thing that the protocol asks for, if it is this side's turn.
    fn proceed(&mut self);
    fn wire(&self) -> &Wire;
    /// Says nothing any more.
    fn hang_up(&mut self);
    /// What a message that is next would have in it.
    fn due(&self) -> Due;
    /// The region that the rings are in.
    fn file(&self) -> Option<&File>;
    /// Where it begins in the file of its rings.
    fn base(&self) -> u64 {
        0
    }
    /// Where a ring lies.
    fn ring(&self, direction: Direction) -> Option<RingFile<'_>>;
    fn event(&self, direction: Direction) -> Option<&OwnedFd>;
    /// Packets in good order, or the slots for them.
    fn publish_next(&mut self);
    /// Something was sent: a message of its own making, or, without one, bytes that may be a message by chance.
    fn noted(&mut self, draft: Option<&Draft>);
}

/// A descriptor that a peer may pass.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Thing {
    /// As the protocol has it, in another moment.
    Region,
    Event,
    Semaphore,
    /// An eventfd that is about to overflow, and whose writes wait.
    FullEvent,
    EmptyMemory,
    Memory {
        pages: u8,
    },
    Socket,
    Null,
    Directory,
    Epoll,
}

impl Thing {
    fn open(self, peer: &impl Peer) -> OwnedFd {
        let sealable = || memfd(MemfdFlags::ALLOW_SEALING);
        match self {
            Self::Region => peer.file().map_or_else(sealable, |file| file.try_clone().unwrap().into()),
            Self::Event => eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
            Self::Semaphore => eventfd(7, EventfdFlags::SEMAPHORE).unwrap(),
            Self::FullEvent => {
                let event = eventfd(0, EventfdFlags::empty()).unwrap();
                rustix::io::write(&event, &(u64::MAX - 1).to_ne_bytes()).unwrap();
                event
            }
            Self::EmptyMemory => memfd(MemfdFlags::empty()),
            Self::Memory { pages } => {
                let memory = sealable();
                ftruncate(&memory, u64::from(pages) * 4096).unwrap();
                memory
            }
            Self::Socket => {
                let flags = SocketFlags::CLOEXEC;
                socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap().0
            }
            Self::Null => File::open("/dev/null").unwrap().into(),
            Self::Directory => File::open("/").unwrap().into(),
            Self::Epoll => epoll::create(epoll::CreateFlags::CLOEXEC).unwrap(),
        }
    }
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Act {
    /// Up to four right messages in a row.
    Proceed {
        times: u8,
    },
    Say {
        draft: Draft,
        damage: Damage,
        thing: Thing,
    },
    /// Bytes that are no message.
    Blurt {
        bytes: Vec<u8>,
        things: u8,
        thing: Thing,
    },
    HangUp,
    /// The region's file gets another length.
    Cut {
        pages: u8,
    },
    Punch {
        page: u8,
        pages: u8,
    },
    Write {
        at: u16,
        bytes: [u8; 4],
    },
    Head {
        s2m: bool,
        index: u16,
    },
    Tail {
        s2m: bool,
        index: u16,
    },
    Desc {
        s2m: bool,
        index: u8,
        desc: AnyDesc,
    },
    /// A packet, or free slots.
    Publish,
    /// Writes the eventfd of a ring.
    Notify {
        s2m: bool,
        full: bool,
    },
}

impl Act {
    pub(crate) fn is_honest(&self) -> bool {
        matches!(self, Self::Proceed { .. } | Self::HangUp | Self::Publish | Self::Notify { full: false, .. })
    }

    pub(crate) fn play(&self, peer: &mut impl Peer) {
        match *self {
            Self::Proceed { times } => (0..=times % 4).for_each(|_| peer.proceed()),
            Self::Say { ref draft, ref damage, thing } => say(peer, draft, damage, thing),
            Self::Blurt { ref bytes, things, thing } => {
                let bytes = &bytes[..bytes.len().min(300)];
                let things: Vec<_> = (0..things % 5).map(|_| thing.open(peer)).collect();
                let fds: Vec<_> = things.iter().map(AsFd::as_fd).collect();
                peer.wire().send_bytes(bytes, &fds);
                peer.noted(None);
            }
            Self::HangUp => peer.hang_up(),
            Self::Publish => peer.publish_next(),
            Self::Notify { s2m, full } => {
                let count = if full { u64::MAX - 1 } else { 1 };
                if let Some(event) = peer.event(direction(s2m)) {
                    // one that is full already stays so
                    let _ = rustix::io::write(event, &count.to_ne_bytes());
                }
            }
            _ => self.change_memory(peer),
        }
    }

    /// What cannot be done to the file any more is not done.
    fn change_memory(&self, peer: &impl Peer) {
        let Some(file) = peer.file() else { return };
        match *self {
            Self::Cut { pages } => drop(file.set_len(u64::from(pages % 24) * 4096)),
            Self::Punch { page, pages } => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let (from, len) = (u64::from(page % 24) * 4096, (u64::from(pages % 24) + 1) * 4096);
                let _ = fallocate(file, flags, from, len);
            }
            Self::Write { at, bytes } => drop(file.write_all_at(&bytes, at.into())),
            _ => self.change_ring(peer),
        }
    }

    /// Only where the ring's bytes are still there: others would come back with what is written.
    fn change_ring(&self, peer: &impl Peer) {
        let (Self::Head { s2m, .. } | Self::Tail { s2m, .. } | Self::Desc { s2m, .. }) = *self else {
            return;
        };
        let Some(ring) = peer.ring(direction(s2m)) else { return };
        let end = ring.at + 128 + 16 * u64::from(ring.size);
        if peer.file().is_none_or(|file| peer.base() + file.metadata().unwrap().len() < end) {
            return;
        }
        match *self {
            Self::Head { index, .. } => ring.set_head(index),
            Self::Tail { index, .. } => ring.set_tail(index),
            Self::Desc { index, desc, .. } => ring.set_desc(index.into(), desc.0),
            _ => {}
        }
    }
}

fn direction(s2m: bool) -> Direction {
    if s2m { Direction::S2M } else { Direction::M2S }
}

/// A message that is almost right, with as many descriptors as the damage says.
fn say(peer: &mut impl Peer, draft: &Draft, damage: &Damage, thing: Thing) {
    let right = usize::from(matches!(draft, Draft::AddRegion { .. } | Draft::AddRing { .. }));
    let things: Vec<_> = (0..damage.fds(right)).map(|_| thing.open(peer)).collect();
    let fds: Vec<_> = things.iter().map(AsFd::as_fd).collect();
    peer.wire().send_bytes(&damage.bytes(&draft.message(peer.due()).emit()), &fds);
    // damage may meet bytes that mean nothing
    peer.noted(damage.is_none().then_some(draft));
}
