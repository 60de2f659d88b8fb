//! `null:`, which discards all packets that are sent to it. No packets come from it.

use memif_pmd::{Burst, Queues, Transmit};

use super::counting::{Losses, Tally};
use super::{Inlet, Moved, Outlet, Port, no_queue};
use crate::error::ToolError;
use crate::packet::Framing;
use crate::report::Drops;

/// The port `null:`.
#[derive(Debug, Default)]
pub(crate) struct NullPort;

impl Port for NullPort {
    fn name(&self) -> &str {
        "null:"
    }

    fn framing(&self) -> Option<Framing> {
        None
    }

    fn rx_count(&self) -> u16 {
        0
    }

    fn rx(&self, queue: u16) -> Result<Box<dyn Inlet>, ToolError> {
        Err(no_queue(self.name(), queue))
    }

    fn tx(&self, _queue: u16) -> Result<Box<dyn Outlet>, ToolError> {
        Ok(Box::new(NullOutlet { tally: Tally::new(&Losses::default()), reason: None }))
    }

    fn drops(&self) -> Drops {
        Drops::new()
    }
}

/// Discards packets.
#[derive(Debug)]
pub(crate) struct NullOutlet {
    tally: Tally,
    /// Why packets are counted as dropped; `None` counts them as sent.
    reason: Option<&'static str>,
}

impl NullOutlet {
    /// An outlet that counts packets as dropped for this reason.
    pub(crate) fn dropping(reason: &'static str, losses: &Losses) -> Self {
        Self { tally: Tally::new(losses), reason: Some(reason) }
    }
}

impl Transmit for NullOutlet {
    fn send(&mut self, burst: &mut Burst) -> usize {
        let Self { tally, reason } = self;
        burst.offer(|packets| {
            let count = packets.len();
            match reason {
                Some(reason) => tally.drop(reason, count as u64),
                None => packets.for_each(|packet| tally.pass(packet.len())),
            }
            count
        })
    }
}

impl Queues for NullOutlet {
    fn activity(&self) -> u64 {
        self.tally.activity()
    }
}

impl Outlet for NullOutlet {
    fn moved(&self) -> Moved {
        self.tally.moved()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_as_sent_or_as_dropped() {
        let losses = Losses::default();
        let mut burst = Burst::new(4).unwrap();
        let mut outlets = [NullPort.tx(0).unwrap(), Box::new(NullOutlet::dropping("why", &losses))];
        for (outlet, packets) in outlets.iter_mut().zip([2, 0]) {
            burst.push(&[1; 60]).unwrap();
            burst.push(&[2; 40]).unwrap();
            assert_eq!(outlet.send(&mut burst), 2);
            assert_eq!(outlet.moved(), Moved { packets, bytes: packets * 50 });
            assert_eq!(outlet.activity(), 2);
        }
        assert_eq!(losses.read(), Drops::from([("why".to_owned(), 2)]));
    }
}
