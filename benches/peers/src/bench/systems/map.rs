//! A hash map with values on the heap: no order, no files, no memory limit. It is the ceiling, not a peer.
use alluvium_env::{Error, HashMap, Result};

use crate::bench::fold::{Fold, no_fold};
use crate::bench::peer::{KeyBytes, Look, Peer, Place, Show};

/// See the module.
pub(crate) struct Map {
    values: HashMap<KeyBytes, Vec<u8>>,
    fold: Option<Fold>,
}

impl Peer for Map {
    async fn open(place: &Place) -> Result<Self> {
        Ok(Self { values: HashMap::default(), fold: place.fold })
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.add(key, value)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = key.try_into().map_err(|_| Error::invalid("a hash map has no order: it cannot scan"))?;
        match self.values.get_mut::<KeyBytes>(&key) {
            Some(old) if old.len() == value.len() => old.copy_from_slice(value),
            _ => drop(self.values.insert(key, value.to_vec())),
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    async fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        let fold = self.fold.ok_or_else(no_fold)?;
        let key = key.try_into().map_err(|_| Error::invalid("keys of this map have all one length"))?;
        fold.fold(self.values.entry(key).or_default(), operand);
        Ok(())
    }

    async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()> {
        look(self.values.get(key).map(Vec::as_slice))
    }

    async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()> {
        keys.iter().enumerate().try_for_each(|(at, key)| look(at, self.values.get(key).map(Vec::as_slice)))
    }

    async fn scan(&self, _: &[u8], look: Show<'_>) -> Result<()> {
        self.values.iter().try_for_each(|(key, value)| look(key, value))
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}
