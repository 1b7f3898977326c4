//! Operations that are done together: each key once, ascending.
use super::peer::KeyBytes;
use super::workload::{Command, Target};

/// Keys, and for each what is done with it, how often it was drawn, and its value.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) keys: Vec<KeyBytes>,
    pub(super) commands: Vec<Command>,
    pub(super) times: Vec<u32>,
    /// At least as many as keys; buffers are kept from batch to batch.
    pub(super) values: Vec<Vec<u8>>,
}

impl Batch {
    /// Takes these operations instead of those before; returns how many there are.
    pub(super) fn fill(&mut self, targets: impl Iterator<Item = Target>) -> u64 {
        let mut targets: Vec<Target> = targets.collect();
        // A key that was drawn twice is read once, and changed as often as it was drawn.
        targets.sort_unstable_by_key(|target| target.key.bytes);
        self.keys.clear();
        self.commands.clear();
        self.times.clear();
        for target in &targets {
            match self.times.last_mut() {
                Some(times) if self.keys.last() == Some(&target.key.bytes) => *times += 1,
                _ => {
                    self.keys.push(target.key.bytes);
                    self.commands.push(target.command);
                    self.times.push(1);
                }
            }
        }
        self.values.resize(self.keys.len().max(self.values.len()), Vec::new());
        targets.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::keys::Keys;
    use crate::bench::workload::Action;

    #[test]
    fn a_key_drawn_twice_is_there_once_and_all_ascend() {
        let keys = Keys::new(10, 1);
        let mut batch = Batch::default();
        let count = batch.fill([3, 5, 3, 1].into_iter().map(|index| Target::new(&keys, Action::Rmw, index)));
        assert_eq!((count, batch.keys.len()), (4, 3));
        assert!(batch.keys.is_sorted());
        let twice = batch.commands.iter().zip(&batch.times).filter(|(_, times)| **times == 2);
        assert_eq!(twice.map(|(command, _)| command.index).collect::<Vec<_>>(), [3]);
    }
}
