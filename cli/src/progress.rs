//! A progress line on a terminal's stderr: words, rate, last checkpoint. Nothing where stderr is not a terminal.
//!
//! **Threads**: one, which looks at the job's counters a few times a second and ends with the bar.
use std::io::{IsTerminal as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use alluvium_env::{Clock as _, Result, SystemClock, spawn_thread};
use alluvium_host::JobControl;
use indicatif::{ProgressBar, ProgressStyle};

use crate::results::{grouped, per_second};

const REFRESH: Duration = Duration::from_millis(200);
/// The newest rate is one part in so many of what is shown.
const INERTIA: u64 = 5;

/// A line that is being kept up to date; dropping it clears it.
pub(crate) struct ProgressLine {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the line shows.
pub(crate) struct Watched {
    /// The job.
    pub(crate) control: JobControl,
    /// Bytes of input read so far.
    pub(crate) read_bytes: Arc<AtomicU64>,
    /// Bytes there are; `None` if that cannot be known (a stream, or splits done by an earlier run).
    pub(crate) total_bytes: Option<u64>,
    /// Set once the input has ended and the counts are being read.
    pub(crate) finishing: Arc<AtomicBool>,
}

impl ProgressLine {
    /// Starts a line, if stderr is a terminal.
    ///
    /// # Errors
    /// `Unavailable` if its thread cannot be started.
    pub(crate) fn start(watched: Watched) -> Result<Option<Self>> {
        if !stderr().is_terminal() {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let thread = spawn_thread("alluvium-progress", move || {
            let bar = new_bar(watched.total_bytes);
            let clock = SystemClock::new();
            let (mut records, mut rate, mut at) = (0, 0, Duration::ZERO);
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(REFRESH) {
                let (progress, now) = (watched.control.progress(), clock.monotonic());
                let fresh = per_second(progress.records.saturating_sub(records), now.saturating_sub(at));
                rate = if records == 0 { fresh } else { (rate * (INERTIA - 1) + fresh) / INERTIA };
                (records, at) = (progress.records, now);
                let checkpoint = match progress.last_checkpoint.or(progress.restored) {
                    Some(id) => format!("checkpoint {id}"),
                    None => "no checkpoint yet".to_owned(),
                };
                let finishing = watched.finishing.load(Ordering::Relaxed);
                let pace =
                    if finishing { "reading the counts".to_owned() } else { format!("{}/s", grouped(rate)) };
                bar.set_position(watched.read_bytes.load(Ordering::Relaxed));
                bar.set_message(format!("{} words  {pace}  {checkpoint}", grouped(records)));
                bar.tick();
            }
            bar.finish_and_clear();
        })?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

fn new_bar(total_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match total_bytes {
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
            // It only draws; if it panicked, the job is not the worse for it.
            let _ = thread.join();
        }
    }
}
