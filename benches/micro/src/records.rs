//! Records between a source and a task: keys and values through their codecs, into a batch and out of it.
use alluvium_env::Result;
use alluvium_state_api::{Codec as _, MaxParallelism, RecordBatch, RecordBatchBuilder};

use crate::MANY;

/// A batch of records with a word as key and a number as value.
pub fn encode_records(words: &[String]) -> RecordBatch {
    let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    for (number, word) in (0_u64..).zip(words) {
        builder.push(word.as_str(), &number);
    }
    builder.finish()
}

/// What there is to encode.
pub fn encoded_records() -> (Vec<String>, RecordBatch) {
    let words: Vec<_> = (0..MANY).map(|number| format!("word-{}", number * 7919)).collect();
    let batch = encode_records(&words);
    (words, batch)
}

/// Reads every record of a batch; returns the sum of the values.
///
/// # Errors
/// `Corruption` if a value is not a number.
pub fn decode_records(batch: &RecordBatch) -> Result<u64> {
    let mut sum = 0_u64;
    for record in (0..).map_while(|index| batch.get(index)) {
        sum = sum.wrapping_add(u64::decode(record.value)?).wrapping_add(record.hash & 1);
    }
    Ok(sum)
}
