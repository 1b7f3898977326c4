//! The start of a task, on its own thread: backend, operator, controller, and the inputs that a checkpoint kept.
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use alluvium_async_exec::{ControllerSettings, MailboxReceiver, controller_with_events};
use alluvium_checkpoint::{CanonicalEntries, RestorePlan};
use alluvium_env::{Clock, IoRuntime, Result};
use alluvium_state_api::{
    BackendFactory, CANONICAL, Codec, FileOwnership, KeyGroupRange, KeyedProcess, MaxParallelism,
    OpenRequest, OperatorStatePart, RecordBatch, RecordBatchBuilder, RecordRef, RestoredPart, States,
    TaskContext, key_hash,
};
use bytes::Bytes;
use object_store::ObjectStore;

use super::account::Account;
use super::alignment::Alignment;
use super::broadcasts::Broadcasts;
use super::run::{TaskLoop, Told};
use super::time::Firing;
use super::watermarks::Watermarks;
use super::{Mail, Operator, Orders, TaskStats};
use crate::job::{Event, Metrics};
use crate::source::{BATCH_BYTES, BATCH_RECORDS};

/// All that a task thread needs to begin.
pub(crate) struct TaskStart {
    pub(crate) subtask: u16,
    pub(crate) sources: usize,
    pub(crate) key_groups: KeyGroupRange,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) settings: ControllerSettings,
    pub(crate) backend: Arc<dyn BackendFactory>,
    pub(crate) incarnation: u64,
    pub(crate) files: Arc<dyn FileOwnership>,
    pub(crate) restore: RestorePlan,
    pub(crate) operator_states: Vec<OperatorStatePart>,
    pub(crate) operator_state_bytes: usize,
    pub(crate) inbox: MailboxReceiver<Mail>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) events: Sender<Event>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where entries of canonical savepoints are read.
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) io: IoRuntime,
}

impl TaskStart {
    /// Opens everything and runs the task to its end.
    ///
    /// # Errors
    /// What opening or running meets; `Closed` when the job was cancelled.
    pub(crate) fn run<P: KeyedProcess<In: Codec>>(
        self,
        open: &impl Fn(&States<'_>) -> Result<Operator<P>>,
    ) -> Result<TaskStats> {
        let restored = inputs_of(&self.restore.inputs, self.key_groups, self.max_parallelism)?;
        let bell = self.inbox.bell();
        let canonical = self.restore.parts.iter().filter(|part| part.backend == CANONICAL);
        let canonical: Vec<RestoredPart> = canonical.cloned().collect();
        let backend = self.backend.open(OpenRequest {
            subtask: self.subtask,
            key_groups: self.key_groups,
            incarnation: self.incarnation,
            restored: self.restore.parts,
            files: self.files,
            notify: Arc::clone(&bell),
            clock: Arc::clone(&self.clock),
        })?;
        let task = TaskContext::new(backend)
            .with_clock(Arc::clone(&self.clock))
            .with_operator_state_limit(self.operator_state_bytes);
        let task = Rc::new(task.with_operator_states(self.operator_states));
        let operator = open(&task.states())?;
        task.opened::<P>(self.key_groups)?;
        for part in &canonical {
            // Once the states are registered: their functions fold what was not folded.
            let mut entries = CanonicalEntries::open(part, Arc::clone(&self.store), self.io.clone())?;
            task.with_backend(|backend| backend.import(&mut entries))?;
        }
        if P::USES_TIMERS {
            self.clock.ring_when_turned(Arc::clone(&bell));
        }
        let process = Rc::new(operator.process);
        let task_loop = TaskLoop {
            subtask: self.subtask,
            process: Rc::clone(&process),
            controller: controller_with_events(process, task, self.settings, bell),
            inbox: self.inbox,
            alignment: Alignment::new(self.sources),
            watermarks: Watermarks::new(self.sources),
            firing: Firing::default(),
            broadcasts: Broadcasts::new(operator.broadcast),
            orders: self.orders,
            events: self.events,
            account: Account::new(self.metrics, Arc::clone(&self.clock)),
            clock: self.clock,
            result: operator.result,
            sink: operator.sink,
            told: Told::default(),
        };
        task_loop.run(restored)
    }
}

/// The kept inputs of former subtasks that are in these key groups, in the order they had.
fn inputs_of(
    kept: &[Bytes],
    key_groups: KeyGroupRange,
    max_parallelism: MaxParallelism,
) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    let mut builder = RecordBatchBuilder::new(max_parallelism);
    for mut rest in kept.iter().map(Bytes::as_ref) {
        while let Some((key, value)) = RecordRef::read_from(&mut rest)? {
            let hash = key_hash(key);
            if !key_groups.contains(max_parallelism.key_group(hash)) {
                continue;
            }
            builder.push_hashed(hash, key, value);
            if builder.size_bytes() >= BATCH_BYTES || builder.len() >= BATCH_RECORDS {
                batches.push(builder.finish());
            }
        }
    }
    if !builder.is_empty() {
        batches.push(builder.finish());
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_inputs_are_split_by_key_group_and_keep_their_order() {
        let max = MaxParallelism::DEFAULT;
        let mut builder = RecordBatchBuilder::new(max);
        for n in 0..3_000_u64 {
            builder.push(&(n % 50), &n);
        }
        let batch = builder.finish();
        let mut kept = Vec::new();
        for index in 0..batch.len() {
            batch.get(index).unwrap().write_to(&mut kept);
        }
        let kept = [Bytes::from(kept)];
        for parallelism in 1..=4 {
            let mut total = 0;
            for subtask in 0..parallelism {
                let range = max.range_of(subtask, parallelism).unwrap();
                let mut last = None;
                for batch in inputs_of(&kept, range, max).unwrap() {
                    assert!(batch.len() <= BATCH_RECORDS);
                    for index in 0..batch.len() {
                        let record = batch.get(index).unwrap();
                        assert!(range.contains(record.group));
                        let value = u64::from_le_bytes(record.value.try_into().unwrap());
                        assert!(last < Some(value));
                        last = Some(value);
                        total += 1;
                    }
                }
            }
            assert_eq!(total, 3_000);
        }
        assert!(inputs_of(&[kept[0].slice(..kept[0].len() - 1)], KeyGroupRange::ALL, max).is_err());
    }
}
