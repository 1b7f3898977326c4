//! What checkpoints of very large jobs cost: `cargo bench -p alluvium-checkpoint --bench scale [-- FILES SUBTASKS]`.
//!
//! A store in memory, and subtasks that name as many files as are asked for, each described by as many bytes as a table takes in a
//! manifest. Two million files are 100 TB in tables of 50 MB. Measured are the protocol's own costs: completing a checkpoint,
//! taking the state over, planning a restore, and the memory of all that.
#![expect(
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench shows figures of a few digits, and ends where something fails"
)]
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use alluvium_checkpoint::{CheckpointSettings, CheckpointStore, Coordinator, JobShape, Opened, SubtaskAck};
use alluvium_env::{Clock, Entropy, IoRuntime, SystemClock};
use alluvium_state_api::{FileRef, MaxParallelism, SubtaskSnapshot};
use bytes::Bytes;
use object_store::memory::InMemory;

/// What a table takes in a manifest, about.
const RECORD_BYTES: usize = 130;
/// Subtasks, if nothing is said.
const SUBTASKS: u16 = 128;

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

fn snapshot(subtask: u16, subtasks: u16, files: usize) -> SubtaskSnapshot {
    let name = |number: usize| format!("state/00000001/{subtask:04}/{number:012}.sst");
    let files =
        (0..files).map(|number| FileRef { name: name(number), size_bytes: 50_000_000 }).collect::<Vec<_>>();
    let random = Entropy::from_seed(u64::from(subtask));
    let mut payload = Vec::with_capacity(files.len() * RECORD_BYTES);
    while payload.len() < files.len() * RECORD_BYTES {
        payload.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    SubtaskSnapshot {
        key_groups: max_parallelism(subtasks).range_of(subtask, subtasks).unwrap(),
        backend: "forst",
        payload: payload.into(),
        files,
        pages: Vec::new(),
        uploaded_bytes: 0,
        pins: Box::new(()),
    }
}

fn checkpoint(coordinator: &mut Coordinator, subtasks: u16, files: usize) -> u64 {
    let id = coordinator.trigger().unwrap();
    coordinator.acknowledge_source(id, 0, Bytes::new());
    for subtask in 0..subtasks {
        let ack = SubtaskAck {
            snapshot: snapshot(subtask, subtasks, files / usize::from(subtasks)),
            inputs: Bytes::new(),
            inputs_count: 0,
            operator_states: Vec::new(),
            sync_micros: 0,
        };
        coordinator.acknowledge_subtask(id, usize::from(subtask), Ok(ack));
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
    println!("{files} files, {subtasks} subtasks");
    let shape = JobShape {
        job: "large".to_owned(),
        max_parallelism: max_parallelism(subtasks),
        subtasks: usize::from(subtasks),
        sources: 1,
    };
    let settings =
        CheckpointSettings { interval: Some(Duration::from_mins(1)), ..CheckpointSettings::default() };
    let opened = world.time("the first start", || world.open());
    let mut coordinator = Coordinator::new(opened.checkpoints, settings, shape, world.clock.clone()).unwrap();
    let entry =
        world.time("a checkpoint, its snapshots included", || checkpoint(&mut coordinator, subtasks, files));
    println!("its entry has {:.1} MB", entry as f64 / 1e6);
    world.time("the next one", || checkpoint(&mut coordinator, subtasks, files));
    drop(coordinator);
    let opened = world.time("a restart: the state is taken over", || world.open());
    let latest = opened.latest().unwrap();
    let group = max_parallelism(subtasks).range_of(0, subtasks).unwrap();
    let plan = world.time("what one subtask takes over", || latest.restore_for(group));
    assert_eq!(plan.parts.len(), 1);
}
