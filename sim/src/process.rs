//! One attempt to run the job: takes the state over, restores, reads its partitions, takes checkpoints, until it has
//! finished, is fenced, fails, or is killed.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alluvium_checkpoint::{
    CheckpointMetadata, CheckpointSettings, CheckpointStore, Coordinator, JobShape, Opened, Origin,
    RestoreMode, SharedFileRegistry,
};
use alluvium_env::{Clock, Entropy, ErrorKind, IoRuntime, Result};
use alluvium_state_api::{CheckpointId, KeyGroupRange, MaxParallelism};
use object_store::ObjectStore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::backend::{Backend, Description, Part};
use crate::fork::Fork;
use crate::job::{GROUPS, JOB, PARTITIONS, Positions, decode, encode, group_of};
use crate::network::{Message, Network};
use crate::store::ProcessStore;
use crate::subtask::{Mail, Subtask, read};
use crate::world::{World, positions_of};

/// Time in the simulation.
struct SimulatedClock(Instant);

impl Clock for SimulatedClock {
    fn now(&self) -> Duration {
        self.monotonic()
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How an attempt ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished,
    Fenced,
    Failed,
}

/// What is drawn for an attempt before it starts.
pub(crate) struct Plan {
    pub(crate) parallelism: u16,
    pub(crate) sources: usize,
    pub(crate) settings: CheckpointSettings,
    /// Records of each partition.
    pub(crate) records: u64,
    /// Whether to begin at a retained checkpoint that is not the latest, if there is one.
    pub(crate) goes_back: bool,
}

impl Plan {
    pub(crate) fn draw(world: &World, records: u64) -> Self {
        let random = &world.random;
        let concurrent = random.between(1, 3) as usize;
        let min_pause = if concurrent == 1 { random.millis(0, 30) } else { Duration::ZERO };
        let settings = CheckpointSettings {
            interval: Some(random.millis(10, 80)),
            min_pause,
            concurrent,
            timeout: random.millis(80, 400),
            retained: random.between(1, 3) as usize,
            tolerated_failures: if random.permille(200) { 2 } else { 1000 },
        };
        Self {
            parallelism: random.between(1, 4) as u16,
            sources: random.between(1, PARTITIONS as u64) as usize,
            settings,
            records,
            goes_back: random.permille(100),
        }
    }
}

/// A running attempt, as whoever may kill it sees it.
pub(crate) struct Process {
    alive: Arc<AtomicBool>,
    main: AbortHandle,
    pub(crate) ended: Rc<Cell<Option<Ending>>>,
}

impl Process {
    /// Starts an attempt, from a checkpoint of another root if it is one of a fork that has none of its own yet.
    pub(crate) fn start(
        world: &Arc<World>,
        io: &IoRuntime,
        number: u64,
        plan: Plan,
        fork: Option<&Fork>,
    ) -> Self {
        let (io, fork) = (io.clone(), fork.cloned());
        Self::spawn(world, number, async move |store: ProcessStore| {
            let origin = fork.as_ref().and_then(|fork| fork.origin(&store));
            let (world, from_other) = (Arc::clone(&store.world), origin.is_some());
            match run(store, io, &plan, origin).await {
                Ok(()) => Ending::Finished,
                Err(error) if error.kind() == ErrorKind::Fenced => Ending::Fenced,
                Err(error) => {
                    world.trace(format_args!("{number} failed: {error}"));
                    // What it was to begin from is gone; or a checkpoint of its own came after all, from an attempt before.
                    let is_late = |fork: &Fork| from_other && (!fork.is_possible() || fork.has_own());
                    let permitted = match error.kind() {
                        ErrorKind::Unavailable | ErrorKind::Corruption => true,
                        ErrorKind::Invalid => fork.as_ref().is_some_and(is_late),
                        _ => false,
                    };
                    if !permitted {
                        world.violate(format!("attempt {number} ended with {error}"));
                    }
                    Ending::Failed
                }
            }
        })
    }

    /// Starts whatever has a process of its own.
    pub(crate) fn spawn(
        world: &Arc<World>,
        number: u64,
        body: impl AsyncFnOnce(ProcessStore) -> Ending + 'static,
    ) -> Self {
        let (alive, ended) = (Arc::new(AtomicBool::new(true)), Rc::new(Cell::new(None)));
        let store = ProcessStore { world: Arc::clone(world), process: number, alive: Arc::clone(&alive) };
        let said = Rc::clone(&ended);
        let main = tokio::task::spawn_local(async move {
            let world = Arc::clone(&store.world);
            let ending = body(store).await;
            world.trace(format_args!("{number} ends: {ending:?}"));
            said.set(Some(ending));
        });
        world.trace(format_args!("{number} starts"));
        Self { alive, main: main.abort_handle(), ended }
    }

    /// Ends it wherever it is.
    pub(crate) fn kill(&self) {
        self.alive.store(false, Ordering::SeqCst);
        self.main.abort();
    }
}

/// Ends tasks with whoever started them.
struct Crew(Vec<AbortHandle>);

impl Drop for Crew {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn run(
    store: ProcessStore,
    io: IoRuntime,
    plan: &Plan,
    origin: Option<(Arc<Origin>, Arc<World>)>,
) -> Result<()> {
    let world = Arc::clone(&store.world);
    let entropy = Entropy::from_seed(world.random.next());
    let completed = world.completed.load(Ordering::SeqCst);
    let shared = Arc::new(store.clone()) as Arc<dyn ObjectStore>;
    let opened = match &origin {
        None => CheckpointStore::take_over(shared, io, &entropy).await?,
        Some((origin, theirs)) => {
            let opened = CheckpointStore::take_over_from(shared, io, &entropy, origin).await?;
            if let (RestoreMode::Claim, Some(incarnation)) = (origin.mode(), origin.last_incarnation()) {
                theirs.claimed(incarnation, theirs.retained()?.all());
            }
            opened
        }
    };
    let origin = origin.map(|(origin, _)| origin);
    world.claimed(opened.incarnation, &opened.retained);
    let latest = opened.latest().map_or(0, |latest| latest.id.0);
    if latest < completed {
        world.violate(format!("checkpoint {completed} was complete, and {latest} is the latest"));
    }
    let restored = match opened.retained.len().checked_sub(2) {
        _ if origin.is_some() => opened.origin.clone(),
        Some(before) if plan.goes_back => opened.retained.get(before).cloned(),
        _ => opened.latest().cloned(),
    };
    let Opened { checkpoints, incarnation, files, .. } = opened;
    let (messages, inbox) = unbounded_channel();
    let network = Network { world: Arc::clone(&world), coordinator: messages };
    let shape = JobShape {
        job: JOB.to_owned(),
        max_parallelism: MaxParallelism::new(GROUPS)?,
        subtasks: usize::from(plan.parallelism),
        sources: plan.sources,
    };
    if let Some(restored) = &restored {
        restored.check(&shape)?;
    }
    let mut crew = Crew(Vec::new());
    let mut lanes = Vec::new();
    for index in 0..plan.parallelism {
        let key_groups = shape.max_parallelism.range_of(index, plan.parallelism)?;
        let folder = format!("state/{incarnation:08}/{index}");
        let taken_over = (restored.as_ref(), origin.as_ref());
        let subtask = open(taken_over, key_groups, &files, (&store, &network, folder, index)).await?;
        let (lane, mail) = unbounded_channel();
        lanes.push(lane);
        crew.0.push(tokio::task::spawn_local(subtask.run(mail, plan.sources)).abort_handle());
    }
    let begin = restored.as_ref().map(positions_of).unwrap_or_default();
    let barriers: Rc<RefCell<Vec<CheckpointId>>> = Rc::default();
    for index in 0..plan.sources {
        let source = Source {
            index,
            sources: plan.sources,
            records: plan.records,
            positions: begin,
            lanes: lanes.clone(),
            barriers: Rc::clone(&barriers),
            network: network.clone(),
        };
        crew.0.push(tokio::task::spawn_local(source.run()).abort_handle());
    }
    let clock = Arc::new(SimulatedClock(Instant::now()));
    let coordinator = Coordinator::new(checkpoints, plan.settings.clone(), shape, clock)?;
    let retiring = Retiring { origin, entropy };
    coordinate(coordinator, inbox, &barriers, (&world, plan, incarnation), &retiring).await
}

/// A subtask with what it takes over, every file of which is there.
async fn open(
    (restored, origin): (Option<&CheckpointMetadata>, Option<&Arc<Origin>>),
    key_groups: KeyGroupRange,
    files: &Arc<SharedFileRegistry>,
    (store, network, folder, index): (&ProcessStore, &Network, String, u16),
) -> Result<Subtask> {
    let plan = restored.map(|checkpoint| checkpoint.restore_for(key_groups)).unwrap_or_default();
    let paged = store.world.random.permille(500);
    let (mut parts, mut whole) = (Vec::new(), Vec::new());
    for part in &plan.parts {
        if paged {
            whole.extend(Description::whole_pages(&part.payload, part.key_groups));
        }
        for Part { name, clip } in Description::decode(&part.payload) {
            parts.extend(clip.intersect(part.key_groups).map(|clip| Part { name, clip }));
        }
    }
    store.world.count(|report| report.adopted += whole.len() as u64);
    let backend = Backend::new(files, key_groups, (folder, paged), (&parts, whole));
    read(store, origin.map(Arc::as_ref), &parts).await?;
    let inputs = plan.inputs.iter().flat_map(|kept| decode(kept)).map(|group| group as u16);
    let own = |group: &u16| (key_groups.start..key_groups.end).contains(group);
    Ok(Subtask {
        index: usize::from(index),
        key_groups,
        backend: Rc::new(RefCell::new(backend)),
        store: store.clone(),
        origin: origin.cloned(),
        network: network.clone(),
        inputs: inputs.filter(own).collect::<VecDeque<u16>>(),
        compacts: Rc::default(),
    })
}

async fn coordinate(
    mut coordinator: Coordinator,
    mut inbox: UnboundedReceiver<Message>,
    barriers: &RefCell<Vec<CheckpointId>>,
    (world, plan, incarnation): (&Arc<World>, &Plan, u64),
    retiring: &Retiring,
) -> Result<()> {
    let end: Positions = [plan.records; PARTITIONS];
    loop {
        let due = coordinator.next_due().unwrap_or(Duration::from_secs(1));
        // A timer is a millisecond late at most.
        if let Ok(Some(message)) = timeout(due, inbox.recv()).await {
            match message {
                Message::Source { id, source, positions } => {
                    coordinator.acknowledge_source(id, source, positions);
                }
                Message::Subtask { id, subtask, ack } => coordinator.acknowledge_subtask(id, subtask, ack),
            }
        }
        let due = coordinator.trigger_if_due();
        let asked = if due.is_none() && world.random.permille(5) { coordinator.trigger() } else { due };
        barriers.borrow_mut().extend(asked);
        while let Some(id) = coordinator.ready() {
            let at_end = Cell::new(false);
            let merge = |sources: &[bytes::Bytes]| {
                let merged = sources.concat();
                at_end.set(decode(&merged).chunks_exact(2).all(|pair| pair.get(1) == end.first()));
                merged.into()
            };
            let before = coordinator.counters();
            let outcome = coordinator.complete_ready(&merge, false).await;
            let after = coordinator.counters();
            world.count(|report| {
                report.completed += after.completed - before.completed;
                report.failed += after.failed - before.failed;
                report.subsumed += after.subsumed - before.subsumed;
            });
            match outcome {
                Ok(Some(completed)) => {
                    world.complete(completed.id.0, incarnation);
                    retiring.begin();
                    if at_end.get() {
                        return Ok(());
                    }
                }
                Ok(None) => world.trace(format_args!("checkpoint {id} failed")),
                Err(error) if error.kind() == ErrorKind::Fenced => {
                    world.count(|report| report.fenced += 1);
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
        // Says so if it is over.
        coordinator.complete_ready(&|_| bytes::Bytes::new(), false).await?;
    }
}

/// An origin that goes once there is a checkpoint in its place.
struct Retiring {
    origin: Option<Arc<Origin>>,
    entropy: Entropy,
}

impl Retiring {
    /// As the host does after each checkpoint: beside the job, and what fails is tried again after the next one.
    fn begin(&self) {
        if let Some(origin) = &self.origin {
            let (origin, token) = (Arc::clone(origin), self.entropy.next_u64());
            drop(tokio::task::spawn_local(async move { origin.retire(token).await }));
        }
    }
}

struct Source {
    index: usize,
    sources: usize,
    records: u64,
    positions: Positions,
    lanes: Vec<UnboundedSender<(usize, Mail)>>,
    barriers: Rc<RefCell<Vec<CheckpointId>>>,
    network: Network,
}

impl Source {
    async fn run(mut self) {
        let mut sent = 0;
        loop {
            let wanted: Vec<CheckpointId> = self.barriers.borrow().iter().skip(sent).copied().collect();
            sent += wanted.len();
            for id in wanted {
                for lane in &self.lanes {
                    let _ = lane.send((self.index, Mail::Barrier(id)));
                }
                let positions = self.own().into_iter();
                let positions = encode(positions.flat_map(|p| [p as u64, self.position(p)]));
                let source = self.index;
                self.network.send(|| Message::Source { id, source, positions: positions.clone() });
            }
            let world = Arc::clone(&self.network.world);
            let random = &world.random;
            for _ in 0..random.between(0, 4) {
                let own = self.own();
                let partition = own.get(random.below(own.len() as u64) as usize).copied().unwrap_or_default();
                self.emit(partition);
            }
            sleep(self.network.world.random.millis(1, 12)).await;
        }
    }

    fn own(&self) -> Vec<usize> {
        (0..PARTITIONS).filter(|partition| partition % self.sources == self.index).collect()
    }

    fn position(&self, partition: usize) -> u64 {
        self.positions.get(partition).copied().unwrap_or_default()
    }

    fn emit(&mut self, partition: usize) {
        let index = self.position(partition);
        if index >= self.records {
            return;
        }
        if let Some(position) = self.positions.get_mut(partition) {
            *position += 1;
        }
        let group = group_of(partition, index);
        let parallelism = self.lanes.len() as u16;
        let target = MaxParallelism::new(GROUPS)
            .map(|max| max.subtask_of(alluvium_state_api::KeyGroup(group), parallelism))
            .unwrap_or_default();
        if let Some(lane) = self.lanes.get(usize::from(target)) {
            let _ = lane.send((self.index, Mail::Record(group)));
        }
    }
}
