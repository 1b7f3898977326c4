//! Which tables a manifest describes in pages, and which itself (RFC 0006).
//!
//! ```text
//!   version:   t1 t2 t3 t4 … t255 t256 │ t257 … t511 │ t512 t513            a checkpoint's manifest
//!   page 1:    t1 t2 t3 t4 … t255 t256                                ─►    page 1, where its tables stand
//!   page 2:                              t257 … t511                  ─►    page 2, where its tables stand
//!   itself:                                            t512 t513      ─►    t512, t513
//! ```
//!
//! A table that a compaction has clipped is another table. One that only moved to another level or run stays where it is
//! described: the manifest says of each page where its tables stand, which are gone, and nothing else.
//!
//! **Invariants**: what a page names is held as long as the page is, also what is gone of it: so that a checkpoint that
//! names the page depends on nothing that could be missing. Pages of which too much is gone are given up, so what is held for
//! nothing stays a small part. A page is known to the store once its upload has succeeded, and not before; or because it was
//! opened from it and took over whole what stands in it, which the page then describes as well as any that is written anew.
//!
//! A page that one plan drops is never named again: whoever owns it may have deleted it by then.
//!
//! **Threads**: on the I/O runtime, within uploads of snapshots. Several may be under way, and none waits for what another writes: each
//! plans under the lock, with what the plans before it have left, and writes what it knows no page for; and the pages of the one that
//! began last are those that the next one goes on with.
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use alluvium_env::{HashMap, HashSet, Result};
use bytes::Bytes;
use futures_util::future::try_join_all;

use crate::key_range::KeyRange;
use crate::naming::Naming;
use crate::store::deltas::pack::Uploader;
use crate::store::manifest::page::PageContent;
use crate::store::manifest::records::ValueList;
use crate::store::manifest::{PageRecord, StretchRecord, TableRecord};
use crate::store::snapshot::SnapshotFile;
use crate::table::{Held, TableFile, Which};
use crate::version::Version;

/// A page holds up to this part of the tables from which on there are pages.
const PAGES: usize = 4;
/// And a manifest describes up to this part of them itself.
const INLINE: usize = 16;
/// A page is given up when more than this part of its tables is gone: what they take is stored for nothing.
const GONE: usize = 8;

/// A table, with its level and run.
pub(in crate::store) type Placed = ((usize, usize), Arc<TableFile>);

/// Tells tables apart.
fn identity(which: *const Which) -> usize {
    which.addr()
}

/// All tables of a version as a manifest lists them: by run, in key order.
pub(in crate::store) fn placed(version: &Version) -> impl Iterator<Item = Placed> + '_ {
    let level0 = version
        .level0
        .iter()
        .enumerate()
        .flat_map(|(run, files)| files.iter().map(move |file| ((0, run), Arc::clone(file))));
    let deeper = version.files().filter(|(level, _)| *level > 0);
    level0.chain(deeper.map(|(level, file)| ((level, 0), Arc::clone(file))))
}

/// A page that was written, here or by the store that this one was opened from.
#[derive(Debug)]
pub struct SnapshotPage {
    object: Held,
    size_bytes: u64,
    /// What it names.
    files: Vec<(Held, u64)>,
    files_bytes: u64,
    /// In their order. Weak: a table that is gone is seen to be; and another one never gets the address of one that is remembered so.
    tables: Vec<Weak<Which>>,
    keys: KeyRange,
}

impl SnapshotPage {
    /// Its object.
    pub fn object(&self) -> SnapshotFile {
        SnapshotFile { name: self.object.name().to_owned(), size_bytes: self.size_bytes }
    }

    /// Every object that it names, with its size; one twice, if two of its tables are clips of it.
    pub fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        self.files.iter().map(|(held, size_bytes)| (held.name(), *size_bytes))
    }

    /// How many those are, and their bytes.
    pub fn totals(&self) -> (u64, u64) {
        (self.files.len() as u64, self.files_bytes)
    }

    fn identities(&self) -> impl Iterator<Item = usize> {
        self.tables.iter().map(|table| identity(table.as_ptr()))
    }

    /// Writes one that describes these tables.
    async fn write(tables: &[Placed], uploader: &Uploader) -> Result<Arc<Self>> {
        let mut values = ValueList::default();
        let records: Vec<_> =
            tables.iter().map(|(place, table)| TableRecord::of(*place, table, &mut values)).collect();
        let content = PageContent { tables: records, value_files: values.records() };
        let files = held(&content, &uploader.naming);
        let mut keys = tables.first().map(|(_, table)| table.keys().clone()).unwrap_or_default();
        for (_, table) in tables {
            keys.extend(table.keys());
        }
        let (object, bytes): (_, Bytes) = (uploader.naming.hold("page"), content.encode());
        let size_bytes = bytes.len() as u64;
        uploader.fetcher.write(object.name(), vec![bytes]).await?;
        let tables = tables.iter().map(|(_, table)| Arc::downgrade(table.which())).collect();
        Ok(Arc::new(Self::new(object, size_bytes, files, (tables, keys))))
    }

    fn new(
        object: Held,
        size_bytes: u64,
        files: Vec<(Held, u64)>,
        (tables, keys): (Vec<Weak<Which>>, KeyRange),
    ) -> Self {
        let files_bytes = files.iter().map(|(_, size_bytes)| size_bytes).sum();
        Self { object, size_bytes, files, files_bytes, tables, keys }
    }
}

/// Every object that a page names, held.
fn held(page: &PageContent, naming: &Naming) -> Vec<(Held, u64)> {
    page.files().map(|(name, size_bytes)| (naming.hold_existing(name), size_bytes)).collect()
}

/// A page that a store is opened from, as its tables are taken over.
pub(in crate::store) struct RestoredPage {
    page: SnapshotPage,
    /// Whether each was, of those that stand.
    whole: bool,
}

impl RestoredPage {
    /// Holds what it names, also what is gone of it.
    pub(in crate::store) fn new(record: &PageRecord, content: &PageContent, naming: &Naming) -> Self {
        let object = naming.hold_existing(&record.name);
        let (tables, keys) = (Vec::new(), KeyRange::new(&record.start, &record.end));
        let page = SnapshotPage::new(object, record.size_bytes, held(content, naming), (tables, keys));
        Self { page, whole: true }
    }

    /// The next of its tables is gone.
    pub(in crate::store) fn gone(&mut self) {
        self.page.tables.push(Weak::new());
    }

    /// The next of its tables stands: as it was, or clipped.
    pub(in crate::store) fn stands(&mut self, table: Option<&Arc<TableFile>>, whole: bool) {
        self.whole &= whole;
        self.page.tables.push(table.map_or_else(Weak::new, |table| Arc::downgrade(table.which())));
    }

    /// The page, if it describes what the store has.
    pub(in crate::store) fn adopted(self) -> Option<Arc<SnapshotPage>> {
        self.whole.then(|| Arc::new(self.page))
    }
}

/// Where a manifest describes the tables of a version.
#[derive(Default)]
pub(in crate::store) struct Layout {
    pub(in crate::store) pages: Vec<(Arc<SnapshotPage>, PageRecord)>,
    /// What is in no page.
    pub(in crate::store) inline: Vec<Placed>,
}

/// The pages of one store.
pub(in crate::store) struct Paging {
    /// From so many tables on there are pages.
    from_tables: usize,
    known: Mutex<Known>,
}

/// Pages that are there.
#[derive(Default)]
struct Known {
    /// Without those that any plan has dropped.
    pages: Vec<Arc<SnapshotPage>>,
    /// Uploads that have begun, and which of them these are of.
    begun: u64,
    of: u64,
}

impl Paging {
    pub(in crate::store) fn new(from_tables: usize) -> Self {
        Self { from_tables, known: Mutex::default() }
    }

    /// Goes on with pages of the store that this one is opened from, if it has as many tables as takes.
    pub(in crate::store) fn adopt(&self, pages: Vec<Arc<SnapshotPage>>, version: &Version) {
        if placed(version).count() >= self.from_tables {
            self.lock().pages = pages;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do about these tables, and a number to end with. What is not kept is unknown from now on, also if this fails.
    fn begin(&self, tables: Vec<Placed>, places: &HashMap<usize, (usize, usize)>) -> (Plan, u64) {
        let mut known = self.lock();
        known.begun += 1;
        let number = known.begun;
        let plan = self.plan(&known.pages, tables, places);
        let before = std::mem::replace(&mut known.pages, plan.kept.clone());
        // What is given up is released without the lock.
        drop(known);
        drop(before);
        (plan, number)
    }

    /// The next one begins with what was kept and no plan has dropped since, and with what was written; unless one that began
    /// later has ended before.
    fn end(&self, mut kept: Vec<Arc<SnapshotPage>>, written: &[Arc<SnapshotPage>], of: u64) {
        let mut known = self.lock();
        if known.of < of {
            known.of = of;
            kept.retain(|page| known.pages.iter().any(|known| Arc::ptr_eq(known, page)));
            kept.extend_from_slice(written);
            std::mem::swap(&mut known.pages, &mut kept);
        }
        // As above.
        drop(known);
    }

    /// Says where a version's tables are described, and writes the pages that are missing for it; returns their bytes.
    ///
    /// # Errors
    /// `Unavailable` if the store did not take a page. The next snapshot writes it again.
    pub(in crate::store) async fn lay_out(
        &self,
        version: &Version,
        uploader: &Uploader,
    ) -> Result<(Layout, u64)> {
        let tables: Vec<Placed> = placed(version).collect();
        let place = |(place, table): &Placed| (identity(Arc::as_ptr(table.which())), *place);
        let is_paged = tables.len() >= self.from_tables;
        let places: HashMap<usize, (usize, usize)> =
            if is_paged { tables.iter().map(place).collect() } else { HashMap::default() };
        let (Plan { mut kept, fresh, inline }, number) = self.begin(tables, &places);
        let written = try_join_all(fresh.iter().map(|tables| SnapshotPage::write(tables, uploader))).await?;
        let bytes = written.iter().map(|page| page.size_bytes).sum();
        self.end(kept.clone(), &written, number);
        kept.extend(written);
        let record = |page: Arc<SnapshotPage>| {
            let record = record_of(&page, &places);
            (page, record)
        };
        Ok((Layout { pages: kept.into_iter().map(record).collect(), inline }, bytes))
    }

    fn plan(
        &self,
        known: &[Arc<SnapshotPage>],
        tables: Vec<Placed>,
        places: &HashMap<usize, (usize, usize)>,
    ) -> Plan {
        if tables.len() < self.from_tables {
            return Plan { kept: Vec::new(), fresh: Vec::new(), inline: tables };
        }
        let most = (self.from_tables / PAGES).max(1);
        let living = |page: &SnapshotPage| page.identities().filter(|id| places.contains_key(id)).count();
        let is_sound =
            |page: &Arc<SnapshotPage>, living| (page.tables.len() - living) * GONE <= page.tables.len();
        let mut kept: Vec<(Arc<SnapshotPage>, usize)> = known
            .iter()
            .map(|page| (Arc::clone(page), living(page)))
            .filter(|(page, living)| *living > 0 && is_sound(page, *living))
            .collect();
        let described: usize = kept.iter().map(|(_, living)| living).sum();
        let is_due = tables.len() - described > self.from_tables / INLINE;
        if is_due {
            // Small ones join what is written now, or there would be more of them every time.
            kept.retain(|(_, living)| *living * 2 > most);
        }
        let kept: Vec<_> = kept.into_iter().map(|(page, _)| page).collect();
        let described: HashSet<usize> = kept.iter().flat_map(|page| page.identities()).collect();
        let mut inline: Vec<Placed> = tables
            .into_iter()
            .filter(|(_, t)| !described.contains(&identity(Arc::as_ptr(t.which()))))
            .collect();
        let mut fresh = Vec::new();
        while is_due && inline.len() > self.from_tables / INLINE {
            let rest = inline.split_off(inline.len().min(most));
            fresh.push(std::mem::replace(&mut inline, rest));
        }
        Plan { kept, fresh, inline }
    }
}

/// Which pages go on, which tables get one, and which stay in the manifest.
struct Plan {
    kept: Vec<Arc<SnapshotPage>>,
    fresh: Vec<Vec<Placed>>,
    inline: Vec<Placed>,
}

fn record_of(page: &SnapshotPage, places: &HashMap<usize, (usize, usize)>) -> PageRecord {
    let mut stretches: Vec<StretchRecord> = Vec::new();
    for place in page.identities().map(|id| places.get(&id)) {
        let (level, run) = place.copied().unwrap_or_default();
        let next = StretchRecord { tables: 1, level: level as u32, run: run as u32, gone: place.is_none() };
        match stretches.last_mut() {
            Some(last) if StretchRecord { tables: 1, ..*last } == next => last.tables += 1,
            _ => stretches.push(next),
        }
    }
    PageRecord {
        name: page.object.name().to_owned(),
        size_bytes: page.size_bytes,
        start: page.keys.start.clone(),
        end: page.keys.end.clone(),
        stretches,
    }
}

/// Every object that a layout's pages need, themselves included.
pub(in crate::store) fn objects(layout: &Layout) -> impl Iterator<Item = SnapshotFile> + '_ {
    layout.pages.iter().flat_map(|(page, _)| {
        let files = page.files().map(|(name, size_bytes)| SnapshotFile { name: name.to_owned(), size_bytes });
        iter::once(page.object()).chain(files)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::KeepAll;

    #[test]
    fn a_page_that_one_plan_drops_does_not_come_back_at_the_end_of_another() {
        let naming = Naming::new("state/1/0".to_owned(), Arc::new(KeepAll));
        let page = || {
            let described = (Vec::new(), KeyRange::default());
            Arc::new(SnapshotPage::new(naming.hold("page"), 0, Vec::new(), described))
        };
        let (stays, dropped, written) = (page(), page(), page());
        let paging = Paging::new(1);
        // Two are under way, of which the second one dropped a page of the first.
        *paging.lock() = Known { pages: vec![Arc::clone(&stays)], begun: 2, of: 0 };
        paging.end(vec![Arc::clone(&stays), dropped], &[Arc::clone(&written)], 1);
        let known = std::mem::take(&mut paging.lock().pages);
        let names: Vec<_> = known.iter().map(|page| page.object().name).collect();
        assert_eq!(names, [stays, written].map(|page| page.object().name));
    }
}
