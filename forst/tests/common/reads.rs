//! Reads of a store, waited for.
use std::time::Duration;

use alluvium_env::Result;
use alluvium_forst::{Resident, Store};

use super::bell::Bell;

/// Reads keys: at once what memory answers, all others in one batch. The answers are in the order of the keys.
///
/// # Errors
/// Of the store as a whole; that of one key is its answer.
pub(crate) fn read_all(
    store: &mut Store,
    bell: &Bell,
    keys: &[Vec<u8>],
) -> Result<Vec<Result<Option<Vec<u8>>>>> {
    let (mut found, mut misses) = (Vec::with_capacity(keys.len()), Vec::new());
    for (index, key) in (0..).zip(keys) {
        found.push(match store.get_resident(key) {
            Ok(Resident::Value(value)) => Some(Ok(Some(value.into_owned()))),
            Ok(Resident::Absent) => Some(Ok(None)),
            Ok(Resident::Miss) => {
                misses.push((index, key.as_slice()));
                None
            }
            Err(error) => Some(Err(error)),
        });
    }
    let mut open = misses.len();
    store.read(misses);
    while open > 0 {
        store.poll(&mut |token, answer| {
            let slot = found.get_mut(token as usize).expect("an answer to no read");
            assert!(slot.is_none(), "read {token} was answered twice");
            *slot = Some(answer.map(|answer| answer.value().map(<[u8]>::to_vec)));
            open -= 1;
        })?;
        if open > 0 {
            bell.wait(Duration::from_mins(1)).unwrap();
        }
    }
    Ok(found.into_iter().map(Option::unwrap).collect())
}
