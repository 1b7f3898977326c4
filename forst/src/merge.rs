//! Merge operators as the engine sees them: a fold on bytes, found by key; beside them, what says how long entries live.
use alluvium_env::Result;

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
}

/// Which operator folds the entries of a key, and how long they live.
pub trait MergeOperators: Send + Sync {
    /// The operator of the key's state; `None` if it takes no merges.
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator>;

    /// How long entries live; `None` if all of them last forever.
    fn expiry(&self) -> Option<&dyn Expiry> {
        None
    }
}

/// A store whose keys take no merges.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMerges;

impl MergeOperators for NoMerges {
    fn operator(&self, _: &[u8]) -> Option<&dyn MergeOperator> {
        None
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

    impl MergeOperators for Sum {
        fn operator(&self, _: &[u8]) -> Option<&dyn MergeOperator> {
            Some(self)
        }
    }
}
