//! Timers against a set, with pages that show state as of any moment between their request and their answer.
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use alluvium_env::{Entropy, HashMap, Result};

use super::{TimeDomain, TimerLimits, Timestamp};
use crate::{
    Answered, BackendStats, CheckpointId, Context, HeapBackend, KeyCodec, KeyGroupRange, KeyedStateBackend,
    Lookup, MaxParallelism, PageRequest, ReadBatch, ReadId, RecordBatch, RecordBatchBuilder, RecordSlot,
    SnapshotTask, StateDescriptor, StateId, StateScan, StateTable, TaskContext,
};

/// A page on its way: what was asked for, and what it shows once somebody has looked.
struct Asked {
    id: ReadId,
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    limit: u32,
    shows: Option<Vec<u8>>,
}

/// What a test decides of pages.
#[derive(Default)]
struct Pages {
    asked: Vec<Asked>,
    answered: Vec<Asked>,
}

/// A heap that answers pages late.
struct Late {
    heap: HeapBackend,
    pages: Rc<RefCell<Pages>>,
}

impl KeyedStateBackend for Late {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        self.heap.register(descriptor)
    }
    fn states(&mut self) -> Option<&mut StateTable> {
        self.heap.states()
    }
    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        self.heap.try_get(key)
    }
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.heap.put(key, value)
    }
    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.heap.merge(key, operand)
    }
    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.heap.delete(key)
    }
    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()> {
        self.heap.delete_prefix(prefix)
    }
    fn try_page(&self, _: PageRequest<'_>) -> Result<Lookup<'_>> {
        Ok(Lookup::Miss)
    }
    fn submit(&mut self, batch: ReadBatch) {
        for (id, PageRequest { prefix, after, limit }) in batch.pages() {
            let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
            self.pages.borrow_mut().asked.push(Asked { id, prefix, after, limit, shows: None });
        }
    }
    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        for page in self.pages.borrow_mut().answered.drain(..) {
            answered(page.id, Ok(page.shows.as_deref()));
        }
        Ok(())
    }
    fn admits(&self) -> bool {
        true
    }
    fn snapshot(&mut self, id: CheckpointId) -> Result<SnapshotTask> {
        self.heap.snapshot(id)
    }
    fn scan(&mut self, state: StateId) -> Result<Box<dyn StateScan>> {
        self.heap.scan(state)
    }
    fn stats(&self) -> BackendStats {
        self.heap.stats()
    }
}

const LIMITS: TimerLimits = TimerLimits { head: 4, page: 3 };
const GROUPS: u16 = 3;
const KEYS: u64 = 7;

/// Time, record key, namespace.
type Known = (i64, u64, u8);

struct World {
    random: Entropy,
    task: Rc<TaskContext<()>>,
    pages: Rc<RefCell<Pages>>,
    records: Rc<RecordBatch>,
    /// In state and not handed out; handed out and not begun.
    waiting: BTreeSet<Known>,
    taken: BTreeSet<Known>,
    /// Handed out, in order, each key's own line: whether or not deleted since.
    lines: HashMap<u64, Vec<(Rc<RecordBatch>, usize, Known)>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let pages = Rc::default();
        let late = Late { heap: HeapBackend::default(), pages: Rc::clone(&pages) };
        let task = Rc::new(TaskContext::new(Box::new(late)));
        task.open_timers_within(KeyGroupRange { start: 0, end: GROUPS }, LIMITS).unwrap();
        let mut records = RecordBatchBuilder::new(MaxParallelism::new(GROUPS).unwrap());
        (0..KEYS).for_each(|key| records.push(&key, &()));
        Self {
            random: Entropy::from_seed(seed),
            task,
            pages,
            records: Rc::new(records.finish()),
            waiting: BTreeSet::new(),
            taken: BTreeSet::new(),
            lines: HashMap::default(),
        }
    }

    fn below(&self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    fn change(&mut self) {
        let now = self.task.watermark().0.max(0);
        let (key, namespace) = (self.below(KEYS), self.below(6) as u8);
        // Mostly where the heads are, behind the watermark as well.
        let ahead = if self.below(3) == 0 { 40 } else { 6 };
        let time = now - 4 + self.below(ahead).cast_signed();
        let ctx = Context::new(Rc::clone(&self.task), Rc::clone(&self.records), key as usize, RecordSlot(0));
        let (timer, at) = ((time, key, namespace), Timestamp(time));
        if self.below(3) > 0 {
            ctx.in_namespace(&namespace).register_event_timer(at).unwrap();
            if !self.taken.contains(&timer) {
                self.waiting.insert(timer);
            }
        } else {
            // Somebody deletes what is there rather than anything.
            let all: Vec<_> = self.waiting.iter().chain(&self.taken).copied().collect();
            let of_key: Vec<_> = all.into_iter().filter(|timer| timer.1 == key).collect();
            let (time, _, namespace) =
                if of_key.is_empty() { timer } else { of_key[self.below(of_key.len() as u64) as usize] };
            ctx.in_namespace(&namespace).delete_event_timer(Timestamp(time)).unwrap();
            self.waiting.remove(&(time, key, namespace));
            self.taken.remove(&(time, key, namespace));
        }
    }

    fn take(&mut self) {
        let most = 1 + self.below(4) as usize;
        let (batch, more) = self.task.take_due_timers(TimeDomain::EventTime, most).unwrap();
        let batch = Rc::new(batch);
        for index in 0..batch.len() {
            let record = batch.get(index).unwrap();
            let timer = super::Timer::of(super::decode_record(record.value).unwrap());
            let key = u64::decode_key(record.key).unwrap();
            let known = (timer.time.0, key, timer.namespace::<u8>().unwrap());
            assert!(timer.time <= self.task.watermark(), "{known:?} is not due");
            let first = self.waiting.iter().find(|other| other.1 == key).copied();
            assert_eq!(first.map(|first| first.0), Some(known.0), "{known:?} is not the first of its key");
            assert!(self.waiting.remove(&known), "{known:?} was deleted, or fires twice");
            self.taken.insert(known);
            self.lines.entry(key).or_default().push((Rc::clone(&batch), index, known));
        }
        if !more {
            let due = self.waiting.first().filter(|(time, ..)| *time <= self.task.watermark().0);
            assert_eq!(due, None, "lost");
        }
        assert!(self.task.timers_in_memory() <= 2 * LIMITS.head * usize::from(GROUPS) + self.taken.len());
    }

    fn begin(&mut self) {
        let key = self.below(KEYS);
        let Some(line) = self.lines.get_mut(&key).filter(|line| !line.is_empty()) else { return };
        let (batch, index, known) = line.remove(0);
        let ctx = Context::new(Rc::clone(&self.task), batch, index, RecordSlot(0));
        let begun = ctx.begin_timer().unwrap();
        assert_eq!(
            begun.map(|timer| timer.time.0),
            self.taken.contains(&known).then_some(known.0),
            "{known:?}"
        );
        if self.taken.contains(&known) {
            // Pages may come while it waits, and it may ask for itself again.
            self.move_pages();
            if self.below(8) == 0 {
                ctx.in_namespace(&known.2).register_event_timer(Timestamp(known.0)).unwrap();
                self.waiting.insert(known);
            }
            self.taken.remove(&known);
            ctx.end_timer().unwrap();
        }
    }

    /// A page is looked at, or answered; what was not looked at by then shows the moment of its answer.
    fn move_pages(&mut self) {
        let reads = self.task.take_batch();
        self.task.with_backend(|backend| backend.submit(reads));
        let asked = self.pages.borrow().asked.len() as u64;
        if asked == 0 {
            return;
        }
        let at = self.below(asked) as usize;
        let mut page = self.pages.borrow_mut().asked.swap_remove(at);
        let answered = page.shows.is_some() || self.below(3) == 0;
        if page.shows.is_none() {
            page.shows = Some(self.show(&page));
        }
        let mut pages = self.pages.borrow_mut();
        if answered {
            pages.answered.push(page);
        } else {
            pages.asked.push(page);
        }
        drop(pages);
        self.task.poll_backend(&mut |_| panic!("nobody else reads")).unwrap();
    }

    fn show(&self, page: &Asked) -> Vec<u8> {
        let state = StateId(u16::from_be_bytes([page.prefix[2], page.prefix[3]]));
        let mut scan = self.task.with_backend(|backend| backend.scan(state)).unwrap();
        let mut shows = crate::PageBuilder::new(page.limit);
        while let Some((key, value)) = scan.next_entry().unwrap() {
            if key.starts_with(&page.prefix) && page.after.as_deref().is_none_or(|after| key > after) {
                if shows.is_full() {
                    return shows.finish(true);
                }
                shows.push(key, value);
            }
        }
        shows.finish(false)
    }
}

#[test]
fn no_timer_is_lost_or_fires_twice_whatever_happens_while_its_page_is_read() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        for _ in 0..1500 {
            match world.below(16) {
                0 => {
                    let now = world.task.watermark().0.max(0);
                    world.task.advance_watermark(Timestamp(now + world.below(6).cast_signed()));
                }
                1..=3 => world.take(),
                4 => world.begin(),
                5 => world.move_pages(),
                _ => world.change(),
            }
        }
        world.task.advance_watermark(Timestamp::MAX);
        for _ in 0..4000 {
            world.take();
            world.begin();
            world.move_pages();
        }
        assert!(world.waiting.is_empty() && world.taken.is_empty(), "seed {seed}");
        assert_eq!(world.task.outstanding_reads(), 0);
    }
}

#[test]
fn timers_are_in_namespaces_of_one_type_or_in_none() {
    let task = Rc::new(TaskContext::<()>::new(Box::new(HeapBackend::default())));
    task.open_timers_within(KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() }, LIMITS).unwrap();
    let mut batch = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    batch.push("key", &());
    let ctx = Context::new(Rc::clone(&task), Rc::new(batch.finish()), 0, RecordSlot(0));
    ctx.register_event_timer(Timestamp(1)).unwrap();
    ctx.in_namespace(&7_u32).register_event_timer(Timestamp(1)).unwrap();
    ctx.in_namespace(&8_u32).register_processing_timer(Timestamp(1)).unwrap();
    ctx.register_event_timer(Timestamp(2)).unwrap();
    let error = ctx.in_namespace(&7_u64).register_event_timer(Timestamp(1)).unwrap_err();
    assert!(error.to_string().contains("in namespaces of u32 and of u64"), "{error}");
}
