//! Operands kept apart, for whoever reads a checkpoint without the job that knows how to fold them.
use alluvium_env::Entropy;
use alluvium_state_api::{MergeOperator, Result, push_list_element};

/// Folds operands by keeping them all, oldest first, behind a mark that no value begins with but by an accident of
/// one in 2^128.
pub struct Operands {
    mark: [u8; 16],
}

impl Operands {
    /// With a mark of its own.
    pub fn new(entropy: &Entropy) -> Self {
        let mark = u128::from(entropy.next_u64()) << 64 | u128::from(entropy.next_u64());
        Self { mark: mark.to_be_bytes() }
    }

    /// The operands that a value was folded from, as elements of a list; `None` if it was not.
    pub fn of<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        value.strip_prefix(&self.mark)
    }
}

impl MergeOperator for Operands {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        let mut all = self.mark.to_vec();
        for part in [acc.as_slice(), operand] {
            match self.of(part) {
                Some(operands) => all.extend_from_slice(operands),
                None => push_list_element(&mut all, part),
            }
        }
        *acc = all;
        Ok(())
    }
}
