//! `--mode sync`: the task thread asks the backend itself, and waits for what memory does not know.
//!
//! With `--batch N` keys are looked up N at a time: the backend is told of them first, the misses of a batch go to the
//! store as one, and the batch ends when all are answered. Without it, up to `--in-flight` reads are under way, each a batch of its own, answered in any
//! order.
//!
//! **Invariants**: a key that is being read to be changed has no second operation: the reads under way end first.
use alluvium_env::{Error, HashSet, Result};
use alluvium_state_api::{
    Access, KeyedStateBackend, Lookup, ReadBatch, ReadId, push_list_element, state_key,
};

use super::bell::Bell;
use super::gauge::Gauge;
use super::keys::KEY_BYTES;
use super::maps::{MapWalk, USER_KEY_BYTES};
use super::oracle::Oracle;
use super::states::BenchStates;
use super::workload::{Action, Command, Target};

/// Bytes of a sum.
const SUM_BYTES: usize = 8;

/// Keys that the backend is told of before they are asked for: as many as the controller tells it of.
const PREFETCH_KEYS: usize = 32;
const STATE_KEY_BYTES: usize = state_key::PREFIX_BYTES + KEY_BYTES;

/// How many operations go on at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Depth {
    pub(super) in_flight: usize,
    pub(super) batch: usize,
}

/// What a driver works with.
pub(super) struct Bench<'a> {
    pub(super) states: &'a BenchStates,
    pub(super) oracle: &'a Oracle,
    pub(super) gauge: &'a Gauge,
    pub(super) bell: &'a Bell,
    /// Entries of a map.
    pub(super) scan_length: u64,
}

impl Bench<'_> {
    /// Compares an answer with what it must be.
    #[inline]
    fn check(&self, command: Command, value: Option<&[u8]>) -> Result<()> {
        match command.action {
            Action::GetAbsent => self.oracle.check_absent(command, value),
            _ => self.oracle.check_value(command, value),
        }
    }
}

/// An operation that waits for a read.
struct Waiting {
    target: Target,
    start: u64,
    /// What was read.
    value: Vec<u8>,
    present: bool,
    walk: MapWalk,
}

/// See the module.
pub(super) struct SyncDriver<'a> {
    bench: Bench<'a>,
    backend: &'a mut dyn KeyedStateBackend,
    depth: Depth,
    waiting: Vec<Waiting>,
    free: Vec<u32>,
    answered: Vec<(u32, Result<()>)>,
    /// Indexes of keys that are being read to be changed.
    changing: HashSet<u64>,
    batch: ReadBatch,
    key: Vec<u8>,
    value: Vec<u8>,
    prefetching: Vec<u8>,
    walk: MapWalk,
}

impl<'a> SyncDriver<'a> {
    pub(super) fn new(bench: Bench<'a>, backend: &'a mut dyn KeyedStateBackend, depth: Depth) -> Self {
        Self {
            bench,
            backend,
            depth,
            waiting: Vec::new(),
            free: Vec::new(),
            answered: Vec::new(),
            changing: HashSet::default(),
            batch: ReadBatch::default(),
            key: Vec::new(),
            value: Vec::new(),
            prefetching: Vec::new(),
            walk: MapWalk::default(),
        }
    }

    /// Runs all operations to their ends.
    ///
    /// # Errors
    /// The backend's, or that it answered wrongly.
    pub(super) fn run(&mut self, targets: impl Iterator<Item = Target>) -> Result<()> {
        self.bench.gauge.tick();
        if self.depth.batch > 1 { self.run_batches(targets) } else { self.run_singly(targets) }
    }

    fn run_singly(&mut self, targets: impl Iterator<Item = Target>) -> Result<()> {
        let gauge = self.bench.gauge;
        for target in targets {
            self.make_way()?;
            let start = gauge.last();
            if self.begin(target, start)? {
                gauge.done(start);
                continue;
            }
            self.submit();
            gauge.tick();
            while self.under_way() >= self.depth.in_flight {
                self.wait()?;
            }
        }
        self.drain()
    }

    fn run_batches(&mut self, targets: impl Iterator<Item = Target>) -> Result<()> {
        let gauge = self.bench.gauge;
        let (mut targets, mut batch) = (targets, Vec::with_capacity(self.depth.batch));
        loop {
            batch.clear();
            batch.extend(targets.by_ref().take(self.depth.batch));
            if batch.is_empty() {
                return Ok(());
            }
            self.make_way()?;
            let start = gauge.last();
            for some in batch.chunks(PREFETCH_KEYS) {
                self.prefetch(some);
                for target in some {
                    self.begin(*target, start)?;
                }
            }
            self.drain()?;
            gauge.count(batch.len() as u64);
            gauge.record(start);
        }
    }

    /// Says which keys come next.
    fn prefetch(&mut self, targets: &[Target]) {
        for access in [Access::Read, Access::Write] {
            self.prefetching.clear();
            for Target { command, key } in
                targets.iter().filter(|t| t.command.action.access() == Some(access))
            {
                let state = self.bench.states.id(command.action);
                state_key::append(&mut self.prefetching, key.group(), state, &key.bytes);
            }
            if !self.prefetching.is_empty() {
                self.backend.prefetch(&mut self.prefetching.chunks_exact(STATE_KEY_BYTES), access);
            }
        }
    }

    /// Lets background work in, and waits where it has fallen behind.
    #[inline]
    fn make_way(&mut self) -> Result<()> {
        if self.bench.bell.take() {
            self.poll()?;
        }
        while !self.backend.admits() {
            self.wait()?;
        }
        Ok(())
    }

    fn under_way(&self) -> usize {
        self.waiting.len() - self.free.len()
    }

    /// Starts an operation; `true` if it is done.
    #[inline]
    fn begin(&mut self, target: Target, start: u64) -> Result<bool> {
        let Command { action, index } = target.command;
        if !self.changing.is_empty() && !action.is_of_map() && self.changing.contains(&index) {
            self.drain()?;
        }
        self.build_key(target);
        match action {
            Action::Get | Action::GetAbsent | Action::Rmw => self.begin_get(target, start),
            Action::MapScan => self.begin_scan(target, start),
            Action::Load | Action::LoadMap | Action::Add | Action::Append => {
                self.write(target.command).map(|()| true)
            }
        }
    }

    fn build_key(&mut self, target: Target) {
        let Target { command, key } = target;
        state_key::build(&mut self.key, key.group(), self.bench.states.id(command.action), &key.bytes);
    }

    /// An operation that reads nothing.
    fn write(&mut self, command: Command) -> Result<()> {
        let Command { action, index } = command;
        let oracle = self.bench.oracle;
        match action {
            Action::Add => {
                oracle.changed(index);
                self.bench.gauge.wrote(KEY_BYTES + SUM_BYTES);
                self.backend.merge(&self.key, &1_u64.to_le_bytes())
            }
            Action::Append => {
                let mut element = Vec::with_capacity(oracle.values.bytes);
                oracle.values.write(index, oracle.next_version(index), &mut element);
                self.value.clear();
                push_list_element(&mut self.value, &element);
                oracle.changed(index);
                self.bench.gauge.wrote(KEY_BYTES + element.len());
                self.backend.merge(&self.key, &self.value)
            }
            Action::LoadMap => {
                let prefix = self.key.len();
                for entry in 0..self.bench.scan_length {
                    self.key.truncate(prefix);
                    self.key.extend_from_slice(&entry.to_be_bytes());
                    oracle.values.write(index * self.bench.scan_length + entry, 0, &mut self.value);
                    self.bench.gauge.wrote(USER_KEY_BYTES);
                    self.put()?;
                    self.make_way()?;
                }
                Ok(())
            }
            _ => {
                oracle.values.write(index, 0, &mut self.value);
                self.put()
            }
        }
    }

    fn put(&mut self) -> Result<()> {
        self.bench.gauge.wrote(KEY_BYTES + self.value.len());
        self.backend.put(&self.key, &self.value)
    }

    /// Writes the next version of the value in the buffer.
    fn change(&mut self, index: u64) -> Result<()> {
        self.bench.oracle.values.advance(index, &mut self.value)?;
        self.bench.oracle.changed(index);
        self.put()
    }

    #[inline]
    fn begin_get(&mut self, target: Target, start: u64) -> Result<bool> {
        let Command { action, index } = target.command;
        match self.backend.try_get(&self.key)? {
            Lookup::Miss => {
                if action == Action::Rmw {
                    self.changing.insert(index);
                }
                let slot = self.slot(target, start);
                self.batch.push(ReadId(slot), &self.key);
                return Ok(false);
            }
            Lookup::Absent => self.bench.check(target.command, None)?,
            Lookup::Hit(value) => {
                self.bench.check(target.command, Some(&value))?;
                if action == Action::Rmw {
                    self.value.clear();
                    self.value.extend_from_slice(&value);
                }
            }
        }
        if action == Action::Rmw {
            self.change(index)?;
        }
        Ok(true)
    }

    fn begin_scan(&mut self, target: Target, start: u64) -> Result<bool> {
        self.walk.begin(&self.key);
        let is_done = self.walk_on(target.command.index)?;
        if !is_done {
            let slot = self.slot(target, start);
            self.ask_for_page(slot);
        }
        Ok(is_done)
    }

    /// Takes pages as long as memory has them; `true` if the last one was taken.
    fn walk_on(&mut self, index: u64) -> Result<bool> {
        loop {
            match self.backend.try_page(self.walk.request())? {
                Lookup::Miss => return Ok(false),
                Lookup::Absent => return Err(Error::internal("a page is never absent")),
                Lookup::Hit(page) => {
                    if !self.walk.take(&page, (index, self.bench.scan_length), self.bench.oracle)? {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Leaves the walk in a slot until its next page is there.
    fn ask_for_page(&mut self, slot: u32) {
        self.batch.push_page(ReadId(slot), self.walk.request());
        if let Some(waiting) = self.waiting.get_mut(slot as usize) {
            std::mem::swap(&mut waiting.walk, &mut self.walk);
        }
    }

    /// A place for an operation to wait.
    fn slot(&mut self, target: Target, start: u64) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            let walk = MapWalk::default();
            self.waiting.push(Waiting { target, start, value: Vec::new(), present: false, walk });
            (self.waiting.len() - 1) as u32
        });
        if let Some(waiting) = self.waiting.get_mut(slot as usize) {
            waiting.target = target;
            waiting.start = start;
        }
        slot
    }

    fn submit(&mut self) {
        if !self.batch.is_empty() {
            self.backend.submit(std::mem::take(&mut self.batch));
        }
    }

    fn wait(&mut self) -> Result<()> {
        self.bench.bell.wait();
        self.poll()
    }

    /// Ends every operation that has begun.
    fn drain(&mut self) -> Result<()> {
        self.submit();
        while self.under_way() > 0 {
            self.wait()?;
        }
        Ok(())
    }

    /// Takes answers, and goes on with the operations that waited for them.
    fn poll(&mut self) -> Result<()> {
        let Self { backend, waiting, answered, .. } = self;
        backend.poll(&mut |id, answer| {
            let Some(slot) = waiting.get_mut(id.0 as usize) else { return };
            slot.value.clear();
            let answer = answer.map(|value| {
                slot.present = value.is_some();
                slot.value.extend_from_slice(value.unwrap_or_default());
            });
            answered.push((id.0, answer));
        })?;
        let mut answered = std::mem::take(&mut self.answered);
        for (slot, answer) in answered.drain(..) {
            answer?;
            self.go_on(slot)?;
        }
        self.answered = answered;
        self.submit();
        self.bench.gauge.tick();
        Ok(())
    }

    fn go_on(&mut self, slot: u32) -> Result<()> {
        let lost = || Error::internal("an answer came for no operation");
        let waiting = self.waiting.get_mut(slot as usize).ok_or_else(lost)?;
        let (target, start) = (waiting.target, waiting.start);
        let Command { action, index } = target.command;
        if action == Action::MapScan {
            std::mem::swap(&mut waiting.walk, &mut self.walk);
            let more = self.walk.take(&waiting.value, (index, self.bench.scan_length), self.bench.oracle)?;
            if more && !self.walk_on(index)? {
                self.ask_for_page(slot);
                return Ok(());
            }
        } else {
            self.bench.check(target.command, waiting.present.then_some(waiting.value.as_slice()))?;
            if action == Action::Rmw {
                std::mem::swap(&mut self.value, &mut waiting.value);
                self.build_key(target);
                self.change(index)?;
                self.changing.remove(&index);
            }
        }
        self.free.push(slot);
        if self.depth.batch == 1 {
            self.bench.gauge.done(start);
        }
        Ok(())
    }

    /// Reads one key, however long it takes.
    ///
    /// # Errors
    /// The backend's.
    pub(super) fn read(&mut self, target: Target) -> Result<Option<Vec<u8>>> {
        self.build_key(target);
        match self.backend.try_get(&self.key)? {
            Lookup::Hit(value) => return Ok(Some(value.into_owned())),
            Lookup::Absent => return Ok(None),
            Lookup::Miss => {}
        }
        let mut batch = ReadBatch::default();
        batch.push(ReadId(0), &self.key);
        self.backend.submit(batch);
        let mut found = None;
        while found.is_none() {
            self.bench.bell.wait();
            self.backend
                .poll(&mut |_, answer| found = Some(answer.map(|value| value.map(<[u8]>::to_vec))))?;
        }
        found.transpose().map(Option::flatten)
    }
}
