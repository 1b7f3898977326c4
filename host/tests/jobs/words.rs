//! A source of made-up words whose counts are known, with a hook before each read; and the jobs that count them.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_checkpoint::CheckpointSettings;
use alluvium_env::{Entropy, IoRuntime, Result, SystemClock};
use alluvium_host::{Collector, Job, JobSettings, ReadOutcome, Restore, SplitReader, SplitSource, World};
use alluvium_state_api::{BackendFactory, Codec, KeyCodec, Notify, StateScan, state_key};
use object_store::ObjectStore;
use object_store::memory::InMemory;

pub(crate) type Counts = BTreeMap<String, u64>;

/// Called with split and position before each read.
pub(crate) type Hook = Arc<dyn Fn(u64, u64) -> Result<ReadOutcome> + Send + Sync>;

/// `records` words in each of `splits` splits.
#[derive(Clone)]
pub(crate) struct Words {
    pub(crate) splits: u64,
    pub(crate) records: u64,
    pub(crate) distinct: u64,
    pub(crate) hook: Hook,
}

/// Records of one read.
const READ: u64 = 50;

impl Words {
    pub(crate) fn new(splits: u64, records: u64, distinct: u64) -> Self {
        Self { splits, records, distinct, hook: Arc::new(|_, _| Ok(ReadOutcome::More)) }
    }

    /// The hook says `Idle` where nothing is there now.
    pub(crate) fn hooked(
        mut self,
        hook: impl Fn(u64, u64) -> Result<ReadOutcome> + Send + Sync + 'static,
    ) -> Self {
        self.hook = Arc::new(hook);
        self
    }

    fn word(&self, split: u64, index: u64) -> String {
        // Some words are far more frequent than others, so that records queue behind their key.
        let n = (split * 7919 + index * 104_729) % (self.distinct * self.distinct);
        format!("word-{}", n % self.distinct * (n % 3 + 1) / 3)
    }

    pub(crate) fn total(&self) -> u64 {
        self.splits * self.records
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for split in 0..self.splits {
            for index in 0..self.records {
                *counts.entry(self.word(split, index)).or_default() += 1;
            }
        }
        counts
    }
}

impl SplitSource for Words {
    fn splits(&self) -> u64 {
        self.splits
    }
    fn fingerprint(&self) -> String {
        format!("{} words", self.total())
    }
    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(WordReader { words: self.clone(), split, position, wake: None }))
    }
}

struct WordReader {
    words: Words,
    split: u64,
    position: u64,
    wake: Option<Notify>,
}

impl SplitReader for WordReader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        assert!(self.wake.is_some(), "the wake comes before the first read");
        if (self.words.hook)(self.split, self.position)? == ReadOutcome::Idle {
            return Ok(ReadOutcome::Idle);
        }
        let end = self.words.records.min(self.position + READ);
        for index in self.position..end {
            out.emit(self.words.word(self.split, index).as_str(), &1_u64);
        }
        self.position = end;
        Ok(if end == self.words.records { ReadOutcome::End } else { ReadOutcome::More })
    }
    fn position(&self) -> u64 {
        self.position
    }
    fn set_wake(&mut self, wake: Notify) {
        self.wake = Some(wake);
    }
}

/// A world around a store and a backend.
pub(crate) fn world(store: &Arc<dyn ObjectStore>, backend: impl BackendFactory + 'static) -> World {
    World {
        store: Arc::clone(store),
        state_url: "memory:///".to_owned(),
        backend: Arc::new(backend),
        io: IoRuntime::new(2).expect("threads"),
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(Entropy::from_os()),
    }
}

pub(crate) fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// Settings of a job that restores the latest checkpoint.
pub(crate) fn settings(parallelism: u16, sources: usize, interval: Option<Duration>) -> JobSettings {
    let checkpoints = CheckpointSettings { interval, ..CheckpointSettings::default() };
    JobSettings {
        job: "words".to_owned(),
        parallelism,
        sources,
        checkpoints,
        restore: Restore::Latest,
        ..JobSettings::default()
    }
}

pub(crate) fn job(words: &Words, settings: JobSettings, world: World) -> Job<Words> {
    Job { source: words.clone(), settings, world }
}

/// Reads the scans of a state of `u64` counts; checks that they are in order.
pub(crate) fn collect(scans: Vec<Box<dyn StateScan>>, into: &mut Counts) -> Result<()> {
    let mut last = Vec::new();
    for mut scan in scans {
        while let Some((key, count)) = scan.next_entry()? {
            assert!(last.as_slice() < key, "the scans are in the order of key groups and keys");
            last = key.to_vec();
            let word = str::decode_key(state_key::split(key)?.2)?;
            assert!(into.insert(word, u64::decode(count)?).is_none());
        }
    }
    Ok(())
}
