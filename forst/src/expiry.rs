//! Expiry as the engine sees it: entries of some keys tell when they were updated, and their class how long they live.
//!
//! The engine drops what has expired at every flush and compaction, and tables of which everything has expired as a whole,
//! without reading them where it can (`compaction/expired.rs`). Readers see what is still there: to hide it is the
//! business of whoever reads.
//!
//! **Invariants** that an [`Expiry`] promises, and that dropping relies on:
//!
//! - newer entries of a key are never stamped earlier than older ones, and the class follows from the key;
//! - what has expired at one time has expired at every later one, also after a restart;
//! - an entry expires alone, unless newer operands may *prolong* it (an accumulator, whose value is folded from all): then
//!   it is judged by the [`Moment::horizon_millis`], before which no newer operand was made that the merge does not see.
use alluvium_env::Result;

use crate::entry::EntryKind;

/// When an entry was updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Whose entry it is; says how long it lives.
    pub class: u16,
    /// Of an operand that was folded from several, the first; else `updated_millis`.
    pub since_millis: u64,
    /// The last update.
    pub updated_millis: u64,
}

/// What time has done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It lasts forever, or nobody knows.
    Lasts,
    /// It lives for now.
    Lives(Stamp),
    /// It has expired.
    Expired {
        /// Whether a tombstone must keep older entries hidden. If not, those have expired too, and no reader shows them.
        hides_older: bool,
    },
}

/// When entries are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Now.
    pub now_millis: u64,
    /// Newer operands that are not in the same merge were made then or later.
    pub horizon_millis: u64,
}

/// Who knows how long entries live.
pub trait Expiry: Send + Sync {
    /// Now, by the clock of the stamps.
    fn now_millis(&self) -> u64;

    /// The longest life of any class.
    fn longest_millis(&self) -> u64;

    /// What a moment makes of an entry; takes out of the value what has expired of it.
    ///
    /// # Errors
    /// `Corruption` if the value is not what the key says.
    fn judge(&self, key: &[u8], value: &mut Vec<u8>, moment: Moment) -> Result<Fate>;

    /// What a moment makes of all entries of a class that were updated at `updated_millis` or before.
    fn judge_class(&self, class: u16, updated_millis: u64, moment: Moment) -> Fate;

    /// When an entry that was updated at `updated_millis` expires; `None` for one that lasts.
    fn expires_at_millis(&self, class: u16, updated_millis: u64) -> Option<u64>;
}

/// What a table, and the manifest of it, say of its entries' ages. Times of updates and not of expiry, since a class may
/// live longer or shorter after a restart.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Ages {
    /// Entries that expire.
    #[prost(uint64, tag = "1")]
    pub(crate) expiring: u64,
    /// Their classes.
    #[prost(message, repeated, tag = "2")]
    pub(crate) classes: Vec<ClassAge>,
    /// The first operand of the expiring merge entries.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) operands_since_millis: Option<u64>,
}

/// The latest update of a class.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ClassAge {
    #[prost(uint32, tag = "1")]
    pub(crate) class: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) updated_millis: u64,
}

impl Ages {
    /// Counts an entry that expires.
    pub(crate) fn count(&mut self, kind: EntryKind, stamp: Stamp) {
        self.expiring += 1;
        let class = u32::from(stamp.class);
        // In key order the classes come in stretches.
        match self.classes.iter_mut().rev().find(|known| known.class == class) {
            Some(known) => known.updated_millis = known.updated_millis.max(stamp.updated_millis),
            None => self.classes.push(ClassAge { class, updated_millis: stamp.updated_millis }),
        }
        if kind == EntryKind::Merge {
            let since = self.operands_since_millis.get_or_insert(stamp.since_millis);
            *since = stamp.since_millis.min(*since);
        }
    }

    /// When the last of the entries expires; `None` if one of them lasts.
    pub(crate) fn expire_at_millis(&self, expiry: &dyn Expiry) -> Option<u64> {
        let expires_at = |age: &ClassAge| expiry.expires_at_millis(age.class as u16, age.updated_millis);
        self.classes.iter().map(expires_at).try_fold(0, |latest, at| at.map(|at| at.max(latest)))
    }

    /// What a moment makes of all the entries together.
    pub(crate) fn judge(&self, expiry: &dyn Expiry, moment: Moment) -> Fate {
        let mut hides = false;
        for age in &self.classes {
            match expiry.judge_class(age.class as u16, age.updated_millis, moment) {
                Fate::Expired { hides_older } => hides |= hides_older,
                other => return other,
            }
        }
        Fate::Expired { hides_older: hides }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Values begin with `updated:u8`; they live for ten. A key's first byte is its class; class 0 lasts, and class 9
    /// hides what is older.
    pub(crate) struct Ten {
        pub(crate) now: u64,
    }

    impl Expiry for Ten {
        fn now_millis(&self) -> u64 {
            self.now
        }
        fn longest_millis(&self) -> u64 {
            10
        }
        fn judge(&self, key: &[u8], value: &mut Vec<u8>, moment: Moment) -> Result<Fate> {
            let class = u16::from(key[0]);
            Ok(self.judge_class(class, u64::from(value[0]), moment))
        }
        fn judge_class(&self, class: u16, updated_millis: u64, moment: Moment) -> Fate {
            match class {
                0 => Fate::Lasts,
                _ if updated_millis + 10 > moment.now_millis => {
                    Fate::Lives(Stamp { class, since_millis: updated_millis, updated_millis })
                }
                _ => Fate::Expired { hides_older: class == 9 },
            }
        }
        fn expires_at_millis(&self, class: u16, updated_millis: u64) -> Option<u64> {
            (class > 0).then_some(updated_millis + 10)
        }
    }

    #[test]
    fn ages_know_the_latest_update_of_each_class_and_the_first_operand() {
        let stamp = |class, updated_millis| Stamp { class, since_millis: updated_millis - 1, updated_millis };
        let mut ages = Ages::default();
        for (kind, class, updated) in
            [(EntryKind::Put, 1, 5), (EntryKind::Merge, 9, 4), (EntryKind::Merge, 1, 7)]
        {
            ages.count(kind, stamp(class, updated));
        }
        ages.count(EntryKind::Merge, stamp(1, 6));
        let latest: Vec<_> = ages.classes.iter().map(|age| (age.class, age.updated_millis)).collect();
        assert_eq!((ages.expiring, latest, ages.operands_since_millis), (4, vec![(1, 7), (9, 4)], Some(3)));
        let ten = Ten { now: 0 };
        assert_eq!(ages.expire_at_millis(&ten), Some(17));
        let at = |now_millis| ages.judge(&ten, Moment { now_millis, horizon_millis: now_millis });
        assert!(matches!(at(16), Fate::Lives(_)));
        assert_eq!(at(17), Fate::Expired { hides_older: true });
        ages.count(EntryKind::Put, stamp(0, 1));
        assert_eq!(ages.expire_at_millis(&ten), None);
    }
}
