//! Merge operators: how a blind add is folded into what is already there (design D7).
//!
//! An operator is registered with its state and runs wherever two entries of one key meet: in the memtable, at a
//! read across levels, at a compaction. It must be associative; it sees encoded values.
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use alluvium_env::{Error, Result};

use crate::Codec;

/// Folds an operand into an accumulator; both are encoded values.
pub trait MergeOperator: Send + Sync {
    /// `acc = acc ⊕ operand`.
    ///
    /// # Errors
    /// `Corruption` if either is not an encoded value.
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()>;

    /// The same in place, if the result is exactly as long as the accumulator; `false` leaves it untouched.
    fn merge_in_place(&self, _acc: &mut [u8], _operand: &[u8]) -> bool {
        false
    }

    /// Whether `acc ⊕ operand` is the bytes of `acc` and behind them those of `operand`, so that a backend may keep the two
    /// beside each other until they are read.
    fn concatenates(&self) -> bool {
        false
    }

    /// By which name other processes know it ([`crate::OperatorRegistry`]); `None` if they do not, so that its state is
    /// compacted at home. A name stands for one function on one encoding, for good.
    fn name(&self) -> Option<&str> {
        None
    }
}

/// A typed, associative function of two values.
pub trait Reduce: Send + Sync + 'static {
    /// The values it reduces.
    type Value: Codec;
    /// `a ⊕ b`.
    fn reduce(a: Self::Value, b: Self::Value) -> Self::Value;

    /// As [`MergeOperator::name`].
    fn name() -> Option<&'static str> {
        None
    }
}

/// A function that gathers values into an accumulator and makes a result of it.
///
/// Adds are blind (design D7), so it is told how one value becomes an accumulator and how two become one; that is
/// associative. A function that cannot say so keeps its accumulator in a [`crate::ValueState`], reads and puts it.
pub trait Aggregate: Send + Sync + 'static {
    /// What is added.
    type In: ?Sized;
    /// What is stored.
    type Accumulator: Codec;
    /// What is read.
    type Out;

    /// The accumulator of one value.
    fn lift(value: &Self::In) -> Self::Accumulator;
    /// `a ⊕ b`; all of `b` was added later.
    fn merge(a: Self::Accumulator, b: Self::Accumulator) -> Self::Accumulator;
    /// What a reader sees.
    fn result(accumulator: Self::Accumulator) -> Self::Out;

    /// As [`MergeOperator::name`].
    fn name() -> Option<&'static str> {
        None
    }
}

/// Addition, wrapping at the type's bounds.
pub struct Sum<T>(PhantomData<fn() -> T>);

impl Reduce for Sum<u64> {
    type Value = u64;
    #[inline]
    fn reduce(a: u64, b: u64) -> u64 {
        a.wrapping_add(b)
    }

    fn name() -> Option<&'static str> {
        Some("sum:u64")
    }
}

impl Reduce for Sum<i64> {
    type Value = i64;
    #[inline]
    fn reduce(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    fn name() -> Option<&'static str> {
        Some("sum:i64")
    }
}

/// Appends an element to an encoded list: `length:u32le · element`.
///
/// # Panics
/// If the element is 4 GiB or more; backends refuse far smaller ones.
pub fn push_list_element(list: &mut Vec<u8>, element: &[u8]) {
    push_element(list, |list| list.extend_from_slice(element));
}

/// Appends what `encode` appends as an element of an encoded list.
pub(crate) fn push_element(list: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = list.len();
    list.extend_from_slice(&[0; 4]);
    encode(list);
    let bytes = list.len() - start - 4;
    let length = u32::try_from(bytes);
    assert!(length.is_ok(), "a list element of {bytes} bytes");
    if let Some(place) = list.get_mut(start..start + 4) {
        place.copy_from_slice(&length.unwrap_or_default().to_le_bytes());
    }
}

/// The elements of an encoded list, in the order they were added; ends with `Corruption` if the bytes are no list.
pub fn list_elements(mut list: &[u8]) -> impl Iterator<Item = Result<&[u8]>> {
    std::iter::from_fn(move || {
        if list.is_empty() {
            return None;
        }
        let whole = list
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        if let Some((element, rest)) = whole {
            list = rest;
            return Some(Ok(element));
        }
        let length = std::mem::take(&mut list).len();
        Some(Err(Error::corruption(format!("a list whose last {length} bytes are no element"))))
    })
}

/// Concatenates encoded lists: what an append is.
#[derive(Debug)]
pub(crate) struct Append;

impl MergeOperator for Append {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        acc.extend_from_slice(operand);
        Ok(())
    }

    fn concatenates(&self) -> bool {
        true
    }
}

/// `acc = acc ⊕ operand`, both decoded, by a function of type `F`. It runs on any thread and for records that are long
/// gone, so its panic is made an error here, where it can be named.
fn merge_values<F, T: Codec>(acc: &mut Vec<u8>, operand: &[u8], merge: impl FnOnce(T, T) -> T) -> Result<()> {
    let merge = || {
        let merged = merge(T::decode(acc)?, T::decode(operand)?);
        acc.clear();
        merged.encode(acc);
        Ok(())
    };
    catch_unwind(AssertUnwindSafe(merge))
        .unwrap_or_else(|payload| Err(Error::of_panic(payload.as_ref()).context(std::any::type_name::<F>())))
}

/// The same in place, if the result is as long as the accumulator: on the task thread, in a record's own poll.
#[inline]
fn overwrite_values<T: Codec>(acc: &mut [u8], operand: &[u8], merge: impl FnOnce(T, T) -> T) -> bool {
    let (Ok(a), Ok(b)) = (T::decode(acc), T::decode(operand)) else { return false };
    merge(a, b).overwrite(acc)
}

/// A typed function as a [`MergeOperator`].
macro_rules! operator {
    ($(#[$doc:meta])* $operator:ident, $function:ident, $merge:ident) => {
        $(#[$doc])*
        pub(crate) struct $operator<F>(PhantomData<fn() -> F>);

        impl<F> Default for $operator<F> {
            fn default() -> Self {
                Self(PhantomData)
            }
        }

        impl<F> fmt::Debug for $operator<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::any::type_name::<F>())
            }
        }

        impl<F: $function> MergeOperator for $operator<F> {
            fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
                merge_values::<F, _>(acc, operand, F::$merge)
            }

            #[inline]
            fn merge_in_place(&self, acc: &mut [u8], operand: &[u8]) -> bool {
                overwrite_values(acc, operand, F::$merge)
            }

            fn name(&self) -> Option<&str> {
                F::name()
            }
        }
    };
}

operator! {
    /// A [`Reduce`] as a [`MergeOperator`].
    Reducing, Reduce, reduce
}
operator! {
    /// An [`Aggregate`] as a [`MergeOperator`] of its accumulators.
    Aggregating, Aggregate, merge
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    struct Fragile;

    impl Reduce for Fragile {
        type Value = u8;
        fn reduce(a: u8, b: u8) -> u8 {
            a.checked_add(b).expect("too much")
        }
    }

    #[test]
    fn a_panic_of_a_reducing_function_is_an_error_that_names_it() {
        let operator = Reducing::<Fragile>::default();
        let mut acc = vec![200];
        operator.merge(&mut acc, &[50]).unwrap();
        assert_eq!(acc, [250]);
        let error = operator.merge(&mut acc, &[50]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().ends_with("Fragile: panicked: too much"), "{error}");
        assert_eq!(acc, [250], "the accumulator is untouched");
    }
}
