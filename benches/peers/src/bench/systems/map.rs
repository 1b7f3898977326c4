//! A hash map with values on the heap: no order, no files, no memory limit. It is the ceiling, not a peer.
use alluvium_env::{Error, HashMap, Result};

use crate::bench::peer::{KeyBytes, Look, Peer, Place, Show};

/// See the module.
pub(crate) struct Map(HashMap<KeyBytes, Box<[u8]>>);

impl Peer for Map {
    async fn open(_: &Place) -> Result<Self> {
        Ok(Self(HashMap::default()))
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.add(key, value)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let key = key.try_into().map_err(|_| Error::invalid("a hash map has no order: it cannot scan"))?;
        match self.0.get_mut::<KeyBytes>(&key) {
            Some(old) if old.len() == value.len() => old.copy_from_slice(value),
            _ => drop(self.0.insert(key, value.into())),
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()> {
        look(self.0.get(key).map(|value| &**value))
    }

    async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()> {
        keys.iter().enumerate().try_for_each(|(at, key)| look(at, self.0.get(key).map(|value| &**value)))
    }

    async fn scan(&self, _: &[u8], look: Show<'_>) -> Result<()> {
        self.0.iter().try_for_each(|(key, value)| look(key, value))
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}
