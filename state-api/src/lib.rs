//! What user code sees of Alluvium, and what a backend must do for it. No I/O happens here.
//!
//! The nouns, from the user's end to the store's:
//!
//! - a [`KeyedProcess`] is a keyed function: `async fn process(&self, record, ctx)`;
//! - a [`Context`] is what one running record sees: its key, its outputs, its task;
//! - [`ValueState`], [`ListState`], [`MapState`], [`ReducingState`] and [`AggregatingState`] are typed handles on state
//!   of the current key; a read is a [`StateFuture`], a write is done when the call returns (design D3);
//! - a [`Scope`] says whose state is meant: the key's own, or that of one of its namespaces;
//! - a [`Codec`] makes bytes of values, a [`KeyCodec`] of keys, so that those sort;
//! - an [`OperatorListState`], [`UnionListState`] or [`BroadcastState`] belongs to the subtask and to no key;
//! - a [prelude](PreparedProcess) is what a function does with a record before it is the record's turn of its key;
//! - a [`Timer`] calls the function again, by event time or processing time;
//! - a [`StateTtl`] is how long a state's values live; a [`TtlBackend`] sees to it in any backend;
//! - a [`StateKey`](state_key) is `key_group · state_id · key · namespace · user_key` in bytes, and its order is the scan order;
//! - a [`KeyedStateBackend`] answers what memory knows at once and takes the rest in batches;
//! - a [`SubtaskSnapshot`] is what one subtask adds to a checkpoint, and [`FileOwnership`] who may delete what.
//!
//! ```text
//!  process() ── get ──► StateFuture ──ready──► value            resident: same poll, no queue
//!                           │ miss
//!                           ▼
//!                        ReadTable ──batch──► backend.submit ──► … ──► backend.poll ──► record runs on
//! ```
//!
//! # A first function
//!
//! A function holds its states and handles one record after the other. Here it runs in [`harness`], on the heap backend; in
//! a job the controller of `alluvium-async-exec` runs thousands of its records at a time, in order per key.
//!
//! ```
//! use alluvium_state_api::*;
//!
//! struct Count { seen: ValueState<u64> }
//! impl KeyedProcess for Count {
//!     type In = ();
//!     type Out = u64;
//!     async fn process(&self, _: (), ctx: &Context<u64>) -> Result<()> {
//!         let seen = self.seen.get(ctx).await?.unwrap_or(0) + 1;
//!         self.seen.put(ctx, &seen)?;
//!         ctx.emit(seen);
//!         Ok(())
//!     }
//! }
//!
//! let counts = harness::run(|states| Ok(Count { seen: states.value("seen")? }), [("ox", ()), ("ant", ()), ("ox", ())])?;
//! assert_eq!(counts, [1, 1, 2]);
//! # Ok::<(), Error>(())
//! ```
//!
//! The function stays on its thread, so it may hold an `Rc` or a `RefCell`. What must survive belongs into state.
//!
//! # Which state for what
//!
//! | state | holds, per key | written by |
//! |---|---|---|
//! | [`ValueState`] | one value | `put` |
//! | [`ListState`] | elements in the order of their adds | `add`, which never reads; `update` |
//! | [`MapState`] | entries by user key, each read and written by itself; iterated in key order, a page at a time | `put`, `remove` |
//! | [`ReducingState`] | one value of the adds' type, by a [`Reduce`] | `add`, which never reads |
//! | [`AggregatingState`] | an accumulator of another type, by an [`Aggregate`] | `add`, which never reads |
//!
//! A large value of which records need a part is better a map: a map of a million entries costs a record what it touches.
//! `clear` of a map is one tombstone, however many entries there are.
//!
//! # Values of your own
//!
//! Numbers, strings, options, tuples and the usual collections have codecs. A type of serde gets one by a line:
//!
//! ```
//! use alluvium_state_api::*;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Visit { page: String, seconds: u32 }
//! codec_by_serde!(Visit, id = "visit");
//!
//! /// Emits the pages on which somebody stayed for more than a minute altogether.
//! struct Stays { seconds: MapState<str, u32> }
//! impl KeyedProcess for Stays {
//!     type In = Visit;
//!     type Out = String;
//!     async fn process(&self, visit: Visit, ctx: &Context<String>) -> Result<()> {
//!         let seconds = self.seconds.get(ctx, &visit.page).await?.unwrap_or(0) + visit.seconds;
//!         if seconds > 60 {
//!             self.seconds.remove(ctx, &visit.page)?;
//!             ctx.emit(visit.page);
//!             return Ok(());
//!         }
//!         self.seconds.put(ctx, &visit.page, &seconds)
//!     }
//! }
//!
//! let visit = |page: &str, seconds| ("ann", Visit { page: page.to_owned(), seconds });
//! let visits = [visit("home", 40), visit("help", 50), visit("home", 30)];
//! assert_eq!(harness::run(|states| Ok(Stays { seconds: states.map("seconds")? }), visits)?, ["home"]);
//! # Ok::<(), Error>(())
//! ```
//!
//! A checkpoint keeps which codec wrote a state and refuses another; how a type changes is told by [`by_serde`] and
//! [`StoredSchema`].
//!
//! # Windows: namespaces
//!
//! A state in namespaces holds something for each of them. It is accessed by [`Context::in_namespace`] only; without one it
//! does not compile. Namespaces merge, as session windows must:
//!
//! ```
//! use alluvium_state_api::*;
//!
//! /// Counts clicks by session: one ends where nothing comes for ten minutes. Emits the count when sessions have met.
//! struct Sessions { starts: MapState<u64, u64>, clicks: ReducingState<Sum<u64>, u64> }
//! impl KeyedProcess for Sessions {
//!     type In = u64;
//!     type Out = Option<u64>;
//!     async fn process(&self, minute: u64, ctx: &Context<Self::Out>) -> Result<()> {
//!         self.clicks.add(ctx.in_namespace(&minute), &1)?;
//!         let (mut first, mut last, mut met) = (minute, minute, Vec::new());
//!         let mut sessions = self.starts.entries(ctx);
//!         while let Some((start, end)) = sessions.next().await? {
//!             if start <= last + 10 && first <= end + 10 {
//!                 (first, last) = (first.min(start), last.max(end));
//!                 met.push(start);
//!             }
//!         }
//!         met.iter().try_for_each(|start| self.starts.remove(ctx, start))?;
//!         self.starts.put(ctx, &first, &last)?;
//!         self.clicks.merge_namespaces(ctx, &first, met.iter().chain([&minute])).await?;
//!         ctx.emit(self.clicks.get(ctx.in_namespace(&first)).await?);
//!         Ok(())
//!     }
//! }
//!
//! let open = |states: &States<'_>| {
//!     Ok(Sessions { starts: states.map("starts")?, clicks: states.in_namespaces().reducing("clicks")? })
//! };
//! let clicks = [0, 15, 40, 8].map(|minute| ("ann", minute));
//! assert_eq!(harness::run(open, clicks)?, [Some(1), Some(1), Some(1), Some(3)]);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Timers
//!
//! A function may ask to be called again: when event time has come to a moment, which the watermark says, or processing
//! time, which the job's clock says. It says that it [uses timers](KeyedProcess::USES_TIMERS), registers them by
//! [`Context::register_event_timer`] and its like, and gets each in [`KeyedProcess::on_timer`]:
//!
//! ```
//! use alluvium_state_api::*;
//!
//! /// Counts clicks by minute. Emits a minute's count when the minute is over.
//! struct Minutes { clicks: ReducingState<Sum<u64>, i64> }
//! impl KeyedProcess for Minutes {
//!     type In = i64;
//!     type Out = (i64, u64);
//!     const USES_TIMERS: bool = true;
//!
//!     async fn process(&self, second: i64, ctx: &Context<Self::Out>) -> Result<()> {
//!         let minute = second / 60;
//!         let window = ctx.in_namespace(&minute);
//!         self.clicks.add(window, &1)?;
//!         window.register_event_timer(Timestamp((minute + 1) * 60_000 - 1))
//!     }
//!
//!     async fn on_timer(&self, timer: Timer, ctx: &Context<Self::Out>) -> Result<()> {
//!         let minute = timer.namespace::<i64>()?;
//!         let window = ctx.in_namespace(&minute);
//!         ctx.emit((minute, self.clicks.get(window).await?.unwrap_or(0)));
//!         self.clicks.clear(window)
//!     }
//! }
//!
//! let open = |states: &States<'_>| Ok(Minutes { clicks: states.in_namespaces().reducing("clicks")? });
//! let clicks = [130, 5, 59, 61, 125].map(|second| ("ann", second));
//! assert_eq!(harness::run(open, clicks)?, [(0, 2), (1, 1), (2, 2)]);
//! # Ok::<(), Error>(())
//! ```
//!
//! There is one timer a key, namespace and moment, however often it is registered, so nobody has to look whether there is one.
//! Timers are keyed state: they survive, rescale, and there may be millions of them. The timers of one key fire in the order
//! of their times, and each takes its turn among the records of its key.
//!
//! # State of no key
//!
//! What a function needs for records of every key alike is [operator state](OperatorStates): rules, prices, settings, which
//! come by broadcast ([`BroadcastProcess`] shows it), or what each subtask counts for itself. It lies in memory, is read without
//! `await`, and is written into every checkpoint whole, so it is for little.
//!
//! # Asking elsewhere first
//!
//! A function may await anything, and a record that awaits the answer of a service holds up the later ones of its key. Where it
//! awaits that before it touches state, it is a *prelude*: a [`PreparedProcess`] makes the record of what the source emitted, and
//! those of waiting records run meanwhile, so that records of one key wait for the service together and still run one after the
//! other. [`Prepared`] is the switch; whoever runs a function without it runs it in strict order.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::rc::Rc;
//! use alluvium_state_api::*;
//!
//! /// Stands for a client of a service far away.
//! struct Prices(BTreeMap<String, u64>);
//! impl Prices {
//!     async fn of(&self, item: &str) -> Result<Rc<u64>> {
//!         let price = self.0.get(item).ok_or_else(|| Error::invalid(format!("nobody sells {item}")))?;
//!         Ok(Rc::new(*price))
//!     }
//! }
//!
//! /// Emits what each customer has spent so far.
//! struct Spent { prices: Prices, spent: ValueState<u64> }
//! impl KeyedProcess for Spent {
//!     type In = (u64, Rc<u64>); // what the prelude makes: it needs no codec
//!     type Out = u64;
//!     async fn process(&self, (count, price): Self::In, ctx: &Context<u64>) -> Result<()> {
//!         let spent = self.spent.get(ctx).await?.unwrap_or(0) + count * *price;
//!         self.spent.put(ctx, &spent)?;
//!         ctx.emit(spent);
//!         Ok(())
//!     }
//! }
//! impl PreparedProcess for Spent {
//!     type Raw = (u64, String); // what the source emits
//!     async fn prepare(&self, (count, item): Self::Raw, _: RecordKey<'_>) -> Result<Self::In> {
//!         Ok((count, self.prices.of(&item).await?))
//!     }
//! }
//!
//! let open = |states: &States<'_>| {
//!     let prices = Prices([("fig".to_owned(), 3), ("nut".to_owned(), 2)].into());
//!     Ok(Prepared::new(Spent { prices, spent: states.value("spent")? }))
//! };
//! let orders = [("ann", (2, "fig".to_owned())), ("bob", (1, "nut".to_owned())), ("ann", (5, "nut".to_owned()))];
//! assert_eq!(harness::run(open, orders)?, [6, 2, 16]);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Many reads at once
//!
//! A read is asked for when it is made, so what is made before the first `await` is read together. [`combine_all`] waits
//! for many; [`StateFutureExt`] has FLIP-424's `then_…` for code that is built as a graph.
//!
//! ```
//! # use alluvium_state_api::*;
//! # async fn example(prices: &MapState<str, u64>, ctx: &Context<()>) -> Result<u64> {
//! let (nut, fig) = (prices.get(ctx, "nut"), prices.get(ctx, "fig"));
//! let sum = nut.await?.unwrap_or(0) + fig.await?.unwrap_or(0);
//! let all = combine_all(["nut", "fig", "pear"].map(|name| prices.get(ctx, name))).await?;
//! # Ok(sum + all.into_iter().flatten().sum::<u64>()) }
//! ```
//!
//! # When something fails
//!
//! An error that a record returns ends the job, with the operator, the subtask and the key group named; so does a panic.
//! The job goes on from its last checkpoint when it is started again.
mod backend;
mod codec;
mod combinators;
pub mod conformance;
mod context;
mod descriptor;
mod future;
pub mod harness;
mod heap;
mod heap_entries;
mod import;
mod iterator;
mod key_group;
mod merge;
mod operator_state;
mod operators;
mod page;
mod prelude;
mod process;
mod reads;
mod record;
mod schema;
mod scope;
pub mod snapshot;
mod state;
pub mod state_key;
mod state_table;
mod timers;
mod ttl;

pub use alluvium_env::{Error, ErrorKind, Result};
pub use backend::{
    Access, Answered, BackendFactory, BackendStats, KeyedStateBackend, Lookup, Notify, OpenRequest, StateScan,
};
pub use codec::{Codec, KeyCodec, by_serde};
pub use combinators::{StateFutureExt, combine_all};
pub use context::{BroadcastContext, Context, TaskContext};
pub use descriptor::{StateDescriptor, StateId, StateKind};
pub use future::StateFuture;
pub use heap::{HeapBackend, HeapBackendFactory, HeapStore};
pub use heap_entries::HeapEntries;
pub use import::{CANONICAL, StateEntries, StoredEntry, StoredState, StoredStates, unfoldable};
pub use iterator::StateIterator;
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism, key_hash};
pub use merge::{Aggregate, MergeOperator, Reduce, Sum, list_elements, push_list_element};
pub use operator_state::{
    BroadcastState, OperatorListState, OperatorScope, OperatorStateKind, OperatorStatePart, OperatorStates,
    UnionListState,
};
pub use operators::OperatorRegistry;
pub use page::{DEFAULT_PAGE_ENTRIES, Page, PageBuilder, PageRequest};
pub use prelude::{HasPrelude, Prepared, PreparedProcess, RecordKey};
pub use process::{BroadcastProcess, KeyedProcess};
pub use reads::{ReadBatch, ReadId, ReadTable, RecordSlot};
pub use record::{RecordBatch, RecordBatchBuilder, RecordRef};
pub use schema::{Schema, StoredSchema};
pub use scope::{InNamespace, Scope};
pub use snapshot::{
    CheckpointId, FileOwnership, FileRef, ManifestPage, RestoredPart, SnapshotTask, SubtaskSnapshot,
};
pub use state::{AggregatingState, ListState, MapState, ReducingState, States, ValueState};
pub use state_table::StateTable;
pub use timers::{TimeDomain, Timer, Timestamp};
pub use ttl::{Age, Lifetimes, StampedBackend, StateTtl, TtlBackend, TtlTime, TtlUpdate, TtlVisibility};
