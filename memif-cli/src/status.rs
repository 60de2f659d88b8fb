//! Status messages on standard error, apart from the results on standard output.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use memif_pmd::{Event, Stop};

/// Maximum number of reasons for failed attempts that are reported: a hostile peer may invent any number.
const MAX_REASONS: usize = 32;

/// Prints a status message.
pub(crate) fn note(text: &str) {
    // a closed standard error is not an error of the run
    let _ = writeln!(std::io::stderr(), "memif: {text}");
}

/// Status messages about the link of a port.
pub(crate) struct Notes {
    name: String,
    ended: Stop,
    reported: Mutex<HashSet<String>>,
}

impl Notes {
    /// Messages about the port with this `name`, until `ended` is raised.
    pub(crate) fn new(name: &str, ended: &Stop) -> Self {
        Self { name: name.to_owned(), ended: ended.clone(), reported: Mutex::default() }
    }

    /// Reports an event.
    pub(crate) fn report(&self, event: &Event) {
        if self.ended.is_stopped() {
            return;
        }
        match event {
            Event::Connected => note(&format!("{}: link up", self.name)),
            Event::Disconnected(reason) => {
                note(&format!("{}: link down: {reason}; waiting for the peer", self.name));
            }
            Event::ConnectFailed(reason) => self.report_failure(reason.to_string()),
            _ => {}
        }
    }

    /// Reports each reason once: attempts repeat every two seconds.
    fn report_failure(&self, reason: String) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < MAX_REASONS && !reported.contains(&reason) {
            note(&format!("warning: {}: no link yet: {reason}; trying again", self.name));
            reported.insert(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memif_pmd::Disconnect;

    #[test]
    fn each_reason_is_reported_once_and_their_number_is_bounded() {
        let notes = Notes::new("@x", &Stop::new().unwrap());
        for i in 0..100 {
            for _ in 0..2 {
                notes.report(&Event::ConnectFailed(Disconnect::Failed(i.to_string())));
            }
        }
        assert_eq!(notes.reported.lock().unwrap().len(), MAX_REASONS);
        let ended = Notes { reported: Mutex::default(), ..notes };
        ended.ended.stop();
        ended.report(&Event::ConnectFailed(Disconnect::Closed));
        assert!(ended.reported.lock().unwrap().is_empty());
    }
}
