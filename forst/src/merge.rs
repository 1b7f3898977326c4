//! Merge operators as the engine sees them: a fold on bytes, found by key; beside them, what says how long entries live.
use std::sync::Arc;

use alluvium_env::Result;
use bytes::Bytes;

use crate::expiry::Expiry;

/// Folds an operand into an accumulator. Associative: `(a ⊕ b) ⊕ c = a ⊕ (b ⊕ c)`.
pub trait MergeOperator: Send + Sync {
    /// `acc = acc ⊕ operand`; `operand` is the newer.
    ///
    /// # Errors
    /// `Corruption` if either is not what the operator wrote.
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()>;

    /// The same in place if the result is as long as the accumulator; `false` leaves it untouched.
    fn merge_in_place(&self, _acc: &mut [u8], _operand: &[u8]) -> bool {
        false
    }

    /// Whether `acc ⊕ operand` is the bytes of `acc` and behind them those of `operand`. Then a memtable that has the one
    /// keeps the other beside it, instead of copying both.
    fn concatenates(&self) -> bool {
        false
    }
}

/// Which operator folds the entries of a key, and how long they live.
pub trait MergeOperators: Send + Sync {
    /// The operator of the key's state; `None` if it takes no merges.
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator>;

    /// How long entries live; `None` if all of them last forever.
    fn expiry(&self) -> Option<&dyn Expiry> {
        None
    }

    /// What another process needs to fold and to judge as this one does, for [`DescribedOperators`]; `None` if it cannot be
    /// told: then compactions stay at home.
    fn describe(&self) -> Option<Bytes> {
        None
    }
}

/// Who knows operators by their description, in another process.
pub trait DescribedOperators: Send + Sync {
    /// Operators and lifetimes that do what those do which [`MergeOperators::describe`] has told.
    ///
    /// # Errors
    /// `Invalid` if one of them is not known here.
    fn operators(&self, description: &[u8]) -> Result<Arc<dyn MergeOperators>>;
}

/// A store whose keys take no merges.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMerges;

impl MergeOperators for NoMerges {
    fn operator(&self, _: &[u8]) -> Option<&dyn MergeOperator> {
        None
    }

    fn describe(&self) -> Option<Bytes> {
        Some(Bytes::new())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Wrapping addition of `u64le`.
    pub(crate) struct Sum;

    impl MergeOperator for Sum {
        fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
            let number = |b: &[u8]| b.try_into().map_or(0, u64::from_le_bytes);
            *acc = number(acc).wrapping_add(number(operand)).to_le_bytes().to_vec();
            Ok(())
        }
    }

    /// Concatenation.
    pub(crate) struct Joined;

    impl MergeOperator for Joined {
        fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
            acc.extend_from_slice(operand);
            Ok(())
        }

        fn concatenates(&self) -> bool {
            true
        }
    }

    impl MergeOperators for Sum {
        fn operator(&self, _: &[u8]) -> Option<&dyn MergeOperator> {
            Some(self)
        }
    }
}
