//! Who may delete a file (design D12): holders and references are counted, and a file goes when both are none.
//!
//! ```text
//!              hold / release                    refer / forget
//!  writer ──►  holders: 2   ◄── one file ──►  references: 3  ◄── checkpoints, complete, pending or in doubt
//!                     └────────── both 0 ──────────┘
//!                                    ▼
//!                     Deleter: in the background, retried, counted
//! ```
//!
//! A manifest page is a file like any other, and as long as a checkpoint names it, it refers to what it names, once. So a
//! checkpoint counts what it names itself and what is new (RFC 0006).
//!
//! **Invariants**: a name is given once and never again, so a file that nobody holds and no checkpoint names
//! stays that way: deleting it late, twice, or by an attempt that was fenced meanwhile harms nobody. The one exception are
//! files that a state brings from its origin: they are copied again by every attempt until there is a checkpoint, and until
//! then the origin's own counts here as one. What a crash leaves behind (held, never named) is found by the next attempt's
//! sweep.
//!
//! **Threads**: every call but [`SharedFileRegistry::settle`] and [`SharedFileRegistry::settle_within`] takes a short lock and
//! returns.
//!
//! **Failure**: a delete that fails is counted and tried again after the next checkpoint, not before.
mod deleter;
mod unread;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use alluvium_env::{HashMap, IoRuntime, SystemClock};
use alluvium_state_api::{CheckpointId, FileOwnership, FileRef, ManifestPage};

use crate::objects::Objects;
use deleter::{Deleter, Patience};
use unread::Unread;

/// The registry of one state URL, shared by the job's backends and its coordinator.
pub struct SharedFileRegistry {
    table: Mutex<Table>,
    deleter: Deleter,
    /// For what it does in the background.
    this: Weak<Self>,
}

/// Figures for a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryStats {
    /// Files that somebody holds or a checkpoint names.
    pub files: u64,
    /// Objects deleted since the start.
    pub deleted: u64,
    /// Deletes that failed since the start, retries included.
    pub failed_deletes: u64,
    /// Objects that are still to be deleted.
    pub waiting: u64,
    /// Whether the sweep at the start has seen everything that former attempts wrote.
    pub swept: bool,
}

#[derive(Default)]
struct Table {
    /// Where each file is in `files`.
    places: HashMap<Arc<str>, Place>,
    /// In no order; what is unused is unnamed, and in `free`.
    files: Vec<File>,
    free: Vec<Place>,
    /// What each checkpoint names; a place comes once for each reference. A large job's checkpoint names millions, so they are
    /// found once, when it begins, and given back without a look at their names.
    checkpoints: BTreeMap<CheckpointId, Vec<Place>>,
    /// What each page names that is referred to and read, as a place for each reference.
    pages: HashMap<Place, Vec<Place>>,
    /// Pages that checkpoints of former attempts name, until they are read.
    unread: BTreeMap<String, Unread>,
    /// Whether somebody reads them.
    is_reading: bool,
    /// What looks unused while there are such.
    parked: Vec<String>,
}

type Place = u32;

#[derive(Default)]
struct File {
    name: Arc<str>,
    holders: u32,
    references: u32,
}

impl Table {
    /// The place of a file, which it gets now if it has none.
    fn place(&mut self, name: &str) -> Place {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let shared: Arc<str> = Arc::from(name);
        let file = File { name: Arc::clone(&shared), ..File::default() };
        let place = self.free.pop().unwrap_or_else(|| {
            self.files.push(File::default());
            (self.files.len() - 1) as Place
        });
        *self.at(place) = file;
        self.places.insert(shared, place);
        place
    }

    fn at(&mut self, place: Place) -> &mut File {
        let file = self.files.get_mut(place as usize);
        file.expect("a place is given back with its last use, and nobody keeps it then")
    }

    /// One more reference to a file; where that is.
    fn refer(&mut self, name: &str) -> Place {
        let place = self.place(name);
        self.at(place).references += 1;
        place
    }

    /// A checkpoint names a file.
    fn refer_from(&mut self, checkpoint: CheckpointId, name: &str) -> Place {
        let place = self.refer(name);
        self.checkpoints.entry(checkpoint).or_default().push(place);
        place
    }

    /// Takes one use away and returns the name if that was the last.
    fn drop_use(&mut self, place: Place, count: impl Fn(&mut File) -> &mut u32) -> Option<String> {
        let file = self.at(place);
        let left = count(file);
        assert!(*left > 0, "{} is given back more often than it was taken", file.name);
        *left -= 1;
        if file.holders > 0 || file.references > 0 {
            return None;
        }
        let File { name, .. } = std::mem::take(file);
        self.places.remove(&name);
        self.free.push(place);
        Some(name.as_ref().to_owned())
    }

    /// Takes a reference away; a page takes those with it that it has itself. What was used by nothing else is added.
    fn drop_reference(&mut self, place: Place, unused: &mut Vec<String>) {
        if self.at(place).references == 1 {
            for named in self.pages.remove(&place).into_iter().flatten() {
                unused.extend(self.drop_use(named, |file| &mut file.references));
            }
        }
        unused.extend(self.drop_use(place, |file| &mut file.references));
    }
}

impl SharedFileRegistry {
    pub(crate) fn new(objects: Objects, io: IoRuntime) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            table: Mutex::default(),
            deleter: Deleter::new(objects, io),
            this: Weak::clone(this),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A checkpoint names these files and pages, whether it is complete or not yet.
    pub(crate) fn refer(&self, checkpoint: CheckpointId, files: &[FileRef], pages: &[Arc<dyn ManifestPage>]) {
        let mut table = self.lock();
        for file in files {
            table.refer_from(checkpoint, &file.name);
        }
        for page in pages {
            let object = page.object().name;
            let place = table.refer_from(checkpoint, &object);
            if !table.pages.contains_key(&place) {
                let mut named = Vec::new();
                page.files(&mut |name, _| named.push(table.refer(name)));
                table.pages.insert(place, named);
                table.unread.remove(&object);
            }
        }
        let unused = table.unparked();
        drop(table);
        self.deleter.delete(unused);
    }

    /// A checkpoint is no more, or never came to be.
    pub(crate) fn forget(&self, checkpoint: CheckpointId) {
        let mut table = self.lock();
        let places = table.checkpoints.remove(&checkpoint).unwrap_or_default();
        let mut unused = Vec::new();
        for place in places {
            table.drop_reference(place, &mut unused);
        }
        let unused = table.released(unused);
        drop(table);
        self.deleter.delete(unused);
    }

    /// Deletes entries that the ledger has dropped.
    pub(crate) fn delete(&self, names: Vec<String>) {
        self.deleter.delete(names);
    }

    /// Whether a name is still waiting to be deleted.
    pub(crate) fn is_to_be_deleted(&self, name: &str) -> bool {
        self.deleter.is_waiting(name)
    }

    /// Deletes those of the names, written by former attempts, that nobody uses. Nothing can come to use them
    /// any more: only what a retained checkpoint names is ever read back.
    pub(crate) fn delete_unused(&self, mut names: Vec<String>) {
        let mut table = self.lock();
        names.retain(|name| !table.places.contains_key(name.as_str()));
        let names = table.released(names);
        drop(table);
        self.deleter.delete(names);
    }

    /// Tries again to delete what could not be deleted, and to read what could not be read.
    pub(crate) fn retry(&self) {
        self.deleter.retry();
        self.read_pages();
    }

    /// What the sweep runs beside.
    pub(crate) fn deleter(&self) -> &Deleter {
        &self.deleter
    }

    /// Waits until the sweep at the start is over and everything that is to be deleted was tried once more, however long
    /// that takes. Blocks on I/O, so never for a task thread.
    pub fn settle(&self) -> RegistryStats {
        self.settle_with(None)
    }

    /// For the end of a job: as [`settle`](Self::settle), but it waits at most so long; what is left then, the sweep with it, the next
    /// start does. Blocks on I/O, so never for a task thread.
    pub fn settle_within(&self, most: Duration) -> RegistryStats {
        self.settle_with(Some((&SystemClock::new(), most)))
    }

    fn settle_with(&self, patience: Patience<'_>) -> RegistryStats {
        self.deleter.settle(patience);
        if !self.lock().unread.is_empty() {
            self.read_pages();
            self.deleter.settle(patience);
        }
        self.stats()
    }

    /// What the store said when something could not be deleted, the last time: a sentence for a person.
    pub fn last_refusal(&self) -> Option<String> {
        self.deleter.last_refusal()
    }

    /// How it stands.
    pub fn stats(&self) -> RegistryStats {
        let (files, parked) = {
            let table = self.lock();
            (table.places.len() as u64, table.parked.len() as u64)
        };
        let stats = self.deleter.stats();
        RegistryStats { files, waiting: stats.waiting + parked, ..stats }
    }
}

impl FileOwnership for SharedFileRegistry {
    fn hold(&self, name: &str) {
        let mut table = self.lock();
        let place = table.place(name);
        table.at(place).holders += 1;
    }

    fn release(&self, name: &str) {
        let mut table = self.lock();
        let place = table.places.get(name).copied();
        assert!(place.is_some(), "{name} is given back and was never taken");
        let unused = place.and_then(|place| table.drop_use(place, |file| &mut file.holders));
        let unused = table.released(unused.into_iter().collect());
        drop(table);
        self.deleter.delete(unused);
    }
}

#[cfg(test)]
mod tests;
