//! What typed states do on every backend: lists, maps, reducing and aggregating state, iterators, namespaces, TTL.
mod driver;
mod migration;
mod model;

use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{ErrorKind, ManualClock};

use super::Suite;
use crate::{
    Aggregate, AggregatingState, DEFAULT_PAGE_ENTRIES, KeyCodec, ListState, MapState, ReducingState, Result,
    StateTtl, States, Sum, ValueState, combine_all,
};
use driver::{Driver, refusal};

/// The least, the greatest and the count of what was added.
struct Span;

impl Aggregate for Span {
    type In = i64;
    type Accumulator = (i64, i64, u64);
    type Out = (i64, u64);
    fn lift(value: &i64) -> (i64, i64, u64) {
        (*value, *value, 1)
    }
    fn merge(a: Self::Accumulator, b: Self::Accumulator) -> Self::Accumulator {
        (a.0.min(b.0), a.1.max(b.1), a.2 + b.2)
    }
    fn result((least, greatest, count): Self::Accumulator) -> (i64, u64) {
        (greatest - least, count)
    }
}

/// A state of each kind, in namespaces `N`.
struct Kinds<N: ?Sized = ()> {
    value: ValueState<u64, N>,
    list: ListState<String, N>,
    map: MapState<str, u64, N>,
    sum: ReducingState<Sum<u64>, N>,
    span: AggregatingState<Span, N>,
}

impl<N: KeyCodec + ?Sized> Kinds<N> {
    fn open(states: &States<'_, N>, suffix: &str) -> Result<Self> {
        let name = |kind: &str| format!("{kind}{suffix}");
        Ok(Self {
            value: states.value(&name("value"))?,
            list: states.list(&name("list"))?,
            map: states.map(&name("map"))?,
            sum: states.reducing(&name("sum"))?,
            span: states.aggregating(&name("span"))?,
        })
    }
}

/// More entries than a page has.
fn many() -> Vec<(String, u64)> {
    (0..u64::from(DEFAULT_PAGE_ENTRIES) * 2 + 50).map(|n| (format!("{n:04}"), n)).collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl Suite<'_> {
    /// Runs every property of typed states.
    pub(super) fn run_typed(&self) {
        self.typed_states_do_what_their_names_say();
        self.iterators_go_through_all_pages_in_order();
        self.namespaces_are_apart_and_merge();
        self.typed_states_expire();
        self.other_namespaces_and_user_keys_are_refused();
        self.states_are_renamed_added_and_dropped_if_that_is_said();
        self.all_that_differs_is_told_at_once();
        for seed in 0..self.seeds {
            self.random_typed_operations_match_collections(seed);
        }
    }

    fn typed_states_do_what_their_names_say(&self) {
        let driver = Driver::open(self, None, |states| Kinds::open(states, ""));
        driver.run(0, async |ctx, kinds| {
            let Kinds { list, map, sum, span, .. } = kinds;
            assert_eq!(list.get(ctx).await?, owned(&[]), "a list that was never written");
            list.add(ctx, &"b".to_owned())?;
            list.add_all(ctx, &owned(&["a", ""]))?;
            list.add_all(ctx, &owned(&[]))?;
            assert_eq!(list.get(ctx).await?, ["b", "a", ""], "elements in the order of their adds");
            list.update(ctx, &owned(&["c"]))?;
            list.add(ctx, &"d".to_owned())?;
            assert_eq!(list.get(ctx).await?, ["c", "d"], "an add to a list that was replaced");
            list.update(ctx, &owned(&[]))?;
            assert_eq!(list.get(ctx).await?, owned(&[]), "a list that was replaced by none");

            assert!(map.is_empty(ctx).await? && !map.contains(ctx, "a").await?);
            map.put_all(ctx, [("b", &1), ("a", &2), ("", &3)])?;
            map.put(ctx, "b", &4)?;
            let read = ["a", "b", "", "c"].map(|user_key| map.get(ctx, user_key));
            assert_eq!(combine_all(read).await?, [Some(2), Some(4), Some(3), None]);
            map.remove(ctx, "a")?;
            assert!(!map.contains(ctx, "a").await? && map.contains(ctx, "b").await?);
            map.clear(ctx)?;
            assert!(map.is_empty(ctx).await?, "a map that was cleared");

            assert_eq!((sum.get(ctx).await?, span.get(ctx).await?), (None, None));
            for n in [5_u64, 2, 9] {
                sum.add(ctx, &n)?;
                span.add(ctx, &n.cast_signed())?;
            }
            assert_eq!((sum.get(ctx).await?, span.get(ctx).await?), (Some(16), Some((7, 3))));
            span.clear(ctx)?;
            span.add(ctx, &1)?;
            assert_eq!(span.get(ctx).await?, Some((0, 1)), "an add after a clear");
            Ok(())
        });
    }

    fn iterators_go_through_all_pages_in_order(&self) {
        let driver = Driver::open(self, None, |states| Kinds::open(states, ""));
        for record in 0..3 {
            driver.run(record, async |ctx, kinds| {
                let entries = many();
                kinds.map.put_all(ctx, entries.iter().map(|(key, value)| (key.as_str(), value)))
            });
        }
        let driver = driver.reopen(self);
        driver.run(1, async |ctx, Kinds { map, .. }| {
            let (expected, mut found) = (many(), Vec::new());
            let mut entries = map.entries(ctx);
            while let Some(entry) = entries.next().await? {
                found.push(entry);
            }
            assert_eq!(found, expected);
            assert_eq!(entries.next().await?, None, "behind the end is nothing");
            let mut keys = Vec::new();
            let keep = |key| {
                keys.push(key);
                Ok(())
            };
            map.keys(ctx).on_next(keep).await?;
            assert!(keys.iter().eq(expected.iter().map(|(key, _)| key)));
            let doubled =
                map.values(ctx).on_next_compose(|value| crate::StateFuture::completed(value * 2)).await?;
            assert!(doubled.into_iter().eq(expected.iter().map(|(_, value)| value * 2)));
            let again = map.keys(ctx).on_next_compose(|key| map.get(ctx, &key)).await?;
            assert!(again.into_iter().eq(expected.iter().map(|(_, value)| Some(*value))));
            // What is removed behind the iterator's back is not met on a page that was not fetched.
            let mut keys = map.keys(ctx);
            assert_eq!(keys.next().await?.as_deref(), Some("0000"));
            map.clear(ctx)?;
            let mut left = 0;
            while keys.next().await?.is_some() {
                left += 1;
            }
            assert!(left < expected.len() - 1, "{left} keys of pages fetched after the clear");
            Ok(())
        });
        driver.run(2, async |ctx, Kinds { map, .. }| {
            assert!(!map.is_empty(ctx).await?, "the next key's map is untouched");
            Ok(())
        });
    }

    fn namespaces_are_apart_and_merge(&self) {
        let driver =
            Driver::open(self, None, |states| Kinds::<str>::open(&states.in_namespaces(), " by name"));
        driver.run(0, async |ctx, kinds| {
            let Kinds { list, map, sum, span, value } = kinds;
            for (namespace, n) in [("a", 1_u64), ("ab", 2), ("", 4)] {
                let scope = ctx.in_namespace(namespace);
                value.put(scope, &n)?;
                list.add_all(scope, &owned(&["x", namespace]))?;
                map.put(scope, "key", &n)?;
                sum.add(scope, &n)?;
                span.add(scope, &n.cast_signed())?;
            }
            map.clear(ctx.in_namespace("a"))?;
            let read = ["", "a", "ab", "b"].map(|namespace| map.get(ctx.in_namespace(namespace), "key"));
            assert_eq!(combine_all(read).await?, [Some(4), None, Some(2), None], "a clear of one namespace");
            let read = ["", "a", "ab", "b"].map(|namespace| value.get(ctx.in_namespace(namespace)));
            assert_eq!(combine_all(read).await?, [Some(4), Some(1), Some(2), None]);

            let (to, from) = ("b", ["ab", "b", "a", "none", "ab"]);
            list.add(ctx.in_namespace(to), &"first".to_owned())?;
            list.merge_namespaces(ctx, to, from).await?;
            sum.merge_namespaces(ctx, to, from).await?;
            span.merge_namespaces(ctx, to, from).await?;
            let target = ctx.in_namespace(to);
            assert_eq!(
                list.get(target).await?,
                ["first", "x", "ab", "x", "a"],
                "in the order of the sources"
            );
            assert_eq!((sum.get(target).await?, span.get(target).await?), (Some(3), Some((1, 2))));
            for source in ["a", "ab"].map(|source| ctx.in_namespace(source)) {
                assert!(list.get(source).await?.is_empty() && sum.get(source).await?.is_none());
                assert!(span.get(source).await?.is_none(), "sources are cleared");
            }
            assert_eq!(sum.get(ctx.in_namespace("")).await?, Some(4), "another namespace is untouched");
            Ok(())
        });
        driver.run(1, async |ctx, kinds| {
            assert_eq!(kinds.value.get(ctx.in_namespace("a")).await?, None, "another key's namespace");
            Ok(())
        });
    }

    fn other_namespaces_and_user_keys_are_refused(&self) {
        let driver = Driver::open(self, None, |states| {
            let plain = states.map::<str, u64>("plain map")?;
            Ok((Kinds::<u16>::open(&states.in_namespaces(), "")?, plain))
        });
        let snapshot = driver.snapshot(self);
        let refused = |open: fn(&States<'_>) -> Result<()>| {
            let error = refusal(self, &snapshot, open);
            // All but the states that are not opened.
            error.is_some_and(|error| {
                error.kind() == ErrorKind::Invalid && error.to_string().contains("cannot be opened with")
            })
        };
        assert!(refused(|states| states.map::<u32, u64>("plain map").map(drop)), "user keys");
        assert!(!refused(|states| Kinds::<u16>::open(&states.in_namespaces(), "").map(drop)), "as it was");
        assert!(refused(|states| states.value::<u64>("value").map(drop)), "without namespaces");
        assert!(refused(|states| states.in_namespaces::<i16>().list::<String>("list").map(drop)));
        assert!(refused(|states| states.in_namespaces::<i16>().reducing::<Sum<u64>>("sum").map(drop)));
        assert!(
            refused(|states| states.in_namespaces::<u16>().map::<u32, u64>("map").map(drop)),
            "user keys"
        );
        assert!(refused(|states| states.in_namespaces::<u16>().value::<u32>("value").map(drop)), "values");
    }

    fn typed_states_expire(&self) {
        let clock = Arc::new(ManualClock::at(Duration::from_secs(1_700_000_000)));
        let ttl = StateTtl::new(Duration::from_secs(1));
        let open = |states: &States<'_>| {
            let expiring = states.with_ttl(ttl);
            Ok((
                Kinds::open(&expiring, " with TTL")?,
                Kinds::<u32>::open(&expiring.in_namespaces(), " of numbers")?,
            ))
        };
        let driver = Driver::open(self, Some(Arc::clone(&clock)), open);
        let fill = async |ctx: &crate::Context<()>, (kinds, apart): &(Kinds, Kinds<u32>)| {
            let entries = many();
            let first = entries.iter().map(|(key, value)| (key.as_str(), value));
            kinds.map.put_all(ctx, first.clone().skip(1).step_by(2))?;
            clock.advance(Duration::from_millis(600));
            kinds.map.put_all(ctx, first.step_by(2))?;
            kinds.list.add(ctx, &"a".to_owned())?;
            apart.sum.add(ctx.in_namespace(&7), &1)?;
            apart.span.add(ctx.in_namespace(&7), &1)?;
            Ok(())
        };
        driver.run(0, fill);
        clock.advance(Duration::from_millis(600));
        driver.run(0, async |ctx, (kinds, apart)| {
            let (mut left, mut values) = (0, kinds.map.values(ctx));
            while let Some(value) = values.next().await? {
                assert_eq!(value % 2, 0, "an entry that has expired");
                left += 1;
            }
            assert_eq!(left, many().len() / 2, "the entries that live");
            kinds.list.add(ctx, &"b".to_owned())?;
            apart.sum.merge_namespaces(ctx, &8, [&7]).await?;
            apart.span.add(ctx.in_namespace(&7), &1)
        });
        clock.advance(Duration::from_millis(600));
        driver.run(0, async |ctx, (kinds, apart)| {
            assert!(kinds.map.is_empty(ctx).await?, "all entries have expired");
            assert_eq!(kinds.list.get(ctx).await?, ["b"], "elements expire one by one");
            assert_eq!(apart.sum.get(ctx.in_namespace(&8)).await?, Some(1), "what was merged lives anew");
            assert_eq!(apart.span.get(ctx.in_namespace(&7)).await?, Some((0, 2)), "an add prolongs life");
            Ok(())
        });
    }
}
