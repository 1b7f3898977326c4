//! What checkpoints of very large jobs cost: `cargo bench -p alluvium-checkpoint --bench scale [-- FILES SUBTASKS [inline|anew]]`.
//!
//! A store in memory, and subtasks that have as many tables as are asked for, each described by as many bytes as a table takes in a
//! manifest: by page, as stores of that size have it (RFC 0006), or all in the checkpoint's entry with `inline`. 3.1 million files are
//! 100 TB in tables of 32 MiB. Measured are the protocol's own costs: completing a checkpoint, the next one after some tables
//! changed, taking the state over, planning a restore, the first checkpoint after it, and the memory of all that, the store's
//! included. That one names the pages that were taken over, or with `anew` none of them.
#![expect(
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench shows figures of a few digits, and ends where something fails"
)]
use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use alluvium_checkpoint::{
    CheckpointSettings, CheckpointStore, Coordinator, JobShape, Opened, SubtaskAck, encode_page,
};
use alluvium_env::{Clock, Entropy, IoRuntime, SystemClock};
use alluvium_state_api::{FileRef, ManifestPage, MaxParallelism, SubtaskSnapshot};
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use prost::encoding;

/// What a table takes in a manifest, about.
const RECORD_BYTES: usize = 130;
/// Subtasks, if nothing is said.
const SUBTASKS: u16 = 128;
/// What a table has at most.
const TABLE_BYTES: u64 = 32 << 20;
/// Tables of a page, and of a manifest beside its pages: what `forst` does for a store of some thousand tables.
const PAGE_TABLES: usize = 256;
const INLINE_TABLES: usize = 32;
/// What a page takes in a manifest, about.
const PAGE_RECORD_BYTES: usize = 120;
/// Pages that a store writes anew between two checkpoints a minute apart: one in fifty of its tables has changed.
const NEW_PAGES: usize = 2;

/// Some tables of a subtask; their names are made when they are asked for.
struct Page {
    attempt: u64,
    subtask: u16,
    number: usize,
    tables: Range<usize>,
    size_bytes: u64,
}

fn name((attempt, subtask): (u64, u16), number: usize, kind: &str) -> String {
    format!("state/{attempt:08}/{subtask:04}/{number:012}.{kind}")
}

/// A table, all of which the first attempt wrote.
fn table(subtask: u16, number: usize) -> String {
    name((1, subtask), number, "sst")
}

impl Page {
    fn write(
        world: &World,
        (attempt, subtask): (u64, u16),
        number: usize,
        tables: Range<usize>,
    ) -> Arc<Self> {
        let file = |number| FileRef { name: table(subtask, number), size_bytes: TABLE_BYTES };
        let files: Vec<_> = tables.clone().map(file).collect();
        let mut records = Vec::new();
        encoding::bytes::encode(2, &noise(subtask, tables.len() * (RECORD_BYTES - 40)), &mut records);
        let object = encode_page(&files, &records);
        let page = Self { attempt, subtask, number, tables, size_bytes: object.len() as u64 };
        let path = Path::from(page.object().name);
        world.io.block_on(world.store.put(&path, object.into())).unwrap();
        Arc::new(page)
    }
}

impl ManifestPage for Page {
    fn object(&self) -> FileRef {
        let name = name((self.attempt, self.subtask), self.number, "page");
        FileRef { name, size_bytes: self.size_bytes }
    }

    fn totals(&self) -> (u64, u64) {
        (self.tables.len() as u64, self.tables.len() as u64 * TABLE_BYTES)
    }

    fn files(&self, each: &mut dyn FnMut(&str, u64)) {
        self.tables.clone().for_each(|number| each(&table(self.subtask, number), TABLE_BYTES));
    }
}

/// What one subtask has: tables in pages, and in its manifest.
struct Subtask {
    number: u16,
    pages: Vec<Arc<Page>>,
    inline: Range<usize>,
    next_page: usize,
}

impl Subtask {
    fn new(world: &World, number: u16, tables: usize, by_page: bool) -> Self {
        let described = if by_page { tables.saturating_sub(INLINE_TABLES) } else { 0 };
        let starts = (0..described).step_by(PAGE_TABLES);
        let range = |start: usize| start..described.min(start + PAGE_TABLES);
        let pages =
            starts.enumerate().map(|(page, start)| Page::write(world, (1, number), page, range(start)));
        let pages: Vec<_> = pages.collect();
        Self { number, next_page: pages.len(), pages, inline: described..tables }
    }

    /// Some pages are written anew, with other tables.
    fn change(&mut self, world: &World) {
        for page in self.pages.iter_mut().take(NEW_PAGES) {
            let first = self.inline.end;
            let tables = first..first + page.tables.len();
            self.inline = tables.end - self.inline.len()..tables.end;
            *page = Page::write(world, (1, self.number), self.next_page, tables);
            self.next_page += 1;
        }
        let written = NEW_PAGES.min(self.pages.len());
        self.pages.rotate_left(written);
    }

    /// As if nothing had been taken over.
    fn write_anew(&mut self, world: &World, attempt: u64) {
        for (number, page) in self.pages.iter_mut().enumerate() {
            *page = Page::write(world, (attempt, self.number), number, page.tables.clone());
        }
    }

    fn snapshot(&self, subtasks: u16) -> SubtaskSnapshot {
        let file = |number| FileRef { name: table(self.number, number), size_bytes: TABLE_BYTES };
        let files: Vec<_> = self.inline.clone().map(file).collect();
        let described = files.len() * RECORD_BYTES + self.pages.len() * PAGE_RECORD_BYTES;
        SubtaskSnapshot {
            key_groups: max_parallelism(subtasks).range_of(self.number, subtasks).unwrap(),
            backend: "forst",
            payload: noise(self.number, described).into(),
            files,
            pages: self.pages.iter().map(|page| Arc::clone(page) as Arc<dyn ManifestPage>).collect(),
            uploaded_bytes: 0,
            pins: Box::new(()),
        }
    }
}

/// As many bytes that mean nothing.
fn noise(seed: u16, bytes: usize) -> Vec<u8> {
    let random = Entropy::from_seed(u64::from(seed));
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    noise
}

struct World {
    store: Arc<InMemory>,
    io: IoRuntime,
    clock: Arc<SystemClock>,
}

impl World {
    fn open(&self) -> Opened {
        CheckpointStore::open(self.store.clone(), self.io.clone(), &Entropy::from_seed(1)).unwrap()
    }

    fn time<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let begun = self.clock.monotonic();
        let done = work();
        let took = self.clock.monotonic().saturating_sub(begun);
        println!("{what:<52} {:>10.1} ms   peak memory {:>6} MiB", took.as_secs_f64() * 1e3, peak_mib());
        done
    }
}

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// As many key groups as a job of so many subtasks would have.
fn max_parallelism(subtasks: u16) -> MaxParallelism {
    MaxParallelism::new(subtasks.next_power_of_two().max(MaxParallelism::DEFAULT.get())).unwrap()
}

fn checkpoint(coordinator: &mut Coordinator, subtasks: &[Subtask]) -> u64 {
    let id = coordinator.trigger().unwrap();
    coordinator.acknowledge_source(id, 0, Bytes::new());
    for subtask in subtasks {
        let ack = SubtaskAck {
            snapshot: subtask.snapshot(subtasks.len() as u16),
            inputs: Bytes::new(),
            inputs_count: 0,
            operator_states: Vec::new(),
            sync_micros: 0,
        };
        coordinator.acknowledge_subtask(id, usize::from(subtask.number), Ok(ack));
    }
    coordinator.try_complete(&|_| Bytes::new(), false).unwrap().unwrap().uploaded_bytes
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let files = numbers.first().copied().unwrap_or(2_000_000);
    let subtasks = numbers.get(1).map_or(SUBTASKS, |count| u16::try_from(*count).unwrap());
    let world = World {
        store: Arc::new(InMemory::new()),
        io: IoRuntime::new(2).unwrap(),
        clock: Arc::new(SystemClock::new()),
    };
    let is_asked = |word: &str| std::env::args().any(|argument| argument == word);
    let by_page = !is_asked("inline");
    println!("{files} files, {subtasks} subtasks, {}", if by_page { "by page" } else { "all in the entry" });
    let shape = JobShape {
        job: "large".to_owned(),
        max_parallelism: max_parallelism(subtasks),
        subtasks: usize::from(subtasks),
        sources: 1,
    };
    let settings =
        CheckpointSettings { interval: Some(Duration::from_mins(1)), ..CheckpointSettings::default() };
    let opened = world.time("the first start", || world.open());
    let lead = |checkpoints| {
        Coordinator::new(checkpoints, settings.clone(), shape.clone(), world.clock.clone()).unwrap()
    };
    let mut coordinator = lead(opened.checkpoints);
    let tables = files / usize::from(subtasks);
    let mut all = world.time("its subtasks write all pages", || {
        (0..subtasks).map(|number| Subtask::new(&world, number, tables, by_page)).collect::<Vec<_>>()
    });
    let entry = world.time("a checkpoint, its snapshots included", || checkpoint(&mut coordinator, &all));
    println!("its entry has {:.1} MB", entry as f64 / 1e6);
    for _ in 0..2 {
        world.time("its subtasks write some pages anew", || {
            for subtask in &mut all {
                subtask.change(&world);
            }
        });
        world.time("the next one", || checkpoint(&mut coordinator, &all));
    }
    drop(coordinator);
    let opened = world.time("a restart: the state is taken over", || world.open());
    let latest = opened.latest().unwrap();
    let group = max_parallelism(subtasks).range_of(0, subtasks).unwrap();
    let plan = world.time("what one subtask takes over", || latest.restore_for(group));
    assert_eq!(plan.parts.len(), 1);
    let pages = latest.subtasks.first().map(|subtask| subtask.pages.as_slice()).unwrap_or_default();
    world.time("its pages are read", || {
        for page in pages {
            let path = Path::from(page.object.name.as_str());
            let read = async { world.store.get(&path).await.unwrap().bytes().await.unwrap() };
            assert_eq!(world.io.block_on(read).len() as u64, page.object.size_bytes);
        }
    });
    let stats = world.time("all pages are read in the background", || opened.files.settle());
    assert_eq!(stats.waiting, 0);
    if is_asked("anew") {
        for subtask in &mut all {
            subtask.write_anew(&world, opened.incarnation);
        }
    }
    let mut coordinator = lead(opened.checkpoints);
    world.time("the first checkpoint of this attempt", || checkpoint(&mut coordinator, &all));
}
