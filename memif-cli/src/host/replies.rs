//! Counts echo requests and answers, and formats the lines and the summary of `ping`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

use crate::error::ToolError;
use crate::latency::{Latencies, Quantiles, histogram};
use crate::output::unix_seconds;

/// Most unanswered requests that are remembered: as many as the 16-bit sequence numbers of ICMP distinguish.
const MOST_PENDING: usize = 1 << 16;

/// Requests and their answers.
#[derive(Debug)]
pub(super) struct Replies {
    /// When each unanswered request was sent, by its number.
    pending: BTreeMap<u64, u64>,
    sent: u64,
    answered: u64,
    unexpected: u64,
    round_trips: Latencies,
}

/// The line for an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Reply {
    time: f64,
    r#final: bool,
    from: IpAddr,
    sequence: u64,
    bytes: usize,
    round_trip_ns: u64,
}

/// The summary of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    time: f64,
    r#final: bool,
    target: IpAddr,
    sent: u64,
    answered: u64,
    lost: u64,
    unexpected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ns: Option<Quantiles>,
}

impl Replies {
    /// # Errors
    /// See [`histogram`].
    pub(super) fn new() -> Result<Self, ToolError> {
        Ok(Self { pending: BTreeMap::new(), sent: 0, answered: 0, unexpected: 0, round_trips: histogram()? })
    }

    /// Number of requests so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether a request is not answered yet.
    pub(super) fn any_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the last request is not answered yet.
    pub(super) fn is_last_pending(&self) -> bool {
        self.pending.contains_key(&self.sent)
    }

    /// Counts a request that is sent now. Returns its number, from 1.
    pub(super) fn request(&mut self, now_ns: u64) -> u64 {
        self.sent += 1;
        if self.pending.len() >= MOST_PENDING {
            self.pending.pop_first();
        }
        self.pending.insert(self.sent, now_ns);
        self.sent
    }

    /// Counts an answer. Returns its line, or `None` if the request is unknown or was answered before.
    pub(super) fn reply(&mut self, from: IpAddr, sequence: u64, bytes: usize, now_ns: u64) -> Option<Reply> {
        let Some(sent_ns) = self.pending.remove(&sequence) else {
            self.reject();
            return None;
        };
        let round_trip_ns = now_ns.saturating_sub(sent_ns);
        self.answered += 1;
        self.round_trips.saturating_record(round_trip_ns);
        Some(Reply { time: unix_seconds(), r#final: false, from, sequence, bytes, round_trip_ns })
    }

    /// Counts a packet that answers no open request: a repeated or an invented answer.
    pub(super) fn reject(&mut self) {
        self.unexpected = self.unexpected.saturating_add(1);
    }

    /// The summary so far.
    pub(super) fn summary(&self, target: IpAddr) -> Summary {
        Summary {
            time: unix_seconds(),
            r#final: true,
            target,
            sent: self.sent,
            answered: self.answered,
            lost: self.sent - self.answered,
            unexpected: self.unexpected,
            round_trip_ns: Quantiles::of(&self.round_trips),
        }
    }
}

impl Reply {
    /// As text.
    pub(super) fn text(&self) -> String {
        let Self { from, sequence, bytes, round_trip_ns, .. } = self;
        format!("{bytes} bytes from {from}: sequence {sequence}, {:.1} us", micros(*round_trip_ns))
    }
}

impl Summary {
    /// Whether any request was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.answered > 0
    }

    /// As text.
    pub(super) fn text(&self) -> String {
        let share = if self.sent > 0 { self.lost as f64 / self.sent as f64 * 100.0 } else { 0.0 };
        let mut text = format!(
            "\ntarget        {}\nsent          {}\nanswered      {}\nlost          {} ({share:.1} %)",
            self.target, self.sent, self.answered, self.lost
        );
        if self.unexpected > 0 {
            text += &format!(
                "\nunexpected    {} answers to unknown requests, or to requests that were answered before",
                self.unexpected
            );
        }
        if let Some(quantiles) = &self.round_trip_ns {
            text += &format!("\nround trip    {}, from request to answer", quantiles.text());
        }
        text
    }
}

fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn each_request_is_answered_once() {
        let mut replies = Replies::new().unwrap();
        assert_eq!((replies.request(1000), replies.request(2000), replies.request(3000)), (1, 2, 3));
        let reply = replies.reply(FROM, 2, 64, 14_500).unwrap();
        assert_eq!(reply.text(), "64 bytes from 10.0.0.2: sequence 2, 12.5 us");
        assert_eq!(replies.reply(FROM, 2, 64, 15_000), None, "a second time");
        assert_eq!(replies.reply(FROM, 9, 64, 15_000), None, "invented");
        let summary = replies.summary(FROM);
        assert_eq!((summary.sent, summary.answered, summary.lost, summary.unexpected), (3, 1, 2, 2));
        assert!(replies.any_pending() && replies.is_last_pending() && summary.is_answered());
        let text = summary.text();
        for part in ["lost          2 (66.7 %)", "unexpected    2", "p50 12.5 us"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn without_answers_there_is_no_round_trip() {
        let replies = Replies::new().unwrap();
        let summary = replies.summary(FROM);
        assert!(!summary.is_answered() && summary.text().contains("lost          0 (0.0 %)"));
        assert!(!summary.text().contains("round trip"));
    }

    #[test]
    fn memory_for_requests_is_bounded() {
        let mut replies = Replies::new().unwrap();
        for now in 0..MOST_PENDING as u64 + 10 {
            replies.request(now);
        }
        assert_eq!(replies.pending.len(), MOST_PENDING);
        assert!(replies.reply(FROM, 10, 64, 0).is_none() && replies.reply(FROM, 11, 64, 0).is_some());
    }
}
