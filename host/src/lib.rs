//! A minimal operator host: it reads input, runs a keyed operator in parallel, checkpoints both, and goes on from there.
//!
//! The nouns:
//!
//! - [`storage`] opens a state URL;
//! - a [`SplitSource`] is input in numbered splits; [`SplitReader`]s emit records into a [`Collector`];
//! - an [`Operator`] is a [`KeyedProcess`](alluvium_state_api::KeyedProcess) with its broadcast side, its result state and its
//!   sink;
//! - [`exposition`] writes metrics as Prometheus reads them: of a [`JobControl`], of a [`storage`], of stores;
//! - a [`Job`] runs source and operator on threads, under a [`JobControl`], and ends with a [`JobReport`].
//!
//! ```text
//!  source threads             task threads                         calling thread
//!  claim split ─► read        mailbox ─► controller ─► operator     coordinator: triggers, collects
//!  batch per subtask ═══════► align barriers, snapshot ───────────► acknowledgements, writes the ledger,
//!  barrier when asked         answers from the backend              reports, ends the job
//! ```
//!
//! Counting words, in memory:
//!
//! ```
//! use std::sync::Arc;
//! use alluvium_env::{Entropy, IoRuntime, SystemClock};
//! use alluvium_host::*;
//! use alluvium_state_api::*;
//!
//! struct Lines(Vec<&'static str>);
//! struct Line(&'static str);
//! impl SplitSource for Lines {
//!     fn splits(&self) -> u64 { self.0.len() as u64 }
//!     fn fingerprint(&self) -> String { self.0.join("\n") }
//!     fn open(&self, split: u64, _: u64) -> Result<Box<dyn SplitReader>> {
//!         Ok(Box::new(Line(self.0[split as usize])))
//!     }
//! }
//! impl SplitReader for Line {
//!     fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
//!         self.0.split(' ').for_each(|word| out.emit(word, &1_u64));
//!         Ok(ReadOutcome::End)
//!     }
//!     fn position(&self) -> u64 { 0 }
//! }
//!
//! struct Count(ReducingState<Sum<u64>>);
//! impl KeyedProcess for Count {
//!     type In = u64;
//!     type Out = ();
//!     async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
//!         self.0.add(ctx, &times)
//!     }
//! }
//!
//! let storage = storage::open("memory:///")?;
//! let job = Job {
//!     source: Lines(vec!["to be or", "not to be"]),
//!     settings: JobSettings { job: "count".into(), parallelism: 2, ..JobSettings::default() },
//!     world: World {
//!         store: Arc::clone(&storage.store),
//!         state_url: storage.url().to_owned(),
//!         backend: Arc::new(HeapBackendFactory),
//!         io: IoRuntime::new(1)?,
//!         clock: Arc::new(SystemClock::new()),
//!         entropy: Arc::new(Entropy::from_os()),
//!     },
//! };
//! let open = |states: &States<'_>| {
//!     let count = states.reducing("count")?;
//!     let id = count.id();
//!     Ok(Operator::new(Count(count)).with_result(id))
//! };
//! let mut counts = Vec::new();
//! let report = job.run(open, &JobControl::new(), |scans| {
//!     for mut scan in scans {
//!         while let Some((key, count)) = scan.next_entry()? {
//!             counts.push((str::decode_key(state_key::split(key)?.2)?, u64::decode(count)?));
//!         }
//!     }
//!     Ok(())
//! })?;
//! counts.sort();
//! assert_eq!(counts, [("be".into(), 2), ("not".into(), 1), ("or".into(), 1), ("to".into(), 2)]);
//! assert_eq!((report.outcome, report.records), (Outcome::Finished, 6));
//! # Ok::<(), Error>(())
//! ```
#[cfg(fuzzing)]
pub mod fuzzing;
mod job;
mod metrics;
mod source;
pub mod storage;
mod task;

pub use job::{
    CheckpointReport, Job, JobControl, JobReport, JobSettings, Outcome, Progress, RequestedCheckpoint,
    Restore, RestoreReport, World,
};
pub use metrics::exposition;
pub use source::{Collector, ReadOutcome, SplitReader, SplitSource};
pub use task::Operator;
