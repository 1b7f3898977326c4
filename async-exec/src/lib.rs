//! The asynchronous execution controller: user functions never wait for a slow read, and a key's records run in order.
//!
//! The design is Flink's FLIP-425 on Rust futures. The nouns:
//!
//! - an [`AsyncExecutionController`] runs the records of one keyed subtask. A record is polled as soon as it arrives;
//!   if memory answers all it asks, it is done in that poll (design D2), otherwise it is *in flight*: its future stays
//!   in a slot, its key is *busy*, and later records of the key queue behind it. If the function has a *prelude*
//!   ([`PreparedProcess`](alluvium_state_api::PreparedProcess)), those of the queue run meanwhile;
//! - a *read batch* collects what records in flight ask of the store. It is submitted when it is full, and when the
//!   task has nothing better to do (design D16);
//! - an *epoch* is the span between two events that are not records (design D15): a watermark is done when all records
//!   before it have ended, and the timers that it fires. [`EpochMode`] says whether the records behind it wait for that;
//! - a *barrier* is the moment of a checkpoint: records that have done nothing yet become *inputs* of the checkpoint;
//! - a [`mailbox()`] is how other threads reach the task thread: a bounded lane a channel, and a bell.
//!
//! ```text
//!            ┌─────────── mailbox ────────────┐
//!  sources ──┤ lane │ lane │ …           bell ├◄───────── backend, wakers
//!            └──┬─────────────────────────┬───┘
//!           record batch                poll
//!               ▼                         ▼
//!        key busy? ──yes──► line of  ◄── runnable slots
//!               │no         the key        ▲
//!               ▼              │           │ answers
//!          first poll ◄────────┘      ┌────┴────┐
//!          │        └──misses──► read batch ──► backend
//!          ▼ hits                     └─────────┘
//!         done
//! ```
//!
//! A task on the heap backend, with the loop that a host runs:
//!
//! ```
//! use std::rc::Rc;
//! use alluvium_async_exec::{ControllerSettings, controller, mailbox};
//! use alluvium_state_api::*;
//!
//! struct Count { seen: ValueState<u64> }
//! impl KeyedProcess for Count {
//!     type In = u64;
//!     type Out = (String, u64);
//!     async fn process(&self, times: u64, ctx: &Context<Self::Out>) -> Result<()> {
//!         let seen = self.seen.get(ctx).await?.unwrap_or(0) + times;
//!         self.seen.put(ctx, &seen)?;
//!         ctx.emit((ctx.key::<str>()?, seen));
//!         Ok(())
//!     }
//! }
//!
//! let (senders, mut inbox) = mailbox(1, 4);
//! let task = Rc::new(TaskContext::new(Box::new(HeapBackend::default())));
//! let count = Rc::new(Count { seen: task.states().value("seen")? });
//! let mut controller = controller(count, Rc::clone(&task), ControllerSettings::default(), inbox.bell());
//!
//! let mut batch = RecordBatchBuilder::new(MaxParallelism::default());
//! batch.push("ox", &1_u64);
//! batch.push("ant", &2_u64);
//! batch.push("ox", &3_u64);
//! senders[0].send(batch.finish())?;
//! drop(senders);
//!
//! let mut current = None;
//! while !(inbox.ended(0) && current.is_none() && controller.in_flight() == 0) {
//!     controller.poll()?;
//!     if !controller.admits() {
//!         controller.flush();
//!         inbox.wait_for_bell()?;
//!         continue;
//!     }
//!     if current.is_none() {
//!         current = inbox.take().map(|(_, batch)| (Rc::new(batch), 0));
//!     }
//!     match current.take() {
//!         Some((batch, from)) => {
//!             let next = controller.run_batch(&batch, from)?;
//!             current = (next < batch.len()).then_some((batch, next));
//!         }
//!         None => {
//!             controller.flush();
//!             inbox.wait()?;
//!         }
//!     }
//! }
//! let totals = task.take_outputs();
//! assert_eq!(totals, [("ox".into(), 1), ("ant".into(), 2), ("ox".into(), 4)]);
//! # Ok::<(), Error>(())
//! ```
mod controller;
mod epoch;
mod held;
mod keys;
mod line;
mod mailbox;
mod settings;
mod slots;
mod start;
mod stats;
mod sync;
mod waker;

pub use controller::{AsyncExecutionController, controller, controller_with_events};
pub use epoch::{EpochMode, Kept, NoEvent};
pub use mailbox::{MailboxCloser, MailboxReceiver, MailboxSender, mailbox};
pub use settings::ControllerSettings;
pub use start::StartRecord;
pub use stats::{ControllerLoad, ControllerStats};
