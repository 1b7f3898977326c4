//! The source: a split a thread, without end, that emits what the script says.
use std::sync::Arc;

use alluvium_env::{Entropy, Result};
use alluvium_host::{Collector, ReadOutcome, SplitReader, SplitSource};
use alluvium_state_api::Notify;

use super::script::{CHUNK, Phase, Script};
use crate::bench::keys::mix;
use crate::bench::workload::{Action, Command, scale};

/// See the module.
pub(super) struct ScriptedSource {
    script: Arc<Script>,
    splits: u64,
}

impl ScriptedSource {
    pub(super) fn new(script: Arc<Script>, splits: u64) -> Self {
        Self { script, splits }
    }
}

impl SplitSource for ScriptedSource {
    fn splits(&self) -> u64 {
        self.splits
    }

    fn fingerprint(&self) -> String {
        format!("{} keys, seed {}", self.script.keys.count, self.script.seed)
    }

    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        let random = Entropy::from_seed(mix(self.script.seed ^ mix(split) ^ position));
        Ok(Box::new(ScriptedReader { script: Arc::clone(&self.script), random, position }))
    }
}

struct ScriptedReader {
    script: Arc<Script>,
    random: Entropy,
    /// Records so far: a restored one draws other keys.
    position: u64,
}

impl ScriptedReader {
    fn emit(&mut self, out: &mut Collector, action: Action, index: u64) {
        out.emit(&self.script.keys.key(index).bytes[..], &Command { action, index });
        self.position += 1;
    }

    fn emit_all(&mut self, out: &mut Collector, action: Action) -> ReadOutcome {
        let indexes = self.script.claim();
        if indexes.is_empty() {
            return ReadOutcome::Idle;
        }
        indexes.for_each(|index| self.emit(out, action, index));
        ReadOutcome::More
    }
}

impl SplitReader for ScriptedReader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        Ok(match self.script.phase() {
            Phase::Nothing => ReadOutcome::Idle,
            Phase::Load => self.emit_all(out, Action::Load),
            Phase::ReadBack => self.emit_all(out, Action::Get),
            Phase::Update => {
                let due = self.script.claim_updates();
                for _ in 0..due {
                    let index = scale(self.random.next_u64(), self.script.keys.count);
                    self.emit(out, Action::Rmw, index);
                }
                // What is due is sent at once; the conductor wakes it up for the next.
                if due == CHUNK { ReadOutcome::More } else { ReadOutcome::Idle }
            }
        })
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn set_wake(&mut self, wake: Notify) {
        self.script.join(wake);
    }
}
