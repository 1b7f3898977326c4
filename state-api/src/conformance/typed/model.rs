//! Random operations on typed states, in namespaces and without, with restarts, against collections.
use std::collections::BTreeMap;

use alluvium_env::{Entropy, HashMap};

use super::super::Suite;
use super::driver::{Driver, KEYS};
use super::{Kinds, many};
use crate::{Aggregate as _, Context, KeyCodec, Result, Scope, StateFutureExt as _, combine_all};

/// What the states hold of one key and namespace.
#[derive(Clone, Debug, Default)]
struct Held {
    value: Option<u64>,
    list: Vec<String>,
    map: BTreeMap<String, u64>,
    sum: Option<u64>,
    span: Option<(i64, i64, u64)>,
}

/// By key, and namespace if there is one.
type Model = HashMap<(usize, Option<u16>), Held>;

struct Random(Entropy);

impl Random {
    fn below(&self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    fn name(&self) -> String {
        format!("{:03}", self.below(200))
    }
}

impl Suite<'_> {
    pub(super) fn random_typed_operations_match_collections(&self, seed: u64) {
        let random = Random(Entropy::from_seed(seed));
        let open = |states: &crate::States<'_>| {
            Ok((Kinds::open(states, "")?, Kinds::<u16>::open(&states.in_namespaces(), " in namespaces")?))
        };
        let mut driver = Driver::open(self, None, open);
        let mut model = Model::default();
        for step in 1..=self.operations / 10 {
            if step.is_multiple_of(499) {
                driver = driver.reopen(self);
            }
            let key = random.below(KEYS as u64) as usize;
            let namespace = (random.below(2) == 0).then(|| random.below(4) as u16);
            driver.run(key, async |ctx, (kinds, apart)| match namespace {
                None => operate(kinds, ctx, &random, model.entry((key, None)).or_default()).await,
                Some(_) if random.below(8) == 0 => merge(apart, ctx, &random, key, &mut model).await,
                Some(number) => {
                    let held = model.entry((key, namespace)).or_default();
                    operate(apart, ctx.in_namespace(&number), &random, held).await
                }
            });
        }
        for (&(key, namespace), held) in &mut model {
            driver.run(key, async |ctx, (kinds, apart)| match namespace {
                None => compare(kinds, ctx, held).await,
                Some(number) => compare(apart, ctx.in_namespace(&number), held).await,
            });
        }
    }
}

/// One random operation, on the states and on what they should hold.
async fn operate<'a, N: KeyCodec>(
    kinds: &Kinds<N>,
    scope: impl Scope<'a, N>,
    random: &Random,
    held: &mut Held,
) -> Result<()> {
    match random.below(10) {
        0 | 1 => value(kinds, scope, random, held).await,
        2 | 3 => list(kinds, scope, random, held).await,
        4 | 5 => sums(kinds, scope, random, held).await,
        6 => read_map(kinds, scope, random, held).await,
        _ => write_map(kinds, scope, random, held),
    }
}

async fn value<'a, N: KeyCodec>(
    kinds: &Kinds<N>,
    scope: impl Scope<'a, N>,
    random: &Random,
    held: &mut Held,
) -> Result<()> {
    let next = held.value.unwrap_or(0) + 1;
    match random.below(4) {
        0 => held.value = None,
        _ => held.value = Some(next),
    }
    // As a graph, since elsewhere all is awaited.
    let write = |found: Option<u64>| match held.value {
        None => kinds.value.clear(scope),
        Some(next) => {
            assert_eq!(found.unwrap_or(0) + 1, next, "a value");
            kinds.value.put(scope, &next)
        }
    };
    kinds.value.get(scope).then_accept(write).await
}

async fn list<'a, N: KeyCodec>(
    kinds: &Kinds<N>,
    scope: impl Scope<'a, N>,
    random: &Random,
    held: &mut Held,
) -> Result<()> {
    let names: Vec<_> = (0..random.below(4)).map(|_| random.name()).collect();
    match random.below(6) {
        0 => {
            held.list.clone_from(&names);
            kinds.list.update(scope, &names)
        }
        1 => {
            held.list.clear();
            kinds.list.clear(scope)
        }
        2 => {
            assert_eq!(kinds.list.get(scope).await?, held.list, "a list");
            Ok(())
        }
        3 => {
            let name = random.name();
            held.list.push(name.clone());
            kinds.list.add(scope, &name)
        }
        _ => {
            held.list.extend_from_slice(&names);
            kinds.list.add_all(scope, &names)
        }
    }
}

async fn sums<'a, N: KeyCodec>(
    kinds: &Kinds<N>,
    scope: impl Scope<'a, N>,
    random: &Random,
    held: &mut Held,
) -> Result<()> {
    let n = random.below(1000);
    let signed = n.cast_signed();
    match random.below(5) {
        0 => {
            (held.sum, held.span) = (None, None);
            kinds.sum.clear(scope)?;
            kinds.span.clear(scope)
        }
        1 => {
            let both = kinds.sum.get(scope).then_combine(kinds.span.get(scope), |sum, span| Ok((sum, span)));
            assert_eq!(both.await?, (held.sum, held.span.map(super::Span::result)), "a sum and a span");
            Ok(())
        }
        _ => {
            held.sum = Some(held.sum.unwrap_or(0) + n);
            add_span(held, super::Span::lift(&signed));
            kinds.sum.add(scope, &n)?;
            kinds.span.add(scope, &signed)
        }
    }
}

fn add_span(held: &mut Held, span: (i64, i64, u64)) {
    held.span = Some(held.span.map_or(span, |before| super::Span::merge(before, span)));
}

async fn read_map<'a, N: KeyCodec>(
    kinds: &Kinds<N>,
    scope: impl Scope<'a, N>,
    random: &Random,
    held: &mut Held,
) -> Result<()> {
    let names: Vec<_> = (0..5).map(|_| random.name()).collect();
    let found = combine_all(names.iter().map(|name| kinds.map.get(scope, name))).await?;
    let there = combine_all(names.iter().map(|name| kinds.map.contains(scope, name))).await?;
    for (name, (found, there)) in names.iter().zip(found.into_iter().zip(there)) {
        assert_eq!((found, there), (held.map.get(name).copied(), found.is_some()), "entry {name}");
    }
    assert_eq!(kinds.map.is_empty(scope).await?, held.map.is_empty());
    compare_map(kinds, scope, held).await
}

async fn compare_map<'a, N: KeyCodec>(kinds: &Kinds<N>, scope: impl Scope<'a, N>, held: &Held) -> Result<()> {
    let mut expected = held.map.iter();
    let mut entries = kinds.map.entries(scope);
    while let Some((key, value)) = entries.next().await? {
        assert_eq!(Some((&key, &value)), expected.next(), "an entry of a map");
    }
    assert_eq!(expected.next(), None, "an entry that is missing");
    Ok(())
}

fn write_map<'a, N: KeyCodec>(
    kinds: &Kinds<N>,
    scope: impl Scope<'a, N>,
    random: &Random,
    held: &mut Held,
) -> Result<()> {
    let (name, n) = (random.name(), random.below(1000));
    match random.below(12) {
        0 => {
            held.map.clear();
            kinds.map.clear(scope)
        }
        1..=3 => {
            held.map.remove(&name);
            kinds.map.remove(scope, &name)
        }
        4 => {
            let entries = many();
            kinds.map.put_all(scope, entries.iter().map(|(key, value)| (key.as_str(), value)))?;
            held.map.extend(entries);
            Ok(())
        }
        _ => {
            kinds.map.put(scope, &name, &n)?;
            held.map.insert(name, n);
            Ok(())
        }
    }
}

/// Merges some namespaces of a key into one of them.
async fn merge(
    apart: &Kinds<u16>,
    ctx: &Context<()>,
    random: &Random,
    key: usize,
    model: &mut Model,
) -> Result<()> {
    let target = random.below(4) as u16;
    let sources: Vec<_> = (0..4).filter(|source| *source != target && random.below(2) == 0).collect();
    for source in &sources {
        let merged = model.entry((key, Some(*source))).or_default();
        let (list, sum, span) = (std::mem::take(&mut merged.list), merged.sum.take(), merged.span.take());
        let held = model.entry((key, Some(target))).or_default();
        held.list.extend(list);
        held.sum = sum.map_or(held.sum, |sum| Some(held.sum.unwrap_or(0) + sum));
        if let Some(span) = span {
            add_span(held, span);
        }
    }
    apart.list.merge_namespaces(ctx, &target, &sources).await?;
    apart.sum.merge_namespaces(ctx, &target, &sources).await?;
    apart.span.merge_namespaces(ctx, &target, &sources).await
}

/// All that the states hold.
async fn compare<'a, N: KeyCodec>(kinds: &Kinds<N>, scope: impl Scope<'a, N>, held: &Held) -> Result<()> {
    assert_eq!(kinds.value.get(scope).await?, held.value, "the value");
    assert_eq!(kinds.list.get(scope).await?, held.list, "the list");
    assert_eq!(kinds.sum.get(scope).await?, held.sum, "the sum");
    assert_eq!(kinds.span.get(scope).await?, held.span.map(super::Span::result), "the span");
    compare_map(kinds, scope, held).await
}
