extern crate std;

use super::*;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

fn text<const N: usize>() -> impl Strategy<Value = Text<N>> {
    prop_oneof![
        // Any bytes, which rarely fill the field, and bytes that always do.
        prop::collection::vec(any::<u8>(), N),
        prop::collection::vec(1..=u8::MAX, N),
    ]
    .prop_map(|bytes| Text::from_field(bytes.try_into().unwrap()))
}

fn mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(&Mode::ALL[..])
}

prop_compose! {
    fn hello()(name in text(), min_version: u16, max_version: u16, max_region: u16, max_m2s_ring: u16,
               max_s2m_ring: u16, max_log2_ring_size: u8) -> Hello {
        Hello { name, min_version, max_version, max_region, max_m2s_ring, max_s2m_ring, max_log2_ring_size }
    }
}

prop_compose! {
    fn init()(version: u16, id: u32, mode in mode(), secret: [u8; SECRET_SIZE], name in text()) -> Init {
        Init { version, id, mode, secret: Secret::from_field(secret), name }
    }
}

prop_compose! {
    fn add_ring()(s2m: bool, index: u16, region: u16, offset: u32, log2_size: u8,
                  private_hdr_size: u16) -> AddRing {
        let direction = if s2m { Direction::S2M } else { Direction::M2S };
        AddRing { direction, index, region, offset, log2_size, private_hdr_size }
    }
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        Just(Message::Ack),
        hello().prop_map(Message::Hello),
        init().prop_map(Message::Init),
        any::<(u16, u64)>().prop_map(|(index, size)| Message::AddRegion(AddRegion { index, size })),
        add_ring().prop_map(Message::AddRing),
        text().prop_map(|if_name| Message::Connect { if_name }),
        text().prop_map(|if_name| Message::Connected { if_name }),
        (any::<u32>(), text()).prop_map(|(code, reason)| Message::Disconnect { code, reason }),
    ]
}

proptest! {
    #[test]
    fn emitted_messages_parse_to_the_same(message in message()) {
        let bytes = message.emit();
        prop_assert_eq!(Message::parse(&bytes), Ok(message));
        prop_assert_eq!(u16::from_ne_bytes([bytes[0], bytes[1]]), message.kind().number());
    }

    #[test]
    fn any_bytes_parse_or_are_refused(kind in 0_u16..12, mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Some(start) = bytes.get_mut(..2) {
            start.copy_from_slice(&kind.to_ne_bytes());
        }
        let got = bytes.len();
        match Message::parse(&bytes) {
            Ok(message) => {
                prop_assert_eq!(got, MESSAGE_SIZE);
                prop_assert_eq!(Message::parse(&message.emit()), Ok(message));
            }
            Err(ParseError::TooShort { got: said }) => prop_assert!(got < MESSAGE_SIZE && said == got),
            Err(ParseError::TooLong { got: said }) => prop_assert!(got > MESSAGE_SIZE && said == got),
            Err(ParseError::UnknownType { got, .. }) => prop_assert!(got == 0 || got > 8),
            Err(ParseError::UnknownMode { got, .. }) => prop_assert!(got > 2 && kind == 3),
        }
    }

    #[test]
    fn displayed_text_is_printable_ascii(text in text::<32>()) {
        let shown = format!("{text}{text:?}");
        prop_assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", shown);
    }
}

#[test]
fn messages_of_every_wrong_length_are_faults() {
    let bytes = [0_u8; 300];
    for got in (0..300).filter(|&got| got != MESSAGE_SIZE) {
        let fault = Message::parse(&bytes[..got]).unwrap_err();
        let want =
            if got < MESSAGE_SIZE { ParseError::TooShort { got } } else { ParseError::TooLong { got } };
        assert_eq!(fault, want);
    }
}

#[test]
fn modes_are_read_as_they_are_written() {
    for mode in Mode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    for text in ["", "Ethernet", "ip4", "punt inject"] {
        assert_eq!(text.parse::<Mode>(), Err(ParseModeError), "{text:?}");
    }
}

#[test]
fn unknown_types_and_modes_are_faults() {
    for got in (0..=u16::MAX).filter(|number| !(1..=8).contains(number)) {
        let mut bytes = [0; MESSAGE_SIZE];
        bytes[..2].copy_from_slice(&got.to_ne_bytes());
        assert_eq!(Message::parse(&bytes), Err(ParseError::UnknownType { got }));
    }
    for got in 3..=u8::MAX {
        let mut bytes = [0; MESSAGE_SIZE];
        bytes[..2].copy_from_slice(&3_u16.to_ne_bytes());
        bytes[8] = got;
        assert_eq!(Message::parse(&bytes), Err(ParseError::UnknownMode { got }));
    }
}

/// The bytes of a message, from (offset, field) pairs written down from the protocol's table.
fn laid_out(fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; MESSAGE_SIZE];
    for (offset, field) in fields {
        bytes[*offset..offset + field.len()].copy_from_slice(field);
    }
    bytes
}

/// Checks both ways that a message has these bytes.
fn check(message: Message, fields: &[(usize, &[u8])]) {
    let bytes = laid_out(fields);
    assert_eq!(message.emit()[..], bytes[..], "{message:?}");
    assert_eq!(Message::parse(&bytes), Ok(message));
}

#[test]
fn fields_of_the_greeting_are_at_their_offsets() {
    let name = Name::new("vpp").unwrap();
    let hello = Hello {
        name,
        min_version: 0x0102,
        max_version: 0x0304,
        max_region: 0x0506,
        max_m2s_ring: 0x0708,
        max_s2m_ring: 0x090a,
        max_log2_ring_size: 14,
    };
    check(
        Message::Hello(hello),
        &[
            (0, &2_u16.to_ne_bytes()),
            (2, b"vpp"),
            (34, &0x0102_u16.to_ne_bytes()),
            (36, &0x0304_u16.to_ne_bytes()),
            (38, &0x0506_u16.to_ne_bytes()),
            (40, &0x0708_u16.to_ne_bytes()),
            (42, &0x090a_u16.to_ne_bytes()),
            (44, &[14]),
        ],
    );
    let secret = Secret::new("abc").unwrap();
    let init = Init { version: VERSION, id: 0x0102_0304, mode: Mode::PuntInject, secret, name };
    let (kind, version, id) = (3_u16.to_ne_bytes(), 0x0200_u16.to_ne_bytes(), 0x0102_0304_u32.to_ne_bytes());
    let fields: [(usize, &[u8]); 6] =
        [(0, &kind), (2, &version), (4, &id), (8, &[2]), (9, b"abc"), (33, b"vpp")];
    check(Message::Init(init), &fields);
}

#[test]
fn fields_of_regions_and_rings_are_at_their_offsets() {
    let region = AddRegion { index: 0x0102, size: 0x0304_0506_0708_090a };
    let size = 0x0304_0506_0708_090a_u64.to_ne_bytes();
    let (kind, index) = (4_u16.to_ne_bytes(), 0x0102_u16.to_ne_bytes());
    check(Message::AddRegion(region), &[(0, &kind), (2, &index), (4, &size)]);
    for (direction, flags) in [(Direction::S2M, 1_u16), (Direction::M2S, 0)] {
        let (index, region, offset) = (0x0102, 0x0304, 0x0506_0708);
        let ring = AddRing { direction, index, region, offset, log2_size: 10, private_hdr_size: 0x090a };
        check(
            Message::AddRing(ring),
            &[
                (0, &5_u16.to_ne_bytes()),
                (2, &flags.to_ne_bytes()),
                (4, &0x0102_u16.to_ne_bytes()),
                (6, &0x0304_u16.to_ne_bytes()),
                (8, &0x0506_0708_u32.to_ne_bytes()),
                (12, &[10]),
                (13, &0x090a_u16.to_ne_bytes()),
            ],
        );
    }
}

#[test]
fn fields_of_the_other_messages_are_at_their_offsets() {
    let if_name = Name::new("vpp").unwrap();
    let reason = Reason::new("why").unwrap();
    check(Message::Ack, &[(0, &1_u16.to_ne_bytes())]);
    check(Message::Connect { if_name }, &[(0, &6_u16.to_ne_bytes()), (2, b"vpp")]);
    check(Message::Connected { if_name }, &[(0, &7_u16.to_ne_bytes()), (2, b"vpp")]);
    let (kind, code) = (8_u16.to_ne_bytes(), 0x0102_0304_u32.to_ne_bytes());
    check(Message::Disconnect { code: 0x0102_0304, reason }, &[(0, &kind), (2, &code), (6, b"why")]);
}

#[test]
fn unused_bytes_and_flags_are_ignored() {
    let mut bytes = [0xff; MESSAGE_SIZE];
    bytes[..2].copy_from_slice(&1_u16.to_ne_bytes());
    assert_eq!(Message::parse(&bytes), Ok(Message::Ack));
    bytes[..2].copy_from_slice(&5_u16.to_ne_bytes());
    let Ok(Message::AddRing(ring)) = Message::parse(&bytes) else { panic!("not a ring") };
    assert_eq!(ring.direction, Direction::S2M);
    bytes[2..4].copy_from_slice(&0xfffe_u16.to_ne_bytes());
    let Ok(Message::AddRing(ring)) = Message::parse(&bytes) else { panic!("not a ring") };
    assert_eq!(ring.direction, Direction::M2S);
}

#[test]
fn kinds_are_numbered_as_in_the_protocol_and_two_carry_a_descriptor() {
    assert!(MessageKind::ALL.iter().zip(1..).all(|(kind, number)| kind.number() == number));
    let carriers: Vec<_> = MessageKind::ALL.into_iter().filter(|kind| kind.carries_fd()).collect();
    assert_eq!(carriers, [MessageKind::AddRegion, MessageKind::AddRing]);
}

#[test]
fn own_text_leaves_room_for_a_nul() {
    let longest = "x".repeat(31);
    assert_eq!(Name::new(&longest).unwrap().as_bytes(), longest.as_bytes());
    assert_eq!(Name::new("x".repeat(32)), Err(TextError::TooLong { got: 32, limit: 31 }));
    assert_eq!(Name::new(b"ab\0c"), Err(TextError::HoldsNul { at: 2 }));
    assert!(Name::new("").unwrap().is_empty());
}

#[test]
fn truncated_text_keeps_whole_characters_up_to_a_nul() {
    assert_eq!(Text::<8>::truncated("seven b").as_bytes(), b"seven b");
    assert_eq!(Text::<8>::truncated("eight by").as_bytes(), b"eight b");
    assert_eq!(Text::<8>::truncated("sixsix\u{fc}").as_bytes(), b"sixsix");
    assert_eq!(Text::<8>::truncated("a\0b").as_bytes(), b"a");
    assert!(Text::<0>::truncated("a").is_empty());
}

#[test]
fn a_peers_text_ends_at_the_first_nul_or_with_the_field() {
    assert_eq!(Text::from_field(*b"ab\0\xffcd"), Text::from_field(*b"ab\0\0\0\0"));
    assert_eq!(Text::from_field(*b"abcdef").as_bytes(), b"abcdef");
    assert_eq!(Text::from_field(*b"\0bcdef").as_bytes(), b"");
    assert_eq!(Text::from_field(*b"a\n\x1b\xff").to_string(), r"a\n\x1b\xff");
}

#[test]
fn secrets_compare_over_every_byte_and_are_not_shown() {
    let secret = Secret::new("0123456789abcdefghijklmn").unwrap();
    assert_eq!(secret, Secret::from_field(*b"0123456789abcdefghijklmn"));
    for at in 0..SECRET_SIZE {
        let mut field = *secret.as_field();
        field[at] ^= 1;
        assert_ne!(secret, Secret::from_field(field), "byte {at}");
        let mut field = [0; SECRET_SIZE];
        field[at] = 1;
        assert!(!Secret::from_field(field).is_empty(), "byte {at}");
    }
    assert_eq!(format!("{secret:?} {:?}", Secret::default()), "Secret(redacted) Secret(none)");
    assert_eq!(Secret::new("x".repeat(25)), Err(TextError::TooLong { got: 25, limit: 24 }));
    assert_eq!(Secret::new(b"\0x"), Err(TextError::HoldsNul { at: 0 }));
    assert!(Secret::new(String::new()).unwrap().is_empty());
}
