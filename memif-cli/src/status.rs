//! Status messages on standard error, apart from the results on standard output.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use memif_pmd::{Disconnect, Event, Stop};
use serde::Serialize;

use crate::output::{json, print, unix_seconds};

/// Maximum number of reasons for failed attempts that are reported: a hostile peer may invent any number.
const MAX_REASONS: usize = 32;
/// The event of an attempt that failed.
const NO_LINK: &str = "no-link";

/// Prints a status message.
pub(crate) fn note(text: &str) {
    // a closed standard error is not an error of the run
    let _ = writeln!(std::io::stderr(), "memif: {text}");
}

/// Which status messages about links are printed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// All messages, as text on standard error.
    Text,
    /// All messages, as text on standard error and as JSON objects on standard output.
    Json,
    /// Only failed attempts to connect, as text: for a process that another one watches.
    Failures,
}

impl Voice {
    /// The choice for a command with or without `--json`.
    pub(crate) fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// An event of a link as a JSON object.
#[derive(Debug, Serialize)]
struct EventRecord<'a> {
    time: f64,
    r#final: bool,
    event: &'a str,
    port: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Status messages about the link of a port.
pub(crate) struct Notes {
    name: String,
    voice: Voice,
    ended: Stop,
    reported: Mutex<HashSet<String>>,
    /// What this process last lacked for a link.
    own_failure: Mutex<Option<String>>,
}

impl Notes {
    /// Messages about the port with this `name`, until `ended` is raised.
    pub(crate) fn new(name: &str, voice: Voice, ended: &Stop) -> Self {
        let (name, ended) = (name.to_owned(), ended.clone());
        Self { name, voice, ended, reported: Mutex::default(), own_failure: Mutex::default() }
    }

    /// Reports an event.
    pub(crate) fn report(&self, event: &Event) {
        if self.ended.is_stopped() {
            return;
        }
        match event {
            // ports close when a command fails, and its error is reported
            Event::Disconnected(Disconnect::Local(_)) | Event::ConnectFailed(Disconnect::Local(_)) => {}
            Event::Connected => self.say("link-up", None, &format!("{}: link up", self.name)),
            Event::Disconnected(reason) => {
                let text = format!("{}: link down: {reason}; waiting for the peer", self.name);
                self.say("link-down", Some(reason.to_string()), &text);
            }
            Event::ConnectFailed(reason) => {
                if let Disconnect::Failed(text) = reason {
                    *self.own_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
                }
                self.report_failure(&reason.to_string());
            }
            _ => {}
        }
    }

    /// What this process last lacked for a link, if an attempt has failed for that: the peer's reason is then of no use.
    pub(crate) fn own_failure(&self) -> Option<String> {
        self.own_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn say(&self, event: &str, reason: Option<String>, text: &str) {
        if self.voice == Voice::Failures && event != NO_LINK {
            return;
        }
        note(text);
        if self.voice == Voice::Json {
            let record =
                EventRecord { time: unix_seconds(), r#final: false, event, port: &self.name, reason };
            // if this fails, so does the next line of the report, which returns the error
            let _ = print(&json(&record));
        }
    }

    /// Reports each reason once: attempts repeat every two seconds.
    fn report_failure(&self, reason: &str) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < MAX_REASONS && !reported.contains(reason) {
            let text = format!("warning: {}: no link yet: {reason}; trying again", self.name);
            self.say(NO_LINK, Some(reason.to_owned()), &text);
            reported.insert(reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_reported_once_and_their_number_is_bounded() {
        let notes = Notes::new("@x", Voice::Text, &Stop::new().unwrap());
        for i in 0..100 {
            for _ in 0..2 {
                notes.report(&Event::ConnectFailed(Disconnect::Failed(i.to_string())));
            }
        }
        assert_eq!(notes.reported.lock().unwrap().len(), MAX_REASONS);
        notes.report(&Event::ConnectFailed(Disconnect::Closed));
        assert_eq!(notes.own_failure().as_deref(), Some("99"), "the last of this side's own");
        let closing = Notes { reported: Mutex::default(), ..notes };
        closing.report(&Event::ConnectFailed(Disconnect::Local("the interface was deleted")));
        assert!(closing.reported.lock().unwrap().is_empty());
        let ended = Notes { reported: Mutex::default(), ..closing };
        ended.ended.stop();
        ended.report(&Event::ConnectFailed(Disconnect::Closed));
        assert!(ended.reported.lock().unwrap().is_empty());
    }
}
