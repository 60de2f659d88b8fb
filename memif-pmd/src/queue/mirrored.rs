//! Bursts of queues that have a mirror, or whose link or mirror has just changed. They are kept off the hot path of all others.

use super::rx::RxQueue;
use super::tx::TxQueue;
use crate::error::NotShared;
use crate::mirror::{Draft, MirrorTap};
use crate::packet::Burst;

/// The copies of a burst; `None` if the mirror has no room.
fn copies<'p>(tap: &MirrorTap, packets: impl Iterator<Item = &'p [u8]>) -> Option<Draft> {
    let mut draft = tap.draft()?;
    packets.for_each(|packet| draft.push(tap.snap(), packet));
    Some(draft)
}

impl RxQueue {
    /// [`RxQueue::receive`] for a queue without a plain link.
    #[cold]
    pub(super) fn receive_noticing(&mut self, burst: &mut Burst) -> usize {
        if !self.handle.notice() {
            return 0;
        }
        let before = burst.len();
        let received = self.receive_plain(burst);
        if let Some(tap) = self.handle.mirror() {
            tap.hand_over(copies(&tap, burst.iter().skip(before)), received);
        }
        received
    }

    /// [`RxQueue::forward_to`] for two queues of which one has no plain link.
    #[cold]
    pub(super) fn forward_noticing(&mut self, tx: &mut TxQueue, max: usize) -> Result<usize, NotShared> {
        if !self.handle.notice() {
            return Ok(0);
        }
        if !tx.handle.notice() {
            return self.drop_for(tx, max);
        }
        let taps = [self.handle.mirror(), tx.handle.mirror()];
        let Some(tap) = taps.iter().flatten().next() else { return self.forward_plain(tx, max) };
        let mut draft = tap.draft();
        let peeked = self.peek(max);
        let packets = peeked.len();
        if let Some(draft) = &mut draft {
            for packet in peeked.iter() {
                let length = packet.bytes();
                draft.add(tap.snap(), length, |room| {
                    packet.copy_to(room);
                });
            }
        }
        drop(peeked);
        let before = self.stats().packets;
        let forwarded = self.forward_plain(tx, packets)?;
        let left = usize::try_from(self.stats().packets - before).unwrap_or(packets);
        if let Some(draft) = &mut draft {
            draft.keep(left, forwarded);
        }
        for tap in taps.iter().flatten() {
            tap.hand_over(draft.clone(), forwarded);
        }
        Ok(forwarded)
    }
}

impl TxQueue {
    /// [`TxQueue::send`] for a queue without a plain link.
    #[cold]
    pub(super) fn send_noticing(&mut self, burst: &mut Burst) -> usize {
        if !self.handle.notice() {
            return self.drop_all(burst);
        }
        let Some(tap) = self.handle.mirror() else { return self.send_plain(burst) };
        // sent packets leave the burst, so they are copied before
        let mut draft = copies(&tap, burst.all());
        let packets = burst.all().len();
        let sent = self.send_plain(burst);
        if let Some(draft) = &mut draft {
            draft.keep(packets - burst.all().len(), sent);
        }
        tap.hand_over(draft, sent);
        sent
    }
}
