//! What all processes of a schedule share: the objects, the choices, the trace, and the truth that is never violated.
//!
//! **Invariants**, looked at whenever an object changes, with no time passing meanwhile: a file that a retained
//! checkpoint names is there; a completed checkpoint holds what was counted up to its positions, exactly.
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alluvium_checkpoint::{CheckpointMetadata, PageReader, RetainedCheckpoints};
use alluvium_env::Error;
use futures_util::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::backend::Description;
use crate::job::{Counts, add, counts_at, decode};
use crate::random::Random;
use crate::report::Report;

/// See the module.
pub(crate) struct World {
    pub(crate) random: Random,
    /// The objects as they are.
    pub(crate) objects: Arc<InMemory>,
    /// How many of a thousand calls go wrong.
    pub(crate) faults: AtomicU64,
    /// Effects that are still to come.
    pub(crate) in_flight: AtomicU64,
    /// The newest checkpoint that a coordinator called complete.
    pub(crate) completed: AtomicU64,
    begun: Instant,
    /// Whose state it is, in traces.
    owner: &'static str,
    shows: bool,
    ledger_changed: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    trace: Xxh3,
    violation: Option<String>,
    report: Report,
    /// What the retained checkpoints name.
    named: BTreeSet<String>,
    /// The completed checkpoints that were looked at, by number and attempt.
    seen: BTreeSet<(u64, u64)>,
    /// Who has claimed the state, and what was retained then.
    claims: Vec<(u64, BTreeSet<(u64, u64)>)>,
}

impl World {
    pub(crate) fn new(seed: u64, shows: bool) -> Arc<Self> {
        let random = Random::new(seed);
        let faults = [0, 20, 60, 150].get(random.below(4) as usize).copied().unwrap_or_default();
        Self::of("", random, faults, shows)
    }

    /// That of a job that is forked from the one here: a root of its own.
    pub(crate) fn beside(&self) -> Arc<Self> {
        let (random, faults) = (Random::new(self.random.next()), self.faults.load(Ordering::SeqCst));
        Self::of("fork ", random, faults, self.shows)
    }

    fn of(owner: &'static str, random: Random, faults: u64, shows: bool) -> Arc<Self> {
        Arc::new(Self {
            owner,
            random,
            objects: Arc::new(InMemory::new()),
            faults: AtomicU64::new(faults),
            in_flight: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            begun: Instant::now(),
            shows,
            ledger_changed: AtomicBool::new(false),
            inner: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the trace.
    pub(crate) fn trace(&self, what: std::fmt::Arguments<'_>) {
        let mut line = String::new();
        let _ = write!(line, "{:>6} ms  {}{what}", self.begun.elapsed().as_millis(), self.owner);
        if self.shows {
            eprintln!("{line}");
        }
        let mut inner = self.lock();
        inner.trace.update(line.as_bytes());
        inner.report.events += 1;
    }

    pub(crate) fn count(&self, count: impl FnOnce(&mut Report)) {
        count(&mut self.lock().report);
    }

    /// Something happened that must not; the first counts.
    pub(crate) fn violate(&self, what: String) {
        self.trace(format_args!("VIOLATION {what}"));
        self.lock().violation.get_or_insert(what);
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// An attempt has taken the state over.
    pub(crate) fn claimed(&self, incarnation: u64, retained: &[CheckpointMetadata]) {
        let retained = retained.iter().map(|checkpoint| (checkpoint.id.0, checkpoint.incarnation)).collect();
        let mut inner = self.lock();
        inner.report.claims += 1;
        inner.claims.push((incarnation, retained));
    }

    /// A coordinator calls a checkpoint complete: whoever has taken over from it knows that checkpoint.
    pub(crate) fn complete(&self, id: u64, incarnation: u64) {
        self.completed.fetch_max(id, Ordering::SeqCst);
        let unknown = |(later, retained): &&(u64, BTreeSet<(u64, u64)>)| {
            *later > incarnation && !retained.contains(&(id, incarnation))
        };
        let by = self.lock().claims.iter().find(unknown).map(|(later, _)| *later);
        if let Some(later) = by {
            self.violate(format!(
                "incarnation {incarnation} completed checkpoint {id}, of which incarnation {later} knows nothing"
            ));
        }
    }

    /// What happened, for whoever started it.
    pub(crate) fn report(&self) -> Report {
        let inner = self.lock();
        Report { hash: inner.trace.digest(), ..inner.report }
    }

    /// An object was written.
    pub(crate) fn written(&self, name: &str) {
        if name.starts_with("ledger/") {
            self.ledger_changed.store(true, Ordering::SeqCst);
            self.look();
        }
    }

    /// An object was deleted.
    pub(crate) fn deleted(&self, name: &str) {
        if name.starts_with("ledger/") {
            self.ledger_changed.store(true, Ordering::SeqCst);
            return;
        }
        self.look();
        if self.lock().named.contains(name) {
            self.violate(format!("{name} was deleted while a retained checkpoint names it"));
        }
    }

    /// What is retained now, read in no time.
    pub(crate) fn retained(&self) -> Result<RetainedCheckpoints, Error> {
        let store = Arc::clone(&self.objects) as Arc<dyn ObjectStore>;
        let looked = RetainedCheckpoints::look(store).now_or_never();
        looked.unwrap_or_else(|| Err(Error::internal("reading objects takes time")))
    }

    /// Whether anybody has claimed it yet.
    pub(crate) fn has_state(&self) -> bool {
        let ledger = self.objects.list(Some(&Path::from("ledger")));
        // Whoever is about to claim an origin probes first.
        let is_entry = |name: &Path| name.filename().is_some_and(|last| !last.starts_with("probe-"));
        let mut entries =
            ledger.filter(|meta| ready(meta.as_ref().is_ok_and(|meta| is_entry(&meta.location))));
        matches!(entries.next().now_or_never(), Some(Some(_)))
    }

    /// Reads what counts, if that may have changed.
    fn look(&self) {
        if !self.ledger_changed.swap(false, Ordering::SeqCst) {
            return;
        }
        match self.retained() {
            Err(error) => self.violate(format!("the ledger cannot be read: {error}")),
            Ok(retained) => {
                self.lock().named = self.needed(retained.all());
                for checkpoint in retained.all() {
                    if self.lock().seen.insert((checkpoint.id.0, checkpoint.incarnation)) {
                        self.verify(checkpoint);
                    }
                }
            }
        }
    }

    /// Every object that checkpoints need.
    pub(crate) fn needed(&self, checkpoints: &[CheckpointMetadata]) -> BTreeSet<String> {
        let mut pages = PageReader::new(Arc::clone(&self.objects) as Arc<dyn ObjectStore>);
        let mut names = BTreeSet::new();
        for checkpoint in checkpoints {
            match pages.objects_of(checkpoint).now_or_never() {
                Some(Ok(objects)) => names.extend(objects.into_iter().map(|file| file.name)),
                Some(Err(error)) => {
                    self.violate(format!("checkpoint {} lost a page: {error}", checkpoint.id));
                }
                None => self.violate("reading objects takes time".to_owned()),
            }
        }
        names
    }

    /// Looks at every retained checkpoint once more.
    pub(crate) fn verify_all(&self, retained: &[CheckpointMetadata]) {
        for checkpoint in retained {
            self.verify(checkpoint);
        }
    }

    /// Whether a checkpoint holds what it should, and all is there that it or a page of it names.
    pub(crate) fn verify(&self, checkpoint: &CheckpointMetadata) {
        let id = checkpoint.id;
        for name in self.needed(std::slice::from_ref(checkpoint)) {
            if let Err(error) = self.read(&name) {
                self.violate(format!("checkpoint {id} is not whole: {error}"));
            }
        }
        let wanted = counts_at(&positions_of(checkpoint));
        match self.counts(checkpoint) {
            Err(error) => self.violate(format!("checkpoint {id} cannot be read: {error}")),
            Ok(counts) if counts != wanted => {
                self.violate(format!("checkpoint {id} holds {counts:?} and should hold {wanted:?}"));
            }
            Ok(_) => self.count(|report| report.verified += 1),
        }
    }

    /// What a checkpoint holds, its kept inputs included.
    fn counts(&self, checkpoint: &CheckpointMetadata) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        for subtask in &checkpoint.subtasks {
            for group in decode(&subtask.inputs) {
                add(&mut counts, group as u16, 1);
            }
            for part in Description::decode(&subtask.payload) {
                let content = self.read(&part.name)?;
                for (group, count) in part.counted(&content) {
                    add(&mut counts, group, count);
                }
            }
        }
        Ok(counts)
    }

    fn read(&self, name: &str) -> Result<bytes::Bytes, Error> {
        let read = async { self.objects.get(&Path::from(name)).await?.bytes().await };
        let read = read.now_or_never().ok_or_else(|| Error::internal("reading objects takes time"))?;
        read.map_err(|error| Error::corruption(format!("{name} is not there")).with_source(error))
    }
}

/// How far the sources had read.
pub(crate) fn positions_of(checkpoint: &CheckpointMetadata) -> crate::job::Positions {
    let mut positions = crate::job::Positions::default();
    for pair in decode(&checkpoint.source).chunks_exact(2) {
        if let [partition, position] = pair
            && let Some(slot) = positions.get_mut(*partition as usize)
        {
            *slot = *position;
        }
    }
    positions
}
