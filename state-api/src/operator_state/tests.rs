//! Handles against what they hold: through checkpoints, over the limit, opened as something else.
use alluvium_env::{ErrorKind, Result};

use super::*;
use crate::{BroadcastContext, Context, HeapBackend, KeyGroupRange, KeyedProcess, States, TaskContext};

const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 1 };

struct Any;
impl KeyedProcess for Any {
    type In = ();
    type Out = ();
    async fn process(&self, (): (), _: &Context<()>) -> Result<()> {
        Ok(())
    }
}

fn task(parts: Vec<OperatorStatePart>) -> TaskContext<()> {
    TaskContext::new(Box::new(HeapBackend::default())).with_operator_states(parts)
}

fn invalid<T>(result: Result<T>, says: &str) {
    let error = result.map_or_else(|error| error, |_| panic!("it is not refused"));
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(says), "{error}");
}

/// A checkpoint with one state of each kind.
fn parts() -> Vec<OperatorStatePart> {
    let task = task(Vec::new());
    let states = task.states();
    let list: OperatorListState<u64> = states.operator_list("list").unwrap();
    let union: UnionListState<String> = states.union_list("union").unwrap();
    let rules: BroadcastState<str, u32> = states.broadcast("rules").unwrap();
    list.add(&states, &7).unwrap();
    list.add(&states, &8).unwrap();
    union.update(&states, &["a".to_owned()]).unwrap();
    let ctx = BroadcastContext::new(&task);
    for (key, value) in [("b", 1), ("a", 2), ("b", 3), ("c", 4)] {
        rules.put(&ctx, key, value).unwrap();
    }
    rules.remove(&ctx, "c");
    assert_eq!((rules.len(), rules.get("b").as_deref(), rules.contains("c")), (2, Some(&3), false));
    task.snapshot_operator_states()
}

#[test]
fn what_a_checkpoint_holds_is_what_the_states_held() {
    let task = task(parts());
    let states = task.states();
    let list: OperatorListState<u64> = states.operator_list("list").unwrap();
    let union: UnionListState<String> = states.union_list("union").unwrap();
    invalid(task.opened::<Any>(GROUPS), "the operator: operator state rules is not opened. ");
    let rules: BroadcastState<str, u32> = states.broadcast("rules").unwrap();
    task.opened::<Any>(GROUPS).unwrap();
    assert_eq!(list.get().unwrap(), [7, 8]);
    assert_eq!((union.get().unwrap(), union.restored().unwrap()), (vec![], vec!["a".to_owned()]));
    let entries = rules.entries().unwrap();
    assert!(entries.iter().map(|(key, value)| (key.as_str(), **value)).eq([("a", 2), ("b", 3)]));
    assert_eq!(task.snapshot_operator_states()[1].elements, [""; 0], "a union is added anew, or gone");
    rules.clear(&BroadcastContext::new(&task));
    assert!(rules.is_empty());
}

#[test]
fn a_state_is_opened_once_and_as_what_it_was() {
    let open = |open: fn(&States<'_>) -> Result<()>| {
        let task = task(parts());
        open(&task.states()).and_then(|()| task.opened::<Any>(GROUPS))
    };
    let all = open(|states| {
        states.union_list::<u64>("list")?;
        states.broadcast::<u8, u32>("rules").map(|_| ())
    });
    let all = all.map_or_else(|error| error.to_string(), |()| String::new());
    for says in [
        "in 3 ways: operator state list was stored as list and cannot be opened as union list; ",
        "; operator state rules was written by codec ",
        "; operator state union is not opened. ",
    ] {
        assert!(all.contains(says), "{says} in {all}");
    }
    invalid(
        open(|states| states.operator_list::<u32>("list").map(|_| ())),
        "operator state list was written by codec",
    );
    invalid(
        open(|states| {
            states.operator_list::<u64>("list")?;
            states.operator_list::<u64>("list").map(|_| ())
        }),
        "opened twice",
    );
    let ttl = crate::StateTtl::new(std::time::Duration::from_secs(1));
    invalid(
        task(parts()).states().with_ttl(ttl).operator_list::<u64>("list").map(|_| ()),
        "only keyed state has one",
    );
}

#[test]
fn a_state_is_renamed_or_dropped_if_that_is_said() {
    let dropping = task(parts());
    for name in ["list", "union", "rules", "never"] {
        dropping.states().drop_operator_state(name);
    }
    dropping.opened::<Any>(GROUPS).unwrap();
    let renaming = task(parts());
    let states = renaming.states();
    let numbers: OperatorListState<u64> = states.formerly("list").operator_list("numbers").unwrap();
    let names: UnionListState<String> = states.formerly("never").union_list("union").unwrap();
    states.drop_operator_state("rules");
    invalid(states.operator_list::<u64>("rules"), "operator state rules is dropped and opened");
    let laws: OperatorListState<u64> = states.operator_list("laws").unwrap();
    renaming.opened::<Any>(GROUPS).unwrap();
    assert_eq!(numbers.get().unwrap(), [7, 8]);
    assert_eq!((names.restored().unwrap().len(), laws.get().unwrap().len()), (1, 0));
    let again = task(renaming.snapshot_operator_states());
    let states = again.states();
    // Whatever came under the old name since is not taken for the new one's.
    let numbers: OperatorListState<u64> = states.formerly("laws").operator_list("numbers").unwrap();
    assert_eq!(numbers.get().unwrap(), [7, 8]);
    states.operator_list::<u64>("laws").unwrap();
    invalid(states.formerly("laws").operator_list::<u64>("rules"), "open rules first");
}

#[test]
fn all_states_together_stay_below_the_limit_but_what_was_restored_is_kept() {
    let task = task(Vec::new());
    let states = task.states();
    let list: OperatorListState<String> = states.operator_list("list").unwrap();
    let rules: BroadcastState<u8, String> = states.broadcast("rules").unwrap();
    let (ctx, half) = (BroadcastContext::new(&task), "x".repeat(OperatorStates::MAX_BYTES / 2));
    list.add(&states, &half).unwrap();
    invalid(
        rules.put(&ctx, &1, half.clone()),
        "state rules would take the operator states of this subtask to 8388609",
    );
    rules.put(&ctx, &1, half[1..].to_owned()).unwrap();
    invalid(list.add(&states, &"x".to_owned()), "state list would take");
    rules.put(&ctx, &1, "less".to_owned()).unwrap();
    list.add(&states, &"x".to_owned()).unwrap();
    rules.remove(&ctx, &1);
    invalid(list.update(&states, &[half.clone(), half.clone(), half.clone()]), "keyed state");
    assert_eq!(list.get().unwrap().len(), 2, "nothing was replaced");
    let (small, none) = (self::task(Vec::new()).with_operator_state_limit(7), self::task(Vec::new()));
    let list: OperatorListState<String> = small.states().operator_list("list").unwrap();
    invalid(list.add(&small.states(), &"eight by".to_owned()), "they may have 7: raise the job's");
    let rules: BroadcastState<u8, String> =
        none.with_operator_state_limit(0).states().broadcast("rules").unwrap();
    invalid(rules.put(&ctx, &1, String::new()), "they may have 0");
    let mut parts = task.snapshot_operator_states();
    let again = [(); 3].map(|()| parts[0].elements.clone());
    parts[0].elements = again.concat();
    let more = self::task(parts);
    let states = more.states();
    let list: OperatorListState<String> = states.operator_list("list").unwrap();
    let rules: BroadcastState<u8, String> = states.broadcast("rules").unwrap();
    assert_eq!(list.get().unwrap().len(), 6);
    invalid(rules.put(&BroadcastContext::new(&more), &1, "y".to_owned()), "state rules would take");
    list.update(&states, &["less".to_owned()]).unwrap();
    rules.put(&BroadcastContext::new(&more), &1, half).unwrap();
}
