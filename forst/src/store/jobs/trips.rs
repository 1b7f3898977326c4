//! Where a compaction runs: at home, or elsewhere if that is wanted and worth it.
//!
//! **Threads**: the task thread hands the job over and goes on; where it ends up, it reports to the inbox. A future on the
//! I/O runtime waits for who does it elsewhere, and hands it to the background pool if nobody does.
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Clock, SystemClock, Urgency};
use tracing::field::Empty;
use tracing::info_span;

use crate::compaction::CompactionJob;
use crate::fetch::unwanted;
use crate::remote::{Ended, Poster, Trip, input_bytes};
use crate::store::Store;
use crate::store::inbox::Event;
use crate::store::jobs::{guarded, names};

/// A store's way to compactors.
pub(in crate::store) struct Elsewhere {
    clock: Arc<dyn Clock>,
    poster: Option<Arc<Poster>>,
    /// Nothing is posted before this.
    not_before: Duration,
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::new()), poster: None, not_before: Duration::ZERO }
    }
}

impl Store {
    /// Times what is done elsewhere by this clock, from the next job on.
    pub fn use_clock(&mut self, clock: Arc<dyn Clock>) {
        self.elsewhere = Elsewhere { clock, ..Elsewhere::default() };
    }

    /// Runs a compaction, whose end is an event.
    pub(in crate::store) fn run_compaction(&mut self, mut job: CompactionJob) {
        let (inbox, pool) = (Arc::clone(&self.inbox), self.background.queue(Urgency::Low));
        let at_home = move |trip: Option<Trip>, job: CompactionJob| {
            pool.run(move || {
                let span = info_span!(
                    "compaction",
                    level = job.compaction.target,
                    inputs = names(job.compaction.inputs()),
                    input_bytes = input_bytes(&job.compaction, |_| false),
                    tables = Empty,
                    bytes = Empty
                );
                let done = guarded(&span, || job.run(), |(_, written)| written);
                inbox.push(Event::Compacted(trip, done));
            });
        };
        let Some((poster, operators)) = self.way_out(&job) else { return at_home(None, job) };
        // It reads there, for as long as it takes; should it come home it makes do with what is its own.
        job.buffer_bytes = self.budget.read_ahead_bytes();
        self.give_back();
        let inbox = Arc::clone(&self.inbox);
        self.jobs.posted = Some(poster.post(job, operators, move |ended| match ended {
            Ended::Done(done) => inbox.push(Event::Compacted(Some(Trip::Done), Ok(*done))),
            Ended::Home(job, trip) => at_home(Some(trip), *job),
            Ended::TakenBack => inbox.push(Event::Compacted(None, Err(unwanted()))),
        }));
    }

    /// Who has a job done elsewhere, and what has to be told of its operators; `None` if it stays at home.
    fn way_out(&mut self, job: &CompactionJob) -> Option<(Arc<Poster>, bytes::Bytes)> {
        let settings = self.settings.remote_compaction.as_ref()?;
        let bytes = input_bytes(&job.compaction, |file| job.separation.garbage.contains(&file));
        let elsewhere = &mut self.elsewhere;
        if bytes < settings.min_input_bytes || elsewhere.clock.monotonic() < elsewhere.not_before {
            return None;
        }
        let operators = self.operators.describe()?;
        let (clock, fetcher) = (&elsewhere.clock, &self.fetcher);
        let new = || Poster::new(settings.clone(), Arc::clone(clock), fetcher);
        Some((Arc::clone(elsewhere.poster.get_or_insert_with(new)), operators))
    }

    /// A compaction that may have been elsewhere has ended.
    pub(in crate::store) fn end_trip(&mut self, trip: Option<Trip>) {
        self.jobs.posted = None;
        let Some(trip) = trip else { return };
        self.report_trip(trip);
        if let (Trip::Unclaimed, Some(settings)) = (trip, &self.settings.remote_compaction) {
            self.elsewhere.not_before = self.elsewhere.clock.monotonic() + settings.back_off;
        }
    }
}
