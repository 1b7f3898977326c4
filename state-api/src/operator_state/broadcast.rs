//! Broadcast state: a map that is the same on all subtasks.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::rc::Rc;

use alluvium_env::Result;
use bytes::Bytes;

use super::registry::{Content, Size};
use super::{OperatorStateKind, OperatorStates};
use crate::{BroadcastContext, Codec, KeyCodec, Schema};

/// A value, and how a checkpoint holds it.
struct Entry<V> {
    value: Rc<V>,
    bytes: Bytes,
}

struct Entries<V> {
    name: String,
    size: Rc<Size>,
    by_key: RefCell<BTreeMap<Bytes, Entry<V>>>,
    /// A key that is looked up.
    key: RefCell<Vec<u8>>,
}

impl<V: Codec> Entries<V> {
    fn new(name: &str, size: &Rc<Size>, (keys, values): (Vec<Bytes>, Vec<Bytes>)) -> Result<Self> {
        let mut by_key = BTreeMap::new();
        for (key, bytes) in keys.into_iter().zip(values) {
            size.restored(key.len() + bytes.len());
            by_key.insert(key, Entry { value: Rc::new(V::decode(&bytes)?), bytes });
        }
        let (size, key) = (Rc::clone(size), RefCell::default());
        Ok(Self { name: name.to_owned(), size, by_key: RefCell::new(by_key), key })
    }

    fn with_key<R>(&self, key: &(impl KeyCodec + ?Sized), look: impl FnOnce(&[u8]) -> R) -> R {
        let mut encoded = self.key.borrow_mut();
        encoded.clear();
        key.encode_key(&mut encoded);
        look(&encoded)
    }
}

impl<V> Content for Entries<V> {
    fn entries(&self) -> (Vec<Bytes>, Vec<Bytes>) {
        let entries = self.by_key.borrow();
        entries.iter().map(|(key, entry)| (key.clone(), entry.bytes.clone())).unzip()
    }
}

/// A map that every subtask holds, in memory. It is read by every record and timer; it is written only where an element of
/// the broadcast side is processed, once on every subtask, so that it stays the same on all. Opened by
/// [`States::broadcast`](crate::States::broadcast); [`BroadcastProcess`](crate::BroadcastProcess) has an example.
///
/// A value is decoded when it is restored and not when it is read.
pub struct BroadcastState<K: ?Sized, V> {
    entries: Rc<Entries<V>>,
    key: PhantomData<fn(&K)>,
}

impl<K: KeyCodec + ?Sized, V: Codec + 'static> BroadcastState<K, V> {
    pub(crate) fn open(states: &OperatorStates, name: &str) -> Result<Self> {
        let kind = (OperatorStateKind::Broadcast, Schema::by_user_key::<V, K, ()>());
        let make =
            |part: super::OperatorStatePart| Entries::new(name, states.size(), (part.keys, part.elements));
        Ok(Self { entries: states.open(name, kind, make)?, key: PhantomData })
    }

    /// The value of a key, `None` if it was never put or was removed.
    pub fn get(&self, key: &K) -> Option<Rc<V>> {
        let entries = self.entries.by_key.borrow();
        self.entries.with_key(key, |key| entries.get(key).map(|entry| Rc::clone(&entry.value)))
    }

    /// Whether there is an entry.
    pub fn contains(&self, key: &K) -> bool {
        self.entries.with_key(key, |key| self.entries.by_key.borrow().contains_key(key))
    }

    /// All entries, in the order of their keys.
    ///
    /// # Errors
    /// `Corruption` if a key cannot be decoded.
    pub fn entries(&self) -> Result<Vec<(K::Owned, Rc<V>)>> {
        let entries = self.entries.by_key.borrow();
        entries.iter().map(|(key, entry)| Ok((K::decode_key(key)?, Rc::clone(&entry.value)))).collect()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.by_key.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an entry, or replaces its value.
    ///
    /// # Errors
    /// `Invalid` if the operator states of the subtask would pass [`OperatorStates::MAX_BYTES`].
    pub fn put<Out>(&self, _: &BroadcastContext<'_, Out>, key: &K, value: V) -> Result<()> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        let entry = Entry { value: Rc::new(value), bytes: bytes.into() };
        let Entries { name, size, by_key, .. } = &*self.entries;
        self.entries.with_key(key, |key| {
            let mut entries = by_key.borrow_mut();
            let before = entries.get(key).map_or(0, |before| key.len() + before.bytes.len());
            size.change(name, (before, key.len() + entry.bytes.len()))?;
            entries.insert(Bytes::copy_from_slice(key), entry);
            Ok(())
        })
    }

    /// Removes an entry.
    pub fn remove<Out>(&self, _: &BroadcastContext<'_, Out>, key: &K) {
        let Entries { size, by_key, .. } = &*self.entries;
        self.entries.with_key(key, |key| {
            if let Some(removed) = by_key.borrow_mut().remove(key) {
                size.shrink(key.len() + removed.bytes.len());
            }
        });
    }

    /// Removes all entries.
    pub fn clear<Out>(&self, _: &BroadcastContext<'_, Out>) {
        let entries = std::mem::take(&mut *self.entries.by_key.borrow_mut());
        self.entries.size.shrink(entries.iter().map(|(key, entry)| key.len() + entry.bytes.len()).sum());
    }
}
