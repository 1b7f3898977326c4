//! What is kept of tables that are read: their tails in memory, their bytes in the disk tier.
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;

use super::*;
use crate::compression::Compression;
use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::expiry::Ages;
use crate::hint::{Heat, HotRun};
use crate::table::{FileMeta, Held, KeepAll, TableBuilder, TableOptions};

/// A fetcher over a store in memory.
pub(crate) struct World {
    io: IoRuntime,
    pub(crate) fetcher: Arc<Fetcher>,
}

impl World {
    pub(crate) fn new(disk: Option<Arc<DiskCache>>) -> Self {
        let (store, io) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
        let fetcher = Fetcher::new(store, io.clone(), disk, &ForstSettings::default(), "state/1/0");
        Self { io, fetcher }
    }

    /// A table on the store of which nothing is in memory, and its bytes.
    fn table(&self, number: u64) -> (Arc<TableFile>, Vec<Bytes>) {
        self.table_of(number, 1000)
    }

    pub(crate) fn table_of(&self, number: u64, entries: u64) -> (Arc<TableFile>, Vec<Bytes>) {
        let (block_size_bytes, table_size_bytes) = (512, 1 << 20);
        let options = TableOptions { block_size_bytes, table_size_bytes, compression: Compression::Lz4 };
        let mut builder = TableBuilder::new(options);
        for entry in 0..entries {
            builder.add(EntryKind::Put, &entry.to_be_bytes(), &number.to_be_bytes());
        }
        let built = builder.finish(DeletedRanges::default()).unwrap();
        let meta = FileMeta {
            size_bytes: built.payload.iter().map(|piece| piece.len() as u64).sum(),
            tail_bytes: built.tail_bytes,
            keys: built.keys,
            entries,
            deletes: 0,
            content_hash: built.content_hash,
            deleted_ranges: 0,
            ages: Ages::default(),
        };
        let held = Held::new(&format!("state/1/0/{number}.sst"), Arc::new(KeepAll));
        let file = Arc::new(TableFile::new(FileId(number), meta, KeyRange::default(), held));
        self.io.block_on(self.fetcher.write(file.name(), built.payload.clone())).unwrap();
        (file, built.payload)
    }

    /// Reads a table's tail as a pass over it does; returns what that takes.
    fn pass_over(&self, file: &Arc<TableFile>) -> usize {
        self.io.block_on(self.fetcher.whole_tail(file)).unwrap().size_bytes()
    }
}

#[test]
fn passes_keep_as_many_tails_as_there_is_room_for_until_they_are_counted_again() {
    let world = World::new(None);
    let tables: Vec<_> = (0..6).map(|number| world.table(number).0).collect();
    let tail_bytes = world.pass_over(&world.table(6).0);
    let kept = || tables.iter().map(|table| table.tail().is_some()).collect::<Vec<_>>();
    world.fetcher.keep_tails(false, false, tail_bytes * 5 / 2);
    for table in &tables[..4] {
        assert_eq!(world.pass_over(table), tail_bytes);
    }
    assert_eq!(kept(), [true, true, false, false, false, false]);
    assert_eq!(world.fetcher.take_kept_tails(), 3 * tail_bytes, "these and that of the first table");
    world.fetcher.keep_tails(false, false, tail_bytes);
    for table in &tables[3..] {
        world.pass_over(table);
    }
    assert_eq!(kept(), [true, true, false, true, false, false]);
    assert_eq!((world.fetcher.take_kept_tails(), world.fetcher.take_kept_tails()), (tail_bytes, 0));
}

/// A disk tier in a folder, and a world on it.
pub(crate) fn on_disk(folder: &std::path::Path) -> (Arc<DiskCache>, World) {
    let disk = DiskCache::open(folder, DiskLimits { size_bytes: 1 << 20, min_free_bytes: 0 }).unwrap();
    (Arc::clone(&disk), World::new(Some(disk)))
}

/// Waits until nothing is under way in a tier that so many know.
pub(crate) fn settle(disk: &Arc<DiskCache>, known_by: usize) {
    while Arc::strong_count(disk) > known_by {
        std::thread::yield_now();
    }
}

#[test]
fn a_warm_up_takes_what_the_disk_tier_has_though_memory_has_no_room_for_the_tail() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, world) = on_disk(folder.path());
    world.fetcher.keep_tails(false, false, 0);
    let (file, payload) = world.table(1);
    world.pass_over(&file);
    world.io.block_on(world.fetcher.write_table(&file, payload, true)).unwrap();
    settle(&disk, 2);
    // Nothing but the disk tier has it now.
    world.io.block_on(world.fetcher.requests.store().delete(file.path())).unwrap();
    let runs = [HotRun { first: 0, blocks: 3, heat: Heat::Seen }];
    let came = world.io.block_on(world.fetcher.warm(&file, &runs)).unwrap();
    let numbers: Vec<_> = came.iter().map(|(number, _)| *number).collect();
    assert_eq!((numbers, file.tail().is_some()), (vec![0, 1, 2], false));
}

#[test]
fn what_is_read_or_written_of_a_table_that_is_gone_does_not_stay_on_the_disk() {
    for is_gone in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (disk, world) = on_disk(folder.path());
        let (read, (written, payload)) = (world.table(1).0, world.table(2));
        // Its offsets are known while it is written.
        world.pass_over(&written);
        settle(&disk, 2);
        if is_gone {
            world.fetcher.forget(&read);
            world.fetcher.forget(&written);
            settle(&disk, 2);
        }
        world.pass_over(&read);
        world.io.block_on(world.fetcher.write_table(&written, payload, true)).unwrap();
        settle(&disk, 2);
        let files = std::fs::read_dir(folder.path().join("alluvium-blocks-v2")).unwrap().count();
        let expected = if is_gone { (0, true) } else { (2, false) };
        assert_eq!((files, disk.disk_bytes() == 0), expected, "the tables are gone: {is_gone}");
    }
}
