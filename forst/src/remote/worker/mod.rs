//! The compactor: finds jobs on the store, takes one, does it, says so. It has no state: any number of them may run, come
//! and go, be killed.
//! [`crate::StateOperators`] has an example.
mod claimed;
mod search;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alluvium_env::{Background, Clock, Entropy, Error, HashSet, IoRuntime, Result};
use object_store::ObjectStore;

use super::format::{Claim, Framed as _, Job, crc_of};
use super::objects::Objects;
use super::settings::CompactorSettings;
use crate::fetch::{Creation, Fetcher};
use crate::merge::{DescribedOperators, MergeOperators};
use crate::naming::COMPACTION;
use crate::settings::{ForstSettings, MAX_BACKGROUND_BYTES};
use claimed::Claimed;
use search::{JobName, Listing};

/// What a compactor works with.
pub struct CompactorOptions {
    /// The root of all names, as the stores have it.
    pub store: Arc<dyn ObjectStore>,
    /// Where requests run.
    pub io: IoRuntime,
    /// What it may take.
    pub settings: CompactorSettings,
    /// Which functions it knows.
    pub operators: Arc<dyn DescribedOperators>,
    /// Times its beats and its work.
    pub clock: Arc<dyn Clock>,
    /// Tells it from all others.
    pub entropy: Entropy,
}

/// What a compactor has done in one turn.
#[derive(Debug)]
pub enum Turn {
    /// There was nothing for it.
    Idle,
    /// A job.
    Done {
        /// Its name.
        job: String,
        /// Tables and values that it read.
        read_bytes: u64,
        /// Those that it wrote.
        written_bytes: u64,
        /// How long it took.
        took: Duration,
    },
    /// A job that its owner wanted back before it was done. Nothing is left of it.
    Withdrawn {
        /// Its name.
        job: String,
    },
    /// A job that it gave back because it was stopped. Nothing is left of it.
    GivenBack {
        /// Its name.
        job: String,
    },
    /// A job that could not be done.
    Failed {
        /// Its name.
        job: String,
        /// Why.
        error: Error,
    },
    /// Jobs that it leaves to others, told once for each.
    Left {
        /// The name of one.
        job: String,
        /// Why.
        error: Error,
    },
}

/// Stops a compactor from another thread, or from a signal's handler.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<AtomicBool>);

impl StopHandle {
    /// Has the compactor give back the job that it has, and take no other.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether that was asked for.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// See the module.
pub struct Compactor {
    objects: Objects,
    /// For what is created beside the outputs.
    control: Arc<Fetcher>,
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    settings: CompactorSettings,
    operators: Arc<dyn DescribedOperators>,
    clock: Arc<dyn Clock>,
    entropy: Entropy,
    background: Background,
    stop: StopHandle,
    /// Jobs that are not for this one.
    left: Mutex<HashSet<String>>,
}

impl Compactor {
    /// A compactor that has nothing to do yet.
    ///
    /// # Errors
    /// `Invalid` for settings that contradict each other, `Unavailable` if its thread cannot be started.
    pub fn new(options: CompactorOptions) -> Result<Self> {
        let CompactorOptions { store, io, settings, operators, clock, entropy } = options;
        settings.validate()?;
        let requests = ForstSettings { fetch: settings.fetch.clone(), ..ForstSettings::default() };
        let seed = entropy.next_u64().to_string();
        Ok(Self {
            objects: Objects::new(&store),
            control: Fetcher::new(Arc::clone(&store), io.clone(), None, &requests, &seed),
            store,
            io,
            settings,
            operators,
            clock,
            entropy,
            background: Background::new(1)?,
            stop: StopHandle::default(),
            left: Mutex::default(),
        })
    }

    /// What stops it.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Looks for a job and does it. Blocks; not from within a runtime.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be listed. What is wrong with a job is no error of the compactor's.
    pub fn turn(&self) -> Result<Turn> {
        let listing = Listing::of(self.io.block_on(self.objects.list(COMPACTION))?);
        self.io.block_on(listing.tidy(&self.objects));
        let open = listing.open();
        // Compactors that look at the same moment begin at different places.
        let first = if open.is_empty() { 0 } else { self.entropy.next_u64() as usize % open.len() };
        for job in open.iter().cycle().skip(first).take(open.len()) {
            if self.stop.is_stopped() {
                return Ok(Turn::Idle);
            }
            if let Some(turn) = self.consider(job) {
                return Ok(turn);
            }
        }
        Ok(Turn::Idle)
    }

    /// Takes a job if it can be done here, and nobody else has it.
    fn consider(&self, name: &JobName) -> Option<Turn> {
        let job_name = name.job();
        if self.lock_left().contains(&job_name) {
            return None;
        }
        // Gone, or not readable now: there may be others.
        let bytes = self.io.block_on(self.objects.read(&job_name)).ok()??;
        let (job, operators, buffer_bytes) = match self.understand(&bytes) {
            Ok(understood) => understood,
            Err(error) => {
                self.lock_left().insert(job_name.clone());
                return Some(Turn::Left { job: job_name, error });
            }
        };
        let worker = self.entropy.next_u64();
        let claim = self.io.block_on(self.control.create(&name.claim(), Claim { worker }.frame()));
        if !matches!(claim, Ok(Creation::Created | Creation::Found)) {
            return None;
        }
        let seed = format!("{job_name} {worker}");
        let fetcher =
            Fetcher::creating(Arc::clone(&self.store), self.io.clone(), &self.store_settings(), &seed);
        let claimed = Claimed { compactor: self, name, worker, job_crc: crc_of(&bytes), fetcher };
        claimed.work(job, operators, buffer_bytes)
    }

    /// A job, who folds and judges for it, and the memory that is left for reading ahead.
    fn understand(&self, bytes: &[u8]) -> Result<(Job, Arc<dyn MergeOperators>, usize)> {
        let job = Job::unframe(bytes)?;
        let buffer_bytes = self.fit(&job)?;
        let operators = self.operators.operators(&job.operators)?;
        Ok((job, operators, buffer_bytes))
    }

    fn lock_left(&self) -> MutexGuard<'_, HashSet<String>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The memory that is left for reading ahead.
    fn fit(&self, job: &Job) -> Result<usize> {
        let needed = job.writing_bytes().saturating_add(job.tail_bytes());
        // As much again for what is read ahead would be plenty; a sixteenth does.
        if needed.saturating_add(needed / 16) > self.settings.memory_bytes {
            let has = self.settings.memory_bytes;
            return Err(Error::invalid(format!(
                "a job's tables take {needed} bytes of memory and this compactor has {has}: give it more memory, or the \
                 job's stores less"
            )));
        }
        let left = usize::try_from(self.settings.memory_bytes - needed).unwrap_or(usize::MAX);
        Ok(left.min(MAX_BACKGROUND_BYTES))
    }

    fn store_settings(&self) -> ForstSettings {
        ForstSettings {
            memory_bytes: self.settings.memory_bytes,
            coalesce_gap_bytes: self.settings.coalesce_gap_bytes,
            vectored_reads: self.settings.vectored_reads,
            fetch: self.settings.fetch.clone(),
            ..ForstSettings::default()
        }
    }
}
