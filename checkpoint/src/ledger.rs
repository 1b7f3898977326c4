//! The ledger: contiguous numbered objects, each written once by conditional create. It is the only truth about
//! which checkpoints there are and who may add one (design D13).
//!
//! ```text
//! ledger/…07 Complete 5 ─ ledger/…08 Complete 6 ─ ledger/…09 Claim ─ ledger/…10 Complete 7 ─ …
//!            └── incarnation 1 ────────────────┘ └── incarnation 2 ────────────────────────
//! ```
//!
//! A new attempt claims the number after the highest; a running one completes a checkpoint at the number after
//! its own last entry. Both are the same name when an old attempt is still alive, and a name is created once: so
//! the old attempt (the zombie) finds the claim where its checkpoint should go, and stops.
//!
//! **Invariants**
//! - *Writers append*: an entry is created only at the number after an entry that its writer wrote or read as the
//!   highest. Every entry names the checkpoints retained after it, so the highest alone says what counts.
//! - *Origins are alone*: a root that is begun from a checkpoint of another root is empty before, or was begun from that
//!   very checkpoint and has completed none since. Its claims name the origin until then, and their incarnations are above
//!   all of the origin's, so that no file of it has a name that the own attempts give. A name of the origin's may be written
//!   behind any of those claims, again by each attempt; so until there is a checkpoint only who begins from the origin too, and
//!   holds what that names, deletes such.
//! - *Claims stay*: what follows a writer's last entry is another's claim or nothing, and a claim is never
//!   deleted; so a zombie meets it however long it slept. (Deleting claims too was tried: a zombie could then write
//!   where the claim had been, and the next zombie took that for its own undisturbed past.) The price is one small
//!   object an attempt, and a page of the listing at the start for every thousand attempts.
//! - *Checkpoints go*: a completed entry that is no longer retained is listed as dropped, and deleted; the highest
//!   is always retained or a claim. A claimant that read the ledger before such a deletion can create its claim
//!   where the checkpoint had been; so a claim counts only if a later listing shows nothing above it.
//! - *So may a last checkpoint's number be free again*: a writer whose create was done without its knowledge may be
//!   taken over, and its entry dropped, before it creates that number once more. Its successor's claim is right above
//!   then; so its writer goes on from a completed entry only if a later read shows nothing there, also from one that was
//!   in doubt and is met again. (The simulation found both.)
//!
//! **Threads**: futures run on the I/O runtime, one append at a time.
//!
//! **Failure**: `Fenced` if another incarnation owns the ledger. After `Unavailable` an append is in doubt: the
//! entry may be there, or may still arrive.
use alluvium_env::{Error, HashSet, Result};
use alluvium_state_api::CheckpointId;
use futures_util::TryStreamExt;

use crate::metadata::CheckpointMetadata;
use crate::objects::{Creation, Objects};
use crate::origin::OriginRecord;
use crate::prospect::{Check, Prospect};
use crate::retained::by_id;
use crate::savepoint::not_empty;
use crate::{probe, wire};

/// The folder of the ledger.
pub(crate) const FOLDER: &str = "ledger";
/// Digits of a number in a name: enough for any `u64`, so that names sort as numbers.
const DIGITS: usize = 20;
/// How often a claim starts over because a running job moved the ledger meanwhile.
pub(crate) const CLAIM_ATTEMPTS: usize = 16;

/// The object of an entry.
pub(crate) fn name_of(sequence: u64) -> String {
    format!("{FOLDER}/{sequence:0DIGITS$}")
}

/// The entry of an object, `None` if the object is none of the ledger's.
fn sequence_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let all_digits = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}

/// What a local folder's store leaves of an entry whose write was cut off, as it shows them: `{entry}#{number}`. And what a
/// probe leaves that was.
fn is_leftover(name: &str) -> bool {
    if probe::is_one(name) {
        return true;
    }
    name.split_once('#').is_some_and(|(entry, number)| {
        sequence_of(entry).is_some() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Who wrote an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    /// The attempt.
    pub(crate) incarnation: u64,
    /// Random: tells apart two attempts that claim the same incarnation at the same moment.
    pub(crate) token: u64,
}

/// One object of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) writer: Writer,
    /// The checkpoints that count after this entry, as entries, oldest first.
    pub(crate) retained: Vec<u64>,
    /// The entries that are to be deleted, and may be already.
    pub(crate) dropped: Vec<u64>,
    /// Of a claim: the checkpoint of another root that the state is begun from, as long as it has none of its own.
    pub(crate) origin: Option<OriginRecord>,
    pub(crate) kind: EntryKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EntryKind {
    Claim,
    Complete(Box<CheckpointMetadata>),
}

impl Entry {
    pub(crate) fn checkpoint(&self) -> Option<CheckpointId> {
        match &self.kind {
            EntryKind::Claim => None,
            EntryKind::Complete(metadata) => Some(metadata.id),
        }
    }

    /// Whether both are the same write, of which one may be a retry.
    fn is_same_write(&self, other: &Self) -> bool {
        (self.sequence, self.writer, self.checkpoint()) == (other.sequence, other.writer, other.checkpoint())
    }
}

/// What an append found out.
#[derive(Debug)]
pub(crate) enum Appended {
    /// The entry is in the ledger; its object has this size.
    Ours(u64),
    /// Another entry has its number.
    Taken(Box<Entry>),
}

/// How a claimant begins.
#[derive(Clone, Debug)]
pub(crate) enum Begin {
    /// With what the ledger retains.
    Here,
    /// With a checkpoint of another root.
    From(OriginRecord),
    /// With what the ledger retains, but for these, as far as they are retained.
    Without(Vec<CheckpointId>),
    /// With what the ledger retains. What the state is begun from is given up: nobody begins it from there again.
    Abandoning,
}

/// A checkpoint that was looked at, and how another root names it.
pub(crate) struct Looked {
    pub(crate) metadata: CheckpointMetadata,
    pub(crate) origin: OriginRecord,
}

/// Who wrote last, and what counts.
#[derive(Default)]
pub(crate) struct Survey {
    /// `None` where there is no state.
    pub(crate) last: Option<Writer>,
    /// The retained checkpoints, oldest first.
    pub(crate) retained: Vec<CheckpointMetadata>,
    /// Objects that do not count any more.
    pub(crate) gone: Vec<String>,
    /// What the state is begun from, as long as it has no checkpoint of its own.
    pub(crate) origin: Option<OriginRecord>,
}

/// What a claimant read, and its claim.
pub(crate) struct Claimed {
    pub(crate) claim: Entry,
    /// The retained checkpoints with their entries' numbers, oldest first.
    pub(crate) retained: Vec<(u64, CheckpointMetadata)>,
    /// What writes of former attempts that were cut off have left.
    pub(crate) leftovers: Vec<String>,
}

/// The ledger as one starting claimant sees it.
#[derive(Default)]
struct View {
    highest: Option<Entry>,
    retained: Vec<(u64, CheckpointMetadata)>,
    dropped: Vec<u64>,
    leftovers: Vec<String>,
}

impl View {
    /// What the state is begun from, as long as it has no checkpoint of its own.
    fn origin(&self) -> Option<OriginRecord> {
        let known = self.highest.as_ref().and_then(|highest| highest.origin.clone());
        known.filter(|_| self.retained.is_empty())
    }
}

/// The ledger of one state URL.
#[derive(Clone)]
pub(crate) struct Ledger {
    objects: Objects,
}

impl Ledger {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects }
    }

    /// Reads the ledger and takes it over.
    ///
    /// # Errors
    /// As [`Ledger::claim_checked`].
    pub(crate) async fn claim(&self, token: u64, begin: &Begin) -> Result<Claimed> {
        self.claim_checked(token, begin, &mut |_| Ok(())).await
    }

    /// Reads the ledger, has what it retains checked, and takes just that over.
    ///
    /// # Errors
    /// What `check` says, `Corruption` or `Invalid` if an entry that counts cannot be read, or it cannot begin so: nothing is
    /// written then. `Fenced` if another attempt claims at this very moment, `Unavailable` from the store.
    pub(crate) async fn claim_checked(&self, token: u64, begin: &Begin, check: Check<'_>) -> Result<Claimed> {
        let mut predecessor: Option<u64> = None;
        for _ in 0..CLAIM_ATTEMPTS {
            let Some(view) = self.view().await? else { continue };
            let (last, incarnation) =
                view.highest.as_ref().map_or((0, 0), |entry| (entry.sequence, entry.writer.incarnation));
            // Whom this attempt takes over is settled at its first look. A later incarnation is a competitor's.
            let expected = *predecessor.get_or_insert(incarnation);
            if let Some(other) =
                view.highest.as_ref().filter(|h| h.writer.incarnation > expected && h.writer.token != token)
            {
                return Err(self.fenced_by(other, expected + 1));
            }
            let claim =
                self.next_claim((last + 1, Writer { incarnation: incarnation + 1, token }), &view, begin)?;
            let writer = claim.writer;
            let begun_from = claim.origin.as_ref().map(ToString::to_string);
            check(&Prospect { retained: &view.retained, origin: None, begun_from })?;
            match self.append(&claim).await? {
                Appended::Ours(_) => {
                    if self.is_highest(claim.sequence).await? {
                        let View { retained, leftovers, .. } = view;
                        return Ok(Claimed { claim, retained, leftovers });
                    }
                }
                Appended::Taken(other) => {
                    if other.writer.incarnation > expected {
                        return Err(self.fenced_by(&other, writer.incarnation));
                    }
                }
            }
        }
        let store = self.objects.store_name();
        Err(Error::unavailable(format!(
            "the ledger in {store} grows faster than it can be claimed: stop the running job"
        )))
    }

    /// Whether a claim could begin so.
    ///
    /// # Errors
    /// As [`Ledger::claim_checked`].
    pub(crate) async fn can_begin(&self, begin: &Begin) -> Result<()> {
        for _ in 0..CLAIM_ATTEMPTS {
            let Some(view) = self.view().await? else { continue };
            return self.next_claim((0, Writer { incarnation: 0, token: 0 }), &view, begin).map(|_| ());
        }
        Err(self.too_fast())
    }

    /// The claim that would begin so.
    fn next_claim(&self, (sequence, mut writer): (u64, Writer), view: &View, begin: &Begin) -> Result<Entry> {
        let store = || self.objects.store_name();
        let mut retained: Vec<u64> = view.retained.iter().map(|(sequence, _)| *sequence).collect();
        let mut dropped = view.dropped.clone();
        let mut origin = view.origin();
        match begin {
            Begin::Here => {}
            Begin::From(from) => {
                match &origin {
                    _ if view.highest.is_none() => {}
                    Some(known) if known.is_same(from) => {}
                    Some(known) => {
                        return Err(not_empty(&store(), &format!("was begun from {known}, not from {from}")));
                    }
                    None => return Err(not_empty(&store(), "holds a state of its own already")),
                }
                writer.incarnation = writer.incarnation.max(from.last_incarnation + 1);
                origin = Some(from.clone());
            }
            Begin::Without(ids) => {
                let gone = view.retained.iter().filter(|(_, checkpoint)| ids.contains(&checkpoint.id));
                dropped.extend(gone.map(|(sequence, _)| *sequence));
                retained.retain(|sequence| !dropped.contains(sequence));
            }
            Begin::Abandoning => origin = None,
        }
        Ok(Entry { sequence, writer, retained, dropped, origin, kind: EntryKind::Claim })
    }

    /// Reads a checkpoint, or the latest, and takes nothing over.
    ///
    /// # Errors
    /// As [`Ledger::look`]; `Invalid` if it is not retained.
    pub(crate) async fn look_at(&self, id: Option<CheckpointId>, url: &str) -> Result<Looked> {
        for _ in 0..CLAIM_ATTEMPTS {
            let Some(view) = self.view().await? else { continue };
            if let Some(id) = id {
                let all = view.retained.iter().map(|(_, checkpoint)| checkpoint);
                by_id(all, id).map_err(|error| error.context(url.to_owned()))?;
            }
            let chosen = |(_, one): &&(u64, CheckpointMetadata)| id.is_none_or(|id| one.id == id);
            let (sequence, metadata) = (view.retained.iter().rfind(chosen))
                .ok_or_else(|| Error::invalid(format!("there is no checkpoint in {url}")))?;
            let Some(Entry { writer, .. }) = self.read(*sequence).await? else { continue };
            let last_incarnation =
                view.highest.map_or(writer.incarnation, |highest| highest.writer.incarnation);
            let origin = OriginRecord {
                url: url.to_owned(),
                checkpoint: metadata.id,
                incarnation: writer.incarnation,
                token: writer.token,
                last_incarnation,
            };
            return Ok(Looked { metadata: metadata.clone(), origin });
        }
        Err(self.too_fast())
    }

    /// Reads the checkpoints that count, oldest first, and takes nothing over.
    ///
    /// # Errors
    /// `Corruption` or `Invalid` if an entry that counts cannot be read, `Unavailable` from the store.
    pub(crate) async fn look(&self) -> Result<Vec<CheckpointMetadata>> {
        Ok(self.survey().await?.retained)
    }

    /// Reads who wrote last, the checkpoints that count, and which objects do not any more; takes nothing over.
    ///
    /// # Errors
    /// As [`Ledger::look`].
    pub(crate) async fn survey(&self) -> Result<Survey> {
        for _ in 0..CLAIM_ATTEMPTS {
            if let Some(view) = self.view().await? {
                let origin = view.origin();
                let View { highest, retained, dropped, leftovers } = view;
                let last = highest.map(|entry| entry.writer);
                let retained = retained.into_iter().map(|(_, checkpoint)| checkpoint).collect();
                let gone = dropped.into_iter().map(name_of).chain(leftovers).collect();
                return Ok(Survey { last, retained, gone, origin });
            }
        }
        Err(self.too_fast())
    }

    fn too_fast(&self) -> Error {
        let store = self.objects.store_name();
        Error::unavailable(format!("the ledger in {store} changes faster than it can be read; ask again"))
    }

    /// The error of a job that found another's entry where its own should go.
    pub(crate) fn fenced_by(&self, other: &Entry, incarnation: u64) -> Error {
        let (store, winner) = (self.objects.store_name(), other.writer.incarnation);
        Error::fenced(format!(
            "another job (incarnation {winner}) took over the state in {store}; this one (incarnation {incarnation}) \
             stops"
        ))
    }

    /// Creates an entry; whoever has its number already, this very write included, is read back.
    ///
    /// # Errors
    /// `Unavailable` or `Invalid` from the store, `Corruption` if another's entry cannot be read. The entry is in
    /// doubt then.
    pub(crate) async fn append(&self, entry: &Entry) -> Result<Appended> {
        let bytes = wire::encode(entry);
        let size_bytes = bytes.len() as u64;
        let doubt = match self.objects.create(&name_of(entry.sequence), bytes).await {
            Ok(Creation::Created) => return self.not_behind_a_claim(entry, size_bytes).await,
            Ok(Creation::Exists) => None,
            Err(error) => Some(error),
        };
        let found = match (self.read(entry.sequence).await, doubt) {
            (Ok(Some(found)), _) => found,
            (_, Some(doubt)) => return Err(doubt),
            (Err(error), None) => return Err(error),
            (Ok(None), None) => {
                let (name, store) = (name_of(entry.sequence), self.objects.store_name());
                return Err(Error::unavailable(format!("{name} in {store} is being written by another job")));
            }
        };
        if found.writer != entry.writer {
            return Ok(Appended::Taken(Box::new(found)));
        }
        // An earlier write of this writer's that was in doubt counts no sooner than this one would.
        match self.not_behind_a_claim(entry, size_bytes).await? {
            Appended::Ours(_) if !found.is_same_write(entry) => Ok(Appended::Taken(Box::new(found))),
            appended => Ok(appended),
        }
    }

    /// What a create has done: an entry that is behind a successor's claim is none.
    ///
    /// # Errors
    /// `Unavailable` or `Invalid` from the store, `Corruption` if the entry above cannot be read: it is in doubt then.
    async fn not_behind_a_claim(&self, entry: &Entry, size_bytes: u64) -> Result<Appended> {
        if entry.kind == EntryKind::Claim {
            // Listed for, by the claimant.
            return Ok(Appended::Ours(size_bytes));
        }
        // The entry stays in either case: the successor may have read it before it claimed, and retain it.
        let above = self.read(entry.sequence + 1).await?;
        Ok(above.map_or(Appended::Ours(size_bytes), |above| Appended::Taken(Box::new(above))))
    }

    async fn read(&self, sequence: u64) -> Result<Option<Entry>> {
        let bytes = self.objects.read(&name_of(sequence)).await?;
        bytes.map(|bytes| wire::decode(sequence, &bytes)).transpose()
    }

    async fn is_highest(&self, sequence: u64) -> Result<bool> {
        let mut above = self.objects.list_after(FOLDER, &name_of(sequence));
        while let Some(name) = above.try_next().await? {
            if sequence_of(&name).is_some_and(|other| other > sequence) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads what counts, `None` if it changed meanwhile. A retained entry that is not listed was moved away by
    /// hand, and is no longer retained.
    async fn view(&self) -> Result<Option<View>> {
        let names: Vec<String> = self.objects.list(FOLDER).try_collect().await?;
        let listed: HashSet<u64> = names.iter().filter_map(|name| sequence_of(name)).collect();
        let leftovers: Vec<String> = names.into_iter().filter(|name| is_leftover(name)).collect();
        let Some(last) = listed.iter().max() else {
            return Ok(Some(View { leftovers, ..View::default() }));
        };
        let Some(highest) = self.read(*last).await? else { return Ok(None) };
        let mut retained = Vec::new();
        for sequence in highest.retained.iter().filter(|sequence| listed.contains(*sequence)) {
            let entry = if *sequence == *last { Some(highest.clone()) } else { self.read(*sequence).await? };
            match entry {
                None => return Ok(None),
                Some(Entry { kind: EntryKind::Complete(metadata), .. }) => {
                    retained.push((*sequence, *metadata));
                }
                Some(Entry { kind: EntryKind::Claim, .. }) => {
                    return Err(wire::not_a_checkpoint(*sequence));
                }
            }
        }
        let dropped = highest.dropped.iter().copied().filter(|sequence| listed.contains(sequence)).collect();
        Ok(Some(View { highest: Some(highest), retained, dropped, leftovers }))
    }
}

#[cfg(test)]
pub(crate) mod tests;
