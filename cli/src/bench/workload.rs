//! What a benchmark does: which operation on which key, drawn from the seed.
use alluvium_env::{Entropy, Error, Result};
use alluvium_state_api::{Codec, KeyGroupRange};

use super::args::{BenchArgs, Case};
use super::keys::{Key, Keys, mix};
use super::zipf::Zipf;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Puts the value as it is loaded.
    Load,
    /// Reads a value that is there.
    Get,
    /// Reads a key that is not.
    GetAbsent,
    /// Reads a value, changes it, writes it back.
    Rmw,
    /// Adds one to a sum.
    Add,
}

/// What an operation is about, without its key: how it travels with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) action: Action,
    /// The key's index.
    pub(super) index: u64,
}

const ACTIONS: [Action; 5] = [Action::Load, Action::Get, Action::GetAbsent, Action::Rmw, Action::Add];

impl Codec for Command {
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.action as u8);
        out.extend_from_slice(&self.index.to_le_bytes());
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self> {
        let command = bytes.split_first().and_then(|(action, index)| {
            let action = *ACTIONS.get(usize::from(*action))?;
            Some(Self { action, index: u64::from_le_bytes(index.try_into().ok()?) })
        });
        command.ok_or_else(|| Error::corruption("a record is no command of this benchmark"))
    }
}

/// An operation and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) command: Command,
    pub(super) key: Key,
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug)]
enum Spread {
    Uniform,
    Zipf(Zipf),
}

/// Draws the operations of one subtask, without end.
pub(super) struct Draw {
    keys: Keys,
    own: KeyGroupRange,
    random: Entropy,
    spread: Spread,
    case: Case,
    absent_percent: u64,
}

/// `random` scaled to `0..below`.
#[inline]
fn scale(random: u64, below: u64) -> u64 {
    ((u128::from(random) * u128::from(below)) >> 64) as u64
}

impl Draw {
    pub(super) fn new(args: &BenchArgs, own: KeyGroupRange) -> Self {
        let spread =
            args.zipf.map_or(Spread::Uniform, |exponent| Spread::Zipf(Zipf::new(args.keys.0, exponent)));
        Self {
            keys: Keys::new(args.keys.0, args.seed),
            own,
            random: Entropy::from_seed(mix(args.seed ^ u64::from(own.start))),
            spread,
            case: args.case,
            absent_percent: u64::from(args.absent.unwrap_or(0)),
        }
    }

    #[inline]
    fn action(&self) -> Action {
        match self.case {
            Case::Rmw => Action::Rmw,
            Case::Add => Action::Add,
            Case::Load | Case::Get | Case::Scan => {
                let absent =
                    self.absent_percent > 0 && scale(self.random.next_u64(), 100) < self.absent_percent;
                if absent { Action::GetAbsent } else { Action::Get }
            }
        }
    }
}

impl Iterator for Draw {
    type Item = Target;

    /// Never ends; at least one key must be the subtask's own.
    #[inline]
    fn next(&mut self) -> Option<Target> {
        let action = self.action();
        loop {
            let index = match self.spread {
                Spread::Uniform => scale(self.random.next_u64(), self.keys.count),
                Spread::Zipf(zipf) => zipf.draw(&self.random),
            };
            let key =
                if action == Action::GetAbsent { self.keys.absent(index) } else { self.keys.key(index) };
            if self.own.contains(key.group()) {
                return Some(Target { command: Command { action, index }, key });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_survive_their_journey() {
        for action in ACTIONS {
            let (command, mut bytes) = (Command { action, index: 7 << 40 }, Vec::new());
            command.encode(&mut bytes);
            assert_eq!(Command::decode(&bytes).unwrap(), command);
        }
        assert!(Command::decode(&[9, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(Command::decode(&[0; 8]).is_err());
    }
}
