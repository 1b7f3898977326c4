//! What answers must be. Lengths are compared always; of a sample of keys every byte, and every change is remembered.
//!
//! **Failure**: a wrong answer is `Corruption` and ends the benchmark: figures of a store that answers wrongly are
//! worth nothing.
use std::cell::{Cell, RefCell};

use alluvium_env::{Error, HashMap, Result};
use alluvium_state_api::list_elements;

use super::keys::mix;
use super::values::Values;
use super::workload::Command;

/// About so many keys are in the sample: their changes take 1 MiB.
const SAMPLE: u64 = 1 << 14;
const SALT: u64 = 0xA5A5_5A5A_C3C3_3C3C;

/// See the module.
pub(super) struct Oracle {
    pub(super) values: Values,
    mask: u64,
    /// How often each sampled key was changed, added to or appended to; a sum and a list begin with one.
    changes: RefCell<HashMap<u64, u64>>,
    verified: Cell<u64>,
}

impl Oracle {
    /// For so many keys.
    pub(super) fn new(values: Values, keys: u64) -> Self {
        let mask = (keys / SAMPLE).max(1).next_power_of_two() - 1;
        Self { values, mask, changes: RefCell::default(), verified: Cell::new(0) }
    }

    #[inline]
    fn is_sampled(&self, index: u64) -> bool {
        mix(index ^ SALT) & self.mask == 0
    }

    fn changes(&self, index: u64) -> u64 {
        self.changes.borrow().get(&index).copied().unwrap_or(0)
    }

    /// A key was changed, or added to, once more.
    #[inline]
    pub(super) fn changed(&self, index: u64) {
        if self.is_sampled(index) {
            *self.changes.borrow_mut().entry(index).or_default() += 1;
        }
    }

    /// The version that the next element of a list has.
    pub(super) fn next_version(&self, index: u64) -> u64 {
        if self.is_sampled(index) { self.changes(index) } else { 0 }
    }

    /// Looks at a value.
    ///
    /// # Errors
    /// `Corruption` if it is not what was written.
    #[inline]
    pub(super) fn check_value(&self, command: Command, value: Option<&[u8]>) -> Result<()> {
        let index = command.index;
        let Some(value) = value else { return Err(missing(index)) };
        if self.is_sampled(index) {
            self.verified.set(self.verified.get() + 1);
            return self.values.check(index, self.changes(index), value);
        }
        self.values.check_length(index, value)
    }

    /// Looks at the answer for a key that was never written.
    ///
    /// # Errors
    /// `Corruption` if there is a value.
    #[inline]
    pub(super) fn check_absent(&self, command: Command, value: Option<&[u8]>) -> Result<()> {
        self.verified.set(self.verified.get() + 1);
        match value {
            None => Ok(()),
            Some(_) => Err(Error::corruption(format!(
                "the store answered wrongly: it has a value for the absent key beside {}",
                command.index
            ))),
        }
    }

    /// Looks at a sum of ones.
    ///
    /// # Errors
    /// `Corruption` if it is not what was added.
    pub(super) fn check_sum(&self, index: u64, sum: Option<u64>) -> Result<()> {
        let expected = self.changes(index);
        self.verified.set(self.verified.get() + 1);
        match sum {
            None => Err(missing(index)),
            Some(sum) if sum == expected => Ok(()),
            Some(sum) => Err(Error::corruption(format!(
                "the store answered wrongly: the sum of key {index} is {sum} instead of {expected}"
            ))),
        }
    }

    /// Looks at a list.
    ///
    /// # Errors
    /// `Corruption` if an element is missing, too many, or not what was appended at its place.
    pub(super) fn check_list(&self, index: u64, list: Option<&[u8]>) -> Result<()> {
        let (expected, mut found) = (self.changes(index), 0);
        self.verified.set(self.verified.get() + 1);
        for element in list_elements(list.ok_or_else(|| missing(index))?) {
            self.values.check(index, found, element?)?;
            found += 1;
        }
        if found == expected {
            return Ok(());
        }
        Err(Error::corruption(format!(
            "the store answered wrongly: the list of key {index} has {found} elements instead of {expected}"
        )))
    }

    /// Looks at an entry of a map; `number` is its place among all entries of all maps.
    ///
    /// # Errors
    /// `Corruption` if it is not what was put.
    #[inline]
    pub(super) fn check_entry(&self, index: u64, number: u64, value: &[u8]) -> Result<()> {
        if self.is_sampled(index) {
            self.verified.set(self.verified.get() + 1);
            return self.values.check(number, 0, value);
        }
        self.values.check_length(number, value)
    }

    /// Sampled keys that were changed, at most `limit`, preferably more than once.
    pub(super) fn some_changed(&self, limit: usize) -> Vec<u64> {
        let changes = self.changes.borrow();
        let often = changes.iter().filter(|(_, times)| **times > 1);
        let once = changes.iter().filter(|(_, times)| **times == 1);
        often.chain(once).map(|(index, _)| *index).take(limit).collect()
    }

    /// How many answers were compared in full so far.
    pub(super) fn verified(&self) -> u64 {
        self.verified.get()
    }
}

fn missing(index: u64) -> Error {
    Error::corruption(format!("the store answered wrongly: key {index} was loaded and is not there"))
}

#[cfg(test)]
mod tests {
    use alluvium_state_api::push_list_element;

    use super::*;
    use crate::bench::workload::Action;

    #[test]
    fn a_stale_value_of_a_sampled_key_is_found() {
        let oracle = Oracle::new(Values::new(20, 1), 100);
        let (command, mut value) = (Command { action: Action::Get, index: 3 }, Vec::new());
        oracle.values.write(3, 0, &mut value);
        oracle.check_value(command, Some(&value)).unwrap();
        oracle.changed(3);
        assert!(oracle.check_value(command, Some(&value)).is_err(), "of before the change");
        assert!(oracle.check_value(command, None).is_err());
        assert!(oracle.check_absent(command, Some(&value)).is_err());
        let mut list = Vec::new();
        for version in 0..2 {
            oracle.values.write(3, version, &mut value);
            push_list_element(&mut list, &value);
        }
        assert!(oracle.check_list(3, Some(&list)).is_err(), "one element too many");
        oracle.changed(3);
        oracle.check_list(3, Some(&list)).unwrap();
        assert!(oracle.check_list(3, Some(&list[..24])).is_err(), "one element is missing");
        oracle.check_sum(3, Some(2)).unwrap();
        assert!(oracle.check_sum(3, Some(1)).is_err());
    }

    #[test]
    fn of_many_keys_a_sample_is_remembered() {
        let oracle = Oracle::new(Values::new(20, 1), 10_000_000);
        (0..1_000_000).for_each(|index| oracle.changed(index));
        let remembered = oracle.some_changed(usize::MAX).len() as u64;
        assert!((SAMPLE / 30..SAMPLE / 5).contains(&remembered), "{remembered}");
    }
}
