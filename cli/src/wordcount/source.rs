//! Text as a source of the host: one record a word, the word its key, nothing its value.
use alluvium_env::Result;
use alluvium_host::{Collector, ReadOutcome, SplitReader, SplitSource};
use alluvium_state_api::Notify;

use crate::input::{Step, TextInput, TextReader};

impl SplitSource for TextInput {
    fn splits(&self) -> u64 {
        self.splits()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint()
    }

    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(self.open(split, position)?))
    }
}

impl SplitReader for TextReader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        // A word's bytes are encoded as `str` keys are.
        let step = self.step(&mut |word| out.emit(word, &()))?;
        Ok(match step {
            Step::More => ReadOutcome::More,
            Step::Idle => ReadOutcome::Idle,
            Step::End => ReadOutcome::End,
        })
    }

    fn position(&self) -> u64 {
        self.position()
    }

    fn set_wake(&mut self, wake: Notify) {
        TextReader::set_wake(self, wake);
    }
}
