//! What the progress line of a word count shows: words, rate, last checkpoint.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alluvium_host::JobControl;

use crate::progress::{Pace, Seen};
use crate::results::grouped;

/// Where the line looks.
pub(super) struct Watched {
    /// The job.
    pub(super) control: JobControl,
    /// Bytes of input read so far.
    pub(super) read_bytes: Arc<AtomicU64>,
    /// Set once the input has ended and the counts are being read.
    pub(super) finishing: Arc<AtomicBool>,
}

impl Watched {
    /// What there is to see now.
    pub(super) fn look(&self, pace: &mut Pace, now: Duration) -> Seen {
        let progress = self.control.progress();
        let rate = pace.rate(progress.records, now);
        let checkpoint = match progress.last_checkpoint.or(progress.restored) {
            Some(id) => format!("checkpoint {id}"),
            None => "no checkpoint yet".to_owned(),
        };
        let finishing = self.finishing.load(Ordering::Relaxed);
        let pace = if finishing { "reading the counts".to_owned() } else { format!("{}/s", grouped(rate)) };
        Seen {
            position: self.read_bytes.load(Ordering::Relaxed),
            message: format!("{} words  {pace}  {checkpoint}", grouped(progress.records)),
        }
    }
}
