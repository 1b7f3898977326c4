//! How a subtask's keys come into its state, and how all of them are read once.
use std::ops::Range;
use std::time::Duration;

use alluvium_env::{Error, Result, spawn_thread};
use alluvium_state_api::{KeyGroupRange, StateScan};

use super::args::{Backend, Case, Mode, Order};
use super::cpu;
use super::drive_sync::Depth;
use super::progress::Phase;
use super::settle::Settled;
use super::subtask::{Opened, Took};
use super::workload::{Action, Target};

/// Loading is one operation after the other.
pub(super) const ONE: Depth = Depth { in_flight: 1, batch: 1 };

impl Opened {
    /// Puts everything that the case needs. What it takes to put the keys in order is not counted, but for its CPU,
    /// which is returned besides.
    ///
    /// # Errors
    /// What the backend cannot survive.
    pub(super) fn load(&self, mode: Mode) -> Result<(Took, Duration)> {
        let args = &self.given.args;
        let single = match args.case {
            Case::Add => Action::Add,
            Case::Append => Action::Append,
            _ => Action::Load,
        };
        let (mut took, mut ordering) = (Took::default(), Duration::ZERO);
        for (action, count) in [(single, args.single_keys()), (Action::LoadMap, args.maps())] {
            let keys = self.keys.first(count);
            self.given.progress.enter(Phase::Load, count);
            let target = move |index| Target::new(&keys, action, index);
            if args.order == Order::Random {
                let own = self.given.key_groups;
                let all = (0..count).map(target).filter(|target| own.contains(target.key.group()));
                took += self.put_all(mode, all)?;
                continue;
            }
            for groups in self.passes(count) {
                let cpu = cpu::thread();
                let ascending = keys.ascending(groups);
                ordering += cpu::thread().saturating_sub(cpu);
                took += self.put_all(mode, ascending.map(target))?;
            }
        }
        Ok((took, ordering))
    }

    fn put_all(&self, mode: Mode, targets: impl Iterator<Item = Target>) -> Result<Took> {
        self.timed(|| match mode {
            Mode::Async => self.drive(mode, targets),
            Mode::Sync => self.with_driver(ONE, |driver| driver.run(targets)),
        })
    }

    /// Key groups whose keys are put in order together: as many as the memory set aside for it holds.
    fn passes(&self, count: u64) -> Vec<Range<u16>> {
        let KeyGroupRange { start, end } = self.given.key_groups;
        if count == 0 {
            return Vec::new();
        }
        let groups = u64::from(end - start);
        let own = count / u64::from(self.given.args.parallelism);
        let at_once = (groups * self.given.order_keys / own.max(1)).clamp(1, groups) as u16;
        let starts = (start..end).step_by(usize::from(at_once));
        starts.map(|first| first..end.min(first.saturating_add(at_once))).collect()
    }

    /// Has what is in memtables written, and waits until all is quiet.
    ///
    /// # Errors
    /// What the backend cannot survive.
    pub(super) fn settle(&self) -> Result<Settled> {
        let now = self.now();
        if self.given.args.backend == Backend::Heap {
            return Ok(Settled { flushed_at: now, quiet_at: now });
        }
        self.task.with_backend(|backend| {
            // A scan freezes the memtable for itself; the flush of it is what is wanted here.
            drop(backend.scan(self.states.values.id())?);
            self.given.quiet.wait(backend, (&self.gauge, &self.bell))
        })
    }

    /// Reads everything once, on a thread of its own as scans must be.
    ///
    /// # Errors
    /// What the scan reports.
    pub(super) fn scan(&self) -> Result<Took> {
        let begun = self.now();
        let state = self.states.values.id();
        let mut scan = self.task.with_backend(|backend| backend.scan(state))?;
        let (keys, own) = (self.keys, self.given.key_groups);
        let scanned = spawn_thread("alluvium-scan", move || {
            let cpu = cpu::thread();
            scan_all(scan.as_mut()).map(|entries| (entries, cpu::thread().saturating_sub(cpu)))
        })?;
        let ended = scanned.join().map_err(|_| Error::internal("the scan panicked"))?;
        let (entries, thread_cpu) = ended?;
        self.gauge.count(entries);
        let took = Took { wall: self.now().saturating_sub(begun), thread_cpu };
        let expected = (0..keys.count).filter(|index| own.contains(keys.key(*index).group())).count();
        if entries == expected as u64 {
            return Ok(took);
        }
        Err(Error::corruption(format!(
            "the store answered wrongly: a scan found {entries} keys instead of {expected}"
        )))
    }
}

fn scan_all(scan: &mut dyn StateScan) -> Result<u64> {
    let mut entries = 0;
    while scan.next_entry()?.is_some() {
        entries += 1;
    }
    Ok(entries)
}
