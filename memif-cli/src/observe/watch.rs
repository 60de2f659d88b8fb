//! `memif show --watch` on a terminal: the loop around the [`Screen`].

use std::io;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use memif_pmd::Stop;
use ratatui::crossterm::event::{self, Event};

use super::rows::Rows;
use super::sampler::Sampler;
use super::screen::Screen;
use crate::error::ToolError;

/// Longest time for which a new report waits before it is drawn.
const STEP: Duration = Duration::from_millis(50);

/// Restores the terminal on drop, also after an error, a signal or a panic.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows links until a key or a signal ends it.
///
/// # Errors
/// The terminal cannot be used; links cannot be looked for.
pub(crate) fn watch(sampler: Sampler, stop: &Stop) -> Result<(), ToolError> {
    let mut screen = Screen::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
    let reports = measure(sampler, stop);
    let mut terminal = ratatui::try_init().map_err(ToolError::Terminal)?;
    let _restored = Restored;
    let events = events();
    while !stop.is_stopped() {
        match reports.try_recv() {
            Ok(rows) => screen.update(rows?),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => break,
        }
        terminal.draw(|frame| screen.draw(frame)).map_err(ToolError::Terminal)?;
        let Ok(event) = events.recv_timeout(STEP) else { continue };
        if let Event::Key(key) = event.map_err(ToolError::Terminal)?
            && key.is_press()
            && screen.key(key)
        {
            break;
        }
    }
    stop.stop();
    Ok(())
}

/// What comes from the terminal. Read on a thread that ends with the process: once a terminal is gone, crossterm reads its end
/// again and again, and does not return, whatever its timeout.
fn events() -> Receiver<io::Result<Event>> {
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let event = event::read();
            let over = event.is_err();
            if sender.send(event).is_err() || over {
                return;
            }
        }
    });
    events
}

/// Measures on a thread of its own, because drawing would delay the reads of the indices.
fn measure(mut sampler: Sampler, stop: &Stop) -> Receiver<Result<Rows, ToolError>> {
    let (sender, reports) = mpsc::channel();
    let stop = stop.clone();
    thread::spawn(move || {
        while !stop.is_stopped() {
            sampler.look(Duration::from_secs(1), || stop.is_stopped());
            if sender.send(sampler.report()).is_err() {
                return;
            }
        }
    });
    reports
}
