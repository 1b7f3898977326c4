//! States that are begun from a checkpoint of another root: forks, takeovers, and every store call of them that fails.
use std::collections::BTreeSet;
use std::sync::Arc;

use alluvium_checkpoint::{
    CheckpointStore, Garbage, Origin, Prospect, RestoreMode, RetainedCheckpoints, Transfer,
};
use alluvium_env::{Entropy, Error, ErrorKind, IoRuntime, Result, spawn_thread};
use alluvium_state_api::CheckpointId;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::faulty_store::{FaultyStore, Plan, When};
use crate::job::{Job, Oracle, RETAINED, contents, named, names_in};

/// More calls than any run makes.
const MANY: usize = 1000;

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn origin(from: &Arc<dyn ObjectStore>, to: &Arc<dyn ObjectStore>, mode: RestoreMode) -> Arc<Origin> {
    let transfer = Transfer { from: Arc::clone(from), to: Arc::clone(to), shared: None };
    Arc::new(Origin::new(transfer, "mem:///origin", None, mode))
}

/// A root with two retained checkpoints, the latest of which has three files; its job has ended.
fn original(io: &IoRuntime, seed: u64, paged: bool) -> Arc<dyn ObjectStore> {
    let store = memory();
    let mut job = Job::start(Arc::clone(&store), io, seed).unwrap().paged(paged);
    for _ in 0..4 {
        job.step().unwrap();
        job.step().unwrap();
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    job.end();
    store
}

fn retained(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> RetainedCheckpoints {
    RetainedCheckpoints::read(Arc::clone(store), io).unwrap()
}

/// Every retained checkpoint is whole in its root, and its files hold what was written under their names.
fn whole(store: &Arc<dyn ObjectStore>, io: &IoRuntime) {
    let there = contents(store, io);
    for name in named(store, io, retained(store, io).all()) {
        let is_page = Path::from(name.as_str()).extension() == Some("page");
        assert!(
            there.get(&name).is_some_and(|bytes| is_page || bytes == name.as_bytes()),
            "{name} is missing"
        );
    }
}

#[test]
fn two_jobs_fork_from_one_checkpoint_and_neither_touches_it() {
    [false, true].into_iter().for_each(fork_twice);
}

fn fork_twice(paged: bool) {
    let io = IoRuntime::new(1).unwrap();
    let from = original(&io, 1, paged);
    let before = contents(&from, &io);
    let forks = [(2, memory()), (3, memory())];
    let mut jobs: Vec<Job> = forks
        .iter()
        .map(|(seed, to)| {
            let origin = origin(&from, to, RestoreMode::NoClaim);
            Job::start_from(Arc::clone(to), &io, *seed, &origin).unwrap().paged(paged)
        })
        .collect();
    // One of them keeps all that it was begun with, the other has written everything anew by its first checkpoint.
    for (job, steps) in jobs.iter_mut().zip([0, 5]) {
        assert_eq!(job.incarnation, 2, "above all of the origin's");
        (0..steps).for_each(|_| job.step().unwrap());
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
        job.files.settle();
    }
    // A page is taken over as it is, with what it names.
    let needed = named(&from, &io, &retained(&from, &io).all()[1..]).len();
    assert_eq!(needed, 3 + usize::from(paged));
    for ((_, to), brought) in forks.iter().zip([needed, 0]) {
        whole(to, &io);
        let of_origin = names_in(to, &io, "state/00000001").len();
        assert_eq!(of_origin, brought, "exactly what is needed was brought");
        assert_eq!(names_in(to, &io, "state"), named(to, &io, retained(to, &io).all()));
    }
    assert_eq!(contents(&from, &io), before);
    // They need the origin no more.
    for name in names_in(&from, &io, "state").into_iter().chain(names_in(&from, &io, "ledger")) {
        io.block_on(from.delete(&Path::from(name))).unwrap();
    }
    for job in &mut jobs {
        job.step().unwrap();
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    jobs.into_iter().for_each(Job::end);
    for (seed, to) in &forks {
        let next = Job::start(Arc::clone(to), &io, *seed + 10).unwrap();
        next.files.settle();
        assert_eq!(next.retained.len(), 2);
        whole(to, &io);
    }
}

#[test]
fn a_claim_fences_the_former_owner_and_deletes_the_checkpoint_once_it_has_one_of_its_own() {
    let io = IoRuntime::new(1).unwrap();
    let (from, to) = (memory(), memory());
    let mut owner = Job::start(Arc::clone(&from), &io, 1).unwrap();
    for _ in 0..4 {
        owner.step().unwrap();
        owner.step().unwrap();
        owner.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    owner.files.settle();
    let claimed = origin(&from, &to, RestoreMode::Claim);
    let left = Path::from("ledger/probe-00000000000000ff");
    io.block_on(to.put(&left, "".into())).unwrap();
    let mut job = Job::start_from(Arc::clone(&to), &io, 2, &claimed).unwrap();
    job.files.settle();
    assert!(!names_in(&to, &io, "ledger").contains(left.as_ref()), "a probe that was cut off goes");
    owner.step().unwrap();
    assert_eq!(owner.checkpoint(&mut Oracle::new()).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(retained(&from, &io).all().len(), 2, "nothing goes before there is a checkpoint in its place");
    job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    io.block_on(claimed.retire(7)).unwrap();
    let left = retained(&from, &io);
    assert_eq!(left.all().iter().map(|one| one.id).collect::<Vec<_>>(), [CheckpointId(3)]);
    assert_eq!(
        names_in(&from, &io, "state"),
        named(&from, &io, left.all()),
        "what the other one names stays"
    );
    whole(&from, &io);
    whole(&to, &io);
    owner.end();
    whole(&from, &io);
}

#[test]
fn a_claim_that_is_refused_fences_nobody_and_leaves_nothing() {
    let io = IoRuntime::new(1).unwrap();
    let from = memory();
    let mut owner = Job::start(Arc::clone(&from), &io, 1).unwrap();
    owner.step().unwrap();
    owner.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    let (other, forked) = (original(&io, 9, false), memory());
    let no_claim = origin(&other, &forked, RestoreMode::NoClaim);
    drop(Job::start_from(Arc::clone(&forked), &io, 2, &no_claim).unwrap());
    let faulty = |set: fn(&Plan)| -> Arc<dyn ObjectStore> {
        let plan = Arc::new(Plan::default());
        set(&plan);
        Arc::new(FaultyStore::new(memory(), plan))
    };
    let targets = [
        (Arc::clone(&other), "holds a state of its own already"),
        (forked, "was begun from checkpoint 4 in mem:///origin, not from checkpoint 1"),
        (faulty(Plan::ignore_conditions), "it has no conditional put"),
        (faulty(|plan| plan.arm(3, 1, When::Before)), "cannot create ledger/probe-"),
    ];
    for (to, why) in targets {
        let before = contents(&to, &io);
        let refused = Job::start_from(Arc::clone(&to), &io, 3, &origin(&from, &to, RestoreMode::Claim));
        let error = refused.err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
        assert_eq!(contents(&to, &io), before);
    }
    // Whoever asks for one that is not there, or finds that it does not fit, claims nothing either.
    let to = memory();
    let transfer = Transfer { from: Arc::clone(&from), to: Arc::clone(&to), shared: None };
    let missing = Origin::new(transfer, "mem:///origin", Some(CheckpointId(7)), RestoreMode::Claim);
    let (latest, entropy) = (origin(&from, &to, RestoreMode::Claim), Entropy::from_seed(4));
    for (origin, refused) in [(Some(&missing), 0), (Some(latest.as_ref()), 1), (None, 1)] {
        let mut seen = 0;
        let root = if origin.is_none() { &from } else { &to };
        let mut check = |prospect: &Prospect<'_>| {
            seen += 1;
            assert!(prospect.origin().or(prospect.latest()).is_some_and(|one| one.id == CheckpointId(1)));
            Err(Error::invalid("it does not fit"))
        };
        let opened =
            CheckpointStore::open_checked(Arc::clone(root), io.clone(), &entropy, origin, &mut check);
        assert_eq!((opened.err().unwrap().kind(), seen), (ErrorKind::Invalid, refused));
    }
    assert!(contents(&to, &io).is_empty());
    owner.step().unwrap();
    owner.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    owner.end();
}

/// Its job completes so many that the one that was looked at is gone when it is to be claimed.
#[test]
fn a_checkpoint_that_is_dropped_before_it_is_claimed_fences_nobody_and_of_the_latest_the_next_is_taken() {
    let io = IoRuntime::new(1).unwrap();
    let (from, to) = (memory(), memory());
    let go_on = |mut owner: Job| {
        for _ in 0..=RETAINED {
            owner.step().unwrap();
            owner.checkpoint(&mut Oracle::new()).unwrap().unwrap();
        }
        owner
    };
    let mut owner = Some(go_on(Job::start(Arc::clone(&from), &io, 1).unwrap()));
    let transfer = || Transfer { from: Arc::clone(&from), to: Arc::clone(&to), shared: None };
    for (asked, taken) in [(Some(CheckpointId(3)), None), (None, Some(CheckpointId(9)))] {
        let origin = Origin::new(transfer(), "mem:///origin", asked, RestoreMode::Claim);
        let mut seen = Vec::new();
        let mut check = |prospect: &Prospect<'_>| {
            seen.push(prospect.origin().unwrap().id);
            if seen.len() == 1 {
                let running = owner.take().unwrap();
                owner = Some(spawn_thread("owner", move || go_on(running)).unwrap().join().unwrap());
            }
            Ok(())
        };
        let (root, entropy) = (Arc::clone(&to), Entropy::from_seed(5));
        let opened = CheckpointStore::open_checked(root, io.clone(), &entropy, Some(&origin), &mut check);
        match opened {
            Ok(opened) => assert_eq!(opened.origin.map(|one| one.id), taken),
            Err(error) => {
                assert_eq!((error.kind(), taken), (ErrorKind::Unavailable, None));
                assert!(
                    error.to_string().contains("was dropped by the job that runs on mem:///origin"),
                    "{error}"
                );
                assert!(contents(&to, &io).is_empty());
            }
        }
        assert_eq!(seen.first().copied(), asked.or(Some(CheckpointId(6))));
    }
    let mut owner = owner.unwrap();
    owner.step().unwrap();
    assert_eq!(owner.checkpoint(&mut Oracle::new()).unwrap_err().kind(), ErrorKind::Fenced);
}

#[test]
fn a_state_is_begun_in_an_empty_root_only_or_once_more_from_the_same_checkpoint() {
    let io = IoRuntime::new(1).unwrap();
    let (from, other, to) = (original(&io, 1, false), original(&io, 9, false), memory());
    let begin = |from, seed| {
        let origin = origin(from, &to, RestoreMode::NoClaim);
        Job::start_from(Arc::clone(&to), &io, seed, &origin).map(|job| job.incarnation)
    };
    assert_eq!(
        (begin(&from, 2).unwrap(), begin(&from, 3).unwrap()),
        (2, 3),
        "a crash before the first checkpoint"
    );
    let error = begin(&other, 4).unwrap_err();
    assert!(error.to_string().contains("was begun from checkpoint 4 in mem:///origin"), "{error}");
    // Whoever goes on in the root itself is told what it was begun from.
    let opened = CheckpointStore::open(Arc::clone(&to), io.clone(), &Entropy::from_seed(5));
    let known = opened.unwrap().begun_from;
    assert_eq!(known.as_deref(), Some("checkpoint 4 in mem:///origin"));
    let again = origin(&from, &to, RestoreMode::NoClaim);
    let mut job = Job::start_from(Arc::clone(&to), &io, 6, &again).unwrap();
    job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    job.end();
    let error = begin(&from, 7).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("holds a state of its own already; choose an empty"), "{error}");
}

#[test]
fn what_an_interrupted_beginning_has_brought_is_not_swept_from_under_the_next_one() {
    for paged in [false, true] {
        let io = IoRuntime::new(1).unwrap();
        let (from, to) = (original(&io, 1, paged), memory());
        let first = origin(&from, &to, RestoreMode::NoClaim);
        let mut crashed = Job::start_from(Arc::clone(&to), &io, 2, &first).unwrap().paged(paged);
        crashed.begin_checkpoint().unwrap();
        drop(crashed);
        let brought = names_in(&to, &io, "state/00000001");
        assert_eq!(brought.len(), 3 + usize::from(paged));
        let (again, entropy) = (origin(&from, &to, RestoreMode::NoClaim), Entropy::from_seed(3));
        let opened = CheckpointStore::open_from(Arc::clone(&to), io.clone(), &entropy, &again).unwrap();
        // Nobody holds them yet: the backends are not open.
        let stats = opened.files.settle();
        assert!(stats.swept && stats.waiting == 0, "{stats:?}");
        assert_eq!(names_in(&to, &io, "state/00000001"), brought);
    }
}

/// What was brought without a checkpoint is brought again: by then somebody who took the root over before may be deleting.
#[test]
fn nobody_who_took_a_root_over_deletes_what_a_later_beginning_brings_again() {
    for paged in [false, true] {
        let io = IoRuntime::new(1).unwrap();
        let (from, to) = (original(&io, 1, paged), memory());
        let begin = |seed| {
            let origin = origin(&from, &to, RestoreMode::NoClaim);
            Job::start_from(Arc::clone(&to), &io, seed, &origin).unwrap().paged(paged)
        };
        let mut crashed = begin(2);
        crashed.step().unwrap();
        crashed.begin_checkpoint().unwrap();
        drop(crashed);
        let brought = names_in(&to, &io, "state/00000001");
        assert_eq!(brought.len(), 3 - 1 + usize::from(paged) * 2);
        // Somebody starts in the root itself, which is of no use, and sweeps.
        let here = CheckpointStore::open(Arc::clone(&to), io.clone(), &Entropy::from_seed(3)).unwrap();
        let stats = here.files.settle();
        assert!(stats.swept && stats.waiting == 0, "{stats:?}");
        assert_eq!(
            names_in(&to, &io, "state"),
            brought,
            "the sweep deletes the attempt's own, not what it brought"
        );
        // A collection has claimed, and comes to delete when the next attempt has a checkpoint.
        let garbage = io.block_on(Garbage::take_over(Arc::clone(&to), &Entropy::from_seed(4))).unwrap();
        let mut job = begin(5);
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
        job.files.settle();
        let report = io.block_on(garbage.collect(&mut |orphan| panic!("{orphan:?}"))).unwrap();
        assert_eq!(report.deleted, 0);
        whole(&to, &io);
        job.end();
        whole(&to, &io);
    }
}

/// Of a fork that never had a checkpoint: what it brought is told of, goes once it is given up, and never comes again.
#[test]
fn what_an_abandoned_fork_has_brought_is_told_of_and_goes_when_it_is_given_up() {
    for paged in [false, true] {
        let io = IoRuntime::new(1).unwrap();
        let (from, to) = (original(&io, 1, paged), memory());
        let begin = |seed| {
            let origin = origin(&from, &to, RestoreMode::NoClaim);
            Job::start_from(Arc::clone(&to), &io, seed, &origin)
        };
        let mut running = begin(2).unwrap().paged(paged);
        let (id, _) = running.begin_checkpoint().unwrap();
        running.coordinator.abort(id, "it takes too long");
        let brought = names_in(&to, &io, "state/00000001");
        let before = contents(&to, &io);
        let looked = io.block_on(async {
            Garbage::look(Arc::clone(&to)).await?.collect(&mut |orphan| panic!("{orphan:?}")).await
        });
        let told = looked.unwrap();
        assert_eq!((told.brought, told.orphans), (brought.len() as u64, 0));
        assert!(told.brought_bytes > 0 && told.begun_from.unwrap().contains("mem:///origin"));
        assert_eq!(contents(&to, &io), before);

        let garbage = io.block_on(Garbage::abandon(Arc::clone(&to), &Entropy::from_seed(3))).unwrap();
        // Whoever began it before is fenced, and whoever would begin it again is refused before it brings anything.
        assert_eq!(running.checkpoint(&mut Oracle::new()).unwrap_err().kind(), ErrorKind::Fenced);
        let error = begin(4).err().unwrap();
        assert!(error.to_string().contains("holds a state of its own already"), "{error}");
        let gone = io.block_on(garbage.collect(&mut |_| Ok(()))).unwrap();
        assert_eq!((gone.orphans, gone.deleted, gone.brought), (told.brought, told.brought, 0));
        assert!(gone.begun_from.is_none() && names_in(&to, &io, "state").is_empty());
        // It is an empty state by now, and a job that begins there at the beginning has its own.
        let mut afresh = Job::start(Arc::clone(&to), &io, 5).unwrap();
        afresh.step().unwrap();
        afresh.checkpoint(&mut Oracle::new()).unwrap().unwrap();
        afresh.end();
        whole(&to, &io);
        whole(&from, &io);
    }
}

#[test]
fn an_object_that_the_origin_has_lost_is_named_and_fails_the_job() {
    let io = IoRuntime::new(1).unwrap();
    let (from, to) = (original(&io, 1, false), memory());
    let lost = named(&from, &io, &retained(&from, &io).all()[1..]).pop_first().unwrap();
    io.block_on(from.delete(&Path::from(lost.as_str()))).unwrap();
    let origin = origin(&from, &to, RestoreMode::NoClaim);
    let mut job = Job::start_from(Arc::clone(&to), &io, 2, &origin).unwrap();
    let error = job.checkpoint(&mut Oracle::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.to_string().contains(&lost) && error.to_string().contains("is missing in"), "{error}");
    assert!(retained(&to, &io).latest().is_none());
}

/// Two attempts, the first of which crashes: from the origin as long as there is no own checkpoint. Returns whether a
/// checkpoint was called complete.
fn run(
    [from, to]: [&Arc<dyn ObjectStore>; 2],
    io: &IoRuntime,
    (mode, paged): (RestoreMode, bool),
    completed: &mut bool,
) -> Result<()> {
    for attempt in 2..=3 {
        let origin = origin(from, to, mode);
        let begun = *completed || RetainedCheckpoints::read(Arc::clone(to), io)?.latest().is_some();
        let mut job = if begun {
            Job::start(Arc::clone(to), io, attempt)?
        } else {
            Job::start_from(Arc::clone(to), io, attempt, &origin)?
        };
        job = job.paged(paged);
        for _ in 0..2 {
            let _ = job.step();
            if job.checkpoint(&mut Oracle::new())?.is_some() {
                *completed = true;
                io.block_on(origin.retire(attempt + 100))?;
            }
        }
        job.files.settle();
    }
    Ok(())
}

fn sweep(mode: RestoreMode) {
    let io = IoRuntime::new(1).unwrap();
    let bursts = [(1, When::Before), (1, When::After), (3, When::Before), (3, When::After)];
    for ((burst, when), paged) in bursts.into_iter().flat_map(|burst| [(burst, false), (burst, true)]) {
        let calls = (0..MANY).find(|call| {
            let (from, to, plan) = (original(&io, 1, paged), memory(), Arc::new(Plan::default()));
            let before = contents(&from, &io);
            plan.arm(*call, burst, when);
            let faulty = [&from, &to].map(|store| -> Arc<dyn ObjectStore> {
                Arc::new(FaultyStore::new(Arc::clone(store), Arc::clone(&plan)))
            });
            let (case, mut completed) = (format!("call {call}, {burst} {when:?}, paged {paged}"), false);
            if let Err(error) = run([&faulty[0], &faulty[1]], &io, (mode, paged), &mut completed) {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}: {error}");
                assert!(error.to_string().contains("injected fault"), "{case}: {error}");
            }
            if mode == RestoreMode::NoClaim {
                assert_eq!(contents(&from, &io), before, "{case}: the origin was touched");
            }
            whole(&from, &io);
            whole(&to, &io);
            let own = retained(&to, &io);
            assert!(!completed || own.latest().is_some(), "{case}: a complete checkpoint is gone");
            assert!(
                own.latest().is_some() || retained(&from, &io).all().len() == 2,
                "{case}: the origin went before there was a checkpoint in its place"
            );
            // What an attempt on either root leaves is exactly what is retained there, or what it is begun from.
            let again = own.latest().is_none().then(|| origin(&from, &to, RestoreMode::NoClaim));
            for (store, again) in [(&from, None), (&to, again)] {
                let job = match &again {
                    None => Job::start(Arc::clone(store), &io, 99).unwrap(),
                    Some(origin) => Job::start_from(Arc::clone(store), &io, 99, origin).unwrap(),
                };
                let stats = job.files.settle();
                assert!(stats.swept && stats.waiting == 0, "{case}: {stats:?}");
                let left: BTreeSet<String> = names_in(store, &io, "state");
                if again.is_none() {
                    assert_eq!(left, named(store, &io, &job.retained), "{case}");
                } else {
                    let needed = named(&from, &io, &retained(&from, &io).all()[1..]);
                    assert!(left.is_subset(&needed), "{case}: {left:?}");
                }
            }
            !plan.was_reached()
        });
        assert!(calls.is_some_and(|calls| calls > 30), "{calls:?} calls were swept");
    }
}

#[test]
fn any_call_of_a_no_claim_restore_may_fail_and_the_origin_is_untouched() {
    sweep(RestoreMode::NoClaim);
}

#[test]
fn any_call_of_a_claim_restore_may_fail_and_one_of_both_roots_has_the_state() {
    sweep(RestoreMode::Claim);
}
