//! Canonical savepoints: what one backend held, another holds, at any parallelism; forst and heap, both ways.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium::checkpoint::{
    CanonicalEntries, CheckpointMetadata, CheckpointSettings, CheckpointStore, Coordinator, JobShape,
    RetainedCheckpoints, SavepointRequest, SubtaskAck, Transfer, create_canonical_savepoint,
};
use alluvium::env::{Entropy, ErrorKind, IoRuntime, ManualClock};
use alluvium::forst::{ForstBackendFactory, ForstSettings, SubtaskEntries};
use alluvium::host::storage;
use alluvium::state_api::{
    BackendFactory, Codec as _, FileOwnership, HeapBackendFactory, HeapEntries, KeyCodec as _, KeyGroupRange,
    KeyedStateBackend, MaxParallelism, MergeOperator, OpenRequest, Result, StateDescriptor, StateEntries,
    StateId, StateKind, StateTtl, key_hash, list_elements, push_list_element, state_key,
};
use bytes::Bytes;

/// Every entry of every state: by name and key, without key groups and ids.
type Content = BTreeMap<(String, Vec<u8>), Vec<u8>>;

const NOW: Duration = Duration::from_secs(1_700_000_000);

/// Adds as text, so that the order in which operands are folded shows.
struct Join;

impl MergeOperator for Join {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        acc.push(b'+');
        acc.extend_from_slice(operand);
        Ok(())
    }
}

fn states() -> Vec<StateDescriptor> {
    let ttl = StateTtl::new(Duration::from_hours(1));
    let joined = || StateKind::Reducing(Arc::new(Join));
    vec![
        StateDescriptor::new("value", StateKind::Value).with_codec::<u64>(),
        StateDescriptor::new("list", StateKind::List),
        StateDescriptor::new("joined", joined()),
        StateDescriptor::new("map that expires", StateKind::Map).with_ttl(ttl),
        StateDescriptor::new("joined that expires", joined()).with_ttl(ttl),
    ]
}

/// A root in memory with one backend of each kind.
struct World {
    store: Arc<dyn object_store::ObjectStore>,
    /// Where canonical parts are read.
    saved: Arc<dyn object_store::ObjectStore>,
    io: IoRuntime,
    clock: Arc<ManualClock>,
}

struct Subtask {
    backend: Box<dyn KeyedStateBackend>,
    ids: Vec<StateId>,
    key_groups: KeyGroupRange,
}

impl World {
    fn new() -> Self {
        let store = storage::open("memory:///").unwrap().store;
        let saved = Arc::clone(&store);
        Self { store, saved, io: IoRuntime::new(1).unwrap(), clock: Arc::new(ManualClock::at(NOW)) }
    }

    fn factory(&self, backend: &str) -> Box<dyn BackendFactory> {
        if backend == "heap" {
            return Box::new(HeapBackendFactory);
        }
        let memory_bytes = ForstSettings::MIN_MEMORY_BYTES;
        let settings = ForstSettings { memory_bytes, block_size_bytes: 512, ..ForstSettings::default() };
        Box::new(ForstBackendFactory::new(settings, Arc::clone(&self.store), self.io.clone()).unwrap())
    }

    fn subtask(
        &self,
        backend: &str,
        (index, parallelism): (u16, u16),
        from: Option<&CheckpointMetadata>,
        (incarnation, files): (u64, Arc<dyn FileOwnership>),
    ) -> Subtask {
        let key_groups = MaxParallelism::DEFAULT.range_of(index, parallelism).unwrap();
        let restored = from.map(|from| from.restore_for(key_groups).parts).unwrap_or_default();
        let request = OpenRequest {
            subtask: index,
            key_groups,
            incarnation,
            restored: restored.clone(),
            files,
            notify: Arc::new(|| ()),
            clock: Arc::clone(&self.clock) as _,
        };
        let mut backend = self.factory(backend).open(request).unwrap();
        let ids = states().iter().map(|state| backend.register(state).unwrap()).collect();
        for part in &restored {
            let mut entries = CanonicalEntries::open(part, Arc::clone(&self.saved), self.io.clone()).unwrap();
            backend.import(&mut entries).unwrap();
        }
        Subtask { backend, ids, key_groups }
    }
}

impl Subtask {
    /// Writes a share of everything; later rounds add and replace.
    fn write(&mut self, round: u64, keys: u64) {
        for record in 0..keys {
            let mut encoded = Vec::new();
            format!("key {record}").encode_key(&mut encoded);
            let group = MaxParallelism::DEFAULT.key_group(key_hash(&encoded));
            if !self.key_groups.contains(group) {
                continue;
            }
            let key = |place: usize| {
                let mut key = Vec::new();
                state_key::build(&mut key, group, self.ids[place], &encoded);
                key
            };
            let mut number = Vec::new();
            (record * 31 + round).encode(&mut number);
            let mut element = Vec::new();
            push_list_element(&mut element, &number);
            let mut entry = key(3);
            (record % 5 + round).encode_key(&mut entry);
            let text = format!("{round}:{record}").into_bytes();
            let backend = &mut self.backend;
            backend.put(&key(0), &number).unwrap();
            backend.merge(&key(1), &element).unwrap();
            backend.merge(&key(2), &text).unwrap();
            backend.put(&entry, &text).unwrap();
            backend.merge(&key(4), &text).unwrap();
            if record % 7 == round {
                backend.delete(&key(0)).unwrap();
            }
        }
    }

    fn content(&mut self, into: &mut Content) {
        for (state, id) in states().iter().zip(self.ids.clone()) {
            let mut scan = self.backend.scan(id).unwrap();
            while let Some((key, value)) = scan.next_entry().unwrap() {
                let (group, _, rest) = state_key::split(key).unwrap();
                assert!(self.key_groups.contains(group));
                assert!(into.insert((state.name.clone(), rest.to_vec()), value.to_vec()).is_none());
            }
        }
    }
}

/// A checkpoint of two subtasks that have written for four rounds, a minute apart, and what it holds.
fn written(world: &World, backend: &str, keys: u64) -> Content {
    written_by(world, backend, &[Duration::from_mins(1); 4], &|subtask, round| {
        subtask.write(round, keys >> round);
    })
}

/// The same of what `write` does in rounds, each with the time that passes behind it.
fn written_by(
    world: &World,
    backend: &str,
    rounds: &[Duration],
    write: &dyn Fn(&mut Subtask, u64),
) -> Content {
    let opened =
        CheckpointStore::open(Arc::clone(&world.store), world.io.clone(), &Entropy::from_seed(1)).unwrap();
    let (files, incarnation) = (Arc::clone(&opened.files), opened.incarnation);
    let shape =
        JobShape { job: "j".into(), max_parallelism: MaxParallelism::DEFAULT, subtasks: 2, sources: 1 };
    let clock = Arc::clone(&world.clock);
    let mut coordinator =
        Coordinator::new(opened.checkpoints, CheckpointSettings::default(), shape, clock).unwrap();
    let mut content = Content::new();
    let place = |index| (index, 2);
    let mut subtasks = [0, 1]
        .map(|index| world.subtask(backend, place(index), None, (incarnation, Arc::clone(&files) as _)));
    for (round, passes) in (0..).zip(rounds) {
        for subtask in &mut subtasks {
            write(subtask, round);
            // A scan freezes the memtable: what comes next folds across sources.
            drop(subtask.backend.scan(subtask.ids[0]).unwrap());
        }
        world.clock.advance(*passes);
    }
    let id = coordinator.trigger().unwrap();
    coordinator.acknowledge_source(id, 0, Bytes::from("source"));
    for (index, subtask) in subtasks.iter_mut().enumerate() {
        let snapshot = world.io.block_on(subtask.backend.snapshot(id).unwrap()).unwrap();
        let (inputs, operator_states) = (Bytes::new(), Vec::new());
        let ack = SubtaskAck { snapshot, inputs, inputs_count: 0, operator_states, sync_micros: 1 };
        coordinator.acknowledge_subtask(id, index, Ok(ack));
        subtask.content(&mut content);
    }
    coordinator.try_complete(&|sources| sources.concat().into(), false).unwrap().unwrap();
    content
}

/// Makes a canonical savepoint of what is in a root; several operands are in so many of its entries.
fn saved(from: &World, to: World) -> (World, u64) {
    let transfer = Transfer { from: Arc::clone(&from.store), to: Arc::clone(&to.store), shared: None };
    let url = "memory:///".to_owned();
    let request = SavepointRequest { transfer, url, checkpoint: None, copied: &|_| () };
    let entropy = Entropy::from_seed(2);
    let open = |part: &alluvium::state_api::RestoredPart| -> Result<Box<dyn StateEntries>> {
        let store = Arc::clone(&from.store);
        Ok(match part.backend.as_str() {
            "heap" => Box::new(HeapEntries::open(part)?),
            _ => Box::new(SubtaskEntries::open(part, store, from.io.clone(), &entropy)?),
        })
    };
    let made = create_canonical_savepoint(&request, &open, &to.io, &entropy).unwrap();
    let mut unfolded = 0;
    for part in made.checkpoint.restore_for(KeyGroupRange::ALL).parts {
        let mut entries = CanonicalEntries::open(&part, Arc::clone(&to.store), to.io.clone()).unwrap();
        while let Some(entry) = entries.next_entry().unwrap() {
            unfolded += u64::from(list_elements(entry.values).count() > 1);
        }
    }
    to.clock.advance(Duration::from_mins(10));
    (to, unfolded)
}

#[test]
fn what_one_backend_held_another_holds_at_any_parallelism_and_goes_on_with() {
    for (writer, reader) in [("forst", "heap"), ("heap", "forst"), ("forst", "forst"), ("heap", "heap")] {
        let from = World::new();
        let expected = written(&from, writer, 3000);
        assert!(expected.len() > 10_000);
        let (to, unfolded) = saved(&from, World::new());
        assert_eq!(unfolded > 0, writer == "forst", "{unfolded} entries of {writer} are not folded");
        let checkpoint =
            RetainedCheckpoints::read(Arc::clone(&to.store), &to.io).unwrap().latest().unwrap().clone();
        assert_eq!((&checkpoint.source[..], checkpoint.subtasks.len()), (&b"source"[..], 2));
        for parallelism in [1, 3] {
            let opened =
                CheckpointStore::open(Arc::clone(&to.store), to.io.clone(), &Entropy::from_seed(3)).unwrap();
            let mut content = Content::new();
            for index in 0..parallelism {
                let place = (opened.incarnation, Arc::clone(&opened.files) as _);
                let mut subtask = to.subtask(reader, (index, parallelism), Some(&checkpoint), place);
                subtask.content(&mut content);
                // It is as if the reader had written it: what it snapshots has the same entries.
                let snapshot = subtask.backend.snapshot(alluvium::state_api::CheckpointId(9)).unwrap();
                assert_eq!(to.io.block_on(snapshot).unwrap().backend, reader);
            }
            assert!(content == expected, "{writer} to {reader} at {parallelism}");
        }
        // Stamps were kept: an hour after they were written, and not after they were restored, values expire.
        to.clock.advance(Duration::from_mins(55));
        let opened =
            CheckpointStore::open(Arc::clone(&to.store), to.io.clone(), &Entropy::from_seed(4)).unwrap();
        let place = (opened.incarnation, Arc::clone(&opened.files) as _);
        let mut content = Content::new();
        to.subtask(reader, (0, 1), Some(&checkpoint), place).content(&mut content);
        let lasting = expected.iter().filter(|((state, _), _)| !state.contains("expires"));
        assert!(content.iter().eq(lasting), "{writer} to {reader}: what has expired is not gone");
    }
}

#[test]
fn accumulators_that_adds_have_prolonged_come_whole_though_memtables_fill_between_the_two() {
    /// Some megabytes: a memtable has a quarter of one.
    const KEYS: u64 = 6000;
    let from = World::new();
    let rounds = [Duration::from_mins(50), Duration::from_mins(1)];
    let expected = written_by(&from, "forst", &rounds, &|subtask, round| {
        for record in 0..KEYS {
            let (mut encoded, mut key) = (Vec::new(), Vec::new());
            format!("key {record}").encode_key(&mut encoded);
            let group = MaxParallelism::DEFAULT.key_group(key_hash(&encoded));
            if subtask.key_groups.contains(group) {
                state_key::build(&mut key, group, subtask.ids[4], &encoded);
                let text =
                    if round == 0 { vec![b'a'; 400 + record as usize * 7 % 300] } else { b"b".to_vec() };
                subtask.backend.merge(&key, &text).unwrap();
            }
        }
    });
    assert_eq!(expected.len() as u64, KEYS);
    let (to, unfolded) = saved(&from, World::new());
    assert_eq!(unfolded, KEYS);
    // What was added first would have expired by now, what was added then has not.
    to.clock.advance(Duration::from_mins(55));
    let checkpoint =
        RetainedCheckpoints::read(Arc::clone(&to.store), &to.io).unwrap().latest().unwrap().clone();
    let opened = CheckpointStore::open(Arc::clone(&to.store), to.io.clone(), &Entropy::from_seed(3)).unwrap();
    let place = (opened.incarnation, Arc::clone(&opened.files) as _);
    let mut subtask = to.subtask("forst", (0, 1), Some(&checkpoint), place);
    assert!(subtask.backend.stats().flushes > 1);
    let mut content = Content::new();
    subtask.content(&mut content);
    assert!(content == expected);
}

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/savepoint1");

/// How many keys the golden savepoint has of each state.
const GOLDEN_KEYS: u64 = 200;

/// `ALLUVIUM_GOLDEN_SAVEPOINT=1 cargo test --test canonical` writes the first; one that is there is never written again.
#[test]
fn the_golden_savepoint_is_written_once() {
    if std::env::var_os("ALLUVIUM_GOLDEN_SAVEPOINT").is_some() {
        let (from, folder) = (World::new(), std::path::Path::new(GOLDEN));
        assert!(!folder.exists(), "{GOLDEN} is there already");
        written(&from, "forst", GOLDEN_KEYS);
        let store = storage::open_folder(folder).unwrap().store;
        let (_, unfolded) = saved(&from, World { store, ..World::new() });
        assert!(unfolded > 0);
        std::fs::remove_file(folder.join("LOCK")).unwrap();
    }
}

#[test]
fn what_an_older_build_saved_is_restored_as_it_was_meant() {
    let expected = written(&World::new(), "heap", GOLDEN_KEYS);
    for reader in ["heap", "forst"] {
        let mut world = World::new();
        world.saved = storage::open_read_only(&format!("file://{GOLDEN}")).unwrap().store;
        world.clock.advance(Duration::from_mins(10));
        let retained = RetainedCheckpoints::read(Arc::clone(&world.saved), &world.io).unwrap();
        let files = Arc::new(Nobody);
        let mut content = Content::new();
        for index in 0..2 {
            let mut subtask =
                world.subtask(reader, (index, 2), retained.latest(), (100 + u64::from(index), files.clone()));
            subtask.content(&mut content);
        }
        assert!(content == expected, "{reader}");
    }
}

struct Nobody;

impl FileOwnership for Nobody {
    fn hold(&self, _: &str) {}
    fn release(&self, _: &str) {}
}

#[test]
fn adds_that_nothing_folds_are_refused_by_the_name_of_their_state() {
    let from = World::new();
    written(&from, "forst", 3000);
    let (to, _) = saved(&from, World::new());
    let checkpoint =
        RetainedCheckpoints::read(Arc::clone(&to.store), &to.io).unwrap().latest().unwrap().clone();
    let part = &checkpoint.restore_for(KeyGroupRange::ALL).parts[0];
    for reader in ["heap", "forst"] {
        let opened =
            CheckpointStore::open(Arc::clone(&to.store), to.io.clone(), &Entropy::from_seed(3)).unwrap();
        let request = OpenRequest {
            subtask: 0,
            key_groups: KeyGroupRange::ALL,
            incarnation: opened.incarnation,
            restored: vec![part.clone()],
            files: Arc::clone(&opened.files) as _,
            notify: Arc::new(|| ()),
            clock: Arc::clone(&to.clock) as _,
        };
        let mut backend = to.factory(reader).open(request).unwrap();
        let mut entries = CanonicalEntries::open(part, Arc::clone(&to.store), to.io.clone()).unwrap();
        let error = backend.import(&mut entries).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("register the state"), "{reader}: {error}");
    }
}
