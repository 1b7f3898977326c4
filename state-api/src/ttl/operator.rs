//! Adds to accumulators that expire: the state's own operator between the heads of stored accumulators.
//!
//! What an add does to an accumulator depends on whether that had expired *when the add was made*, not on when the two
//! meet, which may be long after, at a compaction. So a stored accumulator is a chain of adds without a gap of a whole
//! TTL, from `since` to `updated`; one that begins a TTL or more after another ended replaces it. That is associative,
//! as merges must be: chains are cut at the same gaps whichever adjacent ones meet first.
use std::sync::Arc;

use alluvium_env::Result;

use super::stored::Chain;
use crate::MergeOperator;

/// A state's operator on stamped accumulators.
pub(crate) struct Accumulating {
    operator: Arc<dyn MergeOperator>,
    ttl_millis: u64,
}

impl Accumulating {
    pub(crate) fn new(operator: Arc<dyn MergeOperator>, ttl_millis: u64) -> Self {
        Self { operator, ttl_millis }
    }
}

impl MergeOperator for Accumulating {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        let (older, _) = Chain::split(acc)?;
        let (newer, added) = Chain::split(operand)?;
        let Some(chain) = older.extended(newer, self.ttl_millis) else {
            acc.clear();
            acc.extend_from_slice(operand);
            return Ok(());
        };
        acc.drain(..Chain::BYTES);
        let merged = self.operator.merge(acc, added);
        // What could not be added has not changed the accumulator.
        let head = if merged.is_ok() { chain } else { older };
        acc.splice(..0, head.bytes());
        merged
    }

    #[inline]
    fn merge_in_place(&self, acc: &mut [u8], operand: &[u8]) -> bool {
        let (Ok((older, _)), Ok((newer, added))) = (Chain::split(acc), Chain::split(operand)) else {
            return false;
        };
        let Some(chain) = older.extended(newer, self.ttl_millis) else {
            let fits = acc.len() == operand.len();
            if fits {
                acc.copy_from_slice(operand);
            }
            return fits;
        };
        let Some((head, accumulator)) = acc.split_at_mut_checked(Chain::BYTES) else { return false };
        let merged = self.operator.merge_in_place(accumulator, added);
        if merged {
            head.copy_from_slice(&chain.bytes());
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merge::Reducing;
    use crate::{Reduce, Sum};

    /// Concatenation: what is lost or doubled shows.
    struct Joined;

    impl Reduce for Joined {
        type Value = Vec<u8>;
        fn reduce(mut a: Vec<u8>, b: Vec<u8>) -> Vec<u8> {
            a.extend(b);
            a
        }
    }

    fn add(at: u64, value: &[u8]) -> Vec<u8> {
        [Chain::at(at).bytes().as_slice(), value].concat()
    }

    proptest! {
        #[test]
        fn adds_that_meet_in_any_order_make_what_those_in_time_make(
            gaps in proptest::collection::vec(0_u64..15, 1..12),
            choices in proptest::collection::vec(any::<usize>(), 12),
        ) {
            let operator = Accumulating::new(Arc::new(Reducing::<Joined>::default()), 10);
            let mut now = 0;
            let (mut expected, mut updated) = (Vec::new(), None);
            let mut adds = Vec::new();
            for (index, gap) in gaps.iter().enumerate() {
                now += gap;
                if updated.is_some_and(|updated: u64| updated + 10 <= now) {
                    expected.clear();
                }
                expected.push(index as u8);
                updated = Some(now);
                adds.push(add(now, &[index as u8]));
            }
            // Neighbours meet in an arbitrary order.
            for choice in choices {
                if adds.len() > 1 {
                    let at = choice % (adds.len() - 1);
                    let newer = adds.remove(at + 1);
                    operator.merge(&mut adds[at], &newer).unwrap();
                }
            }
            prop_assert_eq!(adds.len(), 1);
            let (chain, joined) = Chain::split(&adds[0]).unwrap();
            prop_assert_eq!((joined, chain.updated), (expected.as_slice(), now));
        }

        #[test]
        fn merging_in_place_is_merging(gap in 0_u64..20, a: u64, b: u64) {
            let operator = Accumulating::new(Arc::new(Reducing::<Sum<u64>>::default()), 10);
            let (mut merged, operand) = (add(5, &a.to_le_bytes()), add(5 + gap, &b.to_le_bytes()));
            let mut in_place = merged.clone();
            operator.merge(&mut merged, &operand).unwrap();
            prop_assert!(operator.merge_in_place(&mut in_place, &operand));
            prop_assert_eq!(in_place, merged);
        }
    }

    #[test]
    fn what_cannot_be_added_leaves_the_accumulator_as_it_was() {
        struct Refuses;
        impl MergeOperator for Refuses {
            fn merge(&self, _: &mut Vec<u8>, _: &[u8]) -> Result<()> {
                Err(alluvium_env::Error::invalid("not this"))
            }
        }
        let (before, mut acc) = (add(1, b"some"), add(1, b"some"));
        assert!(Accumulating::new(Arc::new(Refuses), 10).merge(&mut acc, &add(2, b"more")).is_err());
        assert_eq!(acc, before);
    }

    #[test]
    fn what_is_no_stored_accumulator_is_corruption() {
        let operator = Accumulating::new(Arc::new(Reducing::<Sum<u64>>::default()), 10);
        assert!(operator.merge(&mut vec![1, 2, 3], &add(1, &[0; 8])).is_err());
        assert!(!operator.merge_in_place(&mut [1, 2, 3], &add(1, &[0; 8])));
    }
}
