//! Schema evolution over snapshots: a newer codec reads what an older one wrote, others are refused before they read.
use std::sync::Arc;

use alluvium_env::{ErrorKind, ManualClock, Result};

use super::opened::Opened;
use super::{Suite, check, key_of, part};
use crate::{Codec, KeyGroupRange, StateDescriptor, StateId, StateKind, SubtaskSnapshot};

/// A count of four bytes.
struct Short(u32);

impl Codec for Short {
    const ID: &'static str = "count";
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        u32::decode(bytes).map(Self)
    }
}

/// Its successor, which needs eight and tells the two apart by their length.
struct Long(u64);

impl Codec for Long {
    const ID: &'static str = "count";
    const VERSION: u32 = 2;
    fn reads(version: u32) -> bool {
        version <= 2
    }
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() == 4 {
            Short::decode(bytes).map(|short| Self(short.0.into()))
        } else {
            u64::decode(bytes).map(Self)
        }
    }
}

fn encoded(value: &impl Codec) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

impl Suite<'_> {
    /// A backend in which `counts` is registered with a codec, or why it cannot be.
    fn with_counts<T: Codec>(&self, snapshot: Option<&SubtaskSnapshot>) -> Result<Opened> {
        let clock = Arc::new(ManualClock::default());
        let parts = snapshot.map(part).into_iter().collect();
        let (mut backend, bell) = self.open_backend(0, KeyGroupRange::ALL, parts, clock);
        let counts = backend.register(&StateDescriptor::new("counts", StateKind::Value).with_codec::<T>())?;
        let none = StateId(u16::MAX);
        Ok(Opened { backend, bell, value: counts, sum: none, list: none, map: none })
    }

    pub(super) fn codecs_evolve_and_others_are_refused(&self) {
        let mut old = check("register", self.with_counts::<Short>(None));
        let (one, two) = (key_of(old.value, 1), key_of(old.value, 2));
        for key in [&one, &two] {
            check("put", old.backend.put(key, &encoded(&Short(7))));
        }
        let written = self.snapshot(&mut old, 1);
        let mut new = check("register a newer codec", self.with_counts::<Long>(Some(&written)));
        check("put", new.backend.put(&two, &encoded(&Long(1 << 40))));
        let mixed = self.snapshot(&mut new, 2);
        let mut again = check("register it again", self.with_counts::<Long>(Some(&mixed)));
        for (key, count) in [(one, 7), (two, 1 << 40)] {
            let value = again.get(&key).map(|bytes| check("decode", Long::decode(&bytes)).0);
            assert_eq!(value, Some(count), "values of both versions are read");
        }
        let older = self.with_counts::<Short>(Some(&mixed)).err().map(|error| error.kind());
        assert_eq!(older, Some(ErrorKind::Invalid), "a codec that does not read what its successor wrote");
        let other = self.with_counts::<u32>(Some(&written)).err().map(|error| error.kind());
        assert_eq!(other, Some(ErrorKind::Invalid), "another codec of the same bytes");
    }
}
