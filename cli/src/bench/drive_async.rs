//! `--mode async`: the same operations as records of a keyed operator, run by the asynchronous execution controller.
//!
//! The latency of a record is the time from its first poll to its end; it does not include its wait behind an earlier
//! record of the same key.
use std::cell::RefCell;
use std::rc::Rc;

use alluvium_async_exec::{AsyncExecutionController, StartRecord};
use alluvium_env::{Error, Result};
use alluvium_state_api::{Codec as _, Context, KeyedProcess, MaxParallelism, RecordBatchBuilder};

use super::bell::Bell;
use super::gauge::Gauge;
use super::keys::KEY_BYTES;
use super::oracle::Oracle;
use super::states::BenchStates;
use super::workload::{Action, Command, Target};

/// Records of a batch: about the 16 KiB that a host sends.
const BATCH_RECORDS: usize = 500;

/// The operator.
pub(super) struct BenchProcess {
    pub(super) states: BenchStates,
    pub(super) oracle: Rc<Oracle>,
    pub(super) gauge: Rc<Gauge>,
    /// Where values are made; the peers' loops make theirs in one place too.
    pub(super) value: RefCell<Vec<u8>>,
}

impl BenchProcess {
    fn put(&self, ctx: &Context<()>, value: &Vec<u8>) -> Result<()> {
        self.gauge.wrote(KEY_BYTES + value.len());
        self.states.values.put(ctx, value)
    }
}

impl KeyedProcess for BenchProcess {
    type In = Command;
    type Out = ();

    async fn process(&self, command: Command, ctx: &Context<()>) -> Result<()> {
        let start = self.gauge.last();
        let Command { action, index } = command;
        match action {
            Action::Load => {
                let mut value = self.value.borrow_mut();
                self.oracle.values.write(index, 0, &mut value);
                self.put(ctx, &value)?;
            }
            Action::Get => {
                let value = self.states.values.get(ctx).await?;
                self.oracle.check_value(command, value.as_deref())?;
            }
            Action::GetAbsent => {
                let value = self.states.values.get(ctx).await?;
                self.oracle.check_absent(command, value.as_deref())?;
            }
            Action::Rmw => {
                let value = self.states.values.get(ctx).await?;
                self.oracle.check_value(command, value.as_deref())?;
                let mut value = value.unwrap_or_default();
                self.oracle.values.advance(index, &mut value)?;
                self.oracle.changed(index);
                self.put(ctx, &value)?;
            }
            Action::Add => {
                self.oracle.changed(index);
                self.gauge.wrote(KEY_BYTES + size_of::<u64>());
                self.states.sums.add(ctx, &1)?;
            }
            Action::Append | Action::LoadMap | Action::MapScan => {
                return Err(Error::internal("lists and maps are for mode sync"));
            }
        }
        self.gauge.done(start);
        Ok(())
    }
}

/// Runs all operations to their ends, as a task's loop does.
///
/// # Errors
/// The backend's, or that it answered wrongly.
pub(super) fn run<S: StartRecord<BenchProcess>>(
    controller: &mut AsyncExecutionController<BenchProcess, S>,
    (gauge, bell): (&Gauge, &Bell),
    mut targets: impl Iterator<Item = Target>,
) -> Result<()> {
    let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    let mut value = Vec::new();
    gauge.tick();
    loop {
        for target in targets.by_ref().take(BATCH_RECORDS) {
            value.clear();
            target.command.encode(&mut value);
            builder.push_hashed(target.key.hash, &target.key.bytes, &value);
        }
        if builder.is_empty() {
            break;
        }
        let (batch, mut next) = (Rc::new(builder.finish()), 0);
        while next < batch.len() {
            gauge.tick();
            controller.poll()?;
            if controller.admits() {
                gauge.tick();
                next = controller.run_batch(&batch, next)?;
            } else {
                controller.flush_behind();
                bell.wait();
            }
        }
    }
    while controller.in_flight() > 0 {
        controller.flush();
        bell.wait();
        controller.poll()?;
    }
    Ok(())
}
