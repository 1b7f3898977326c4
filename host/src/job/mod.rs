//! Jobs: source and operator brought to threads, run under checkpoints, ended with a report or an error.
//!
//! **Failure**: an error, or a panic, anywhere ends the job with one error that says where; no thread of the job is
//! left when [`Job::run`] returns, and the last complete checkpoint stays as it was.
mod beginning;
mod broadcast;
mod control;
mod coordination;
mod crew;
mod event;
mod metrics;
mod rehearsal;
mod report;
mod requests;
mod settings;
mod succession;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use alluvium_async_exec::{MailboxReceiver, MailboxSender, mailbox};
use alluvium_checkpoint::{CheckpointStore, Coordinator, Opened, RegistryStats};
use alluvium_env::{Clock, Entropy, IoRuntime, Result};
use alluvium_state_api::{BackendFactory, Codec, FileOwnership, KeyedProcess, StateScan, States};
use object_store::ObjectStore;

use crate::source::{Collector, SourceCut, SourceSignal, SourceWorker, SplitQueue, SplitSource};
use crate::task::{Mail, Operator, Orders, TaskStart, TaskStats};

use beginning::Beginning;
use broadcast::BroadcastCut;
pub use control::{JobControl, Progress};
use coordination::{Coordination, Uploads};
use crew::{Crew, TaskHandle};
pub(crate) use event::{Event, TakenSnapshot};
pub(crate) use metrics::{Metrics, Spent};
use rehearsal::rehearse;
pub use report::{CheckpointReport, JobReport, Outcome, RestoreReport};
pub use requests::RequestedCheckpoint;
use requests::Requests;
use settings::LANE_BATCHES;
pub use settings::{JobSettings, Restore};
use succession::Succession;

/// What a job needs of the world.
#[derive(Clone)]
pub struct World {
    /// The root of the state URL.
    pub store: Arc<dyn ObjectStore>,
    /// The state URL, for messages.
    pub state_url: String,
    /// Opens the subtasks' state.
    pub backend: Arc<dyn BackendFactory>,
    /// Where all requests to the store are made.
    pub io: IoRuntime,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<Entropy>,
}

/// A keyed operator over a source, ready to run.
pub struct Job<S> {
    /// The input.
    pub source: S,
    /// How it runs.
    pub settings: JobSettings,
    /// Where it runs.
    pub world: World,
}

/// How long the end of a job waits for deletes and the sweep: what is left then is found by the next one. As long as for its stores.
const LAST_DELETES: Duration = Duration::from_secs(10);

/// One end of every lane: `[source][subtask]` for senders.
type Lanes = Vec<Vec<MailboxSender<Mail>>>;

impl<S: SplitSource> Job<S> {
    /// Runs the job on threads of its own and coordinates it on the calling one, until the input has ended or
    /// `control` stops it.
    ///
    /// `open` makes the operator of each subtask, on the subtask's thread. Of a job that is restored it is called once more before, on a
    /// thread of its own, to see whether the states are those of the checkpoint while nobody is stopped for it; what it makes then is
    /// dropped ([`States::is_rehearsal`] tells). When the input has ended and its last
    /// checkpoint is complete, `finish` gets a scan of the result state of every subtask, in the order of their key
    /// groups; it is not called when the job was stopped.
    ///
    /// It blocks, so it is not for a thread of an asynchronous runtime.
    ///
    /// # Errors
    /// `Invalid` for settings, inputs or checkpoints that do not fit; the first error of a source, the operator, a
    /// backend or `finish`, naming the source or subtask; `Fenced` when another job took over the state;
    /// `Unavailable` when checkpoints keep failing; `Cancelled`.
    pub fn run<P: KeyedProcess<In: Codec>>(
        self,
        open: impl Fn(&States<'_>) -> Result<Operator<P>> + Send + Sync + 'static,
        control: &JobControl,
        finish: impl FnOnce(Vec<Box<dyn StateScan>>) -> Result<()>,
    ) -> Result<JobReport> {
        let begun_at = self.world.clock.monotonic();
        self.settings.validate()?;
        let (clock, settings) = (Arc::clone(&self.world.clock), self.settings.clone());
        let world = &self.world;
        let (store, io) = (Arc::clone(&world.store), world.io.clone());
        let origin = match &settings.restore {
            Restore::From(origin) => Some(origin.as_ref()),
            _ => None,
        };
        let mut beginning = Beginning::afresh(&self.source);
        let open = Arc::new(open);
        let opened = CheckpointStore::open_checked(store, io, &world.entropy, origin, &mut |prospect| {
            beginning = Beginning::choose(&self, prospect)?;
            beginning.restored.as_ref().map_or(Ok(()), |metadata| rehearse(&self, metadata, &open))
        })?;
        let files = Arc::clone(&opened.files);
        let restored = beginning.restored.as_ref().map(|metadata| metadata.id.0);
        let mut notes = std::mem::take(&mut beginning.notes);
        let mut coordination = self.start(opened, beginning, &open, control)?;
        let outcome = match coordination.run_to_end(finish) {
            Ok(outcome) => outcome,
            Err(error) => return Err(coordination.fail(error)),
        };
        let TaskStats { backend, controller } = coordination.end();
        let checkpoints = coordination.checkpoints();
        notes.extend(coordination.failures());
        notes.extend(coordination.succession.as_mut().and_then(Succession::end));
        drop(coordination);
        notes.extend(left_over(files.settle_within(LAST_DELETES), files.last_refusal()));
        let first = control.metrics().first_record_at();
        let millis = |at: std::time::Duration| {
            u64::try_from(at.saturating_sub(begun_at).as_millis()).unwrap_or(u64::MAX)
        };
        Ok(JobReport {
            outcome,
            records: controller.records,
            seconds: clock.monotonic().saturating_sub(begun_at).as_secs_f64(),
            parallelism: settings.parallelism,
            checkpoints,
            restore: RestoreReport { checkpoint: restored, millis_to_first_record: first.map(millis) },
            backend,
            controller,
            notes,
        })
    }

    /// Starts all threads.
    fn start<P: KeyedProcess<In: Codec>>(
        self,
        opened: Opened,
        Beginning { restored, progress, .. }: Beginning,
        open: &Arc<impl Fn(&States<'_>) -> Result<Operator<P>> + Send + Sync + 'static>,
        control: &JobControl,
    ) -> Result<Coordination> {
        let Self { source, settings, world } = self;
        let (shape, metrics) = (settings.shape(), control.metrics());
        let succession = Succession::of(&settings.restore, &world);
        let store = Succession::store(succession.as_ref(), &world);
        let restored = restored.as_ref();
        if let Some(metadata) = restored {
            metrics.restored(metadata.id.0);
        }
        let (events, inbox) = channel();
        let signal = Arc::new(SourceSignal::new(settings.sources));
        let (lanes, receivers) = lanes(settings.sources, settings.parallelism);
        let handles: Vec<TaskHandle> = receivers.iter().map(handle).collect();
        let orders: Vec<Arc<Orders>> = handles.iter().map(|handle| Arc::clone(&handle.orders)).collect();
        let mut crew = Crew::new(Arc::clone(&signal), handles, events.clone());
        for ((subtask, inbox), orders) in (0..).zip(receivers).zip(orders) {
            let key_groups = settings.max_parallelism.range_of(subtask, settings.parallelism)?;
            let task = TaskStart {
                subtask,
                sources: settings.sources,
                key_groups,
                max_parallelism: settings.max_parallelism,
                settings: settings.controller.clone(),
                backend: Arc::clone(&world.backend),
                incarnation: opened.incarnation,
                files: Arc::clone(&opened.files) as Arc<dyn FileOwnership>,
                restore: restored.map(|metadata| metadata.restore_for(key_groups)).unwrap_or_default(),
                operator_states: restored.map_or(Ok(Vec::new()), |metadata| {
                    metadata.operator_states_for(subtask, settings.parallelism)
                })?,
                operator_state_bytes: settings.operator_state_bytes,
                inbox,
                orders,
                events: events.clone(),
                metrics: Arc::clone(&metrics),
                clock: Arc::clone(&world.clock),
                store: Arc::clone(&store),
                io: world.io.clone(),
            };
            let (open, who) = (Arc::clone(open), format!("operator {}, subtask {subtask}", settings.job));
            crew.start_task(who, move || task.run(open.as_ref()))?;
        }
        let queue = SplitQueue::new(&progress);
        start_sources(&mut crew, (source, queue), &settings, (lanes, signal, events.clone()))?;
        control.attach(events.clone());
        Ok(Coordination {
            checkpoint_at_end: settings.checkpoints.interval.is_some(),
            coordinator: Coordinator::new(opened.checkpoints, settings.checkpoints, shape, world.clock)?,
            crew,
            cut: SourceCut::new(progress, settings.sources),
            events: inbox,
            succession,
            uploads: Uploads::new(world.io, events),
            metrics,
            undrained: usize::from(settings.parallelism),
            ending: None,
            last: None,
            history: VecDeque::new(),
            broadcast: BroadcastCut::default(),
            requests: Requests::default(),
        })
    }
}

/// What is to be said about objects that could not be deleted, and what the store said.
fn left_over(stats: RegistryStats, why: Option<String>) -> Option<String> {
    let RegistryStats { waiting, failed_deletes, .. } = stats;
    let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
    let advice = if failed_deletes > 0 {
        format!("{failed_deletes} deletes failed{why}, so look whether the store permits them; ")
    } else {
        String::new()
    };
    (waiting > 0).then(|| {
        format!(
            "objects that nobody needs and that are not deleted yet: {waiting}; {advice}the next start on this state deletes \
             them, or alluvium gc"
        )
    })
}

fn start_sources<S: SplitSource>(
    crew: &mut Crew,
    (source, queue): (S, SplitQueue),
    settings: &JobSettings,
    (lanes, signal, events): (Lanes, Arc<SourceSignal>, Sender<Event>),
) -> Result<()> {
    let (source, queue) = (Arc::new(source), Arc::new(queue));
    for ((index, lanes), bell) in (0..).zip(lanes).zip(signal.bells()) {
        let worker = SourceWorker {
            index,
            source: Arc::clone(&source),
            queue: Arc::clone(&queue),
            signal: Arc::clone(&signal),
            bell: Arc::clone(bell),
            lanes,
            events: events.clone(),
            collector: Collector::new(settings.max_parallelism, settings.parallelism)?,
        };
        let who = format!("source of {}, subtask {index}", settings.job);
        crew.start_source(who, move || worker.run())?;
    }
    Ok(())
}

/// A lane from every source to every subtask.
fn lanes(sources: usize, parallelism: u16) -> (Lanes, Vec<MailboxReceiver<Mail>>) {
    let mut by_source: Lanes = (0..sources).map(|_| Vec::new()).collect();
    let mut receivers = Vec::new();
    for _ in 0..parallelism {
        let (senders, receiver) = mailbox(sources, LANE_BATCHES);
        for (lanes, sender) in by_source.iter_mut().zip(senders) {
            lanes.push(sender);
        }
        receivers.push(receiver);
    }
    (by_source, receivers)
}

fn handle(inbox: &MailboxReceiver<Mail>) -> TaskHandle {
    TaskHandle { closer: inbox.closer(), bell: inbox.bell(), orders: Arc::default() }
}
