//! Random changes, to a store and to the map that it is compared with.
use std::collections::BTreeMap;

use alluvium_env::Entropy;
use alluvium_forst::Store;

pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// One change, somewhere about a key.
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    /// What is added, if the key is a sum's.
    pub(crate) number: u64,
    pub(crate) step: u64,
}

impl Change {
    /// Deletes a tenth of the time, now and then a range; else adds to a sum, or puts a value.
    pub(crate) fn apply(
        self,
        store: &mut Store,
        model: &mut Model,
        random: &Entropy,
        value: impl FnOnce() -> Vec<u8>,
    ) {
        let Self { key, number, step } = self;
        match random.next_u64() % 10 {
            0 if step.is_multiple_of(100) => {
                // Anything from one key to a tenth of them.
                let prefix = &key[..key.len() - random.next_u64() as usize % 4];
                store.delete_prefix(prefix).unwrap();
                model.retain(|key, _| !key.starts_with(prefix));
            }
            0 => {
                store.delete(&key).unwrap();
                model.remove(&key);
            }
            _ if key.starts_with(b"s") => {
                store.merge(&key, &number.to_le_bytes()).unwrap();
                let old = model.get(&key).map_or(0, |sum| u64::from_le_bytes(sum[..].try_into().unwrap()));
                model.insert(key, old.wrapping_add(number).to_le_bytes().to_vec());
            }
            _ => {
                let value = value();
                store.put(&key, &value).unwrap();
                model.insert(key, value);
            }
        }
    }
}
