//! The encoding of the messages in 128 bytes: packed, in host byte order, the message type first.

use super::body::{AddRegion, AddRing, Hello, Init, MESSAGE_SIZE, Message};
use super::error::ParseError;
use super::kind::{Direction, MessageKind, Mode};
use super::text::{SECRET_SIZE, Secret, Text};
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bit 0 of an ADD_RING's flags: the ring carries packets from slave to master.
const RING_S2M: u16 = 1;

#[derive(KnownLayout, Immutable, FromBytes, IntoBytes, Unaligned)]
#[repr(C, packed)]
struct AckWire {
    kind: u16,
}

#[derive(KnownLayout, Immutable, FromBytes, IntoBytes, Unaligned)]
#[repr(C, packed)]
struct HelloWire {
    kind: u16,
    name: [u8; 32],
    min_version: u16,
    max_version: u16,
    max_region: u16,
    max_m2s_ring: u16,
    max_s2m_ring: u16,
    max_log2_ring_size: u8,
}

#[derive(KnownLayout, Immutable, FromBytes, IntoBytes, Unaligned)]
#[repr(C, packed)]
struct InitWire {
    kind: u16,
    version: u16,
    id: u32,
    mode: u8,
    secret: [u8; SECRET_SIZE],
    name: [u8; 32],
}

#[derive(KnownLayout, Immutable, FromBytes, IntoBytes, Unaligned)]
#[repr(C, packed)]
struct AddRegionWire {
    kind: u16,
    index: u16,
    size: u64,
}

#[derive(KnownLayout, Immutable, FromBytes, IntoBytes, Unaligned)]
#[repr(C, packed)]
struct AddRingWire {
    kind: u16,
    flags: u16,
    index: u16,
    region: u16,
    offset: u32,
    log2_size: u8,
    private_hdr_size: u16,
}

/// CONNECT and CONNECTED.
#[derive(KnownLayout, Immutable, FromBytes, IntoBytes, Unaligned)]
#[repr(C, packed)]
struct ConnectWire {
    kind: u16,
    if_name: [u8; 32],
}

#[derive(KnownLayout, Immutable, FromBytes, IntoBytes, Unaligned)]
#[repr(C, packed)]
struct DisconnectWire {
    kind: u16,
    code: u32,
    reason: [u8; 96],
}

const _: () = {
    assert!(size_of::<AckWire>() == 2 && offset_of!(AckWire, kind) == 0);

    assert!(size_of::<HelloWire>() == 45 && offset_of!(HelloWire, kind) == 0);
    assert!(offset_of!(HelloWire, name) == 2);
    assert!(offset_of!(HelloWire, min_version) == 34);
    assert!(offset_of!(HelloWire, max_version) == 36);
    assert!(offset_of!(HelloWire, max_region) == 38);
    assert!(offset_of!(HelloWire, max_m2s_ring) == 40);
    assert!(offset_of!(HelloWire, max_s2m_ring) == 42);
    assert!(offset_of!(HelloWire, max_log2_ring_size) == 44);

    assert!(size_of::<InitWire>() == 65 && offset_of!(InitWire, kind) == 0);
    assert!(offset_of!(InitWire, version) == 2);
    assert!(offset_of!(InitWire, id) == 4);
    assert!(offset_of!(InitWire, mode) == 8);
    assert!(offset_of!(InitWire, secret) == 9);
    assert!(offset_of!(InitWire, name) == 33);

    assert!(size_of::<AddRegionWire>() == 12 && offset_of!(AddRegionWire, kind) == 0);
    assert!(offset_of!(AddRegionWire, index) == 2);
    assert!(offset_of!(AddRegionWire, size) == 4);

    assert!(size_of::<AddRingWire>() == 15 && offset_of!(AddRingWire, kind) == 0);
    assert!(offset_of!(AddRingWire, flags) == 2);
    assert!(offset_of!(AddRingWire, index) == 4);
    assert!(offset_of!(AddRingWire, region) == 6);
    assert!(offset_of!(AddRingWire, offset) == 8);
    assert!(offset_of!(AddRingWire, log2_size) == 12);
    assert!(offset_of!(AddRingWire, private_hdr_size) == 13);

    assert!(size_of::<ConnectWire>() == 34 && offset_of!(ConnectWire, kind) == 0);
    assert!(offset_of!(ConnectWire, if_name) == 2);

    assert!(size_of::<DisconnectWire>() == 102 && offset_of!(DisconnectWire, kind) == 0);
    assert!(offset_of!(DisconnectWire, code) == 2);
    assert!(offset_of!(DisconnectWire, reason) == 6);
};

/// The first bytes of a message as a `T`. Never fails: every `T` here is smaller than a message.
fn read<T: FromBytes>(bytes: &[u8; MESSAGE_SIZE]) -> Result<T, ParseError> {
    let (wire, _) = T::read_from_prefix(bytes).map_err(|_| ParseError::TooShort { got: bytes.len() })?;
    Ok(wire)
}

impl Message {
    /// Parses one message as it was received. Bytes that the message type does not use are ignored.
    ///
    /// # Errors
    /// - [`ParseError::TooShort`], [`ParseError::TooLong`]: not [`MESSAGE_SIZE`] bytes.
    /// - [`ParseError::UnknownType`]: the message type is not 1 to 8.
    /// - [`ParseError::UnknownMode`]: the mode of an INIT is not 0 to 2.
    ///
    /// All other numbers are passed on unchecked.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let got = bytes.len();
        match <&[u8; MESSAGE_SIZE]>::try_from(bytes) {
            Ok(bytes) => parse(bytes),
            Err(_) if got < MESSAGE_SIZE => Err(ParseError::TooShort { got }),
            Err(_) => Err(ParseError::TooLong { got }),
        }
    }

    /// The bytes to send. Unused bytes are zero.
    #[must_use]
    pub fn emit(&self) -> [u8; MESSAGE_SIZE] {
        let kind = self.kind().number();
        match self {
            Self::Ack => padded(&AckWire { kind }),
            Self::Hello(hello) => padded(&HelloWire::from(hello)),
            Self::Init(init) => padded(&InitWire::from(init)),
            Self::AddRegion(region) => {
                padded(&AddRegionWire { kind, index: region.index, size: region.size })
            }
            Self::AddRing(ring) => padded(&AddRingWire::from(ring)),
            Self::Connect { if_name } | Self::Connected { if_name } => {
                padded(&ConnectWire { kind, if_name: *if_name.as_field() })
            }
            Self::Disconnect { code, reason } => {
                padded(&DisconnectWire { kind, code: *code, reason: *reason.as_field() })
            }
        }
    }
}

fn parse(bytes: &[u8; MESSAGE_SIZE]) -> Result<Message, ParseError> {
    let number = read::<AckWire>(bytes)?.kind;
    let kind = MessageKind::ALL
        .into_iter()
        .find(|kind| kind.number() == number)
        .ok_or(ParseError::UnknownType { got: number })?;
    Ok(match kind {
        MessageKind::Ack => Message::Ack,
        MessageKind::Hello => Message::Hello(read::<HelloWire>(bytes)?.into()),
        MessageKind::Init => Message::Init(read::<InitWire>(bytes)?.try_into()?),
        MessageKind::AddRegion => Message::AddRegion(read::<AddRegionWire>(bytes)?.into()),
        MessageKind::AddRing => Message::AddRing(read::<AddRingWire>(bytes)?.into()),
        MessageKind::Connect => {
            Message::Connect { if_name: Text::from_field(read::<ConnectWire>(bytes)?.if_name) }
        }
        MessageKind::Connected => {
            Message::Connected { if_name: Text::from_field(read::<ConnectWire>(bytes)?.if_name) }
        }
        MessageKind::Disconnect => {
            let wire = read::<DisconnectWire>(bytes)?;
            Message::Disconnect { code: wire.code, reason: Text::from_field(wire.reason) }
        }
    })
}

fn padded<T: IntoBytes + Immutable>(wire: &T) -> [u8; MESSAGE_SIZE] {
    const { assert!(size_of::<T>() <= MESSAGE_SIZE) };
    let mut bytes = [0; MESSAGE_SIZE];
    for (to, from) in bytes.iter_mut().zip(wire.as_bytes()) {
        *to = *from;
    }
    bytes
}

impl From<HelloWire> for Hello {
    fn from(wire: HelloWire) -> Self {
        Self {
            name: Text::from_field(wire.name),
            min_version: wire.min_version,
            max_version: wire.max_version,
            max_region: wire.max_region,
            max_m2s_ring: wire.max_m2s_ring,
            max_s2m_ring: wire.max_s2m_ring,
            max_log2_ring_size: wire.max_log2_ring_size,
        }
    }
}

impl From<&Hello> for HelloWire {
    fn from(hello: &Hello) -> Self {
        Self {
            kind: MessageKind::Hello.number(),
            name: *hello.name.as_field(),
            min_version: hello.min_version,
            max_version: hello.max_version,
            max_region: hello.max_region,
            max_m2s_ring: hello.max_m2s_ring,
            max_s2m_ring: hello.max_s2m_ring,
            max_log2_ring_size: hello.max_log2_ring_size,
        }
    }
}

impl TryFrom<InitWire> for Init {
    type Error = ParseError;

    fn try_from(wire: InitWire) -> Result<Self, ParseError> {
        let mode = Mode::ALL
            .into_iter()
            .find(|mode| mode.number() == wire.mode)
            .ok_or(ParseError::UnknownMode { got: wire.mode })?;
        Ok(Self {
            version: wire.version,
            id: wire.id,
            mode,
            secret: Secret::from_field(wire.secret),
            name: Text::from_field(wire.name),
        })
    }
}

impl From<&Init> for InitWire {
    fn from(init: &Init) -> Self {
        Self {
            kind: MessageKind::Init.number(),
            version: init.version,
            id: init.id,
            mode: init.mode.number(),
            secret: *init.secret.as_field(),
            name: *init.name.as_field(),
        }
    }
}

impl From<AddRegionWire> for AddRegion {
    fn from(wire: AddRegionWire) -> Self {
        Self { index: wire.index, size: wire.size }
    }
}

impl From<AddRingWire> for AddRing {
    fn from(wire: AddRingWire) -> Self {
        Self {
            direction: if wire.flags & RING_S2M == 0 { Direction::M2S } else { Direction::S2M },
            index: wire.index,
            region: wire.region,
            offset: wire.offset,
            log2_size: wire.log2_size,
            private_hdr_size: wire.private_hdr_size,
        }
    }
}

impl From<&AddRing> for AddRingWire {
    fn from(ring: &AddRing) -> Self {
        Self {
            kind: MessageKind::AddRing.number(),
            flags: match ring.direction {
                Direction::S2M => RING_S2M,
                Direction::M2S => 0,
            },
            index: ring.index,
            region: ring.region,
            offset: ring.offset,
            log2_size: ring.log2_size,
            private_hdr_size: ring.private_hdr_size,
        }
    }
}
