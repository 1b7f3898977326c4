//! Broadcast state in a checkpoint: the same on all subtasks, so that one of them is enough to write it.
//!
//! **Failure**: subtasks whose states differ are told apart at every checkpoint and when the input has ended, so a job neither
//! goes on from such states nor finishes with them. What they have emitted since the last checkpoint is out.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use alluvium_env::{Error, Result};
use alluvium_state_api::{CheckpointId, OperatorStateKind, OperatorStatePart};

/// When all subtasks have processed the same elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    Checkpoint(CheckpointId),
    End,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(id) => write!(f, "checkpoint {id}"),
            Self::End => f.write_str("the end of the input"),
        }
    }
}

/// Of each moment under way, the subtask that was first to come to it, and its broadcast states.
#[derive(Default)]
pub(super) struct BroadcastCut {
    first: BTreeMap<Moment, (u16, Vec<OperatorStatePart>)>,
}

impl BroadcastCut {
    /// Takes a subtask's operator states. The broadcast states of the first one stay among them; those of the others are
    /// compared with that and left out.
    ///
    /// # Errors
    /// `Invalid` if they differ: whichever is written, some subtask would go on with what it never had.
    pub(super) fn take(
        &mut self,
        at: Moment,
        subtask: u16,
        parts: &mut Vec<OperatorStatePart>,
    ) -> Result<()> {
        let is_broadcast = |part: &OperatorStatePart| part.kind == OperatorStateKind::Broadcast;
        let (other, states) = match self.first.entry(at) {
            Entry::Occupied(first) => first.into_mut(),
            Entry::Vacant(free) => {
                free.insert((subtask, parts.iter().filter(|part| is_broadcast(part)).cloned().collect()));
                return Ok(());
            }
        };
        let own: Vec<OperatorStatePart> = parts.extract_if(.., |part| is_broadcast(part)).collect();
        if let Some(part) = states
            .iter()
            .find(|part| !own.contains(part))
            .or_else(|| own.iter().find(|part| !states.contains(part)))
        {
            return Err(Error::invalid(format!(
                "broadcast state {} differs between subtasks {other} and {subtask} at {at}: an element must do the same \
                 on all of them, whatever the order of those from several sources; give them a time or a number and keep \
                 the higher, or let one source broadcast",
                part.name
            )));
        }
        Ok(())
    }

    /// Checkpoints before this one are no longer under way.
    pub(super) fn forget_before(&mut self, oldest: CheckpointId) {
        self.first = self.first.split_off(&Moment::Checkpoint(oldest));
    }
}

#[cfg(test)]
mod tests {
    use alluvium_state_api::StoredSchema;
    use bytes::Bytes;

    use super::*;

    fn part(name: &str, kind: OperatorStateKind, value: u8) -> OperatorStatePart {
        let element = || Bytes::from(vec![value]);
        let keys = if kind == OperatorStateKind::Broadcast { vec![element()] } else { Vec::new() };
        let schema = StoredSchema::default();
        OperatorStatePart { name: name.to_owned(), kind, schema, keys, elements: vec![element()] }
    }

    #[test]
    fn the_first_subtask_writes_broadcast_state_and_one_that_differs_is_refused() {
        use OperatorStateKind::{Broadcast, List};
        let states = |rules| vec![part("list", List, rules), part("rules", Broadcast, rules)];
        let mut cut = BroadcastCut::default();
        let both = [CheckpointId(1), CheckpointId(2)].map(Moment::Checkpoint);
        // One subtask may be at the second before another is at the first.
        let firsts = both.map(|id| {
            let mut first = states(7);
            cut.take(id, 1, &mut first).unwrap();
            first
        });
        for (id, first) in both.into_iter().zip(firsts) {
            let [mut same, mut other] = [7, 8].map(states);
            cut.take(id, 0, &mut same).unwrap();
            assert_eq!((first, same), (states(7), vec![part("list", List, 7)]));
            let error = cut.take(id, 2, &mut other).unwrap_err().to_string();
            assert!(error.contains("state rules differs between subtasks 1 and 2"), "{error}");
            assert!(
                cut.take(id, 3, &mut vec![part("list", List, 7)]).is_err(),
                "one that has none differs as well"
            );
            assert!(error.contains(&format!("at {id}")), "{error}");
        }
        cut.take(Moment::End, 0, &mut states(1)).unwrap();
        cut.forget_before(CheckpointId(3));
        assert_eq!(cut.first.len(), 1, "the end is still to come");
        let error = cut.take(Moment::End, 1, &mut states(2)).unwrap_err().to_string();
        assert!(error.contains("subtasks 0 and 1 at the end of the input"), "{error}");
    }
}
