//! The hotness hint of a store: when it is made anew, and where the last one is.
//!
//! It is made between checkpoints, a few hundred blocks a poll, so that a barrier does not wait for it, and it travels with a
//! delta where there is a small one. Checkpoints name the last one until there is a newer.
//!
//! ```text
//!  none is named yet      at once
//!  a small delta goes     along with it
//!  large deltas go        by itself: after NEWS_EVERY checkpoints if it is news, else after ALONE_EVERY
//!  nothing is uploaded    by itself: after QUIET_EVERY
//! ```
//!
//! **Invariants**: behind the first one, what hints cost stays below one part in [`DELTA_SHARE`] of the bytes that checkpoints
//! upload, and those that go by themselves make no more than one request in [`NEWS_EVERY`] checkpoints. What waits to go is made
//! anew, so that a hint is of about the moment at which it goes.
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::cache::BlockCache;
use crate::hint::{HotRun, HotTable, Outline, encode_within};
use crate::store::Store;
use crate::store::deltas::pack::LARGE_BYTES;
use crate::store::deltas::{Place, Upload};
use crate::store::manifest::DeltaRecord;
use crate::table::FileId;
use crate::version::Version;

/// What a hint may take on the store.
const MOST_BYTES: usize = 64 << 10;
/// A hint is made anew once so many times its bytes have been uploaded as deltas.
const DELTA_SHARE: u64 = 32;
/// A hint that no delta takes along waits for so many checkpoints if the last one no longer tells what is hot: a request beside
/// those of so many large deltas is no cost, and the tables that large deltas become are merged away soon.
const NEWS_EVERY: u64 = 4;
/// If the last one still does, for so many: which blocks of a table are hot may have changed.
const ALONE_EVERY: u64 = 16;
/// Where nothing is written, what is hot changes by reads alone; so many checkpoints are between two hints of that.
const QUIET_EVERY: u64 = 64;
/// For each of these that was looked over one more checkpoint passes before memory is looked over again. What memory held then
/// counts: one that fills is told about each time that it has doubled or so.
const SWEEP_BYTES: u64 = 64 << 20;
/// Places that a poll looks at: some ten microseconds.
const STEP_PLACES: usize = 256;

/// A hint that is on the store.
#[derive(Clone, Debug)]
pub(in crate::store) struct StoredHint {
    pub(in crate::store) place: Place,
    pub(in crate::store) size_bytes: u64,
}

impl StoredHint {
    pub(in crate::store) fn record(&self) -> DeltaRecord {
        DeltaRecord::of(self.size_bytes, &self.place)
    }
}

/// A hint on its way.
#[derive(Debug, Default)]
pub(in crate::store) struct NewHint {
    tables: Mutex<Vec<HotTable>>,
    /// Known once it is uploaded.
    stored: OnceLock<StoredHint>,
}

impl NewHint {
    /// Its bytes: made where it is uploaded, which is not on the task thread. Asked once; what does not arrive is made anew.
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let tables = std::mem::take(&mut *self.tables.lock().unwrap_or_else(PoisonError::into_inner));
        encode_within(tables, MOST_BYTES)
    }

    pub(in crate::store) fn set_stored(&self, stored: StoredHint) {
        let _ = self.stored.set(stored);
    }

    pub(in crate::store) fn stored(&self) -> Option<&StoredHint> {
        self.stored.get()
    }
}

/// A pass over what is in memory.
#[derive(Debug)]
struct Sweep {
    /// Files to look at, the next one last, with the hash of what each holds.
    files: Vec<(FileId, u64)>,
    /// The place to go on from in the file at hand, and what was found before.
    place: usize,
    found: Vec<HotRun>,
    tables: Vec<HotTable>,
    outline: Outline,
    /// Blocks of it that the last hint told of as well.
    told_blocks: u64,
}

impl Sweep {
    fn of(version: &Version) -> Self {
        let mut files: Vec<_> = version.files().map(|(_, file)| (file.id, file.meta.content_hash)).collect();
        // Clips of one table have the same blocks.
        files.sort_unstable();
        files.dedup();
        let (found, tables, outline) = (Vec::new(), Vec::new(), Outline::default());
        Self { files, place: 0, found, tables, outline, told_blocks: 0 }
    }

    /// Looks at some places; `false` if there are no more.
    fn step(&mut self, cache: &BlockCache, told: &Outline) -> bool {
        let mut left = STEP_PLACES;
        while let Some((file, content_hash)) = self.files.last().copied().filter(|_| left > 0) {
            let mut table = HotTable { content_hash, runs: std::mem::take(&mut self.found) };
            let looked = cache.hot_blocks(file, self.place..self.place + left, &mut |block, heat| {
                table.push(block, heat);
            });
            if looked == left {
                (self.place, self.found) = (self.place + left, table.runs);
                return true;
            }
            // One of which no block is there is looked at as well.
            left -= (looked + 1).min(left);
            self.place = 0;
            self.files.pop();
            if !table.runs.is_empty() {
                self.outline.add(&table);
                self.told_blocks += told.shared_with(&table);
                self.tables.push(table);
            }
        }
        !self.files.is_empty()
    }

    /// What it found, if that is anything.
    fn into_next(self) -> Option<Next> {
        let is_news = self.outline.is_news(self.told_blocks);
        let hint = Arc::new(NewHint { tables: Mutex::new(self.tables), ..NewHint::default() });
        (self.outline.blocks() > 0).then_some(Next { hint, outline: self.outline, is_news, sent: false })
    }
}

/// A hint that is made, and not known to be on the store.
#[derive(Debug)]
struct Next {
    hint: Arc<NewHint>,
    outline: Outline,
    /// Whether the last one told less than most of it.
    is_news: bool,
    /// Whether it was handed to a checkpoint.
    sent: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::store) struct Hints {
    /// What checkpoints name. Several after a restore from several former subtasks.
    kept: Vec<StoredHint>,
    /// What the last one told; nothing of those that were restored.
    told: Outline,
    next: Option<Next>,
    wanted: bool,
    sweep: Option<Sweep>,
    /// Checkpoints, and bytes of their deltas, since the last one was sent.
    checkpoints: u64,
    delta_bytes: u64,
    /// Checkpoints until memory may be looked over again.
    rest: u64,
    /// What had been read and written when the last one was made.
    uses: u64,
}

/// What decides whether a hint is due.
struct Use {
    /// What is in memory, or nothing if that says nothing.
    cached_bytes: u64,
    /// What has been read and written so far.
    uses: u64,
}

impl Hints {
    /// Goes on naming what a checkpoint named.
    pub(in crate::store) fn restore(&mut self, stored: StoredHint) {
        self.kept.push(stored);
    }

    pub(in crate::store) fn kept(&self) -> &[StoredHint] {
        &self.kept
    }

    /// A checkpoint that uploads these: what it names besides, and the hint to take along.
    fn of_checkpoint(&mut self, uploads: &[Upload], now: &Use) -> (Vec<StoredHint>, Option<Arc<NewHint>>) {
        self.settle();
        self.checkpoints += 1;
        self.rest = self.rest.saturating_sub(1);
        self.delta_bytes += uploads.iter().map(|upload| upload.delta.size_bytes).sum::<u64>();
        let patience = self.patience(uploads);
        let going = self.next.as_mut().filter(|next| !next.sent && self.checkpoints >= patience);
        let hint = going.map(|next| {
            next.sent = true;
            Arc::clone(&next.hint)
        });
        if hint.is_some() {
            (self.checkpoints, self.delta_bytes) = (0, 0);
        }
        let is_on_its_way = self.next.as_ref().is_some_and(|next| next.sent);
        self.wanted = !is_on_its_way && self.sweep.is_none() && self.is_due(now);
        if self.wanted {
            (self.next, self.uses, self.rest) = (None, now.uses, now.cached_bytes / SWEEP_BYTES);
        }
        (self.kept.clone(), hint)
    }

    /// How many checkpoints are from one hint to the next, if this one uploads these.
    fn patience(&self, uploads: &[Upload]) -> u64 {
        let rides = uploads.iter().any(|upload| upload.delta.size_bytes < LARGE_BYTES);
        match &self.next {
            _ if rides || self.kept.is_empty() => 0,
            _ if uploads.is_empty() => QUIET_EVERY,
            Some(next) if next.is_news => NEWS_EVERY,
            _ => ALONE_EVERY,
        }
    }

    /// Takes over a hint that has arrived; one that was given up is made anew.
    fn settle(&mut self) {
        let Some(next) = self.next.take_if(|next| next.sent) else { return };
        if let Some(stored) = next.hint.stored() {
            self.kept = vec![stored.clone()];
            self.told = next.outline;
        } else if Arc::strong_count(&next.hint) > 1 {
            self.next = Some(next);
        }
    }

    fn is_due(&self, now: &Use) -> bool {
        let kept_bytes: u64 = self.kept.iter().map(|hint| hint.size_bytes).sum();
        let changed = self.delta_bytes >= kept_bytes * DELTA_SHARE || self.checkpoints >= QUIET_EVERY;
        let is_used = now.cached_bytes > 0 && now.uses != self.uses;
        is_used && changed && self.rest == 0
    }
}

impl Store {
    /// The hints that a checkpoint names, and the one that it uploads.
    pub(in crate::store) fn hints_of_checkpoint(
        &mut self,
        uploads: &[Upload],
    ) -> (Vec<StoredHint>, Option<Arc<NewHint>>) {
        if !self.settings.warm_up {
            return (Vec::new(), None);
        }
        if self.version.is_empty() {
            // Nothing is left of what they name.
            self.hints = Hints::default();
            return (Vec::new(), None);
        }
        // What is warming up is not yet as hot as what was.
        let cached_bytes = if self.warming.is_over() { self.cache.bytes() as u64 } else { 0 };
        let counted = self.counters.read();
        let uses = self.writes + counted.memory_hits + counted.disk_hits + counted.misses;
        self.hints.of_checkpoint(uploads, &Use { cached_bytes, uses })
    }

    /// Looks over some of what is in memory, if a hint is to be made.
    #[inline]
    pub(in crate::store) fn sweep(&mut self) {
        if self.hints.wanted || self.hints.sweep.is_some() {
            self.go_on_sweeping();
        }
    }

    fn go_on_sweeping(&mut self) {
        if std::mem::take(&mut self.hints.wanted) {
            self.hints.sweep = Some(Sweep::of(&self.version));
        }
        let Some(sweep) = &mut self.hints.sweep else { return };
        if sweep.step(&self.cache, &self.hints.told) {
            // Nothing else may come, and the next checkpoint would wait for it.
            return self.inbox.ring();
        }
        self.hints.next = self.hints.sweep.take().and_then(Sweep::into_next);
    }
}
