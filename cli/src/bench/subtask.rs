//! One task thread: opens its backend, loads its keys, waits for quiet, measures, checks, and lets go.
//!
//! **Threads**: runs on its own; the calling thread starts each phase and hears how it ended (see `crew.rs`).
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use alluvium_async_exec::{ControllerSettings, controller};
use alluvium_env::{Error, Result};
use alluvium_state_api::{
    BackendFactory, BackendStats, FileOwnership, KeyGroupRange, OpenRequest, StateScan, TaskContext,
};

use super::args::{Backend, BenchArgs, Case, Mode};
use super::bell::Bell;
use super::cpu;
use super::drive_async::{self, BenchProcess};
use super::drive_sync::{Bench, Depth, SyncDriver};
use super::gauge::{Gauge, Readings};
use super::keys::Keys;
use super::oracle::Oracle;
use super::settle::Quiet;
use super::states::BenchStates;
use super::values::Values;
use super::workload::{Action, Command, Draw, Target};

/// Sums that are read back after a case that only adds.
const SUMS_READ_BACK: usize = 1000;
/// Loading is one operation after the other.
const ONE: Depth = Depth { in_flight: 1, batch: 1 };

/// What a task thread is given.
pub(super) struct Subtask {
    pub(super) index: u16,
    pub(super) key_groups: KeyGroupRange,
    pub(super) args: Arc<BenchArgs>,
    pub(super) controller: ControllerSettings,
    pub(super) backend: Arc<dyn BackendFactory>,
    pub(super) files: Arc<dyn FileOwnership>,
    pub(super) quiet: Arc<Quiet>,
    /// How many keys may be put in order at once.
    pub(super) order_keys: u64,
    pub(super) progress: Arc<AtomicU64>,
}

/// A phase that took so long, by the wall and on the task thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    pub(super) wall: Duration,
    pub(super) thread_cpu: Duration,
}

/// A subtask's part of the measurement.
pub(super) struct Measured {
    pub(super) took: Took,
    /// CPU of this thread that was taken for the benchmark's own preparations in between.
    pub(super) apart_cpu: Duration,
    pub(super) readings: Readings,
}

/// A subtask on its thread.
pub(super) struct Opened {
    given: Subtask,
    bell: Bell,
    task: Rc<TaskContext<()>>,
    states: BenchStates,
    oracle: Rc<Oracle>,
    gauge: Rc<Gauge>,
    keys: Keys,
    draw: RefCell<Draw>,
}

/// How long operations go on.
#[derive(Clone, Copy)]
enum Limit {
    Records(u64),
    /// On the gauge's clock.
    Until(Duration),
}

impl Subtask {
    /// Opens the backend; to be called on the task thread.
    ///
    /// # Errors
    /// What the backend says.
    pub(super) fn open(self) -> Result<Opened> {
        let bell = Bell::new();
        let backend = self.backend.open(OpenRequest {
            subtask: self.index,
            key_groups: self.key_groups,
            incarnation: 1,
            restored: Vec::new(),
            files: Arc::clone(&self.files),
            notify: bell.notify(),
        })?;
        let task = Rc::new(TaskContext::new(backend));
        let states = BenchStates::open(&task)?;
        let args = &self.args;
        let values = Values::new(args.value_bytes(), args.seed);
        Ok(Opened {
            bell,
            states,
            task,
            oracle: Rc::new(Oracle::new(values, args.keys.0)),
            gauge: Rc::new(Gauge::new(Arc::clone(&self.progress))?),
            keys: Keys::new(args.keys.0, args.seed),
            draw: RefCell::new(Draw::new(args, self.key_groups)),
            given: self,
        })
    }
}

impl Opened {
    /// Brings the state to where the measurement begins.
    ///
    /// # Errors
    /// What the backend cannot survive.
    pub(super) fn prepare(&self) -> Result<Took> {
        if self.given.args.case == Case::Load {
            return Ok(Took::default());
        }
        let (took, _) = self.load(Mode::Sync)?;
        self.settle()?;
        let warm_up = self.share(self.given.args.warm_up());
        if warm_up > 0 {
            self.operate(Limit::Records(warm_up))?;
        }
        self.gauge.take()?;
        Ok(took)
    }

    /// Measures.
    ///
    /// # Errors
    /// What the backend cannot survive, or that it answered wrongly.
    pub(super) fn measure(&self) -> Result<Measured> {
        let args = Arc::clone(&self.given.args);
        let (took, apart_cpu) = match args.case {
            Case::Load => {
                let (mut took, apart_cpu) = self.load(args.mode)?;
                took.wall += self.flush()?;
                (took, apart_cpu)
            }
            Case::Scan => (self.scan()?, Duration::ZERO),
            Case::Get | Case::Rmw | Case::Add => {
                let (begun, cpu) = (self.now(), cpu::thread());
                self.operate(match args.seconds {
                    None => Limit::Records(self.share(args.records())),
                    Some(seconds) => Limit::Until(begun + Duration::from_secs(seconds.into())),
                })?;
                let took = Took {
                    wall: self.now().saturating_sub(begun),
                    thread_cpu: cpu::thread().saturating_sub(cpu),
                };
                (took, Duration::ZERO)
            }
        };
        Ok(Measured { took, apart_cpu, readings: self.gauge.take()? })
    }

    /// Looks at answers that the operations themselves did not show; returns how many were compared in all.
    ///
    /// # Errors
    /// What the backend cannot survive, or that it answered wrongly.
    pub(super) fn check(&self) -> Result<u64> {
        let (oracle, keys) = (Rc::clone(&self.oracle), self.keys);
        if self.given.args.case == Case::Add {
            let changed = oracle.some_changed(SUMS_READ_BACK);
            self.with_driver(ONE, |driver| {
                driver.check_sums(changed.into_iter().map(|index| target(keys, Action::Add, index)))
            })?;
        }
        Ok(oracle.verified())
    }

    /// The backend's counters.
    pub(super) fn stats(&self) -> BackendStats {
        self.task.with_backend(|backend| backend.stats())
    }

    fn now(&self) -> Duration {
        self.gauge.tick();
        self.gauge.elapsed()
    }

    /// This subtask's share of so many operations.
    fn share(&self, operations: u64) -> u64 {
        let (index, parallelism) = (u64::from(self.given.index), u64::from(self.given.args.parallelism));
        operations / parallelism + u64::from(index < operations % parallelism)
    }

    fn with_driver<R>(&self, depth: Depth, call: impl FnOnce(&mut SyncDriver<'_>) -> R) -> R {
        let Self { states, oracle, gauge, bell, .. } = self;
        let bench = Bench { states, oracle, gauge, bell };
        self.task.with_backend(|backend| call(&mut SyncDriver::new(bench, backend, depth)))
    }

    /// Runs operations as the command line says; they go on from where they were left.
    fn operate(&self, limit: Limit) -> Result<()> {
        let (mode, mut draw) = (self.given.args.mode, self.draw.borrow_mut());
        match limit {
            Limit::Records(records) => {
                let records = usize::try_from(records).unwrap_or(usize::MAX);
                self.drive(mode, draw.by_ref().take(records))
            }
            Limit::Until(end) => self.drive(mode, draw.by_ref().take_while(|_| self.gauge.elapsed() < end)),
        }
    }

    fn drive(&self, mode: Mode, targets: impl Iterator<Item = Target>) -> Result<()> {
        let args = &self.given.args;
        match mode {
            Mode::Sync => {
                let depth = Depth { in_flight: args.in_flight(), batch: args.batch() };
                self.with_driver(depth, |driver| driver.run(targets))
            }
            Mode::Async => {
                let process = BenchProcess {
                    states: self.states.clone(),
                    oracle: Rc::clone(&self.oracle),
                    gauge: Rc::clone(&self.gauge),
                };
                let (task, settings) = (Rc::clone(&self.task), self.given.controller.clone());
                let mut controller = controller(Rc::new(process), task, settings, self.bell.notify());
                drive_async::run(&mut controller, (&self.gauge, &self.bell), targets)
            }
        }
    }

    /// Puts all keys in the order of their state keys. What it takes to find that order is not counted, and returned
    /// besides.
    fn load(&self, mode: Mode) -> Result<(Took, Duration)> {
        let action = if self.given.args.case == Case::Add { Action::Add } else { Action::Load };
        let (mut took, mut apart_cpu) = (Took::default(), Duration::ZERO);
        for groups in self.passes() {
            let cpu = cpu::thread();
            let order = self.keys.ascending(groups);
            apart_cpu += cpu::thread().saturating_sub(cpu);
            let (begun, cpu) = (self.now(), cpu::thread());
            let keys = self.keys;
            let targets = order.map(|index| target(keys, action, index));
            if mode == Mode::Async {
                self.drive(mode, targets)?;
            } else {
                self.with_driver(ONE, |driver| driver.run(targets))?;
            }
            took.wall += self.now().saturating_sub(begun);
            took.thread_cpu += cpu::thread().saturating_sub(cpu);
        }
        self.oracle.forget_changes();
        Ok((took, apart_cpu))
    }

    /// Key groups that are put in order together.
    fn passes(&self) -> Vec<std::ops::Range<u16>> {
        let KeyGroupRange { start, end } = self.given.key_groups;
        let groups = u64::from(end - start);
        let own = self.keys.count / u64::from(self.given.args.parallelism);
        let at_once = (groups * self.given.order_keys / own.max(1)).clamp(1, groups);
        let step = usize::try_from(at_once).unwrap_or(1);
        (start..end).step_by(step).map(|first| first..end.min(first + at_once as u16)).collect()
    }

    /// Has what is in memtables written, and waits for quiet.
    fn settle(&self) -> Result<()> {
        self.flush().map(drop)
    }

    /// Has what is in memtables written; returns how long it took until the last thing happened.
    fn flush(&self) -> Result<Duration> {
        let begun = self.now();
        if self.given.args.backend == Backend::Heap {
            return Ok(Duration::ZERO);
        }
        self.task.with_backend(|backend| {
            // A scan freezes the memtable for itself; the flush of it is what is wanted here.
            drop(backend.scan(self.states.values.id())?);
            self.given.quiet.wait(backend, (&self.gauge, &self.bell)).map(|last| last.saturating_sub(begun))
        })
    }

    /// Reads everything once, on a thread of its own as scans must be.
    fn scan(&self) -> Result<Took> {
        let begun = self.now();
        let state = self.states.values.id();
        let mut scan = self.task.with_backend(|backend| backend.scan(state))?;
        let scanned = alluvium_env::spawn_thread("alluvium-scan", move || {
            let cpu = cpu::thread();
            scan_all(scan.as_mut()).map(|entries| (entries, cpu::thread().saturating_sub(cpu)))
        })?;
        let ended = scanned.join().map_err(|_| Error::internal("the scan panicked"))?;
        let (entries, thread_cpu) = ended?;
        self.gauge.count(entries);
        Ok(Took { wall: self.now().saturating_sub(begun), thread_cpu })
    }
}

fn scan_all(scan: &mut dyn StateScan) -> Result<u64> {
    let mut entries = 0;
    while scan.next_entry()?.is_some() {
        entries += 1;
    }
    Ok(entries)
}

fn target(keys: Keys, action: Action, index: u64) -> Target {
    Target { command: Command { action, index }, key: keys.key(index) }
}
