//! Adds and appends: what each system folds by a merge of its own, or reads and writes back where it has none.
use alluvium_env::{Error, Result};
use alluvium_state_api::push_list_element;

use super::args::Case;
use super::drive::Driver;
use super::keys::Keys;
use super::peer::Peer;
use super::workload::{Action, Target};
use super::{Bench, keys::KEY_BYTES};

/// How many of the changed keys are read back at the end.
const READ_BACK: usize = 1000;
/// What is added each time.
const ONE: [u8; 8] = 1_u64.to_le_bytes();

/// What becomes of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// It is added to a sum of eight bytes.
    Sum,
    /// It comes behind what is there.
    Append,
}

impl Fold {
    /// That of a case, if it has one.
    pub(super) fn of(case: Case) -> Option<Self> {
        match case {
            Case::Add => Some(Self::Sum),
            Case::Append => Some(Self::Append),
            _ => None,
        }
    }

    /// Folds an operand into what is there; nothing there is an empty list, or a sum of nothing.
    pub(super) fn fold(self, acc: &mut Vec<u8>, operand: &[u8]) {
        if self == Self::Append || acc.is_empty() {
            acc.extend_from_slice(operand);
            return;
        }
        acc.resize(ONE.len(), 0);
        let sum = sum(acc).unwrap_or(0).wrapping_add(sum(operand).unwrap_or(0));
        acc.copy_from_slice(&sum.to_le_bytes());
    }
}

fn sum(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

impl<P: Peer> Driver<'_, P> {
    /// Folds one more operand into the key's value.
    pub(super) async fn merge(&mut self, target: Target) -> Result<()> {
        let index = target.command.index;
        let operand = if target.command.action == Action::Add {
            ONE.to_vec()
        } else {
            let mut operand = Vec::new();
            self.oracle.values.write(index, self.oracle.next_version(index), &mut self.value);
            push_list_element(&mut operand, &self.value);
            operand
        };
        self.oracle.changed(index);
        self.gauge.wrote(KEY_BYTES + operand.len());
        self.peer.merge(&target.key.bytes, &operand).await
    }
}

impl<P: Peer> Bench<'_, P> {
    /// Gives each key its first operand.
    pub(super) async fn load_operands(&mut self, indexes: impl Iterator<Item = u64>) -> Result<()> {
        let action = if self.args.case == Case::Add { Action::Add } else { Action::Append };
        let keys = Keys::new(self.args.keys.0, self.args.seed);
        let Self { args, peer, oracle, gauge, .. } = self;
        let mut driver = Driver::new(peer, oracle, gauge, args);
        for index in indexes {
            driver.merge(Target::new(&keys, action, index)).await?;
        }
        Ok(())
    }

    /// Compares some of what was folded.
    ///
    /// # Errors
    /// `Corruption` if an operand is missing, or there twice.
    pub(super) async fn read_back(&self) -> Result<()> {
        if Fold::of(self.args.case).is_none() {
            return Ok(());
        }
        for index in self.oracle.some_changed(READ_BACK) {
            let key = self.keys.key(index).bytes;
            let look = |value: Option<&[u8]>| match self.args.case {
                Case::Append => self.oracle.check_list(index, value),
                _ => self.oracle.check_sum(index, value.map(|bytes| sum(bytes).unwrap_or(u64::MAX))),
            };
            self.peer.get(&key, look).await?;
        }
        Ok(())
    }
}

/// A system of which nobody asks that.
pub(super) fn no_fold() -> Error {
    Error::internal("a merge was asked of a store that was opened without one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_up_and_lists_grow() {
        let mut acc = Vec::new();
        for _ in 0..300 {
            Fold::Sum.fold(&mut acc, &ONE);
        }
        assert_eq!(sum(&acc), Some(300));
        Fold::Append.fold(&mut acc, b"x");
        assert_eq!(acc.len(), 9);
    }
}
