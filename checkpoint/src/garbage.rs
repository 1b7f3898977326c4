//! Garbage collection from outside a job: what no retained checkpoint names is found, shown and deleted.
//!
//! A job sweeps at its start what attempts before it left ([`crate::sweep`]). What the last attempt left stays until
//! somebody starts the job again; this is for when nobody does, or when somebody wants to know first.
//!
//! **Invariants**: what is deleted, nobody can come to need. [`Garbage::take_over`] claims the state as a starting job
//! does: from then on no earlier attempt completes a checkpoint, so of everything written before the claim only what
//! retained checkpoints name is ever read back. An attempt that still ran is fenced; it stops, it does not read wrong
//! bytes as right ones. [`Garbage::look`] claims and deletes nothing, and is right only if no job runs. One kind of name is
//! written after the claim again: what a state without a checkpoint brings from the one it is begun from ([`crate::Origin`]),
//! whoever begins it once more. Those are left to whoever does, and told of; [`Garbage::abandon`] takes them as well, since from its claim on
//! nobody can begin the state from there again.
//! Jobs for compactors go first: a compactor that sees its job gone deletes what it has written.
//!
//! **Failure**: a deletion that fails, or a crash between two, leaves orphans for the next time and nothing else.
use std::sync::Arc;

use alluvium_env::{Entropy, Error, HashSet, Result};
use futures_util::TryStreamExt;
use object_store::ObjectStore;

use crate::ledger::{Begin, Claimed, Ledger, Survey, name_of};
use crate::objects::{Objects, StoredObject, Undeleted};
use crate::origin::OriginRecord;
use crate::pages::PageReader;
use crate::probe;
use crate::survey::{named, survey};
use crate::sweep::{BULK, FOLDERS, incarnation_of};

/// Something that nobody needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its name below the root.
    pub name: String,
    /// Its size; 0 for entries of the ledger, which are not looked at.
    pub size_bytes: u64,
}

/// What was found, and what of it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageReport {
    /// Objects that nobody needs.
    pub orphans: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
    /// Those of them that were deleted.
    pub deleted: u64,
    /// Files that retained checkpoints name.
    pub named: u64,
    /// What may have been brought from the checkpoint that the state was begun from, as long as it has none of its own: objects that
    /// are no garbage, since whoever begins it again brings the same.
    pub brought: u64,
    /// Their bytes.
    pub brought_bytes: u64,
    /// That checkpoint, for a message.
    pub begun_from: Option<String>,
    /// What the store said of the last that could not be deleted.
    pub why_left: Option<String>,
}

/// The garbage below the root of a state URL.
pub struct Garbage {
    objects: Objects,
    named: HashSet<String>,
    /// Files of attempts up to this one are looked at,
    up_to: u64,
    /// but for those that this may name.
    origin: Option<OriginRecord>,
    /// Ledger objects that are to go.
    entries: Vec<String>,
    deletes: bool,
}

impl Garbage {
    /// For whoever wants to know: nothing is claimed, written or deleted.
    ///
    /// # Errors
    /// `Invalid` if there is no state, or a newer Alluvium wrote it; `Corruption` names the ledger object that is
    /// damaged, or a page of a retained checkpoint that is missing or damaged; `Unavailable` from the store, or if checkpoints
    /// come and go faster than their pages are read.
    pub async fn look(store: Arc<dyn ObjectStore>) -> Result<Self> {
        let objects = Objects::new(store);
        let (survey, named) = survey(&objects, &mut PageReader::over(&objects), &|_| true).await?;
        let Survey { last, gone: entries, origin, .. } = survey;
        let up_to = last.ok_or_else(|| no_state(&objects))?.incarnation;
        Ok(Self { named, objects, up_to, origin, entries, deletes: false })
    }

    /// For whoever wants it gone: takes the state over, so that a job that still runs on it stops.
    ///
    /// # Errors
    /// As [`Garbage::look`]; `Fenced` if an attempt starts at this very moment.
    pub async fn take_over(store: Arc<dyn ObjectStore>, entropy: &Entropy) -> Result<Self> {
        Self::claim(store, entropy, &Begin::Here).await
    }

    /// [`Garbage::take_over`], for whoever does not begin the state again either: if that was begun from another root's checkpoint and
    /// has none of its own, what was brought from there is garbage too. From then on it is a state like any without a checkpoint, and is
    /// not begun from there again.
    ///
    /// # Errors
    /// As [`Garbage::take_over`].
    pub async fn abandon(store: Arc<dyn ObjectStore>, entropy: &Entropy) -> Result<Self> {
        Self::claim(store, entropy, &Begin::Abandoning).await
    }

    async fn claim(store: Arc<dyn ObjectStore>, entropy: &Entropy, begin: &Begin) -> Result<Self> {
        let objects = Objects::new(store);
        let ledger = Ledger::new(objects.clone());
        // A page that cannot be read is found while nobody is fenced.
        let mut pages = PageReader::over(&objects);
        let (there, _) = survey(&objects, &mut pages, &|_| true).await?;
        there.last.ok_or_else(|| no_state(&objects))?;
        let Claimed { claim, retained, leftovers } = ledger.claim(entropy.next_u64(), begin).await?;
        probe::conditional_create(&objects, &claim).await?;
        let entries = claim.dropped.iter().copied().map(name_of).chain(leftovers).collect();
        let (up_to, origin) = (claim.writer.incarnation, claim.origin);
        let named = named(&mut pages, retained.iter().map(|(_, checkpoint)| checkpoint)).await?;
        Ok(Self { named, objects, up_to, origin, entries, deletes: true })
    }

    /// Goes through everything once, in bulks of bounded size; tells each orphan before it is deleted.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be listed to the end; what `each` says.
    pub async fn collect(mut self, each: &mut dyn FnMut(&Orphan) -> Result<()>) -> Result<GarbageReport> {
        let begun_from = self.origin.as_ref().map(ToString::to_string);
        let mut report =
            GarbageReport { named: self.named.len() as u64, begun_from, ..GarbageReport::default() };
        let entries = std::mem::take(&mut self.entries);
        let entries = entries.into_iter().map(|name| Orphan { name, size_bytes: 0 }).collect();
        self.bulk(entries, each, &mut report).await?;
        for folder in FOLDERS {
            let mut listing = self.objects.list_sized(folder);
            let mut orphans = Vec::new();
            while let Some(StoredObject { name, size_bytes }) = listing.try_next().await? {
                let former = incarnation_of(folder, &name).filter(|writer| *writer <= self.up_to);
                let Some(writer) = former.filter(|_| !self.named.contains(&name)) else { continue };
                if self.may_be_brought_again(writer) {
                    report.brought += 1;
                    report.brought_bytes += size_bytes;
                    continue;
                }
                orphans.push(Orphan { name, size_bytes });
                if orphans.len() >= BULK {
                    self.bulk(std::mem::take(&mut orphans), each, &mut report).await?;
                }
            }
            self.bulk(orphans, each, &mut report).await?;
        }
        Ok(report)
    }

    /// Whether what this attempt wrote can be written once more.
    fn may_be_brought_again(&self, writer: u64) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.can_name(writer))
    }

    async fn bulk(
        &self,
        orphans: Vec<Orphan>,
        each: &mut dyn FnMut(&Orphan) -> Result<()>,
        report: &mut GarbageReport,
    ) -> Result<()> {
        for orphan in &orphans {
            report.orphans += 1;
            report.orphan_bytes += orphan.size_bytes;
            each(orphan)?;
        }
        if self.deletes {
            let names: Vec<String> = orphans.into_iter().map(|orphan| orphan.name).collect();
            let total = names.len();
            let Undeleted { names: left, why } = self.objects.delete_all(names).await;
            report.deleted += (total - left.len()) as u64;
            report.why_left = why.map(|why| why.to_string()).or(report.why_left.take());
        }
        Ok(())
    }
}

fn no_state(objects: &Objects) -> Error {
    Error::invalid(format!("there is no state in {}: it has no ledger; check the URL", objects.store_name()))
}
