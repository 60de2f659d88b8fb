//! Packets in place: peeked and released, reserved and committed.

use super::*;

#[test]
fn packets_are_peeked_and_released_in_place() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut link = S2m::over(&shared);
    let large = packet(3, 150);
    let packets: [&[u8]; 2] = [&large, b"small"];
    link.send(&shared, &packets).unwrap();
    let master = &mut link.master;
    assert_eq!(master.ready(64), Ok(4));
    let (mut lengths, mut bytes) = (Vec::new(), Vec::new());
    let seen = master.peek(shared.regions(), 0, |piece| {
        let mut copy = [0; 64];
        let len = piece.span.copy_to(&mut copy);
        lengths.push(piece.desc.length);
        bytes.extend_from_slice(&copy[..len]);
    });
    assert_eq!((seen, lengths, bytes), ((3, Ok(())), vec![64, 64, 22], large));
    assert_eq!(master.peek(shared.regions(), 4, |_| panic!("no such descriptor")), (0, Ok(())));
    assert!(master.piece(shared.regions(), 4).is_none());
    master.release(3);
    assert_eq!(master.ready(64), Ok(1));
    master.release(100);
    assert_eq!(master.ready(64), Ok(0));
}

#[test]
fn buffers_are_reserved_filled_and_committed_in_place() {
    let shared = MockRegion::laid_out(LINE, 1, 3, 64, 64);
    let mut link = S2m::over(&shared);
    assert_eq!(link.slave.free(4), Ok(8));
    for ahead in 0..2 {
        let mut buffer = link.slave.buffer(shared.regions(), ahead).unwrap().unwrap();
        assert_eq!(buffer.span.copy_from(b"in place"), 8);
        link.slave.complete(ahead, LAST, 0, 8);
    }
    assert!(link.slave.buffer(shared.regions(), 8).is_none());
    link.slave.commit(2);
    let mut inbox = Inbox::new(8);
    link.receive(&shared, &mut inbox).unwrap();
    assert_eq!(inbox.packets, [b"in place".to_vec(), b"in place".to_vec()]);

    let mut link = M2s::over(&shared);
    assert_eq!(link.master.free(1), Ok(8));
    link.master.buffer(shared.regions(), 0).unwrap().unwrap().span.copy_from(b"reply");
    assert!(link.master.buffer(shared.regions(), 8).is_none());
    link.master.complete(0, LAST, 0, 5);
    link.master.commit(1);
    let mut inbox = Inbox::new(8);
    link.receive(&shared, &mut inbox).unwrap();
    assert_eq!(inbox.packets, [b"reply".to_vec()]);
}
