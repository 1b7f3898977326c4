//! The collector: where a reader puts its records, and where they become batches for the subtasks.
//!
//! A record is encoded once and hashed once. There is no lock, no atomic and no allocation for a record: batches are
//! handed over by the source loop, between reads.
use alluvium_env::Result;
use alluvium_state_api::{
    Codec, KeyCodec, KeyGroup, MaxParallelism, RecordBatchBuilder, Timestamp, key_hash,
};
use bytes::Bytes;

use crate::task::Mail;

/// A batch is closed at this many bytes of keys and values, or at [`BATCH_RECORDS`]: both fit a core's own cache.
pub(crate) const BATCH_BYTES: usize = 16 << 10;
/// See [`BATCH_BYTES`].
pub(crate) const BATCH_RECORDS: usize = 1024;

/// Takes the records of a reader.
pub struct Collector {
    max_parallelism: MaxParallelism,
    /// The subtask of each key group.
    targets: Vec<u16>,
    /// One a subtask.
    builders: Vec<RecordBatchBuilder>,
    full: Vec<(u16, Mail)>,
    watermark: Timestamp,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Collector {
    pub(crate) fn new(max_parallelism: MaxParallelism, parallelism: u16) -> Result<Self> {
        // Refuses an impossible parallelism.
        max_parallelism.range_of(0, parallelism)?;
        let groups = 0..max_parallelism.get();
        Ok(Self {
            max_parallelism,
            targets: groups.map(|group| max_parallelism.subtask_of(KeyGroup(group), parallelism)).collect(),
            builders: (0..parallelism).map(|_| RecordBatchBuilder::new(max_parallelism)).collect(),
            full: Vec::new(),
            watermark: Timestamp::MIN,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Adds a record.
    #[inline]
    pub fn emit<K: KeyCodec + ?Sized, V: Codec>(&mut self, key: &K, value: &V) {
        if let [only] = self.builders.as_mut_slice() {
            only.push(key, value);
            return self.close_if_full(0);
        }
        self.key.clear();
        key.encode_key(&mut self.key);
        self.value.clear();
        value.encode(&mut self.value);
        let hash = key_hash(&self.key);
        let group = self.max_parallelism.key_group(hash);
        // A key group is always below the maximum, so both are there.
        let target = self.targets.get(usize::from(group.0)).copied().unwrap_or_default();
        if let Some(builder) = self.builders.get_mut(usize::from(target)) {
            builder.push_hashed(hash, &self.key, &self.value);
        }
        self.close_if_full(target);
    }

    #[inline]
    fn close_if_full(&mut self, target: u16) {
        if let Some(builder) = self.builders.get_mut(usize::from(target))
            && (builder.size_bytes() >= BATCH_BYTES || builder.len() >= BATCH_RECORDS)
        {
            self.full.push((target, Mail::Batch(builder.finish())));
        }
    }

    /// Says that event time has come to `watermark`: none of this source thread's records to come is expected to be as
    /// early. It never goes back, so an earlier one is not heard. It goes to all subtasks, behind the records before it;
    /// one a read is enough.
    pub fn emit_watermark(&mut self, watermark: Timestamp) {
        if watermark <= self.watermark {
            return;
        }
        self.watermark = watermark;
        self.close_all();
        for (target, _) in (0..).zip(&self.builders) {
            self.full.push((target, Mail::Watermark(watermark)));
        }
    }

    /// Sends an element to the broadcast side of every subtask, behind the records before it: see
    /// [`BroadcastProcess`](alluvium_state_api::BroadcastProcess).
    pub fn emit_broadcast<V: Codec>(&mut self, element: &V) {
        let mut bytes = Vec::new();
        element.encode(&mut bytes);
        let element = Bytes::from(bytes);
        self.close_all();
        for (target, _) in (0..).zip(&self.builders) {
            self.full.push((target, Mail::Broadcast(element.clone())));
        }
    }

    /// Takes the batches that are full and the events between them, with the subtasks they are for.
    pub(crate) fn take_full(&mut self) -> impl Iterator<Item = (u16, Mail)> {
        self.full.drain(..)
    }

    /// Closes every batch that has a record; [`Collector::take_full`] gives them.
    pub(crate) fn close_all(&mut self) {
        for (target, builder) in (0..).zip(&mut self.builders) {
            if !builder.is_empty() {
                self.full.push((target, Mail::Batch(builder.finish())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_reaches_the_subtask_of_its_key_group_in_order() {
        for parallelism in 1..=5 {
            let mut collector = Collector::new(MaxParallelism::DEFAULT, parallelism).unwrap();
            for n in 0..10_000_u64 {
                collector.emit(&(n % 300), &n);
            }
            collector.close_all();
            let mut last = vec![None; 300];
            let mut records = 0;
            for (target, mail) in collector.take_full() {
                let Mail::Batch(batch) = mail else { panic!("{mail:?}") };
                assert!(batch.len() <= BATCH_RECORDS && batch.size_bytes() <= BATCH_BYTES + 16);
                for index in 0..batch.len() {
                    let record = batch.get(index).unwrap();
                    assert_eq!(MaxParallelism::DEFAULT.subtask_of(record.group, parallelism), target);
                    let (key, value) =
                        (u64::decode_key(record.key).unwrap(), u64::decode(record.value).unwrap());
                    assert!(last[key as usize] < Some(value), "records of one key keep their order");
                    last[key as usize] = Some(value);
                    records += 1;
                }
            }
            assert_eq!(records, 10_000);
        }
    }

    #[test]
    fn an_impossible_parallelism_is_refused() {
        assert!(Collector::new(MaxParallelism::DEFAULT, 0).is_err());
        assert!(Collector::new(MaxParallelism::DEFAULT, 129).is_err());
    }
}
