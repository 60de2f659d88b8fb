//! Why a port has ended: told by its queues, asked by the main thread.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::ToolError;

/// The first error of a port's queues. Shared by all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Well,
    /// It will end with this error, once its packets were passed on.
    Ending(ToolError),
    /// It has ended.
    Ended(ToolError),
    /// That was told.
    Told,
}

impl Fate {
    fn lock(&self) -> MutexGuard<'_, State> {
        // it is whole after each call
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port has ended with this error, unless it has already.
    #[cold]
    pub(crate) fn fail(&self, error: ToolError) {
        let mut state = self.lock();
        if matches!(*state, State::Well) {
            *state = State::Ended(error);
        }
    }

    /// As [`Fate::fail`], from the next [`Fate::tell`] on.
    #[cold]
    pub(crate) fn fail_later(&self, error: ToolError) {
        let mut state = self.lock();
        if matches!(*state, State::Well) {
            *state = State::Ending(error);
        }
    }

    /// The last packets were passed on.
    pub(crate) fn tell(&self) {
        let mut state = self.lock();
        *state = match mem::take(&mut *state) {
            State::Ending(error) => State::Ended(error),
            other => other,
        };
    }

    /// # Errors
    /// That of [`Fate::fail`], once.
    pub(crate) fn check(&self) -> Result<(), ToolError> {
        let mut state = self.lock();
        match mem::replace(&mut *state, State::Told) {
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
    fn the_first_error_is_told_once() {
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
        fate.tell();
        fate.fail_later(ToolError::Usage("late".to_owned()));
        fate.check().unwrap();
        fate.tell();
        assert_eq!(fate.check().unwrap_err().to_string(), "late");
    }
}
