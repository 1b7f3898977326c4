//! A progress line on a terminal's stderr. Nothing where stderr is not a terminal.
//!
//! **Threads**: one, which looks a few times a second and ends with the line.
use std::io::{IsTerminal as _, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use alluvium_env::{Clock as _, Result, SystemClock, spawn_thread};
use indicatif::{ProgressBar, ProgressStyle};

use crate::logging;
use crate::results::per_second;

const REFRESH: Duration = Duration::from_millis(200);
/// The newest rate is one part in so many of what is shown.
const INERTIA: u64 = 5;

/// A line that is being kept up to date; dropping it clears it.
pub(crate) struct ProgressLine {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the line shows at one moment.
pub(crate) struct Seen {
    /// Where the bar stands, of the total.
    pub(crate) position: u64,
    /// What is written behind it.
    pub(crate) message: String,
}

/// A rate that does not jump.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    count: u64,
    at: Duration,
    rate: u64,
}

impl Pace {
    /// The rate, now that `count` is reached.
    pub(crate) fn rate(&mut self, count: u64, now: Duration) -> u64 {
        let fresh = per_second(count.saturating_sub(self.count), now.saturating_sub(self.at));
        self.rate = if self.count == 0 { fresh } else { (self.rate * (INERTIA - 1) + fresh) / INERTIA };
        (self.count, self.at) = (count, now);
        self.rate
    }
}

impl ProgressLine {
    /// Starts a line, if stderr is a terminal and no log goes there: a bar if there is a total, a spinner if not. `look` is called with the
    /// time since the start.
    ///
    /// # Errors
    /// `Unavailable` if its thread cannot be started.
    pub(crate) fn start(
        total: Option<u64>,
        mut look: impl FnMut(Duration) -> Seen + Send + 'static,
    ) -> Result<Option<Self>> {
        // It would tear lines of a log apart.
        if !stderr().is_terminal() || logging::is_wanted() {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let thread = spawn_thread("alluvium-progress", move || {
            let bar = new_bar(total);
            let clock = SystemClock::new();
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(REFRESH) {
                let Seen { position, message } = look(clock.monotonic());
                bar.set_position(position);
                bar.set_message(message);
                bar.tick();
            }
            bar.finish_and_clear();
        })?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

fn new_bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{bar:24.cyan/dim} {percent:>3}%  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner:.cyan} {msg}"),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style.progress_chars("━━─"))
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It only draws; if it panicked, the work is not the worse for it.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_follows_slowly() {
        let mut pace = Pace::default();
        assert_eq!(pace.rate(1000, Duration::from_secs(1)), 1000);
        assert_eq!(pace.rate(1000, Duration::from_secs(2)), 800, "a second without anything");
    }
}
