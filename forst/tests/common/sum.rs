//! Addition of `u64le`, for keys that begin with `s`.
use alluvium_env::Result;
use alluvium_forst::{MergeOperator, MergeOperators};

/// See the module.
pub(crate) struct Sum;

impl MergeOperator for Sum {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a sum has eight bytes"));
        *acc = number(acc).wrapping_add(number(operand)).to_le_bytes().to_vec();
        Ok(())
    }
}

impl MergeOperators for Sum {
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator> {
        key.starts_with(b"s").then_some(self as _)
    }
}
