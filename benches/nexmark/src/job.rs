//! One run of a query as a job, and where its answer is collected.
//!
//! The answer is collected in memory, by the sinks of all subtasks and behind a lock that they take once for many outputs. It is
//! no part of the state: a job that is stopped and restored goes on with the answer it had, one that crashes would tell some
//! rows twice, as every sink of the host.
use std::sync::{Arc, Mutex, PoisonError};

use alluvium_host::{Job, JobControl, JobReport, JobSettings, Operator, Outcome, SplitSource, World};
use alluvium_state_api::{Result, States};

use crate::answer::{Rows, Stage};
use crate::events::Stream;
use crate::query::{Query, RowOf};

/// The sink of all subtasks of a query.
pub(crate) struct Sink<Q: Query, R> {
    shared: Arc<Mutex<Collected<Q, R>>>,
}

struct Collected<Q: Query, R> {
    stage: Q::Stage,
    rows: R,
}

impl<Q: Query, R: Rows<RowOf<Q>> + Default + Send + 'static> Sink<Q, R> {
    pub(crate) fn new() -> Self {
        let collected = Collected { stage: Q::Stage::default(), rows: R::default() };
        Self { shared: Arc::new(Mutex::new(collected)) }
    }

    /// Runs the query over a source of its records until that has ended or `control` stops it.
    ///
    /// # Errors
    /// The job's.
    pub(crate) fn run(
        &self,
        source: impl SplitSource,
        settings: JobSettings,
        world: World,
        control: &JobControl,
    ) -> Result<JobReport> {
        let shared = Arc::clone(&self.shared);
        let open = move |states: &States<'_>| {
            let shared = Arc::clone(&shared);
            Ok(Operator::new(Q::open(states)?).with_sink(move |outputs| {
                let Collected { stage, rows } = &mut *shared.lock().unwrap_or_else(PoisonError::into_inner);
                for output in outputs {
                    stage.take(output, rows);
                }
                Ok(())
            }))
        };
        let report = Job { source, settings, world }.run(open, control, |_| Ok(()))?;
        if report.outcome == Outcome::Finished {
            let Collected { stage, rows } = &mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            stage.end(rows);
        }
        Ok(report)
    }

    /// The answer.
    pub(crate) fn into_rows(self) -> R {
        let mut collected = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut collected.rows)
    }
}

/// The answer as it should be.
pub(crate) fn expected<Q: Query, R: Rows<RowOf<Q>> + Default>(stream: Stream) -> R {
    let mut rows = R::default();
    Q::expected(stream, &mut rows);
    rows
}
