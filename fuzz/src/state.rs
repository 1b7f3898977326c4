//! Targets of `state-api`, through what is public there: stamped values, a heap backend's snapshot, keys, lists, pages.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{ErrorKind, HashMap, ManualClock, Result};
use alluvium_state_api::{
    BackendFactory as _, Codec as _, FileOwnership, HeapBackendFactory, KeyCodec as _, KeyGroupRange,
    Lifetimes, MergeOperator, OpenRequest, Page, PageRequest, RecordRef, RestoredPart, StateDescriptor,
    StateId, StateKind, StateTtl, TtlTime, by_serde, list_elements, state_key,
};
use bytes::Bytes;

const NOW: Duration = Duration::from_millis(1_700_000_000_000);

struct Nobody;

impl FileOwnership for Nobody {
    fn hold(&self, _: &str) {}
    fn release(&self, _: &str) {}
}

/// Appends, in the room of both.
struct Concat;

impl MergeOperator for Concat {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        acc.extend_from_slice(operand);
        Ok(())
    }
}

fn refused<T>(result: Result<T>) -> Option<T> {
    let kinds = |kind| matches!(kind, ErrorKind::Corruption | ErrorKind::Invalid);
    result.map_err(|error| assert!(kinds(error.kind()), "{error}")).ok()
}

fn states() -> Vec<StateDescriptor> {
    let ttl = StateTtl::new(Duration::from_secs(3600));
    let kinds = [StateKind::Value, StateKind::List, StateKind::Map, StateKind::Reducing(Arc::new(Concat))];
    let states = kinds.into_iter().enumerate();
    states.map(|(id, kind)| StateDescriptor::new(format!("state {id}"), kind).with_ttl(ttl)).collect()
}

/// Bytes of a state with a TTL: judged at a compaction, and folded onto others.
pub(crate) fn stamps(bytes: &[u8]) {
    let (head, rest) = bytes.split_at(bytes.len().min(3));
    let [state, cut, horizon] = std::array::from_fn(|at| head.get(at).copied().unwrap_or_default());
    let mut lifetimes = Lifetimes::new(Arc::new(TtlTime::new(Arc::new(ManualClock::at(NOW)))));
    let states = states();
    for (id, descriptor) in (0..).map(StateId).zip(&states) {
        lifetimes.register(id, descriptor);
    }
    let state = state % states.len() as u8;
    let key = [0, 1, 0, state, b'k'];
    let now = NOW.as_millis() as u64;
    let mut value = rest.to_vec();
    let _ = refused(lifetimes.clean(&key, &mut value, now, now.saturating_sub(u64::from(horizon))));
    assert!(value.len() <= rest.len(), "what is cleaned grows");
    if let Some(operator) = states[usize::from(state)].merge_operator() {
        let (acc, operand) = rest.split_at(rest.len().min(usize::from(cut)));
        let mut folded = acc.to_vec();
        let in_place = operator.merge_in_place(&mut folded, operand).then(|| folded.clone());
        folded = acc.to_vec();
        let done = refused(operator.merge(&mut folded, operand));
        assert!(
            in_place.is_none_or(|in_place| done.is_some() && in_place == folded),
            "in place is something else"
        );
    }
}

/// The snapshot of a heap backend, and everything read from it.
pub(crate) fn heap(bytes: &[u8]) {
    let part = RestoredPart {
        key_groups: KeyGroupRange::ALL,
        backend: "heap".to_owned(),
        payload: Bytes::copy_from_slice(bytes),
    };
    let opened = HeapBackendFactory.open(OpenRequest {
        subtask: 0,
        key_groups: KeyGroupRange::ALL,
        incarnation: 1,
        restored: vec![part],
        files: Arc::new(Nobody),
        notify: Arc::new(|| ()),
        clock: Arc::new(ManualClock::at(NOW)),
    });
    let Some(mut backend) = refused(opened) else { return };
    for state in states() {
        let Some(id) = refused(backend.register(&state)) else { continue };
        let Some(mut scan) = refused(backend.scan(id)) else { continue };
        while let Some(Some(_)) = refused(scan.next_entry()) {}
    }
    let request = PageRequest { prefix: &[], after: None, limit: 100 };
    let _ = refused(backend.try_page(request).map(|_| ()));
}

/// Keys, lists, pages and kept inputs.
pub(crate) fn codecs(bytes: &[u8]) {
    let _ = refused(state_key::split(bytes));
    let elements: usize = list_elements(bytes).filter_map(refused).map(<[u8]>::len).sum();
    assert!(elements <= bytes.len());
    if let Some(mut page) = refused(Page::decode(bytes)) {
        while let Some(Some((key, value))) = refused(page.next_entry()) {
            assert!(key.len() + value.len() <= bytes.len());
        }
    }
    let mut rest = bytes;
    while let Some(Some((key, value))) = refused(RecordRef::read_from(&mut rest)) {
        assert!(key.len() + value.len() <= bytes.len());
    }
    values(bytes);
}

/// One codec of each shape. What is read of a value without sets and maps is written as it was.
fn values(bytes: &[u8]) {
    type Nested = (u16, String, Vec<Option<(bool, char)>>);
    if let Some(nested) = refused(Nested::decode(bytes)) {
        let mut again = Vec::new();
        nested.encode(&mut again);
        assert_eq!(again, bytes);
    }
    let _ = refused(BTreeMap::<String, BTreeSet<i32>>::decode(bytes));
    let _ = refused(HashMap::<u8, [f32; 2]>::decode(bytes));
    let _ = refused(by_serde::split(bytes));
    let _ = refused(by_serde::decode::<(String, Option<BTreeMap<u64, Vec<i32>>>)>(bytes, "serde"));
    let mut rest = bytes;
    if let Some(key) = refused(<(Option<String>, (i64, Vec<u8>), f64, [u8; 3])>::take_key(&mut rest)) {
        let mut again = Vec::new();
        key.encode_key(&mut again);
        assert_eq!(again, &bytes[..bytes.len() - rest.len()]);
    }
}
