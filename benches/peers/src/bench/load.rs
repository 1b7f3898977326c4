//! How keys come into a system, and how all of them are read once.
use std::time::Duration;

use alluvium_env::{Error, Result};

use super::Bench;
use super::args::Order;
use super::fold::Fold;
use super::keys::KEY_BYTES;
use super::peer::Peer;

/// Writes of the load before a measurement go together, as many at a time.
pub(super) const BATCH: usize = 1000;
/// Keys are put in order in so many passes, of the first bits of a key each.
const PASS_BITS: u32 = 4;

/// What is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Map,
}

impl<P: Peer> Bench<'_, P> {
    /// Puts everything that the case needs; what it takes to put the keys in order is not counted.
    pub(super) async fn load(&mut self, batch: usize) -> Result<Duration> {
        let mut took = Duration::ZERO;
        for kind in [Kind::Single, Kind::Map] {
            if self.count(kind) > 0 {
                took += self.load_kind(kind, batch).await?;
            }
        }
        Ok(took)
    }

    async fn load_kind(&mut self, kind: Kind, batch: usize) -> Result<Duration> {
        let mut took = Duration::ZERO;
        if self.args.order == Order::Random {
            // Keys are as good as random; their numbers are not.
            let begun = self.now();
            self.put_all(kind, 0..self.count(kind), batch).await?;
            return Ok(self.now().saturating_sub(begun));
        }
        for pass in 0..1 << PASS_BITS {
            let indexes = self.ascending(kind, pass);
            let begun = self.now();
            self.put_all(kind, indexes.into_iter(), batch).await?;
            took += self.now().saturating_sub(begun);
        }
        Ok(took)
    }

    fn count(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Single => self.args.single_keys(),
            Kind::Map => self.args.maps(),
        }
    }

    /// Indexes of the keys, or maps, that begin with these bits.
    fn ascending(&self, kind: Kind, pass: u64) -> Vec<u64> {
        let first =
            |index| self.keys.key(index).bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        let all = (0..self.count(kind)).map(|index| (first(index), index));
        let mut some: Vec<_> = all.filter(|(first, _)| first >> (u64::BITS - PASS_BITS) == pass).collect();
        some.sort_unstable();
        some.into_iter().map(|(_, index)| index).collect()
    }

    async fn put_all(&mut self, kind: Kind, indexes: impl Iterator<Item = u64>, batch: usize) -> Result<()> {
        let (mut key, mut value, mut added) = (Vec::new(), Vec::new(), 0);
        let is_map = kind == Kind::Map;
        if Fold::of(self.args.case).is_some() {
            return self.load_operands(indexes).await;
        }
        let length = if is_map { self.args.scan_length() } else { 1 };
        for index in indexes {
            for entry in 0..length {
                let start = self.gauge.last();
                key.clear();
                if is_map {
                    key.extend_from_slice(&self.args.map_key(&self.keys, index).bytes);
                    key.extend_from_slice(&entry.to_be_bytes());
                } else {
                    key.extend_from_slice(&self.keys.key(index).bytes);
                }
                self.oracle.values.write(index * length + entry, 0, &mut value);
                self.gauge.wrote(key.len() + value.len());
                if batch == 1 {
                    self.peer.put(&key, &value).await?;
                } else {
                    self.peer.add(&key, &value)?;
                    added += 1;
                    if added == batch {
                        self.peer.commit().await?;
                        added = 0;
                    }
                }
                self.gauge.done(start);
            }
        }
        self.peer.commit().await
    }

    /// Reads everything once.
    pub(super) async fn scan_all(&mut self) -> Result<Duration> {
        let begun = self.now();
        let (mut entries, value_bytes) = (0, self.args.value_bytes());
        let look = &mut |key: &[u8], value: &[u8]| {
            entries += 1;
            if key.len() == KEY_BYTES && value.len() == value_bytes {
                return Ok(());
            }
            Err(Error::corruption("the store answered wrongly: a scan found an entry of another length"))
        };
        self.peer.scan(&[], look).await?;
        self.gauge.count(entries);
        let (took, expected) = (self.now().saturating_sub(begun), self.keys.count);
        if entries == expected {
            return Ok(took);
        }
        Err(Error::corruption(format!(
            "the store answered wrongly: a scan found {entries} keys instead of {expected}"
        )))
    }
}
