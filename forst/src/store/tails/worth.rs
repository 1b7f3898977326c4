//! Whether the filters of the bottom run are worth their memory, by what reads have found of late.
//!
//! A filter of the bottom run spares a read its block only where the key is nowhere; its memory holds as well index blocks and
//! blocks that every read needs. `RocksDB` has its user say which (`optimize_filters_for_hits`); here reads do. What counts is how
//! many of them such filters would spare a block: of those that find nothing, as large a part as there is room for of all
//! filters. Both are looked at once in many reads and judged with a gap between, since giving up is for nothing what comes back.

/// Reads after which they are judged anew: of one in ten of them chance makes 9.5 to 10.5 %, which is little beside the gap.
const WINDOW: u64 = 4096;
/// All of them: parts of a whole are counted in so many.
pub(super) const ONE: u64 = 1024;
/// Below so many spared reads filters are given up, above so many they return. Where between the two they break even depends on what
/// else memory would hold. Counted in parts fetched, with state of 6 to 50 times memory, it is where they spare 0.4 to 1.2 % of uniform
/// reads of entries of 116 bytes, 1.4 to 4 % of 40 bytes, but 5 to 16 % of reads by Zipf's law, whose blocks are worth more. So none
/// of these fetches more than 5 % too much for either change, or a sixth for what is left as it was.
const LITTLE: u64 = ONE / 32;
const MUCH: u64 = ONE / 8;

/// What the filters are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Worth {
    /// Nothing was read yet.
    #[default]
    Unknown,
    Little,
    Much,
}

/// Reads that went to the tables, and those of them that found nothing; since the store was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Lookups {
    pub(in crate::store) reads: u64,
    pub(in crate::store) absent: u64,
}

/// Watches lookups.
#[derive(Debug, Default)]
pub(super) struct FilterWorth {
    /// When they were judged.
    before: Lookups,
    /// How many found nothing, of [`ONE`]; what is older counts half.
    absent: Option<u64>,
    worth: Worth,
}

impl FilterWorth {
    pub(super) fn get(&self) -> Worth {
        self.worth
    }

    /// Judges if it is time, where so many of [`ONE`] filters have room; says whether that changed what they are worth.
    pub(super) fn judge(&mut self, now: Lookups, fit: u64) -> bool {
        let reads = now.reads - self.before.reads;
        if reads < WINDOW {
            return false;
        }
        let lately = (now.absent - self.before.absent) * ONE / reads;
        let absent = self.absent.map_or(lately, |older| u64::midpoint(older, lately));
        (self.before, self.absent) = (now, Some(absent));
        let spared = absent * fit / ONE;
        let worth = match spared {
            _ if spared < LITTLE => Worth::Little,
            _ if spared > MUCH => Worth::Much,
            _ => self.worth,
        };
        std::mem::replace(&mut self.worth, worth) != worth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges windows in which so many of a hundred reads find nothing, and says what changed.
    fn watch(worth: &mut FilterWorth, absent_percent: u64, fit: u64) -> Vec<Worth> {
        let window = |_| {
            let Lookups { reads, absent } = worth.before;
            let now = Lookups { reads: reads + WINDOW, absent: absent + WINDOW * absent_percent / 100 };
            worth.judge(now, fit).then_some(worth.worth)
        };
        (0..8).filter_map(window).collect()
    }

    #[test]
    fn filters_are_worth_the_reads_that_they_spare_a_block() {
        let mut worth = FilterWorth::default();
        assert!(!worth.judge(Lookups { reads: WINDOW - 1, absent: 0 }, ONE), "too early");
        assert_eq!(watch(&mut worth, 8, ONE), [], "between, nothing is known yet");
        assert_eq!(watch(&mut worth, 1, ONE), [Worth::Little]);
        assert_eq!(watch(&mut worth, 8, ONE), [], "as it was");
        assert_eq!(watch(&mut worth, 25, ONE / 3), [], "a third of them would spare one read in twelve");
        assert_eq!(watch(&mut worth, 25, ONE), [Worth::Much]);
        assert_eq!(watch(&mut worth, 8, ONE), [], "as it was");
        assert_eq!(watch(&mut worth, 8, ONE / 4), [Worth::Little]);
        assert_eq!(watch(&mut worth, 100, 0), [], "where there is room for none");
    }

    #[test]
    fn a_moment_of_absent_keys_is_not_enough() {
        let mut worth = FilterWorth::default();
        watch(&mut worth, 0, ONE);
        let Lookups { reads, absent } = worth.before;
        assert!(!worth.judge(Lookups { reads: reads + WINDOW, absent: absent + WINDOW / 5 }, ONE));
        assert_eq!(watch(&mut worth, 20, ONE), [Worth::Much], "an hour of them is");
    }
}
