extern crate std;

use super::*;
use crate::message::{ParseError, Reason};
use std::collections::BTreeSet;
use std::string::ToString;

#[test]
fn indices_are_dense_and_names_are_distinct() {
    assert!(FaultKind::ALL.iter().enumerate().all(|(at, kind)| kind.index() == at));
    assert!(DropReason::ALL.iter().enumerate().all(|(at, reason)| reason.index() == at));
    let names: BTreeSet<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), FaultKind::ALL.len());
    let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(names.len(), DropReason::ALL.len());
}

#[test]
fn reasons_fit_the_message_with_its_nul() {
    for kind in FaultKind::ALL {
        let reason = kind.reason();
        assert!(!reason.is_empty() && reason.len() <= 95, "{kind}");
        assert_eq!(Reason::truncated(reason).as_bytes(), reason.as_bytes());
    }
}

#[test]
fn display_names_both_numbers() {
    for (fault, text) in [
        (ParseError::TooShort { got: 7 }.into(), "control message of 7 bytes: expected 128"),
        (PeerFault::RegionIndex { got: 2, want: 1 }, "region index 2: expected index 1"),
        (
            PeerFault::RegionTooSmall { region: 0, file: 4096, announced: 8192 },
            "region 0 announced with 8192 bytes: its file has 4096",
        ),
        (PeerFault::BadCookie { got: 0 }, "ring cookie 0x00000000: expected 0x03e31f20"),
        (
            PeerFault::HeadTooFar { head: 9, tail: 0, size: 8 },
            "ring head 9 moved back, or more than 8 slots ahead of tail 0",
        ),
    ] {
        assert_eq!(fault.to_string(), text);
    }
}
