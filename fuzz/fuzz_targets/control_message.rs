//! Any bytes as a control message: taken or refused as the protocol's table says, and emitted again as the same message
//! with everything that means nothing left out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memif_ring::message::{MESSAGE_SIZE, Message, ParseError};

/// What a byte range of a message is (docs/protocol.md, section 2.2).
enum Field {
    Number,
    Text,
    /// Flags of which bit 0 alone has a meaning.
    Flags,
}

/// Ends of the fields behind the type, in order, by message type.
const FIELDS: [&[(Field, usize)]; 8] = {
    use Field::{Flags, Number, Text};
    [
        &[],
        &[(Text, 34), (Number, 36), (Number, 38), (Number, 40), (Number, 42), (Number, 44), (Number, 45)],
        &[(Number, 4), (Number, 8), (Number, 9), (Number, 33), (Text, 65)],
        &[(Number, 4), (Number, 12)],
        &[(Flags, 4), (Number, 6), (Number, 8), (Number, 12), (Number, 13), (Number, 15)],
        &[(Text, 34)],
        &[(Text, 34)],
        &[(Number, 6), (Text, 102)],
    ]
};

/// The message of this type without what means nothing.
fn canonical(kind: usize, bytes: &[u8; MESSAGE_SIZE]) -> [u8; MESSAGE_SIZE] {
    let mut want = [0; MESSAGE_SIZE];
    want[..2].copy_from_slice(&bytes[..2]);
    let mut start = 2;
    for (field, end) in FIELDS[kind - 1] {
        let range = start..*end;
        want[range.clone()].copy_from_slice(&bytes[range.clone()]);
        match field {
            Field::Number => {}
            Field::Flags => {
                let flags = u16::from_ne_bytes([bytes[start], bytes[start + 1]]) & 1;
                want[range].copy_from_slice(&flags.to_ne_bytes());
            }
            Field::Text => {
                let text = want[range].iter_mut();
                text.skip_while(|byte| **byte != 0).for_each(|byte| *byte = 0);
            }
        }
        start = *end;
    }
    want
}

fn check(bytes: &[u8; MESSAGE_SIZE]) {
    let number = u16::from_ne_bytes([bytes[0], bytes[1]]);
    let want = match number {
        0 | 9.. => Err(ParseError::UnknownType { got: number }),
        3 if bytes[8] > 2 => Err(ParseError::UnknownMode { got: bytes[8] }),
        _ => Ok(canonical(number.into(), bytes)),
    };
    let message = match (Message::parse(bytes), want) {
        (Ok(message), Ok(want)) => {
            assert_eq!(message.emit(), want);
            message
        }
        (Err(got), Err(want)) => return assert_eq!(got, want),
        (got, want) => panic!("{got:?}, not {want:?}"),
    };
    assert_eq!(Message::parse(&message.emit()), Ok(message));
    assert_eq!(message.kind().number(), number);
    let shown = format!("{message:?}");
    assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown:?}");
}

fuzz_target!(|bytes: &[u8]| {
    match <&[u8; MESSAGE_SIZE]>::try_from(bytes) {
        Ok(bytes) => check(bytes),
        Err(_) => {
            let got = bytes.len();
            let want =
                if got < MESSAGE_SIZE { ParseError::TooShort { got } } else { ParseError::TooLong { got } };
            assert_eq!(Message::parse(bytes), Err(want));
        }
    }
});
