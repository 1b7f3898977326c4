//! The checkpoint of another root that a state was begun from: what is read there, until it is in the own root.
//!
//! ```text
//!   origin's root (read)                     own root
//!   state/00000007/0/1.sst ──── bring ────►  state/00000007/0/1.sst     names of incarnations up to the origin's last
//!                                            state/00000009/0/1.sst     names of this job's attempts
//!                                            ledger/…                   claims name the origin until a checkpoint is complete
//! ```
//!
//! A restored job reads the origin's files where they are. What a checkpoint of its own names of them is copied before that
//! checkpoint is complete, so every complete checkpoint is whole in its own root, and no reader of one needs two roots. That
//! goes for both modes:
//!
//! - *no-claim*: the origin is only read, by any number of jobs;
//! - *claim*: the origin's ledger is claimed, which fences its former owner. Once the first own checkpoint is complete the
//!   one it was begun from is retired: dropped from the origin's ledger, with the files that no other retained one names.
//!
//! Going on by reference for good in claim mode was considered: each checkpoint would then need two roots, for every
//! reader, until compaction has rewritten the last file. Whoever wants no copies goes on in place, on the origin's own root.
//!
//! **Invariants**: a root that is begun from an origin holds nothing else, see [`crate::ledger`]; so a name of an incarnation
//! up to the origin's last stands for the same bytes in both roots.
//!
//! **Threads**: any.
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use alluvium_env::{Error, HashSet, Result};
use alluvium_state_api::{CheckpointId, FileRef, ManifestPage};
use object_store::ObjectStore;

use crate::objects::Objects;
use crate::pages::PageReader;
use crate::sweep::incarnation_of;
use crate::transfer::Transfer;

/// Who owns the origin after the restore; Flink's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestoreMode {
    /// It stays somebody else's: nothing is written or deleted there.
    #[default]
    NoClaim,
    /// It is taken over, and deleted once it is not needed any more.
    Claim,
}

/// What a claim keeps of the checkpoint that its state was begun from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OriginRecord {
    /// For people: without credentials. Nothing is opened by it.
    pub(crate) url: String,
    pub(crate) checkpoint: CheckpointId,
    /// Who completed it.
    pub(crate) incarnation: u64,
    /// With its token: the checkpoint is known by these, however its root is spelled.
    pub(crate) token: u64,
    /// The highest incarnation that can have written a file it names.
    pub(crate) last_incarnation: u64,
}

impl OriginRecord {
    /// Whether both are one checkpoint.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.checkpoint, self.incarnation, self.token) == (other.checkpoint, other.incarnation, other.token)
    }

    /// Whether it can name a file that this attempt wrote: whoever completes a checkpoint comes after all that it names.
    pub(crate) fn can_name(&self, writer: u64) -> bool {
        writer <= self.incarnation
    }
}

impl fmt::Display for OriginRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint {} in {}", self.checkpoint, self.url)
    }
}

/// A checkpoint of another root, to begin from.
#[derive(Debug)]
pub struct Origin {
    pub(crate) transfer: Transfer,
    pub(crate) url: String,
    pub(crate) checkpoint: Option<CheckpointId>,
    pub(crate) mode: RestoreMode,
    /// Known once the state is taken over.
    found: OnceLock<OriginRecord>,
    /// Names that are in the own root as well.
    brought: Mutex<HashSet<String>>,
    /// One at a time brings, with all the concurrency there is; the others find most of theirs done.
    turn: futures_util::lock::Mutex<()>,
    retired: AtomicBool,
}

impl Origin {
    /// The checkpoint with this number, or the latest, of the root that is copied from. The URL is for messages and for the
    /// ledger: it holds no secret.
    pub fn new(
        transfer: Transfer,
        url: impl Into<String>,
        checkpoint: Option<CheckpointId>,
        mode: RestoreMode,
    ) -> Self {
        Self {
            transfer,
            url: url.into(),
            checkpoint,
            mode,
            found: OnceLock::new(),
            brought: Mutex::default(),
            turn: futures_util::lock::Mutex::default(),
            retired: AtomicBool::new(false),
        }
    }

    /// The root it is in, for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The root it is in.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.transfer.from
    }

    /// Who owns it from now on.
    pub fn mode(&self) -> RestoreMode {
        self.mode
    }

    /// The highest incarnation that can have written there when the state was begun from it: in claim mode the one that
    /// claimed it, which fences all others. `None` until then.
    pub fn last_incarnation(&self) -> Option<u64> {
        self.found.get().map(|record| record.last_incarnation)
    }

    /// Whether an object must be read there: it is the origin's, and not in the own root yet.
    pub fn holds(&self, name: &str) -> bool {
        self.is_origins(name) && !self.lock().contains(name)
    }

    /// Copies those files into the own root, of the named ones, of pages and of those that pages name, that are not there yet;
    /// returns their bytes. A page that a backend has taken over comes with all that it names, gone or not: it is read as it is.
    ///
    /// # Errors
    /// `Corruption` names an object that is missing or too short; `Unavailable` or `Invalid` is the stores'. What was copied
    /// stays copied.
    pub async fn bring(&self, files: &[FileRef], pages: &[Arc<dyn ManifestPage>]) -> Result<u64> {
        let _turn = self.turn.lock().await;
        let mut missing: Vec<FileRef> = files.iter().filter(|file| self.holds(&file.name)).cloned().collect();
        let mut seen = HashSet::default();
        for page in pages {
            let mut need = |name: &str, size_bytes| {
                if self.holds(name) && seen.insert(name.to_owned()) {
                    missing.push(FileRef { name: name.to_owned(), size_bytes });
                }
            };
            let object = page.object();
            need(&object.name, object.size_bytes);
            page.files(&mut need);
        }
        let arrived = |file: &FileRef| {
            self.lock().insert(file.name.clone());
        };
        let brought = self.transfer.copy_all(&missing, &arrived).await;
        brought.map_err(|error| error.context(format!("restored from {}", self.url)))?;
        Ok(missing.iter().map(|file| file.size_bytes).sum())
    }

    /// In claim mode, once a checkpoint is complete in the own root: retires the one that it was begun from. Does nothing once
    /// that was done.
    ///
    /// # Errors
    /// `Fenced` if another takes the origin over at this moment, `Unavailable` or `Invalid` from its store. It may stay
    /// retained there then, or leave files behind; another call goes on.
    pub async fn retire(&self, token: u64) -> Result<()> {
        let is_due = self.mode == RestoreMode::Claim && !self.retired.load(Ordering::Relaxed);
        let Some(record) = self.found.get().filter(|_| is_due) else { return Ok(()) };
        let origin = Objects::new(Arc::clone(&self.transfer.from));
        let retired =
            crate::retire::retire((&origin, &mut PageReader::over(&origin)), token, &[record.checkpoint])
                .await;
        retired.map(|_| self.retired.store(true, Ordering::Relaxed)).map_err(|error| {
            error.context(format!(
                "{record} was taken over and could not be deleted; delete it with alluvium checkpoint rm"
            ))
        })
    }

    pub(crate) fn set_found(&self, record: OriginRecord) -> Result<()> {
        self.found.set(record).map_err(|_| Error::invalid("an origin serves one restore"))
    }

    fn is_origins(&self, name: &str) -> bool {
        let last = self.last_incarnation().unwrap_or_default();
        incarnation_of("state", name).is_some_and(|incarnation| incarnation <= last)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
