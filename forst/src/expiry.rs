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
    /// Keys and values of all entries, those that last included, before compression.
    #[prost(uint64, tag = "4")]
    pub(crate) raw_bytes: u64,
}

/// The entries of a class.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ClassAge {
    #[prost(uint32, tag = "1")]
    pub(crate) class: u32,
    /// The latest update.
    #[prost(uint64, tag = "2")]
    pub(crate) updated_millis: u64,
    /// Their keys and values before compression.
    #[prost(uint64, tag = "3")]
    pub(crate) raw_bytes: u64,
}

/// A table is rewritten once what has expired is this part of it: then dead entries are at most a third of the live ones.
const WORTH_REWRITING: u64 = 4;

impl Ages {
    /// Counts an entry that expires.
    pub(crate) fn count(&mut self, kind: EntryKind, stamp: Stamp, raw_bytes: u64) {
        self.expiring += 1;
        let (class, updated_millis) = (u32::from(stamp.class), stamp.updated_millis);
        // In key order the classes come in stretches.
        match self.classes.iter_mut().rev().find(|known| known.class == class) {
            Some(known) => {
                known.updated_millis = known.updated_millis.max(updated_millis);
                known.raw_bytes += raw_bytes;
            }
            None => self.classes.push(ClassAge { class, updated_millis, raw_bytes }),
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

    /// When so much has expired that a rewrite is worth it; `None` if it never will.
    pub(crate) fn worth_rewriting_at_millis(&self, expiry: &dyn Expiry) -> Option<u64> {
        let at = |age: &ClassAge| {
            Some((expiry.expires_at_millis(age.class as u16, age.updated_millis)?, age.raw_bytes))
        };
        let mut classes: Vec<_> = self.classes.iter().filter_map(at).collect();
        classes.sort_unstable();
        let mut expired = 0;
        classes.into_iter().find_map(|(at, raw_bytes)| {
            expired += raw_bytes;
            self.is_worth_rewriting(expired).then_some(at)
        })
    }

    fn is_worth_rewriting(&self, expired_bytes: u64) -> bool {
        expired_bytes > 0 && expired_bytes * WORTH_REWRITING >= self.raw_bytes
    }

    /// What a moment makes of the entries: whether all of them that expire have, and whether a rewrite is worth it.
    pub(crate) fn judge(&self, expiry: &dyn Expiry, moment: Moment) -> Verdict {
        let mut verdict = Verdict { all_expired: true, hides_older: false, is_worth_rewriting: false };
        let mut expired_bytes = 0;
        for age in &self.classes {
            match expiry.judge_class(age.class as u16, age.updated_millis, moment) {
                Fate::Expired { hides_older } => {
                    verdict.hides_older |= hides_older;
                    expired_bytes += age.raw_bytes;
                }
                Fate::Lasts | Fate::Lives(_) => verdict.all_expired = false,
            }
        }
        verdict.is_worth_rewriting = self.is_worth_rewriting(expired_bytes);
        verdict
    }
}

/// What a moment makes of a table's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether all entries that are stamped have expired.
    pub(crate) all_expired: bool,
    /// Whether tombstones must keep what is older than the expired ones hidden.
    pub(crate) hides_older: bool,
    /// Whether much of the table has expired.
    pub(crate) is_worth_rewriting: bool,
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
            ages.count(kind, stamp(class, updated), 10);
        }
        ages.count(EntryKind::Merge, stamp(1, 6), 10);
        let latest: Vec<_> =
            ages.classes.iter().map(|age| (age.class, age.updated_millis, age.raw_bytes)).collect();
        let expected = vec![(1, 7, 30), (9, 4, 10)];
        assert_eq!((ages.expiring, latest, ages.operands_since_millis), (4, expected, Some(3)));
        let ten = Ten { now: 0 };
        assert_eq!(ages.expire_at_millis(&ten), Some(17));
        let at = |ages: &Ages, now_millis| {
            let verdict = ages.judge(&ten, Moment { now_millis, horizon_millis: now_millis });
            (verdict.all_expired, verdict.hides_older, verdict.is_worth_rewriting)
        };
        // Ten of forty bytes are worth it, ten of fifty are not.
        for (raw_bytes, worth_at) in [(40, Some(14)), (50, Some(17)), (500, None)] {
            ages.raw_bytes = raw_bytes;
            assert_eq!(ages.worth_rewriting_at_millis(&ten), worth_at);
            for now in [13, 14, 16, 17] {
                let is_worth = worth_at.is_some_and(|at| at <= now);
                assert_eq!(at(&ages, now), (now >= 17, now >= 14, is_worth), "{raw_bytes} bytes at {now}");
            }
        }
        ages.count(EntryKind::Put, stamp(0, 1), 10);
        assert!(!at(&ages, 1000).0 && ages.expire_at_millis(&ten).is_none(), "one that lasts");
    }
}
