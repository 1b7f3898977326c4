//! One task thread: opens its backend, loads its keys, waits for quiet, measures, checks, and lets go.
//!
//! **Threads**: runs on its own; the calling thread starts each phase and hears how it ended (see `crew.rs`).
use std::cell::RefCell;
use std::ops::AddAssign;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use alluvium_async_exec::{ControllerSettings, controller};
use alluvium_env::{Result, SystemClock};
use alluvium_state_api::{
    BackendFactory, BackendStats, Codec as _, FileOwnership, KeyGroupRange, OpenRequest, TaskContext,
};

use super::args::{BenchArgs, Case, Mode};
use super::bell::Bell;
use super::cpu;
use super::drive_async::{self, BenchProcess};
use super::drive_sync::{Bench, Depth, SyncDriver};
use super::gauge::{Gauge, Readings};
use super::keys::Keys;
use super::load::ONE;
use super::oracle::Oracle;
use super::progress::{Phase, Progress};
use super::settle::{Quiet, Settled};
use super::states::BenchStates;
use super::values::Values;
use super::workload::{Action, Draw, Target};

/// Keys that are read back after a case that only adds or appends.
const READ_BACK: usize = 1000;

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
    pub(super) progress: Arc<Progress>,
}

/// A phase that took so long, by the wall and on the task thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    pub(super) wall: Duration,
    pub(super) thread_cpu: Duration,
}

impl AddAssign for Took {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.thread_cpu += other.thread_cpu;
    }
}

/// A subtask's part of the measurement.
pub(super) struct Measured {
    pub(super) took: Took,
    /// CPU of this thread that went into the benchmark's own preparations in between.
    pub(super) ordering_cpu: Duration,
    /// What was left to do, where that was waited for already.
    pub(super) debt: Option<Duration>,
    pub(super) readings: Readings,
}

/// A subtask on its thread.
pub(super) struct Opened {
    pub(super) given: Subtask,
    pub(super) bell: Bell,
    pub(super) task: Rc<TaskContext<()>>,
    pub(super) states: BenchStates,
    pub(super) oracle: Rc<Oracle>,
    pub(super) gauge: Rc<Gauge>,
    pub(super) keys: Keys,
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
            clock: Arc::new(SystemClock::new()),
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
            gauge: Rc::new(Gauge::new(self.progress.counter())?),
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
        self.given.progress.enter(Phase::Settle, 0);
        self.settle()?;
        let warm_up = self.share(self.given.args.warm_up());
        if warm_up > 0 {
            self.given.progress.enter(Phase::WarmUp, self.given.args.warm_up());
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
        let args = &self.given.args;
        let (mut debt, mut ordering_cpu) = (None, Duration::ZERO);
        let operations = if args.seconds.is_some() { 0 } else { args.records() };
        self.given.progress.enter(Phase::Measure, operations);
        self.gauge.begin_seconds();
        let took = match args.case {
            Case::Load => {
                let (mut took, ordering) = self.load(args.mode())?;
                let begun = self.now();
                let Settled { flushed_at, quiet_at } = self.settle()?;
                took.wall += flushed_at.saturating_sub(begun);
                (debt, ordering_cpu) = (Some(quiet_at.saturating_sub(flushed_at)), ordering);
                took
            }
            Case::Scan => self.scan()?,
            _ => {
                let begun = self.now();
                self.timed(|| {
                    self.operate(match args.seconds {
                        None => Limit::Records(self.share(args.records())),
                        Some(seconds) => Limit::Until(begun + Duration::from_secs(seconds.into())),
                    })
                })?
            }
        };
        Ok(Measured { took, ordering_cpu, debt, readings: self.gauge.take()? })
    }

    /// Waits until what the measurement has left to do is done; returns how long that took.
    ///
    /// # Errors
    /// What the backend cannot survive.
    pub(super) fn pay_off(&self) -> Result<Duration> {
        if !self.given.args.writes() {
            return Ok(Duration::ZERO);
        }
        self.given.progress.enter(Phase::Settle, 0);
        let begun = self.now();
        Ok(self.settle()?.quiet_at.saturating_sub(begun))
    }

    /// Looks at answers that the operations themselves did not show; returns how many were compared in all.
    ///
    /// # Errors
    /// What the backend cannot survive, or that it answered wrongly.
    pub(super) fn check(&self) -> Result<u64> {
        self.given.progress.enter(Phase::Check, 0);
        let action = match self.given.args.case {
            Case::Add => Action::Add,
            Case::Append => Action::Append,
            _ => return Ok(self.oracle.verified()),
        };
        self.with_driver(ONE, |driver| {
            self.oracle.some_changed(READ_BACK).into_iter().try_for_each(|index| {
                let found = driver.read(Target::new(&self.keys, action, index))?;
                if action == Action::Append {
                    return self.oracle.check_list(index, found.as_deref());
                }
                self.oracle.check_sum(index, found.map(|sum| u64::decode(&sum)).transpose()?)
            })
        })?;
        Ok(self.oracle.verified())
    }

    /// The backend's counters.
    pub(super) fn stats(&self) -> BackendStats {
        self.task.with_backend(|backend| backend.stats())
    }

    /// Reads the clock.
    pub(super) fn now(&self) -> Duration {
        self.gauge.tick();
        self.gauge.elapsed()
    }

    /// Does something and says what it took.
    pub(super) fn timed(&self, work: impl FnOnce() -> Result<()>) -> Result<Took> {
        let (begun, cpu) = (self.now(), cpu::thread());
        work()?;
        let thread_cpu = cpu::thread().saturating_sub(cpu);
        Ok(Took { wall: self.now().saturating_sub(begun), thread_cpu })
    }

    /// This subtask's share of so many operations.
    fn share(&self, operations: u64) -> u64 {
        let (index, parallelism) = (u64::from(self.given.index), u64::from(self.given.args.parallelism));
        operations / parallelism + u64::from(index < operations % parallelism)
    }

    pub(super) fn with_driver<R>(&self, depth: Depth, call: impl FnOnce(&mut SyncDriver<'_>) -> R) -> R {
        let Self { states, oracle, gauge, bell, .. } = self;
        let scan_length = self.given.args.scan_length();
        let bench = Bench { states, oracle, gauge, bell, scan_length };
        self.task.with_backend(|backend| call(&mut SyncDriver::new(bench, backend, depth)))
    }

    /// Runs operations as the command line says; they go on from where they were left.
    fn operate(&self, limit: Limit) -> Result<()> {
        let (mode, mut draw) = (self.given.args.mode(), self.draw.borrow_mut());
        match limit {
            Limit::Records(records) => {
                let records = usize::try_from(records).unwrap_or(usize::MAX);
                self.drive(mode, draw.by_ref().take(records))
            }
            Limit::Until(end) => self.drive(mode, draw.by_ref().take_while(|_| self.gauge.elapsed() < end)),
        }
    }

    /// Runs these operations.
    pub(super) fn drive(&self, mode: Mode, targets: impl Iterator<Item = Target>) -> Result<()> {
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
                    value: RefCell::default(),
                };
                let (task, settings) = (Rc::clone(&self.task), self.given.controller.clone());
                let mut controller = controller(Rc::new(process), task, settings, self.bell.notify());
                drive_async::run(&mut controller, (&self.gauge, &self.bell), targets)
            }
        }
    }
}
