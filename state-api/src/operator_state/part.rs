//! What a checkpoint holds of operator state, and how it is handed out again at any parallelism.
//!
//! **Invariants**: every element of a list state goes to exactly one subtask, every element of a union state to all; a
//! broadcast state is the same on all subtasks, so one of them is enough to write it and none may write another.
use alluvium_env::{Error, Result};
use bytes::Bytes;

use crate::StoredSchema;

/// What becomes of an operator state when a job goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OperatorStateKind {
    /// Its elements are dealt out over the subtasks, one after the other.
    List = 1,
    /// Every subtask gets the elements of all.
    Union = 2,
    /// A map that is the same on all subtasks.
    Broadcast = 3,
}

impl OperatorStateKind {
    /// The kind with this persisted number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::List, Self::Union, Self::Broadcast].into_iter().find(|kind| *kind as u8 == number)
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Union => "union list",
            Self::Broadcast => "broadcast",
        }
    }
}

/// An operator state as one subtask adds it to a checkpoint, or takes it over from one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorStatePart {
    /// Unique within the operator's operator states.
    pub name: String,
    /// How it is handed out.
    pub kind: OperatorStateKind,
    /// What wrote the elements, with the keys of a broadcast state.
    pub schema: StoredSchema,
    /// The keys of a broadcast state, ascending, as many as elements; none for the other kinds.
    pub keys: Vec<Bytes>,
    /// Encoded elements, or the values of a broadcast state.
    pub elements: Vec<Bytes>,
}

impl OperatorStatePart {
    /// Joins what another subtask wrote of the same state.
    fn join(&mut self, other: &Self) -> Result<()> {
        if self.kind != other.kind {
            let (one, two) = (self.kind.name(), other.kind.name());
            return Err(Error::corruption(format!(
                "operator state {} is {one} in one part of the checkpoint and {two} in another",
                self.name
            )));
        }
        self.schema.join(&self.name, &other.schema)?;
        if self.kind != OperatorStateKind::Broadcast {
            self.elements.extend_from_slice(&other.elements);
        } else if (&self.keys, &self.elements) != (&other.keys, &other.elements) {
            return Err(Error::corruption(format!(
                "broadcast state {} differs between two parts of the checkpoint",
                self.name
            )));
        }
        Ok(())
    }

    /// What subtask `subtask` of `parallelism` takes over of what the former subtasks wrote, in their order: its share of a
    /// list's elements, all of a union's, all of a broadcast state. Nothing moves as long as the parallelism stays the same.
    ///
    /// # Errors
    /// `Corruption` if the parts contradict each other.
    pub fn redistribute(former: &[&[Self]], subtask: u16, parallelism: u16) -> Result<Vec<Self>> {
        let mut taken: Vec<Self> = Vec::new();
        let same = former.len() == usize::from(parallelism);
        for (index, part) in
            former.iter().enumerate().flat_map(|(index, parts)| parts.iter().map(move |p| (index, p)))
        {
            let mut part = part.clone();
            if same && part.kind == OperatorStateKind::List && index != usize::from(subtask) {
                part.elements.clear();
            }
            match taken.iter_mut().find(|known| known.name == part.name) {
                Some(known) => known.join(&part)?,
                None => taken.push(part),
            }
        }
        if !same {
            for part in taken.iter_mut().filter(|part| part.kind == OperatorStateKind::List) {
                let all = std::mem::take(&mut part.elements).into_iter().skip(usize::from(subtask));
                part.elements = all.step_by(usize::from(parallelism).max(1)).collect();
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    fn part(name: &str, kind: OperatorStateKind, elements: std::ops::Range<u8>) -> OperatorStatePart {
        let bytes = |n| Bytes::from(vec![n]);
        let keys = if kind == OperatorStateKind::Broadcast { elements.clone() } else { 0..0 };
        OperatorStatePart {
            name: name.to_owned(),
            kind,
            schema: StoredSchema { codec: "u8".to_owned(), versions: vec![1] },
            keys: keys.map(bytes).collect(),
            elements: elements.map(bytes).collect(),
        }
    }

    fn numbers(part: &OperatorStatePart) -> Vec<u8> {
        part.elements.iter().map(|element| element[0]).collect()
    }

    #[test]
    fn a_list_is_dealt_out_a_union_goes_to_all_and_a_broadcast_state_stays_the_same() {
        use OperatorStateKind::{Broadcast, List, Union};
        for (before, after) in (1..=5).flat_map(|before| (1..=5).map(move |after| (before, after))) {
            let former: Vec<Vec<_>> = (0..before)
                .map(|n: u8| {
                    let mut parts =
                        vec![part("list", List, n * 4..n * 4 + 3), part("union", Union, n..n + 1)];
                    parts.extend((n == 0).then(|| part("rules", Broadcast, 7..9)));
                    parts
                })
                .collect();
            let former: Vec<&[_]> = former.iter().map(Vec::as_slice).collect();
            let mut dealt = Vec::new();
            for subtask in 0..after {
                let taken =
                    OperatorStatePart::redistribute(&former, u16::from(subtask), u16::from(after)).unwrap();
                let [list, union, rules] = &taken[..] else { panic!("{taken:?}") };
                assert_eq!(numbers(union), (0..before).collect::<Vec<_>>());
                assert_eq!((numbers(rules), rules.keys.len()), (vec![7, 8], 2));
                let share = usize::from(before) * 3;
                assert!(
                    (share / usize::from(after)..=share.div_ceil(usize::from(after)))
                        .contains(&list.elements.len())
                );
                if before == after {
                    assert_eq!(numbers(list), (subtask * 4..subtask * 4 + 3).collect::<Vec<_>>());
                }
                dealt.extend(numbers(list));
            }
            dealt.sort_unstable();
            let all: Vec<u8> = (0..before).flat_map(|n| n * 4..n * 4 + 3).collect();
            assert_eq!(dealt, all, "{before} to {after}");
        }
    }

    #[test]
    fn parts_that_contradict_each_other_are_corruption() {
        use OperatorStateKind::{Broadcast, List, Union};
        let other_codec = OperatorStatePart {
            schema: StoredSchema { codec: "u16".to_owned(), versions: vec![1] },
            ..part("s", List, 0..1)
        };
        for (one, two) in [
            (part("s", List, 0..1), part("s", Union, 0..1)),
            (part("s", Broadcast, 0..1), part("s", Broadcast, 0..2)),
            (part("s", List, 0..1), other_codec),
        ] {
            let error = OperatorStatePart::redistribute(&[&[one], &[two]], 0, 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corruption);
            assert!(error.to_string().contains("state s "), "{error}");
        }
    }
}
