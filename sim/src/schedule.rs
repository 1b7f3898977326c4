//! One schedule: attempts that are started, killed and left behind as zombies, then one that finishes, then an audit.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alluvium_checkpoint::{CheckpointStore, RestoreMode};
use alluvium_env::{Entropy, Error, IoRuntime, Result};
use futures_util::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::collection;
use crate::fork::Fork;
use crate::job::PARTITIONS;
use crate::process::{Ending, Plan, Process};
use crate::report::Report;
use crate::store::ProcessStore;
use crate::world::{World, positions_of};

/// Simulated time after which a job that nobody disturbs should have finished.
const PATIENCE: Duration = Duration::from_mins(5);
/// Attempts at the end, of which one is disturbed by nothing but effects that were still to come.
const LAST_ATTEMPTS: u64 = 5;

/// Runs the schedule of a seed; `shows` prints its events.
///
/// # Errors
/// `Internal` says what went wrong; `Unavailable` if there is no thread to run on.
pub fn simulate(seed: u64, shows: bool) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|e| Error::unavailable("cannot start the simulation's runtime").with_source(e))?;
    let io = IoRuntime::on(runtime);
    io.block_on(async {
        let world = World::new(seed, shows);
        let fork = LocalSet::new().run_until(schedule(&world, &io)).await;
        let worlds = [Some(world), fork.map(|fork| fork.world)];
        let mut sum = Report::default();
        for world in worlds.into_iter().flatten() {
            match world.violation() {
                None => sum += world.report(),
                Some(what) => return Err(Error::internal(what)),
            }
        }
        Ok(sum)
    })
}

async fn schedule(world: &Arc<World>, io: &IoRuntime) -> Option<Fork> {
    let records = world.random.between(30, 300);
    let mut first = Job { world: Arc::clone(world), io, records, attempts: 0, running: Vec::new() };
    first.stumble(None).await;
    if world.violation().is_some() {
        return None;
    }
    let Some(fork) = Fork::draw(world) else {
        first.finish(None).await;
        first.audit(true, None).await;
        return None;
    };
    let mut second = Job { world: Arc::clone(&fork.world), io, records, attempts: 100, running: Vec::new() };
    second.stumble(Some(&fork)).await;
    // Whoever is claimed ends by itself, and is not started again.
    let goes_on = fork.mode == RestoreMode::NoClaim;
    if goes_on {
        first.finish(None).await;
    }
    world.faults.store(0, Ordering::SeqCst);
    second.finish(Some(&fork)).await;
    // The first job may have dropped what it could only begin from.
    let is_possible = fork.is_possible();
    first.running.drain(..).for_each(|process| process.kill());
    second.running.drain(..).for_each(|process| process.kill());
    settle(world).await;
    settle(&fork.world).await;
    first.audit(goes_on, None).await;
    second.audit(is_possible, Some(&fork)).await;
    Some(fork)
}

/// The attempts of one job, some of which run on when they should not.
struct Job<'a> {
    world: Arc<World>,
    io: &'a IoRuntime,
    records: u64,
    attempts: u64,
    running: Vec<Process>,
}

impl Job<'_> {
    fn start(&mut self, fork: Option<&Fork>) -> Process {
        self.attempts += 1;
        Process::start(&self.world, self.io, self.attempts, Plan::draw(&self.world, self.records), fork)
    }

    /// Attempts that are started, killed and left behind.
    async fn stumble(&mut self, fork: Option<&Fork>) {
        let world = Arc::clone(&self.world);
        let random = &world.random;
        for _ in 0..random.between(1, 6) {
            let process = self.start(fork);
            self.running.push(process);
            if !random.permille(150) {
                // Else the next one starts at this very moment.
                sleep(random.millis(5, 700)).await;
            }
            if random.permille(200) {
                self.attempts += 1;
                self.running.push(collection::start(&world, self.attempts, random.permille(700)));
            }
            if random.permille(450) {
                let victim = random.below(self.running.len() as u64) as usize;
                kill(&world, &self.running.swap_remove(victim));
            }
            self.running.retain(|process| process.ended.get().is_none());
            if self.running.len() > 1 {
                world.count(|report| report.zombies += 1);
            }
            if world.violation().is_some() {
                return;
            }
        }
    }

    /// Starts attempts until one has finished; what ran before goes on meanwhile, and is killed then.
    async fn finish(&mut self, fork: Option<&Fork>) {
        let world = Arc::clone(&self.world);
        if world.violation().is_some() {
            return;
        }
        world.faults.store(0, Ordering::SeqCst);
        for _ in 0..LAST_ATTEMPTS {
            if fork.is_some_and(|fork| !fork.is_possible()) {
                return;
            }
            let process = self.start(fork);
            let ending = ending_of(&process).await;
            if ending == Some(Ending::Finished) {
                self.running.push(process);
                self.running.drain(..).for_each(|process| process.kill());
                return settle(&world).await;
            }
            process.kill();
            // Those who are still about to claim, would.
            self.running.drain(..).for_each(|other| other.kill());
            settle(&world).await;
            if ending.is_none() {
                break;
            }
        }
        if fork.is_none_or(Fork::is_possible) {
            world.violate("a job that nobody disturbs does not finish".to_owned());
        }
    }

    /// Takes the state over once more: everything that counts is right, and nothing else is there.
    async fn audit(&self, has_finished: bool, fork: Option<&Fork>) {
        let (world, records) = (&self.world, self.records);
        if world.violation().is_some() {
            return;
        }
        world.faults.store(0, Ordering::SeqCst);
        let store =
            ProcessStore { world: Arc::clone(world), process: 0, alive: Arc::new(AtomicBool::new(true)) };
        let entropy = Entropy::from_seed(world.random.next());
        let shared = Arc::new(store) as Arc<dyn ObjectStore>;
        let opened = match CheckpointStore::take_over(shared, self.io.clone(), &entropy).await {
            Ok(opened) => opened,
            Err(error) => {
                return world.violate(format!("the state cannot be taken over at the end: {error}"));
            }
        };
        loop {
            let stats = opened.files.stats();
            if stats.swept && stats.waiting == 0 {
                world.count(|report| report.deleted += stats.deleted);
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        settle(world).await;
        world.verify_all(&opened.retained);
        match opened.latest() {
            Some(latest) if positions_of(latest) == [records; PARTITIONS] => {}
            _ if !has_finished => {}
            latest => world.violate(format!("{:?} is not the end", latest.map(positions_of))),
        }
        let named = world.needed(&opened.retained);
        // What was brought stays until there is a checkpoint: another attempt may be bringing it.
        let brought = fork.filter(|_| opened.begun_from.is_some()).map(|fork| Arc::clone(&fork.needs));
        let counts = |name: &&String| !brought.as_ref().is_some_and(|brought| brought.contains(*name));
        match names(world, "state").await {
            Ok(there) => {
                let leaked: Vec<_> = there.difference(&named).filter(counts).collect();
                let lost: Vec<_> = named.difference(&there).collect();
                if !leaked.is_empty() || !lost.is_empty() {
                    world.violate(format!("after the sweep {leaked:?} are left and {lost:?} are gone"));
                }
            }
            Err(error) => world.violate(format!("objects cannot be listed: {error}")),
        }
        collection::finds_nothing(world).await;
    }
}

fn kill(world: &World, process: &Process) {
    world.trace(format_args!("one is killed"));
    world.count(|report| report.kills += 1);
    process.kill();
}

async fn ending_of(process: &Process) -> Option<Ending> {
    let step = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while waited < PATIENCE {
        if let Some(ending) = process.ended.get() {
            return Some(ending);
        }
        sleep(step).await;
        waited += step;
    }
    None
}

/// Waits for effects that are still to come.
async fn settle(world: &World) {
    while world.in_flight.load(Ordering::SeqCst) > 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

async fn names(world: &World, folder: &str) -> object_store::Result<BTreeSet<String>> {
    let names = world.objects.list(Some(&Path::from(folder))).map_ok(|meta| meta.location.to_string());
    names.try_collect().await
}
