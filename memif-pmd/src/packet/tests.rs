use super::burst::Burst;
use crate::error::PushError;
use memif_ring::burst::PacketSource;
use memif_ring::layout::MAX_PACKET_SIZE;
use proptest::prelude::*;

fn contents(burst: &Burst) -> Vec<Vec<u8>> {
    burst.iter().map(<[u8]>::to_vec).collect()
}

fn push(burst: &mut Burst, packet: &[u8]) {
    burst.push(packet).unwrap();
}

#[test]
fn packets_keep_their_order_and_bytes() {
    let mut burst = Burst::new(8).unwrap();
    for i in 0..8u8 {
        push(&mut burst, &vec![i; 60 + usize::from(i)]);
    }
    assert_eq!(burst.push(b"one too many"), Err(PushError::Full { packets: 8 }));
    burst.drain_front(3);
    push(&mut burst, b"room again");
    burst.retain(|packet| packet[0] != 5);
    assert_eq!(
        contents(&burst),
        [vec![3; 63], vec![4; 64], vec![6; 66], vec![7; 67], b"room again".to_vec()]
    );
}

#[test]
fn an_empty_burst_takes_the_largest_packet() {
    for capacity in [0, 1, 64] {
        let mut burst = Burst::new(capacity).unwrap();
        push(&mut burst, &vec![1; MAX_PACKET_SIZE]);
        assert_eq!(burst.push(&[1; MAX_PACKET_SIZE + 1]), Err(PushError::Length { len: 65536 }));
        assert_eq!(burst.push(b""), Err(PushError::Length { len: 0 }));
    }
}

#[test]
fn large_packets_fill_it_before_its_capacity() {
    let mut burst = Burst::new(4).unwrap();
    push(&mut burst, &vec![1; MAX_PACKET_SIZE]);
    push(&mut burst, &vec![2; 8000]);
    let error = burst.push(&vec![3; 8000]).unwrap_err();
    assert_eq!(error, PushError::Full { packets: 2 });
    assert!(error.to_string().contains("2 packets"), "{error}");
    burst.drain_front(2);
    push(&mut burst, &vec![4; MAX_PACKET_SIZE]);
}

#[test]
fn packets_that_stay_do_not_use_up_the_room_of_others() {
    for stay in 0..4 {
        let mut burst = Burst::new(4).unwrap();
        let (mut next, mut first) = (0u8, 0u8);
        for _ in 0..100 {
            while burst.len() < 4 {
                push(&mut burst, &[next; 2048]);
                next = next.wrapping_add(1);
            }
            for (packet, ahead) in burst.iter().zip(0..) {
                assert!(packet == [first.wrapping_add(ahead); 2048], "changed when it was moved");
            }
            // as a full ring leaves some
            burst.drain_front(4 - stay);
            first = next.wrapping_sub(u8::try_from(stay).unwrap());
        }
    }
}

#[test]
fn gaps_between_packets_are_room_too() {
    let mut burst = Burst::new(4).unwrap();
    for i in 0..4u8 {
        push(&mut burst, &vec![i; 18_000]);
    }
    burst.retain(|packet| packet[0] % 2 == 1);
    push(&mut burst, &vec![4; 18_000]);
    push(&mut burst, &vec![5; 18_000]);
    let packets: Vec<_> = burst.iter().map(|packet| (packet[0], packet.len())).collect();
    assert_eq!(packets, [(1, 18_000), (3, 18_000), (4, 18_000), (5, 18_000)]);
    assert!(burst.iter().all(|packet| packet.iter().all(|byte| *byte == packet[0])));
}

#[test]
fn packets_change_in_place() {
    let mut burst = Burst::new(4).unwrap();
    push(&mut burst, b"abc");
    push(&mut burst, b"def");
    for packet in &mut burst {
        packet.reverse();
    }
    assert_eq!(contents(&burst), [b"cba".to_vec(), b"fed".to_vec()]);
    burst.retain(|packet| {
        packet[0] = b'x';
        true
    });
    burst.get_mut(1).unwrap()[2] = b'y';
    assert!(burst.get_mut(2).is_none());
    assert_eq!(contents(&burst), [b"xba".to_vec(), b"xey".to_vec()]);
    assert_eq!(((&burst).into_iter().len(), burst.iter_mut().len()), (2, 2));
    burst.retain(|_| false);
    assert!(burst.is_empty());
}

/// A burst whose first two packets a send had no room for.
fn with_two_unsent() -> Burst {
    let mut burst = Burst::new(4).unwrap();
    for number in 0..3 {
        push(&mut burst, &[number; 60]);
    }
    assert_eq!(burst.offer(|packets| packets.take(1).count()), 1);
    burst
}

fn numbers(burst: &Burst) -> Vec<u8> {
    burst.iter().map(|packet| packet[0]).collect()
}

#[test]
fn what_a_send_had_no_room_for_is_shown_until_the_next_receive_and_offered_first() {
    let mut burst = with_two_unsent();
    assert_eq!((numbers(&burst), burst.waiting()), (vec![1, 2], 0));
    burst.set_aside();
    assert!(burst.is_empty() && burst.iter().next().is_none() && burst.get(0).is_none());
    assert_eq!((burst.len(), burst.waiting(), burst.room()), (0, 2, 2));
    push(&mut burst, &[3; 60]);
    burst.iter_mut().for_each(|packet| packet[0] += 10);
    burst.retain(|packet| packet[0] == 13);
    burst[0][0] += 10;
    assert_eq!((numbers(&burst), burst.waiting(), burst.room()), (vec![23], 2, 1));
    // received once more before it is sent
    burst.set_aside();
    assert_eq!(numbers(&burst), [23]);
    let mut offered = Vec::new();
    burst.offer(|packets| {
        offered.extend(packets.map(|packet| packet[0]));
        0
    });
    assert_eq!(offered, [1, 2, 23]);
    assert_eq!((numbers(&burst), burst.waiting()), (vec![1, 2, 23], 0));
    burst.set_aside();
    assert_eq!((burst.len(), burst.waiting()), (0, 3));
    assert_eq!((burst.offer(|packets| packets.len()), burst.room()), (3, 4));
}

#[test]
fn packets_that_were_never_offered_are_not_set_aside() {
    let mut burst = Burst::new(4).unwrap();
    push(&mut burst, b"received, and left for the next round");
    burst.set_aside();
    assert_eq!((burst.len(), burst.waiting()), (1, 0));
}

#[test]
fn what_is_removed_does_not_touch_what_is_set_aside() {
    type Change = fn(&mut Burst);
    let changes: [Change; 4] = [
        |burst| burst.retain(|_| false),
        |burst| burst.truncate(0),
        |burst| burst.drain_front(9),
        |burst| {
            burst.drain_front(1);
        },
    ];
    for change in changes {
        let mut burst = with_two_unsent();
        burst.set_aside();
        push(&mut burst, &[3; 60]);
        change(&mut burst);
        assert_eq!((burst.len(), burst.waiting()), (0, 2));
        burst.offer(|_| 0);
        assert_eq!(numbers(&burst), [1, 2]);
        burst.set_aside();
        burst.clear();
        assert_eq!((burst.waiting(), burst.room()), (0, 4));
    }
    // and those that are shown again may be removed
    for change in changes {
        let mut burst = with_two_unsent();
        change(&mut burst);
        let left = burst.len();
        burst.set_aside();
        assert_eq!((burst.len(), burst.waiting()), (0, left));
    }
}

#[test]
#[should_panic(expected = "packet 1 of a burst of 1")]
fn an_index_beyond_the_end_panics() {
    let mut burst = Burst::new(4).unwrap();
    push(&mut burst, b"one");
    assert_eq!(burst[0], *b"one");
    burst[1][0] = 0;
}

#[test]
fn headroom_is_there_for_each_packet_and_has_a_limit() {
    for bytes in [1, 64, 100, 1024] {
        let mut burst = Burst::with_headroom(8, bytes).unwrap();
        for number in 0..8 {
            push(&mut burst, &vec![number; 2048]);
        }
        for index in 0..8 {
            let headroom = burst.headroom(index).unwrap();
            assert!(headroom >= bytes && headroom < bytes + 64, "{headroom} bytes, {bytes} wanted");
            assert_eq!(burst.prepend(index, headroom + 1), None);
            burst.prepend(index, headroom).unwrap()[..headroom].fill(0xee);
            assert_eq!((burst[index].len(), burst.headroom(index)), (2048 + headroom, Some(0)));
        }
        for (packet, number) in burst.iter().zip(0..) {
            assert!(packet.iter().rev().take(2048).all(|byte| *byte == number), "touched by another one");
        }
        assert!(burst.prepend(8, 0).is_none() && burst.headroom(8).is_none());
    }
    assert!(matches!(Burst::with_headroom(8, 1025), Err(crate::Error::OutOfRange { got: 1025, .. })));
}

#[test]
fn a_packet_shrinks_at_both_ends_to_one_byte_and_grows_to_the_largest() {
    let mut burst = Burst::new(1).unwrap();
    push(&mut burst, b"head body tail");
    assert_eq!(burst.trim_front(0, 5).unwrap(), b"body tail");
    assert_eq!(burst.trim_end(0, 5).unwrap(), b"body");
    for len in [4, 5, usize::MAX] {
        assert!(burst.trim_front(0, len).is_none() && burst.trim_end(0, len).is_none());
    }
    assert_eq!(burst.trim_end(0, 3).unwrap(), b"b");
    assert!(burst.trim_front(1, 0).is_none() && burst.trim_end(1, 0).is_none());
    // what was trimmed is headroom
    assert_eq!(burst.prepend(0, 5).unwrap(), b"head b");
    let mut burst = Burst::with_headroom(1, 64).unwrap();
    push(&mut burst, &vec![1; 65_530]);
    assert!(burst.prepend(0, 6).is_none() && burst.prepend(0, usize::MAX).is_none());
    assert_eq!(burst.prepend(0, 5).unwrap().len(), 65_535);
}

#[test]
fn user_data_stays_with_its_packet() {
    let mut burst = Burst::new(6).unwrap();
    for number in 0..6 {
        push(&mut burst, &[number; 60]);
    }
    for index in [1, 2, 4] {
        burst.set_user_data(index, 100 + index as u64);
    }
    burst.retain(|packet| packet[0] != 1);
    burst.drain_front(1);
    let data: Vec<_> = (0..4).map(|index| burst.user_data(index)).collect();
    assert_eq!(data, [102, 0, 104, 0]);
    let mut other = Burst::new(6).unwrap();
    other.push(b"first").unwrap();
    burst.copy_to(2, &mut other).unwrap();
    burst.copy_to(3, &mut other).unwrap();
    assert_eq!((other.user_data(0), other.user_data(1), other.user_data(2)), (0, 104, 0));
    assert_eq!(other[1], burst[2]);
    // a packet in the place of another one has none of its data
    burst.truncate(2);
    push(&mut burst, b"new");
    assert_eq!((burst.user_data(0), burst.user_data(2)), (102, 0));
    burst.clear();
    push(&mut burst, b"new");
    assert_eq!(burst.user_data(0), 0);
}

/// What can be done with a burst.
#[derive(Clone, Debug)]
enum Step {
    Push(usize),
    SetAside,
    Offer(usize),
    RetainEvery(usize),
    Truncate(usize),
    DrainFront(usize),
    Prepend(usize, usize),
    TrimFront(usize, usize),
    TrimEnd(usize, usize),
    Mark(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = 0..6usize;
    let step = prop_oneof![
        4 => prop_oneof![1..300usize, 1..20_000usize].prop_map(Step::Push),
        1 => Just(Step::SetAside),
        2 => (0..6usize).prop_map(Step::Offer),
        1 => (1..4usize).prop_map(Step::RetainEvery),
        1 => (0..6usize).prop_map(Step::Truncate),
        1 => (0..6usize).prop_map(Step::DrainFront),
        1 => (index.clone(), 0..200usize).prop_map(|(index, len)| Step::Prepend(index, len)),
        1 => (index.clone(), 0..400usize).prop_map(|(index, len)| Step::TrimFront(index, len)),
        1 => (index.clone(), 0..400usize).prop_map(|(index, len)| Step::TrimEnd(index, len)),
        1 => (index, 0..3u64).prop_map(|(index, mark)| Step::Mark(index, mark)),
    ];
    proptest::collection::vec(step, 1..80)
}

/// A burst as lists of packets with their user data.
#[derive(Debug, Default)]
struct Model {
    aside: Vec<(Vec<u8>, u64)>,
    shown: Vec<(Vec<u8>, u64)>,
    /// How many of those that are shown a send had no room for.
    unsent: usize,
}

impl Model {
    fn apply(&mut self, step: &Step, burst: &mut Burst, byte: u8) {
        match *step {
            Step::Push(len) => {
                let packet: Vec<u8> = (0..=250u8).cycle().take(len).map(|at| at.wrapping_add(byte)).collect();
                match burst.push(&packet) {
                    Ok(()) => self.shown.push((packet, 0)),
                    Err(error) => assert!(burst.room() == 0 || len > 8192, "{len} bytes: {error}"),
                }
            }
            Step::SetAside => {
                burst.set_aside();
                self.aside.extend(self.shown.drain(..self.unsent));
                self.unsent = 0;
            }
            Step::Offer(most) => {
                burst.offer(|packets| most.min(packets.len()));
                self.aside.append(&mut self.shown);
                self.shown = self.aside.split_off(most.min(self.aside.len()));
                self.aside.clear();
                self.unsent = self.shown.len();
            }
            Step::RetainEvery(step) => {
                let mut count = 0..;
                burst.retain(|_| count.next().unwrap() % step == 0);
                self.unsent = self.unsent.div_ceil(step);
                let mut count = 0..;
                self.shown.retain(|_| count.next().unwrap() % step == 0);
            }
            Step::Truncate(count) => {
                burst.truncate(count);
                self.shown.truncate(count);
                self.unsent = self.unsent.min(count);
            }
            Step::DrainFront(count) => {
                burst.drain_front(count);
                self.shown.drain(..count.min(self.shown.len()));
                self.unsent = self.unsent.saturating_sub(count);
            }
            Step::Prepend(index, len) => {
                if let Some(packet) = burst.prepend(index, len) {
                    packet[..len].fill(byte);
                    self.shown[index].0.splice(..0, vec![byte; len]);
                }
            }
            Step::TrimFront(index, len) => {
                if burst.trim_front(index, len).is_some() {
                    self.shown[index].0.drain(..len);
                }
            }
            Step::TrimEnd(index, len) => {
                if burst.trim_end(index, len).is_some() {
                    let rest = self.shown[index].0.len() - len;
                    self.shown[index].0.truncate(rest);
                }
            }
            Step::Mark(index, mark) => {
                if let Some(packet) = self.shown.get_mut(index) {
                    burst.set_user_data(index, mark);
                    packet.1 = mark;
                }
            }
        }
    }

    fn check(&self, burst: &mut Burst) {
        assert_eq!(burst.waiting(), self.aside.len());
        let shown: Vec<_> =
            burst.iter().enumerate().map(|(at, packet)| (packet.to_vec(), burst.user_data(at))).collect();
        assert!(shown == self.shown, "the packets are not those that were put in");
        assert!(
            burst.iter_mut().map(|packet| packet.to_vec()).eq(shown.into_iter().map(|(packet, _)| packet))
        );
        let all = PacketSource::packets(burst).map(<[u8]>::to_vec);
        assert!(all.eq(self.aside.iter().chain(&self.shown).map(|(packet, _)| packet.clone())));
    }
}

proptest! {
    #[test]
    fn any_sequence_of_calls_leaves_the_packets_that_it_should(steps in steps(), headroom in 0..3usize) {
        let mut burst = Burst::with_headroom(5, headroom * 64).unwrap();
        let mut model = Model::default();
        for (step, byte) in steps.iter().zip((0..=u8::MAX).cycle()) {
            model.apply(step, &mut burst, byte);
            model.check(&mut burst);
        }
    }
}
