//! What a benchmark does: which operation on which key, drawn from the seed.
use alluvium_env::{Entropy, Error, Result};
use alluvium_state_api::{Access, Codec, KeyGroupRange};

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
    /// Appends an element to a list.
    Append,
    /// Puts all entries of a map.
    LoadMap,
    /// Reads all entries of a map.
    MapScan,
}

const ACTIONS: [Action; 8] = [
    Action::Load,
    Action::Get,
    Action::GetAbsent,
    Action::Rmw,
    Action::Add,
    Action::Append,
    Action::LoadMap,
    Action::MapScan,
];

impl Action {
    /// How the backend meets its key; entries of maps have other keys.
    pub(super) fn access(self) -> Option<Access> {
        match self {
            Self::Get | Self::GetAbsent | Self::Rmw => Some(Access::Read),
            Self::Load | Self::Add | Self::Append => Some(Access::Write),
            Self::LoadMap | Self::MapScan => None,
        }
    }

    /// Whether it is about a map.
    #[inline]
    pub(super) fn is_of_map(self) -> bool {
        matches!(self, Self::LoadMap | Self::MapScan)
    }
}

/// What an operation is about, without its key: how it travels with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) action: Action,
    /// The key's index.
    pub(super) index: u64,
}

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

impl Target {
    /// An operation on a key that is there.
    pub(super) fn new(keys: &Keys, action: Action, index: u64) -> Self {
        Self { command: Command { action, index }, key: keys.key(index) }
    }
}

/// Which of so many keys is next.
#[derive(Clone, Copy, Debug)]
enum Spread {
    Uniform(u64),
    Zipf(Zipf),
}

impl Spread {
    fn new(count: u64, exponent: Option<f64>) -> Self {
        exponent.map_or(Self::Uniform(count), |exponent| Self::Zipf(Zipf::new(count, exponent)))
    }

    #[inline]
    fn draw(self, random: &Entropy) -> u64 {
        match self {
            Self::Uniform(count) => scale(random.next_u64(), count),
            Self::Zipf(zipf) => zipf.draw(random),
        }
    }
}

/// `random` scaled to `0..below`.
#[inline]
pub(super) fn scale(random: u64, below: u64) -> u64 {
    ((u128::from(random) * u128::from(below)) >> 64) as u64
}

/// Draws the operations of one subtask, without end.
pub(super) struct Draw {
    keys: Keys,
    own: KeyGroupRange,
    random: Entropy,
    singles: Spread,
    maps: Spread,
    case: Case,
    absent_percent: u64,
}

impl Draw {
    pub(super) fn new(args: &BenchArgs, own: KeyGroupRange) -> Self {
        Self {
            keys: Keys::new(args.keys.0, args.seed),
            own,
            random: Entropy::from_seed(mix(args.seed ^ u64::from(own.start))),
            singles: Spread::new(args.single_keys(), args.zipf),
            maps: Spread::new(args.maps(), args.zipf),
            case: args.case,
            absent_percent: u64::from(args.absent.unwrap_or(0)),
        }
    }

    #[inline]
    fn percent(&self) -> u64 {
        scale(self.random.next_u64(), 100)
    }

    #[inline]
    fn action(&self) -> Action {
        match self.case {
            Case::Rmw => Action::Rmw,
            Case::Add => Action::Add,
            Case::Append => Action::Append,
            Case::MapScan => Action::MapScan,
            Case::Mixed => match self.percent() {
                0..50 => Action::Get,
                50..95 => Action::Rmw,
                _ => Action::MapScan,
            },
            Case::Get if self.absent_percent > 0 && self.percent() < self.absent_percent => Action::GetAbsent,
            Case::Load | Case::Get | Case::Scan | Case::Checkpoint => Action::Get,
        }
    }
}

impl Iterator for Draw {
    type Item = Target;

    /// Never ends; at least one key of each kind must be the subtask's own.
    #[inline]
    fn next(&mut self) -> Option<Target> {
        let action = self.action();
        let spread = if action.is_of_map() { self.maps } else { self.singles };
        loop {
            let index = spread.draw(&self.random);
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

    #[test]
    fn uniform_draws_reach_every_key_about_as_often() {
        let random = Entropy::from_seed(1);
        let mut seen = [0; 10];
        (0..10_000).for_each(|_| seen[Spread::new(10, None).draw(&random) as usize] += 1);
        assert!(seen.iter().all(|times| (850..1150).contains(times)), "{seen:?}");
    }
}
