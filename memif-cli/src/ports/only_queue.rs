//! A port's only queue in one direction.

use std::cell::Cell;

use super::no_queue;
use crate::error::ToolError;

/// Queue 0 of a port that has no other one in this direction, until a worker takes it.
pub(super) struct OnlyQueue<T>(Cell<Option<T>>);

impl<T> OnlyQueue<T> {
    /// Holds the queue until it is taken.
    pub(super) fn new(queue: T) -> Self {
        Self(Cell::new(Some(queue)))
    }

    /// Takes the queue of `port` with this number.
    ///
    /// # Errors
    /// [`ToolError::Usage`]: the number is not 0, or the queue is taken.
    pub(super) fn take(&self, port: &str, number: u16) -> Result<T, ToolError> {
        let queue = if number == 0 { self.0.take() } else { None };
        queue.ok_or_else(|| no_queue(port, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_taken_once_and_has_number_0() {
        let queue = OnlyQueue::new('q');
        assert_eq!(queue.take("null:", 1).unwrap_err().to_string(), "null: has no queue 1 that is free");
        assert_eq!(queue.take("null:", 0).unwrap(), 'q');
        assert!(queue.take("null:", 0).is_err());
    }
}
