//! The owner's side: puts a job out, waits for whoever takes it, and takes over what came of it, or takes the job back.
//!
//! **Threads**: one future a job, on the I/O runtime, which takes the job back once its store's [`Posted`] is gone. Times are those of the
//! owner's clock: what a compactor's clock says does not matter.
//!
//! **Failure**: none. Whatever does not go as it should ends with the job being handed back, to be done at home.
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Clock, Error, Result};
use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::sleep;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span, info, info_span, warn};

use super::accept::{self, Outputs};
use super::describe::describe;
use super::format::{Framed as _, Job, JobResult, crc_of};
use super::objects::Objects;
use super::settings::RemoteCompactionSettings;
use crate::compaction::{Compaction, CompactionJob, Written};
use crate::fetch::{Creation, Fetcher};
use crate::naming::{Output, Reserved};
use crate::table::{FileId, Held, TableFile};

/// The first pause between two looks, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often a job is put out: whoever dies over it is given one successor.
const POSTINGS: u32 = 2;
/// Signs of life are looked for so often within a lease.
const LOOKS_A_LEASE: u32 = 8;
/// A job is deleted by its owner so often, before it is left to be deleted with its other objects.
const DELETES: u32 = 3;

/// How a job that was to be done elsewhere has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trip {
    /// It was done there.
    Done,
    /// It was taken back: its compactor died, failed, or told something that cannot be.
    TakenBack,
    /// Nobody took it.
    Unclaimed,
}

/// The end of a trip.
pub(crate) enum Ended {
    /// With this result.
    Done(Box<(Compaction, Written)>),
    /// It has to be done at home.
    Home(Box<CompactionJob>, Trip),
    /// Its store took it back. It has been let go of, with all that was held for it.
    TakenBack,
}

/// Puts jobs out.
pub(crate) struct Poster {
    settings: RemoteCompactionSettings,
    clock: Arc<dyn Clock>,
    fetcher: Arc<Fetcher>,
    objects: Objects,
}

/// What is held for a job, in the order in which it is let go: the job itself goes first.
struct Out {
    job: Held,
    claim: Held,
    result: Held,
    beat: Held,
    outputs: Outputs,
}

/// A job that is out. Dropping it takes the job back.
pub(crate) struct Posted {
    _wanted: oneshot::Sender<()>,
}

/// Ends when the job is taken back.
type TakenBack = oneshot::Receiver<()>;

/// Where the objects of a job are.
struct Names {
    job: String,
    claim: String,
    result: String,
    beat: String,
    job_crc: u32,
}

/// What waiting has come to.
enum Verdict {
    Result(Bytes),
    Unclaimed,
    Silent,
}

impl Poster {
    pub(crate) fn new(
        settings: RemoteCompactionSettings,
        clock: Arc<dyn Clock>,
        fetcher: &Arc<Fetcher>,
    ) -> Arc<Self> {
        let objects = Objects::new(fetcher.store());
        Arc::new(Self { settings, clock, fetcher: Arc::clone(fetcher), objects })
    }

    /// Puts a job out whose operators describe themselves so; `ended` is called on the I/O runtime, once, whether or not the job is
    /// taken back before.
    pub(crate) fn post(
        self: &Arc<Self>,
        job: CompactionJob,
        operators: Bytes,
        ended: impl FnOnce(Ended) + Send + 'static,
    ) -> Posted {
        let (poster, (wanted, mut taken_back)) = (Arc::clone(self), oneshot::channel());
        let span = info_span!(
            "remote_compaction",
            level = job.compaction.target,
            inputs = job.compaction.inputs().count(),
            outcome = Empty
        );
        let trip = async move {
            let mut end = poster.send(job, operators, &mut taken_back).await;
            if !is_wanted(&mut taken_back) {
                end = Ended::TakenBack;
            }
            ended(end);
        };
        self.fetcher.io().spawn(trip.instrument(span));
        Posted { _wanted: wanted }
    }

    async fn send(&self, job: CompactionJob, operators: Bytes, taken_back: &mut TakenBack) -> Ended {
        let mut trip = Trip::TakenBack;
        for _ in 0..POSTINGS {
            if !is_wanted(taken_back) {
                return Ended::TakenBack;
            }
            match self.attempt(&job, &operators, taken_back).await {
                Ok(Outcome::Written(written)) => {
                    Span::current().record("outcome", "done elsewhere");
                    return Ended::Done(Box::new((job.compaction, written)));
                }
                Ok(Outcome::TakenBack) => return Ended::TakenBack,
                Ok(Outcome::Again(why)) => info!(why, "a compaction was given up elsewhere"),
                Ok(Outcome::Unclaimed) => {
                    trip = Trip::Unclaimed;
                    break;
                }
                Err(error) => {
                    warn!(%error, "a compaction failed elsewhere and is done at home");
                    break;
                }
            }
        }
        Span::current()
            .record("outcome", display(if trip == Trip::Unclaimed { "unclaimed" } else { "taken back" }));
        Ended::Home(Box::new(job), trip)
    }

    /// Puts a job out once, under a number of its own.
    async fn attempt(
        &self,
        job: &CompactionJob,
        operators: &Bytes,
        taken_back: &mut TakenBack,
    ) -> Result<Outcome> {
        let (mut out, record) = hold(job, operators.clone());
        let bytes = record.frame();
        let names = out.names(crc_of(&bytes));
        let outcome = match self.create(&names, bytes).await {
            Ok(()) => match select(taken_back, pin!(self.see_to(job, &names, &mut out.outputs))).await {
                Either::Left(_) => Ok(Outcome::TakenBack),
                Either::Right((outcome, _)) => outcome,
            },
            Err(error) => Err(error),
        };
        // The job goes first: what a compactor has written before it noticed, its owner deletes.
        for _ in 0..DELETES {
            if self.objects.delete(&names.job).await.is_ok() {
                break;
            }
        }
        drop(out);
        outcome
    }

    /// Not given up half way, even if the job is taken back: an object that came behind its deletion would stay.
    async fn create(&self, names: &Names, bytes: Bytes) -> Result<()> {
        match self.fetcher.create(&names.job, bytes).await? {
            Creation::Taken => {
                Err(Error::invalid(format!("object {} has been written by somebody else", names.job)))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the end of a job that is out.
    async fn see_to(&self, job: &CompactionJob, names: &Names, outputs: &mut Outputs) -> Result<Outcome> {
        match self.wait(names).await {
            Verdict::Unclaimed => Ok(Outcome::Unclaimed),
            Verdict::Silent => Ok(Outcome::Again("its compactor gave no sign of life".to_owned())),
            Verdict::Result(result) => self.take_over(job, names, &result, outputs).await,
        }
    }

    /// Waits while anybody may be at it.
    async fn wait(&self, names: &Names) -> Verdict {
        let (mut pause, longest) = PAUSES;
        let posted_at = self.clock.monotonic();
        let mut life: Option<Life> = None;
        loop {
            sleep(pause).await;
            pause = (pause * 3 / 2).min(longest);
            let Some(seen) = &mut life else {
                let is_claimed = self.objects.exists(&names.claim).await.unwrap_or(false);
                let now = self.clock.monotonic();
                if is_claimed {
                    life = Some(Life { beat: None, changed_at: now, looked_at: now });
                    pause = PAUSES.0;
                } else if now.saturating_sub(posted_at) >= self.settings.claim_patience {
                    return Verdict::Unclaimed;
                }
                continue;
            };
            if let Ok(Some(result)) = self.objects.read(&names.result).await {
                return Verdict::Result(result);
            }
            let now = self.clock.monotonic();
            if now.saturating_sub(seen.looked_at) >= self.settings.lease / LOOKS_A_LEASE {
                seen.looked_at = now;
                if let Ok(Some(beat)) = self.objects.read(&names.beat).await
                    && seen.beat.as_ref() != Some(&beat)
                {
                    (seen.beat, seen.changed_at) = (Some(beat), self.clock.monotonic());
                }
            }
            if now.saturating_sub(seen.changed_at) >= self.settings.lease {
                return Verdict::Silent;
            }
        }
    }

    /// Believes a result that can be true.
    async fn take_over(
        &self,
        job: &CompactionJob,
        names: &Names,
        result: &[u8],
        outputs: &mut Outputs,
    ) -> Result<Outcome> {
        let result = JobResult::unframe(result).map_err(|e| e.context(names.result.clone()))?;
        if result.job_crc != names.job_crc {
            return Err(Error::corruption(format!("object {} is the result of another job", names.result)));
        }
        if let Some(error) = result.error {
            return if result.given_back {
                Ok(Outcome::Again(error))
            } else {
                Err(Error::unavailable(error))
            };
        }
        let tables = accept::accept(job, result, outputs).map_err(|e| e.context(names.result.clone()))?;
        let written =
            accept::look(&self.fetcher, tables).await.map_err(|e| e.context(names.result.clone()))?;
        Ok(Outcome::Written(written))
    }
}

/// Whether the job's store is there to take over what becomes of it.
fn is_wanted(taken_back: &mut TakenBack) -> bool {
    taken_back.try_recv() == Err(TryRecvError::Empty)
}

/// What one posting has come to.
enum Outcome {
    Written(Written),
    Again(String),
    Unclaimed,
    TakenBack,
}

/// What was seen of a compactor, and when.
struct Life {
    beat: Option<Bytes>,
    changed_at: Duration,
    looked_at: Duration,
}

impl Out {
    fn names(&self, job_crc: u32) -> Names {
        let name = |held: &Held| held.name().to_owned();
        Names {
            job: name(&self.job),
            claim: name(&self.claim),
            result: name(&self.result),
            beat: name(&self.beat),
            job_crc,
        }
    }
}

/// Names the objects of a job and its outputs, and describes it.
fn hold(job: &CompactionJob, operators: Bytes) -> (Out, Job) {
    let naming = &job.naming;
    let (mut outputs, mut reserved) = (Outputs::default(), Reserved::default());
    let (tables, values) = most_outputs(job);
    for (count, output, names) in
        [(tables, Output::Table, &mut reserved.tables), (values, Output::Values, &mut reserved.values)]
    {
        for _ in 0..count {
            let held = naming.hold(output.kind());
            names.push(held.name().to_owned());
            outputs.insert(held.name().to_owned(), held);
        }
    }
    let [job_held, claim, result, beat] = naming.hold_compaction(["job", "claim", "result", "beat"]);
    (Out { job: job_held, claim, result, beat, outputs }, describe(job, operators, reserved))
}

/// Tables and value files that a job may write. A table ends between half its size and all of it, and packs about as well
/// as those it was made of; a value file ends with its table, or when it is full.
fn most_outputs(job: &CompactionJob) -> (u64, u64) {
    let most = |bytes: u64, size: usize| 4 + bytes * 3 / (size as u64).max(1);
    // What a reference shows is a guess until the tail is there.
    let bytes = |file: &Arc<TableFile>| {
        if file.tail().is_some() { file.passed_bytes() } else { file.data_bytes() }
    };
    let in_tables: u64 = job.compaction.inputs().map(bytes).sum();
    let tables = most(in_tables, job.options.table_size_bytes);
    let shares = || job.compaction.inputs().flat_map(|file| file.values());
    if job.separation.threshold_bytes == usize::MAX && shares().next().is_none() {
        return (tables, 0);
    }
    let left_behind = shares().filter(|share| job.separation.garbage.contains(&share.file.id));
    let moved = left_behind.map(|share| share.bytes).sum::<u64>() + in_tables;
    (tables, tables + most(moved, job.separation.file_bytes))
}

/// Bytes that a job has to read: what it is worth to have it done elsewhere.
pub(crate) fn input_bytes(compaction: &Compaction, is_left_behind: impl Fn(FileId) -> bool) -> u64 {
    let table = |file: &Arc<TableFile>| {
        let left = file.values().iter().filter(|share| is_left_behind(share.file.id));
        file.passed_bytes() + left.map(|share| share.bytes).sum::<u64>()
    };
    compaction.inputs().map(table).sum()
}
