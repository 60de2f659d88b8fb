//! Why a port has ended: its queues record the error, and the main thread reads it.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::ToolError;

/// The first error of a port's queues. Shared by all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Running,
    /// The port ends with this error once the packets that it has read are sent.
    Ending(ToolError),
    /// The port has ended with this error.
    Ended(ToolError),
    /// The main thread has read the error.
    Reported,
}

impl Fate {
    fn lock(&self) -> MutexGuard<'_, State> {
        // no call leaves the state half changed
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the port with this error. Later errors are ignored.
    #[cold]
    pub(crate) fn fail(&self, error: ToolError) {
        let mut state = self.lock();
        if matches!(*state, State::Running) {
            *state = State::Ended(error);
        }
    }

    /// Ends the port with this error at the next call of [`Fate::drained`], after the packets that came before the error.
    #[cold]
    pub(crate) fn fail_when_drained(&self, error: ToolError) {
        let mut state = self.lock();
        if matches!(*state, State::Running) {
            *state = State::Ending(error);
        }
    }

    /// Says that all packets that were read are sent.
    pub(crate) fn drained(&self) {
        let mut state = self.lock();
        *state = match mem::take(&mut *state) {
            State::Ending(error) => State::Ended(error),
            other => other,
        };
    }

    /// Returns the error that ended the port, the first time that it is called after that.
    ///
    /// # Errors
    /// The error given to [`Fate::fail`] or [`Fate::fail_when_drained`].
    pub(crate) fn check(&self) -> Result<(), ToolError> {
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Reported) {
            State::Ended(error) => Err(error),
            other => {
                *state = other;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_returned_once() {
        let fate = Fate::default();
        fate.check().unwrap();
        for text in ["first", "second"] {
            fate.clone().fail(ToolError::Usage(text.to_owned()));
        }
        assert_eq!(fate.check().unwrap_err().to_string(), "first");
        fate.check().unwrap();
    }

    #[test]
    fn an_error_waits_for_the_packets_before_it() {
        let fate = Fate::default();
        fate.drained();
        fate.fail_when_drained(ToolError::Usage("late".to_owned()));
        fate.check().unwrap();
        fate.drained();
        assert_eq!(fate.check().unwrap_err().to_string(), "late");
    }
}
