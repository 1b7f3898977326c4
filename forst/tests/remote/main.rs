//! Compactions that are done elsewhere: the store holds what it would hold anyway, whatever becomes of its compactors.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#[path = "../common"]
mod common {
    pub(crate) mod bell;
    pub(crate) mod changes;
    pub(crate) mod holders;
    pub(crate) mod layer;
    pub(crate) mod reaper;
    pub(crate) mod scan;
    pub(crate) mod sum;
}
mod lies;
mod process;
mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use alluvium_env::{Clock as _, Entropy, SystemClock, spawn_thread};
use alluvium_forst::{Compactor, Restored, StateOperators, Store, Turn};
use common::changes::{Change, Model};
use common::layer::Layered;
use common::scan::scan_all;
use process::{Fate, Process, is_of};
use tokio::time::sleep;
use world::{Known, LIFE_MILLIS, World, updated_millis};

fn key_of(number: u64) -> Vec<u8> {
    let state = [b's', b'v', b't'][number as usize % 3] as char;
    format!("{state}{:02}-key-{number}", number % 7).into_bytes()
}

/// Does one random thing to a store and to its model.
fn change(world: &World, store: &mut Store, model: &mut Model, random: &Entropy, step: u64) {
    let number = random.next_u64() % 20_000;
    let value = || {
        let mut value = vec![step as u8; 8 + (random.next_u64() % 110) as usize];
        value[..8].copy_from_slice(&world.kinds.now_millis.load(SeqCst).to_le_bytes());
        value
    };
    Change { key: key_of(number), number, step }.apply(store, model, random, value);
}

/// What has not expired, and how many have that are still there.
fn alive(world: &World, content: &Model) -> (Model, usize) {
    let now = world.kinds.now_millis.load(SeqCst);
    let lives = |key: &[u8], value: &[u8]| key[0] != b't' || updated_millis(value) + LIFE_MILLIS > now;
    let alive: Model = content
        .iter()
        .filter(|(key, value)| lives(key, value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let dead = content.len() - alive.len();
    (alive, dead)
}

#[test]
fn random_operations_match_a_map_while_others_compact() {
    // Every other world keeps most of its values apart from their keys.
    for (seed, value_threshold_bytes) in [(0, 4096), (1, 48)] {
        let (mut world, random) = (World::new(value_threshold_bytes), Entropy::from_seed(seed));
        world.min_input_bytes = 0;
        let compactors = [0, 1].map(|_| Arc::new(World::compactor(&Process::new(&world.memory))));
        let ended = Arc::new(AtomicBool::new(false));
        let threads = compactors.map(|compactor| {
            let ended = Arc::clone(&ended);
            let work = move || {
                while !ended.load(SeqCst) {
                    match compactor.turn().unwrap() {
                        Turn::Idle | Turn::Done { .. } | Turn::Withdrawn { .. } => std::thread::yield_now(),
                        other => panic!("{other:?}"),
                    }
                }
            };
            spawn_thread("compactor", work).unwrap()
        });
        let (mut store, mut model) = (world.open(0, Vec::new()), Model::new());
        for step in 1..=100_000 {
            change(&world, &mut store, &mut model, &random, step);
            if step % 64 == 0 {
                world.settle(&mut store);
                world.kinds.now_millis.fetch_add(1, SeqCst);
            }
            if step % 10_000 == 0 {
                // So that what is due becomes jobs, and not one large job at the end: however busy the machine is.
                world.until("what is due", &mut store, |store| store.compaction_debt_bytes() == 0);
            }
            if step % 30_000 == 0 {
                let (restored, _) = world.snapshot(&mut store);
                // As after a rescale: two references to each table, clipped to what each sees.
                let clipped = |start: &[u8], end: &[u8]| Restored {
                    start: start.to_vec(),
                    end: end.to_vec(),
                    ..restored.clone()
                };
                store = world.open(step, vec![clipped(b"", b"s04"), clipped(b"s04", b"")]);
            }
        }
        let settled = std::cell::Cell::new(0);
        world.until("compactions", &mut store, |store| {
            settled.set(if store.compaction_debt_bytes() == 0 { settled.get() + 1 } else { 0 });
            settled.get() > 20
        });
        let (expected, expired) = alive(&world, &model);
        let (found, left) = alive(&world, &scan_all(&mut store).unwrap().into_iter().collect());
        assert!(found == expected, "seed {seed}: the content differs");
        assert!(expired > 0 && left < expired, "{left} of {expired} expired entries are still there");
        assert!(world.trips("done") > 2, "seed {seed}: none was done elsewhere");
        assert_eq!(world.trips("taken back") + world.trips("unclaimed"), 0, "seed {seed}");
        drop(store);
        ended.store(true, SeqCst);
        for thread in threads {
            thread.join().unwrap();
        }
        world.until_empty("compaction");
    }
}

/// Lets time pass until the store has compacted once more.
fn until_compacted(world: &World, store: &mut Store, before: u64) {
    world.until("a compaction", store, |store| {
        world.clock.advance(Duration::from_millis(500));
        store.counters().compactions > before
    });
}

/// A compactor that dies at the put of its `number`th object that ends with `kind`.
fn mortal(world: &World, kind: &'static str, number: usize, fate: fn() -> Fate) -> Arc<Layered<Process>> {
    let seen = AtomicUsize::new(0);
    Process::with(&world.memory, move |name, _| {
        if name.ends_with(kind) && seen.fetch_add(1, SeqCst) + 1 == number { fate() } else { Fate::Goes }
    })
}

#[test]
fn a_job_whose_compactor_dies_is_done_at_home_and_nothing_is_left_of_it() {
    type Death = (&'static str, usize, fn() -> Fate);
    let deaths: [Death; 5] = [
        (".claim", 1, || Fate::DiesAfter),
        (".sst", 1, || Fate::DiesBefore),
        (".sst", 1, || Fate::DiesAfter),
        (".sst", 2, || Fate::DiesAfter),
        (".result", 1, || Fate::DiesBefore),
    ];
    for (kind, number, fate) in deaths {
        let (world, mut model) = (World::new(4096), Model::new());
        let mut store = world.open(1, Vec::new());
        world.until_posted(&mut store, &mut model);
        let before = store.counters().compactions;
        let process = mortal(&world, kind, number, fate);
        drop(World::compactor(&process).turn());
        assert_eq!(world.objects(".claim").len(), 1, "it had the job");
        until_compacted(&world, &mut store, before);
        assert_eq!((world.trips("done"), world.trips("unclaimed")), (0, 1), "its successor found nobody");
        world.assert_whole(store, &model);
    }
}

#[test]
fn a_result_whose_writer_died_telling_it_counts() {
    let (world, mut model) = (World::new(4096), Model::new());
    let mut store = world.open(1, Vec::new());
    world.until_posted(&mut store, &mut model);
    let before = store.counters().compactions;
    let process = mortal(&world, ".result", 1, || Fate::DiesAfter);
    drop(World::compactor(&process).turn());
    world.until("a compaction", &mut store, |store| store.counters().compactions > before);
    assert_eq!(world.trips("done"), 1);
    world.assert_whole(store, &model);
}

#[test]
fn the_job_of_a_dead_compactor_is_done_by_another_one() {
    let (world, mut model) = (World::new(4096), Model::new());
    let mut store = world.open(1, Vec::new());
    world.until_posted(&mut store, &mut model);
    let (before, first) = (store.counters().compactions, world.objects(".job"));
    drop(World::compactor(&mortal(&world, ".sst", 1, || Fate::DiesAfter)).turn());
    world.until("the job's next posting", &mut store, |_| {
        let jobs = world.objects(".job");
        if jobs == first {
            world.clock.advance(Duration::from_millis(500));
        }
        !jobs.is_empty() && jobs != first
    });
    let process = Process::new(&world.memory);
    let turn = World::compactor(&process).turn().unwrap();
    assert!(matches!(turn, Turn::Done { .. }), "{turn:?}");
    world.until("a compaction", &mut store, |store| store.counters().compactions > before);
    assert_eq!(world.trips("done"), 1);
    let beats = |name: &String| is_of(name, ".beat");
    assert!(process.overwritten.lock().unwrap().iter().all(beats), "only a beat is written again");
    world.assert_whole(store, &model);
}

#[test]
fn of_many_compactors_that_want_a_job_one_gets_it() {
    const MANY: usize = 4;
    let (world, mut model) = (World::new(4096), Model::new());
    let mut store = world.open(1, Vec::new());
    world.until_posted(&mut store, &mut model);
    let before = store.counters().compactions;
    // All have seen that nobody has the job before any of them claims it.
    let together = Arc::new(Barrier::new(MANY));
    let threads = [(); MANY].map(|()| {
        let together = Arc::clone(&together);
        let process = Process::with(&world.memory, move |name, _| {
            if is_of(name, ".claim") {
                together.wait();
            }
            Fate::Goes
        });
        let compactor = World::compactor(&process);
        spawn_thread("compactor", move || compactor.turn().unwrap()).unwrap()
    });
    let turns = threads.map(|thread| thread.join().unwrap());
    let done = turns.iter().filter(|turn| matches!(turn, Turn::Done { .. })).count();
    let idle = turns.iter().filter(|turn| matches!(turn, Turn::Idle)).count();
    assert_eq!((done, idle), (1, MANY - 1), "{turns:?}");
    world.until("a compaction", &mut store, |store| store.counters().compactions > before);
    world.assert_whole(store, &model);
}

/// A compactor that stands still before its first object of a kind until it is let go.
fn held_up(world: &World, kind: &'static str) -> (Compactor, impl FnOnce() + use<>, impl FnOnce() + use<>) {
    let ((reach, reached), (go, gone)) = (channel(), channel::<()>());
    let (reach, gone) = (Mutex::new(Some(reach)), Mutex::new(gone));
    let process = Process::with(&world.memory, move |name, _| {
        if name.ends_with(kind)
            && let Some(reach) = reach.lock().unwrap().take()
        {
            reach.send(()).unwrap();
            gone.lock().unwrap().recv().unwrap();
        }
        Fate::Goes
    });
    let wait = move || reached.recv_timeout(Duration::from_mins(1)).expect("it writes none");
    (World::compactor(&process), wait, move || go.send(()).unwrap())
}

#[test]
fn a_job_that_is_taken_back_while_it_is_put_out_does_not_stay() {
    let (mut world, mut model) = (World::new(4096), Model::new());
    let ((go, gone), posting) = (channel::<()>(), Arc::new(AtomicBool::new(false)));
    let (gone, reached) = (Mutex::new(gone), Arc::clone(&posting));
    world.owner = Process::with(&world.memory, move |name, _| {
        if is_of(name, ".job") {
            reached.store(true, SeqCst);
            gone.lock().unwrap().recv().unwrap();
        }
        Fate::Goes
    });
    let mut store = world.open(1, Vec::new());
    world.write_until(&mut store, &mut model, || posting.load(SeqCst));
    // What is not kept until the job is there is let go before it goes.
    let later = world.io.spawn(async move {
        sleep(Duration::from_millis(100)).await;
        go.send(()).unwrap();
    });
    drop(store);
    world.io.block_on(later).unwrap();
    (0..20).for_each(|_| world.moment());
    world.until_empty("compaction");
    world.until_empty("state");
}

#[test]
fn a_store_that_ends_has_let_go_of_its_job_that_is_out() {
    let (mut world, mut model) = (World::new(4096), Model::new());
    world.owner = Process::slow_to_delete(&world.memory, Duration::from_millis(200));
    let mut store = world.open(1, Vec::new());
    world.until_posted(&mut store, &mut model);
    // Somebody is at it.
    let (compactor, wait, go) = held_up(&world, ".sst");
    let late = spawn_thread("late", move || compactor.turn().unwrap()).unwrap();
    wait();
    assert!(world.held().iter().any(|name| is_of(name, ".job")));
    assert_eq!(world.borrowed_bytes(), 0, "it reads nothing here");
    drop(store);
    assert_eq!(world.held(), Vec::<String>::new(), "a process that ends now leaves these");
    assert_eq!(world.objects(".job"), Vec::<String>::new());
    go();
    late.join().unwrap();
    world.until_empty("compaction");
    world.until_empty("state");
}

#[test]
fn a_store_that_ends_does_not_wait_for_what_its_compaction_reads() {
    let (mut world, mut model) = (World::new(4096), Model::new());
    // Nothing goes out.
    world.min_input_bytes = u64::MAX;
    let reading = Arc::new(AtomicBool::new(false));
    world.owner = Process::without_reads(&world.memory, Arc::clone(&reading));
    let mut store = world.open(1, Vec::new());
    world.write_until(&mut store, &mut model, || reading.load(SeqCst));
    assert!(world.borrowed_bytes() > 0, "nobody asks for any block");
    let clock = SystemClock::new();
    let before = clock.monotonic();
    drop(store);
    let took = clock.monotonic().saturating_sub(before);
    assert!(took < Duration::from_secs(5), "{took:?}");
    world.until_empty("state");
}

#[test]
fn a_compactor_that_is_late_leaves_nothing_behind() {
    // It is in the middle of the job, or has just seen that the job is still wanted.
    for kind in [".sst", ".result"] {
        let (world, mut model) = (World::new(4096), Model::new());
        let mut store = world.open(1, Vec::new());
        world.until_posted(&mut store, &mut model);
        let (compactor, wait, go) = held_up(&world, kind);
        let late = spawn_thread("late", move || compactor.turn().unwrap()).unwrap();
        wait();
        drop(store);
        for _ in 0..12_000 {
            if world.objects(".job").is_empty() && world.list("state").is_empty() {
                break;
            }
            world.moment();
        }
        assert!(world.objects(".job").is_empty(), "a store that is closed takes its job back");
        go();
        let turn = late.join().unwrap();
        assert!(matches!(turn, Turn::Withdrawn { .. }) == (kind == ".sst"), "{turn:?}");
        world.until_empty("compaction");
        world.until_empty("state");
    }
}

#[test]
fn a_compactor_that_is_stopped_gives_its_job_back_to_another() {
    let (world, mut model) = (World::new(4096), Model::new());
    let mut store = world.open(1, Vec::new());
    world.until_posted(&mut store, &mut model);
    let before = store.counters().compactions;
    let (compactor, wait, go) = held_up(&world, ".sst");
    let stop = compactor.stop_handle();
    let stopped = spawn_thread("stopped", move || compactor.turn().unwrap()).unwrap();
    wait();
    stop.stop();
    go();
    let turn = stopped.join().unwrap();
    assert!(matches!(turn, Turn::GivenBack { .. }), "{turn:?}");
    // The clock stands still: it is not the lease that has run out.
    let other = World::compactor(&Process::new(&world.memory));
    world.until("a compaction", &mut store, |store| {
        drop(other.turn().unwrap());
        store.counters().compactions > before
    });
    assert_eq!(world.trips("done"), 1);
    world.assert_whole(store, &model);
}

#[test]
fn with_no_compactor_all_is_done_at_home_and_asked_for_rarely() {
    let (world, mut model) = (World::new(4096), Model::new());
    let mut store = world.open(1, Vec::new());
    world.until_posted(&mut store, &mut model);
    let before = store.counters().compactions;
    until_compacted(&world, &mut store, before);
    assert_eq!(world.trips("unclaimed"), 1);
    world.until_empty("compaction");
    // The clock stands still, and so the back-off lasts.
    let compactions = store.counters().compactions;
    for step in 0_u64.. {
        store.put(&(step * 7919 % 60_000).to_be_bytes(), &[1; 60]).unwrap();
        model.insert((step * 7919 % 60_000).to_be_bytes().to_vec(), vec![1; 60]);
        if step % 64 == 0 {
            world.settle(&mut store);
            assert_eq!(world.list("compaction"), BTreeSet::new());
        }
        if store.counters().compactions > compactions + 2 {
            break;
        }
    }
    world.clock.advance(Duration::from_secs(30));
    world.until_posted(&mut store, &mut model);
    world.assert_whole(store, &model);
}

#[test]
fn a_job_with_functions_that_it_does_not_know_or_tables_that_do_not_fit_is_left_to_others() {
    let (mut world, mut model) = (World::new(4096), Model::new());
    (world.memory_bytes, world.min_input_bytes) = (8 << 20, 0);
    let mut store = world.open(1, Vec::new());
    world.until_posted(&mut store, &mut model);
    let process = Process::new(&world.memory);
    let strange = World::compactor_with(&process, Arc::new(StateOperators::default()), 256 << 20);
    let small = World::compactor_with(&process, Arc::new(Known), 1 << 20);
    for (compactor, why) in [(strange, "not the message"), (small, "give it more memory")] {
        match compactor.turn().unwrap() {
            Turn::Left { error, .. } => assert!(error.to_string().contains(why), "{error}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(compactor.turn().unwrap(), Turn::Idle), "it says so once");
    }
    assert_eq!(world.objects(".claim").len(), 0);
    let turn = World::compactor(&process).turn().unwrap();
    assert!(matches!(turn, Turn::Done { .. }), "{turn:?}");
    world.until("a compaction", &mut store, |store| store.counters().compactions > 0);
    world.assert_whole(store, &model);
}
