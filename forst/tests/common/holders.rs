//! How many hold each name: what the owners of all tests count.
use std::collections::BTreeMap;

pub(crate) type Holders = BTreeMap<String, u32>;

pub(crate) fn hold(holders: &mut Holders, name: &str) {
    *holders.entry(name.to_owned()).or_default() += 1;
}

/// Says whether it was the last.
pub(crate) fn release(holders: &mut Holders, name: &str) -> bool {
    let count = holders.get_mut(name).expect("a release without a hold");
    *count -= 1;
    let is_last = *count == 0;
    if is_last {
        holders.remove(name);
    }
    is_last
}
