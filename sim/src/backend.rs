//! A model of a backend: a log whose sealed parts are uploaded as deltas, and tables that compactions make of them.
//!
//! It does with files what `forst` does (`forst/src/store/deltas/mod.rs`): a file is held before it is written; a delta whose
//! upload is not known to have succeeded is written again under another name; a restore refers to files with a clip; a
//! compaction releases its inputs. A paged one has a page for what was there when it wrote it, and names that page as long as any
//! of it still counts; a restore takes pages over of which nothing is clipped.
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use alluvium_checkpoint::SharedFileRegistry;
use alluvium_state_api::{FileOwnership, FileRef, KeyGroupRange, ManifestPage};
use bytes::Bytes;

use crate::job::{Counts, GROUPS, decode, encode};
use crate::page::Page;

/// A file, and the key groups of it that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) clip: KeyGroupRange,
}

impl Part {
    /// What a file with this content adds.
    pub(crate) fn counted(&self, content: &[u8]) -> Vec<(u16, u64)> {
        let within = |group: u16| (self.clip.start..self.clip.end).contains(&group);
        (0..GROUPS).zip(decode(content)).filter(|(group, _)| within(*group)).collect()
    }
}

/// A page, and what it names.
pub(crate) struct DescribedPage {
    pub(crate) name: String,
    pub(crate) files: Vec<FileRef>,
}

/// What a snapshot says of its files: `name start end`, a line each; and of its pages: `page name file…`.
pub(crate) struct Description;

impl Description {
    pub(crate) fn encode(parts: &[Part], pages: &[Arc<Page>]) -> Bytes {
        let line = |part: &Part| format!("{} {} {}", part.name, part.clip.start, part.clip.end);
        let page = |page: &Arc<Page>| {
            let mut line = format!("page {}", page.name());
            page.files(&mut |name, _| line.extend([" ", name]));
            line
        };
        let lines: Vec<String> = parts.iter().map(line).chain(pages.iter().map(page)).collect();
        lines.join("\n").into()
    }

    /// The pages that describe what is taken over of key groups as it is.
    pub(crate) fn whole_pages(payload: &[u8], key_groups: KeyGroupRange) -> Vec<DescribedPage> {
        let is_clipped = |part: &Part| part.clip.intersect(key_groups) != Some(part.clip);
        let clipped: Vec<Part> = Self::decode(payload).into_iter().filter(is_clipped).collect();
        let page = |line: &str| {
            let mut words = line.strip_prefix("page ")?.split(' ').map(str::to_owned);
            let (name, files) = (words.next()?, words.map(file).collect());
            Some(DescribedPage { name, files })
        };
        let text = String::from_utf8_lossy(payload);
        let is_whole = |page: &DescribedPage| {
            page.files.iter().all(|file| clipped.iter().all(|part| part.name != file.name))
        };
        text.lines().filter_map(page).filter(is_whole).collect()
    }

    pub(crate) fn decode(payload: &[u8]) -> Vec<Part> {
        let text = String::from_utf8_lossy(payload);
        let part = |line: &str| {
            let mut words = line.split(' ');
            let name = words.next()?.to_owned();
            let (start, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(Part { name, clip: KeyGroupRange { start, end } })
        };
        text.lines().filter_map(part).collect()
    }
}

/// A file that is held for as long as this lives.
pub(crate) struct Held {
    files: Arc<SharedFileRegistry>,
    pub(crate) name: String,
}

impl Held {
    pub(crate) fn new(files: &Arc<SharedFileRegistry>, name: String) -> Self {
        files.hold(&name);
        Self { files: Arc::clone(files), name }
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        Self::new(&self.files, self.name.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.files.release(&self.name);
    }
}

struct Delta {
    held: Held,
    /// Where in the log it ends.
    end: usize,
    uploaded: Rc<Cell<bool>>,
}

/// One subtask's state.
pub(crate) struct Backend {
    files: Arc<SharedFileRegistry>,
    key_groups: KeyGroupRange,
    /// `state/{incarnation}/{subtask}`.
    folder: String,
    written: u64,
    /// The key groups of records, in order.
    log: Vec<u16>,
    tables: Vec<(Held, KeyGroupRange)>,
    deltas: Vec<Delta>,
    paged: bool,
    pages: Vec<(Arc<Page>, Rc<Cell<bool>>)>,
}

/// A snapshot whose synchronous part is done.
pub(crate) struct Taken {
    pub(crate) parts: Vec<Part>,
    pub(crate) pins: Vec<Held>,
    pub(crate) pages: Vec<Arc<Page>>,
    /// What has to be uploaded for it, and where to say that it was.
    pub(crate) uploads: Vec<(String, Bytes, Rc<Cell<bool>>)>,
}

/// A compaction that is under way.
pub(crate) struct Compaction {
    pub(crate) inputs: Vec<Part>,
    pub(crate) output: Held,
    tables: usize,
    deltas: usize,
}

impl Backend {
    pub(crate) fn new(
        files: &Arc<SharedFileRegistry>,
        key_groups: KeyGroupRange,
        (folder, paged): (String, bool),
        (restored, described): (&[Part], Vec<DescribedPage>),
    ) -> Self {
        let tables = restored.iter().map(|part| (Held::new(files, part.name.clone()), part.clip)).collect();
        let taken_over = described.into_iter().map(|page| Page::adopt(files, page));
        let taken_over = taken_over.map(|page| (page, Rc::new(Cell::new(true)))).collect();
        let files = Arc::clone(files);
        let (log, deltas) = (Vec::new(), Vec::new());
        Self { files, key_groups, folder, written: 0, log, tables, deltas, paged, pages: taken_over }
    }

    pub(crate) fn add(&mut self, group: u16) {
        self.log.push(group);
    }

    fn name(&mut self, kind: &str) -> Held {
        self.written += 1;
        Held::new(&self.files, format!("{}/{}.{kind}", self.folder, self.written))
    }

    fn parts(&self) -> Vec<Part> {
        let tables = self.tables.iter().map(|(held, clip)| Part { name: held.name.clone(), clip: *clip });
        let deltas = self.deltas.iter();
        tables
            .chain(deltas.map(|delta| Part { name: delta.held.name.clone(), clip: self.key_groups }))
            .collect()
    }

    /// Fixes the state of this moment.
    pub(crate) fn snapshot(&mut self) -> Taken {
        let sound = self.deltas.iter().take_while(|delta| delta.uploaded.get()).count();
        self.deltas.truncate(sound);
        let from = self.deltas.last().map_or(0, |delta| delta.end);
        let mut uploads: Vec<_> = self.turn_page().into_iter().collect();
        if self.log.len() > from {
            let mut counts = Counts::default();
            for group in self.log.iter().skip(from) {
                crate::job::add(&mut counts, *group, 1);
            }
            let (held, end, uploaded) = (self.name("delta"), self.log.len(), Rc::new(Cell::new(false)));
            uploads.push((held.name.clone(), encode(counts), Rc::clone(&uploaded)));
            self.deltas.push(Delta { held, end, uploaded });
        }
        let tables = self.tables.iter().map(|(held, _)| held.clone());
        let pins = tables.chain(self.deltas.iter().map(|delta| delta.held.clone())).collect();
        let pages = self.pages.iter().map(|(page, _)| Arc::clone(page)).collect();
        Taken { parts: self.parts(), pins, pages, uploads }
    }

    /// Begins another page, if it has any and nothing of the last ones counts or those were not uploaded.
    fn turn_page(&mut self) -> Option<(String, Bytes, Rc<Cell<bool>>)> {
        let parts = self.parts();
        let counts = |page: &Page| parts.iter().any(|part| page.names(&part.name));
        self.pages.retain(|(page, uploaded)| uploaded.get() && counts(page));
        if !self.pages.is_empty() || !self.paged || parts.is_empty() {
            return None;
        }
        let (object, uploaded) = (self.name("page"), Rc::new(Cell::new(false)));
        let (page, content) = Page::of(&self.files, object, &refs(&parts));
        let name = page.name().to_owned();
        self.pages.push((page, Rc::clone(&uploaded)));
        Some((name, content, uploaded))
    }

    /// What a compaction of all that is uploaded would read.
    pub(crate) fn begin_compaction(&mut self) -> Option<Compaction> {
        let deltas = self.deltas.iter().take_while(|delta| delta.uploaded.get()).count();
        let tables = self.tables.len();
        if tables + deltas < 2 {
            return None;
        }
        let inputs = self.parts().into_iter().take(tables + deltas).collect();
        Some(Compaction { inputs, output: self.name("table"), tables, deltas })
    }

    /// Installs a table that was written. Deltas that were written anew meanwhile follow the sound ones, so what it
    /// replaces is still there.
    pub(crate) fn end_compaction(&mut self, compaction: Compaction) {
        let Compaction { output, tables, deltas, .. } = compaction;
        self.tables.drain(..tables);
        let replaced: Vec<Delta> = self.deltas.drain(..deltas).collect();
        self.tables.push((output, self.key_groups));
        // The log begins behind what the table holds.
        let end = replaced.last().map_or(0, |delta| delta.end);
        self.log.drain(..end);
        for delta in &mut self.deltas {
            delta.end -= end;
        }
    }
}

/// What a snapshot names, as a checkpoint takes it.
pub(crate) fn refs(parts: &[Part]) -> Vec<FileRef> {
    parts.iter().map(|part| file(part.name.clone())).collect()
}

fn file(name: String) -> FileRef {
    FileRef { name, size_bytes: 8 * u64::from(GROUPS) }
}
