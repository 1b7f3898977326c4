//! A store that is opened again reads the logs of its memtables in pieces, some ahead, never more than its buffers have room for.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where something fails")]
mod common {
    pub(crate) mod bell;
    pub(crate) mod holders;
    pub(crate) mod layer;
    pub(crate) mod owner;
}

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alluvium_env::{Background, Error, ErrorKind, IoRuntime};
use alluvium_forst::{ForstSettings, NoMerges, Ownership, Resident, Restored, Store, StoreOptions};
use async_trait::async_trait;
use bytes::Bytes;
use common::bell::Bell;
use common::layer::{Layer, Layered};
use common::owner::Owner;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt as _, Result};

/// Of a store: an eighth of this is for what is read ahead.
const MEMORY_BYTES: u64 = 16 << 20;
const AHEAD_BYTES: u64 = MEMORY_BYTES / 8;
const KEYS: u32 = 3000;

/// Memory that takes its time, and counts the bytes that are asked for and not there yet.
#[derive(Default)]
struct Slow {
    memory: InMemory,
    under_way: AtomicU64,
    most_bytes: AtomicU64,
    reads: AtomicU64,
    /// A read that has this byte of an object gets it flipped.
    flipped: Mutex<Option<(Path, u64)>>,
}

#[async_trait]
impl Layer for Slow {
    fn memory(&self) -> &InMemory {
        &self.memory
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        let range = match &options.range {
            Some(GetRange::Bounded(range)) => range.clone(),
            _ => 0..self.memory.head(from).await?.size,
        };
        let flip = self.flipped.lock().unwrap().clone();
        let flip = flip.filter(|(path, at)| path == from && range.contains(at)).map(|(_, at)| at);
        let bytes = range.end - range.start;
        let under_way = self.under_way.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.most_bytes.fetch_max(under_way, Ordering::SeqCst);
        self.reads.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.under_way.fetch_sub(bytes, Ordering::SeqCst);
        let mut found = self.memory.get_opts(from, options).await?;
        if let Some(at) = flip {
            let (meta, extensions) = (found.meta.clone(), found.extensions.clone());
            let (attributes, range) = (found.attributes.clone(), found.range.clone());
            let mut bytes = found.bytes().await?.to_vec();
            *bytes.get_mut((at - range.start) as usize).unwrap() ^= 1;
            let payload =
                object_store::GetResultPayload::Stream(Box::pin(futures_util::stream::once(async move {
                    Ok(Bytes::from(bytes))
                })));
            found = GetResult { payload, meta, range, attributes, extensions };
        }
        Ok(found)
    }
}

struct World {
    objects: Arc<Layered<Slow>>,
    io: IoRuntime,
    background: Arc<Background>,
    owner: Arc<Owner>,
    bell: Bell,
}

impl World {
    fn new() -> Self {
        Self {
            objects: Arc::default(),
            io: IoRuntime::new(2).unwrap(),
            background: Arc::new(Background::new(1).unwrap()),
            owner: Arc::default(),
            bell: Bell::default(),
        }
    }

    fn open(&self, subtask: u16, restored: Vec<Restored>) -> Result<Store, Error> {
        self.open_within(MEMORY_BYTES, subtask, restored)
    }

    fn open_within(&self, memory_bytes: u64, subtask: u16, restored: Vec<Restored>) -> Result<Store, Error> {
        Store::open(StoreOptions {
            settings: ForstSettings { memory_bytes, ..ForstSettings::default() },
            store: Arc::clone(&self.objects) as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::clone(&self.background),
            disk: None,
            operators: Arc::new(NoMerges),
            ownership: Arc::clone(&self.owner) as Arc<dyn Ownership>,
            notify: self.bell.ringer(),
            prefix: format!("state/00000001/{subtask:04}"),
            restored,
        })
    }

    /// A store with a log of three megabytes in one delta, and one of a few values behind it.
    fn write(&self, subtask: u16) -> (Store, Restored, [String; 2]) {
        let mut store = self.open(subtask, Vec::new()).unwrap();
        for number in 0..KEYS {
            store.put(&key(number), &value(number, 0)).unwrap();
        }
        self.io.block_on(store.snapshot().upload()).unwrap();
        for number in (0..KEYS).step_by(100) {
            store.put(&key(number), &value(number, 1)).unwrap();
        }
        let mut snapshot = store.snapshot();
        self.io.block_on(snapshot.upload()).unwrap();
        let names = snapshot.files().into_iter().map(|file| file.name).collect::<Vec<_>>();
        let restored = Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() };
        (store, restored, names.try_into().unwrap())
    }

    fn size(&self, name: &str) -> u64 {
        self.io.block_on(self.objects.memory.head(&Path::from(name))).unwrap().size
    }
}

fn key(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn value(number: u32, round: u8) -> Vec<u8> {
    [&number.to_le_bytes()[..], &[round; 1000]].concat()
}

fn assert_holds(store: &Store, keys: Range<u32>) {
    for number in 0..KEYS {
        let expected = keys.contains(&number).then(|| value(number, u8::from(number.is_multiple_of(100))));
        match (store.get_resident(&key(number)).unwrap(), expected) {
            (Resident::Value(found), Some(expected)) => assert_eq!(found, expected),
            (Resident::Absent, None) => {}
            (found, _) => panic!("key {number}: {found:?}"),
        }
    }
}

#[test]
fn a_log_is_read_in_pieces_of_which_no_more_are_under_way_than_buffers_have_room_for() {
    let world = World::new();
    let (_one, first, names) = world.write(0);
    let (_other, second, _) = world.write(1);
    world.objects.most_bytes.store(0, Ordering::SeqCst);
    world.objects.reads.store(0, Ordering::SeqCst);
    // Two halves of two stores.
    let first = Restored { end: key(KEYS / 2), ..first };
    let second = Restored { start: key(KEYS / 2), ..second };
    assert_holds(&world.open(2, vec![first, second]).unwrap(), 0..KEYS);
    let most = world.objects.most_bytes.load(Ordering::SeqCst);
    assert!(most <= AHEAD_BYTES, "{most} bytes under way");
    assert!(most > AHEAD_BYTES / 2, "only {most} bytes under way: round trips show");
    let pieces = names.map(|name| world.size(&name).div_ceil(AHEAD_BYTES / 16)).iter().sum::<u64>();
    assert_eq!(world.objects.reads.load(Ordering::SeqCst), 2 * pieces, "each piece is read once");
}

#[test]
fn what_is_wrong_with_a_log_names_the_delta_and_leaves_nothing() {
    let world = World::new();
    let (_one, restored, names) = world.write(0);
    let held = world.owner.0.lock().unwrap().clone();
    for (name, size) in names.iter().map(|name| (name, world.size(name))) {
        // In the first piece, in one behind it, in the checksum.
        for at in [9, size / 2, size - 1] {
            *world.objects.flipped.lock().unwrap() = Some((Path::from(name.as_str()), at));
            let error = world.open(2, vec![restored.clone()]).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert!(error.to_string().contains(name) && error.to_string().contains("checksum"), "{error}");
        }
    }
    *world.objects.flipped.lock().unwrap() = None;
    let path = Path::from(names[0].as_str());
    let whole = world.io.block_on(async { world.objects.memory.get(&path).await?.bytes().await }).unwrap();
    let longer = Bytes::from([&whole[..], &[0]].concat());
    for (other, told) in [(whole.slice(..whole.len() - 1), "is truncated"), (longer, "answers with too much")]
    {
        world.io.block_on(world.objects.memory.put(&path, other.into())).unwrap();
        let error = world.open(2, vec![restored.clone()]).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
        assert!(error.to_string().contains(&names[0]) && error.to_string().contains(told), "{error}");
    }
    assert_eq!(*world.owner.0.lock().unwrap(), held, "what could not be opened holds nothing");
}

#[test]
fn parts_that_do_not_fit_into_a_memtable_are_several_and_are_flushed_though_nobody_writes() {
    const PARTS: u32 = 4;
    let world = World::new();
    let (_one, restored, _) = world.write(0);
    // Each part has more than a memtable of this memory.
    let bound = |part: u32| key(KEYS / PARTS * part);
    let part = |part| Restored { start: bound(part), end: bound(part + 1), ..restored.clone() };
    let parts = (0..PARTS).map(part).collect();
    let mut store = world.open_within(ForstSettings::MIN_MEMORY_BYTES, 1, parts).unwrap();
    assert_holds(&store, 0..KEYS);
    store.poll(&mut |_, _| ()).unwrap();
    while store.counters().flushes < u64::from(PARTS) {
        world.bell.wait(Duration::from_mins(1)).unwrap();
        store.poll(&mut |_, _| ()).unwrap();
    }
    for number in [0, KEYS / 2, KEYS - 1] {
        assert!(!matches!(store.get_resident(&key(number)).unwrap(), Resident::Absent), "{number}");
    }
}
