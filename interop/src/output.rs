//! Collects the output of child processes and waits for parts of it.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The output of a child on one stream so far.
#[derive(Debug, Default)]
pub struct Output {
    text: Mutex<String>,
    grew: Condvar,
}

impl Output {
    /// Collects `stream` on a thread of its own, which ends with the stream.
    pub fn collect(mut stream: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self::default());
        let collected = Arc::clone(&output);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                let text = String::from_utf8_lossy(bytes.get(..count).unwrap_or_default());
                collected.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                collected.grew.notify_all();
            }
        });
        output
    }

    /// The whole output so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The output from byte `from` up to and including `wanted`, if that appears within `timeout`.
    pub fn wait(&self, from: usize, wanted: &str, timeout: Duration) -> Option<String> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |text: &mut String| text.get(from..).is_none_or(|new| !new.contains(wanted));
        let (text, _) =
            self.grew.wait_timeout_while(text, timeout, missing).unwrap_or_else(PoisonError::into_inner);
        let new = text.get(from..)?;
        new.find(wanted).and_then(|at| new.get(..at + wanted.len())).map(str::to_owned)
    }
}
