//! Timers against a set: registered, deleted and fired at random, with snapshots, restores and other parallelisms between.
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use alluvium_env::{Entropy, ErrorKind, ManualClock, Result};

use super::opened::Bell;
use super::{Suite, check, part};
use crate::timers::TimerLimits;
use crate::{
    CheckpointId, Context, KeyGroupRange, KeyedProcess, MaxParallelism, RecordBatch, RecordBatchBuilder,
    RecordSlot, RestoredPart, SubtaskSnapshot, TaskContext, TimeDomain, Timestamp,
};

/// The keys there are; few enough that a key group has many timers of one.
const KEYS: u64 = 25;
const MAX: MaxParallelism = MaxParallelism::DEFAULT;
/// Pages so small that heads run out all the time.
const LIMITS: TimerLimits = TimerLimits { head: 8, page: 4 };

/// Time, record key, namespace.
type Known = (i64, u64, Option<u16>);

/// One subtask.
struct Subtask {
    task: Rc<TaskContext<()>>,
    bell: Arc<Bell>,
}

impl Subtask {
    /// Polls until `done`, with everything submitted that is to be read.
    fn poll_until(&self, mut done: impl FnMut(&TaskContext<()>) -> bool) {
        let reads = self.task.take_batch();
        self.task.with_backend(|backend| backend.submit(reads));
        loop {
            check("poll", self.task.poll_backend(&mut |_| ()));
            if done(&self.task) {
                return;
            }
            self.bell.wait();
        }
    }

    /// Fires what is due; every timer is begun in a record of its own.
    fn fire(&self, fired: &mut Vec<Known>) {
        loop {
            let (due, more) = check("timers", self.task.take_due_timers(TimeDomain::EventTime, 5));
            if due.is_empty() {
                if !more {
                    return;
                }
                let before = self.task.outstanding_reads();
                self.poll_until(|task| task.outstanding_reads() < before);
            }
            for ctx in Context::of_batch(&self.task, due) {
                let timer = check("begin", ctx.begin_timer());
                check("end", ctx.end_timer());
                let timer = timer.unwrap_or_else(|| panic!("a timer that nobody deleted does not begin"));
                // One that was registered without a namespace has no bytes of one.
                let namespace = timer.namespace::<Option<u16>>().unwrap_or_default();
                fired.push((timer.time().0, check("key", ctx.key::<u64>()), namespace));
            }
        }
    }
}

struct World<'a> {
    suite: &'a Suite<'a>,
    random: Entropy,
    subtasks: Vec<Subtask>,
    records: Rc<RecordBatch>,
    timers: BTreeSet<Known>,
    now: i64,
}

impl World<'_> {
    fn below(&self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    fn range(index: usize, parallelism: usize) -> KeyGroupRange {
        check("range", MAX.range_of(index as u16, parallelism as u16))
    }

    fn start(&mut self, parallelism: usize, snapshots: &[SubtaskSnapshot]) {
        let open = |index| {
            let range = Self::range(index, parallelism);
            let parts = snapshots.iter().filter_map(|snapshot| {
                let key_groups = range.intersect(snapshot.key_groups)?;
                Some(RestoredPart { key_groups, ..part(snapshot) })
            });
            let clock = Arc::new(ManualClock::default());
            let (backend, bell) = self.suite.open_backend(index as u16, range, parts.collect(), clock);
            let task = Rc::new(TaskContext::new(backend));
            check("timers", task.open_timers_within(range, LIMITS));
            // As Flink has it: the watermark starts anew, the first one says where it is.
            assert_eq!(task.watermark(), Timestamp::MIN);
            Subtask { task, bell }
        };
        self.subtasks = (0..parallelism).map(open).collect();
    }

    /// Everything through a checkpoint, to another parallelism.
    fn rescale(&mut self) {
        let snapshot = |subtask: &Subtask| {
            let task = subtask.task.with_backend(|backend| backend.snapshot(CheckpointId(1)));
            check("snapshot", (self.suite.run_snapshot)(check("snapshot", task)))
        };
        let snapshots: Vec<_> = self.subtasks.iter().map(snapshot).collect();
        let parallelism = 1 + self.below(3) as usize;
        self.start(parallelism, &snapshots);
    }

    fn change(&mut self) {
        let key = self.below(KEYS);
        let namespace = (self.below(2) == 0).then(|| self.below(3) as u16);
        let Some(record) = self.records.get(key as usize) else { return };
        let owner = MAX.subtask_of(record.group, self.subtasks.len() as u16);
        let Some(subtask) = self.subtasks.get(usize::from(owner)) else { return };
        subtask.poll_until(|task| task.with_backend(|backend| backend.admits()));
        let ctx =
            Context::new(Rc::clone(&subtask.task), Rc::clone(&self.records), key as usize, RecordSlot(0));
        let of_key: Vec<_> = self.timers.iter().filter(|timer| timer.1 == key).copied().collect();
        if self.below(3) > 0 || of_key.is_empty() {
            let ahead = if self.below(4) == 0 { 2000 } else { 60 };
            let time = self.now - 10 + self.below(ahead).cast_signed();
            let registered = match namespace {
                Some(_) => ctx.in_namespace(&namespace).register_event_timer(Timestamp(time)),
                None => ctx.register_event_timer(Timestamp(time)),
            };
            check("register", registered);
            self.timers.insert((time, key, namespace));
        } else if let Some(&(time, key, namespace)) = of_key.get(self.below(of_key.len() as u64) as usize) {
            let deleted = match namespace {
                Some(_) => ctx.in_namespace(&namespace).delete_event_timer(Timestamp(time)),
                None => ctx.delete_event_timer(Timestamp(time)),
            };
            check("delete", deleted);
            self.timers.remove(&(time, key, namespace));
        }
    }

    fn advance(&mut self, now: i64) {
        self.now = now;
        let mut fired = Vec::new();
        for subtask in &self.subtasks {
            subtask.task.advance_watermark(Timestamp(now));
            subtask.fire(&mut fired);
            let bound = 2 * LIMITS.head * usize::from(MAX.get());
            assert!(subtask.task.timers_in_memory() <= bound, "timers in memory");
        }
        for key in 0..KEYS {
            let times: Vec<_> = fired.iter().filter(|timer| timer.1 == key).map(|timer| timer.0).collect();
            assert!(times.is_sorted(), "timers of one key fire in the order of their times: {times:?}");
        }
        let count = fired.len();
        let fired: BTreeSet<_> = fired.into_iter().collect();
        assert_eq!(fired.len(), count, "a timer fires once");
        let later = self.timers.split_off(&(now + 1, 0, None));
        let due = std::mem::replace(&mut self.timers, later);
        assert_eq!(fired, due, "what fires is what is due at {now}");
    }
}

impl Suite<'_> {
    pub(super) fn random_timers_match_a_set(&self, seed: u64) {
        let mut records = RecordBatchBuilder::new(MAX);
        (0..KEYS).for_each(|key| records.push(&key, &()));
        let mut world = World {
            suite: self,
            random: Entropy::from_seed(seed),
            subtasks: Vec::new(),
            records: Rc::new(records.finish()),
            timers: BTreeSet::new(),
            now: 0,
        };
        world.start(2, &[]);
        for step in 1..=self.operations / 10 {
            if step.is_multiple_of(997) {
                world.rescale();
            }
            match world.below(100) {
                0 | 1 => {
                    let by = world.below(30).cast_signed();
                    world.advance(world.now + by);
                }
                _ => world.change(),
            }
        }
        world.rescale();
        world.advance(i64::MAX - 1);
    }

    pub(super) fn timers_are_dropped_only_if_that_is_said(&self) {
        let all = KeyGroupRange { start: 0, end: MAX.get() };
        let open = |from: Option<&SubtaskSnapshot>| {
            let parts = from.map(part).into_iter().collect();
            let (backend, bell) = self.open_backend(0, all, parts, Arc::new(ManualClock::default()));
            Subtask { task: Rc::new(TaskContext::new(backend)), bell }
        };
        let snapshot = |subtask: &Subtask| {
            let task = subtask.task.with_backend(|backend| backend.snapshot(CheckpointId(1)));
            check("snapshot", (self.run_snapshot)(check("snapshot", task)))
        };
        let mut records = RecordBatchBuilder::new(MAX);
        (0..KEYS).for_each(|key| records.push(&key, &()));
        let records = Rc::new(records.finish());
        let before = open(None);
        check("opened", before.task.opened::<Without>(all));
        let before = open(None);
        check("opened", before.task.opened::<With>(all));
        for index in 0..records.len() {
            let ctx = Context::new(Rc::clone(&before.task), Rc::clone(&records), index, RecordSlot(0));
            check("register", ctx.register_event_timer(Timestamp(7)));
            check("register", ctx.register_processing_timer(Timestamp(7)));
        }
        let with_timers = snapshot(&before);
        let refused = open(Some(&with_timers)).task.opened::<Without>(all);
        let refused = refused.map_or_else(|error| error, |()| panic!("timers are overlooked"));
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        for keeps_timers in [false, true] {
            let dropping = open(Some(&with_timers));
            dropping.task.states().drop_timers();
            let opened =
                if keeps_timers { TaskContext::opened::<With> } else { TaskContext::opened::<Without> };
            check("dropped", opened(&dropping.task, all));
            let after = open(Some(&snapshot(&dropping)));
            check("opened", after.task.opened::<With>(all));
            after.task.advance_watermark(Timestamp::MAX);
            let mut fired = Vec::new();
            after.fire(&mut fired);
            assert_eq!(fired, [], "dropped timers fire");
        }
    }
}

struct With;
impl KeyedProcess for With {
    type In = ();
    type Out = ();
    const USES_TIMERS: bool = true;
    async fn process(&self, (): (), _: &Context<()>) -> Result<()> {
        Ok(())
    }
}

struct Without;
impl KeyedProcess for Without {
    type In = ();
    type Out = ();
    async fn process(&self, (): (), _: &Context<()>) -> Result<()> {
        Ok(())
    }
}
