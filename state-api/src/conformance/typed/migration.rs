//! Restores into functions whose states are other ones: added, renamed, dropped, or not what they were.
use alluvium_env::ErrorKind;

use super::super::Suite;
use super::driver::{Driver, refusal};
use crate::{ListState, MapState, ReducingState, Result, StateId, States, Sum, ValueState};

/// What the first function has.
struct Old {
    words: ValueState<String>,
    seen: ReducingState<Sum<u64>>,
    notes: MapState<str, u64>,
}

/// The id of its notes.
const NOTES: StateId = StateId(2);

fn old(states: &States<'_>) -> Result<Old> {
    Ok(Old { words: states.value("words")?, seen: states.reducing("seen")?, notes: states.map("notes")? })
}

/// `words` has become `titles`, `notes` are gone, `extra` and `remarks` have come.
struct New {
    extra: ListState<u64>,
    titles: ValueState<String>,
    remarks: ValueState<u64>,
    seen: ReducingState<Sum<u64>>,
}

fn new(states: &States<'_>) -> Result<New> {
    states.drop_state("notes");
    states.drop_state("never");
    Ok(New {
        extra: states.list("extra")?,
        titles: states.formerly("words").value("titles")?,
        remarks: states.value("remarks")?,
        seen: states.formerly("never").reducing("seen")?,
    })
}

/// Without anything of what had come.
fn newer(states: &States<'_>) -> Result<(ValueState<String>, ListState<u64>)> {
    for name in ["notes", "extra", "remarks", "seen"] {
        states.drop_state(name);
    }
    Ok((states.formerly("words").value("titles")?, states.list("latest")?))
}

impl Suite<'_> {
    pub(in super::super) fn states_are_renamed_added_and_dropped_if_that_is_said(&self) {
        let driver = Driver::open(self, None, old);
        for key in 0..3 {
            driver.run(key, async |ctx, old| {
                old.words.put(ctx, &format!("word {key}"))?;
                old.seen.add(ctx, &(key as u64))?;
                old.notes.put(ctx, "a", &1)?;
                old.notes.put(ctx, "b", &2)
            });
        }
        assert_eq!(driver.entries(NOTES), 6);
        let driver = driver.reopen_as(self, new);
        for key in 0..3 {
            driver.run(key, async |ctx, new| {
                assert_eq!(new.titles.get(ctx).await?, Some(format!("word {key}")), "a renamed state");
                assert_eq!(new.seen.get(ctx).await?, Some(key as u64), "a state that stays");
                assert_eq!(new.remarks.get(ctx).await?, None, "of a dropped state nothing is found");
                assert!(new.extra.get(ctx).await?.is_empty(), "a state that has come");
                new.extra.add(ctx, &7)?;
                new.seen.add(ctx, &1)?;
                new.remarks.put(ctx, &(key as u64))
            });
        }
        assert_eq!(driver.entries(NOTES), 0, "entries of a dropped state");
        // The calls may stay, and may be gone; then another state may have the name.
        let driver = driver.reopen_as(self, new);
        let driver = driver.reopen_as(self, |states: &States<'_>| {
            let titles = states.formerly("words").value("titles")?;
            let (extra, remarks, seen) =
                (states.list("extra")?, states.value("remarks")?, states.reducing("seen")?);
            let _: ValueState<u64> = states.value("notes")?;
            Ok(New { extra, titles, remarks, seen })
        });
        for key in 0..3 {
            driver.run(key, async |ctx, new| {
                assert_eq!(new.titles.get(ctx).await?, Some(format!("word {key}")), "renamed once");
                assert_eq!(new.seen.get(ctx).await?, Some(key as u64 + 1));
                assert_eq!(new.remarks.get(ctx).await?, Some(key as u64));
                assert_eq!(new.extra.get(ctx).await?, [7]);
                Ok(())
            });
        }
        // Several are dropped, and all places are kept.
        let driver = driver.reopen_as(self, newer);
        driver.run(1, async |ctx, (_, latest)| latest.add(ctx, &5));
        let driver = driver.reopen(self);
        driver.run(1, async |ctx, (titles, latest)| {
            assert_eq!(titles.get(ctx).await?.as_deref(), Some("word 1"));
            assert_eq!(latest.get(ctx).await?, [5], "a state that came where others were dropped");
            Ok(())
        });
        driver.run(2, async |ctx, (_, latest)| {
            assert!(latest.get(ctx).await?.is_empty());
            Ok(())
        });
    }

    pub(in super::super) fn all_that_differs_is_told_at_once(&self) {
        let driver = Driver::open(self, None, old);
        let snapshot = driver.snapshot(self);
        let told = |open: fn(&States<'_>) -> Result<()>| {
            let error = refusal(self, &snapshot, open);
            assert!(error.as_ref().is_none_or(|error| error.kind() == ErrorKind::Invalid), "{error:?}");
            error.map_or_else(String::new, |error| error.to_string())
        };
        let all = told(|states| {
            states.value::<u64>("seen")?;
            states.value::<u64>("words")?;
            states.map::<str, u64>("added").map(drop)
        });
        for part in [
            "in 3 ways: state seen was stored as reducing and cannot be opened as value; ",
            "; state words was written by codec ",
            "; state notes is not opened. ",
            "`States::formerly`",
            "`States::drop_state`",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        let renamed = told(|states| {
            states.drop_state("notes");
            states.reducing::<Sum<u64>>("seen")?;
            states.formerly("words").list::<String>("titles").map(drop)
        });
        let one =
            "does not fit the operator: state titles was stored as value and cannot be opened as list. ";
        assert!(renamed.contains(one), "{renamed}");
        let taken = told(|states| {
            states.value::<String>("words")?;
            states.formerly("words").value::<String>("titles").map(drop)
        });
        assert!(taken.contains("open titles first"), "{taken}");
        let dropped = told(|states| {
            states.drop_state("notes");
            states.value::<u64>("notes").map(drop)
        });
        assert!(dropped.contains("state notes is dropped and opened"), "{dropped}");
        assert_eq!(told(|states| old(states).map(drop)), "", "as it was");
    }
}
