//! The source: every key once, then keys drawn uniformly, as fast as they are taken.
use std::sync::Arc;

use alluvium_env::Result;
use alluvium_host::{Collector, ReadOutcome, SplitReader, SplitSource};
use alluvium_state_api::Notify;

use crate::keys::Draw;
use crate::script::{CHUNK, Phase, Script};

/// As many splits as source threads, so that each draws keys of its own.
pub(crate) struct KeySource {
    pub(crate) script: Arc<Script>,
    pub(crate) splits: u64,
}

impl SplitSource for KeySource {
    fn splits(&self) -> u64 {
        self.splits
    }

    fn fingerprint(&self) -> String {
        format!("{:?}", self.script.keys)
    }

    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        let draw = self.script.keys.draw(split);
        Ok(Box::new(KeyReader { script: Arc::clone(&self.script), draw, position }))
    }
}

struct KeyReader {
    script: Arc<Script>,
    draw: Draw,
    /// Records so far. This job is never restored.
    position: u64,
}

impl SplitReader for KeyReader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        let emitted = match self.script.phase() {
            Phase::Rest => 0,
            Phase::Load => {
                let indexes = self.script.claim();
                let emitted = indexes.end - indexes.start;
                indexes.for_each(|index| out.emit(&self.script.keys.key(index), &()));
                emitted
            }
            Phase::Update => {
                (0..CHUNK).for_each(|_| out.emit(&self.draw.next(), &()));
                CHUNK
            }
        };
        self.position += emitted;
        Ok(if emitted > 0 { ReadOutcome::More } else { ReadOutcome::Idle })
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn set_wake(&mut self, wake: Notify) {
        self.script.join(wake);
    }
}
