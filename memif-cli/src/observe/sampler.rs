//! Reads the indices of all links, often enough to count what passes.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use memif_observe::link::FileId;
use memif_observe::ring::Timely;
use memif_observe::{Observer, Scope};

use super::rows::Rows;
use crate::error::ToolError;

/// Time between two reads: half of [`MAX_GAP`](memif_observe::ring::MAX_GAP), because a sleep lasts longer than requested.
const STEP: Duration = Duration::from_micros(400);

/// All links, and what passed since the last report.
pub(crate) struct Sampler {
    observer: Observer,
    before: HashMap<(FileId, usize), Timely>,
}

impl Sampler {
    /// Looks for links.
    ///
    /// # Errors
    /// [`ToolError::Observe`].
    pub(crate) fn start(scope: Scope) -> Result<Self, ToolError> {
        let mut sampler = Self { observer: Observer::new(scope), before: HashMap::new() };
        sampler.observer.scan()?;
        sampler.observer.poll();
        sampler.remember();
        Ok(sampler)
    }

    /// The links.
    pub(crate) const fn observer(&self) -> &Observer {
        &self.observer
    }

    /// Looks at the indices for `span`, unless `over` says that it is enough.
    pub(crate) fn look(&mut self, span: Duration, over: impl Fn() -> bool) {
        let until = Instant::now() + span;
        while Instant::now() < until && !over() {
            self.observer.poll();
            thread::sleep(STEP);
        }
        self.observer.poll();
    }

    /// What is to be shown, with rates since the last report. Looks for links that came and went.
    ///
    /// # Errors
    /// [`ToolError::Observe`].
    pub(crate) fn report(&mut self) -> Result<Rows, ToolError> {
        let before = &self.before;
        let rows = Rows::of(&self.observer, |link, number| {
            let (before, now) = (before.get(&(link.id(), number))?, link.rings().get(number)?.timely());
            let seconds = now.time.saturating_sub(before.time).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
            let passed = now.descriptors.saturating_sub(before.descriptors) as f64;
            (seconds > 0.0).then(|| passed / seconds)
        });
        self.observer.scan()?;
        self.observer.poll();
        self.remember();
        Ok(rows)
    }

    fn remember(&mut self) {
        let links = self.observer.links().iter();
        let rings = links.flat_map(|link| link.rings().iter().enumerate().map(|ring| (link.id(), ring)));
        self.before = rings.map(|(file, (number, ring))| ((file, number), ring.timely())).collect();
    }
}
